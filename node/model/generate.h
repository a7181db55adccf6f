/* generate: which token comes next, given the model's logits.
 *
 *   struct generate_options o = {.temperature = 0.8, .top_p = 0.95};
 *   struct generate_candidate *room = …;                       // (count), the caller's
 *   struct prng r = prng_seeded(seed, PRNG_SAMPLE);
 *   TRY(generate_choose(&o, &r, logits, count, room, &token, &why));
 *
 * Greedy takes the largest logit, the lower id of two equal ones. Otherwise softmax(logits /
 * temperature); of that only the most probable tokens whose probabilities first reach top_p
 * (Holtzman et al. 2020, "nucleus"); one of those by its share. The same seed, options and logits
 * give the same tokens. Pure. */
#ifndef CARAVAN_GENERATE_H
#define CARAVAN_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/prng.h"
#include "proto/base/status.h"

struct generate_options {
  bool greedy;        /* then nothing else counts */
  double temperature; /* above 0; 1: the model's own probabilities */
  double top_p;       /* in (0, 1]; 1: every token may come */
};

struct generate_candidate {
  double weight;
  uint32_t id;
};

/* Choose among ids [0, count); rows of the vocabulary table that no token has are left out by a
 * smaller count. room: (count); its contents are lost. The draw takes one number from r, a greedy
 * choice none. RANGE: options out of bounds, or a logit that is not finite. O(count log count). */
CHECKED enum status generate_choose(const struct generate_options *o, struct prng *r,
                                    const float *logits, int64_t count,
                                    struct generate_candidate *room, uint32_t *out,
                                    struct why *why);

/* How many of the bytes can be shown now: all, less a character at the end that is not whole yet
 * (at most three bytes). Bytes that begin no character do not wait. */
size_t generate_showable(const char *bytes, size_t count);

#endif
