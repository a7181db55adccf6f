#include "tests/unit/support_ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cmocka.h needs those before it */
#include <cmocka.h>

static const double guard_value = 1536; /* exact in every dtype */

static struct engine *engines[OPS_ENGINES_MAX]; /* the reference first */
static char labels[OPS_ENGINES_MAX][OPS_LABEL_BYTES];
static int engine_count;

static void keep(struct engine *e, const char *isa, int threads) {
  assert_true(engine_count < OPS_ENGINES_MAX);
  engines[engine_count] = e;
  snprintf(labels[engine_count++], OPS_LABEL_BYTES, "%s %s, %d threads", e->ops->name, isa,
           threads);
}

void ops_engines_open(void) {
  static const char *const isas[] = {"base", "avx2", "avx512"};
  static const int threads[] = {1, 2, 3, 5};
  struct why why;
  struct engine *e;
  assert_int_equal(engine_ref_open(&e, &why), STATUS_OK);
  keep(e, "f64", 1);
  for (size_t i = 0; i < 3; i++) {
    for (size_t t = 0; t < 4; t++) {
      struct engine_cpu_options o = {.thread_count = threads[t], .isa = isas[i]};
      enum status s = engine_cpu_open(&o, &e, &why);
      if (s == STATUS_UNSUPPORTED) {
        print_message("SKIP cpu %s, %d threads: %s\n", isas[i], threads[t], why.text);
        continue;
      }
      assert_int_equal(s, STATUS_OK);
      keep(e, isas[i], threads[t]);
    }
  }
}

void ops_engines_close(void) {
  while (engine_count > 0)
    engine_close(&engines[--engine_count]);
}

int ops_engine_count(void) {
  return engine_count - 1;
}

static int significant_bits(enum dtype t) {
  switch (t) {
    case DTYPE_F64: return 53;
    case DTYPE_F32: return 24;
    case DTYPE_F16: return 11;
    case DTYPE_BF16: return 8;
  }
  return 0;
}

/* The norm-wise bound: about 100 roundings. The facts that set them are for whole ops of ordinary
 * width; elements may be a few times further off than the norm. */
static double tolerance(enum dtype t) {
  switch (t) {
    case DTYPE_F64: return 1e-13;
    case DTYPE_F32: return 1e-5;
    case DTYPE_F16: return 2e-3;
    case DTYPE_BF16: return 1.6e-2;
  }
  return 0;
}

/* To the narrowest type of all engines, so that no engine rounds its inputs. */
static double rounded(double x) {
  int bits = 53;
  for (int i = 0; i < engine_count; i++)
    if (significant_bits(engines[i]->dtype) < bits)
      bits = significant_bits(engines[i]->dtype);
  int exponent;
  double fraction = frexp(x, &exponent);
  return ldexp(rint(ldexp(fraction, bits)), exponent - bits);
}

static struct ops_tensor *tensor(struct ops_run *r, enum dtype type, const char *name,
                                 int64_t count) {
  assert_true(r->count < OPS_TENSORS_MAX);
  struct ops_tensor *t = &r->tensors[r->count];
  *t = (struct ops_tensor){.name = name, .type = type, .count = count};
  t->loose = r->loose;
  t->floor = r->floor;
  t->guard = 16 + r->count++ % 3;
  int64_t whole = count + 2 * t->guard;
  assert_int_equal(engine_alloc(r->e, (size_t)whole * dtype_bytes(type), &t->block), STATUS_OK);
  t->at = (char *)t->block + (size_t)t->guard * dtype_bytes(type);
  double *fill = malloc((size_t)whole * sizeof *fill);
  assert_non_null(fill);
  for (int64_t i = 0; i < whole; i++)
    fill[i] = i < t->guard || i >= t->guard + count ? guard_value : NAN;
  r->e->ops->upload(r->e, t->block, type, fill, whole);
  free(fill);
  return t;
}

static void *drawn(struct ops_run *r, const char *name, int64_t count, double scale) {
  struct ops_tensor *t = tensor(r, r->e->dtype, name, count);
  double *values = malloc((size_t)(count + 1) * sizeof *values);
  assert_non_null(values);
  for (int64_t i = 0; i < count; i++)
    values[i] = rounded(scale * prng_normal(&r->random));
  r->e->ops->upload(r->e, t->at, t->type, values, count);
  free(values);
  return t->at;
}

void *ops_input(struct ops_run *r, int64_t count, double scale) {
  return drawn(r, NULL, count, scale);
}

void *ops_input_values(struct ops_run *r, const double *values, int64_t count) {
  struct ops_tensor *t = tensor(r, r->e->dtype, NULL, count);
  r->e->ops->upload(r->e, t->at, t->type, values, count);
  return t->at;
}

void *ops_output(struct ops_run *r, const char *name, int64_t count) {
  return tensor(r, r->e->dtype, name, count)->at;
}

void *ops_output_from(struct ops_run *r, const char *name, int64_t count, double scale) {
  return drawn(r, name, count, scale);
}

void *ops_output_maybe(struct ops_run *r, const char *name, int64_t count, bool accumulate) {
  return accumulate ? drawn(r, name, count, 1) : ops_output(r, name, count);
}

void *ops_stat_output(struct ops_run *r, const char *name, int64_t count) {
  return tensor(r, r->e->stat, name, count)->at;
}

void *ops_stat_values(struct ops_run *r, const char *name, const double *values, int64_t count) {
  struct ops_tensor *t = tensor(r, r->e->stat, name, count);
  r->e->ops->upload(r->e, t->at, t->type, values, count);
  return t->at;
}

void ops_register(struct ops_run *r, const void *at, const char *name) {
  for (int i = 0; i < r->count; i++)
    if (r->tensors[i].at == at)
      r->tensors[i].name = name;
}

void ops_poison(struct ops_run *r, const void *at, int64_t index, double with) {
  r->e->ops->upload(r->e, ops_at(r, (void *)(uintptr_t)at, index), r->e->dtype, &with, 1);
  r->poisoned = true;
}

void *ops_at(const struct ops_run *r, void *at, int64_t elements) {
  return (char *)at + elements * (int64_t)dtype_bytes(r->e->dtype);
}

int32_t *ops_tokens(struct ops_run *r, int64_t count, int32_t low, int32_t high) {
  /* Kept in a tensor of four-byte elements so that it is released like the others. */
  assert_true(r->count < OPS_TENSORS_MAX);
  struct ops_tensor *t = &r->tensors[r->count++];
  *t = (struct ops_tensor){.type = DTYPE_F32, .count = count};
  assert_int_equal(engine_alloc(r->e, (size_t)count * 4, &t->block), STATUS_OK);
  t->at = t->block;
  int32_t *values = malloc((size_t)count * sizeof *values);
  assert_non_null(values);
  for (int64_t i = 0; i < count; i++)
    values[i] = low + (int32_t)prng_below(&r->random, (uint64_t)(high - low));
  r->e->ops->upload_i32(r->e, t->at, values, count);
  free(values);
  return t->at;
}

/* Bring the results home, look at the guards, release the engine's memory. */
static void finish(struct ops_run *r, const char *name, const char *label) {
  struct why why;
  assert_int_equal(engine_sync(r->e, &why), STATUS_OK);
  for (int i = 0; i < r->count; i++) {
    struct ops_tensor *t = &r->tensors[i];
    int64_t whole = t->count + 2 * t->guard;
    double *all = malloc((size_t)(whole + 1) * sizeof *all);
    assert_non_null(all);
    if (t->guard)
      r->e->ops->download(r->e, all, t->block, t->type, whole);
    for (int64_t g = 0; g < t->guard; g++)
      if (all[g] != guard_value || all[whole - 1 - g] != guard_value)
        fail_msg("%s on %s: wrote outside tensor %d (%s)", name, label, i,
                 t->name ? t->name : "an input");
    memmove(all, all + t->guard, (size_t)t->count * sizeof *all);
    t->result = all;
    engine_release(r->e, &t->block, (size_t)whole * dtype_bytes(t->type));
  }
}

static void forget(struct ops_run *r) {
  for (int i = 0; i < r->count; i++)
    free(r->tensors[i].result);
}

static void near(const char *name, const char *label, const struct ops_tensor *want,
                 const struct ops_tensor *got, const struct ops_run *r) {
  double square = 0, error = 0, bound = tolerance(r->e->dtype) * got->loose;
  for (int64_t i = 0; i < want->count; i++) {
    if (!isfinite(want->result[i]))
      continue;
    square += want->result[i] * want->result[i];
    error += pow(want->result[i] - got->result[i], 2);
  }
  double typical = sqrt(square / (double)want->count);
  for (int64_t i = 0; i < want->count; i++) {
    double w = want->result[i], g = got->result[i];
    bool fine = fabs(w - g) <= 8 * bound * (fabs(w) + typical) + got->floor;
    if (!isfinite(w))
      fine = isnan(w) ? isnan(g) : w == g;
    if (!fine)
      fail_msg("%s on %s: %s[%lld] is %.9g, the reference has %.9g (typical %.3g)", name, label,
               want->name, (long long)i, g, w, typical);
  }
  if (sqrt(error) > bound * sqrt(square) + got->floor * sqrt((double)want->count))
    fail_msg("%s on %s: %s is off by %.3g in norm, allowed %.3g", name, label, want->name,
             sqrt(error / square), bound);
}

/* An overflow may show as infinity in one engine and as NaN in another, and may spread further. */
static void not_finite_where(const char *name, const char *label, const struct ops_tensor *want,
                             const struct ops_tensor *got) {
  for (int64_t i = 0; i < want->count; i++)
    if (!isfinite(want->result[i]) && isfinite(got->result[i]))
      fail_msg("%s on %s: %s[%lld] is %.9g, the reference has %g", name, label, want->name,
               (long long)i, got->result[i], want->result[i]);
}

static void compare(const char *name, const char *label, const struct ops_run *want,
                    const struct ops_run *got, const struct ops_run *again) {
  assert_int_equal(want->count, got->count);
  for (int i = 0; i < want->count; i++) {
    if (!want->tensors[i].name)
      continue;
    if (want->poisoned)
      not_finite_where(name, label, &want->tensors[i], &got->tensors[i]);
    else
      near(name, label, &want->tensors[i], &got->tensors[i], got);
    if (memcmp(got->tensors[i].result, again->tensors[i].result,
               (size_t)want->tensors[i].count * sizeof(double)) != 0)
      fail_msg("%s on %s: two runs differ in %s", name, label, want->tensors[i].name);
  }
}

static void run_on(int engine, struct ops_run *r, const char *name,
                   void (*run)(struct ops_run *, const void *), const void *params) {
  *r = (struct ops_run){.e = engines[engine], .random = prng_seeded(1, PRNG_TEST), .loose = 1};
  run(r, params);
  finish(r, name, labels[engine]);
}

static void agree_from(int first, const char *name, void (*run)(struct ops_run *, const void *),
                       const void *params, const struct shapes *most) {
  static struct ops_run want, got, again;
  struct why why;
  assert_int_equal(engine_reserve(engines[0], most, &why), STATUS_OK);
  run_on(0, &want, name, run, params);
  for (int i = first; i < engine_count; i++) {
    assert_int_equal(engine_reserve(engines[i], most, &why), STATUS_OK);
    run_on(i, &got, name, run, params);
    run_on(i, &again, name, run, params);
    compare(name, labels[i], &want, &got, &again);
    forget(&got);
    forget(&again);
  }
  forget(&want);
}

void ops_agree(const char *name, void (*run)(struct ops_run *r, const void *params),
               const void *params, const struct shapes *most) {
  agree_from(1, name, run, params, most);
}

void ops_agree_once(const char *name, void (*run)(struct ops_run *r, const void *params),
                    const void *params, const struct shapes *most) {
  agree_from(engine_count - 1, name, run, params, most);
}
