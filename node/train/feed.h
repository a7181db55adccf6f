/* feed: a run's data: its corpora opened, its slices weighted, its samples by number.
 *
 *   TRY(feed_open(run, &f, &why));
 *   TRY(feed_sample(f, i, tokens, targets, &why));            // sample i of the run: T and T ids
 *   TRY(feed_holdout(f, slice, j, tokens, targets, &why));
 *   feed_close(&f);
 *
 * Which tokens sample i is, is mixture.h's; where they lie is corpus.h's; this joins them and
 * refuses what does not fit: a slice that no corpus has, two corpora of different tokenizers, more
 * words than the model has rows. Messages name the run file's line. */
#ifndef CARAVAN_FEED_H
#define CARAVAN_FEED_H

#include "node/data/mixture.h"
#include "node/train/runfile.h"
#include "proto/base/digest.h"

struct feed; /* opaque: holds mappings */

/* run->arch must be there: its vocabulary is compared with the data's. MISSING, MISMATCH, RANGE and
 * what corpus_open and mixture_init say. run is not kept. */
CHECKED enum status feed_open(const struct runfile *run, struct feed **out, struct why *why);
void feed_close(struct feed **f); /* nulls *f; *f may be NULL */

const struct mixture *feed_mixture(const struct feed *f);
/* Zeros when unknown (Megatron). */
struct digest feed_tokenizer(const struct feed *f);
/* For tokenizer_open: "byte" or a path; NULL when unknown. Borrowed. */
const char *feed_tokenizer_path(const struct feed *f);

/* tokens, targets: run.T each. */
CHECKED enum status feed_sample(const struct feed *f, uint64_t index, int32_t *tokens,
                                int32_t *targets, struct why *why);
CHECKED enum status feed_holdout(const struct feed *f, size_t slice, uint64_t index,
                                 int32_t *tokens, int32_t *targets, struct why *why);

/* Lines for the run's canonical text: what each slice is, and the tokenizer. RANGE: out too small.
 */
CHECKED enum status feed_canonical(const struct feed *f, char *out, size_t out_bytes,
                                   struct why *why);

#endif
