/* The memory plan is what is taken, to the byte, and says what would fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/model/layout.h"
#include "node/model/plan.h"
#include "support_model.h"

static struct why why;

/* An engine whose allocations are counted, and refused past a limit. */
static const struct engine_ops *real_ops;
static size_t taken_bytes, taken_most_bytes, taken_limit_bytes;

static enum status counted_alloc(struct engine *e, size_t bytes, void **out) {
  if (taken_bytes + bytes > taken_limit_bytes)
    return STATUS_NOMEM;
  enum status s = real_ops->alloc(e, bytes, out);
  if (s == STATUS_OK)
    taken_bytes += bytes;
  if (taken_bytes > taken_most_bytes)
    taken_most_bytes = taken_bytes;
  return s;
}

static void counted_release(struct engine *e, void *p, size_t bytes) {
  if (p)
    taken_bytes -= bytes;
  real_ops->release(e, p, bytes);
}

/* Scratch is the engine's own affair: what it announces stands in the plan. */
static enum status no_reserve(struct engine *e, const struct shapes *most, struct why *reason) {
  (void)e, (void)most, (void)reason;
  return STATUS_OK;
}

static size_t some_scratch(const struct engine *e, const struct shapes *most) {
  (void)e;
  return (size_t)most->B * 1000;
}

static struct engine *counting_engine(void) {
  static struct engine_ops ops;
  struct engine *e;
  assert_int_equal(engine_ref_open(&e, &why), STATUS_OK);
  real_ops = e->ops;
  ops = *e->ops;
  ops.alloc = counted_alloc;
  ops.release = counted_release;
  ops.reserve = no_reserve;
  ops.scratch_bytes = some_scratch;
  e->ops = &ops;
  taken_bytes = taken_most_bytes = 0;
  taken_limit_bytes = SIZE_MAX;
  return e;
}

static void close_engine(struct engine **e) {
  (*e)->ops = real_ops;
  engine_close(e);
}

static void every_plan_is_what_is_taken(void **state) {
  (void)state;
  struct engine *e = counting_engine();
  for (int m = 0; support_model_name(m); m++) {
    struct arch a = support_model(m);
    for (int i = 0; i <= RECOMPUTE_COUNT; i++) {
      struct transformer_options o = {.B = 3, .T = 7, .training = i < RECOMPUTE_COUNT};
      o.recompute = o.training ? (enum transformer_recompute)i : RECOMPUTE_NONE;
      struct plan p;
      assert_int_equal(plan_make(e, &a, &o, &p, &why), STATUS_OK);
      assert_int_equal(taken_bytes, 0);
      struct transformer *t = NULL;
      assert_int_equal(transformer_open(e, &a, &o, &t, &why), STATUS_OK);
      assert_int_equal(taken_bytes, p.total - p.scratch);
      assert_int_equal(p.scratch, 3000);
      assert_int_equal(p.total,
                       p.weights + p.gradients + p.moments + p.activations + p.scratch + p.cache);
      transformer_init(t, 1);
      assert_int_equal(taken_most_bytes, p.total - p.scratch);
      transformer_close(&t);
      assert_int_equal(taken_bytes, 0);
      taken_most_bytes = 0;
    }
  }
  close_engine(&e);
}

static void a_model_without_room_leaves_nothing_behind(void **state) {
  (void)state;
  struct engine *e = counting_engine();
  struct arch a = support_model(0);
  struct transformer_options o = {.B = 3, .T = 7, .training = true};
  struct plan p;
  assert_int_equal(plan_make(e, &a, &o, &p, &why), STATUS_OK);
  size_t all = p.total - p.scratch;
  for (size_t limit = 0; limit < all; limit += all / 20) {
    struct transformer *t = NULL;
    taken_limit_bytes = limit;
    assert_int_equal(transformer_open(e, &a, &o, &t, &why), STATUS_NOMEM);
    assert_null(t);
    assert_int_equal(taken_bytes, 0);
  }
  assert_non_null(strstr(why.text, "whole plan"));
  close_engine(&e);
}

static void more_recomputing_takes_less(void **state) {
  (void)state;
  struct engine *e = counting_engine();
  static const char *const names[] = {"pythia-70m", "redpajama-incite-3b", "llama-7b"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    struct arch a;
    assert_int_equal(arch_preset(names[i], &a, &why), STATUS_OK);
    struct transformer_options o = {.B = 2, .T = 2048, .training = true};
    struct plan none, cheap, layer;
    assert_int_equal(plan_make(e, &a, &o, &none, &why), STATUS_OK);
    o.recompute = RECOMPUTE_CHEAP;
    assert_int_equal(plan_make(e, &a, &o, &cheap, &why), STATUS_OK);
    o.recompute = RECOMPUTE_LAYER;
    assert_int_equal(plan_make(e, &a, &o, &layer, &why), STATUS_OK);
    assert_true(cheap.activations < none.activations * 3 / 4);
    assert_true(layer.activations < cheap.activations / 2);
    assert_int_equal(layer.weights, none.weights);
  }
  close_engine(&e);
}

/* Counted by hand for a GPT-NeoX layer at level none: x, ln1, ln2, o: 4C; q, k, v: 3C; pre and act:
 * 2F; statistics: 2 of a norm (parallel shares them), H of attention. */
static void a_layer_keeps_what_the_table_says(void **state) {
  (void)state;
  struct arch a;
  assert_int_equal(arch_preset("pythia-70m", &a, &why), STATUS_OK);
  struct transformer_options o = {.B = 1, .T = 64, .training = true};
  struct layout six, seven;
  layout_make(&a, &o, 4, 4, &six);
  a.L = 7;
  layout_make(&a, &o, 4, 4, &seven);
  assert_int_equal(seven.bytes - six.bytes, 64 * 4 * (4 * 512 + 3 * 512 + 2 * 2048 + 2 + 8));
}

static void bad_options_are_refused_by_name(void **state) {
  (void)state;
  struct engine *e = counting_engine();
  struct arch a = support_model(0);
  struct plan p = {.total = 77};
  struct transformer_options o = {.B = 0, .T = 7};
  assert_int_equal(plan_make(e, &a, &o, &p, &why), STATUS_RANGE);
  assert_non_null(strstr(why.text, "0 sequences"));
  o = (struct transformer_options){.B = 1, .T = 10};
  assert_int_equal(plan_make(e, &a, &o, &p, &why), STATUS_RANGE);
  assert_non_null(strstr(why.text, "10 tokens"));
  o = (struct transformer_options){.B = 1, .T = 7, .recompute = (enum transformer_recompute)5};
  assert_int_equal(plan_make(e, &a, &o, &p, &why), STATUS_RANGE);
  assert_non_null(strstr(why.text, "recompute level 5"));
  a.T = SHAPE_T_MAX;
  o = (struct transformer_options){.B = SHAPE_B_MAX, .T = SHAPE_T_MAX};
  assert_int_equal(plan_make(e, &a, &o, &p, &why), STATUS_RANGE);
  a.L = 0;
  o = (struct transformer_options){.B = 1, .T = 7};
  assert_int_equal(plan_make(e, &a, &o, &p, &why), STATUS_RANGE);
  assert_int_equal(p.total, 77);
  close_engine(&e);
}

static void assert_advice(const struct engine *e, size_t bytes, const char *words) {
  struct arch a;
  assert_int_equal(arch_preset("pythia-70m", &a, &why), STATUS_OK);
  struct transformer_options o = {.B = 16, .T = 512, .training = true};
  struct plan p;
  assert_int_equal(plan_fit(e, &a, &o, bytes, &p, &why), STATUS_NOMEM);
  if (!strstr(why.text, words))
    fail_msg("'%s' does not say '%s'", why.text, words);
}

static void what_does_not_fit_is_told_what_would(void **state) {
  (void)state;
  struct engine *e = counting_engine();
  struct arch a;
  assert_int_equal(arch_preset("pythia-70m", &a, &why), STATUS_OK);
  struct transformer_options o = {.B = 16, .T = 512, .training = true};
  struct plan none, cheap, layer, fifteen;
  assert_int_equal(plan_fit(e, &a, &o, SIZE_MAX, &none, &why), STATUS_OK);
  assert_int_equal(plan_fit(e, &a, &o, none.total, &none, &why), STATUS_OK);
  o.recompute = RECOMPUTE_CHEAP;
  assert_int_equal(plan_make(e, &a, &o, &cheap, &why), STATUS_OK);
  o.recompute = RECOMPUTE_LAYER;
  assert_int_equal(plan_make(e, &a, &o, &layer, &why), STATUS_OK);
  o.B = 15;
  assert_int_equal(plan_make(e, &a, &o, &fifteen, &why), STATUS_OK);
  assert_advice(e, none.total - 1, "fits with recompute cheap");
  assert_advice(e, cheap.total - 1, "fits with recompute layer");
  assert_advice(e, layer.total - 1, "a micro-batch of 15 and recompute layer");
  assert_advice(e, none.weights * 4, "preset pythia-31m fits");
  assert_advice(e, 1000, "no preset fits");
  close_engine(&e);
}

static void a_plan_reads_as_one_line(void **state) {
  (void)state;
  struct plan p = {.weights = 281706496,
                   .gradients = 281706496,
                   .moments = 563412992,
                   .activations = 999,
                   .total = 1126826983};
  char text[PLAN_TEXT_BYTES_MAX];
  assert_string_equal(
      plan_text(&p, text),
      "1.13 GB: weights 282 MB, gradients 282 MB, moments 563 MB, activations 999 B");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_plan_is_what_is_taken),
      cmocka_unit_test(a_model_without_room_leaves_nothing_behind),
      cmocka_unit_test(more_recomputing_takes_less),
      cmocka_unit_test(a_layer_keeps_what_the_table_says),
      cmocka_unit_test(bad_options_are_refused_by_name),
      cmocka_unit_test(what_does_not_fit_is_told_what_would),
      cmocka_unit_test(a_plan_reads_as_one_line),
  };
  return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
