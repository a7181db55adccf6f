#include "node/train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/train/trainer_inside.h"
#include "proto/base/claim.h"

/* The rows of one micro-batch: samples [first, first + count) of the run. A micro-batch that is not
 * full ends in rows whose targets do not count. */
static enum status fill_batch(struct trainer *t, uint64_t first, uint64_t count, struct why *why) {
  uint64_t T = t->run->T;
  for (uint64_t b = 0; b < (uint64_t)t->shape.B; b++) {
    int32_t *tokens = t->tokens + b * T;
    int32_t *targets = t->targets + b * T;
    if (b < count) {
      TRY(feed_sample(t->feed, first + b, tokens, targets, why));
      continue;
    }
    memset(tokens, 0, T * sizeof *tokens);
    for (uint64_t i = 0; i < T; i++)
      targets[i] = -1;
  }
  return STATUS_OK;
}

/* Gradients and loss of samples [first, first + count). STOPPED between micro-batches, when asked:
 * the step is then as if it had not begun. */
static enum status pass(struct trainer *t, uint64_t first, uint64_t count, double *loss,
                        struct why *why) {
  uint64_t B = (uint64_t)t->shape.B;
  double rows = (double)(count * t->run->T);
  double sum = 0;
  for (uint64_t done = 0; done < count; done += B) {
    double part;
    uint64_t now = count - done < B ? count - done : B;
    if (io_stop_wanted())
      return STATUS_STOPPED;
    TRY(fill_batch(t, first + done, now, why));
    TRY(transformer_backward(t->model, t->tokens, t->targets, 1.0 / rows, done > 0, &part, why));
    sum += part;
  }
  *loss = sum / rows;
  return STATUS_OK;
}

/* Change the weights, or leave them when the numbers went wrong. */
static enum status update(struct trainer *t, struct why *why) {
  const struct runfile *run = t->run;
  const struct transformer_adam adam = {.lr = t->lr,
                                        .beta1 = run->beta1,
                                        .beta2 = run->beta2,
                                        .eps = run->eps,
                                        .decay = run->decay,
                                        .clip = run->clip};
  enum status s = STATUS_REFUSED;
  t->grad_norm = NAN;
  if (isfinite(t->loss))
    s = transformer_update(t->model, &adam, &t->grad_norm, why);
  if (s != STATUS_REFUSED) {
    t->bad_in_row = 0;
    return s;
  }
  t->bad_in_row++;
  t->bad_total++;
  trainer_say(t, "warning: step %llu skipped: its %s was not finite",
              (unsigned long long)(t->step + 1), isfinite(t->loss) ? "gradient" : "loss");
  if (t->bad_in_row < TRAINER_BAD_STEPS_MAX)
    return STATUS_OK;
  return why_say(why, STATUS_RANGE,
                 "the loss or gradient was not finite in %d steps in a row, up to step %llu: lower "
                 "optimizer.lr or lengthen optimizer.warmup; the newest checkpoint is step %llu",
                 TRAINER_BAD_STEPS_MAX, (unsigned long long)(t->step + 1),
                 (unsigned long long)t->saved_step);
}

/* A peak measured on a busy machine is too low: a step that beats it is the better measurement, so
 * the share that is shown stays at most 100 %. */
static void measure(struct trainer *t, uint64_t tokens, uint64_t took_ns, struct metric *m) {
  double rate = took_ns ? (double)tokens * 1e9 / (double)took_ns : 0;
  if (t->peak_flops > 0)
    t->peak_flops = fmax(t->peak_flops, t->flop_per_token * rate);
  t->rate = t->rate > 0 ? 0.9 * t->rate + 0.1 * rate : rate;
  m->rate = rate;
}

static enum status step(struct trainer *t, struct why *why) {
  const struct runfile *run = t->run;
  uint64_t left = t->sample_total - t->sample_next;
  uint64_t count = left < run->batch_sequences ? left : run->batch_sequences;
  uint64_t start_ns = io_now_ns();
  double loss;
  TRY(pass(t, t->sample_next, count, &loss, why));
  t->loss = loss;
  t->lr = schedule_lr(&t->schedule, t->tokens_done + count * run->T);
  TRY(update(t, why));
  t->sample_next += count;
  t->tokens_done += count * run->T;
  t->step++;
  struct metric m = {.kind = METRIC_STEP,
                     .step = t->step,
                     .tokens = t->tokens_done,
                     .loss = t->loss,
                     .grad_norm = t->grad_norm,
                     .lr = t->lr};
  measure(t, count * run->T, io_now_ns() - start_ns, &m);
  return trainer_note(t, &m, why);
}

/* Whether something done every `every` tokens is due after the last step, or at the end. */
static bool is_due(const struct trainer *t, uint64_t every) {
  uint64_t batch = t->run->batch_sequences * t->run->T;
  uint64_t before = t->tokens_done > batch ? t->tokens_done - batch : 0;
  return t->sample_next == t->sample_total || t->tokens_done / every != before / every;
}

static bool wants_stop(const struct trainer *t) {
  return io_stop_wanted() || (t->options->stop_step && t->step >= t->options->stop_step);
}

/* A run that was stopped between a step and its validation makes up for it first. */
static enum status look_and_save(struct trainer *t, struct why *why) {
  if (t->step && is_due(t, t->run->validation_tokens) && t->seen.validation_step != t->step &&
      t->run->validation_samples)
    TRY(trainer_validate(t, why));
  if (t->step && is_due(t, t->run->checkpoint_tokens) && t->saved_step != t->step)
    TRY(trainer_save(t, why));
  return STATUS_OK;
}

static enum status loop(struct trainer *t, struct why *why) {
  TRY(look_and_save(t, why));
  while (t->sample_next < t->sample_total) {
    if (wants_stop(t))
      return STATUS_STOPPED;
    TRY(step(t, why));
    trainer_show(t, t->sample_next == t->sample_total);
    TRY(look_and_save(t, why));
  }
  return STATUS_OK;
}

/* What a full disk has cost, after its own words. */
static enum status say_disk(const struct trainer *t, struct why *why) {
  struct why cause = *why;
  const char *next = "make room and run the same command again";
  if (t->saved_step)
    return why_say(why, STATUS_DISK, "%s; the checkpoint of step %llu is whole: %s", cause.text,
                   (unsigned long long)t->saved_step, next);
  return why_say(why, STATUS_DISK, "%s; there is no checkpoint yet: %s", cause.text, next);
}

static enum status train(struct trainer *t, struct why *why) {
  enum status s = loop(t, why);
  io_progress_end(&t->progress);
  if (s == STATUS_STOPPED) {
    if (t->saved_step != t->step)
      TRY(trainer_save(t, why));
    return why_say(why, s,
                   "stopped at step %llu of %llu with a checkpoint; the same command goes on",
                   (unsigned long long)t->step, (unsigned long long)trainer_steps(t));
  }
  return s == STATUS_DISK ? say_disk(t, why) : s;
}

static void close_all(struct trainer *t) {
  metrics_abandon(&t->metrics);
  curve_close(&t->curve);
  transformer_close(&t->model);
  engine_close(&t->engine);
  tokenizer_close(&t->tokenizer);
  feed_close(&t->feed);
  savepoints_unlock(&t->lock);
  free(t->tokens);
  free(t->targets);
  free(t->canonical);
}

static enum status run_all(struct trainer *t, struct why *why) {
  TRY(trainer_prepare(t, why));
  if (t->options->check_only)
    return STATUS_OK;
  TRY(trainer_begin(t, why));
  enum status s = train(t, why);
  if (s == STATUS_OK || s == STATUS_STOPPED) {
    struct why closing;
    enum status closed = metrics_close(&t->metrics, &closing);
    if (closed != STATUS_OK)
      return why_say(why, closed, "%s", closing.text);
  }
  return s;
}

enum status trainer_run(struct runfile *run, const struct trainer_options *options,
                        struct trainer_result *result, struct why *why) {
  struct trainer t = {.run = run, .options = options, .lock = {-1}};
  struct why unheard;
  enum status s = run_all(&t, why ? why : &unheard);
  io_progress_end(&t.progress);
  *result = (struct trainer_result){
      .step = t.step, .tokens = t.tokens_done, .skipped_steps = t.bad_total, .loss = t.loss};
  close_all(&t);
  return s;
}
