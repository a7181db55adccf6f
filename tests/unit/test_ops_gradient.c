/* The gradient of every op of the reference against central differences in double, and its
 * optimizer against numbers worked out elsewhere. What the reference gets wrong, every engine
 * would be tested to get wrong. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/engine.h"
#include "proto/base/prng.h"

enum { VALUES_MAX = 1 << 14 };

static struct engine *e;
static struct prng random_stream;

/* Memory of the reference is ordinary memory: tensors are taken from one array, freed together. */
static double values[VALUES_MAX];
static int64_t values_used;

static double *blank(int64_t count) {
  assert_true(values_used + count <= VALUES_MAX);
  double *x = values + values_used;
  values_used += count;
  for (int64_t i = 0; i < count; i++)
    x[i] = NAN;
  return x;
}

static double *drawn(int64_t count) {
  double *x = blank(count);
  for (int64_t i = 0; i < count; i++)
    x[i] = prng_normal(&random_stream);
  return x;
}

static int start(void **state) {
  (void)state;
  values_used = 0;
  random_stream = prng_seeded(7, PRNG_TEST);
  return 0;
}

static double dot(const double *a, const double *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += a[i] * b[i];
  return sum;
}

/* dx must be the gradient of loss at x, by fourth-order central differences; before is what was in
 * dx when the op added to it, else NULL. */
static void gradient_is(const char *what, double *x, const double *dx, const double *before,
                        int64_t count, double (*loss)(const void *), const void *context) {
  const double step = 1e-3;
  double error = 0, square = 0;
  for (int64_t i = 0; i < count; i++) {
    double here = x[i], at[4];
    static const double steps[] = {-2, -1, 1, 2};
    for (int k = 0; k < 4; k++) {
      x[i] = here + steps[k] * step;
      at[k] = loss(context);
    }
    x[i] = here;
    double slope = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step);
    error += pow(dx[i] - (before ? before[i] : 0) - slope, 2);
    square += slope * slope;
  }
  if (!(sqrt(error) < 1e-8 * sqrt(square) + 1e-11))
    fail_msg("d%s is off by %.3g relative to its norm %.3g", what, sqrt(error / square),
             sqrt(square));
}

struct linear_loss {
  struct linear_args a, below; /* below makes a.x when it has an activation */
  const double *dout;
};

static double linear_loss(const void *context) {
  const struct linear_loss *l = context;
  if (l->below.M)
    e->ops->linear(e, &l->below);
  e->ops->linear(e, &l->a);
  return dot(l->dout, l->a.out, l->a.M * l->a.N);
}

static void linear_gradients_are_slopes(void **state) {
  const int64_t M = 5, N = 7, K = 3;
  for (int more = 0; more < 2; more++) {
    start(state);
    double *x = drawn(M * K), *w = drawn(N * K), *bias = drawn(N), *add = drawn(M * N);
    struct linear_loss l = {.dout = drawn(M * N)};
    l.a = (struct linear_args){.x = x, .w = w, .bias = bias, .add = add, .M = M, .N = N, .K = K};
    l.a.out = blank(M * N);
    double *dx = more ? drawn(M * K) : blank(M * K), *dw = more ? drawn(N * K) : blank(N * K);
    double *db = more ? drawn(N) : blank(N), *before = blank(M * K + N * K + N);
    memcpy(before, dx, (size_t)(M * K) * sizeof *dx);
    memcpy(before + M * K, dw, (size_t)(N * K) * sizeof *dx);
    memcpy(before + M * K + N * K, db, (size_t)N * sizeof *dx);
    struct linear_grad_args g = {.dout = l.dout, .x = x, .w = w, .dx = dx, .dw = dw, .db = db};
    g.M = M;
    g.N = N;
    g.K = K;
    g.dx_accumulate = g.dw_accumulate = more;
    e->ops->linear_grad(e, &g);
    gradient_is("x", x, dx, more ? before : NULL, M * K, linear_loss, &l);
    gradient_is("w", w, dw, more ? before + M * K : NULL, N * K, linear_loss, &l);
    gradient_is("bias", bias, db, more ? before + M * K + N * K : NULL, N, linear_loss, &l);
  }
}

/* Two layers, as they are used: the upper one's dx is already before the lower one's activation. */
static void linear_gradients_pass_the_activation_below(void **state) {
  const int64_t M = 4, N = 5, K = 6, J = 3;
  for (int way = 0; way < 3; way++) {
    start(state);
    double *x = drawn(M * J), *w1 = drawn(K * J), *b1 = drawn(K), *w2 = drawn(N * K);
    double *pre = blank(M * K), *hidden = blank(M * K);
    struct linear_loss l = {.dout = drawn(M * N)};
    l.below = (struct linear_args){.x = x, .w = w1, .bias = b1, .pre = pre, .out = hidden};
    l.below.M = M;
    l.below.N = K;
    l.below.K = J;
    l.below.activation = (enum activation)way;
    l.a = (struct linear_args){.x = hidden, .w = w2, .out = blank(M * N), .M = M, .N = N, .K = K};
    linear_loss(&l);
    double *dpre = blank(M * K), *dx = blank(M * J), *dw1 = blank(K * J), *db1 = blank(K);
    e->ops->linear_grad(e, &(struct linear_grad_args){.dout = l.dout,
                                                      .w = w2,
                                                      .pre = pre,
                                                      .dx = dpre,
                                                      .M = M,
                                                      .N = N,
                                                      .K = K,
                                                      .activation = (enum activation)way});
    e->ops->linear_grad(
        e,
        &(struct linear_grad_args){
            .dout = dpre, .x = x, .w = w1, .dx = dx, .dw = dw1, .db = db1, .M = M, .N = K, .K = J});
    gradient_is("x", x, dx, NULL, M * J, linear_loss, &l);
    gradient_is("w below", w1, dw1, NULL, K * J, linear_loss, &l);
    gradient_is("b below", b1, db1, NULL, K, linear_loss, &l);
  }
}

struct norm_loss {
  struct norm_args a;
  const double *dy;
};

static double norm_loss(const void *context) {
  const struct norm_loss *l = context;
  e->ops->norm(e, &l->a);
  return dot(l->dy, l->a.y, l->a.M * l->a.C);
}

static void norm_gradients_are_slopes(void **state) {
  const int64_t M = 4, C = 9;
  for (int way = 0; way < 4; way++) {
    start(state);
    bool layer = way & 1, more = way & 2;
    double *x = drawn(M * C), *w = drawn(C), *b = drawn(C);
    struct norm_loss l = {.dy = drawn(M * C)};
    l.a = (struct norm_args){.x = x, .w = w, .b = layer ? b : NULL, .y = blank(M * C), .eps = 1e-5};
    l.a.mean = layer ? blank(M) : NULL;
    l.a.rstd = blank(M);
    l.a.M = M;
    l.a.C = C;
    l.a.kind = layer ? NORM_LAYER : NORM_RMS;
    norm_loss(&l);
    double *dx = drawn(M * C), *dw = drawn(C), *db = drawn(C), *before = blank(M * C + 2 * C);
    memcpy(before, dx, (size_t)(M * C + 2 * C) * sizeof *dx); /* they stand in a row */
    struct norm_grad_args g = {.dy = l.dy, .x = x, .w = w, .mean = l.a.mean, .rstd = l.a.rstd};
    g.dx = dx;
    g.dw = dw;
    g.db = layer ? db : NULL;
    g.M = M;
    g.C = C;
    g.kind = l.a.kind;
    g.dx_accumulate = g.dw_accumulate = more;
    e->ops->norm_grad(e, &g);
    gradient_is("x", x, dx, more ? before : NULL, M * C, norm_loss, &l);
    gradient_is("w", w, dw, more ? before + M * C : NULL, C, norm_loss, &l);
    if (layer)
      gradient_is("b", b, db, more ? before + M * C + C : NULL, C, norm_loss, &l);
  }
}

struct rope_loss {
  struct rope_args a;
  const double *x, *dout;
  double *turned;
  int64_t count;
};

static double rope_loss(const void *context) {
  const struct rope_loss *l = context;
  memcpy(l->turned, l->x, (size_t)l->count * sizeof *l->turned);
  e->ops->rope(e, &l->a);
  return dot(l->dout, l->turned, l->count);
}

static void rope_gradient_is_the_inverse_turn(void **state) {
  const int64_t B = 2, T = 3, heads = 2, D = 8, first = 5;
  for (int64_t R = 0; R <= D; R += 2) {
    start(state);
    struct rope_loss l = {.count = B * T * heads * D};
    double *x = drawn(l.count), *dx = drawn(l.count), *table = blank((first + T) * (R + 2));
    double *dout = blank(l.count);
    memcpy(dout, dx, (size_t)l.count * sizeof *dx);
    for (int64_t i = 0; i < (first + T) * R / 2; i++) {
      double angle = (double)(i / (R / 2)) * pow(10000, -2 * (double)(i % (R / 2)) / (double)R);
      table[2 * i] = cos(angle);
      table[2 * i + 1] = sin(angle);
    }
    l.x = x;
    l.dout = dout;
    l.turned = blank(l.count);
    l.a = (struct rope_args){.x = l.turned, .row_stride = heads * D, .head_stride = D};
    l.a.heads = heads;
    l.a.table = table;
    l.a.position = first;
    l.a.B = B;
    l.a.T = T;
    l.a.R = R;
    struct rope_args back = l.a;
    back.x = dx;
    back.inverse = true;
    e->ops->rope(e, &back);
    gradient_is("x", x, dx, NULL, l.count, rope_loss, &l);
  }
}

/* Position 1, base 10000, R 2: one radian. Channels past R stay. */
static void rope_turns_by_the_position(void **state) {
  start(state);
  double x[6] = {1, 0, 7, 1, 0, 7}, table[4] = {1, 0, cos(1), sin(1)};
  e->ops->rope(e, &(struct rope_args){.x = x,
                                      .row_stride = 3,
                                      .head_stride = 3,
                                      .heads = 1,
                                      .table = table,
                                      .B = 1,
                                      .T = 2,
                                      .R = 2});
  const double want[6] = {1, 0, 7, 0.5403023058681398, 0.8414709848078965, 7};
  for (int i = 0; i < 6; i++)
    assert_true(fabs(x[i] - want[i]) < 1e-15);
}

struct attention_loss {
  struct attention_args a;
  const double *dout;
};

static double attention_loss(const void *context) {
  const struct attention_loss *l = context;
  e->ops->attention(e, &l->a);
  return dot(l->dout, l->a.o, l->a.B * l->a.T * l->a.H * l->a.D);
}

static void check_attention(int64_t H, int64_t HK, bool interleaved) {
  const int64_t B = 2, T = 5, D = 4, row = (H + 2 * HK) * D, count = B * T * row;
  double *qkv = drawn(count), *dqkv = drawn(count), *before = blank(count);
  memcpy(before, dqkv, (size_t)count * sizeof *dqkv);
  int64_t k = interleaved ? D : H * D, v = interleaved ? 2 * D : (H + HK) * D;
  struct attention_loss l = {.dout = drawn(B * T * H * D)};
  l.a = (struct attention_args){.q = qkv, .k = qkv + k, .v = qkv + v, .B = B, .T = T, .S = T};
  l.a.H = H;
  l.a.HK = HK;
  l.a.D = D;
  l.a.q_row = l.a.kv_row = row;
  l.a.q_head = l.a.kv_head = interleaved ? 3 * D : D;
  l.a.scale = 0.5;
  l.a.o = blank(B * T * H * D);
  l.a.lse = blank(B * H * T);
  attention_loss(&l);
  e->ops->attention_grad(
      e, &(struct attention_grad_args){
             .forward = l.a, .dout = l.dout, .dq = dqkv, .dk = dqkv + k, .dv = dqkv + v});
  gradient_is("qkv", qkv, dqkv, NULL, count, attention_loss, &l);
}

static void attention_gradients_are_slopes(void **state) {
  start(state);
  check_attention(3, 3, true);
  check_attention(3, 3, false);
  check_attention(4, 2, false);
  check_attention(4, 1, false);
}

/* Two keys with scores 0 and ln 3: weights 1/4 and 3/4; the first query sees only the first key. */
static void attention_is_a_masked_softmax(void **state) {
  start(state);
  double q[2] = {1, 1}, k[2] = {0, 2 * log(3)}, v[2] = {8, 16}, o[2], lse[2];
  e->ops->attention(e, &(struct attention_args){.q = q,
                                                .k = k,
                                                .v = v,
                                                .o = o,
                                                .lse = lse,
                                                .B = 1,
                                                .T = 2,
                                                .S = 2,
                                                .H = 1,
                                                .HK = 1,
                                                .D = 1,
                                                .q_row = 1,
                                                .q_head = 1,
                                                .kv_row = 1,
                                                .kv_head = 1,
                                                .scale = 0.5});
  assert_true(fabs(o[0] - 8) < 1e-14);
  assert_true(fabs(o[1] - 14) < 1e-14);
  assert_true(fabs(lse[0]) < 1e-14);
  assert_true(fabs(lse[1] - log(4)) < 1e-14);
}

struct head_loss {
  struct head_args a;
};

static double head_loss(const void *context) {
  struct head_args a = ((const struct head_loss *)context)->a;
  a.dh = a.dw = NULL;
  e->ops->head(e, &a);
  double sum = 0;
  for (int64_t m = 0; m < a.M; m++)
    sum += a.grad_scale * ((const double *)a.loss)[m];
  return sum;
}

static void head_gradients_are_slopes(void **state) {
  const int64_t M = 5, C = 3, V = 7;
  static const int32_t targets[] = {6, -1, 0, 3, -100};
  for (int more = 0; more < 2; more++) {
    start(state);
    double *h = drawn(M * C), *w = drawn(V * C), *dh = blank(M * C);
    double *dw = more ? drawn(V * C) : blank(V * C), *before = blank(V * C);
    memcpy(before, dw, (size_t)(V * C) * sizeof *dw);
    struct head_loss l = {{.h = h, .w = w, .targets = targets, .loss = blank(M), .M = M, .C = C}};
    l.a.V = V;
    l.a.grad_scale = 0.3;
    l.a.dh = dh;
    l.a.dw = dw;
    l.a.dw_accumulate = more;
    e->ops->head(e, &l.a);
    assert_true(((double *)l.a.loss)[1] == 0 && ((double *)l.a.loss)[4] == 0);
    assert_true(((double *)l.a.loss)[0] > 0);
    gradient_is("h", h, dh, NULL, M * C, head_loss, &l);
    gradient_is("w", w, dw, more ? before : NULL, V * C, head_loss, &l);
  }
}

struct table_loss {
  const double *table, *dout;
  const int32_t *tokens;
  double *out;
};

static double table_loss(const void *context) {
  const struct table_loss *l = context;
  e->ops->embed(e, l->out, l->table, l->tokens, 6, 3, 5);
  return dot(l->dout, l->out, 18);
}

static void embedding_gradients_are_slopes(void **state) {
  static const int32_t tokens[] = {4, 0, 4, 2, 4, 0};
  for (int more = 0; more < 2; more++) {
    start(state);
    double *table = drawn(15), *dtable = drawn(15), *before = blank(15);
    memcpy(before, dtable, 15 * sizeof *before);
    struct table_loss l = {table, drawn(18), tokens, blank(18)};
    e->ops->embed_grad(e, dtable, l.dout, tokens, 6, 3, 5, more);
    gradient_is("table", table, dtable, more ? before : NULL, 15, table_loss, &l);
  }
}

struct swiglu_loss {
  const double *gate_up, *dout;
  double *out;
};

static double swiglu_loss(const void *context) {
  const struct swiglu_loss *l = context;
  e->ops->swiglu(e, l->out, l->gate_up, 3, 5);
  return dot(l->dout, l->out, 15);
}

static void swiglu_gradient_is_the_slope_also_in_place(void **state) {
  for (int in_place = 0; in_place < 2; in_place++) {
    start(state);
    double *gate_up = drawn(30), *d = blank(30);
    struct swiglu_loss l = {gate_up, drawn(15), blank(15)};
    memcpy(d, gate_up, 30 * sizeof *d);
    e->ops->swiglu_grad(e, d, l.dout, in_place ? d : gate_up, 3, 5);
    gradient_is("gate_up", gate_up, d, NULL, 30, swiglu_loss, &l);
  }
}

/* The functions themselves; torch.nn.functional's gelu (both forms) and silu give these numbers in
 * float64. */
static void activations_have_the_published_values(void **state) {
  start(state);
  const double x[3] = {-1.5, 0.3, 2}, gate_up[6] = {-1.5, 0.3, 2, 1, 1, 1};
  const double want[3][3] = {
      {-0.10021080190328704, 0.1853734266566858, 1.9544997361036416},
      {-0.10042842301976707, 0.18537092354275922, 1.954597694087775},
      {-0.2736382857095345, 0.1723327550434977, 1.7615941559557646},
  };
  double out[3][3];
  e->ops->activate(e, out[0], x, 3, ACTIVATION_GELU);
  e->ops->activate(e, out[1], x, 3, ACTIVATION_GELU_TANH);
  e->ops->swiglu(e, out[2], gate_up, 1, 3);
  for (int i = 0; i < 9; i++)
    assert_true(fabs(out[i / 3][i % 3] - want[i / 3][i % 3]) < 1e-14);
}

/* torch.optim.AdamW in float64, lr 0.01, betas (0.9, 0.95), eps 1e-8, weight_decay 0.1, two steps
 * from p = (1, -2, 0.5) with g = (0.1, -0.2, 3), then g = (-0.3, 0, 1). */
static void adamw_steps_as_pytorch_does(void **state) {
  start(state);
  const double g[2][3] = {{0.1, -0.2, 3}, {-0.3, 0, 1}};
  const double want[2][3] = {{0.9890000009999999, -1.9880000005, 0.4895000000333333},
                             {0.9929039584578624, -1.9792255235175418, 0.48021088362124753}};
  double p[3] = {1, -2, 0.5}, m[3] = {0}, v[3] = {0};
  for (int step = 0; step < 2; step++) {
    double twice[3] = {2 * g[step][0], 2 * g[step][1], 2 * g[step][2]};
    e->ops->adamw(e, &(struct adamw_args){.p = p,
                                          .g = twice,
                                          .m = m,
                                          .v = v,
                                          .count = 3,
                                          .step = step + 1,
                                          .lr = 0.01,
                                          .beta1 = 0.9,
                                          .beta2 = 0.95,
                                          .eps = 1e-8,
                                          .decay = 0.1,
                                          .grad_scale = 0.5});
    for (int i = 0; i < 3; i++)
      assert_true(fabs(p[i] - want[step][i]) < 1e-14);
  }
}

static void sum_squares_adds_up_and_shows_what_is_not_finite(void **state) {
  start(state);
  double x[4] = {1, -2, 3, 0};
  assert_true(e->ops->sum_squares(e, x, 4) == 14);
  assert_true(e->ops->sum_squares(e, x, 0) == 0);
  x[3] = NAN;
  assert_true(isnan(e->ops->sum_squares(e, x, 4)));
  x[3] = -INFINITY;
  assert_true(isinf(e->ops->sum_squares(e, x, 4)));
}

static int open_engine(void **state) {
  (void)state;
  struct why why;
  if (engine_ref_open(&e, &why) != STATUS_OK)
    return -1;
  return engine_reserve(e, &(struct shapes){.B = 2, .T = 8, .S = 8, .V = 8}, &why) ? -1 : 0;
}

static int close_engine(void **state) {
  (void)state;
  engine_close(&e);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(linear_gradients_are_slopes),
      cmocka_unit_test(linear_gradients_pass_the_activation_below),
      cmocka_unit_test(norm_gradients_are_slopes),
      cmocka_unit_test(rope_gradient_is_the_inverse_turn),
      cmocka_unit_test(rope_turns_by_the_position),
      cmocka_unit_test(attention_gradients_are_slopes),
      cmocka_unit_test(attention_is_a_masked_softmax),
      cmocka_unit_test(head_gradients_are_slopes),
      cmocka_unit_test(embedding_gradients_are_slopes),
      cmocka_unit_test(swiglu_gradient_is_the_slope_also_in_place),
      cmocka_unit_test(activations_have_the_published_values),
      cmocka_unit_test(adamw_steps_as_pytorch_does),
      cmocka_unit_test(sum_squares_adds_up_and_shows_what_is_not_finite),
  };
  return cmocka_run_group_tests(tests, open_engine, close_engine);
}
