/* transformer_inside: what struct transformer holds. Only for the files that implement
 * transformer.h; everybody else sees it closed. */
#ifndef CARAVAN_TRANSFORMER_INSIDE_H
#define CARAVAN_TRANSFORMER_INSIDE_H

#include "node/model/layer.h"
#include "node/model/layout.h"
#include "node/model/transformer.h"

/* Neighbouring tensors with the same decay rule: one call of the optimizer. */
struct transformer_run {
  int64_t offset, count;
  bool decay;
};

/* Weights or gradients by use. */
struct transformer_tensors {
  void *embed;
  void *final_w, *final_b; /* final_b NULL: LLaMA */
  void *head;              /* the embedding table's when tied */
  struct layer_tensors *layers;
};

struct transformer {
  struct engine *e; /* borrowed */
  struct arch arch;
  struct transformer_options options;
  struct plan plan;
  struct arch_params *params;
  struct layout layout;
  /* Engine memory. */
  void *weights, *gradients; /* (values) */
  void *m, *v, *master;      /* (values) stat; master f32 where weights are narrower, else NULL */
  void *activations;         /* laid out by `layout` */
  void *cache;               /* (L, T, cache channels); NULL when training */
  struct transformer_tensors at, gradients_at;
  struct transformer_run *runs;
  size_t run_count;
  int64_t step;
  int64_t fed; /* tokens in the cache */
};

/* RANGE: the first token outside the vocabulary, with its place. targets: negatives are fine. */
CHECKED enum status transformer_check_tokens(const struct transformer *t, const int32_t *tokens,
                                             int64_t count, bool targets, struct why *why);

/* Tokens to the engine, embedding, and every layer. keep: each layer's buffers, for the backward
 * pass; else layer 0's are used for all. Returns the residual stream (B, T, C) after the last. */
void *transformer_run_layers(struct transformer *t, const int32_t *tokens, int64_t B, int64_t T,
                             bool keep);
struct layer transformer_layer(const struct transformer *t, int64_t index, int64_t B, int64_t T,
                               bool keep);
/* Last norm of `rows` rows of x into LAYOUT_FINAL, which it returns. */
void *transformer_final_norm(struct transformer *t, const void *x, int64_t rows);
/* Logits of rows of LAYOUT_FINAL from `begin` on, to the host. */
void transformer_head_logits(struct transformer *t, int64_t begin, int64_t rows, float *logits);

static inline void *transformer_buffer(const struct transformer *t, enum layout_buffer which) {
  return layout_at(&t->layout, t->activations, which, 0);
}

static inline size_t transformer_value_bytes(const struct transformer *t) {
  return dtype_bytes(t->e->dtype);
}

#endif
