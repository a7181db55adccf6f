#include "node/model/layer.h"

#include <math.h>
#include <stddef.h>

#include "node/model/layout.h"

/* Where q, k and v stand: in rows of the projection, or in the generation cache. */
struct heads {
  char *q, *k_new;   /* of this call's tokens: rotated in place */
  const char *k, *v; /* of every key that may be seen */
  int64_t q_row, q_head, kv_row, kv_head;
};

static struct heads heads_of(const struct layer *l, void *qkv) {
  const struct arch *a = l->arch;
  int64_t bytes = (int64_t)dtype_bytes(l->e->dtype), D = a->D;
  char *cache = l->cache;
  struct heads h;
  if (a->family == ARCH_NEOX) { /* a row is (H, 3, D) */
    char *start = cache ? cache : qkv;
    h.q_row = h.kv_row = layout_qkv_channels(a);
    h.q_head = h.kv_head = 3 * D;
    h.q = start + l->position * h.q_row * bytes;
    h.k_new = h.q + D * bytes;
    h.k = start + D * bytes;
    h.v = start + 2 * D * bytes;
    return h;
  }
  h.q = qkv;
  h.q_row = cache ? a->H * D : layout_qkv_channels(a);
  h.kv_row = cache ? layout_cache_channels(a) : h.q_row;
  h.q_head = h.kv_head = D;
  char *k = cache ? cache : h.q + a->H * D * bytes;
  h.k_new = k + l->position * h.kv_row * bytes;
  h.k = k;
  h.v = k + a->HK * D * bytes;
  return h;
}

static void norm1(const struct layer *l) {
  const struct arch *a = l->arch;
  const struct layer_buffers *b = &l->buffers;
  bool llama = a->family == ARCH_LLAMA;
  l->e->ops->norm(l->e, &(struct norm_args){.x = b->x,
                                            .w = l->weights->norm1_w,
                                            .b = l->weights->norm1_b,
                                            .y = b->ln1,
                                            .mean = llama ? NULL : b->mean1,
                                            .rstd = b->rstd1,
                                            .M = l->B * l->T,
                                            .C = a->C,
                                            .eps = a->norm_eps,
                                            .kind = llama ? NORM_RMS : NORM_LAYER});
}

static void norm2(const struct layer *l) {
  const struct arch *a = l->arch;
  const struct layer_buffers *b = &l->buffers;
  bool llama = a->family == ARCH_LLAMA;
  l->e->ops->norm(l->e, &(struct norm_args){.x = a->parallel_residual ? b->x : b->mid,
                                            .w = l->weights->norm2_w,
                                            .b = l->weights->norm2_b,
                                            .y = b->ln2,
                                            .mean = llama ? NULL : b->mean2,
                                            .rstd = b->rstd2,
                                            .M = l->B * l->T,
                                            .C = a->C,
                                            .eps = a->norm_eps,
                                            .kind = llama ? NORM_RMS : NORM_LAYER});
}

static void project(const struct layer *l, const struct heads *h) {
  const struct arch *a = l->arch;
  const struct layer_tensors *w = l->weights;
  struct linear_args in = {.x = l->buffers.ln1,
                           .w = w->qkv_w,
                           .bias = w->qkv_b,
                           .out = h->q,
                           .M = l->B * l->T,
                           .N = layout_qkv_channels(a),
                           .K = a->C};
  if (l->cache && a->family == ARCH_LLAMA) { /* k and v go to the cache, q does not */
    in.N = a->H * a->D;
    l->e->ops->linear(l->e, &in);
    in.w = (const char *)w->qkv_w + (size_t)(in.N * a->C) * dtype_bytes(l->e->dtype);
    in.out = h->k_new;
    in.N = 2 * a->HK * a->D;
  }
  l->e->ops->linear(l->e, &in);
}

static void rotate(const struct layer *l, const struct heads *h, void *q, void *k, bool inverse) {
  const struct arch *a = l->arch;
  struct rope_args in = {.x = q,
                         .row_stride = h->q_row,
                         .head_stride = h->q_head,
                         .heads = a->H,
                         .table = l->rope,
                         .position = l->position,
                         .B = l->B,
                         .T = l->T,
                         .R = a->R,
                         .inverse = inverse};
  l->e->ops->rope(l->e, &in);
  in.x = k;
  in.row_stride = h->kv_row;
  in.head_stride = h->kv_head;
  in.heads = a->HK;
  l->e->ops->rope(l->e, &in);
}

static struct attention_args attention_of(const struct layer *l, const struct heads *h) {
  const struct arch *a = l->arch;
  return (struct attention_args){.q = h->q,
                                 .k = h->k,
                                 .v = h->v,
                                 .o = l->buffers.o,
                                 .lse = l->buffers.lse,
                                 .B = l->B,
                                 .T = l->T,
                                 .S = l->position + l->T,
                                 .H = a->H,
                                 .HK = a->HK,
                                 .D = a->D,
                                 .q_row = h->q_row,
                                 .q_head = h->q_head,
                                 .kv_row = h->kv_row,
                                 .kv_head = h->kv_head,
                                 .scale = 1 / sqrt((double)a->D)};
}

static void attend_out(const struct layer *l, void *out) {
  l->e->ops->linear(l->e, &(struct linear_args){.x = l->buffers.o,
                                                .w = l->weights->o_w,
                                                .bias = l->weights->o_b,
                                                .add = l->buffers.x,
                                                .out = out,
                                                .M = l->B * l->T,
                                                .N = l->arch->C,
                                                .K = l->arch->C});
}

static void activate(const struct layer *l) {
  const struct arch *a = l->arch;
  const struct layer_buffers *b = &l->buffers;
  int64_t M = l->B * l->T;
  if (a->family == ARCH_LLAMA)
    l->e->ops->swiglu(l->e, b->act, b->pre, M, a->F);
  else
    l->e->ops->activate(l->e, b->act, b->pre, M * a->F, a->activation);
}

static void feed_in(const struct layer *l) {
  const struct arch *a = l->arch;
  const struct layer_buffers *b = &l->buffers;
  bool llama = a->family == ARCH_LLAMA;
  l->e->ops->linear(l->e,
                    &(struct linear_args){.x = b->ln2,
                                          .w = l->weights->up_w,
                                          .bias = l->weights->up_b,
                                          .pre = !llama && l->keep_pre ? b->pre : NULL,
                                          .out = llama ? b->pre : b->act,
                                          .M = l->B * l->T,
                                          .N = llama ? 2 * a->F : a->F,
                                          .K = a->C,
                                          .activation = llama ? ACTIVATION_NONE : a->activation});
  if (llama)
    activate(l);
}

static void feed_out(const struct layer *l, const void *add) {
  l->e->ops->linear(l->e, &(struct linear_args){.x = l->buffers.act,
                                                .w = l->weights->down_w,
                                                .bias = l->weights->down_b,
                                                .add = add,
                                                .out = l->buffers.out,
                                                .M = l->B * l->T,
                                                .N = l->arch->C,
                                                .K = l->arch->F});
}

void layer_forward(const struct layer *l, enum layer_purpose purpose) {
  const struct layer_buffers *b = &l->buffers;
  bool parallel = l->arch->parallel_residual, all = purpose == LAYER_ALL;
  norm1(l);
  struct heads h = heads_of(l, b->qkv);
  project(l, &h);
  rotate(l, &h, h.q, h.k_new, false);
  struct attention_args attention = attention_of(l, &h);
  l->e->ops->attention(l->e, &attention);
  if (parallel) {
    norm2(l); /* before out is written, which may stand where x does */
    if (all)
      attend_out(l, b->out);
  } else {
    attend_out(l, b->mid);
    norm2(l);
  }
  feed_in(l);
  if (all)
    feed_out(l, parallel ? b->out : b->mid);
}

/* From dx, the gradient of the layer's output, to dln, that of norm2's output. */
static void feed_backward(const struct layer *l, const struct layer_tensors *g,
                          const struct layer_gradients *s, bool accumulate) {
  const struct arch *a = l->arch;
  const struct layer_buffers *b = &l->buffers;
  bool llama = a->family == ARCH_LLAMA;
  int64_t M = l->B * l->T;
  l->e->ops->linear_grad(
      l->e, &(struct linear_grad_args){.dout = s->dx,
                                       .x = b->act,
                                       .w = l->weights->down_w,
                                       .pre = llama ? NULL : b->pre,
                                       .dx = s->dbig,
                                       .dw = g->down_w,
                                       .db = g->down_b,
                                       .M = M,
                                       .N = a->C,
                                       .K = a->F,
                                       .activation = llama ? ACTIVATION_NONE : a->activation,
                                       .dw_accumulate = accumulate});
  if (llama) /* in place: gate and up are not read again */
    l->e->ops->swiglu_grad(l->e, b->pre, s->dbig, b->pre, M, a->F);
  l->e->ops->linear_grad(l->e, &(struct linear_grad_args){.dout = llama ? b->pre : s->dbig,
                                                          .x = b->ln2,
                                                          .w = l->weights->up_w,
                                                          .dx = s->dln,
                                                          .dw = g->up_w,
                                                          .db = g->up_b,
                                                          .M = M,
                                                          .N = llama ? 2 * a->F : a->F,
                                                          .K = a->C,
                                                          .dw_accumulate = accumulate});
}

/* From d_o, the gradient of attention's output, to dln, that of norm1's output. */
static void attention_backward(const struct layer *l, const struct layer_tensors *g,
                               const struct layer_gradients *s, bool accumulate) {
  struct heads h = heads_of(l, l->buffers.qkv);
  char *dq = s->dbig, *dk = dq + (h.k - h.q), *dv = dq + (h.v - h.q);
  struct attention_grad_args in = {
      .forward = attention_of(l, &h), .dout = s->d_o, .dq = dq, .dk = dk, .dv = dv};
  l->e->ops->attention_grad(l->e, &in);
  rotate(l, &h, dq, dk, true);
  l->e->ops->linear_grad(l->e, &(struct linear_grad_args){.dout = s->dbig,
                                                          .x = l->buffers.ln1,
                                                          .w = l->weights->qkv_w,
                                                          .dx = s->dln,
                                                          .dw = g->qkv_w,
                                                          .db = g->qkv_b,
                                                          .M = l->B * l->T,
                                                          .N = layout_qkv_channels(l->arch),
                                                          .K = l->arch->C,
                                                          .dw_accumulate = accumulate});
}

static void attend_out_backward(const struct layer *l, const struct layer_tensors *g,
                                const struct layer_gradients *s, bool accumulate) {
  l->e->ops->linear_grad(l->e, &(struct linear_grad_args){.dout = s->dx,
                                                          .x = l->buffers.o,
                                                          .w = l->weights->o_w,
                                                          .dx = s->d_o,
                                                          .dw = g->o_w,
                                                          .db = g->o_b,
                                                          .M = l->B * l->T,
                                                          .N = l->arch->C,
                                                          .K = l->arch->C,
                                                          .dw_accumulate = accumulate});
}

/* dx += the gradient through a norm of `x`. */
static void norm_backward(const struct layer *l, const struct layer_gradients *s, bool second,
                          const struct layer_tensors *g, bool accumulate) {
  const struct arch *a = l->arch;
  const struct layer_buffers *b = &l->buffers;
  bool llama = a->family == ARCH_LLAMA;
  const void *mean = second ? b->mean2 : b->mean1;
  l->e->ops->norm_grad(
      l->e, &(struct norm_grad_args){.dy = s->dln,
                                     .x = second && !a->parallel_residual ? b->mid : b->x,
                                     .w = second ? l->weights->norm2_w : l->weights->norm1_w,
                                     .mean = llama ? NULL : mean,
                                     .rstd = second ? b->rstd2 : b->rstd1,
                                     .dx = s->dx,
                                     .dw = second ? g->norm2_w : g->norm1_w,
                                     .db = second ? g->norm2_b : g->norm1_b,
                                     .M = l->B * l->T,
                                     .C = a->C,
                                     .kind = llama ? NORM_RMS : NORM_LAYER,
                                     .dx_accumulate = true,
                                     .dw_accumulate = accumulate});
}

void layer_backward(const struct layer *l, const struct layer_tensors *g,
                    const struct layer_gradients *s, bool accumulate,
                    enum transformer_recompute recompute) {
  bool parallel = l->arch->parallel_residual;
  if (recompute == RECOMPUTE_LAYER)
    layer_forward(l, LAYER_RECOMPUTE);
  if (recompute == RECOMPUTE_CHEAP) {
    activate(l);
    norm2(l);
  }
  feed_backward(l, g, s, accumulate);
  if (parallel) /* attention's share is of the layer's own output: before dx goes through norm2 */
    attend_out_backward(l, g, s, accumulate);
  norm_backward(l, s, true, g, accumulate);
  if (!parallel)
    attend_out_backward(l, g, s, accumulate);
  if (recompute == RECOMPUTE_CHEAP)
    norm1(l);
  attention_backward(l, g, s, accumulate);
  norm_backward(l, s, false, g, accumulate);
}
