#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/train/trainer_inside.h"
#include "proto/base/claim.h"
#include "proto/base/io_file.h"

/* Rows at once past which a larger micro-batch is no faster on a processor: the matrix products are
 * then long enough. */
enum { ROWS_ENOUGH = 4096, PEAK_WIDTH = 768, PEAK_TRIALS = 20 };

/* ---- the model it starts from ---- */

/* The first number in which the run file's model is another than the one to start from. */
static const char *arch_difference(const struct arch *a, const struct arch *b) {
  if (a->family != b->family)
    return "family";
  if (a->L != b->L)
    return "layers";
  if (a->C != b->C)
    return "channels";
  if (a->F != b->F)
    return "feed_forward";
  if (a->H != b->H)
    return "heads";
  if (a->HK != b->HK)
    return "kv_heads";
  if (a->V != b->V)
    return "vocabulary";
  if (a->R != b->R)
    return "rotary_fraction";
  if (a->rope_base != b->rope_base)
    return "rope_base";
  if (a->norm_eps != b->norm_eps)
    return "norm_eps";
  if (a->parallel_residual != b->parallel_residual)
    return "parallel_residual";
  if (a->tied != b->tied)
    return "tied";
  if (a->family == ARCH_NEOX && a->activation != b->activation)
    return "activation";
  return NULL;
}

static enum status look_at_start(struct trainer *t, struct checkpoint_info *info, struct why *why) {
  struct runfile *run = t->run;
  size_t line = runfile_line(run, "start_from");
  enum status s = checkpoint_inspect(run->start_from, info, why);
  if (s != STATUS_OK)
    return why_prefix(why, s, "%s:%zu: key \"start_from\": ", run->file, line);
  if (!run->has_model)
    return runfile_take_arch(run, &info->arch, why);
  const char *other = arch_difference(&run->arch, &info->arch);
  if (other)
    return why_say(why, STATUS_MISMATCH,
                   "%s: key \"model.%s\": the model is not that of '%s'; leave the model section "
                   "out, and it is taken from there",
                   run->file, other, run->start_from);
  return STATUS_OK;
}

/* ---- tokenizer: goes beside every checkpoint, so that it can be sampled from ---- */

static enum status open_tokenizer(struct trainer *t, const struct checkpoint_info *start,
                                  struct why *why) {
  static const struct digest unknown;
  struct digest of_data = feed_tokenizer(t->feed);
  const char *path = feed_tokenizer_path(t->feed);
  if (t->run->start_from[0] && !digest_equal(&start->state.tokenizer, &unknown) &&
      !digest_equal(&of_data, &unknown) && !digest_equal(&start->state.tokenizer, &of_data))
    return why_say(why, STATUS_MISMATCH,
                   "%s:%zu: key \"start_from\": '%s' was trained with another tokenizer than the "
                   "data was made with",
                   t->run->file, runfile_line(t->run, "start_from"), t->run->start_from);
  if (!path && t->run->start_from[0] && start->has_tokenizer)
    path = t->run->start_from;
  return path ? tokenizer_open(path, &t->tokenizer, why) : STATUS_OK;
}

/* ---- the memory plan ---- */

/* As many sequences at once as make long matrix products, and preferably a divisor of the batch, so
 * that no micro-batch is partly empty. */
static int64_t wished_micro(const struct runfile *run) {
  if (run->micro_sequences)
    return (int64_t)run->micro_sequences;
  uint64_t most = run->T >= ROWS_ENOUGH ? 1 : ROWS_ENOUGH / run->T;
  if (most > run->batch_sequences)
    most = run->batch_sequences;
  for (uint64_t b = most; b > most / 2; b--)
    if (run->batch_sequences % b == 0)
      return (int64_t)b;
  return (int64_t)most;
}

static enum status choose_shape(struct trainer *t, uint64_t bytes, struct why *why) {
  const struct runfile *run = t->run;
  int64_t wished = wished_micro(run);
  int least = run->recompute_auto ? RECOMPUTE_NONE : (int)run->recompute;
  int most = run->recompute_auto ? RECOMPUTE_LAYER : (int)run->recompute;
  t->shape = (struct transformer_options){.T = (int64_t)run->T, .training = true};
  for (int level = least; level <= most; level++) {
    t->shape.recompute = (enum transformer_recompute)level;
    for (t->shape.B = wished; t->shape.B >= 1; t->shape.B /= 2) {
      TRY(plan_make(t->engine, &run->arch, &t->shape, &t->plan, why));
      if (t->plan.total <= bytes)
        return STATUS_OK;
      if (run->micro_sequences)
        break;
    }
  }
  t->shape.B = run->micro_sequences ? wished : 1;
  enum status s = plan_fit(t->engine, &run->arch, &t->shape, bytes, &t->plan, why);
  return s == STATUS_OK ? s : why_prefix(why, s, "%s: ", run->file);
}

/* ---- this machine's matrix-product peak ---- */

/* Best of a few products of square matrices: what a perfect trainer could reach here. 0 where there
 * is no memory for it. */
static double measure_peak(struct engine *e) {
  const struct shapes shapes = {.B = 1,
                                .T = PEAK_WIDTH,
                                .S = PEAK_WIDTH,
                                .C = PEAK_WIDTH,
                                .F = PEAK_WIDTH,
                                .H = 1,
                                .HK = 1,
                                .D = 64,
                                .V = PEAK_WIDTH};
  size_t bytes = sizeof(float) * PEAK_WIDTH * PEAK_WIDTH;
  struct linear_args a = {.M = PEAK_WIDTH, .N = PEAK_WIDTH, .K = PEAK_WIDTH};
  void *memory[3] = {NULL};
  double best = 0;
  bool ready = engine_reserve(e, &shapes, NULL) == STATUS_OK;
  for (int i = 0; i < 3 && ready; i++) {
    ready = engine_alloc(e, bytes, &memory[i]) == STATUS_OK;
    if (ready)
      e->ops->zero(e, memory[i], bytes);
  }
  a.x = memory[0];
  a.w = memory[1];
  a.out = memory[2];
  for (int i = 0; i < PEAK_TRIALS && ready; i++) {
    uint64_t start_ns = io_now_ns();
    e->ops->linear(e, &a);
    ready = engine_sync(e, NULL) == STATUS_OK;
    double took_s = (double)(io_now_ns() - start_ns) / 1e9;
    best = fmax(best, 2.0 * PEAK_WIDTH * PEAK_WIDTH * PEAK_WIDTH / took_s);
  }
  for (int i = 0; i < 3; i++)
    engine_release(e, &memory[i], bytes);
  return best;
}

/* With an engine of its own: the training engine's scratch stays what the plan says. */
static void find_peak(struct trainer *t) {
  struct engine *e;
  char one[32];
  const struct engine_cpu_options options = {.thread_count = (int)t->run->thread_count};
  if (t->options->quiet || engine_cpu_open(&options, &e, NULL) != STATUS_OK)
    return;
  t->peak_flops = measure_peak(e);
  engine_close(&e);
  trainer_say(t, "machine    %s engine, %d threads, matrix products at %sFLOP/s",
              t->engine->ops->name, t->engine->thread_count, io_human_count(t->peak_flops, one));
}

/* ---- the run's identity ---- */

static enum status make_canonical(struct trainer *t, struct why *why) {
  t->canonical = malloc(TRAINER_TEXT_BYTES_MAX);
  if (!t->canonical)
    return why_say(why, STATUS_NOMEM, "no memory for the run's canonical text");
  TRY(runfile_canonical(t->run, t->canonical, TRAINER_TEXT_BYTES_MAX, why));
  size_t used = strlen(t->canonical);
  TRY(feed_canonical(t->feed, t->canonical + used, TRAINER_TEXT_BYTES_MAX - used, why));
  t->digest = digest_of(DIGEST_RUN, t->canonical, strlen(t->canonical));
  return STATUS_OK;
}

enum status trainer_prepare(struct trainer *t, struct why *why) {
  struct runfile *run = t->run;
  struct checkpoint_info start = {0};
  const struct engine_cpu_options options = {.thread_count = (int)run->thread_count};
  if (run->start_from[0])
    TRY(look_at_start(t, &start, why));
  TRY(feed_open(run, &t->feed, why));
  TRY(open_tokenizer(t, &start, why));
  TRY(make_canonical(t, why));
  t->schedule = (struct schedule){.lr = run->lr,
                                  .lr_min = run->lr_min,
                                  .warmup_tokens = run->warmup_tokens,
                                  .tokens_total = run->tokens_total};
  TRY(schedule_check(&t->schedule, why));
  t->sample_total = run->tokens_total / run->T;
  t->flop_per_token = arch_flop_per_token(&run->arch, (int64_t)run->T);
  TRY(engine_cpu_open(&options, &t->engine, why));
  uint64_t bytes = run->memory_bytes ? run->memory_bytes : io_memory_bytes() / 5 * 4;
  TRY(choose_shape(t, bytes, why));
  trainer_say_plan(t);
  return STATUS_OK;
}

/* ---- where it stopped ---- */

/* The checkpoint is of another run: say in which keys, from the canonical text beside it. */
static enum status say_other_run(struct trainer *t, const struct digest *theirs, const char *path,
                                 struct why *why) {
  char text_path[PATH_BYTES_MAX];
  char keys[512];
  struct io_bytes text;
  bool known = io_path_join(t->run->folder, "run.txt", text_path, NULL) == STATUS_OK &&
               io_file_read(text_path, TRAINER_TEXT_BYTES_MAX, &text, NULL) == STATUS_OK;
  bool said = false;
  if (known) {
    struct digest d = digest_of(DIGEST_RUN, text.at, text.count);
    said = digest_equal(&d, theirs) &&
           runfile_difference((const char *)text.at, t->canonical, keys, sizeof keys);
    io_bytes_free(&text);
  }
  return why_say(why, STATUS_MISMATCH,
                 "'%s' belongs to another run%s%s; undo that, or give this run another "
                 "checkpoint.folder",
                 path, said ? ": " : "", said ? keys : "");
}

/* Whether this failure means that the checkpoint is spoilt, and not the machine in trouble. */
static bool is_spoilt(enum status s) {
  return s == STATUS_BAD || s == STATUS_SHORT || s == STATUS_FORGED || s == STATUS_MISSING ||
         s == STATUS_MISMATCH || s == STATUS_RANGE || s == STATUS_UNSUPPORTED;
}

static enum status read_savepoint(struct trainer *t, uint64_t step, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct checkpoint_info info;
  struct checkpoint_state state;
  TRY(savepoints_path(t->run->folder, step, path, why));
  TRY(checkpoint_inspect(path, &info, why));
  if (!info.has_manifest || !info.has_optimizer)
    return why_say(why, STATUS_SHORT, "'%s' holds no training state", path);
  if (!digest_equal(&info.state.run, &t->digest)) {
    say_other_run(t, &info.state.run, path, why);
    return STATUS_STALE;
  }
  TRY(checkpoint_read(path, t->model, &state, true, why));
  uint64_t batch = t->run->batch_sequences;
  if (state.samples > t->sample_total || (state.samples + batch - 1) / batch != step ||
      state.tokens != state.samples * t->run->T || state.step > step)
    return why_say(why, STATUS_BAD, "'%s' says that it is at sample %llu and %llu tokens", path,
                   (unsigned long long)state.samples, (unsigned long long)state.tokens);
  t->step = step;
  t->saved_step = step;
  t->sample_next = state.samples;
  t->tokens_done = state.tokens;
  transformer_step_set(t->model, (int64_t)state.step);
  return STATUS_OK;
}

/* Go on from the newest checkpoint that is whole. One that is not is set aside by name, loudly. */
static enum status resume(struct trainer *t, struct why *why) {
  struct savepoints list;
  TRY(savepoints_list(t->run->folder, &list, why));
  for (size_t i = list.count; i > 0; i--) {
    uint64_t step = list.steps[i - 1];
    enum status s = read_savepoint(t, step, why);
    if (s == STATUS_STALE)
      return STATUS_MISMATCH;
    if (s == STATUS_OK || !is_spoilt(s))
      return s;
    if (i == 1)
      return why_prefix(why, s,
                        "no whole checkpoint is left in '%s'; remove it to begin again. The last "
                        "one tried: ",
                        t->run->folder);
    trainer_say(t, "WARNING    step-%llu is damaged: %s", (unsigned long long)step, why->text);
    trainer_say(t, "           it is set aside as step-%llu.damaged; going back to step-%llu",
                (unsigned long long)step, (unsigned long long)list.steps[i - 2]);
    TRY(savepoints_set_aside(t->run->folder, step, why));
  }
  return STATUS_OK;
}

static enum status first_weights(struct trainer *t, struct why *why) {
  struct checkpoint_state imported;
  char path[PATH_BYTES_MAX];
  transformer_init(t->model, t->run->seed);
  if (t->run->start_from[0])
    TRY(checkpoint_read(t->run->start_from, t->model, &imported, false, why));
  transformer_step_set(t->model, 0);
  TRY(io_path_join(t->run->folder, "run.txt", path, why));
  return io_file_write(path, t->canonical, strlen(t->canonical), why);
}

/* ---- records ---- */

static void fill_start(const struct trainer *t, struct metric *m) {
  *m = (struct metric){.kind = METRIC_START,
                       .step = t->step,
                       .tokens = t->tokens_done,
                       .wall_ms = io_wall_ms(),
                       .threads = (uint64_t)t->engine->thread_count,
                       .micro = (uint64_t)t->shape.B};
  memcpy(m->name, t->run->name, sizeof m->name);
  bool bytes = t->tokenizer && tokenizer_is_byte(t->tokenizer);
  snprintf(m->unit, sizeof m->unit, "%s", bytes ? "byte" : "token");
  snprintf(m->engine, sizeof m->engine, "%s", t->engine->ops->name);
  snprintf(m->recompute, sizeof m->recompute, "%s", plan_recompute_name(t->shape.recompute));
  digest_hex(&t->digest, m->run);
}

static enum status open_records(struct trainer *t, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct metric now;
  uint64_t bad;
  TRY(curve_open(&t->curve, why));
  TRY(io_path_join(t->run->folder, "metrics.jsonl", path, why));
  TRY(metrics_open(path, t->step, &t->metrics, &t->seen, why));
  TRY(metrics_read(path, curve_take, t->curve, &bad, why));
  fill_start(t, &now);
  if (t->seen.bad_lines)
    trainer_say(t, "warning    %llu lines of metrics.jsonl cannot be read",
                (unsigned long long)t->seen.bad_lines);
  const struct metric *was = &t->seen.start;
  if (was->name[0] && (was->threads != now.threads || was->micro != now.micro ||
                       strcmp(was->engine, now.engine) != 0))
    trainer_say(t,
                "note       %llu threads and %llu sequences at once before, %llu and %llu now: the "
                "numbers agree only up to rounding",
                (unsigned long long)was->threads, (unsigned long long)was->micro,
                (unsigned long long)now.threads, (unsigned long long)now.micro);
  t->synced_ms = io_now_ms();
  return trainer_note(t, &now, why);
}

enum status trainer_begin(struct trainer *t, struct why *why) {
  size_t ids = (size_t)t->shape.B * t->run->T;
  find_peak(t);
  TRY(savepoints_lock(t->run->folder, &t->lock, why));
  TRY(transformer_open(t->engine, &t->run->arch, &t->shape, &t->model, why));
  t->tokens = malloc(ids * sizeof *t->tokens);
  t->targets = malloc(ids * sizeof *t->targets);
  if (!t->tokens || !t->targets)
    return why_say(why, STATUS_NOMEM, "no memory for a batch of %zu tokens", ids);
  TRY(resume(t, why));
  if (t->step == 0)
    TRY(first_weights(t, why));
  if (t->step)
    trainer_say(t, "start      from %s/step-%llu", t->run->folder, (unsigned long long)t->step);
  else if (t->run->start_from[0])
    trainer_say(t, "start      from the weights of %s", t->run->start_from);
  else
    trainer_say(t, "start      from random weights, seed %llu", (unsigned long long)t->run->seed);
  return open_records(t, why);
}
