/* A transformer's life: opening, first weights, closing, and its arrays seen from outside. */
#include "node/model/transformer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/model/init.h"
#include "node/model/plan.h"
#include "node/model/transformer_inside.h"
#include "proto/base/claim.h"

const struct arch *transformer_arch(const struct transformer *t) {
  return &t->arch;
}

const struct arch_params *transformer_params(const struct transformer *t) {
  return t->params;
}

int64_t transformer_step(const struct transformer *t) {
  return t->step;
}

void transformer_step_set(struct transformer *t, int64_t step) {
  t->step = step;
}

/* Where the tensor of a layer whose name ends so stands in an array. */
static void *tensor_at(const struct transformer *t, void *base, const char *end, int layer) {
  for (size_t i = 0; i < t->params->count; i++) {
    const struct arch_tensor *p = &t->params->tensors[i];
    size_t length = strlen(p->name), end_length = strlen(end);
    if (p->layer == layer && length >= end_length && !strcmp(p->name + length - end_length, end))
      return (char *)base + (size_t)p->offset * transformer_value_bytes(t);
  }
  CLAIM(!"a tensor of the family is missing from its table");
  return NULL;
}

static void find_layer(const struct transformer *t, void *base, int layer,
                       struct layer_tensors *out) {
  bool neox = t->arch.family == ARCH_NEOX;
  const struct {
    void **at;
    const char *neox, *llama;
  } names[] = {
      {&out->norm1_w, "input_layernorm.weight", "input_layernorm.weight"},
      {&out->norm1_b, "input_layernorm.bias", NULL},
      {&out->norm2_w, "post_attention_layernorm.weight", "post_attention_layernorm.weight"},
      {&out->norm2_b, "post_attention_layernorm.bias", NULL},
      {&out->qkv_w, "query_key_value.weight", "q_proj.weight"},
      {&out->qkv_b, "query_key_value.bias", NULL},
      {&out->o_w, "attention.dense.weight", "o_proj.weight"},
      {&out->o_b, "attention.dense.bias", NULL},
      {&out->up_w, "dense_h_to_4h.weight", "gate_proj.weight"},
      {&out->up_b, "dense_h_to_4h.bias", NULL},
      {&out->down_w, "dense_4h_to_h.weight", "down_proj.weight"},
      {&out->down_b, "dense_4h_to_h.bias", NULL},
  };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    const char *name = neox ? names[i].neox : names[i].llama;
    *names[i].at = name ? tensor_at(t, base, name, layer) : NULL;
  }
}

static void find_tensors(const struct transformer *t, void *base, struct transformer_tensors *out) {
  bool neox = t->arch.family == ARCH_NEOX;
  out->embed = tensor_at(t, base, neox ? "embed_in.weight" : "embed_tokens.weight", -1);
  out->final_w = tensor_at(t, base, neox ? "final_layer_norm.weight" : "model.norm.weight", -1);
  out->final_b = neox ? tensor_at(t, base, "final_layer_norm.bias", -1) : NULL;
  out->head = t->arch.tied ? out->embed
                           : tensor_at(t, base, neox ? "embed_out.weight" : "lm_head.weight", -1);
  for (int i = 0; i < t->arch.L; i++)
    find_layer(t, base, i, &out->layers[i]);
}

static void find_runs(struct transformer *t) {
  for (size_t i = 0; i < t->params->count; i++) {
    const struct arch_tensor *p = &t->params->tensors[i];
    struct transformer_run *last = t->run_count ? &t->runs[t->run_count - 1] : NULL;
    if (!last || last->decay != p->decay)
      t->runs[t->run_count++] = (struct transformer_run){p->offset, p->count, p->decay};
    else
      last->count = p->offset + p->count - last->offset;
  }
}

/* Gaps between tensors are zero in every array, so that sums and the optimizer may run over them.
 */
static void zero_gaps(struct transformer *t, void *base, size_t bytes) {
  int64_t end = 0;
  for (size_t i = 0; i <= t->params->count; i++) {
    bool last = i == t->params->count;
    int64_t next = last ? t->params->values : t->params->tensors[i].offset;
    if (next > end)
      t->e->ops->zero(t->e, (char *)base + (size_t)end * bytes, (size_t)(next - end) * bytes);
    if (!last)
      end = next + t->params->tensors[i].count;
  }
}

/* cos and sin of position · base^(-2i/R), computed in double. */
static void fill_rope(struct transformer *t) {
  double row[SHAPE_D_MAX];
  int64_t R = t->arch.R;
  char *table = transformer_buffer(t, LAYOUT_ROPE);
  size_t stride = (size_t)R * dtype_bytes(t->e->stat);
  for (int64_t position = 0; position < t->options.T; position++) {
    for (int64_t i = 0; i < R / 2; i++) {
      double angle = (double)position * pow(t->arch.rope_base, -2 * (double)i / (double)R);
      row[2 * i] = cos(angle);
      row[2 * i + 1] = sin(angle);
    }
    t->e->ops->upload(t->e, table + (size_t)position * stride, t->e->stat, row, R);
  }
}

static enum status take_host(struct transformer *t, struct why *why) {
  TRY(arch_params_open(&t->arch, &t->params, why));
  size_t L = (size_t)t->arch.L;
  t->at.layers = calloc(L, sizeof *t->at.layers);
  t->gradients_at.layers = calloc(L, sizeof *t->gradients_at.layers);
  t->runs = calloc(t->params->count, sizeof *t->runs);
  if (!t->at.layers || !t->gradients_at.layers || !t->runs)
    return why_say(why, STATUS_NOMEM, "no memory for the tables of %zu layers", L);
  return STATUS_OK;
}

static size_t moment_bytes(const struct transformer *t) {
  return t->options.training ? (size_t)t->params->values * dtype_bytes(t->e->stat) : 0;
}

static size_t master_bytes(const struct transformer *t) {
  bool narrow = t->options.training && transformer_value_bytes(t) < sizeof(float);
  return narrow ? (size_t)t->params->values * sizeof(float) : 0;
}

static enum status take(struct transformer *t, size_t bytes, const char *what, void **out,
                        struct why *why) {
  if (!bytes || engine_alloc(t->e, bytes, out) == STATUS_OK)
    return STATUS_OK;
  char text[PLAN_TEXT_BYTES_MAX];
  return why_say(why, STATUS_NOMEM, "no %zu bytes of memory for %s; the whole plan is %s", bytes,
                 what, plan_text(&t->plan, text));
}

static enum status take_engine(struct transformer *t, struct why *why) {
  const struct plan *p = &t->plan;
  struct shapes shapes = transformer_shapes(&t->arch, &t->options);
  TRY(engine_reserve(t->e, &shapes, why));
  TRY(take(t, p->weights, "weights", &t->weights, why));
  TRY(take(t, p->gradients, "gradients", &t->gradients, why));
  TRY(take(t, moment_bytes(t), "moments", &t->m, why));
  TRY(take(t, moment_bytes(t), "moments", &t->v, why));
  TRY(take(t, master_bytes(t), "master weights", &t->master, why));
  TRY(take(t, p->activations, "activations", &t->activations, why));
  return take(t, p->cache, "the generation cache", &t->cache, why);
}

static enum status open_all(struct transformer *t, struct why *why) {
  TRY(plan_make(t->e, &t->arch, &t->options, &t->plan, why));
  TRY(take_host(t, why));
  layout_make(&t->arch, &t->options, transformer_value_bytes(t), dtype_bytes(t->e->stat),
              &t->layout);
  TRY(take_engine(t, why));
  find_tensors(t, t->weights, &t->at);
  find_runs(t);
  fill_rope(t);
  zero_gaps(t, t->weights, transformer_value_bytes(t));
  if (t->options.training) {
    find_tensors(t, t->gradients, &t->gradients_at);
    zero_gaps(t, t->gradients, transformer_value_bytes(t));
    t->e->ops->zero(t->e, t->m, moment_bytes(t));
    t->e->ops->zero(t->e, t->v, moment_bytes(t));
  }
  if (t->master)
    zero_gaps(t, t->master, sizeof(float));
  return engine_sync(t->e, why);
}

enum status transformer_open(struct engine *e, const struct arch *a,
                             const struct transformer_options *o, struct transformer **out,
                             struct why *why) {
  struct transformer *t = calloc(1, sizeof *t);
  if (!t)
    return why_say(why, STATUS_NOMEM, "no memory for a transformer's tables");
  t->e = e;
  t->arch = *a;
  t->options = *o;
  enum status s = open_all(t, why);
  if (s != STATUS_OK) {
    transformer_close(&t);
    return s;
  }
  *out = t;
  return STATUS_OK;
}

void transformer_close(struct transformer **out) {
  struct transformer *t = *out;
  if (!t)
    return;
  engine_release(t->e, &t->weights, t->plan.weights);
  engine_release(t->e, &t->gradients, t->plan.gradients);
  if (t->params) {
    engine_release(t->e, &t->m, moment_bytes(t));
    engine_release(t->e, &t->v, moment_bytes(t));
    engine_release(t->e, &t->master, master_bytes(t));
  }
  engine_release(t->e, &t->activations, t->plan.activations);
  engine_release(t->e, &t->cache, t->plan.cache);
  arch_params_close(&t->params);
  free(t->at.layers);
  free(t->gradients_at.layers);
  free(t->runs);
  free(t);
  *out = NULL;
}

void transformer_init(struct transformer *t, uint64_t seed) {
  double values[INIT_BLOCK];
  size_t bytes = transformer_value_bytes(t);
  for (size_t i = 0; i < t->params->count; i++) {
    const struct arch_tensor *p = &t->params->tensors[i];
    int64_t count, begin = p->offset;
    for (int64_t b = 0; (count = init_block(p, seed, i, b, values)) > 0; b++, begin += count) {
      char *to = (char *)t->weights + (size_t)begin * bytes;
      t->e->ops->upload(t->e, to, t->e->dtype, values, count);
      if (t->master)
        t->e->ops->upload(t->e, (float *)t->master + begin, DTYPE_F32, values, count);
    }
  }
  if (t->options.training) {
    t->e->ops->zero(t->e, t->gradients, t->plan.gradients);
    t->e->ops->zero(t->e, t->m, moment_bytes(t));
    t->e->ops->zero(t->e, t->v, moment_bytes(t));
  }
  t->step = 0;
}

/* Where a range of an array starts, and of what type it is. */
static void *array_at(const struct transformer *t, enum transformer_array which, int64_t offset,
                      int64_t count, enum dtype *type) {
  CLAIM(offset >= 0 && count >= 0 && count <= t->params->values - offset);
  void *base = NULL;
  *type = which == ARRAY_MOMENT_M || which == ARRAY_MOMENT_V ? t->e->stat : t->e->dtype;
  switch (which) {
    case ARRAY_WEIGHTS: base = t->weights; break;
    case ARRAY_GRADIENTS: base = t->gradients; break;
    case ARRAY_MOMENT_M: base = t->m; break;
    case ARRAY_MOMENT_V: base = t->v; break;
  }
  CLAIM(base); /* gradients and moments are there only when training */
  return (char *)base + (size_t)offset * dtype_bytes(*type);
}

void transformer_get(struct transformer *t, enum transformer_array which, int64_t offset,
                     int64_t count, float *out) {
  enum dtype type;
  void *at = array_at(t, which, offset, count, &type);
  if (which == ARRAY_WEIGHTS && t->master)
    t->e->ops->download_f32(t->e, out, (float *)t->master + offset, DTYPE_F32, count);
  else
    t->e->ops->download_f32(t->e, out, at, type, count);
}

void transformer_set(struct transformer *t, enum transformer_array which, int64_t offset,
                     int64_t count, const float *in) {
  enum dtype type;
  void *at = array_at(t, which, offset, count, &type);
  t->e->ops->upload_f32(t->e, at, type, in, count);
  if (which == ARRAY_WEIGHTS && t->master)
    t->e->ops->upload_f32(t->e, (float *)t->master + offset, DTYPE_F32, in, count);
}
