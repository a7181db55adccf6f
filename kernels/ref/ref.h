/* ref: the reference engine. Every op in double precision, one thread, straight from its formula.
 *
 *   struct engine *e;
 *   TRY(engine_ref_open(&e, &why));
 *
 * This is what the other engines are tested against, so it is written to be read, not to be fast:
 * no blocking, no reordering, no shared sub-expressions that hide a formula. All tensors and
 * statistics are f64; upload and download accept DTYPE_F64 only. The header for users is
 * kernels/engine.h; this one is for the files of this folder. */
#ifndef CARAVAN_REF_H
#define CARAVAN_REF_H

#include "kernels/engine.h"

struct ref {
  struct engine head;
  double *scratch; /* one row of scores, or of logits */
  int64_t scratch_count;
};

/* The row of scratch, which engine_reserve must have made long enough. */
double *ref_scratch(struct engine *e, int64_t count);

double ref_activation(enum activation a, double x);
double ref_activation_slope(enum activation a, double x); /* its derivative at x */

void ref_linear(struct engine *e, const struct linear_args *a);
void ref_linear_grad(struct engine *e, const struct linear_grad_args *a);
void ref_norm(struct engine *e, const struct norm_args *a);
void ref_norm_grad(struct engine *e, const struct norm_grad_args *a);
void ref_rope(struct engine *e, const struct rope_args *a);
void ref_attention(struct engine *e, const struct attention_args *a);
void ref_attention_grad(struct engine *e, const struct attention_grad_args *a);
void ref_head(struct engine *e, const struct head_args *a);
void ref_adamw(struct engine *e, const struct adamw_args *a);
double ref_sum_squares(struct engine *e, const void *x, int64_t count);

void ref_embed(struct engine *e, void *out, const void *table, const int32_t *tokens, int64_t M,
               int64_t C, int64_t V);
void ref_embed_grad(struct engine *e, void *dtable, const void *dout, const int32_t *tokens,
                    int64_t M, int64_t C, int64_t V, bool accumulate);
void ref_activate(struct engine *e, void *out, const void *pre, int64_t count, enum activation a);
void ref_swiglu(struct engine *e, void *out, const void *gate_up, int64_t M, int64_t F);
void ref_swiglu_grad(struct engine *e, void *dgate_up, const void *dout, const void *gate_up,
                     int64_t M, int64_t F);
void ref_add(struct engine *e, void *out, const void *a, const void *b, int64_t count);

#endif
