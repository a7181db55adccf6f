/* trainer_inside: what the parts of the trainer share: io_trainer.c (the loop),
 * io_trainer_start.c (everything before the first step), io_trainer_look.c (what people see, and
 * what is saved). Only these include it. */
#ifndef CARAVAN_TRAINER_INSIDE_H
#define CARAVAN_TRAINER_INSIDE_H

#include "node/checkpoint/checkpoint.h"
#include "node/data/tokenizer.h"
#include "node/model/plan.h"
#include "node/model/schedule.h"
#include "node/train/curve.h"
#include "node/train/feed.h"
#include "node/train/metrics.h"
#include "node/train/savepoints.h"
#include "node/train/trainer.h"
#include "proto/base/io_system.h"

enum { TRAINER_TEXT_BYTES_MAX = RUNFILE_CANONICAL_BYTES_MAX + 16384 };

struct trainer {
  struct runfile *run;
  const struct trainer_options *options;
  char *canonical; /* TRAINER_TEXT_BYTES_MAX */
  struct digest digest;

  struct feed *feed;
  struct tokenizer *tokenizer; /* NULL: the data does not say */
  struct engine *engine;
  struct transformer *model;
  struct transformer_options shape;
  struct plan plan;
  struct schedule schedule;
  struct metrics *metrics;
  struct metrics_seen seen;
  struct curve *curve;
  struct savepoints_lock lock;
  int32_t *tokens, *targets; /* (B, T) */

  uint64_t sample_total; /* sequences of the whole schedule */
  uint64_t sample_next;  /* the next one */
  uint64_t step, tokens_done;
  uint64_t saved_step;            /* newest checkpoint; 0: none */
  uint64_t bad_in_row, bad_total; /* steps whose loss or norm was not finite */
  double loss, grad_norm, lr;     /* of the last step */

  double flop_per_token, peak_flops; /* peak 0: not measured */
  double rate;                       /* tokens a second, lately */
  struct io_progress progress;
  uint64_t synced_ms;
};

static inline uint64_t trainer_steps(const struct trainer *t) {
  return (t->sample_total + t->run->batch_sequences - 1) / t->run->batch_sequences;
}

/* io_trainer_start.c */
CHECKED enum status trainer_prepare(struct trainer *t, struct why *why); /* to the memory plan */
CHECKED enum status trainer_begin(struct trainer *t, struct why *why);   /* to the first step */

/* io_trainer_look.c */
void trainer_say_plan(const struct trainer *t);
void trainer_say(struct trainer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trainer_show(struct trainer *t, bool now);
CHECKED enum status trainer_note(struct trainer *t, const struct metric *m, struct why *why);
CHECKED enum status trainer_validate(struct trainer *t, struct why *why); /* STOPPED: not done */
CHECKED enum status trainer_save(struct trainer *t, struct why *why);

#endif
