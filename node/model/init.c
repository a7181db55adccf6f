#include "node/model/init.h"

#include "proto/base/prng.h"

int64_t init_block(const struct arch_tensor *tensor, uint64_t seed, size_t index, int64_t block,
                   double *out) {
  int64_t begin = block * INIT_BLOCK, count = tensor->count - begin;
  if (count <= 0)
    return 0;
  if (count > INIT_BLOCK)
    count = INIT_BLOCK;
  if (tensor->std == 0) {
    for (int64_t i = 0; i < count; i++)
      out[i] = tensor->one ? 1 : 0;
    return count;
  }
  uint64_t own = prng_mix(prng_mix(seed) + index) + (uint64_t)block;
  struct prng r = prng_seeded(own, PRNG_INIT);
  for (int64_t i = 0; i < count; i++)
    out[i] = tensor->std * prng_normal(&r);
  return count;
}
