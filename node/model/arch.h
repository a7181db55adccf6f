/* arch: the shape of a model, its presets by name, and the table of its parameters.
 *
 *   struct arch a;
 *   TRY(arch_preset("pythia-70m", &a, &why));
 *   struct arch_params *p;   // every tensor: name, shape, place, rules
 *   TRY(arch_params_open(&a, &p, &why));
 *   for (size_t i = 0; i < p->count; i++)
 *     use(&p->tensors[i]);
 *   arch_params_close(&p);
 *
 * Families: GPT-NeoX (LayerNorm with bias, biases everywhere, GELU, fused per-head-interleaved QKV,
 * parallel or sequential residual, any rotary fraction) and LLaMA (RMSNorm, no biases, SwiGLU, full
 * RoPE, grouped queries). Names and layouts are those of Hugging Face's GPTNeoXForCausalLM and
 * LlamaForCausalLM, so that a checkpoint needs no conversion. All parameters of a model are one
 * flat array; a tensor is a range of it. Tensors that one matrix product reads together stand next
 * to each other: LLaMA's q, k, v and gate, up. Pure. */
#ifndef CARAVAN_ARCH_H
#define CARAVAN_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/engine.h"
#include "kernels/shapes.h"
#include "proto/base/limits.h"
#include "proto/base/status.h"

enum arch_family { ARCH_NEOX, ARCH_LLAMA };

/* How linear and embedding weights start; norms start at 1 and biases at 0 always. */
enum arch_init {
  ARCH_INIT_NORMAL,     /* N(0, init_std²) for everything (Hugging Face, LLaMA) */
  ARCH_INIT_SMALL_WANG, /* N(0, 2/(5C)); output layers (dense, dense_4h_to_h) N(0, (2/(L√C))²):
                           Pythia 14m–2.8b */
  ARCH_INIT_SCALED, /* N(0, init_std²); output layers N(0, (init_std/√(2L))²): Pythia 6.9b and 12b
                     */
};

struct arch {
  enum arch_family family;
  int64_t L, C, F, H, HK, D, V; /* D = C / H; HK = H for GPT-NeoX */
  int64_t T;                    /* longest sequence it is trained for (max_position_embeddings) */
  int64_t R;                    /* rotated channels of a head: rotary_pct · D, even */
  double rope_base;             /* 10000 */
  double norm_eps;              /* 1e-5 GPT-NeoX, 1e-6 LLaMA */
  bool parallel_residual;       /* GPT-NeoX: x + attn(ln1 x) + mlp(ln2 x); else sequential */
  bool tied;                    /* the output layer is the embedding table */
  enum activation activation;   /* GPT-NeoX's; LLaMA always has SwiGLU */
  enum arch_init init;
  double init_std; /* 0.02; unused by SMALL_WANG */
};

/* A recipe that goes with a preset: what the published run used. A run file may change any. */
struct arch_recipe {
  double lr, lr_min; /* peak and floor of the cosine */
  int64_t batch_tokens;
};

enum { ARCH_RANK_MAX = 2 };

struct arch_tensor {
  char name[NAME_BYTES_MAX]; /* "gpt_neox.layers.3.attention.dense.weight" */
  int64_t shape[ARCH_RANK_MAX];
  int rank;
  int64_t offset; /* of its first value in the flat array; a multiple of ARCH_ALIGN */
  int64_t count;
  bool decay; /* weight decay applies: matrices yes, norms and biases no */
  double std; /* initial N(0, std²); 0 with `one` false: zeros */
  bool one;   /* starts at 1 */
  int layer;  /* -1: not in a layer */
};

/* Tensors start at multiples of 16 values (64 bytes of f32), except inside a group read together.
 */
enum { ARCH_ALIGN = 16 };

struct arch_params {
  struct arch_tensor *tensors; /* in ascending offset */
  size_t count;
  int64_t values;      /* length of the flat array, gaps included; gaps are always zero */
  int64_t param_count; /* the sum of counts: what people mean by "parameters" */
};

/* Copy a preset: pythia-14m 31m 70m 160m 410m 1b 1.4b 2.8b 6.9b 12b, redpajama-incite-3b, -7b,
 * llama-7b, tiny (byte vocabulary, minutes on a laptop). MISSING: the message lists the names. */
CHECKED enum status arch_preset(const char *name, struct arch *out, struct why *why);
CHECKED enum status arch_preset_recipe(const char *name, struct arch_recipe *out, struct why *why);
const char *arch_preset_name(size_t index); /* NULL past the last; in order of size */

/* Whether the numbers make a model. RANGE, with the field's name, its value and what is allowed. */
CHECKED enum status arch_check(const struct arch *a, struct why *why);

/* The parameter table. The caller closes it. RANGE as arch_check, NOMEM. */
CHECKED enum status arch_params_open(const struct arch *a, struct arch_params **out,
                                     struct why *why);
void arch_params_close(struct arch_params **p);
/* NULL when there is none of that name. O(count). */
const struct arch_tensor *arch_params_find(const struct arch_params *p, const char *name);

/* Floating-point operations of one trained token (forward and backward) at sequence length T, the
 * 6N + 12 L C T/2 way: 6 per parameter that takes part in a matrix product (the output layer
 * counts, the embedding look-up does not) and causal attention at half of T. */
double arch_flop_per_token(const struct arch *a, int64_t T);

#endif
