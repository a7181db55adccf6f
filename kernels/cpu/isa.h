/* isa: the vector code of the CPU engine, one table per instruction set, chosen at run time.
 *
 *   const struct isa *isa = isa_find(NULL);               // the best this machine has
 *   isa->pointwise->row_activate(out, pre, NULL, n, ACTIVATION_GELU);
 *
 * The tables' functions are pure arithmetic on f32 in one thread: no shapes are checked, nothing
 * is allocated, rows need no alignment. Each of kernels/cpu/isa_*.c is compiled once for each
 * instruction set and defines its tables under names that end in _base, _avx2, _avx512. */
#ifndef CARAVAN_ISA_H
#define CARAVAN_ISA_H

#include <stdint.h>

#include "kernels/engine.h"

/* AdamW's numbers of one step, worked out once in double. */
struct isa_adamw {
  float beta1, rest1, beta2, rest2; /* rest: 1 - beta */
  float eps, grad_scale;
  float rate;     /* lr / (1 - beta1^step) */
  float variance; /* 1 / (1 - beta2^step) */
  float keep;     /* 1 - lr · decay */
};

struct isa_pointwise {
  /* out = bias + add; either may be NULL and counts as 0. add may be out. */
  void (*row_start)(float *out, const float *bias, const float *add, int64_t n);
  /* out = act(pre) + add; add may be NULL; out may be pre or add. */
  void (*row_activate)(float *out, const float *pre, const float *add, int64_t n,
                       enum activation a);
  /* dx = dx ∘ act'(pre) */
  void (*row_activate_grad)(float *dx, const float *pre, int64_t n, enum activation a);
  /* x = factor · x */
  void (*row_scale)(float *x, int64_t n, float factor);
  /* x = exp(x - *most), where *most becomes the greatest x; returns the sum. n > 0. */
  float (*row_exp)(float *x, int64_t n, float *most);
  void (*swiglu)(float *out, const float *gate, const float *up, int64_t n);
  void (*swiglu_grad)(float *dgate, float *dup, const float *dout, const float *gate,
                      const float *up, int64_t n);
  void (*adamw)(const struct isa_adamw *a, float *p, const float *g, float *m, float *v, int64_t n);
  double (*sum_squares)(const float *x, int64_t n);
  /* out[j] = (or +=) Σ_i x[i · stride + j], j < n, rows in order */
  void (*column_sum)(float *out, const float *x, int64_t rows, int64_t stride, int64_t n,
                     bool accumulate);
  void (*exp)(float *x, int64_t n); /* x = e^x and x = erf x: for measuring their error */
  void (*erf)(float *x, int64_t n);
};

struct isa_norm {
  /* One row of struct norm_args. mean NULL: NORM_RMS. */
  void (*row)(float *y, const float *x, const float *w, const float *b, float *mean, float *rstd,
              int64_t C, float eps);
  /* One row of struct norm_grad_args; adds the row's part to dw and db. mean NULL: NORM_RMS, and
   * db is not touched. */
  void (*row_grad)(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                   const float *mean, float rstd, int64_t C, bool accumulate);
  /* Rotate the heads of one row; angles (R/2, 2): cos, sin. */
  void (*rope_row)(float *x, const float *angles, int64_t heads, int64_t head_stride, int64_t R,
                   bool inverse);
};

/* Attention of one head of one sequence. Row strides in values. */
struct isa_attention_head {
  const float *q, *k, *v; /* row t of q at q + t · q_row; of k and v at kv_row */
  float *o;               /* row t at o + t · o_row */
  float *lse;             /* (T) */
  int64_t T, S, D, q_row, kv_row, o_row;
  float scale;
  /* gradients only */
  const float *dout; /* rows as o */
  float *dq, *dk, *dv;
  int64_t group; /* query heads that share this k and v; q, dq, o, dout, lse below step by: */
  int64_t q_head, o_head, lse_head;
};

struct isa_attention {
  /* f32 values of scratch that one call needs. */
  int64_t (*forward_scratch)(int64_t S, int64_t D);
  int64_t (*grad_scratch)(int64_t T, int64_t D);
  /* Query rows [begin, end) of one head. */
  void (*forward)(const struct isa_attention_head *h, int64_t begin, int64_t end, float *scratch);
  /* All gradients of one key/value head and its group of query heads; S == T. */
  void (*grad)(const struct isa_attention_head *h, float *scratch);
};

/* Matrix products by panels of the right side. */
struct isa_product {
  int64_t panel; /* columns */
  /* panel (depth, panel) from b: value (k, j) at b[k · b_row + j], or transposed at
   * b[j · b_row + k]. columns <= panel; the others become 0. */
  void (*pack)(float *panel, const float *b, int64_t b_row, int64_t columns, int64_t depth);
  void (*pack_transposed)(float *panel, const float *b, int64_t b_row, int64_t columns,
                          int64_t depth);
  /* c (rows, columns) = or += a (rows, depth) panel; a (r, k) at a[r · a_row + k], or turned at
   * a[k · a_row + r] */
  void (*multiply)(float *c, int64_t c_row, const float *a, int64_t a_row, bool turned,
                   const float *panel, int64_t rows, int64_t columns, int64_t depth,
                   bool accumulate);
};

struct isa {
  const char *name;
  const struct isa_pointwise *pointwise;
  const struct isa_norm *norm;
  const struct isa_attention *attention;
  const struct isa_product *product;
  bool product_is_fast, turned_is_fast; /* faster than OpenBLAS, as far as measured */
};

/* NULL: the best of this machine. NULL result: not of this machine, or not of this build. */
const struct isa *isa_find(const char *name);

#define ISA_TABLES(isa)                                  \
  extern const struct isa_pointwise isa_pointwise_##isa; \
  extern const struct isa_norm isa_norm_##isa;           \
  extern const struct isa_attention isa_attention_##isa; \
  extern const struct isa_product isa_product_##isa;
ISA_TABLES(base)
ISA_TABLES(avx2)
ISA_TABLES(avx512)
#undef ISA_TABLES

#endif
