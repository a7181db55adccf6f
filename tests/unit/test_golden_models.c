/* tests/golden/models: small models saved by transformers, and what it computed for them
 * (tests/reference/compare_transformers.py --golden). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/checkpoint/checkpoint.h"
#include "node/checkpoint/weightfiles.h"
#include "node/model/generate.h"

enum { B = 2, T = 24, PROMPT = 12 };

static const char *const models[] = {"neox-parallel", "neox-sequential", "neox-tied-f16", "llama",
                                     "llama-grouped-bf16"};
enum { MODEL_COUNT = sizeof models / sizeof models[0] };

struct golden {
  char dir[256];
  struct arch arch;
  struct engine *engine;
  struct transformer *t;
  struct weightfiles *expected;
  int32_t ids[B * (T + 1)];
};

static void must(enum status s, const struct why *why) {
  if (s != STATUS_OK)
    fail_msg("%s: %s", status_name(s), why->text);
}

struct copy {
  float *to;
};

static void copy_piece(void *context, int64_t first, const float *values, int64_t count) {
  struct copy *c = context;
  memcpy(c->to + first, values, (size_t)count * sizeof *values);
}

/* The expected values of that name; the caller frees. */
static float *expected(const struct golden *g, const char *name, int64_t *count) {
  struct why why;
  const struct safetensors_entry *e = weightfiles_find(g->expected, name);
  if (!e)
    fail_msg("%s has no expected '%s'", g->dir, name);
  struct copy c = {malloc((size_t)e->count * sizeof(float))};
  assert_non_null(c.to);
  *count = e->count;
  const struct weightfiles_sink sink = {copy_piece, &c};
  must(weightfiles_read(g->expected, name, -1, NULL, &sink, &why), &why);
  return c.to;
}

static void open_golden(struct golden *g, const char *name, bool training, bool reference) {
  struct why why;
  struct checkpoint_info info;
  struct checkpoint_state state;
  int64_t count;
  memset(g, 0, sizeof *g);
  snprintf(g->dir, sizeof g->dir, "tests/golden/models/%s", name);
  must(checkpoint_inspect(g->dir, &info, &why), &why);
  assert_false(info.has_manifest);
  g->arch = info.arch;
  if (reference)
    must(engine_ref_open(&g->engine, &why), &why);
  else
    must(engine_cpu_open(&(struct engine_cpu_options){.thread_count = 1}, &g->engine, &why), &why);
  const struct transformer_options o = {.B = training ? B : 1, .T = T, .training = training};
  must(transformer_open(g->engine, &g->arch, &o, &g->t, &why), &why);
  must(checkpoint_read(g->dir, g->t, &state, false, &why), &why);
  must(weightfiles_open(g->dir, "expected", NULL, &g->expected, &why), &why);
  float *ids = expected(g, "ids", &count);
  assert_int_equal(count, B * (T + 1));
  for (int i = 0; i < B * (T + 1); i++)
    g->ids[i] = (int32_t)ids[i];
  free(ids);
}

static void close_golden(struct golden *g) {
  weightfiles_close(&g->expected);
  transformer_close(&g->t);
  engine_close(&g->engine);
}

static void logits_are_those_of_transformers(void **state) {
  (void)state;
  for (int m = 0; m < MODEL_COUNT; m++) {
    struct golden g;
    struct why why;
    int64_t count;
    open_golden(&g, models[m], false, false);
    float *want = expected(&g, "logits", &count);
    assert_int_equal(count, B * T * g.arch.V);
    float *got = malloc((size_t)count * sizeof *got);
    assert_non_null(got);
    for (int b = 0; b < B; b++)
      must(transformer_logits(g.t, g.ids + b * (T + 1), T, T, got + b * T * g.arch.V, &why), &why);
    for (int64_t i = 0; i < count; i++) {
      if (!(fabsf(got[i] - want[i]) < 1e-4f))
        fail_msg("%s: logit %lld is %g; transformers has %g", models[m], (long long)i,
                 (double)got[i], (double)want[i]);
    }
    free(got);
    free(want);
    close_golden(&g);
  }
}

static void check_gradient(const struct golden *g, const struct arch_tensor *tensor) {
  char name[NAME_BYTES_MAX + 8];
  int64_t count;
  snprintf(name, sizeof name, "grad.%s", tensor->name);
  float *want = expected(g, name, &count);
  assert_int_equal(count, tensor->count);
  float *got = malloc((size_t)count * sizeof *got);
  assert_non_null(got);
  transformer_get(g->t, ARRAY_GRADIENTS, tensor->offset, count, got);
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < count; i++) {
    double d = (double)got[i] - (double)want[i];
    difference += d * d;
    norm += (double)want[i] * (double)want[i];
  }
  if (!(norm > 0 && sqrt(difference / norm) < 1e-4))
    fail_msg("%s: the gradient of %s differs by %g of its norm %g", g->dir, tensor->name,
             sqrt(difference / norm), sqrt(norm));
  free(got);
  free(want);
}

static void check_training(const char *model, bool reference) {
  struct golden g;
  struct why why;
  int32_t tokens[B * T], targets[B * T];
  double loss;
  int64_t count;
  open_golden(&g, model, true, reference);
  for (int i = 0; i < B * T; i++) {
    tokens[i] = g.ids[i / T * (T + 1) + i % T];
    targets[i] = g.ids[i / T * (T + 1) + i % T + 1];
  }
  must(transformer_backward(g.t, tokens, targets, 1.0 / (B * T), false, &loss, &why), &why);
  float *want = expected(&g, "loss", &count);
  if (!(fabs(loss / (B * T) - (double)want[0]) < 1e-5 * (double)want[0]))
    fail_msg("%s: loss %g; transformers has %g", model, loss / (B * T), (double)want[0]);
  free(want);
  for (size_t i = 0; i < transformer_params(g.t)->count; i++)
    check_gradient(&g, &transformer_params(g.t)->tensors[i]);
  close_golden(&g);
}

static void loss_and_every_gradient_are_those_of_transformers(void **state) {
  (void)state;
  for (int m = 0; m < MODEL_COUNT; m++)
    check_training(models[m], false);
}

static void the_reference_engine_agrees_with_transformers_too(void **state) {
  (void)state;
  for (int m = 0; m < MODEL_COUNT; m++)
    check_training(models[m], true);
}

static void a_greedy_continuation_is_that_of_transformers(void **state) {
  (void)state;
  const struct generate_options greedy = {.greedy = true};
  for (int m = 0; m < MODEL_COUNT; m++) {
    struct golden g;
    struct why why;
    int64_t count;
    open_golden(&g, models[m], false, false);
    float *want = expected(&g, "greedy", &count);
    assert_int_equal(count, T);
    float *logits = malloc((size_t)g.arch.V * sizeof *logits);
    assert_non_null(logits);
    int32_t ids[T];
    memcpy(ids, g.ids, PROMPT * sizeof *ids);
    must(transformer_feed(g.t, ids, PROMPT, logits, &why), &why);
    for (int i = PROMPT; i < T; i++) {
      uint32_t token;
      must(generate_choose(&greedy, NULL, logits, g.arch.V, NULL, &token, &why), &why);
      if ((float)token != want[i])
        fail_msg("%s: token %d is %u; transformers has %g", models[m], i, token, (double)want[i]);
      ids[i] = (int32_t)token;
      if (i + 1 < T)
        must(transformer_feed(g.t, &ids[i], 1, logits, &why), &why);
    }
    free(logits);
    free(want);
    close_golden(&g);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logits_are_those_of_transformers),
      cmocka_unit_test(loss_and_every_gradient_are_those_of_transformers),
      cmocka_unit_test(the_reference_engine_agrees_with_transformers_too),
      cmocka_unit_test(a_greedy_continuation_is_that_of_transformers),
  };
  return cmocka_run_group_tests_name("golden models", tests, NULL, NULL);
}
