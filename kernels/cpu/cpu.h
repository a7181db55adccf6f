/* cpu: the inside of the CPU engine, for kernels/cpu/cpu_*.c only. Its face is engine_cpu_open in
 * kernels/engine.h.
 *
 * An op is split into items that io_pool_run hands to the threads: rows, columns or heads. A matrix
 * product is computed by one thread for one item (OpenBLAS is held to one thread), so that what
 * follows it (activation, residual, softmax) finds the item's values still in its cache.
 *
 * Scratch is one block, taken by engine_reserve, of which every op uses as much as it needs from
 * the start; how much that is stands in cpu_…_scratch beside the op. Counts are f32 values. */
#ifndef CARAVAN_CPU_H
#define CARAVAN_CPU_H

#include <stdint.h>

#include "kernels/cpu/io_pool.h"
#include "kernels/cpu/isa.h"
#include "kernels/engine.h"

struct cpu {
  struct engine head; /* must be first: the ops get a struct engine */
  struct io_pool *pool;
  const struct isa *isa;
  float *block;   /* panels, then scratch: one allocation */
  float *panels;  /* cpu_product_scratch for each thread: the products' own */
  float *scratch; /* the ops' */
  int64_t scratch_count;
};

static inline struct cpu *cpu_of(struct engine *e) {
  return (struct cpu *)(void *)e;
}

static inline int64_t cpu_least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static inline int64_t cpu_most(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static inline int64_t cpu_ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/* A range cut into `pieces` of `size`, the last one shorter. */
struct cpu_cut {
  int64_t size, pieces;
};
/* About `wanted` pieces of [0, n), each a multiple of `grain` and at least `size_min`. */
struct cpu_cut cpu_cut(int64_t n, int64_t wanted, int64_t grain, int64_t size_min);

/* The products, computed by one thread; ld: values from one row to the next. `to` is overwritten,
 * or added to. */
/* to (M, N) = a (M, K) bᵀ (N, K) */
void cpu_product_nt(const struct cpu *c, int thread, int64_t M, int64_t N, int64_t K,
                    const float *a, int64_t lda, const float *b, int64_t ldb, bool accumulate,
                    float *to, int64_t ldc);
/* to (M, N) = a (M, K) b (K, N) */
void cpu_product_nn(const struct cpu *c, int thread, int64_t M, int64_t N, int64_t K,
                    const float *a, int64_t lda, const float *b, int64_t ldb, bool accumulate,
                    float *to, int64_t ldc);
/* to (M, N) = aᵀ (K, M) b (K, N) */
void cpu_product_tn(const struct cpu *c, int thread, int64_t M, int64_t N, int64_t K,
                    const float *a, int64_t lda, const float *b, int64_t ldb, bool accumulate,
                    float *to, int64_t ldc);
/* Whether a product with so many rows of `to`, and a with this ld (turned for tn), will be our own:
 * then it is best cut by columns, in multiples of isa->product->panel, else by rows. */
bool cpu_product_is_own(const struct cpu *c, int64_t rows, int64_t lda, bool turned);
int64_t cpu_product_scratch(const struct cpu *c); /* of one thread */
void cpu_product_open(void); /* holds OpenBLAS to one thread, for the whole process */

void cpu_linear(struct engine *e, const struct linear_args *a);
void cpu_linear_grad(struct engine *e, const struct linear_grad_args *a);
void cpu_norm(struct engine *e, const struct norm_args *a);
void cpu_norm_grad(struct engine *e, const struct norm_grad_args *a);
void cpu_rope(struct engine *e, const struct rope_args *a);
void cpu_attention(struct engine *e, const struct attention_args *a);
void cpu_attention_grad(struct engine *e, const struct attention_grad_args *a);
void cpu_head(struct engine *e, const struct head_args *a);
void cpu_adamw(struct engine *e, const struct adamw_args *a);
void cpu_embed(struct engine *e, void *out, const void *table, const int32_t *tokens, int64_t M,
               int64_t C, int64_t V);
void cpu_embed_grad(struct engine *e, void *dtable, const void *dout, const int32_t *tokens,
                    int64_t M, int64_t C, int64_t V, bool accumulate);
void cpu_activate(struct engine *e, void *out, const void *pre, int64_t count, enum activation a);
void cpu_swiglu(struct engine *e, void *out, const void *gate_up, int64_t M, int64_t F);
void cpu_swiglu_grad(struct engine *e, void *dgate_up, const void *dout, const void *gate_up,
                     int64_t M, int64_t F);
void cpu_add(struct engine *e, void *out, const void *a, const void *b, int64_t count);
void cpu_zero(struct engine *e, void *x, size_t bytes);
void cpu_copy(struct engine *e, void *to, const void *from, size_t bytes);
double cpu_sum_squares(struct engine *e, const void *x, int64_t count);

int64_t cpu_linear_scratch(const struct cpu *c);
int64_t cpu_norm_scratch(int64_t M, int64_t C);
int64_t cpu_attention_scratch(const struct cpu *c, const struct shapes *most);
int64_t cpu_head_scratch(const struct cpu *c, int64_t M, int64_t C, int64_t V);
int64_t cpu_sum_squares_scratch(void);

#endif
