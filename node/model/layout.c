#include "node/model/layout.h"

static size_t buffer_bytes(const struct arch *a, const struct transformer_options *o,
                           enum layout_buffer which, size_t value_bytes, size_t stat_bytes) {
  int64_t M = o->B * o->T, qkv = layout_qkv_channels(a);
  bool llama = a->family == ARCH_LLAMA;
  switch (which) {
    case LAYOUT_X:
    case LAYOUT_LN1:
    case LAYOUT_LN2:
    case LAYOUT_O:
    case LAYOUT_MID:
    case LAYOUT_FINAL:
    case LAYOUT_DX:
    case LAYOUT_DLN:
    case LAYOUT_DO: return (size_t)(M * a->C) * value_bytes;
    case LAYOUT_MEAN1:
    case LAYOUT_RSTD1:
    case LAYOUT_MEAN2:
    case LAYOUT_RSTD2:
    case LAYOUT_FINAL_MEAN:
    case LAYOUT_FINAL_RSTD:
    case LAYOUT_LOSS: return (size_t)M * stat_bytes;
    case LAYOUT_QKV: return (size_t)(M * qkv) * value_bytes;
    case LAYOUT_LSE: return (size_t)(M * a->H) * stat_bytes;
    case LAYOUT_PRE: return (size_t)(M * a->F * (llama ? 2 : 1)) * value_bytes;
    case LAYOUT_ACT: return (size_t)(M * a->F) * value_bytes;
    case LAYOUT_TOKENS:
    case LAYOUT_TARGETS: return (size_t)M * sizeof(int32_t);
    case LAYOUT_ROPE: return (size_t)(o->T * a->R) * stat_bytes;
    case LAYOUT_LOGITS: return (size_t)(LAYOUT_LOGITS_ROWS * a->V) * value_bytes;
    case LAYOUT_DBIG: return (size_t)(M * (a->F > qkv ? a->F : qkv)) * value_bytes;
    case LAYOUT_COUNT: break;
  }
  return 0;
}

/* How many of a buffer there are; 0 where it shares another's place or is not needed. */
static int64_t buffer_count(const struct arch *a, const struct transformer_options *o,
                            enum layout_buffer which) {
  bool none = o->training && o->recompute == RECOMPUTE_NONE;
  bool cheap = o->training && o->recompute == RECOMPUTE_CHEAP;
  bool layer = o->training && o->recompute == RECOMPUTE_LAYER;
  bool llama = a->family == ARCH_LLAMA;
  int64_t kept = none || cheap ? a->L : 1;
  switch (which) {
    case LAYOUT_X: return o->training ? a->L + 1 : 1;
    case LAYOUT_LN1:
    case LAYOUT_ACT: return none ? a->L : 1;
    case LAYOUT_LN2: return none ? a->L : layer ? 1 : 0;
    case LAYOUT_MID: return o->training && !a->parallel_residual ? kept : 0;
    case LAYOUT_RSTD2: return a->parallel_residual ? 0 : kept;
    case LAYOUT_MEAN1: return llama ? 0 : kept;
    case LAYOUT_MEAN2: return llama || a->parallel_residual ? 0 : kept;
    case LAYOUT_PRE: return llama || o->training ? kept : 0;
    case LAYOUT_RSTD1:
    case LAYOUT_QKV:
    case LAYOUT_O:
    case LAYOUT_LSE: return kept;
    case LAYOUT_FINAL: return o->training ? 0 : 1;
    case LAYOUT_FINAL_MEAN: return llama ? 0 : 1;
    case LAYOUT_FINAL_RSTD:
    case LAYOUT_LOSS:
    case LAYOUT_TOKENS:
    case LAYOUT_TARGETS:
    case LAYOUT_ROPE:
    case LAYOUT_LOGITS: return 1;
    case LAYOUT_DX:
    case LAYOUT_DLN:
    case LAYOUT_DO:
    case LAYOUT_DBIG: return o->training ? 1 : 0;
    case LAYOUT_COUNT: break;
  }
  return 0;
}

void layout_make(const struct arch *a, const struct transformer_options *o, size_t value_bytes,
                 size_t stat_bytes, struct layout *out) {
  size_t at = 0;
  for (enum layout_buffer i = 0; i < LAYOUT_COUNT; i++) {
    size_t bytes = buffer_bytes(a, o, i, value_bytes, stat_bytes);
    size_t room = (bytes + LAYOUT_ALIGN_BYTES - 1) / LAYOUT_ALIGN_BYTES * LAYOUT_ALIGN_BYTES;
    int64_t count = buffer_count(a, o, i);
    out->places[i] = (struct layout_place){at, count > 1 ? room : 0};
    at += (size_t)count * room;
  }
  struct layout_place *p = out->places;
  if (buffer_count(a, o, LAYOUT_LN2) == 0)
    p[LAYOUT_LN2] = p[LAYOUT_LN1]; /* the first is used up when the second is made */
  if (a->parallel_residual) {      /* both norms are of the same rows */
    p[LAYOUT_MID] = p[LAYOUT_X];
    p[LAYOUT_MEAN2] = p[LAYOUT_MEAN1];
    p[LAYOUT_RSTD2] = p[LAYOUT_RSTD1];
  } else if (!o->training) {
    p[LAYOUT_MID] = p[LAYOUT_X]; /* the stream is updated in place */
  }
  if (o->training)
    p[LAYOUT_FINAL] = p[LAYOUT_DO];
  out->bytes = at;
}
