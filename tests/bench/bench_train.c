/* bench_train: how fast this machine trains a small GPT: forward, backward and AdamW, in f32.
 *
 *   bench_train [V] [steps] [threads] [profile|peak]
 *
 * L6 C384 H6 T256, micro-batch 4, GPT-NeoX with sequential residual, output layer tied to the
 * embedding: the shape of bench.sh's other trainers. Prints the median rate, the highest resident
 * memory, and the share of the rate at which the engine's own matrix products run. `profile` adds
 * where the time of a step goes; `peak` measures only the matrix products. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/engine.h"
#include "node/model/transformer.h"
#include "proto/base/io_system.h"
#include "proto/base/prng.h"

enum { BATCH = 4, LENGTH = 256, STEPS_MAX = 1000, WARM_STEPS = 2 };

static void die(const char *what, const struct why *why) {
  fprintf(stderr, "bench_train: %s: %s\n", what, why->text);
  exit(1);
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a;
  const double y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, ascending);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Every op of the table, its name and its time. The table of the engine is replaced by one whose
 * functions call the old one between two looks at the clock. */
enum {
  OP_LINEAR,
  OP_LINEAR_GRAD,
  OP_NORM,
  OP_NORM_GRAD,
  OP_ROPE,
  OP_ATTENTION,
  OP_ATTENTION_GRAD,
  OP_HEAD,
  OP_ADAMW,
  OP_EMBED,
  OP_EMBED_GRAD,
  OP_ACTIVATE,
  OP_ADD,
  OP_ZERO,
  OP_COPY,
  OP_SUM_SQUARES,
  OP_COUNT
};
static const char *const op_names[OP_COUNT] = {
    "linear", "linear_grad", "norm",  "norm_grad",  "rope",     "attention", "attention_grad",
    "head",   "adamw",       "embed", "embed_grad", "activate", "add",       "zero",
    "copy",   "sum_squares"};
static double op_seconds[OP_COUNT];
static const struct engine_ops *plain;
static struct engine_ops timed;

#define TIMED(op, call)                                       \
  do {                                                        \
    const uint64_t start_ns = io_now_ns();                    \
    plain->call;                                              \
    op_seconds[op] += (double)(io_now_ns() - start_ns) / 1e9; \
  } while (0)

static void t_linear(struct engine *e, const struct linear_args *a) {
  TIMED(OP_LINEAR, linear(e, a));
}
static void t_linear_grad(struct engine *e, const struct linear_grad_args *a) {
  TIMED(OP_LINEAR_GRAD, linear_grad(e, a));
}
static void t_norm(struct engine *e, const struct norm_args *a) {
  TIMED(OP_NORM, norm(e, a));
}
static void t_norm_grad(struct engine *e, const struct norm_grad_args *a) {
  TIMED(OP_NORM_GRAD, norm_grad(e, a));
}
static void t_rope(struct engine *e, const struct rope_args *a) {
  TIMED(OP_ROPE, rope(e, a));
}
static void t_attention(struct engine *e, const struct attention_args *a) {
  TIMED(OP_ATTENTION, attention(e, a));
}
static void t_attention_grad(struct engine *e, const struct attention_grad_args *a) {
  TIMED(OP_ATTENTION_GRAD, attention_grad(e, a));
}
static void t_head(struct engine *e, const struct head_args *a) {
  TIMED(OP_HEAD, head(e, a));
}
static void t_adamw(struct engine *e, const struct adamw_args *a) {
  TIMED(OP_ADAMW, adamw(e, a));
}
static void t_embed(struct engine *e, void *out, const void *table, const int32_t *tokens,
                    int64_t M, int64_t C, int64_t V) {
  TIMED(OP_EMBED, embed(e, out, table, tokens, M, C, V));
}
static void t_embed_grad(struct engine *e, void *dtable, const void *dout, const int32_t *tokens,
                         int64_t M, int64_t C, int64_t V, bool accumulate) {
  TIMED(OP_EMBED_GRAD, embed_grad(e, dtable, dout, tokens, M, C, V, accumulate));
}
static void t_activate(struct engine *e, void *out, const void *pre, int64_t count,
                       enum activation a) {
  TIMED(OP_ACTIVATE, activate(e, out, pre, count, a));
}
static void t_add(struct engine *e, void *out, const void *a, const void *b, int64_t count) {
  TIMED(OP_ADD, add(e, out, a, b, count));
}
static void t_zero(struct engine *e, void *x, size_t bytes) {
  TIMED(OP_ZERO, zero(e, x, bytes));
}
static void t_copy(struct engine *e, void *to, const void *from, size_t bytes) {
  TIMED(OP_COPY, copy(e, to, from, bytes));
}
static double t_sum_squares(struct engine *e, const void *x, int64_t count) {
  const uint64_t start_ns = io_now_ns();
  const double sum = plain->sum_squares(e, x, count);
  op_seconds[OP_SUM_SQUARES] += (double)(io_now_ns() - start_ns) / 1e9;
  return sum;
}

static void profile(struct engine *e) {
  plain = e->ops;
  timed = *plain;
  timed.linear = t_linear;
  timed.linear_grad = t_linear_grad;
  timed.norm = t_norm;
  timed.norm_grad = t_norm_grad;
  timed.rope = t_rope;
  timed.attention = t_attention;
  timed.attention_grad = t_attention_grad;
  timed.head = t_head;
  timed.adamw = t_adamw;
  timed.embed = t_embed;
  timed.embed_grad = t_embed_grad;
  timed.activate = t_activate;
  timed.add = t_add;
  timed.zero = t_zero;
  timed.copy = t_copy;
  timed.sum_squares = t_sum_squares;
  e->ops = &timed;
}

/* The best of many products as large as the model's, through the engine: operations a second. */
static double product_peak(struct engine *e) {
  enum { M = 1024, N = 1536, K = 384, TRIES = 60 };
  struct why why;
  void *x, *w, *out;
  if (engine_alloc(e, M * K * sizeof(float), &x) != STATUS_OK ||
      engine_alloc(e, N * K * sizeof(float), &w) != STATUS_OK ||
      engine_alloc(e, M * N * sizeof(float), &out) != STATUS_OK) {
    (void)why_say(&why, STATUS_NOMEM, "no memory for the products");
    die("peak", &why);
  }
  e->ops->zero(e, x, M * K * sizeof(float));
  e->ops->zero(e, w, N * K * sizeof(float));
  const struct linear_args a = {.x = x, .w = w, .out = out, .M = M, .N = N, .K = K};
  double best_s = INFINITY;
  for (int i = 0; i < TRIES; i++) {
    const uint64_t start_ns = io_now_ns();
    e->ops->linear(e, &a);
    best_s = fmin(best_s, (double)(io_now_ns() - start_ns) / 1e9);
  }
  engine_release(e, &x, M * K * sizeof(float));
  engine_release(e, &w, N * K * sizeof(float));
  engine_release(e, &out, M * N * sizeof(float));
  return 2.0 * M * N * K / best_s;
}

static struct arch shape_of(int64_t V) {
  return (struct arch){.family = ARCH_NEOX,
                       .L = 6,
                       .C = 384,
                       .F = 1536,
                       .H = 6,
                       .HK = 6,
                       .D = 64,
                       .V = V,
                       .T = LENGTH,
                       .R = 16,
                       .rope_base = 10000,
                       .norm_eps = 1e-5,
                       .parallel_residual = false,
                       .tied = true,
                       .activation = ACTIVATION_GELU_TANH,
                       .init = ARCH_INIT_NORMAL,
                       .init_std = 0.02};
}

/* Median tokens a second over `steps` steps on random tokens. */
static double train(struct transformer *t, int64_t V, int steps) {
  static int32_t tokens[BATCH * LENGTH], targets[BATCH * LENGTH];
  static double rates[STEPS_MAX];
  struct prng r = prng_seeded(1, PRNG_TEST);
  const struct transformer_adam adam = {
      .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1};
  struct why why;
  double loss = 0;
  double norm = 0;
  for (int step = -WARM_STEPS; step < steps; step++) {
    for (int i = 0; i < BATCH * LENGTH; i++) {
      tokens[i] = (int32_t)prng_below(&r, (uint64_t)V);
      targets[i] = (int32_t)prng_below(&r, (uint64_t)V);
    }
    if (step == 0)
      memset(op_seconds, 0, sizeof op_seconds);
    const uint64_t start_ns = io_now_ns();
    if (transformer_backward(t, tokens, targets, 1.0 / (BATCH * LENGTH), false, &loss, &why) !=
        STATUS_OK)
      die("backward", &why);
    if (transformer_update(t, &adam, &norm, &why) != STATUS_OK)
      die("update", &why);
    if (step >= 0)
      rates[step] = BATCH * LENGTH / ((double)(io_now_ns() - start_ns) / 1e9);
  }
  printf("loss        %10.4f nats after %d steps\n", loss / (BATCH * LENGTH), steps + WARM_STEPS);
  return median(rates, steps);
}

static void print_profile(int steps, double rate) {
  const double step_s = BATCH * LENGTH / rate;
  double known_s = 0;
  for (int op = 0; op < OP_COUNT; op++) {
    known_s += op_seconds[op] / steps;
    if (op_seconds[op] > 0)
      printf("  %-14s %8.2f ms %5.1f %%\n", op_names[op], op_seconds[op] / steps * 1e3,
             op_seconds[op] / steps / step_s * 100);
  }
  printf("  %-14s %8.2f ms %5.1f %%\n", "between ops", (step_s - known_s) * 1e3,
         (1 - known_s / step_s) * 100);
}

int main(int argc, char **argv) {
  const int64_t V = argc > 1 ? atoll(argv[1]) : 512;
  const int steps = argc > 2 ? atoi(argv[2]) : 20;
  const int threads = argc > 3 ? atoi(argv[3]) : 0;
  const char *mode = argc > 4 ? argv[4] : "";
  struct why why;
  struct engine *e;
  if (V < 2 || steps < 1 || steps > STEPS_MAX) {
    fprintf(stderr, "usage: bench_train [V] [steps, at most %d] [threads] [profile|peak]\n",
            STEPS_MAX);
    return 64;
  }
  if (engine_cpu_open(&(struct engine_cpu_options){.thread_count = threads}, &e, &why) != STATUS_OK)
    die("engine", &why);
  struct shapes most = {
      .B = BATCH, .T = LENGTH, .S = LENGTH, .C = 384, .F = 1536, .H = 6, .HK = 6, .D = 64, .V = V};
  if (engine_reserve(e, &most, &why) != STATUS_OK)
    die("reserve", &why);
  const double peak = product_peak(e);
  printf("products    %10.1f GFLOP/s, %d threads\n", peak / 1e9, e->thread_count);
  if (strcmp(mode, "peak") != 0) {
    const struct arch a = shape_of(V);
    const struct transformer_options o = {.B = BATCH, .T = LENGTH, .training = true};
    struct transformer *t;
    if (transformer_open(e, &a, &o, &t, &why) != STATUS_OK)
      die("transformer", &why);
    transformer_init(t, 1);
    if (strcmp(mode, "profile") == 0)
      profile(e);
    const double rate = train(t, V, steps);
    const double flop = arch_flop_per_token(&a, LENGTH);
    if (strcmp(mode, "profile") == 0)
      print_profile(steps, rate);
    printf("tokens_per_s %9.1f\nshare       %10.3f of the products' rate\n", rate,
           rate * flop / fmax(peak, product_peak(e)));
    transformer_close(&t);
  }
  printf("peak_mb     %10.1f\n", (double)io_memory_peak_bytes() / 1e6);
  engine_close(&e);
  return 0;
}
