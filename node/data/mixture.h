/* mixture: which tokens sample i of a run is. A pure function of the run's seed, its slices and i.
 *
 *   struct mixture m;
 *   TRY(mixture_init(&m, seed, T, slices, slice_count, &why));
 *   struct mixture_place p = mixture_sample(&m, i);      // any i, on any machine, without state
 *   corpus_read(corpus, p.slice, p.token_begin, T + 1, ids, …);
 *   mixture_holdout(&m, slice, j)                        // j-th held-out sample of a slice
 *
 * Slices are chosen in proportion to their weights by a low-discrepancy sequence: after n samples
 * every slice has been chosen within 1.7 of n · weight / weights times. Inside a slice the samples
 * of an epoch are permuted by a seeded Feistel network with cycle walking, a new permutation each
 * epoch, so each is drawn once an epoch. A sample is T + 1 tokens (T inputs, T targets), as
 * GPT-NeoX's are: sample j begins T after sample j - 1 and its first token is that one's last
 * target. Held-out samples lie in blocks spread evenly over the slice and share no token with any
 * training sample. Integer arithmetic only, so that every machine agrees; pure. */
#ifndef CARAVAN_MIXTURE_H
#define CARAVAN_MIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/limits.h"
#include "proto/base/status.h"

/* Weights sum to at most this, so that token counts may serve as weights. */
#define MIXTURE_WEIGHT_SUM_MAX TOKENS_TOTAL_MAX
#define MIXTURE_T_MAX          (UINT64_C(1) << 20)
enum {
  MIXTURE_BLOCK_COUNT_MAX = 256, /* of held-out samples in a slice */
  MIXTURE_BLOCK_SAMPLES = 4,     /* held-out samples in a block, while blocks are few enough */
};

struct mixture_slice {
  char name[NAME_BYTES_MAX];
  uint64_t token_count;
  uint64_t weight;        /* parts of the sum; 0: held-out samples only */
  uint64_t holdout_count; /* samples kept out of training; at least 0 */
};

struct mixture_place {
  uint32_t slice;
  uint64_t epoch;       /* of that slice, from 0 */
  uint64_t index;       /* training sample inside the slice, from 0 */
  uint64_t token_begin; /* its T + 1 tokens start here in the slice */
};

/* A fork of the tree by which slices are chosen: samples go left or right in exact proportion. */
struct mixture_fork {
  uint64_t weight;      /* of both sides */
  uint64_t left_weight; /* of the left one */
  int16_t left, right;  /* a fork's index, or -1 - slice */
};

struct mixture {
  uint64_t seed;
  uint64_t T;
  size_t slice_count;
  uint64_t weight_sum;
  struct mixture_slice slices[SLICE_COUNT_MAX];
  uint64_t train_count[SLICE_COUNT_MAX]; /* samples of one epoch of the slice */
  int16_t root;                          /* as in a fork */
  struct mixture_fork forks[SLICE_COUNT_MAX - 1];
};

/* RANGE: no slice, a zero weight sum or one too large, T of 0 or too large, a slice too short for
 * one sample and its held-out ones. The message names the slice and what it would need. */
CHECKED enum status mixture_init(struct mixture *m, uint64_t seed, uint64_t T,
                                 const struct mixture_slice *slices, size_t slice_count,
                                 struct why *why);

struct mixture_place mixture_sample(const struct mixture *m, uint64_t index);
/* token_begin of held-out sample j < holdout_count of a slice. */
uint64_t mixture_holdout(const struct mixture *m, size_t slice, uint64_t j);
/* How often each slice was chosen among samples [0, count): counts[slice_count]. */
void mixture_counts(const struct mixture *m, uint64_t count, uint64_t *counts);

#endif
