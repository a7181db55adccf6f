/* prng: random numbers that are the same on every machine, from a seed and a counter.
 *
 *   struct prng r = prng_seeded(run_seed, PRNG_INIT);
 *   uint64_t bits = prng_u64(&r);
 *   double z = prng_normal(&r);
 *
 * SplitMix64 for mixing (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
 * generators"), xoshiro256** for the stream (Blackman and Vigna, prng.di.unimi.it). Not for
 * secrets: those come from libsodium. Integers are identical everywhere; prng_normal uses libm and
 * is identical only where libm is, so it never touches what machines must agree on without shipping
 * the result. Pure. */
#ifndef CARAVAN_PRNG_H
#define CARAVAN_PRNG_H

#include <stdint.h>

/* Streams: the same seed gives independent numbers to each use. */
enum prng_stream {
  PRNG_INIT = 1,    /* parameter initialisation */
  PRNG_SHUFFLE = 2, /* permutation of samples inside a slice */
  PRNG_MIXTURE = 3, /* offsets of the slice choice */
  PRNG_SAMPLE = 4,  /* text generation */
  PRNG_TEST = 5,
};

struct prng {
  uint64_t state[4];
};

uint64_t prng_mix(uint64_t value); /* SplitMix64's finaliser: a bijection on 64-bit words */
struct prng prng_seeded(uint64_t seed, uint64_t stream);
uint64_t prng_u64(struct prng *r);
uint64_t prng_below(struct prng *r,
                    uint64_t bound); /* uniform in [0, bound); bound > 0; unbiased */
double prng_unit(struct prng *r);    /* uniform in [0, 1), 53 bits */
double prng_normal(struct prng *r);  /* mean 0, variance 1; Box–Muller, one per call */

#endif
