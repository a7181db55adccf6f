/* support_model: tiny models of odd sizes, one for every way the families differ. */
#ifndef CARAVAN_SUPPORT_MODEL_H
#define CARAVAN_SUPPORT_MODEL_H

#include <stdint.h>

#include "node/model/arch.h"

/* NULL past the last. */
const char *support_model_name(int index);
struct arch support_model(int index);

/* Tokens in [0, V) and targets, of which about one in five does not count. */
void support_model_tokens(const struct arch *a, uint64_t seed, int64_t count, int32_t *tokens,
                          int32_t *targets);

#endif
