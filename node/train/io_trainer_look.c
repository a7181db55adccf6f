#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/train/trainer_inside.h"
#include "proto/base/io_file.h"

enum { SYNC_MS = 5000 };

void trainer_say(struct trainer *t, const char *format, ...) {
  va_list args;
  if (t->options->quiet)
    return;
  uint64_t shown_ms = t->progress.shown_ms; /* a line of news is no reason for more progress */
  io_progress_end(&t->progress);
  t->progress.shown_ms = shown_ms;
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  printf("\n");
  fflush(stdout);
}

/* For people: what will be trained, on what, for how long, and where the memory goes. */
void trainer_say_plan(const struct trainer *t) {
  const struct runfile *run = t->run;
  const struct arch *a = &run->arch;
  const struct mixture *m = feed_mixture(t->feed);
  struct arch_params *params;
  char text[PLAN_TEXT_BYTES_MAX];
  char hex[DIGEST_HEX_BYTES];
  char one[32];
  double parameters = 0;
  if (t->options->quiet)
    return;
  if (arch_params_open(a, &params, NULL) == STATUS_OK) {
    parameters = (double)params->param_count;
    arch_params_close(&params);
  }
  digest_hex(&t->digest, hex);
  printf("run        %s, %.16s\n", run->name, hex);
  printf("model      %s, %lld layers, %lld channels, %lld heads, vocabulary %lld: %s parameters\n",
         a->family == ARCH_NEOX ? "neox" : "llama", (long long)a->L, (long long)a->C,
         (long long)a->H, (long long)a->V, io_human_count(parameters, one));
  for (size_t i = 0; i < m->slice_count; i++)
    printf("%s%-16s %8s tokens, %5.1f %%, %llu sequences held out\n",
           i ? "           " : "data       ", m->slices[i].name,
           io_human_count((double)m->slices[i].token_count, one),
           100 * (double)m->slices[i].weight / (double)m->weight_sum,
           (unsigned long long)m->slices[i].holdout_count);
  printf("schedule   %s tokens", io_human_count((double)run->tokens_total, one));
  printf(" in %llu steps of %llu sequences of %llu, %lld at once, recompute %s\n",
         (unsigned long long)trainer_steps(t), (unsigned long long)run->batch_sequences,
         (unsigned long long)run->T, (long long)t->shape.B,
         plan_recompute_name(t->shape.recompute));
  printf("memory     %s\n", plan_text(&t->plan, text));
  fflush(stdout);
}

void trainer_show(struct trainer *t, bool now) {
  char tokens[32];
  char rate[32];
  char left[32];
  char share[32] = "";
  const struct runfile *run = t->run;
  if (t->options->quiet)
    return;
  double left_s = t->rate > 0 ? (double)(run->tokens_total - t->tokens_done) / t->rate : 0;
  if (t->peak_flops > 0)
    snprintf(share, sizeof share, "  %2.0f %% of peak",
             100 * t->flop_per_token * t->rate / t->peak_flops);
  io_progress_show(&t->progress, now,
                   "step %llu/%llu  %s tokens  loss %.3f  %s tok/s%s  norm %.2f  lr %.2e  %s left",
                   (unsigned long long)t->step, (unsigned long long)trainer_steps(t),
                   io_human_count((double)t->tokens_done, tokens), t->loss,
                   io_human_count(t->rate, rate), share, t->grad_norm, t->lr,
                   io_human_seconds(left_s, left));
}

/* Write a metric down and into the picture. The file goes to the disk every few seconds, so that a
 * kill costs no more than that. */
enum status trainer_note(struct trainer *t, const struct metric *m, struct why *why) {
  curve_take(t->curve, m);
  TRY(metrics_add(t->metrics, m, why));
  uint64_t now_ms = io_now_ms();
  if (now_ms - t->synced_ms < SYNC_MS)
    return STATUS_OK;
  t->synced_ms = now_ms;
  return metrics_sync(t->metrics, why);
}

/* The mean loss of a slice's first held-out sequences. */
static enum status slice_loss(struct trainer *t, size_t slice, uint64_t samples, double *out,
                              struct why *why) {
  uint64_t B = (uint64_t)t->shape.B;
  uint64_t T = t->run->T;
  double sum = 0;
  for (uint64_t done = 0; done < samples; done += B) {
    uint64_t count = samples - done < B ? samples - done : B;
    double mean;
    if (io_stop_wanted())
      return STATUS_STOPPED;
    for (uint64_t b = 0; b < count; b++)
      TRY(feed_holdout(t->feed, slice, done + b, t->tokens + b * T, t->targets + b * T, why));
    TRY(transformer_loss(t->model, t->tokens, t->targets, (int64_t)count, (int64_t)T, &mean, NULL,
                         why));
    sum += mean * (double)count;
  }
  *out = sum / (double)samples;
  return STATUS_OK;
}

/* All slices or none: a validation that is interrupted leaves no lines and is made up for when the
 * run goes on. */
enum status trainer_validate(struct trainer *t, struct why *why) {
  const struct mixture *m = feed_mixture(t->feed);
  double losses[SLICE_COUNT_MAX];
  uint64_t samples = t->run->validation_samples;
  for (size_t i = 0; i < m->slice_count; i++)
    TRY(slice_loss(t, i, samples, &losses[i], why));
  for (size_t i = 0; i < m->slice_count; i++) {
    struct metric line = {.kind = METRIC_VALIDATION,
                          .step = t->step,
                          .tokens = t->tokens_done,
                          .loss = losses[i],
                          .samples = samples};
    memcpy(line.name, m->slices[i].name, sizeof line.name);
    TRY(trainer_note(t, &line, why));
    trainer_say(t, "validation step %llu  %-16s %.4f", (unsigned long long)t->step,
                m->slices[i].name, losses[i]);
  }
  t->seen.validation_step = t->step;
  return STATUS_OK;
}

static enum status save_curve(struct trainer *t, struct why *why) {
  char path[PATH_BYTES_MAX];
  char *svg;
  size_t svg_bytes;
  enum status s = curve_draw(t->curve, NULL, &svg, &svg_bytes, why);
  if (s == STATUS_MISSING)
    return STATUS_OK; /* no step had a loss yet: nothing to draw */
  TRY(s);
  s = io_path_join(t->run->folder, "curve.svg", path, why);
  if (s == STATUS_OK)
    s = io_file_write(path, svg, svg_bytes, why);
  free(svg);
  return s;
}

/* Metrics reach the disk before the checkpoint does, so that a checkpoint's past is always there.
 * Old checkpoints go only when the new one is whole. */
enum status trainer_save(struct trainer *t, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct checkpoint_state state = {.step = (uint64_t)transformer_step(t->model),
                                   .tokens = t->tokens_done,
                                   .samples = t->sample_next,
                                   .run = t->digest,
                                   .tokenizer = feed_tokenizer(t->feed)};
  struct metric line = {.kind = METRIC_CHECKPOINT, .step = t->step, .tokens = t->tokens_done};
  TRY(metrics_sync(t->metrics, why));
  TRY(savepoints_path(t->run->folder, t->step, path, why));
  TRY(checkpoint_write(path, t->model, &state, t->tokenizer, true, why));
  t->saved_step = t->step;
  snprintf(line.name, sizeof line.name, "step-%llu", (unsigned long long)t->step);
  TRY(trainer_note(t, &line, why));
  TRY(savepoints_retain(t->run->folder, t->run->checkpoint_keep, why));
  trainer_say(t, "checkpoint %s", path);
  return save_curve(t, why);
}
