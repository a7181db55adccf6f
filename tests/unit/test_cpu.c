/* The CPU engine's own parts: its threads, its vector functions, its memory. That its ops compute
 * the right numbers is the business of test_ops_agree. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/io_pool.h"
#include "kernels/cpu/isa.h"
#include "proto/base/prng.h"

static struct why why;
static const char *const isas[] = {"base", "avx2", "avx512"};
enum { ISA_COUNT = 3 };

struct visits {
  _Atomic int count[64];
  _Atomic int strangers; /* visits by a thread number that does not exist */
  int thread_count;
};

static void visit(void *context, int64_t item, int thread) {
  struct visits *v = context;
  atomic_fetch_add(&v->count[item], 1);
  if (thread < 0 || thread >= v->thread_count)
    atomic_fetch_add(&v->strangers, 1);
}

/* More threads than cores, jobs of every size, one right after another: a thread that is late for
 * a job must not take items of the next twice, nor leave any. */
static void every_item_of_every_job_is_done_once(void **state) {
  (void)state;
  for (int threads = 1; threads <= 5; threads += 2) {
    struct io_pool *pool = NULL;
    assert_int_equal(io_pool_open(threads, &pool, &why), STATUS_OK);
    for (int job = 0; job < 3000; job++) {
      struct visits v = {.thread_count = threads};
      const int items = job % 64;
      io_pool_run(pool, items, visit, &v);
      for (int i = 0; i < 64; i++)
        assert_int_equal(v.count[i], i < items);
      assert_int_equal(v.strangers, 0);
    }
    io_pool_close(&pool);
    assert_null(pool);
  }
}

static void a_pool_that_slept_wakes_for_the_next_job(void **state) {
  (void)state;
  struct io_pool *pool = NULL;
  assert_int_equal(io_pool_open(3, &pool, &why), STATUS_OK);
  for (int job = 0; job < 20; job++) {
    volatile double x = 1;
    for (int i = 0; i < 1000000; i++) /* a few milliseconds: longer than the threads spin */
      x = x * 1.0000001;
    struct visits v = {.thread_count = 3};
    io_pool_run(pool, 64, visit, &v);
    for (int i = 0; i < 64; i++)
      assert_int_equal(v.count[i], 1);
  }
  io_pool_close(&pool);
}

/* The bounds that isa_vector.h states. */
static void exp_and_erf_keep_their_stated_errors(void **state) {
  (void)state;
  for (int i = 0; i < ISA_COUNT; i++) {
    const struct isa *isa = isa_find(isas[i]);
    if (!isa)
      continue;
    double exp_error = 0;
    double erf_error = 0;
    for (double x = -87.3; x < 88.7; x += 0.00171) {
      float y = (float)x;
      isa->pointwise->exp(&y, 1);
      exp_error = fmax(exp_error, fabs((double)y / exp((double)(float)x) - 1));
    }
    for (double x = -7; x < 7; x += 0.000171) {
      float y = (float)x;
      isa->pointwise->erf(&y, 1);
      erf_error = fmax(erf_error, fabs((double)y - erf((double)(float)x)));
    }
    if (!(exp_error < 1e-7) || !(erf_error < 5e-7))
      fail_msg("%s: exp %.3g erf %.3g", isas[i], exp_error, erf_error);
  }
}

static void exp_and_erf_treat_extremes_as_stated(void **state) {
  (void)state;
  for (int i = 0; i < ISA_COUNT; i++) {
    const struct isa *isa = isa_find(isas[i]);
    if (!isa)
      continue;
    float x[6] = {NAN, INFINITY, -INFINITY, -90, 200, 0};
    isa->pointwise->exp(x, 6);
    assert_true(isnan(x[0]));
    assert_true(isfinite(x[1]) && x[1] > 3.4e38f);
    assert_true(x[2] == 0 && x[3] == 0 && x[4] == x[1] && x[5] == 1);
    float y[4] = {NAN, INFINITY, -INFINITY, 0};
    isa->pointwise->erf(y, 4);
    assert_true(isnan(y[0]));
    assert_true(fabsf(y[1] - 1) < 1e-6f && fabsf(y[2] + 1) < 1e-6f && y[3] == 0);
  }
}

static struct engine *open_with(int threads, const char *isa) {
  struct engine *e = NULL;
  const struct engine_cpu_options o = {.thread_count = threads, .isa = isa};
  assert_int_equal(engine_cpu_open(&o, &e, &why), STATUS_OK);
  return e;
}

enum { B = 2, T = 70, C = 48, H = 3, D = 16, V = 1501, M = B * T };

/* A little of everything whose sums could depend on who came first. Returns values in `all`. */
static void run_some_ops(struct engine *e, const float *x, float *all) {
  static int32_t ids[M];
  for (int m = 0; m < M; m++)
    ids[m] = (m * 37) % 11;
  float *dh = all;
  float *dw = dh + M * C;
  float *loss = dw + V * C;
  float *table = loss + M;
  float *dx = table + V * C;
  float *dnorm = dx + M * C;
  float *o = dnorm + 2 * C;
  float *lse = o + M * C;
  const struct head_args head = {.h = x,
                                 .w = x,
                                 .targets = ids,
                                 .loss = loss,
                                 .dh = dh,
                                 .dw = dw,
                                 .M = M,
                                 .C = C,
                                 .V = V,
                                 .grad_scale = 0.01};
  e->ops->head(e, &head);
  e->ops->embed_grad(e, table, x, ids, M, C, V, false);
  const struct norm_grad_args norm = {.dy = dh,
                                      .x = x,
                                      .w = x,
                                      .rstd = loss,
                                      .dx = dx,
                                      .dw = dnorm,
                                      .M = M,
                                      .C = C,
                                      .kind = NORM_RMS};
  e->ops->norm_grad(e, &norm);
  const struct attention_args attention = {.q = x,
                                           .k = x + 1,
                                           .v = x + 2,
                                           .o = o,
                                           .lse = lse,
                                           .B = B,
                                           .T = T,
                                           .S = T,
                                           .H = H,
                                           .HK = H,
                                           .D = D,
                                           .q_row = C,
                                           .q_head = D,
                                           .kv_row = C,
                                           .kv_head = D,
                                           .scale = 0.25};
  e->ops->attention(e, &attention);
}
enum { ALL = M * C + V * C + M + V * C + M * C + 2 * C + M * C + B * H * T };

static void the_same_inputs_give_the_same_bits(void **state) {
  (void)state;
  float *x = malloc((V * C + 2) * sizeof *x);
  float *first = calloc(ALL, sizeof *first);
  float *again = calloc(ALL, sizeof *again);
  struct prng r = prng_seeded(5, PRNG_TEST);
  for (int i = 0; i < V * C + 2; i++)
    x[i] = (float)prng_normal(&r);
  const struct shapes most = {
      .B = B, .T = T, .S = T, .C = C, .F = C, .H = H, .HK = H, .D = D, .V = V};
  for (int run = 0; run < 20; run++) {
    struct engine *e = open_with(3, NULL);
    assert_int_equal(engine_reserve(e, &most, &why), STATUS_OK);
    run_some_ops(e, x, run == 0 ? first : again);
    engine_close(&e);
    if (run > 0)
      assert_memory_equal(first, again, ALL * sizeof *first);
  }
  free(x);
  free(first);
  free(again);
}

static void impossible_engines_are_refused_with_a_reason(void **state) {
  (void)state;
  struct engine *e = NULL;
  assert_int_equal(
      engine_cpu_open(&(struct engine_cpu_options){.thread_count = THREAD_COUNT_MAX + 1}, &e, &why),
      STATUS_RANGE);
  assert_non_null(strstr(why.text, "257"));
  assert_int_equal(engine_cpu_open(&(struct engine_cpu_options){.thread_count = -1}, &e, &why),
                   STATUS_RANGE);
  assert_int_equal(engine_cpu_open(&(struct engine_cpu_options){.isa = "vliw"}, &e, &why),
                   STATUS_UNSUPPORTED);
  assert_non_null(strstr(why.text, "vliw"));
  assert_null(e);
}

static void scratch_is_bounded_however_large_the_vocabulary(void **state) {
  (void)state;
  struct engine *e = open_with(2, NULL);
  const struct shapes most = {.B = 16,
                              .T = 2048,
                              .S = 2048,
                              .C = 4096,
                              .F = 16384,
                              .H = 32,
                              .HK = 32,
                              .D = 128,
                              .V = 50432};
  assert_true(engine_scratch_bytes(e, &most) < (size_t)128 << 20);
  engine_close(&e);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_item_of_every_job_is_done_once),
      cmocka_unit_test(a_pool_that_slept_wakes_for_the_next_job),
      cmocka_unit_test(exp_and_erf_keep_their_stated_errors),
      cmocka_unit_test(exp_and_erf_treat_extremes_as_stated),
      cmocka_unit_test(the_same_inputs_give_the_same_bits),
      cmocka_unit_test(impossible_engines_are_refused_with_a_reason),
      cmocka_unit_test(scratch_is_bounded_however_large_the_vocabulary),
  };
  return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
