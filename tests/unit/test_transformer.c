/* Whole models: gradients against finite differences, recomputing, micro-batches, the generation
 * cache, the optimizer. On the reference engine its memory is ordinary memory of doubles, so these
 * tests read and change it directly. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/model/init.h"
#include "node/model/transformer_inside.h"
#include "proto/base/prng.h"
#include "support_model.h"

enum { B = 2, T = 7, M = B * T };

static struct why why;

static struct engine *reference(void) {
  struct engine *e = NULL;
  assert_int_equal(engine_ref_open(&e, &why), STATUS_OK);
  return e;
}

static struct transformer *open_model(struct engine *e, const struct arch *a,
                                      struct transformer_options o) {
  struct transformer *t = NULL;
  if (transformer_open(e, a, &o, &t, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  return t;
}

/* Weights far from their first values, norms and biases too, the same on every engine. */
static void scatter(struct transformer *t, uint64_t seed) {
  struct prng r = prng_seeded(seed, PRNG_TEST);
  for (size_t i = 0; i < t->params->count; i++) {
    const struct arch_tensor *p = &t->params->tensors[i];
    float *values = malloc((size_t)p->count * sizeof *values);
    assert_non_null(values);
    for (int64_t k = 0; k < p->count; k++)
      values[k] = (float)((p->one ? 1 : 0) + 0.3 * prng_normal(&r));
    transformer_set(t, ARRAY_WEIGHTS, p->offset, p->count, values);
    free(values);
  }
}

static struct transformer *training_model(struct engine *e, const struct arch *a,
                                          enum transformer_recompute recompute) {
  struct transformer *t = open_model(
      e, a, (struct transformer_options){.B = B, .T = T, .training = true, .recompute = recompute});
  transformer_init(t, 1);
  scatter(t, 5);
  return t;
}

static double backward(struct transformer *t, const int32_t *tokens, const int32_t *targets,
                       double scale, bool accumulate) {
  double sum = NAN;
  if (transformer_backward(t, tokens, targets, scale, accumulate, &sum, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  return sum;
}

static int64_t counting(const int32_t *targets, int64_t count) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; i++)
    n += targets[i] >= 0;
  return n;
}

static double mean_loss(struct transformer *t, const int32_t *tokens, const int32_t *targets) {
  double loss = NAN;
  if (transformer_loss(t, tokens, targets, B, T, &loss, NULL, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  return loss;
}

/* d loss / d (along · weights) by a five-point stencil: error h⁴/30 of the fifth derivative. */
static double slope(struct transformer *t, const struct arch_tensor *p, const double *along,
                    const int32_t *tokens, const int32_t *targets) {
  static const double steps[4] = {-2, -1, 1, 2}, factors[4] = {1, -8, 8, -1};
  double *w = (double *)t->weights + p->offset, h = 1e-3, sum = 0;
  double *saved = malloc((size_t)p->count * sizeof *saved);
  assert_non_null(saved);
  memcpy(saved, w, (size_t)p->count * sizeof *saved);
  for (int i = 0; i < 4; i++) {
    for (int64_t k = 0; k < p->count; k++)
      w[k] = saved[k] + steps[i] * h * along[k];
    sum += factors[i] * mean_loss(t, tokens, targets);
  }
  memcpy(w, saved, (size_t)p->count * sizeof *saved);
  free(saved);
  return sum / (12 * h);
}

/* Every tensor: one random direction through all of it, and two single values. */
static void check_tensor(struct transformer *t, const struct arch_tensor *p, const char *model,
                         struct prng *r, const int32_t *tokens, const int32_t *targets) {
  const double *g = (const double *)t->gradients + p->offset;
  double *along = calloc((size_t)p->count, sizeof *along);
  assert_non_null(along);
  for (int direction = 0; direction < 3; direction++) {
    double norm = 0, expected = 0;
    for (int64_t k = 0; k < p->count; k++) {
      along[k] = direction ? 0 : prng_normal(r);
      norm += along[k] * along[k];
    }
    if (direction)
      along[prng_below(r, (uint64_t)p->count)] = norm = 1;
    for (int64_t k = 0; k < p->count; k++) {
      along[k] /= sqrt(norm);
      expected += along[k] * g[k];
    }
    double found = slope(t, p, along, tokens, targets);
    if (!(fabs(found - expected) <= 1e-8 + 1e-6 * fabs(expected)))
      fail_msg("%s: %s: the gradient is %.12g, finite differences say %.12g", model, p->name,
               expected, found);
  }
  free(along);
}

static void gradients_match_finite_differences(void **state) {
  (void)state;
  struct engine *e = reference();
  for (int m = 0; support_model_name(m); m++) {
    struct arch a = support_model(m);
    struct transformer *t = training_model(e, &a, RECOMPUTE_NONE);
    int32_t tokens[M], targets[M];
    support_model_tokens(&a, 3, M, tokens, targets);
    double n = (double)counting(targets, M);
    double sum = backward(t, tokens, targets, 1 / n, false);
    assert_true(fabs(sum / n - mean_loss(t, tokens, targets)) < 1e-12);
    struct prng r = prng_seeded(9, PRNG_TEST);
    for (size_t i = 0; i < t->params->count; i++)
      check_tensor(t, &t->params->tensors[i], support_model_name(m), &r, tokens, targets);
    transformer_close(&t);
  }
  engine_close(&e);
}

/* Fill an array's tensors, not the gaps between them, with bytes that make NaN. */
static void spoil(const struct transformer *t, void *base) {
  for (size_t i = 0; i < t->params->count; i++) {
    const struct arch_tensor *p = &t->params->tensors[i];
    size_t bytes = dtype_bytes(t->e->dtype);
    memset((char *)base + (size_t)p->offset * bytes, 0xff, (size_t)p->count * bytes);
  }
}

static void assert_levels_agree(struct engine *e, const struct arch *a, int64_t rows_t,
                                const char *name) {
  int32_t tokens[B * 64], targets[B * 64];
  assert_true(rows_t <= 64);
  support_model_tokens(a, 3, B * rows_t, tokens, targets);
  void *first = NULL;
  double first_sum = 0;
  for (int level = 0; level < RECOMPUTE_COUNT; level++) {
    struct transformer *t = open_model(
        e, a,
        (struct transformer_options){
            .B = B, .T = rows_t, .training = true, .recompute = (enum transformer_recompute)level});
    scatter(t, 5);
    size_t bytes = t->plan.gradients;
    spoil(t, t->gradients); /* what is not overwritten shows */
    double sum = backward(t, tokens, targets, 0.5, false);
    sum += backward(t, tokens, targets, 0.25, true);
    if (level == 0) {
      first = malloc(bytes);
      assert_non_null(first);
      memcpy(first, t->gradients, bytes);
      first_sum = sum;
    }
    assert_true(isfinite(e->ops->sum_squares(e, t->gradients, t->params->values)));
    if (memcmp(first, t->gradients, bytes) || sum != first_sum)
      fail_msg("%s: level %d gives other bits than level 0", name, level);
    transformer_close(&t);
  }
  free(first);
}

static void assert_recompute_levels_agree(struct engine *e) {
  for (int m = 0; support_model_name(m); m++) {
    struct arch a = support_model(m);
    assert_levels_agree(e, &a, T, support_model_name(m));
  }
}

static void recompute_levels_give_the_same_bits(void **state) {
  (void)state;
  struct engine *e = reference();
  assert_recompute_levels_agree(e);
  engine_close(&e);
}

/* The same rows as one batch of B and as B micro-batches of one, in double. */
static void micro_batches_add_up_to_the_batch(void **state) {
  (void)state;
  struct engine *e = reference();
  for (int m = 0; support_model_name(m); m++) {
    struct arch a = support_model(m);
    int32_t tokens[M], targets[M];
    support_model_tokens(&a, 3, M, tokens, targets);
    double scale = 1 / (double)counting(targets, M), sum = 0;
    struct transformer *whole = training_model(e, &a, RECOMPUTE_NONE);
    struct transformer *parts =
        open_model(e, &a, (struct transformer_options){.B = 1, .T = T, .training = true});
    scatter(parts, 5);
    spoil(parts, parts->gradients);
    double whole_sum = backward(whole, tokens, targets, scale, false);
    for (int i = 0; i < B; i++)
      sum += backward(parts, tokens + i * T, targets + i * T, scale, i > 0);
    assert_true(fabs(sum - whole_sum) < 1e-12);
    const double *x = whole->gradients, *y = parts->gradients;
    for (int64_t i = 0; i < whole->params->values; i++) {
      if (!(fabs(x[i] - y[i]) <= 1e-12))
        fail_msg("%s: value %d is %.17g in one batch, %.17g in parts", support_model_name(m),
                 (int)i, x[i], y[i]);
    }
    transformer_close(&whole);
    transformer_close(&parts);
  }
  engine_close(&e);
}

static void assert_rows_close(const float *x, const float *y, int64_t count, double tolerance,
                              const char *model, int64_t position) {
  for (int64_t i = 0; i < count; i++) {
    if (!(fabs((double)x[i] - (double)y[i]) <= tolerance))
      fail_msg("%s: logit %d after %d tokens is %.9g fed, %.9g whole", model, (int)i, (int)position,
               (double)x[i], (double)y[i]);
  }
}

/* A prompt of three at once, then one by one, then all again after a rewind: the logits are those
 * of the whole text, whatever stands in the unused part of the cache. */
static void assert_feeding_is_the_whole_pass(struct engine *e, double tolerance) {
  for (int m = 0; support_model_name(m); m++) {
    struct arch a = support_model(m);
    const char *name = support_model_name(m);
    struct transformer *t = open_model(e, &a, (struct transformer_options){.B = 1, .T = 9});
    scatter(t, 5);
    int32_t tokens[9], targets[9];
    support_model_tokens(&a, 4, 9, tokens, targets);
    float whole[9 * 13], fed[13];
    assert_int_equal(a.V, 13);
    memset(t->cache, 0xff, t->plan.cache);
    for (int round = 0; round < 2; round++) {
      assert_int_equal(transformer_logits(t, tokens, 9, 9, whole, &why), STATUS_OK);
      assert_int_equal(transformer_feed(t, tokens, 3, fed, &why), STATUS_OK);
      assert_rows_close(fed, whole + 2 * 13, 13, tolerance, name, 3);
      for (int i = 3; i < 9; i++) {
        assert_int_equal(transformer_feed(t, tokens + i, 1, fed, &why), STATUS_OK);
        assert_rows_close(fed, whole + i * 13, 13, tolerance, name, i + 1);
      }
      assert_int_equal(transformer_feed(t, tokens, 1, fed, &why), STATUS_FULL);
      transformer_rewind(t);
      assert_int_equal(transformer_feed(t, tokens, 4, NULL, &why), STATUS_OK);
      assert_int_equal(transformer_feed(t, tokens + 4, 5, fed, &why), STATUS_OK);
      assert_rows_close(fed, whole + 8 * 13, 13, tolerance, name, 9);
      transformer_rewind(t);
    }
    transformer_close(&t);
  }
}

static void feeding_with_a_cache_is_the_whole_pass(void **state) {
  (void)state;
  struct engine *e = reference();
  assert_feeding_is_the_whole_pass(e, 1e-6); /* logits are f32 on the host */
  engine_close(&e);
}

/* Logits give the loss: log Σ exp minus the target's, for each row, in a smaller batch too. */
static void logits_and_loss_agree(void **state) {
  (void)state;
  struct engine *e = reference();
  struct arch a = support_model(0);
  for (int training = 0; training < 2; training++) {
    struct transformer *t =
        open_model(e, &a, (struct transformer_options){.B = B, .T = T, .training = training});
    scatter(t, 5);
    int32_t tokens[M], targets[M];
    support_model_tokens(&a, 3, M, tokens, targets);
    float logits[T * 13], rows[T];
    double loss, sum = 0;
    assert_int_equal(transformer_logits(t, tokens, 5, 5, logits, &why), STATUS_OK);
    assert_int_equal(transformer_loss(t, tokens, targets, 1, 5, &loss, rows, &why), STATUS_OK);
    for (int i = 0; i < 5; i++) {
      double z = 0;
      for (int v = 0; v < 13; v++)
        z += exp((double)logits[i * 13 + v]);
      double expected = targets[i] < 0 ? 0 : log(z) - (double)logits[i * 13 + targets[i]];
      assert_true(fabs((double)rows[i] - expected) < 1e-5);
      sum += expected;
    }
    assert_true(fabs(loss - sum / (double)counting(targets, 5)) < 1e-5);
    transformer_close(&t);
  }
  engine_close(&e);
}

/* Causal: what comes later changes nothing. More rows than one piece of the logits buffer. */
static void logits_of_the_last_rows_are_those_of_a_shorter_text(void **state) {
  (void)state;
  struct engine *e = reference();
  struct arch a = support_model(1);
  a.T = 20;
  struct transformer *t = open_model(e, &a, (struct transformer_options){.B = 1, .T = 20});
  scatter(t, 5);
  int32_t tokens[20], targets[20];
  support_model_tokens(&a, 3, 20, tokens, targets);
  float whole[20 * 13], some[3 * 13];
  assert_true(20 > LAYOUT_LOGITS_ROWS);
  assert_int_equal(transformer_logits(t, tokens, 20, 20, whole, &why), STATUS_OK);
  for (int count = 3; count <= 20; count++) {
    assert_int_equal(transformer_logits(t, tokens, count, 3, some, &why), STATUS_OK);
    assert_rows_close(some, whole + (count - 3) * 13, 3 * 13, 1e-6, "shorter", count);
  }
  transformer_close(&t);
  engine_close(&e);
}

static void first_weights_have_the_planned_spread(void **state) {
  (void)state;
  struct arch a;
  assert_int_equal(arch_preset("pythia-70m", &a, &why), STATUS_OK);
  struct arch_params *params;
  assert_int_equal(arch_params_open(&a, &params, &why), STATUS_OK);
  const char *names[] = {"gpt_neox.layers.1.attention.dense.weight",
                         "gpt_neox.layers.1.attention.query_key_value.weight"};
  double values[INIT_BLOCK], other[INIT_BLOCK];
  for (size_t i = 0; i < 2; i++) {
    const struct arch_tensor *p = arch_params_find(params, names[i]);
    double sum = 0, squares = 0;
    int64_t total = 0, count;
    for (int64_t b = 0; (count = init_block(p, 7, i, b, values)) > 0; b++, total += count) {
      for (int64_t k = 0; k < count; k++) {
        sum += values[k];
        squares += values[k] * values[k];
      }
    }
    assert_int_equal(total, p->count);
    /* Five standard errors of the mean and of the variance. */
    double n = (double)total, spread = p->std;
    assert_true(fabs(sum / n) < 5 * spread / sqrt(n));
    assert_true(fabs(squares / n / (spread * spread) - 1) < 5 * sqrt(2 / n));
  }
  const struct arch_tensor *p = arch_params_find(params, names[0]);
  assert_int_equal(init_block(p, 7, 0, 0, values), INIT_BLOCK);
  assert_int_equal(init_block(p, 7, 0, 0, other), INIT_BLOCK);
  assert_memory_equal(values, other, sizeof values);
  assert_int_equal(init_block(p, 8, 0, 0, other), INIT_BLOCK);
  assert_true(values[0] != other[0]);
  assert_int_equal(init_block(p, 7, 0, 1, other), INIT_BLOCK);
  assert_true(values[0] != other[0]);
  assert_int_equal(init_block(p, 7, 1, 0, other), INIT_BLOCK);
  assert_true(values[0] != other[0]);
  arch_params_close(&params);
}

/* A fresh model knows nothing: its loss is that of guessing, ln V. */
static void the_first_loss_is_that_of_guessing(void **state) {
  (void)state;
  struct engine *e = reference();
  struct arch a = support_model(1);
  a.V = 300, a.C = 48, a.H = a.HK = 4, a.D = 12, a.F = 96, a.init = ARCH_INIT_SMALL_WANG;
  struct transformer *t =
      open_model(e, &a, (struct transformer_options){.B = B, .T = T, .training = true});
  transformer_init(t, 11);
  int32_t tokens[M], targets[M];
  support_model_tokens(&a, 3, M, tokens, targets);
  double loss = mean_loss(t, tokens, targets);
  assert_true(fabs(loss - log(300)) < 0.3);
  const struct arch_tensor *norm = arch_params_find(t->params, "gpt_neox.final_layer_norm.weight");
  assert_true(((double *)t->weights)[norm->offset] == 1);
  transformer_close(&t);
  engine_close(&e);
}

static const struct transformer_adam adam = {
    .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .clip = 1};

static double update(struct transformer *t, const struct transformer_adam *with) {
  double norm = NAN;
  if (transformer_update(t, with, &norm, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  return norm;
}

static void assert_training_learns(struct engine *e) {
  for (int m = 0; support_model_name(m); m++) {
    struct arch a = support_model(m);
    struct transformer *t =
        open_model(e, &a, (struct transformer_options){.B = B, .T = T, .training = true});
    transformer_init(t, 2);
    int32_t tokens[M], targets[M];
    support_model_tokens(&a, 3, M, tokens, targets);
    double n = (double)counting(targets, M), first = 0, last = 0;
    for (int step = 0; step < 60; step++) {
      last = backward(t, tokens, targets, 1 / n, false) / n;
      first = step ? first : last;
      update(t, &adam);
      assert_int_equal(transformer_step(t), step + 1);
    }
    if (!(last < 0.3 * first))
      fail_msg("%s: the loss went from %g to %g", support_model_name(m), first, last);
    transformer_close(&t);
  }
}

static void training_learns_a_repeated_batch(void **state) {
  (void)state;
  struct engine *e = reference();
  assert_training_learns(e);
  engine_close(&e);
}

/* Two steps against AdamW written out for each value, with clipping and with decay on matrices. */
static void two_updates_are_adamw_written_out(void **state) {
  (void)state;
  struct engine *e = reference();
  for (int llama = 0; llama < 2; llama++) {
    struct arch a = support_model(llama ? 5 : 0);
    struct transformer *t = training_model(e, &a, RECOMPUTE_NONE);
    int64_t count = t->params->values;
    double *w = t->weights, *g = t->gradients;
    double *expected = calloc((size_t)count * 3, sizeof *expected);
    assert_non_null(expected);
    double *m = expected + count, *v = expected + 2 * count;
    memcpy(expected, w, (size_t)count * sizeof *w);
    struct prng r = prng_seeded(6, PRNG_TEST);
    for (int step = 1; step <= 2; step++) {
      double squares = 0;
      for (size_t i = 0; i < t->params->count; i++) {
        const struct arch_tensor *p = &t->params->tensors[i];
        for (int64_t k = p->offset; k < p->offset + p->count; k++) {
          g[k] = (step == 1 ? 0.1 : 1e-5) * prng_normal(&r); /* one is clipped, the other is not */
          squares += g[k] * g[k];
        }
      }
      double norm = sqrt(squares), scale = norm + 1e-6 > 1 ? 1 / (norm + 1e-6) : 1;
      assert_int_equal(scale < 1, step == 1);
      for (size_t i = 0; i < t->params->count; i++) {
        const struct arch_tensor *p = &t->params->tensors[i];
        for (int64_t k = p->offset; k < p->offset + p->count; k++) {
          m[k] = 0.9 * m[k] + 0.1 * scale * g[k];
          v[k] = 0.95 * v[k] + 0.05 * scale * g[k] * scale * g[k];
          double mean = m[k] / (1 - pow(0.9, step)), root = sqrt(v[k] / (1 - pow(0.95, step)));
          expected[k] -= 1e-2 * (mean / (root + 1e-8) + (p->rank == 2 ? 0.1 : 0) * expected[k]);
        }
      }
      assert_true(fabs(update(t, &adam) - norm) < 1e-9 * norm);
    }
    for (int64_t k = 0; k < count; k++) {
      if (!(fabs(w[k] - expected[k]) <= 1e-9))
        fail_msg("weight %d is %.12g, not %.12g", (int)k, w[k], expected[k]);
    }
    free(expected);
    transformer_close(&t);
  }
  engine_close(&e);
}

static void a_gradient_that_is_not_finite_changes_nothing(void **state) {
  (void)state;
  struct engine *e = reference();
  struct arch a = support_model(0);
  struct transformer *t = training_model(e, &a, RECOMPUTE_NONE);
  int32_t tokens[M], targets[M];
  support_model_tokens(&a, 3, M, tokens, targets);
  backward(t, tokens, targets, 1, false);
  update(t, &adam);
  size_t bytes = t->plan.weights;
  char *before = malloc(3 * bytes);
  assert_non_null(before);
  memcpy(before, t->weights, bytes);
  memcpy(before + bytes, t->m, bytes);
  memcpy(before + 2 * bytes, t->v, bytes);
  const double bad[] = {NAN, INFINITY, -INFINITY};
  for (int i = 0; i < 3; i++) {
    double norm = 77;
    backward(t, tokens, targets, 1, false);
    ((double *)t->gradients)[t->params->tensors[3].offset] = bad[i];
    assert_int_equal(transformer_update(t, &adam, &norm, &why), STATUS_REFUSED);
    assert_true(norm == 77);
    assert_int_equal(transformer_step(t), 1);
    assert_memory_equal(before, t->weights, bytes);
    assert_memory_equal(before + bytes, t->m, bytes);
    assert_memory_equal(before + 2 * bytes, t->v, bytes);
    assert_non_null(strstr(why.text, "step 2"));
  }
  free(before);
  transformer_close(&t);
  engine_close(&e);
}

static void assert_refused(enum status s, const char *words) {
  assert_int_equal(s, STATUS_RANGE);
  if (!strstr(why.text, words))
    fail_msg("'%s' does not say '%s'", why.text, words);
}

static void a_token_outside_the_vocabulary_is_named(void **state) {
  (void)state;
  struct engine *e = reference();
  struct arch a = support_model(0);
  struct transformer *t = training_model(e, &a, RECOMPUTE_NONE);
  int32_t tokens[M], targets[M];
  double loss = 77;
  float logits[13];
  support_model_tokens(&a, 3, M, tokens, targets);
  backward(t, tokens, targets, 1, false);
  double gradient = ((double *)t->gradients)[0];
  tokens[9] = 13;
  assert_refused(transformer_backward(t, tokens, targets, 1, false, &loss, &why), "token 9 is 13");
  assert_refused(transformer_loss(t, tokens, targets, B, T, &loss, NULL, &why), "0 to 12");
  tokens[9] = -1;
  assert_refused(transformer_loss(t, tokens, targets, B, T, &loss, NULL, &why), "token 9 is -1");
  tokens[9] = 0;
  targets[4] = 99;
  assert_refused(transformer_backward(t, tokens, targets, 1, false, &loss, &why), "target 4 is 99");
  targets[4] = -1;
  assert_refused(transformer_loss(t, tokens, targets, B + 1, T, &loss, NULL, &why), "3 × 7");
  assert_refused(transformer_loss(t, tokens, targets, B, T + 1, &loss, NULL, &why), "2 × 8");
  for (int i = 0; i < M; i++)
    targets[i] = -1;
  assert_refused(transformer_loss(t, tokens, targets, B, T, &loss, NULL, &why), "there is no loss");
  tokens[1] = 55;
  assert_refused(transformer_logits(t, tokens, 3, 1, logits, &why), "token 1 is 55");
  assert_refused(transformer_logits(t, tokens, T + 1, 1, logits, &why), "8 tokens");
  assert_true(loss == 77);
  assert_true(gradient == ((double *)t->gradients)[0]);
  transformer_close(&t);
  struct transformer_options inference = {.B = 1, .T = 5};
  t = open_model(e, &a, inference);
  transformer_init(t, 1);
  assert_refused(transformer_feed(t, tokens, 2, logits, &why), "token 1 is 55");
  assert_refused(transformer_feed(t, tokens, 0, logits, &why), "at least one");
  tokens[1] = 0;
  assert_int_equal(transformer_feed(t, tokens, 6, logits, &why), STATUS_FULL);
  assert_int_equal(transformer_feed(t, tokens, 5, logits, &why), STATUS_OK);
  transformer_close(&t);
  engine_close(&e);
}

static struct engine *cpu(int threads) {
  struct engine *e = NULL;
  const struct engine_cpu_options o = {.thread_count = threads};
  assert_int_equal(engine_cpu_open(&o, &e, &why), STATUS_OK);
  return e;
}

/* ‖x - y‖ / ‖y‖ of each tensor's gradients on two engines. */
static void assert_gradients_close(struct transformer *x, struct transformer *y, const char *model,
                                   double tolerance) {
  for (size_t i = 0; i < x->params->count; i++) {
    const struct arch_tensor *p = &x->params->tensors[i];
    float *both = malloc((size_t)p->count * 2 * sizeof *both);
    assert_non_null(both);
    transformer_get(x, ARRAY_GRADIENTS, p->offset, p->count, both);
    transformer_get(y, ARRAY_GRADIENTS, p->offset, p->count, both + p->count);
    double difference = 0, size = 0;
    for (int64_t k = 0; k < p->count; k++) {
      difference += pow((double)both[k] - (double)both[p->count + k], 2);
      size += pow((double)both[p->count + k], 2);
    }
    if (!(sqrt(difference) <= tolerance * sqrt(size) + 1e-7))
      fail_msg("%s: %s is off by %g of %g", model, p->name, sqrt(difference), sqrt(size));
    free(both);
  }
}

static void the_cpu_engine_gives_the_reference_gradients(void **state) {
  (void)state;
  struct engine *r = reference();
  for (int threads = 1; threads <= 3; threads++) {
    struct engine *e = cpu(threads);
    for (int m = 0; support_model_name(m); m++) {
      struct arch a = support_model(m);
      int32_t tokens[M], targets[M];
      support_model_tokens(&a, 3, M, tokens, targets);
      double scale = 1 / (double)counting(targets, M);
      struct transformer *x = training_model(e, &a, RECOMPUTE_NONE);
      struct transformer *y = training_model(r, &a, RECOMPUTE_NONE);
      for (int pass = 0; pass < 2; pass++) { /* written, then added to */
        double found = backward(x, tokens, targets, scale, pass);
        double truth = backward(y, tokens, targets, scale, pass);
        assert_true(fabs(found - truth) < 1e-5 * truth);
        assert_gradients_close(x, y, support_model_name(m), 2e-5);
      }
      transformer_close(&x);
      transformer_close(&y);
    }
    engine_close(&e);
  }
  engine_close(&r);
}

static void the_cpu_engine_recomputes_the_same_bits(void **state) {
  (void)state;
  for (int threads = 1; threads <= 2; threads++) {
    struct engine *e = cpu(threads);
    assert_recompute_levels_agree(e);
    struct arch a; /* large enough for the fast paths of matrix products */
    assert_int_equal(arch_preset("tiny", &a, &why), STATUS_OK);
    a.L = 2;
    assert_levels_agree(e, &a, 64, "tiny, parallel");
    a.parallel_residual = false;
    assert_levels_agree(e, &a, 61, "tiny, sequential");
    assert_int_equal(arch_preset("llama-7b", &a, &why), STATUS_OK);
    a.L = 2, a.C = 128, a.H = 8, a.HK = 2, a.D = a.R = 16, a.F = 344, a.V = 500;
    assert_levels_agree(e, &a, 64, "small llama");
    engine_close(&e);
  }
}

static void the_cpu_engine_feeds_and_learns(void **state) {
  (void)state;
  struct engine *e = cpu(2);
  assert_feeding_is_the_whole_pass(e, 1e-4);
  assert_training_learns(e);
  engine_close(&e);
}

/* Two runs of a few steps end in the same bits. */
static void the_cpu_engine_repeats_itself(void **state) {
  (void)state;
  struct engine *e = cpu(2);
  struct arch a;
  assert_int_equal(arch_preset("tiny", &a, &why), STATUS_OK);
  a.L = 2;
  enum { ROWS = 4 * 32 };
  int32_t tokens[ROWS], targets[ROWS];
  support_model_tokens(&a, 3, ROWS, tokens, targets);
  void *first = NULL;
  for (int run = 0; run < 2; run++) {
    struct transformer *t =
        open_model(e, &a, (struct transformer_options){.B = 4, .T = 32, .training = true});
    transformer_init(t, 4);
    for (int step = 0; step < 3; step++) {
      backward(t, tokens, targets, 0.01, false);
      update(t, &adam);
    }
    if (!run) {
      first = malloc(t->plan.weights);
      assert_non_null(first);
      memcpy(first, t->weights, t->plan.weights);
    }
    assert_memory_equal(first, t->weights, t->plan.weights);
    transformer_close(&t);
  }
  free(first);
  engine_close(&e);
}

static void arrays_come_back_as_they_were_set(void **state) {
  (void)state;
  struct engine *e = reference();
  struct arch a = support_model(5);
  struct transformer *t = training_model(e, &a, RECOMPUTE_NONE);
  float in[50], out[50];
  for (int i = 0; i < 50; i++)
    in[i] = (float)i / 7;
  for (int which = ARRAY_WEIGHTS; which <= ARRAY_MOMENT_V; which++) {
    transformer_set(t, (enum transformer_array)which, 100 + 60 * which, 50, in);
    transformer_get(t, (enum transformer_array)which, 100 + 60 * which, 50, out);
    assert_memory_equal(in, out, sizeof in);
  }
  transformer_step_set(t, 1234);
  assert_int_equal(transformer_step(t), 1234);
  transformer_close(&t);
  engine_close(&e);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_match_finite_differences),
      cmocka_unit_test(recompute_levels_give_the_same_bits),
      cmocka_unit_test(micro_batches_add_up_to_the_batch),
      cmocka_unit_test(feeding_with_a_cache_is_the_whole_pass),
      cmocka_unit_test(logits_and_loss_agree),
      cmocka_unit_test(logits_of_the_last_rows_are_those_of_a_shorter_text),
      cmocka_unit_test(first_weights_have_the_planned_spread),
      cmocka_unit_test(the_first_loss_is_that_of_guessing),
      cmocka_unit_test(training_learns_a_repeated_batch),
      cmocka_unit_test(two_updates_are_adamw_written_out),
      cmocka_unit_test(a_gradient_that_is_not_finite_changes_nothing),
      cmocka_unit_test(a_token_outside_the_vocabulary_is_named),
      cmocka_unit_test(the_cpu_engine_gives_the_reference_gradients),
      cmocka_unit_test(the_cpu_engine_recomputes_the_same_bits),
      cmocka_unit_test(the_cpu_engine_feeds_and_learns),
      cmocka_unit_test(the_cpu_engine_repeats_itself),
      cmocka_unit_test(arrays_come_back_as_they_were_set),
  };
  return cmocka_run_group_tests_name("transformer", tests, NULL, NULL);
}
