#include "node/model/arch.h"

#include <stdio.h>
#include <string.h>

struct preset {
  const char *name;
  struct arch arch;
  struct arch_recipe recipe;
};

/* Pythia: models/<size>/pythia-<size>.yml of EleutherAI/pythia. Rotary 0.25, parallel residual,
 * untied; batches of 1024 sequences of 2048. Every size has its own padding of the 50277 words of
 * the tokenizer: to a multiple of 128 times the tensor-parallel ways it was trained with. */
#define PYTHIA(l, c, h, v, start)                                                               \
  {                                                                                             \
    .family = ARCH_NEOX, .L = (l), .C = (c), .F = 4 * (c), .H = (h), .HK = (h), .D = (c) / (h), \
    .V = (v), .T = 2048, .R = (c) / (h) / 4, .rope_base = 10000, .norm_eps = 1e-5,              \
    .parallel_residual = true, .activation = ACTIVATION_GELU, .init = (start), .init_std = 0.02 \
  }
#define PYTHIA_RECIPE(peak) \
  { .lr = (peak), .lr_min = (peak) / 10, .batch_tokens = 2097152 }

/* RedPajama-INCITE: config.json of togethercomputer/RedPajama-INCITE-{Base-3B-v1,7B-Base}; rotary
 * 1.0 and sequential residual where Pythia has 0.25 and parallel. Learning rates and the batch of 4
 * M tokens from the model cards; their cosine's floor is taken to be a tenth, as GPT-NeoX has it.
 * How the weights started was not published: GPT-NeoX's default. */
#define INCITE(l, c, h)                                                                         \
  {                                                                                             \
    .family = ARCH_NEOX, .L = (l), .C = (c), .F = 4 * (c), .H = (h), .HK = (h), .D = (c) / (h), \
    .V = 50432, .T = 2048, .R = (c) / (h), .rope_base = 10000, .norm_eps = 1e-5,                \
    .parallel_residual = false, .activation = ACTIVATION_GELU, .init = ARCH_INIT_SCALED,        \
    .init_std = 0.02                                                                            \
  }
#define INCITE_RECIPE(peak) \
  { .lr = (peak), .lr_min = (peak) / 10, .batch_tokens = 4194304 }

/* clang-format off */
static const struct preset presets[] = {
    /* For demonstrations: a byte vocabulary, and English below two nats a byte within a
     * minute of two cores. */
    {"tiny",
     {.family = ARCH_NEOX, .L = 4, .C = 128, .F = 512, .H = 4, .HK = 4, .D = 32, .V = 512,
      .T = 256, .R = 32, .rope_base = 10000, .norm_eps = 1e-5, .parallel_residual = true,
      .activation = ACTIVATION_GELU, .init = ARCH_INIT_SMALL_WANG, .init_std = 0.02},
     {.lr = 3e-3, .lr_min = 3e-4, .batch_tokens = 2048}},
    {"pythia-14m", PYTHIA(6, 128, 4, 50304, ARCH_INIT_SMALL_WANG), PYTHIA_RECIPE(1e-3)},
    {"pythia-31m", PYTHIA(6, 256, 8, 50304, ARCH_INIT_SMALL_WANG), PYTHIA_RECIPE(1e-3)},
    {"pythia-70m", PYTHIA(6, 512, 8, 50304, ARCH_INIT_SMALL_WANG), PYTHIA_RECIPE(1e-3)},
    {"pythia-160m", PYTHIA(12, 768, 12, 50304, ARCH_INIT_SMALL_WANG), PYTHIA_RECIPE(6e-4)},
    {"pythia-410m", PYTHIA(24, 1024, 16, 50304, ARCH_INIT_SMALL_WANG), PYTHIA_RECIPE(3e-4)},
    {"pythia-1b", PYTHIA(16, 2048, 8, 50304, ARCH_INIT_SMALL_WANG), PYTHIA_RECIPE(2.5e-4)},
    {"pythia-1.4b", PYTHIA(24, 2048, 16, 50304, ARCH_INIT_SMALL_WANG), PYTHIA_RECIPE(2e-4)},
    {"pythia-2.8b", PYTHIA(32, 2560, 32, 50304, ARCH_INIT_SMALL_WANG), PYTHIA_RECIPE(1.6e-4)},
    {"redpajama-incite-3b", INCITE(32, 2560, 32), INCITE_RECIPE(1.6e-4)},
    /* LLaMA (Touvron et al. 2023, table 2); initialisation as Hugging Face's LlamaConfig. */
    {"llama-7b",
     {.family = ARCH_LLAMA, .L = 32, .C = 4096, .F = 11008, .H = 32, .HK = 32, .D = 128,
      .V = 32000, .T = 2048, .R = 128, .rope_base = 10000, .norm_eps = 1e-6,
      .init = ARCH_INIT_NORMAL, .init_std = 0.02},
     {.lr = 3e-4, .lr_min = 3e-5, .batch_tokens = 4194304}},
    {"pythia-6.9b", PYTHIA(32, 4096, 32, 50432, ARCH_INIT_SCALED), PYTHIA_RECIPE(1.2e-4)},
    {"redpajama-incite-7b", INCITE(32, 4096, 32), INCITE_RECIPE(1.2e-4)},
    {"pythia-12b", PYTHIA(36, 5120, 40, 50688, ARCH_INIT_SCALED), PYTHIA_RECIPE(1.2e-4)},
};
/* clang-format on */
enum { PRESET_COUNT = sizeof presets / sizeof presets[0] };

const char *arch_preset_name(size_t index) {
  return index < PRESET_COUNT ? presets[index].name : NULL;
}

static enum status find_preset(const char *name, const struct preset **out, struct why *why) {
  char names[512] = "";
  size_t used = 0;
  for (size_t i = 0; i < PRESET_COUNT; i++) {
    if (!strcmp(name, presets[i].name)) {
      *out = &presets[i];
      return STATUS_OK;
    }
    used +=
        (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", presets[i].name);
  }
  return why_say(why, STATUS_MISSING, "there is no preset '%s'; there are %s", name, names);
}

enum status arch_preset(const char *name, struct arch *out, struct why *why) {
  const struct preset *found;
  TRY(find_preset(name, &found, why));
  *out = found->arch;
  return STATUS_OK;
}

enum status arch_preset_recipe(const char *name, struct arch_recipe *out, struct why *why) {
  const struct preset *found;
  TRY(find_preset(name, &found, why));
  *out = found->recipe;
  return STATUS_OK;
}

static enum status check_count(const char *name, int64_t value, int64_t most, struct why *why) {
  if (value >= 1 && value <= most)
    return STATUS_OK;
  return why_say(why, STATUS_RANGE, "%s is %lld; it must be from 1 to %lld", name, (long long)value,
                 (long long)most);
}

static enum status check_shape(const struct arch *a, struct why *why) {
  TRY(check_count("the number of layers", a->L, SHAPE_L_MAX, why));
  TRY(check_count("the width (C)", a->C, SHAPE_C_MAX, why));
  TRY(check_count("the feed-forward width (F)", a->F, SHAPE_F_MAX, why));
  TRY(check_count("the number of heads (H)", a->H, SHAPE_H_MAX, why));
  TRY(check_count("the number of key/value heads (HK)", a->HK, a->H, why));
  TRY(check_count("the width of a head (D)", a->D, SHAPE_D_MAX, why));
  TRY(check_count("the vocabulary (V)", a->V, SHAPE_V_MAX, why));
  TRY(check_count("the sequence length (T)", a->T, SHAPE_T_MAX, why));
  if (a->C != a->H * a->D)
    return why_say(why, STATUS_RANGE, "the width is %lld; it must be heads times head width, %lld",
                   (long long)a->C, (long long)(a->H * a->D));
  if (a->H % a->HK)
    return why_say(why, STATUS_RANGE,
                   "%lld key/value heads; they must divide the %lld query heads evenly",
                   (long long)a->HK, (long long)a->H);
  if (a->R < 2 || a->R > a->D || a->R % 2)
    return why_say(why, STATUS_RANGE,
                   "%lld rotated channels of a head; it must be even and from 2 to %lld",
                   (long long)a->R, (long long)a->D);
  return STATUS_OK;
}

static enum status check_family(const struct arch *a, struct why *why) {
  switch (a->family) {
    case ARCH_NEOX:
      if (a->HK != a->H)
        return why_say(why, STATUS_RANGE,
                       "GPT-NeoX has as many key/value heads as heads: %lld, not %lld",
                       (long long)a->H, (long long)a->HK);
      if (a->activation != ACTIVATION_GELU && a->activation != ACTIVATION_GELU_TANH)
        return why_say(why, STATUS_RANGE, "GPT-NeoX's activation must be gelu or gelu_new");
      return STATUS_OK;
    case ARCH_LLAMA:
      if (a->R != a->D)
        return why_say(why, STATUS_RANGE, "LLaMA rotates every channel of a head: %lld, not %lld",
                       (long long)a->D, (long long)a->R);
      if (a->parallel_residual)
        return why_say(why, STATUS_RANGE, "LLaMA's residual is sequential, not parallel");
      return STATUS_OK;
  }
  return why_say(why, STATUS_RANGE, "family %d is neither GPT-NeoX nor LLaMA", (int)a->family);
}

static enum status check_real(const char *name, double value, double above, double most,
                              struct why *why) {
  if (value > above && value <= most) /* false for NaN */
    return STATUS_OK;
  return why_say(why, STATUS_RANGE, "%s is %g; it must be above %g and at most %g", name, value,
                 above, most);
}

enum status arch_check(const struct arch *a, struct why *why) {
  TRY(check_shape(a, why));
  TRY(check_family(a, why));
  TRY(check_real("the rotary base", a->rope_base, 1, 1e12, why));
  TRY(check_real("the norms' epsilon", a->norm_eps, 0, 1, why));
  if (a->init != ARCH_INIT_SMALL_WANG)
    TRY(check_real("the standard deviation of the first weights", a->init_std, 0, 10, why));
  return STATUS_OK;
}

double arch_flop_per_token(const struct arch *a, int64_t T) {
  double attention = (double)a->C * (double)((a->H + 2 * a->HK) * a->D + a->C);
  double feed = (double)a->C * (double)a->F * (a->family == ARCH_LLAMA ? 3 : 2);
  double matrices = (double)a->L * (attention + feed) + (double)a->V * (double)a->C;
  return 6 * matrices + 12 * (double)a->L * (double)a->C * (double)T / 2;
}
