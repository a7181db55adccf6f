#include "node/model/plan.h"

#include <stdio.h>

#include "node/model/layout.h"
#include "proto/base/claim.h"

const char *plan_recompute_name(enum transformer_recompute r) {
  static const char *const names[RECOMPUTE_COUNT] = {"none", "cheap", "layer"};
  CLAIM(r < RECOMPUTE_COUNT);
  return names[r];
}

static enum status check_options(const struct arch *a, const struct transformer_options *o,
                                 struct why *why) {
  if (o->B < 1 || o->B > SHAPE_B_MAX)
    return why_say(why, STATUS_RANGE, "a micro-batch of %lld sequences; it must be 1 to %d",
                   (long long)o->B, SHAPE_B_MAX);
  if (o->T < 1 || o->T > a->T)
    return why_say(why, STATUS_RANGE, "sequences of %lld tokens; this model takes 1 to %lld",
                   (long long)o->T, (long long)a->T);
  if (o->B * o->T > TRANSFORMER_ROWS_MAX)
    return why_say(why, STATUS_RANGE,
                   "a micro-batch of %lld tokens; it must be at most %d: use more micro-batches",
                   (long long)(o->B * o->T), TRANSFORMER_ROWS_MAX);
  if ((int)o->recompute < 0 || o->recompute >= RECOMPUTE_COUNT)
    return why_say(why, STATUS_RANGE, "recompute level %d; it must be 0 to %d", (int)o->recompute,
                   RECOMPUTE_COUNT - 1);
  return STATUS_OK;
}

enum status plan_make(const struct engine *e, const struct arch *a,
                      const struct transformer_options *o, struct plan *out, struct why *why) {
  TRY(arch_check(a, why));
  TRY(check_options(a, o, why));
  struct arch_params *params;
  TRY(arch_params_open(a, &params, why));
  size_t values = (size_t)params->values;
  arch_params_close(&params);
  size_t value_bytes = dtype_bytes(e->dtype), stat_bytes = dtype_bytes(e->stat);
  struct shapes shapes = transformer_shapes(a, o);
  struct layout layout;
  layout_make(a, o, value_bytes, stat_bytes, &layout);
  struct plan p = {.weights = values * value_bytes,
                   .activations = layout.bytes,
                   .scratch = engine_scratch_bytes(e, &shapes)};
  if (o->training) {
    p.gradients = values * value_bytes;
    p.moments =
        2 * values * stat_bytes + (value_bytes < sizeof(float) ? values * sizeof(float) : 0);
  } else {
    p.cache = (size_t)(a->L * o->T * layout_cache_channels(a)) * value_bytes;
  }
  p.total = p.weights + p.gradients + p.moments + p.activations + p.scratch + p.cache;
  *out = p;
  return STATUS_OK;
}

struct shapes transformer_shapes(const struct arch *a, const struct transformer_options *o) {
  return (struct shapes){.B = o->B,
                         .T = o->T,
                         .S = o->T,
                         .C = a->C,
                         .F = a->F,
                         .H = a->H,
                         .HK = a->HK,
                         .D = a->D,
                         .V = a->V};
}

static const char *human(size_t bytes, char out[32]) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = (double)bytes;
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
    value /= 1000;
    unit++;
  }
  snprintf(out, 32, "%.3g %s", value, units[unit]);
  return out;
}

const char *plan_text(const struct plan *p, char *out) {
  const struct {
    const char *name;
    size_t bytes;
  } parts[] = {{"weights", p->weights}, {"gradients", p->gradients},
               {"moments", p->moments}, {"activations", p->activations},
               {"cache", p->cache},     {"scratch", p->scratch}};
  char number[32];
  const char *between = ": ";
  int used = snprintf(out, PLAN_TEXT_BYTES_MAX, "%s", human(p->total, number));
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    if (!parts[i].bytes)
      continue;
    used += snprintf(out + used, (size_t)(PLAN_TEXT_BYTES_MAX - used), "%s%s %s", between,
                     parts[i].name, human(parts[i].bytes, number));
    between = ", ";
  }
  return out;
}

static bool fits(const struct engine *e, const struct arch *a, const struct transformer_options *o,
                 size_t bytes, struct plan *p) {
  return plan_make(e, a, o, p, NULL) == STATUS_OK && p->total <= bytes;
}

/* The most sequences below `limit` that fit with these options; 0: not even one. */
static int64_t largest_batch(const struct engine *e, const struct arch *a,
                             const struct transformer_options *options, int64_t limit,
                             size_t bytes) {
  struct transformer_options o = *options;
  struct plan p;
  int64_t fit = 0, unfit = limit;
  while (unfit - fit > 1) {
    o.B = fit + (unfit - fit) / 2;
    if (fits(e, a, &o, bytes, &p))
      fit = o.B;
    else
      unfit = o.B;
  }
  return fit;
}

/* More recomputing first: it changes nothing else. Then the largest smaller micro-batch, at the
 * asked level and at the highest. Then the largest preset that fits at all. */
static void advise(const struct engine *e, const struct arch *a,
                   const struct transformer_options *asked, size_t bytes, char *out,
                   size_t out_bytes) {
  struct transformer_options o = *asked;
  struct plan p;
  char number[32];
  for (int r = (int)asked->recompute + 1; asked->training && r < RECOMPUTE_COUNT; r++) {
    o.recompute = (enum transformer_recompute)r;
    if (fits(e, a, &o, bytes, &p)) {
      snprintf(out, out_bytes, "it fits with recompute %s (%s)", plan_recompute_name(o.recompute),
               human(p.total, number));
      return;
    }
  }
  int64_t B = largest_batch(e, a, &o, asked->B, bytes);
  for (int r = (int)asked->recompute; B > 0 && r <= (int)o.recompute; r++) {
    struct transformer_options less = *asked;
    less.B = B;
    less.recompute = (enum transformer_recompute)r;
    if (!fits(e, a, &less, bytes, &p))
      continue;
    snprintf(out, out_bytes, "it fits with a micro-batch of %lld and recompute %s (%s)",
             (long long)B, plan_recompute_name(less.recompute), human(p.total, number));
    return;
  }
  const char *best = NULL;
  size_t best_bytes = 0;
  o.B = 1;
  for (size_t i = 0; arch_preset_name(i); i++) {
    struct arch preset;
    if (arch_preset(arch_preset_name(i), &preset, NULL) != STATUS_OK)
      continue;
    struct transformer_options smaller = o;
    smaller.T = o.T < preset.T ? o.T : preset.T;
    if (fits(e, &preset, &smaller, bytes, &p) && p.weights > best_bytes) {
      best = arch_preset_name(i);
      best_bytes = p.weights;
    }
  }
  snprintf(out, out_bytes,
           best ? "preset %s fits with a micro-batch of 1 and recompute %s" : "no preset fits",
           best, plan_recompute_name(o.recompute));
}

enum status plan_fit(const struct engine *e, const struct arch *a,
                     const struct transformer_options *o, size_t bytes, struct plan *out,
                     struct why *why) {
  TRY(plan_make(e, a, o, out, why));
  if (out->total <= bytes)
    return STATUS_OK;
  char advice[160], text[PLAN_TEXT_BYTES_MAX], number[32];
  advise(e, a, o, bytes, advice, sizeof advice);
  return why_say(why, STATUS_NOMEM, "the model needs %s, and %s are there; %s",
                 plan_text(out, text), human(bytes, number), advice);
}
