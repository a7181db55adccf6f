/* A transformer's forward and backward passes over a micro-batch. */
#include "node/model/transformer_inside.h"
#include "proto/base/claim.h"

enum { LOSS_BLOCK = 1024 };

enum status transformer_check_tokens(const struct transformer *t, const int32_t *tokens,
                                     int64_t count, bool targets, struct why *why) {
  for (int64_t i = 0; i < count; i++) {
    if (tokens[i] < t->arch.V && (targets || tokens[i] >= 0))
      continue;
    return why_say(why, STATUS_RANGE,
                   "%s %lld is %d, but the model's vocabulary is 0 to %lld: was this data made "
                   "with the tokenizer of another model?",
                   targets ? "target" : "token", (long long)i, (int)tokens[i],
                   (long long)t->arch.V - 1);
  }
  return STATUS_OK;
}

struct layer transformer_layer(const struct transformer *t, int64_t index, int64_t B, int64_t T,
                               bool keep) {
  const struct layout *l = &t->layout;
  void *base = t->activations;
  int64_t i = keep ? index : 0;
  return (struct layer){.e = t->e,
                        .arch = &t->arch,
                        .weights = &t->at.layers[index],
                        .buffers = {.x = layout_at(l, base, LAYOUT_X, i),
                                    .mid = layout_at(l, base, LAYOUT_MID, i),
                                    .out = layout_at(l, base, LAYOUT_X, keep ? i + 1 : 0),
                                    .ln1 = layout_at(l, base, LAYOUT_LN1, i),
                                    .ln2 = layout_at(l, base, LAYOUT_LN2, i),
                                    .mean1 = layout_at(l, base, LAYOUT_MEAN1, i),
                                    .rstd1 = layout_at(l, base, LAYOUT_RSTD1, i),
                                    .mean2 = layout_at(l, base, LAYOUT_MEAN2, i),
                                    .rstd2 = layout_at(l, base, LAYOUT_RSTD2, i),
                                    .qkv = layout_at(l, base, LAYOUT_QKV, i),
                                    .o = layout_at(l, base, LAYOUT_O, i),
                                    .lse = layout_at(l, base, LAYOUT_LSE, i),
                                    .pre = layout_at(l, base, LAYOUT_PRE, i),
                                    .act = layout_at(l, base, LAYOUT_ACT, i)},
                        .keep_pre = keep,
                        .rope = transformer_buffer(t, LAYOUT_ROPE),
                        .B = B,
                        .T = T};
}

void *transformer_run_layers(struct transformer *t, const int32_t *tokens, int64_t B, int64_t T,
                             bool keep) {
  int32_t *ids = transformer_buffer(t, LAYOUT_TOKENS);
  t->e->ops->upload_i32(t->e, ids, tokens, B * T);
  t->e->ops->embed(t->e, transformer_buffer(t, LAYOUT_X), t->at.embed, ids, B * T, t->arch.C,
                   t->arch.V);
  void *out = NULL;
  for (int64_t i = 0; i < t->arch.L; i++) {
    struct layer l = transformer_layer(t, i, B, T, keep);
    layer_forward(&l, LAYER_ALL);
    out = l.buffers.out;
  }
  return out;
}

void *transformer_final_norm(struct transformer *t, const void *x, int64_t rows) {
  bool llama = t->arch.family == ARCH_LLAMA;
  void *y = transformer_buffer(t, LAYOUT_FINAL);
  t->e->ops->norm(
      t->e, &(struct norm_args){.x = x,
                                .w = t->at.final_w,
                                .b = t->at.final_b,
                                .y = y,
                                .mean = llama ? NULL : transformer_buffer(t, LAYOUT_FINAL_MEAN),
                                .rstd = transformer_buffer(t, LAYOUT_FINAL_RSTD),
                                .M = rows,
                                .C = t->arch.C,
                                .eps = t->arch.norm_eps,
                                .kind = llama ? NORM_RMS : NORM_LAYER});
  return y;
}

/* Output layer and loss of the rows at h; with dh their gradients too. */
static void run_head(struct transformer *t, const void *h, const int32_t *targets, int64_t rows,
                     void *dh, double grad_scale, bool accumulate) {
  int32_t *ids = transformer_buffer(t, LAYOUT_TARGETS);
  t->e->ops->upload_i32(t->e, ids, targets, rows);
  t->e->ops->head(t->e, &(struct head_args){.h = h,
                                            .w = t->at.head,
                                            .targets = ids,
                                            .loss = transformer_buffer(t, LAYOUT_LOSS),
                                            .dh = dh,
                                            .dw = dh ? t->gradients_at.head : NULL,
                                            .M = rows,
                                            .C = t->arch.C,
                                            .V = t->arch.V,
                                            .grad_scale = grad_scale,
                                            .dw_accumulate = accumulate});
}

/* Sum of the losses that the head left, in row order; row_loss may be NULL. */
static double collect_loss(struct transformer *t, int64_t rows, float *row_loss) {
  double block[LOSS_BLOCK], sum = 0;
  const char *loss = transformer_buffer(t, LAYOUT_LOSS);
  for (int64_t begin = 0; begin < rows; begin += LOSS_BLOCK) {
    int64_t count = rows - begin < LOSS_BLOCK ? rows - begin : LOSS_BLOCK;
    const char *from = loss + (size_t)begin * dtype_bytes(t->e->stat);
    t->e->ops->download(t->e, block, from, t->e->stat, count);
    for (int64_t i = 0; i < count; i++) {
      sum += block[i];
      if (row_loss)
        row_loss[begin + i] = (float)block[i];
    }
  }
  return sum;
}

static enum status check_batch(const struct transformer *t, const int32_t *tokens,
                               const int32_t *targets, int64_t B, int64_t T, struct why *why) {
  if (B < 1 || B > t->options.B || T < 1 || T > t->options.T)
    return why_say(why, STATUS_RANGE,
                   "a micro-batch of %lld × %lld tokens; room is for %lld × %lld", (long long)B,
                   (long long)T, (long long)t->options.B, (long long)t->options.T);
  TRY(transformer_check_tokens(t, tokens, B * T, false, why));
  return transformer_check_tokens(t, targets, B * T, true, why);
}

enum status transformer_loss(struct transformer *t, const int32_t *tokens, const int32_t *targets,
                             int64_t B, int64_t T, double *loss, float *row_loss, struct why *why) {
  TRY(check_batch(t, tokens, targets, B, T, why));
  int64_t counting = 0;
  for (int64_t i = 0; i < B * T; i++)
    counting += targets[i] >= 0;
  if (!counting)
    return why_say(why, STATUS_RANGE, "not one of %lld targets counts: there is no loss",
                   (long long)(B * T));
  void *x = transformer_run_layers(t, tokens, B, T, false);
  void *h = transformer_final_norm(t, x, B * T);
  run_head(t, h, targets, B * T, NULL, 0, false);
  double sum = collect_loss(t, B * T, row_loss);
  TRY(engine_sync(t->e, why));
  *loss = sum / (double)counting;
  return STATUS_OK;
}

/* From the head's dh in LAYOUT_DLN through the last norm to LAYOUT_DX. */
static void final_norm_backward(struct transformer *t, const void *x, int64_t rows,
                                bool accumulate) {
  bool llama = t->arch.family == ARCH_LLAMA;
  t->e->ops->norm_grad(t->e, &(struct norm_grad_args){
                                 .dy = transformer_buffer(t, LAYOUT_DLN),
                                 .x = x,
                                 .w = t->at.final_w,
                                 .mean = llama ? NULL : transformer_buffer(t, LAYOUT_FINAL_MEAN),
                                 .rstd = transformer_buffer(t, LAYOUT_FINAL_RSTD),
                                 .dx = transformer_buffer(t, LAYOUT_DX),
                                 .dw = t->gradients_at.final_w,
                                 .db = t->gradients_at.final_b,
                                 .M = rows,
                                 .C = t->arch.C,
                                 .kind = llama ? NORM_RMS : NORM_LAYER,
                                 .dw_accumulate = accumulate});
}

enum status transformer_backward(struct transformer *t, const int32_t *tokens,
                                 const int32_t *targets, double grad_scale, bool accumulate,
                                 double *loss_sum, struct why *why) {
  CLAIM(t->options.training);
  int64_t B = t->options.B, T = t->options.T, M = B * T;
  TRY(check_batch(t, tokens, targets, B, T, why));
  void *x = transformer_run_layers(t, tokens, B, T, true);
  void *h = transformer_final_norm(t, x, M);
  run_head(t, h, targets, M, transformer_buffer(t, LAYOUT_DLN), grad_scale, accumulate);
  final_norm_backward(t, x, M, accumulate);
  struct layer_gradients shared = {.dx = transformer_buffer(t, LAYOUT_DX),
                                   .dln = transformer_buffer(t, LAYOUT_DLN),
                                   .d_o = transformer_buffer(t, LAYOUT_DO),
                                   .dbig = transformer_buffer(t, LAYOUT_DBIG)};
  for (int64_t i = t->arch.L - 1; i >= 0; i--) {
    struct layer l = transformer_layer(t, i, B, T, true);
    layer_backward(&l, &t->gradients_at.layers[i], &shared, accumulate, t->options.recompute);
  }
  /* A tied table has its output layer's gradient already. */
  t->e->ops->embed_grad(t->e, t->gradients_at.embed, shared.dx,
                        transformer_buffer(t, LAYOUT_TOKENS), M, t->arch.C, t->arch.V,
                        accumulate || t->arch.tied);
  double sum = collect_loss(t, M, NULL);
  TRY(engine_sync(t->e, why));
  *loss_sum = sum;
  return STATUS_OK;
}

void transformer_head_logits(struct transformer *t, int64_t begin, int64_t rows, float *logits) {
  char *h = transformer_buffer(t, LAYOUT_FINAL);
  void *out = transformer_buffer(t, LAYOUT_LOGITS);
  size_t row_bytes = (size_t)t->arch.C * transformer_value_bytes(t);
  for (int64_t done = 0; done < rows; done += LAYOUT_LOGITS_ROWS) {
    int64_t count = rows - done < LAYOUT_LOGITS_ROWS ? rows - done : LAYOUT_LOGITS_ROWS;
    t->e->ops->linear(t->e, &(struct linear_args){.x = h + (size_t)(begin + done) * row_bytes,
                                                  .w = t->at.head,
                                                  .out = out,
                                                  .M = count,
                                                  .N = t->arch.V,
                                                  .K = t->arch.C});
    t->e->ops->download_f32(t->e, logits + done * t->arch.V, out, t->e->dtype, count * t->arch.V);
  }
}

enum status transformer_logits(struct transformer *t, const int32_t *tokens, int64_t count,
                               int64_t rows, float *logits, struct why *why) {
  if (count < 1 || count > t->options.T || rows < 1 || rows > count)
    return why_say(why, STATUS_RANGE, "logits of %lld of %lld tokens; there is room for 1 to %lld",
                   (long long)rows, (long long)count, (long long)t->options.T);
  TRY(transformer_check_tokens(t, tokens, count, false, why));
  void *x = transformer_run_layers(t, tokens, 1, count, false);
  transformer_final_norm(t, x, count);
  transformer_head_logits(t, count - rows, rows, logits);
  return engine_sync(t->e, why);
}
