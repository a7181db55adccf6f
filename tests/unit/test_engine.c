/* The functions around the op table: memory, scratch, limits and what is refused. */
#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/engine.h"
#include "kernels/engine_check.h"
#include "proto/base/limits.h"

static const struct shapes few = {
    .B = 2, .T = 16, .S = 16, .C = 24, .F = 96, .H = 3, .HK = 3, .D = 8, .V = 67};

static struct engine *opened(int which) {
  struct why why;
  struct engine *e = NULL;
  struct engine_cpu_options o = {.thread_count = which};
  enum status s = which == 0 ? engine_ref_open(&e, &why) : engine_cpu_open(&o, &e, &why);
  assert_int_equal(s, STATUS_OK);
  return e;
}

static void dtypes_have_their_size(void **state) {
  (void)state;
  assert_int_equal(dtype_bytes(DTYPE_F64), 8);
  assert_int_equal(dtype_bytes(DTYPE_F32), 4);
  assert_int_equal(dtype_bytes(DTYPE_F16), 2);
  assert_int_equal(dtype_bytes(DTYPE_BF16), 2);
}

static void memory_is_aligned_and_its_pointer_nulled(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 63, 64, 65, 100001};
  for (int which = 0; which < 3; which++) {
    struct engine *e = opened(which);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      void *p = NULL;
      assert_int_equal(engine_alloc(e, sizes[i], &p), STATUS_OK);
      assert_non_null(p);
      assert_int_equal((uintptr_t)p % 64, 0);
      memset(p, 1, sizes[i]);
      engine_release(e, &p, sizes[i]);
      assert_null(p);
      engine_release(e, &p, sizes[i]);
    }
    engine_close(&e);
    assert_null(e);
    engine_close(&e);
  }
}

static void memory_past_the_address_space_is_refused(void **state) {
  (void)state;
  for (int which = 0; which < 3; which++) {
    struct engine *e = opened(which);
    void *p = &e;
    assert_int_equal(engine_alloc(e, SIZE_MAX, &p), STATUS_NOMEM);
    assert_int_equal(engine_alloc(e, SIZE_MAX - 10, &p), STATUS_NOMEM);
    assert_ptr_equal(p, &e);
    engine_close(&e);
  }
}

static void scratch_needs_no_more_for_less(void **state) {
  (void)state;
  for (int which = 0; which < 3; which++) {
    struct engine *e = opened(which);
    struct shapes less = few;
    less.T = less.S = 8;
    less.V = 33;
    assert_true(engine_scratch_bytes(e, &few) > 0);
    assert_true(engine_scratch_bytes(e, &less) <= engine_scratch_bytes(e, &few));
    engine_close(&e);
  }
}

static size_t heap_bytes(void) {
  struct mallinfo2 now = mallinfo2();
  return now.uordblks + now.hblkhd;
}

static void reserve_takes_what_was_announced(void **state) {
  (void)state;
  struct why why;
  enum { SLACK = 8192 }; /* malloc's own: a page, and alignment */
  struct shapes many = few;
  many.V = 5003;
  many.T = many.S = 301;
  void *volatile probe = malloc(1 << 20);
  if (heap_bytes() < 1 << 20) {
    free(probe);
    print_message("SKIP: this build's malloc does not count its bytes\n");
    skip();
  }
  free(probe);
  for (int which = 0; which < 4; which++) {
    struct engine *e = opened(which);
    size_t announced = engine_scratch_bytes(e, &many), before = heap_bytes();
    assert_int_equal(engine_reserve(e, &many, &why), STATUS_OK);
    size_t taken = heap_bytes() - before;
    assert_true(taken >= announced);
    assert_true(taken <= announced + SLACK);
    assert_int_equal(engine_reserve(e, &many, &why), STATUS_OK);
    assert_int_equal(heap_bytes() - before, taken);
    assert_int_equal(engine_reserve(e, &few, &why), STATUS_OK);
    assert_int_equal(heap_bytes() - before, taken);
    engine_close(&e);
  }
}

/* Head, with gradients, at exactly the reserved shapes: the greatest user of scratch. */
static void run_head(struct engine *e, int64_t M, int64_t C, int64_t V) {
  size_t bytes = (size_t)(2 * M * C + 2 * V * C + M) * dtype_bytes(e->dtype);
  int32_t *targets = calloc((size_t)M, sizeof *targets);
  void *p = NULL;
  assert_non_null(targets);
  assert_int_equal(engine_alloc(e, bytes, &p), STATUS_OK);
  e->ops->zero(e, p, bytes);
  size_t step = dtype_bytes(e->dtype);
  char *h = p, *w = h + (size_t)(M * C) * step, *dh = w + (size_t)(V * C) * step;
  char *dw = dh + (size_t)(M * C) * step, *loss = dw + (size_t)(V * C) * step;
  e->ops->head(e, &(struct head_args){.h = h,
                                      .w = w,
                                      .dh = dh,
                                      .dw = dw,
                                      .loss = loss,
                                      .M = M,
                                      .C = C,
                                      .V = V,
                                      .targets = targets,
                                      .grad_scale = 1});
  double first;
  e->ops->download(e, &first, loss, e->stat, 1);
  assert_true(fabs(first - log((double)V)) < 1e-5);
  engine_release(e, &p, bytes);
  free(targets);
}

static void reserving_again_keeps_the_greater(void **state) {
  (void)state;
  struct why why;
  for (int which = 0; which < 4; which++) {
    struct engine *e = opened(which);
    struct shapes more = few;
    more.V = 2053;
    more.T = more.S = 40;
    assert_int_equal(engine_reserve(e, &few, &why), STATUS_OK);
    run_head(e, few.B * few.T, few.C, few.V);
    assert_int_equal(engine_reserve(e, &more, &why), STATUS_OK);
    assert_int_equal(engine_reserve(e, &few, &why), STATUS_OK);
    run_head(e, more.B * more.T, more.C, more.V);
    run_head(e, few.B * few.T, few.C, few.V);
    assert_int_equal(engine_sync(e, &why), STATUS_OK);
    engine_close(&e);
  }
}

static void more_threads_than_the_limit_are_refused_with_both_numbers(void **state) {
  (void)state;
  struct why why;
  struct engine *e = NULL;
  struct engine_cpu_options o = {.thread_count = THREAD_COUNT_MAX + 1};
  assert_int_equal(engine_cpu_open(&o, &e, &why), STATUS_RANGE);
  assert_non_null(strstr(why.text, "257"));
  assert_non_null(strstr(why.text, "256"));
  o.thread_count = -1;
  assert_int_equal(engine_cpu_open(&o, &e, &why), STATUS_RANGE);
  assert_null(e);
}

static void unknown_instructions_are_refused_by_name(void **state) {
  (void)state;
  struct why why;
  struct engine *e = NULL;
  struct engine_cpu_options o = {.thread_count = 1, .isa = "avx1024"};
  assert_int_equal(engine_cpu_open(&o, &e, &why), STATUS_UNSUPPORTED);
  assert_non_null(strstr(why.text, "avx1024"));
  assert_null(e);
}

static void an_engine_knows_its_threads_and_types(void **state) {
  (void)state;
  struct engine *e = opened(0);
  assert_int_equal(e->thread_count, 1);
  assert_int_equal(e->dtype, DTYPE_F64);
  engine_close(&e);
  e = opened(3);
  assert_int_equal(e->thread_count, 3);
  assert_int_equal(e->dtype, DTYPE_F32);
  engine_close(&e);
  struct why why;
  assert_int_equal(engine_cpu_open(&(struct engine_cpu_options){0}, &e, &why), STATUS_OK);
  assert_true(e->thread_count >= 1);
  engine_close(&e);
}

static void values_come_back_as_they_went(void **state) {
  (void)state;
  const double wide[5] = {0, -1.5, 0.1f, 3e38f, 1e-40f};
  const float narrow[5] = {0, -1.5f, 0.1f, 3e38f, 1e-40f};
  for (int which = 0; which < 3; which++) {
    struct engine *e = opened(which);
    void *p = NULL;
    double wide_back[5];
    float narrow_back[5];
    int32_t tokens[3] = {7, -1, INT32_MAX};
    assert_int_equal(engine_alloc(e, 64, &p), STATUS_OK);
    e->ops->upload(e, p, e->dtype, wide, 5);
    e->ops->download_f32(e, narrow_back, p, e->dtype, 5);
    assert_memory_equal(narrow_back, narrow, sizeof narrow);
    e->ops->upload_f32(e, p, e->stat, narrow, 5);
    e->ops->download(e, wide_back, p, e->stat, 5);
    assert_memory_equal(wide_back, wide, sizeof wide);
    e->ops->upload_i32(e, p, tokens, 3);
    assert_memory_equal(p, tokens, sizeof tokens); /* ordinary memory in these engines */
    engine_release(e, &p, 64);
    engine_close(&e);
  }
}

/* In a child, because a claim ends the process. */
static int signal_of(void (*wrong)(void)) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGABRT, SIG_DFL);
    close(2);
    wrong();
    _exit(0);
  }
  int how = 0;
  assert_int_equal(waitpid(child, &how, 0), child);
  return WIFSIGNALED(how) ? WTERMSIG(how) : 0;
}

static double some[64];

static void no_rows(void) {
  engine_check_linear(&(struct linear_args){.x = some, .w = some, .out = some, .N = 1, .K = 1});
}
static void fewer_keys_than_queries(void) {
  engine_check_attention(&(struct attention_args){.q = some,
                                                  .k = some,
                                                  .v = some,
                                                  .o = some,
                                                  .lse = some,
                                                  .B = 1,
                                                  .T = 2,
                                                  .S = 1,
                                                  .H = 1,
                                                  .HK = 1,
                                                  .D = 1,
                                                  .q_row = 1,
                                                  .q_head = 1,
                                                  .kv_row = 1,
                                                  .kv_head = 1,
                                                  .scale = 1});
}
static void heads_that_do_not_divide(void) {
  engine_check_attention(&(struct attention_args){.q = some,
                                                  .k = some,
                                                  .v = some,
                                                  .o = some,
                                                  .lse = some,
                                                  .B = 1,
                                                  .T = 1,
                                                  .S = 1,
                                                  .H = 3,
                                                  .HK = 2,
                                                  .D = 1,
                                                  .q_row = 3,
                                                  .q_head = 1,
                                                  .kv_row = 2,
                                                  .kv_head = 1,
                                                  .scale = 1});
}
static void adding_before_an_activation(void) {
  engine_check_linear_grad(&(struct linear_grad_args){.dout = some,
                                                      .w = some,
                                                      .pre = some,
                                                      .dx = some,
                                                      .M = 1,
                                                      .N = 1,
                                                      .K = 1,
                                                      .activation = ACTIVATION_GELU,
                                                      .dx_accumulate = true});
}
static void one_gradient_of_two(void) {
  engine_check_head(&(struct head_args){.h = some,
                                        .w = some,
                                        .targets = (int32_t *)(void *)some,
                                        .loss = some,
                                        .dh = some,
                                        .M = 1,
                                        .C = 1,
                                        .V = 1});
}
static void all_is_well(void) {
  engine_check_linear(
      &(struct linear_args){.x = some, .w = some, .out = some, .M = 1, .N = 1, .K = 1});
}

static void wrong_arguments_stop_the_process(void **state) {
  (void)state;
  assert_int_equal(signal_of(no_rows), SIGABRT);
  assert_int_equal(signal_of(fewer_keys_than_queries), SIGABRT);
  assert_int_equal(signal_of(heads_that_do_not_divide), SIGABRT);
  assert_int_equal(signal_of(adding_before_an_activation), SIGABRT);
  assert_int_equal(signal_of(one_gradient_of_two), SIGABRT);
  assert_int_equal(signal_of(all_is_well), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dtypes_have_their_size),
      cmocka_unit_test(memory_is_aligned_and_its_pointer_nulled),
      cmocka_unit_test(memory_past_the_address_space_is_refused),
      cmocka_unit_test(scratch_needs_no_more_for_less),
      cmocka_unit_test(reserve_takes_what_was_announced),
      cmocka_unit_test(reserving_again_keeps_the_greater),
      cmocka_unit_test(more_threads_than_the_limit_are_refused_with_both_numbers),
      cmocka_unit_test(unknown_instructions_are_refused_by_name),
      cmocka_unit_test(an_engine_knows_its_threads_and_types),
      cmocka_unit_test(values_come_back_as_they_went),
      cmocka_unit_test(wrong_arguments_stop_the_process),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
