/* layout: where every activation of a model stands in one piece of engine memory.
 *
 *   struct layout l;
 *   layout_make(&arch, &options, dtype_bytes(e->dtype), dtype_bytes(e->stat), &l);
 *   TRY(engine_alloc(e, l.bytes, &base));
 *   void *qkv = layout_at(&l, base, LAYOUT_QKV, layer);
 *
 * A buffer that the backward pass reads is kept once a layer; one that is computed again, or not
 * needed any more, is shared by all layers, and some share a place with others (M = B T rows):
 *
 *                   X       LN1 LN2 ACT   MID QKV O PRE and statistics    DX DLN DO DBIG
 *   inference       1       1 shared, 1   1 of each                       none
 *   recompute none  L + 1   L each        L each                          1
 *   recompute cheap L + 1   1 shared, 1   L each                          1
 *   recompute layer L + 1   1 each        1 each                          1
 *
 * Pure. */
#ifndef CARAVAN_LAYOUT_H
#define CARAVAN_LAYOUT_H

#include "node/model/transformer.h"

enum layout_buffer {
  LAYOUT_X,     /* (M, C) the residual stream into each layer, and out of the last */
  LAYOUT_LN1,   /* (M, C) before attention */
  LAYOUT_LN2,   /* (M, C) before the feed-forward layer */
  LAYOUT_MEAN1, /* (M) stat */
  LAYOUT_RSTD1,
  LAYOUT_MEAN2,
  LAYOUT_RSTD2,
  LAYOUT_QKV,   /* (M, (H + 2 HK) D) */
  LAYOUT_O,     /* (M, C) attention's output */
  LAYOUT_LSE,   /* (B, H, T) stat */
  LAYOUT_MID,   /* (M, C) the stream between attention and feed-forward, when sequential */
  LAYOUT_PRE,   /* (M, F) before the activation; LLaMA: (M, 2F) gate and up */
  LAYOUT_ACT,   /* (M, F) */
  LAYOUT_FINAL, /* (M, C) after the last norm */
  LAYOUT_FINAL_MEAN,
  LAYOUT_FINAL_RSTD,
  LAYOUT_LOSS,    /* (M) stat */
  LAYOUT_TOKENS,  /* (M) i32 */
  LAYOUT_TARGETS, /* (M) i32 */
  LAYOUT_ROPE,    /* (T, R/2, 2) stat */
  LAYOUT_LOGITS,  /* (LAYOUT_LOGITS_ROWS, V) */
  LAYOUT_DX,      /* (M, C) gradient of the residual stream */
  LAYOUT_DLN,     /* (M, C) of a norm's output */
  LAYOUT_DO,      /* (M, C) of attention's output; LAYOUT_FINAL stands here while training */
  LAYOUT_DBIG, /* (M, max(F, (H + 2 HK) D)) of the feed-forward layer's inside, then of q, k, v */
  LAYOUT_COUNT
};

enum { LAYOUT_LOGITS_ROWS = 16, LAYOUT_ALIGN_BYTES = 64 };

struct layout {
  struct layout_place {
    size_t offset_bytes;
    size_t stride_bytes; /* from one layer to the next; 0: shared */
  } places[LAYOUT_COUNT];
  size_t bytes;
};

/* options and arch are checked already (plan_make). */
void layout_make(const struct arch *a, const struct transformer_options *o, size_t value_bytes,
                 size_t stat_bytes, struct layout *out);

static inline void *layout_at(const struct layout *l, void *base, enum layout_buffer which,
                              int64_t layer) {
  const struct layout_place *p = &l->places[which];
  return (char *)base + p->offset_bytes + (size_t)layer * p->stride_bytes;
}

/* Channels of one row of the q, k, v projection. */
static inline int64_t layout_qkv_channels(const struct arch *a) {
  return (a->H + 2 * a->HK) * a->D;
}

/* Values of one token of one layer in the generation cache: GPT-NeoX's rows are interleaved per
 * head, so the cache keeps them whole; LLaMA's keeps k and v. */
static inline int64_t layout_cache_channels(const struct arch *a) {
  return a->family == ARCH_NEOX ? layout_qkv_channels(a) : 2 * a->HK * a->D;
}

#endif
