/* Every op of every engine against the reference: odd sizes, all flags, the aliasing that the
 * header permits, extreme values; and the same bits twice. See support_ops.h for what is checked
 * each time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support_ops.h"

enum { COUNT_MAX = 4096 };
#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* Where an op has a flag with several ways, cases are numbered and the number is taken apart. */
static int digit(int *number, int ways) {
  int d = *number % ways;
  *number /= ways;
  return d;
}

struct linear_case {
  int64_t M, N, K;
  int flags;
  double scale;
};

enum { LINEAR_WAYS = 2 * 3 * 2 * 3 };

static void run_linear(struct ops_run *r, const void *params) {
  const struct linear_case *c = params;
  int flags = c->flags;
  struct linear_args a = {.M = c->M, .N = c->N, .K = c->K};
  a.activation = (enum activation)digit(&flags, 3);
  a.x = ops_input(r, c->M * c->K, c->scale);
  a.w = ops_input(r, c->N * c->K, 0.5);
  a.bias = digit(&flags, 2) ? ops_input(r, c->N, 1) : NULL;
  a.pre = digit(&flags, 2) ? ops_output(r, "pre", c->M * c->N) : NULL;
  int add = digit(&flags, 3);
  a.out = ops_output_maybe(r, "out", c->M * c->N, add == 2);
  a.add = add == 2 ? a.out : add == 1 ? ops_input(r, c->M * c->N, 1) : NULL;
  r->e->ops->linear(r->e, &a);
}

enum { LINEAR_GRAD_WAYS = 5 * 3 * 3 };

static void run_linear_grad(struct ops_run *r, const void *params) {
  const struct linear_case *c = params;
  int flags = c->flags;
  struct linear_grad_args a = {.M = c->M, .N = c->N, .K = c->K};
  int dx = digit(&flags, 5), dw = digit(&flags, 3), db = digit(&flags, 3);
  a.dx_accumulate = dx == 2;
  a.dw_accumulate = dw == 2 || db == 2;
  a.activation = dx == 3 ? ACTIVATION_GELU : dx == 4 ? ACTIVATION_GELU_TANH : ACTIVATION_NONE;
  a.dout = ops_input(r, c->M * c->N, c->scale);
  a.x = dw ? ops_input(r, c->M * c->K, 1) : NULL;
  a.w = dx ? ops_input(r, c->N * c->K, 1) : NULL;
  a.pre = dx > 2 ? ops_input(r, c->M * c->K, 1.5) : NULL;
  a.dx = dx ? ops_output_maybe(r, "dx", c->M * c->K, a.dx_accumulate) : NULL;
  a.dw = dw ? ops_output_maybe(r, "dw", c->N * c->K, a.dw_accumulate) : NULL;
  a.db = db ? ops_output_maybe(r, "db", c->N, a.dw_accumulate) : NULL;
  r->e->ops->linear_grad(r->e, &a);
}

static const int64_t linear_sizes[][3] = {
    {1, 1, 1},    {1, 7, 3},     {2, 1, 5},    {3, 17, 2},   {7, 3, 33},    {1, 257, 65},
    {17, 33, 1},  {33, 129, 17}, {65, 64, 31}, {5, 513, 40}, {129, 65, 67}, {131, 2, 127},
    {257, 31, 9}, {385, 17, 33}, {67, 300, 5}, {2, 2, 1031},
};

static void all_linear(const char *name, void (*run)(struct ops_run *, const void *), int ways,
                       double scale) {
  for (size_t i = 0; i < LENGTH(linear_sizes); i++) {
    const int64_t *s = linear_sizes[i];
    /* Small ones in all ways, greater ones in every seventh, another seventh each. */
    int step = s[0] * s[1] * s[2] < 300 ? 1 : 7;
    for (int flags = step == 1 ? 0 : (int)i % step; flags < ways; flags += step) {
      struct linear_case c = {s[0], s[1], s[2], flags, scale};
      struct shapes most = {s[0], 1, 1, s[2], s[1], 1, 1, 1, 1};
      char text[96];
      snprintf(text, sizeof text, "%s M %d N %d K %d flags %d", name, (int)s[0], (int)s[1],
               (int)s[2], flags);
      ops_agree(text, run, &c, &most);
    }
  }
}

static void linear_agrees_in_every_form(void **state) {
  (void)state;
  all_linear("linear", run_linear, LINEAR_WAYS, 1);
}

static void linear_agrees_for_activations_far_out(void **state) {
  (void)state;
  for (int flags = 0; flags < 3; flags++)
    ops_agree("linear, large", run_linear, &(struct linear_case){9, 31, 5, flags, 1e4},
              &(struct shapes){9, 1, 1, 31, 31, 1, 1, 1, 1});
}

static void linear_gradients_agree_in_every_form(void **state) {
  (void)state;
  all_linear("linear_grad", run_linear_grad, LINEAR_GRAD_WAYS, 1);
}

struct norm_case {
  int64_t M, C;
  int flags;
  double scale, offset;
};

static void run_norm(struct ops_run *r, const void *params) {
  const struct norm_case *c = params;
  int flags = c->flags;
  enum norm_kind kind = (enum norm_kind)digit(&flags, 2);
  bool dx_accumulate = digit(&flags, 2), dw_accumulate = digit(&flags, 2), layer = kind == 0;
  if (c->offset != 0)
    r->loose = 100; /* x - mean cancels */
  if (c->scale < 1e-30)
    r->floor = 1e-36;
  double *values = malloc((size_t)(c->M * c->C) * sizeof *values);
  assert_non_null(values);
  for (int64_t i = 0; i < c->M * c->C; i++)
    values[i] = (float)(c->offset + c->scale * prng_normal(&r->random));
  void *x = ops_input_values(r, values, c->M * c->C), *w = ops_input(r, c->C, 1);
  free(values);
  void *y = ops_output(r, "y", c->M * c->C), *rstd = ops_stat_output(r, "rstd", c->M);
  void *mean = layer ? ops_stat_output(r, "mean", c->M) : NULL;
  r->e->ops->norm(r->e, &(struct norm_args){.x = x,
                                            .w = w,
                                            .y = y,
                                            .mean = mean,
                                            .rstd = rstd,
                                            .b = layer ? ops_input(r, c->C, 1) : NULL,
                                            .M = c->M,
                                            .C = c->C,
                                            .eps = 1e-5,
                                            .kind = kind});
  struct norm_grad_args g = {.x = x, .w = w, .mean = mean, .rstd = rstd, .M = c->M, .C = c->C};
  g.kind = kind;
  g.dx_accumulate = dx_accumulate;
  g.dw_accumulate = dw_accumulate;
  g.dy = ops_input(r, c->M * c->C, 1);
  double floor = r->floor;
  if (c->C <= 2 || c->scale == 0)
    r->floor = 1e-3; /* dx is near 0 by cancelling, then multiplied by rstd, at most 316 */
  g.dx = ops_output_maybe(r, "dx", c->M * c->C, dx_accumulate);
  r->floor = c->scale == 0 ? 1e-3 : floor; /* so is dw when every row is constant */
  g.dw = ops_output_maybe(r, "dw", c->C, dw_accumulate);
  g.db = layer ? ops_output_maybe(r, "db", c->C, dw_accumulate) : NULL;
  r->e->ops->norm_grad(r->e, &g);
}

static void norms_agree(void **state) {
  (void)state;
  static const int64_t sizes[][2] = {{1, 1},  {2, 2},    {1, 7},    {3, 17},  {33, 3},
                                     {5, 64}, {65, 129}, {129, 33}, {7, 384}, {2, 1031}};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    for (int flags = 0; flags < 8; flags++) {
      struct norm_case c = {sizes[i][0], sizes[i][1], flags, 1, 0};
      char text[64];
      snprintf(text, sizeof text, "norm M %d C %d flags %d", (int)c.M, (int)c.C, flags);
      ops_agree(text, run_norm, &c, &(struct shapes){c.M, 1, 1, c.C, c.C, 1, 1, 1, 1});
    }
}

static void norms_agree_for_constant_tiny_and_shifted_rows(void **state) {
  (void)state;
  static const double ways[][2] = {{0, 3}, {0, 0}, {1e-40, 0}, {1e4, 0}, {1, 50}};
  for (size_t i = 0; i < LENGTH(ways); i++)
    for (int flags = 0; flags < 2; flags++) {
      struct norm_case c = {5, 67, flags, ways[i][0], ways[i][1]};
      char text[64];
      snprintf(text, sizeof text, "norm scale %g offset %g kind %d", c.scale, c.offset, flags);
      ops_agree(text, run_norm, &c, &(struct shapes){5, 1, 1, 67, 67, 1, 1, 1, 1});
    }
}

/* A head layout: NeoX interleaves q, k, v of each head; LLaMA has all q, then all k, then all v. */
struct attention_case {
  int64_t B, T, S, H, HK, D;
  bool interleaved;
  double scale, q_scale;
};

static void run_rope(struct ops_run *r, const void *params) {
  const struct rope_args *c = params;
  int64_t positions = c->position + c->T;
  double *turns = malloc((size_t)(positions * c->R + 1) * sizeof *turns);
  assert_non_null(turns);
  for (int64_t p = 0; p < positions; p++)
    for (int64_t i = 0; i < c->R / 2; i++) {
      double angle = (double)p * pow(10000, -2 * (double)i / (double)c->R);
      turns[p * c->R + 2 * i] = cos(angle);
      turns[p * c->R + 2 * i + 1] = sin(angle);
    }
  struct rope_args a = *c;
  a.table = ops_stat_values(r, NULL, turns, positions * c->R);
  a.x = ops_output_from(r, "x", c->B * c->T * c->row_stride, 1);
  r->e->ops->rope(r->e, &a);
  free(turns);
}

static void rope_agrees_for_every_fraction_and_layout(void **state) {
  (void)state;
  static const int64_t rotated[] = {0, 2, 6, 16, 34, 64};
  for (size_t i = 0; i < LENGTH(rotated); i++)
    for (int way = 0; way < 8; way++) {
      struct rope_args a = {.B = 1 + way % 2 * 2, .T = 7, .R = rotated[i], .heads = 3};
      a.head_stride = way & 2 ? 64 * 3 : 65;
      a.row_stride = a.heads * a.head_stride + (way & 2 ? 0 : 9);
      a.position = way & 4 ? 11 : 0;
      a.inverse = way == 3 || way == 4;
      ops_agree("rope", run_rope, &a, &(struct shapes){3, 7, 18, 192, 1, 3, 3, 64, 1});
    }
}

static void run_attention(struct ops_run *r, const void *params) {
  const struct attention_case *c = params;
  struct attention_grad_args g = {.forward = {.B = c->B, .T = c->T, .S = c->S, .H = c->H}};
  struct attention_args *a = &g.forward;
  a->HK = c->HK;
  a->D = c->D;
  a->scale = c->scale;
  a->q_head = a->kv_head = c->interleaved ? 3 * c->D : c->D;
  a->q_row = c->interleaved ? 3 * c->H * c->D : (c->H + 2 * c->HK) * c->D;
  a->kv_row = c->S == c->T ? a->q_row : c->HK * c->D + 3; /* a cache has rows of its own */
  int64_t k_offset = c->interleaved ? c->D : c->H * c->D;
  int64_t v_offset = c->interleaved ? 2 * c->D : (c->H + c->HK) * c->D;
  void *rows = ops_input(r, c->B * c->T * a->q_row, c->q_scale);
  a->q = rows;
  a->k = c->S == c->T ? ops_at(r, rows, k_offset) : ops_input(r, c->B * c->S * a->kv_row, 1);
  a->v = c->S == c->T ? ops_at(r, rows, v_offset) : ops_input(r, c->B * c->S * a->kv_row, 1);
  if (c->q_scale > 2)
    r->loose = 300; /* a rounding of a score of 1e4 is 1e-3 of its e^x */
  a->o = ops_output(r, "o", c->B * c->T * c->H * c->D);
  a->lse = ops_stat_output(r, "lse", c->B * c->H * c->T);
  r->e->ops->attention(r->e, a);
  if (c->S != c->T)
    return;
  g.dout = ops_input(r, c->B * c->T * c->H * c->D, 1);
  if (c->T == 1)
    r->floor = 2e-4; /* p is 1: dq and dk are the rounding of dp - Σ p dp = 0 */
  g.dq = ops_output_from(r, "dqkv", c->B * c->T * a->q_row, 1);
  g.dk = ops_at(r, g.dq, k_offset);
  g.dv = ops_at(r, g.dq, v_offset);
  r->e->ops->attention_grad(r->e, &g);
}

static void agree_attention(const struct attention_case *c) {
  char text[128];
  snprintf(text, sizeof text, "attention B %d T %d S %d H %d HK %d D %d %s", (int)c->B, (int)c->T,
           (int)c->S, (int)c->H, (int)c->HK, (int)c->D, c->interleaved ? "interleaved" : "packed");
  ops_agree(text, run_attention, c,
            &(struct shapes){c->B, c->T, c->S, c->H * c->D, 1, c->H, c->HK, c->D, 1});
}

static void attention_agrees_for_odd_shapes(void **state) {
  (void)state;
  static const int64_t shapes[][5] = {
      /* B, T, H, HK, D */
      {1, 1, 1, 1, 8},   {2, 2, 3, 3, 8},   {1, 7, 2, 1, 16},   {3, 17, 2, 2, 24},
      {1, 33, 4, 2, 32}, {2, 65, 3, 1, 40}, {1, 129, 2, 2, 64}, {1, 64, 1, 1, 72},
      {1, 31, 2, 1, 80}, {1, 3, 6, 2, 128}, {1, 67, 1, 1, 96},  {1, 35, 2, 2, 256},
      {1, 19, 1, 1, 1},  {2, 13, 2, 1, 5},  {1, 521, 1, 1, 8},
  };
  for (size_t i = 0; i < LENGTH(shapes); i++) {
    const int64_t *s = shapes[i];
    struct attention_case c = {s[0], s[1], s[1], s[2], s[3], s[4], false, 0, 1};
    c.scale = 1 / sqrt((double)c.D);
    agree_attention(&c);
    c.interleaved = true;
    if (c.H == c.HK)
      agree_attention(&c);
  }
}

static void attention_agrees_with_more_keys_than_queries(void **state) {
  (void)state;
  static const int64_t shapes[][2] = {{1, 2},  {1, 33},  {1, 130}, {2, 3},
                                      {7, 65}, {33, 40}, {3, 600}};
  for (size_t i = 0; i < LENGTH(shapes); i++)
    agree_attention(
        &(struct attention_case){2, shapes[i][0], shapes[i][1], 4, 2, 20, false, 0.2, 1});
}

static void attention_survives_scores_of_ten_thousand(void **state) {
  (void)state;
  agree_attention(&(struct attention_case){1, 37, 37, 2, 2, 16, true, 0.25, 100});
  agree_attention(&(struct attention_case){1, 37, 37, 2, 1, 16, false, 0.25, 100});
}

struct head_case {
  int64_t M, C, V;
  int flags;
  double scale;
};

static void run_head(struct ops_run *r, const void *params) {
  const struct head_case *c = params;
  int flags = c->flags;
  bool grad = digit(&flags, 2), accumulate = digit(&flags, 2), skip = digit(&flags, 2);
  struct head_args a = {.M = c->M, .C = c->C, .V = c->V, .grad_scale = 3 / (double)c->M};
  a.h = ops_input(r, c->M * c->C, c->scale);
  a.w = ops_input(r, c->V * c->C, 1 / sqrt((double)c->C));
  if (c->scale > 10)
    r->loose = 300;
  a.targets = ops_tokens(r, c->M, skip ? -(int32_t)c->V : 0, (int32_t)c->V);
  if (c->V == 1)
    r->floor = 1e-6; /* the loss is 0, and so are the gradients */
  a.loss = ops_stat_output(r, "loss", c->M);
  a.dh = grad ? ops_output(r, "dh", c->M * c->C) : NULL;
  a.dw = grad ? ops_output_maybe(r, "dw", c->V * c->C, accumulate) : NULL;
  a.dw_accumulate = accumulate;
  r->e->ops->head(r->e, &a);
}

static void agree_head(const struct head_case *c) {
  char text[96];
  snprintf(text, sizeof text, "head M %d C %d V %d flags %d", (int)c->M, (int)c->C, (int)c->V,
           c->flags);
  ops_agree(text, run_head, c, &(struct shapes){c->M, 1, 1, c->C, 1, 1, 1, 1, c->V});
}

static void head_agrees_for_odd_vocabularies(void **state) {
  (void)state;
  static const int64_t sizes[][3] = {{1, 1, 1},    {1, 3, 2},      {2, 7, 3},     {7, 17, 17},
                                     {17, 2, 33},  {33, 5, 129},   {65, 33, 257}, {129, 16, 67},
                                     {3, 9, 1031}, {19, 65, 1025}, {5, 3, 2311}};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    for (int flags = 0; flags < 8; flags++)
      agree_head(&(struct head_case){sizes[i][0], sizes[i][1], sizes[i][2], flags, 1});
}

/* More logits than an engine holds at once, so that it takes the rows in chunks. */
static void head_agrees_in_chunks_of_rows(void **state) {
  (void)state;
  const struct shapes most = {33, 1, 1, 2, 1, 1, 1, 1, 524289};
  ops_agree_once("head, chunks", run_head, &(struct head_case){33, 2, 524289, 1, 1}, &most);
  ops_agree_once("head, chunks, more", run_head, &(struct head_case){33, 2, 524289, 7, 1}, &most);
}

static void head_survives_logits_of_ten_thousand(void **state) {
  (void)state;
  agree_head(&(struct head_case){17, 33, 129, 1, 1e4});
  agree_head(&(struct head_case){17, 33, 1031, 5, 1e4});
}

static void run_adamw(struct ops_run *r, const void *params) {
  const struct adamw_args *c = params;
  static double moment[COUNT_MAX];
  struct adamw_args a = *c;
  a.p = ops_output_from(r, "p", c->count, 1);
  a.g = ops_input(r, c->count, 1);
  for (int64_t i = 0; i < c->count; i++)
    moment[i] = c->step == 1 ? 0 : (float)(0.1 * prng_normal(&r->random));
  a.m = ops_stat_values(r, "m", moment, c->count);
  for (int64_t i = 0; i < c->count; i++)
    moment[i] = c->step == 1 ? 0 : (float)fabs(0.1 * prng_normal(&r->random));
  a.v = ops_stat_values(r, "v", moment, c->count);
  r->e->ops->adamw(r->e, &a);
}

static void adamw_agrees(void **state) {
  (void)state;
  static const int64_t counts[] = {1, 2, 3, 7, 17, 33, 65, 129, 1031, 4093};
  for (size_t i = 0; i < LENGTH(counts); i++)
    for (int way = 0; way < 4; way++) {
      struct adamw_args a = {.count = counts[i], .step = way & 1 ? 1 : 1000};
      a.lr = 1e-2;
      a.beta1 = 0.9;
      a.beta2 = 0.95;
      a.eps = 1e-8;
      a.decay = way & 2 ? 0.1 : 0;
      a.grad_scale = 0.37;
      ops_agree("adamw", run_adamw, &a, &(struct shapes){1, 1, 1, 1, 1, 1, 1, 1, 1});
    }
}

struct embed_case {
  int64_t M, C, V;
  bool accumulate;
};

static void run_embed(struct ops_run *r, const void *params) {
  const struct embed_case *c = params;
  void *table = ops_input(r, c->V * c->C, 1);
  const int32_t *tokens = ops_tokens(r, c->M, 0, (int32_t)c->V);
  void *out = ops_output(r, "out", c->M * c->C);
  r->e->ops->embed(r->e, out, table, tokens, c->M, c->C, c->V);
  void *dtable = ops_output_maybe(r, "dtable", c->V * c->C, c->accumulate);
  r->e->ops->embed_grad(r->e, dtable, out, tokens, c->M, c->C, c->V, c->accumulate);
}

static void embeddings_agree_with_repeated_and_absent_tokens(void **state) {
  (void)state;
  static const int64_t sizes[][3] = {{1, 1, 1},   {7, 3, 2},   {2, 17, 1031}, {129, 33, 17},
                                     {65, 65, 3}, {300, 7, 1}, {31, 384, 129}};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    for (int way = 0; way < 2; way++) {
      struct embed_case c = {sizes[i][0], sizes[i][1], sizes[i][2], way == 1};
      ops_agree("embed", run_embed, &c, &(struct shapes){c.M, 1, 1, c.C, 1, 1, 1, 1, c.V});
    }
}

struct pointwise_case {
  int64_t M, F;
  int way;
  double scale;
};

static void run_activate(struct ops_run *r, const void *params) {
  const struct pointwise_case *c = params;
  r->floor = c->scale < 1e-30 ? 1e-37 : 1e-30; /* the far end of the tail may be 0 */
  void *pre = ops_input(r, c->M * c->F, c->scale);
  r->e->ops->activate(r->e, ops_output(r, "out", c->M * c->F), pre, c->M * c->F,
                      (enum activation)c->way);
}

static void run_swiglu(struct ops_run *r, const void *params) {
  const struct pointwise_case *c = params;
  r->floor = c->scale < 1e-30 ? 1e-37 : 1e-30;
  void *gate_up = ops_input(r, c->M * 2 * c->F, c->scale);
  r->e->ops->swiglu(r->e, ops_output(r, "out", c->M * c->F), gate_up, c->M, c->F);
  void *dout = ops_input(r, c->M * c->F, 1);
  void *d = c->way ? gate_up : ops_output(r, "dgate_up", c->M * 2 * c->F);
  r->e->ops->swiglu_grad(r->e, d, dout, gate_up, c->M, c->F);
  ops_register(r, d, "dgate_up");
}

static void run_add(struct ops_run *r, const void *params) {
  const struct pointwise_case *c = params;
  int64_t count = c->M * c->F;
  if (c->scale < 1e-30)
    r->floor = 1e-37;
  void *a = ops_input(r, count, c->scale), *b = ops_input(r, count, c->scale);
  void *out = c->way == 1 ? a : c->way == 2 ? b : ops_output(r, "out", count);
  r->e->ops->add(r->e, out, a, b, count);
  ops_register(r, out, "out");
}

static void run_sum_squares(struct ops_run *r, const void *params) {
  const struct pointwise_case *c = params;
  void *x = ops_input(r, c->M * c->F, c->scale);
  double sum = r->e->ops->sum_squares(r->e, x, c->M * c->F);
  if (sum > 1e30)
    sum *= 1e-30; /* it goes home in a stat tensor, which may be f32 */
  ops_stat_values(r, "sum", &sum, 1);
}

static void run_copy(struct ops_run *r, const void *params) {
  const struct pointwise_case *c = params;
  int64_t count = c->M * c->F;
  void *x = ops_input(r, count, 1), *to = ops_output(r, "copy", count);
  void *zeros = ops_output(r, "zeros", count);
  r->e->ops->copy(r->e, to, x, (size_t)count * dtype_bytes(r->e->dtype));
  r->e->ops->zero(r->e, zeros, (size_t)count * dtype_bytes(r->e->dtype));
}

static void all_pointwise(const char *name, void (*run)(struct ops_run *, const void *), int ways) {
  static const int64_t sizes[][2] = {{1, 1},  {1, 2},   {3, 1},    {7, 17},
                                     {2, 33}, {65, 65}, {129, 131}};
  static const double scales[] = {1, 1e-40, 1e4};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    for (size_t s = 0; s < LENGTH(scales); s++)
      for (int way = 0; way < ways; way++) {
        struct pointwise_case c = {sizes[i][0], sizes[i][1], way, scales[s]};
        char text[64];
        snprintf(text, sizeof text, "%s M %d F %d way %d scale %g", name, (int)c.M, (int)c.F, way,
                 c.scale);
        ops_agree(text, run, &c, &(struct shapes){c.M, 1, 1, 1, c.F, 1, 1, 1, 1});
      }
}

static void pointwise_ops_agree_in_place_and_far_out(void **state) {
  (void)state;
  all_pointwise("activate", run_activate, 3);
  all_pointwise("swiglu", run_swiglu, 2);
  all_pointwise("add", run_add, 3);
  all_pointwise("copy", run_copy, 1);
}

static void sum_squares_agrees_and_keeps_what_is_not_finite(void **state) {
  (void)state;
  static const int64_t counts[] = {1, 2, 3, 17, 1031, 40961};
  for (size_t i = 0; i < LENGTH(counts); i++)
    ops_agree("sum_squares", run_sum_squares, &(struct pointwise_case){counts[i], 1, 0, 1},
              &(struct shapes){1, 1, 1, 1, 1, 1, 1, 1, 1});
  /* Past f32's range when squared, within f64's. */
  ops_agree("sum_squares, 1e25", run_sum_squares, &(struct pointwise_case){33, 1, 0, 1e25},
            &(struct shapes){1, 1, 1, 1, 1, 1, 1, 1, 1});
}

static void run_sum_not_finite(struct ops_run *r, const void *params) {
  const double *bad = params;
  static double values[COUNT_MAX];
  for (int at = 0; at < 67; at += 11) {
    for (int i = 0; i < 67; i++)
      values[i] = i == at ? *bad : 0.5;
    void *x = ops_input_values(r, values, 67);
    assert_false(isfinite(r->e->ops->sum_squares(r->e, x, 67)));
  }
}

static void sum_squares_shows_nan_and_infinity_anywhere(void **state) {
  (void)state;
  const double bad[] = {NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < LENGTH(bad); i++)
    ops_agree("sum_squares, not finite", run_sum_not_finite, &bad[i],
              &(struct shapes){1, 1, 1, 1, 1, 1, 1, 1, 1});
}

/* What training relies on to notice that it went wrong: nothing swallows a NaN. */
struct poison_case {
  int tensor, index;
  double with;
};

static const void *poisoned(struct ops_run *r, const struct poison_case *c, int tensor,
                            const void *at) {
  if (tensor == c->tensor)
    ops_poison(r, at, c->index, c->with);
  return at;
}

static void run_poisoned_layer(struct ops_run *r, const void *params) {
  const struct poison_case *c = params;
  const int64_t M = 9, C = 35;
  const void *x = poisoned(r, c, 0, ops_input(r, M * C, 1));
  const void *w = poisoned(r, c, 1, ops_input(r, C * C, 1));
  for (int act = 0; act < 3; act++) {
    void *out = ops_output(r, "out", M * C);
    r->e->ops->linear(r->e, &(struct linear_args){.x = x,
                                                  .w = w,
                                                  .out = out,
                                                  .M = M,
                                                  .N = C,
                                                  .K = C,
                                                  .activation = (enum activation)act});
  }
  void *dx = ops_output(r, "dx", M * C), *dw = ops_output(r, "dw", C * C);
  r->e->ops->linear_grad(r->e, &(struct linear_grad_args){.dout = x,
                                                          .x = x,
                                                          .w = w,
                                                          .dx = dx,
                                                          .dw = dw,
                                                          .M = M,
                                                          .N = C,
                                                          .K = C,
                                                          .db = ops_output(r, "db", C)});
  void *y = ops_output(r, "y", M * C), *mean = ops_stat_output(r, "mean", M);
  void *rstd = ops_stat_output(r, "rstd", M);
  r->e->ops->norm(
      r->e,
      &(struct norm_args){
          .x = x, .w = w, .b = w, .y = y, .mean = mean, .rstd = rstd, .M = M, .C = C, .eps = 1e-5});
  r->e->ops->swiglu(r->e, ops_output(r, "swiglu", M * C), w, M, C);
  r->e->ops->add(r->e, ops_output(r, "add", M * C), x, w, M * C);
}

static void run_poisoned_attention(struct ops_run *r, const void *params) {
  const struct poison_case *c = params;
  const int64_t T = 35, D = 16;
  const void *q = poisoned(r, c, 0, ops_input(r, T * D, 1));
  const void *k = poisoned(r, c, 1, ops_input(r, T * D, 1));
  const void *v = poisoned(r, c, 2, ops_input(r, T * D, 1));
  struct attention_grad_args g = {.forward = {.q = q,
                                              .k = k,
                                              .v = v,
                                              .B = 1,
                                              .T = T,
                                              .S = T,
                                              .H = 1,
                                              .HK = 1,
                                              .D = D,
                                              .q_row = D,
                                              .q_head = D,
                                              .kv_row = D,
                                              .kv_head = D,
                                              .scale = 0.25}};
  g.forward.o = ops_output(r, "o", T * D);
  g.forward.lse = ops_stat_output(r, "lse", T);
  r->e->ops->attention(r->e, &g.forward);
  g.dout = ops_input(r, T * D, 1);
  g.dq = ops_output(r, "dq", T * D);
  g.dk = ops_output(r, "dk", T * D);
  g.dv = ops_output(r, "dv", T * D);
  r->e->ops->attention_grad(r->e, &g);
}

static void run_poisoned_head(struct ops_run *r, const void *params) {
  const struct poison_case *c = params;
  const int64_t M = 5, C = 7, V = 131;
  struct head_args a = {.M = M, .C = C, .V = V, .grad_scale = 1};
  a.h = poisoned(r, c, 0, ops_input(r, M * C, 1));
  a.w = poisoned(r, c, 1, ops_input(r, V * C, 1));
  a.targets = ops_tokens(r, M, 0, (int32_t)V);
  a.loss = ops_stat_output(r, "loss", M);
  a.dh = ops_output(r, "dh", M * C);
  a.dw = ops_output(r, "dw", V * C);
  r->e->ops->head(r->e, &a);
}

static void nothing_swallows_what_is_not_finite(void **state) {
  (void)state;
  static const double with[] = {NAN, INFINITY, -INFINITY};
  static const int indices[] = {0, 3, 16, 34};
  for (size_t w = 0; w < LENGTH(with); w++)
    for (size_t i = 0; i < LENGTH(indices); i++)
      for (int tensor = 0; tensor < 3; tensor++) {
        struct poison_case c = {tensor, indices[i], with[w]};
        struct shapes most = {1, 35, 35, 35, 35, 1, 1, 16, 131};
        char text[64];
        snprintf(text, sizeof text, "%g in tensor %d at %d", c.with, tensor, c.index);
        if (tensor < 2)
          ops_agree(text, run_poisoned_layer, &c, &most);
        ops_agree(text, run_poisoned_attention, &c, &most);
        if (tensor < 2)
          ops_agree(text, run_poisoned_head, &c, &most);
      }
}

static int open_engines(void **state) {
  (void)state;
  ops_engines_open();
  return ops_engine_count() > 0 ? 0 : -1;
}

static int close_engines(void **state) {
  (void)state;
  ops_engines_close();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(linear_agrees_in_every_form),
      cmocka_unit_test(linear_agrees_for_activations_far_out),
      cmocka_unit_test(linear_gradients_agree_in_every_form),
      cmocka_unit_test(norms_agree),
      cmocka_unit_test(norms_agree_for_constant_tiny_and_shifted_rows),
      cmocka_unit_test(rope_agrees_for_every_fraction_and_layout),
      cmocka_unit_test(attention_agrees_for_odd_shapes),
      cmocka_unit_test(attention_agrees_with_more_keys_than_queries),
      cmocka_unit_test(attention_survives_scores_of_ten_thousand),
      cmocka_unit_test(head_agrees_for_odd_vocabularies),
      cmocka_unit_test(head_agrees_in_chunks_of_rows),
      cmocka_unit_test(head_survives_logits_of_ten_thousand),
      cmocka_unit_test(adamw_agrees),
      cmocka_unit_test(embeddings_agree_with_repeated_and_absent_tokens),
      cmocka_unit_test(pointwise_ops_agree_in_place_and_far_out),
      cmocka_unit_test(sum_squares_agrees_and_keeps_what_is_not_finite),
      cmocka_unit_test(sum_squares_shows_nan_and_infinity_anywhere),
      cmocka_unit_test(nothing_swallows_what_is_not_finite),
  };
  return cmocka_run_group_tests(tests, open_engines, close_engines);
}
