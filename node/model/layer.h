/* layer: one transformer layer, forward and backward, over an engine's ops.
 *
 *   struct layer l = {.e = e, .arch = a, .weights = &w, .buffers = b, .B = B, .T = T, …};
 *   layer_forward(&l, LAYER_ALL);
 *   layer_backward(&l, &gradients, &shared, accumulate);
 *
 * parallel residual (GPT-NeoX):  out = x + attention(norm1 x) + feed(norm2 x)
 * sequential:                    mid = x + attention(norm1 x),  out = mid + feed(norm2 mid)
 *
 * Where nothing is kept (inference) x, mid and out may be the same memory. Holds no memory. */
#ifndef CARAVAN_LAYER_H
#define CARAVAN_LAYER_H

#include "kernels/engine.h"
#include "node/model/transformer.h"

/* Pointers to a layer's weights, or to their gradients. NULL: the family has none. LLaMA: qkv_w is
 * q, k, v one after another and up_w is gate, up. */
struct layer_tensors {
  void *norm1_w, *norm1_b, *norm2_w, *norm2_b;
  void *qkv_w, *qkv_b, *o_w, *o_b;
  void *up_w, *up_b, *down_w, *down_b;
};

/* Shapes as in layout.h. */
struct layer_buffers {
  void *x, *mid, *out;
  void *ln1, *ln2, *mean1, *rstd1, *mean2, *rstd2;
  void *qkv, *o, *lse, *pre, *act;
};

/* What all layers share in the backward pass. dx: gradient of out before, of x after. */
struct layer_gradients {
  void *dx, *dln, *d_o, *dbig;
};

struct layer {
  struct engine *e;
  const struct arch *arch;
  const struct layer_tensors *weights;
  struct layer_buffers buffers;
  bool keep_pre;    /* GPT-NeoX: buffers.pre is there and wanted */
  const void *rope; /* table */
  int64_t B, T;
  /* Generation: keys and values so far, (position + T, cache channels); NULL otherwise. B is 1. */
  void *cache;
  int64_t position; /* of the first token; 0 without a cache */
};

enum layer_purpose {
  LAYER_ALL,       /* everything, out included */
  LAYER_RECOMPUTE, /* what the backward pass reads and no more: not out */
};

void layer_forward(const struct layer *l, enum layer_purpose purpose);

/* recompute says which buffers are stale: CHEAP ln1, ln2, act; LAYER all but x. Gradients of
 * weights are written, or added to. */
void layer_backward(const struct layer *l, const struct layer_tensors *gradients,
                    const struct layer_gradients *shared, bool accumulate,
                    enum transformer_recompute recompute);

#endif
