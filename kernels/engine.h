/* engine: the arithmetic of a transformer as one table of ops, with implementations that must
 * agree.
 *
 *   struct engine *e;
 *   TRY(engine_cpu_open(&(struct engine_cpu_options){.thread_count = 2}, &e, &why));
 *   TRY(engine_reserve(e, &shapes, &why));
 *   float *x, *y, *w;                       // memory of the engine: engine_alloc
 *   e->ops->linear(e, &(struct linear_args){.x = x, .w = w, .out = y, .M = M, .N = N, .K = K});
 *   TRY(engine_sync(e, &why));
 *   engine_close(&e);
 *
 *   engine_ref_open   double precision, one thread, the plainest C: the truth for the others
 *   engine_cpu_open   f32, OpenBLAS and vectorised C, threads
 *   engine_cuda_open  f16 or bf16 with f32 statistics, cuBLAS and our kernels (kernels/cuda)
 *
 * The model code (node/model) is written once, over this table. All tensors of one engine have its
 * element type (dtype): activations, weights, gradients. Statistics (mean, rstd, lse, loss, Adam's
 * moments, rope table) have its stat type. Pointers are memory of that engine: for the CPU engines
 * ordinary memory, 64-byte aligned where engine_alloc gave it; others must go through upload and
 * download. Ops are queued in order and may still be running when they return; engine_sync waits,
 * and reports what went wrong since the last one (a CPU engine has nothing to report).
 *
 * Shapes are the caller's duty: a wrong one is a CLAIM, not a status (engine_check.h); M, N, K, C,
 * B, T, S, H, D, V are at least 1, a `count` may be 0. Outputs may not overlap inputs unless an op
 * says so. What is written with `=` is never read first; where an op takes parts of a tensor by
 * strides, what lies between the parts stays as it was. Tensors need the alignment of their element
 * only. With the same engine, thread count and inputs every op gives the same bits. NaN and
 * infinity are not swallowed: an output that depends on one is not finite, and others may be
 * spoilt with it. Nothing is allocated after engine_reserve. One thread at a time may call an
 * engine. */
#ifndef CARAVAN_ENGINE_H
#define CARAVAN_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/shapes.h"
#include "proto/base/status.h"

struct engine;

enum dtype { DTYPE_F64, DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
size_t dtype_bytes(enum dtype t);

enum activation {
  ACTIVATION_NONE,
  ACTIVATION_GELU,      /* x/2 (1 + erf(x/√2)): "gelu" of Pythia */
  ACTIVATION_GELU_TANH, /* x/2 (1 + tanh(√(2/π)(x + 0.044715 x³))): "gelu_new", "gelu_fast" */
};

enum norm_kind {
  NORM_LAYER, /* (x - mean) rstd w + b, rstd = 1/√(var + eps), var over C without Bessel */
  NORM_RMS,   /* x rstd w, rstd = 1/√(mean(x²) + eps); no mean, no b */
};

/* out = act(x wᵀ + bias) + add
 * `pre`, when given, keeps x wᵀ + bias for the backward pass. `add` may be `out`. */
struct linear_args {
  const void *x;    /* (M, K) */
  const void *w;    /* (N, K) */
  const void *bias; /* (N) or NULL */
  const void *add;  /* (M, N) or NULL: the residual stream */
  void *pre;        /* (M, N) or NULL */
  void *out;        /* (M, N) */
  int64_t M, N, K;
  enum activation activation;
};

/* dx = (dout w) ∘ act'(pre)   dw = doutᵀ x   db = Σ_rows dout      each `=`, or `+=` where asked
 * `activation` and `pre` are those of the layer *below*, whose output was x: with them dx is
 * already the gradient before that activation. ACTIVATION_NONE: pre is not read. */
struct linear_grad_args {
  const void *dout; /* (M, N) */
  const void *x;    /* (M, K); not read when dw is NULL */
  const void *w;    /* (N, K); not read when dx is NULL */
  const void *pre;  /* (M, K) or NULL */
  void *dx;         /* (M, K) or NULL */
  void *dw;         /* (N, K) or NULL */
  void *db;         /* (N) or NULL */
  int64_t M, N, K;
  enum activation activation;
  bool dx_accumulate; /* dx += …; not together with an activation */
  bool dw_accumulate; /* dw += …, db += … */
};

struct norm_args {
  const void *x; /* (M, C) */
  const void *w; /* (C) */
  const void *b; /* (C), or NULL for NORM_RMS */
  void *y;       /* (M, C) */
  void *mean;    /* (M) stat; NULL for NORM_RMS */
  void *rstd;    /* (M) stat */
  int64_t M, C;
  double eps;
  enum norm_kind kind;
};

struct norm_grad_args {
  const void *dy;   /* (M, C) */
  const void *x;    /* (M, C) */
  const void *w;    /* (C) */
  const void *mean; /* (M) stat; NULL for NORM_RMS */
  const void *rstd; /* (M) stat */
  void *dx;         /* (M, C) */
  void *dw;         /* (C) */
  void *db;         /* (C), or NULL for NORM_RMS */
  int64_t M, C;
  enum norm_kind kind;
  bool dx_accumulate;
  bool dw_accumulate;
};

/* Rotate the first R channels of each head by position, in place (RoPE, Su et al. 2021, in the
 * half-split form of GPT-NeoX and LLaMA: channel i pairs with i + R/2):
 *   a' = a cos - b sin,  b' = b cos + a sin,  angle = position · base^(-2i/R)
 * inverse rotates back, which is also the gradient. R is even; 0 does nothing. */
struct rope_args {
  void *x;             /* head h of row m starts at x + m · row_stride + h · head_stride */
  int64_t row_stride;  /* elements */
  int64_t head_stride; /* elements */
  int64_t heads;
  const void *table; /* (positions, R/2, 2) stat: cos, sin */
  int64_t position;  /* of the first token of every sequence */
  int64_t B, T, R;
  bool inverse;
};

/* o = softmax(scale q kᵀ + causal mask) v for every head, never storing (T, S).
 * Query t of a sequence sees keys 0 … t + (S - T). Query head h reads key/value head h / (H / HK).
 * Strides are in elements: head h of token t of sequence b starts at
 * q + (b·T + t) · q_row + h · q_head, and k + (b·S + s) · kv_row + h · kv_head. */
struct attention_args {
  const void *q, *k, *v;
  void *o;   /* (B, T, H, D) contiguous */
  void *lse; /* (B, H, T) stat: log Σ exp of the scaled, masked scores */
  int64_t B, T, S, H, HK, D;
  int64_t q_row, q_head, kv_row, kv_head;
  double scale; /* 1/√D */
};

/* Gradients of attention, S == T. dq, dk, dv have the strides of q, k, v and are overwritten
 * (only their own D channels of each head). */
struct attention_grad_args {
  struct attention_args forward; /* as in the forward call; o and lse are inputs here */
  const void *dout;              /* (B, T, H, D) contiguous */
  void *dq, *dk, *dv;
};

/* The output layer and the loss in one, in chunks of rows, so that (M, V) logits never exist:
 *   logits = h wᵀ    loss_m = lse(logits_m) - logits_m[target_m]
 *   dh = grad_scale (softmax - onehot) w    dw = grad_scale (softmax - onehot)ᵀ h
 * A row whose target is negative does not count: its loss and dh are 0, and it adds nothing to dw.
 * With dh NULL only the losses are computed. */
struct head_args {
  const void *h;          /* (M, C) */
  const void *w;          /* (V, C) */
  const int32_t *targets; /* (M), memory of the engine, each < V */
  void *loss;             /* (M) stat, nats; 0 where the target is negative */
  void *dh;               /* (M, C) or NULL */
  void *dw;               /* (V, C); NULL with dh NULL */
  int64_t M, C, V;
  double grad_scale; /* 1 / rows that count, times a loss scale */
  bool dw_accumulate;
};

/* AdamW with decoupled decay (Loshchilov and Hutter 2019), step counted from 1:
 *   g = grad_scale · g;  m = β1 m + (1-β1) g;  v = β2 v + (1-β2) g²
 *   p = p - lr (m / (1-β1^step) / (√(v / (1-β2^step)) + eps) + decay · p)
 * `master` is the f32 copy of p where dtype is narrower, else NULL. */
struct adamw_args {
  void *p;       /* (count) */
  const void *g; /* (count) */
  void *m, *v;   /* (count) stat */
  void *master;  /* (count) f32 or NULL */
  int64_t count;
  int64_t step;
  double lr, beta1, beta2, eps, decay, grad_scale;
};

struct engine_ops {
  const char *name; /* "ref", "cpu", "cuda" */

  void (*linear)(struct engine *e, const struct linear_args *a);
  void (*linear_grad)(struct engine *e, const struct linear_grad_args *a);
  void (*norm)(struct engine *e, const struct norm_args *a);
  void (*norm_grad)(struct engine *e, const struct norm_grad_args *a);
  void (*rope)(struct engine *e, const struct rope_args *a);
  void (*attention)(struct engine *e, const struct attention_args *a);
  void (*attention_grad)(struct engine *e, const struct attention_grad_args *a);
  void (*head)(struct engine *e, const struct head_args *a);
  void (*adamw)(struct engine *e, const struct adamw_args *a);

  /* out (M, C) = table[tokens[m]];  tokens (M) i32, engine memory, each in [0, V) */
  void (*embed)(struct engine *e, void *out, const void *table, const int32_t *tokens, int64_t M,
                int64_t C, int64_t V);
  /* dtable (V, C) = or += Σ dout rows of each token, in ascending row order for each token */
  void (*embed_grad)(struct engine *e, void *dtable, const void *dout, const int32_t *tokens,
                     int64_t M, int64_t C, int64_t V, bool accumulate);
  /* out = act(pre), count values; what linear did after its matrix product, for recomputing */
  void (*activate)(struct engine *e, void *out, const void *pre, int64_t count, enum activation a);
  /* out (M, F) = silu(gate) · up, where gate_up is (M, 2F): gate first, then up, in each row */
  void (*swiglu)(struct engine *e, void *out, const void *gate_up, int64_t M, int64_t F);
  /* dgate_up (M, 2F) from dout (M, F); dgate_up may be gate_up */
  void (*swiglu_grad)(struct engine *e, void *dgate_up, const void *dout, const void *gate_up,
                      int64_t M, int64_t F);
  /* out = a + b, count values; out may be a or b */
  void (*add)(struct engine *e, void *out, const void *a, const void *b, int64_t count);
  void (*zero)(struct engine *e, void *x, size_t bytes);
  void (*copy)(struct engine *e, void *to, const void *from, size_t bytes);
  /* Σ x² in f64 over count values, fixed order for a given thread count. Waits for the result.
   * NaN or infinity in x gives a NaN or infinite sum: check with isfinite. */
  double (*sum_squares)(struct engine *e, const void *x, int64_t count);

  /* Host to engine and back, converting between host f32/f64/i32 and the engine's types. Wait. */
  void (*upload)(struct engine *e, void *to, enum dtype to_type, const double *from, int64_t count);
  void (*download)(struct engine *e, double *to, const void *from, enum dtype from_type,
                   int64_t count);
  void (*upload_f32)(struct engine *e, void *to, enum dtype to_type, const float *from,
                     int64_t count);
  void (*download_f32)(struct engine *e, float *to, const void *from, enum dtype from_type,
                       int64_t count);
  void (*upload_i32)(struct engine *e, int32_t *to, const int32_t *from, int64_t count);

  CHECKED enum status (*alloc)(struct engine *e, size_t bytes, void **out); /* NOMEM */
  void (*release)(struct engine *e, void *p, size_t bytes);                 /* NULL is fine */
  size_t (*scratch_bytes)(const struct engine *e, const struct shapes *most);
  CHECKED enum status (*reserve)(struct engine *e, const struct shapes *most, struct why *why);
  CHECKED enum status (*sync)(struct engine *e, struct why *why);
  void (*close)(struct engine *e);
};

/* The head of every implementation's own struct. */
struct engine {
  const struct engine_ops *ops;
  enum dtype dtype; /* activations, weights, gradients */
  enum dtype stat;  /* statistics, moments, losses */
  int thread_count; /* 1 for ref; workers for cpu */
};

/* The reference: f64 throughout, one thread. NOMEM. */
CHECKED enum status engine_ref_open(struct engine **out, struct why *why);

struct engine_cpu_options {
  int thread_count; /* 0: one per core this process may use */
  const char *isa;  /* NULL: the best of this machine; else "base", "avx2" or "avx512" (tests) */
};
/* RANGE: thread_count over THREAD_COUNT_MAX. UNSUPPORTED: isa not of this machine. NOMEM, SYSTEM.
 */
CHECKED enum status engine_cpu_open(const struct engine_cpu_options *options, struct engine **out,
                                    struct why *why);

/* Bytes of scratch that engine_reserve takes for these shapes on a fresh engine: part of the memory
 * plan. */
size_t engine_scratch_bytes(const struct engine *e, const struct shapes *most);
/* Make room for ops up to these shapes; the fields that no op will use may be 0. Calling again may
 * make it more, never less. NOMEM: what was reserved before still holds. */
CHECKED enum status engine_reserve(struct engine *e, const struct shapes *most, struct why *why);

/* Memory of the engine, 64-byte aligned, contents undefined, 0 bytes allowed. The caller releases
 * it, with the same count. NOMEM. */
CHECKED enum status engine_alloc(struct engine *e, size_t bytes, void **out);
void engine_release(struct engine *e, void **p, size_t bytes); /* nulls *p; *p may be NULL */

CHECKED enum status engine_sync(struct engine *e, struct why *why);
void engine_close(struct engine **e); /* nulls *e; *e may be NULL */

#endif
