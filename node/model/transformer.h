/* transformer: a model in an engine's memory: forward, backward, optimizer.
 *
 *   struct transformer_options o = {.B = 4, .T = 256, .training = true, .recompute = 0};
 *   TRY(plan_make(engine, &arch, &o, &plan, &why));   // bytes, before any is taken
 *   TRY(transformer_open(engine, &arch, &o, &t, &why));
 *   transformer_init(t, seed);
 *
 *   // each step, of n micro-batches; scale is 1.0 / rows of the step that count
 *   for (int i = 0; i < n; i++)
 *     TRY(transformer_backward(t, tokens, targets, scale, i > 0, &loss, &why));
 *   TRY(transformer_update(t, &adam, &grad_norm, &why));
 *
 * tokens, targets: (B, T) i32 in host memory; a target below 0 does not count. Weights, gradients
 * and moments are flat arrays laid out as arch_params says. Nothing is allocated after
 * transformer_open. The engine is borrowed, must outlive it, and must not be used by another thread
 * meanwhile. */
#ifndef CARAVAN_TRANSFORMER_H
#define CARAVAN_TRANSFORMER_H

#include "kernels/engine.h"
#include "node/model/arch.h"

/* Tokens of one micro-batch, B T: more are trained as several. */
enum { TRANSFORMER_ROWS_MAX = 1 << 24 };

/* What the backward pass computes again instead of keeping. More is slower and smaller. */
enum transformer_recompute {
  RECOMPUTE_NONE,  /* every activation is kept */
  RECOMPUTE_CHEAP, /* norms and activations are computed again: about 1 % slower */
  RECOMPUTE_LAYER, /* only each layer's input is kept: about a fifth slower */
  RECOMPUTE_COUNT
};

struct transformer_options {
  int64_t B, T;  /* of a micro-batch; T <= arch.T */
  bool training; /* gradients, moments and kept activations, or inference only */
  enum transformer_recompute recompute;
};

struct transformer; /* opaque: holds engine memory */

/* Where the memory goes, in bytes. Exact: transformer_open and engine_reserve take this and no
 * more. */
struct plan {
  size_t weights, gradients, moments, activations, scratch, cache, total;
};

/* The most of everything that a model with these options asks of its engine. */
struct shapes transformer_shapes(const struct arch *a, const struct transformer_options *o);

/* Compute a plan; nothing is allocated. RANGE: B or T out of bounds. */
CHECKED enum status plan_make(const struct engine *e, const struct arch *a,
                              const struct transformer_options *o, struct plan *out,
                              struct why *why);

/* NOMEM with what was asked; RANGE. The caller closes it. */
CHECKED enum status transformer_open(struct engine *e, const struct arch *a,
                                     const struct transformer_options *o, struct transformer **out,
                                     struct why *why);
void transformer_close(struct transformer **t);

const struct arch *transformer_arch(const struct transformer *t);
const struct arch_params *transformer_params(const struct transformer *t);

/* Fill the weights by arch.init's rules from a seed, the same bits on every machine with the same
 * libm; moments and gradients become 0, the step count 0. */
void transformer_init(struct transformer *t, uint64_t seed);

/* Forward only. *loss: the mean over counting rows, in nats. row_loss: (B, T) f32 host, or NULL.
 * B may be smaller than planned; T too. RANGE: a token outside the vocabulary, named; no target
 * counts. */
CHECKED enum status transformer_loss(struct transformer *t, const int32_t *tokens,
                                     const int32_t *targets, int64_t B, int64_t T, double *loss,
                                     float *row_loss, struct why *why);

/* Forward and backward of one micro-batch (B, T as planned). Gradients are overwritten, or added to
 * when accumulate is set: they are those of grad_scale times loss_sum. *loss_sum: the sum of losses
 * over counting rows, in nats. RANGE: as transformer_loss; gradients are unchanged. */
CHECKED enum status transformer_backward(struct transformer *t, const int32_t *tokens,
                                         const int32_t *targets, double grad_scale, bool accumulate,
                                         double *loss_sum, struct why *why);

struct transformer_adam {
  double lr, beta1, beta2, eps, decay; /* decay only where arch_tensor.decay */
  double clip;                         /* global gradient norm limit; 0: none */
};

/* One optimizer step with the gradients at hand. *grad_norm: the global norm before clipping.
 * REFUSED: the norm is not finite; weights, moments and step count are unchanged. */
CHECKED enum status transformer_update(struct transformer *t, const struct transformer_adam *adam,
                                       double *grad_norm, struct why *why);

enum transformer_array { ARRAY_WEIGHTS, ARRAY_GRADIENTS, ARRAY_MOMENT_M, ARRAY_MOMENT_V };

/* Copy [offset, offset + count) of a flat array to or from host f32. Exact for an f32 engine. */
void transformer_get(struct transformer *t, enum transformer_array which, int64_t offset,
                     int64_t count, float *out);
void transformer_set(struct transformer *t, enum transformer_array which, int64_t offset,
                     int64_t count, const float *in);
int64_t transformer_step(const struct transformer *t); /* optimizer steps done */
void transformer_step_set(struct transformer *t, int64_t step);

/* Logits (rows, V) f32 host for the last `rows` positions of the given tokens (B = 1, T = count).
 * RANGE: count above options.T, or a token. */
CHECKED enum status transformer_logits(struct transformer *t, const int32_t *tokens, int64_t count,
                                       int64_t rows, float *logits, struct why *why);

/* Generation with a key/value cache: feed tokens one after another (or a prompt at once); the
 * logits (V) f32 host are those after the last; NULL when not wanted. Only where options.training
 * is false. FULL, with nothing fed: the cache has room for options.T tokens. RANGE: a token. */
CHECKED enum status transformer_feed(struct transformer *t, const int32_t *tokens, int64_t count,
                                     float *logits, struct why *why);
void transformer_rewind(struct transformer *t); /* forget what was fed */

#endif
