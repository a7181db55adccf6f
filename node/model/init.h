/* init: the first weights of a model, from a seed.
 *
 *   double values[INIT_BLOCK];
 *   for (int64_t b = 0; (n = init_block(&tensor, seed, index, b, values)) > 0; b++) use(values, n);
 *
 * Tensor `index` of the table draws from its own stream, in blocks of INIT_BLOCK values that each
 * have their own, so any part of any tensor can be made without the rest. Pure. */
#ifndef CARAVAN_INIT_H
#define CARAVAN_INIT_H

#include "node/model/arch.h"

enum { INIT_BLOCK = 4096 };

/* Block `block` of a tensor's first values, into out[INIT_BLOCK]. Returns how many there are: 0
 * past the last block. */
int64_t init_block(const struct arch_tensor *tensor, uint64_t seed, size_t index, int64_t block,
                   double *out);

#endif
