#include "proto/base/prng.h"

#include <math.h>

#include "proto/base/claim.h"

static const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);

uint64_t prng_mix(uint64_t value) {
  value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
  return value ^ (value >> 31);
}

struct prng prng_seeded(uint64_t seed, uint64_t stream) {
  struct prng r;
  uint64_t word = prng_mix(seed + golden) ^ prng_mix(stream * golden + 1);
  for (int i = 0; i < 4; i++) {
    word += golden;
    r.state[i] = prng_mix(word);
  }
  return r;
}

static uint64_t rotate(uint64_t value, int bits) {
  return value << bits | value >> (64 - bits);
}

uint64_t prng_u64(struct prng *r) {
  uint64_t *s = r->state;
  uint64_t result = rotate(s[1] * 5, 7) * 9;
  uint64_t shifted = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= shifted;
  s[3] = rotate(s[3], 45);
  return result;
}

/* Rejection from the low end keeps it unbiased: (2^64 - bound) % bound values are thrown away. */
uint64_t prng_below(struct prng *r, uint64_t bound) {
  CLAIM(bound > 0);
  uint64_t least = (0 - bound) % bound;
  for (;;) {
    uint64_t value = prng_u64(r);
    if (value >= least)
      return value % bound;
  }
}

double prng_unit(struct prng *r) {
  return (double)(prng_u64(r) >> 11) * 0x1p-53;
}

double prng_normal(struct prng *r) {
  double radius = sqrt(-2.0 * log(1.0 - prng_unit(r)));
  return radius * cos(6.283185307179586476925 * prng_unit(r));
}
