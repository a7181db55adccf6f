/* The parameter table of arch.h: names, shapes and places of every tensor of a model.
 *
 * Inside a layer the tensors without weight decay come first, then the matrices, so that the
 * optimizer walks two long ranges a layer. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/model/arch.h"
#include "proto/base/claim.h"

enum { LAYER_TENSORS_MAX = 12, OTHER_TENSORS = 4 };

/* How a tensor starts. */
enum start { START_ZERO, START_ONE, START_INNER, START_OUTPUT };

struct builder {
  const struct arch *arch;
  struct arch_params *params;
  size_t room;
  int layer;
};

static double start_std(const struct arch *a, enum start start) {
  double C = (double)a->C, L = (double)a->L;
  bool output = start == START_OUTPUT;
  if (start != START_INNER && start != START_OUTPUT)
    return 0;
  switch (a->init) {
    case ARCH_INIT_NORMAL: return a->init_std;
    case ARCH_INIT_SMALL_WANG: return output ? 2 / (L * sqrt(C)) : sqrt(2 / (5 * C));
    case ARCH_INIT_SCALED: return output ? a->init_std / sqrt(2 * L) : a->init_std;
  }
  return a->init_std;
}

/* Add a tensor of rows × columns, or a vector of rows where columns is 0. `joined`: right behind
 * the one before, without a gap, because one matrix product reads both. */
static void add(struct builder *b, const char *name, int64_t rows, int64_t columns,
                enum start start, bool joined) {
  struct arch_params *p = b->params;
  CLAIM(p->count < b->room);
  struct arch_tensor *t = &p->tensors[p->count++];
  int length = b->layer < 0
                   ? snprintf(t->name, sizeof t->name, "%s", name)
                   : snprintf(t->name, sizeof t->name, "%s.layers.%d.%s",
                              b->arch->family == ARCH_NEOX ? "gpt_neox" : "model", b->layer, name);
  CLAIM(length > 0 && (size_t)length < sizeof t->name);
  t->rank = columns ? 2 : 1;
  t->shape[0] = rows;
  t->shape[1] = columns;
  t->count = rows * (columns ? columns : 1);
  t->offset = joined ? p->values : (p->values + ARCH_ALIGN - 1) / ARCH_ALIGN * ARCH_ALIGN;
  t->decay = columns != 0;
  t->std = start_std(b->arch, start);
  t->one = start == START_ONE;
  t->layer = b->layer;
  p->values = t->offset + t->count;
  p->param_count += t->count;
}

static void add_neox_layer(struct builder *b) {
  const struct arch *a = b->arch;
  add(b, "input_layernorm.weight", a->C, 0, START_ONE, false);
  add(b, "input_layernorm.bias", a->C, 0, START_ZERO, false);
  add(b, "post_attention_layernorm.weight", a->C, 0, START_ONE, false);
  add(b, "post_attention_layernorm.bias", a->C, 0, START_ZERO, false);
  add(b, "attention.query_key_value.bias", 3 * a->C, 0, START_ZERO, false);
  add(b, "attention.dense.bias", a->C, 0, START_ZERO, false);
  add(b, "mlp.dense_h_to_4h.bias", a->F, 0, START_ZERO, false);
  add(b, "mlp.dense_4h_to_h.bias", a->C, 0, START_ZERO, false);
  add(b, "attention.query_key_value.weight", 3 * a->C, a->C, START_INNER, false);
  add(b, "attention.dense.weight", a->C, a->C, START_OUTPUT, false);
  add(b, "mlp.dense_h_to_4h.weight", a->F, a->C, START_INNER, false);
  add(b, "mlp.dense_4h_to_h.weight", a->C, a->F, START_OUTPUT, false);
}

static void add_llama_layer(struct builder *b) {
  const struct arch *a = b->arch;
  add(b, "input_layernorm.weight", a->C, 0, START_ONE, false);
  add(b, "post_attention_layernorm.weight", a->C, 0, START_ONE, false);
  add(b, "self_attn.q_proj.weight", a->H * a->D, a->C, START_INNER, false);
  add(b, "self_attn.k_proj.weight", a->HK * a->D, a->C, START_INNER, true);
  add(b, "self_attn.v_proj.weight", a->HK * a->D, a->C, START_INNER, true);
  add(b, "self_attn.o_proj.weight", a->C, a->C, START_OUTPUT, false);
  add(b, "mlp.gate_proj.weight", a->F, a->C, START_INNER, false);
  add(b, "mlp.up_proj.weight", a->F, a->C, START_INNER, true);
  add(b, "mlp.down_proj.weight", a->C, a->F, START_OUTPUT, false);
}

static void add_all(struct builder *b) {
  const struct arch *a = b->arch;
  bool neox = a->family == ARCH_NEOX;
  b->layer = -1;
  add(b, neox ? "gpt_neox.embed_in.weight" : "model.embed_tokens.weight", a->V, a->C, START_INNER,
      false);
  for (b->layer = 0; b->layer < a->L; b->layer++) {
    if (neox)
      add_neox_layer(b);
    else
      add_llama_layer(b);
  }
  b->layer = -1;
  add(b, neox ? "gpt_neox.final_layer_norm.weight" : "model.norm.weight", a->C, 0, START_ONE,
      false);
  if (neox)
    add(b, "gpt_neox.final_layer_norm.bias", a->C, 0, START_ZERO, false);
  if (!a->tied)
    add(b, neox ? "embed_out.weight" : "lm_head.weight", a->V, a->C, START_INNER, false);
  b->params->values = (b->params->values + ARCH_ALIGN - 1) / ARCH_ALIGN * ARCH_ALIGN;
}

enum status arch_params_open(const struct arch *a, struct arch_params **out, struct why *why) {
  TRY(arch_check(a, why));
  size_t room = (size_t)a->L * LAYER_TENSORS_MAX + OTHER_TENSORS;
  struct arch_params *p = calloc(1, sizeof *p);
  struct arch_tensor *tensors = calloc(room, sizeof *tensors);
  if (!p || !tensors) {
    free(p);
    free(tensors);
    return why_say(why, STATUS_NOMEM, "no memory for the table of %zu parameters", room);
  }
  p->tensors = tensors;
  struct builder b = {.arch = a, .params = p, .room = room};
  add_all(&b);
  *out = p;
  return STATUS_OK;
}

void arch_params_close(struct arch_params **p) {
  if (!*p)
    return;
  free((*p)->tensors);
  free(*p);
  *p = NULL;
}

const struct arch_tensor *arch_params_find(const struct arch_params *p, const char *name) {
  for (size_t i = 0; i < p->count; i++) {
    if (!strcmp(p->tensors[i].name, name))
      return &p->tensors[i];
  }
  return NULL;
}
