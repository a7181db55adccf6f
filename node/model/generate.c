#include "node/model/generate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "proto/base/claim.h"

static int by_weight(const void *a, const void *b) {
  const struct generate_candidate *left = a, *right = b;
  if (left->weight != right->weight)
    return left->weight > right->weight ? -1 : 1;
  return (left->id > right->id) - (left->id < right->id);
}

/* Cut the candidates to the fewest that reach top_p of the whole; *total becomes their sum. */
static int64_t cut_to_nucleus(struct generate_candidate *room, int64_t count, double top_p,
                              double *total) {
  qsort(room, (size_t)count, sizeof *room, by_weight);
  double most = top_p * *total;
  double sum = 0;
  int64_t kept = 0;
  while (kept < count && sum < most)
    sum += room[kept++].weight;
  *total = sum;
  return kept;
}

static uint32_t draw(struct prng *r, const struct generate_candidate *room, int64_t count,
                     double total) {
  double at = prng_unit(r) * total;
  for (int64_t i = 0; i < count - 1; i++) {
    at -= room[i].weight;
    if (at < 0)
      return room[i].id;
  }
  return room[count - 1].id;
}

enum status generate_choose(const struct generate_options *o, struct prng *r, const float *logits,
                            int64_t count, struct generate_candidate *room, uint32_t *out,
                            struct why *why) {
  CLAIM(count > 0);
  if (!o->greedy && !(o->temperature > 0 && isfinite(o->temperature)))
    return why_say(why, STATUS_RANGE, "the temperature is %g; it must be above 0", o->temperature);
  if (!o->greedy && !(o->top_p > 0 && o->top_p <= 1))
    return why_say(why, STATUS_RANGE, "top-p is %g; it must be above 0 and at most 1", o->top_p);
  int64_t best = 0;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(logits[i]))
      return why_say(why, STATUS_RANGE, "the logit of token %" PRId64 " is not a finite number", i);
    if (logits[i] > logits[best])
      best = i;
  }
  if (o->greedy) {
    *out = (uint32_t)best;
    return STATUS_OK;
  }
  double total = 0;
  for (int64_t i = 0; i < count; i++) {
    double weight = exp(((double)logits[i] - (double)logits[best]) / o->temperature);
    room[i] = (struct generate_candidate){weight, (uint32_t)i};
    total += weight;
  }
  int64_t kept = o->top_p < 1 ? cut_to_nucleus(room, count, o->top_p, &total) : count;
  *out = draw(r, room, kept, total);
  return STATUS_OK;
}

/* Bytes of the character that a leading byte begins; 0: none. */
static size_t character_bytes(uint8_t lead) {
  if (lead >= 0xc2 && lead <= 0xdf)
    return 2;
  if (lead >= 0xe0 && lead <= 0xef)
    return 3;
  if (lead >= 0xf0 && lead <= 0xf4)
    return 4;
  return 0;
}

size_t generate_showable(const char *bytes, size_t count) {
  for (size_t back = 1; back <= 3 && back <= count; back++) {
    uint8_t byte = (uint8_t)bytes[count - back];
    if ((byte & 0xc0) == 0x80)
      continue; /* in the middle of a character, or of none */
    return character_bytes(byte) > back ? count - back : count;
  }
  return count;
}
