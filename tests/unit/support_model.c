#include "support_model.h"

#include <stddef.h>

#include "proto/base/prng.h"

#define NEOX                                                                                   \
  .family = ARCH_NEOX, .L = 2, .F = 11, .V = 13, .T = 9, .rope_base = 10000, .norm_eps = 1e-5, \
  .init = ARCH_INIT_NORMAL, .init_std = 0.3
#define LLAMA                                                                                  \
  .family = ARCH_LLAMA, .L = 2, .F = 7, .V = 13, .T = 9, .rope_base = 10000, .norm_eps = 1e-6, \
  .init = ARCH_INIT_NORMAL, .init_std = 0.3

static const struct {
  const char *name;
  struct arch arch;
} models[] = {
    {"neox parallel, rotary 0.25",
     {NEOX, .C = 24, .H = 3, .HK = 3, .D = 8, .R = 2, .parallel_residual = true,
      .activation = ACTIVATION_GELU}},
    {"neox sequential, rotary 1",
     {NEOX, .C = 12, .H = 3, .HK = 3, .D = 4, .R = 4, .activation = ACTIVATION_GELU}},
    {"neox parallel, rotary 1, tied",
     {NEOX, .C = 12, .H = 2, .HK = 2, .D = 6, .R = 6, .parallel_residual = true, .tied = true,
      .activation = ACTIVATION_GELU_TANH}},
    {"neox sequential, odd head, tanh",
     {NEOX, .C = 15, .H = 3, .HK = 3, .D = 5, .R = 2, .activation = ACTIVATION_GELU_TANH}},
    {"llama", {LLAMA, .C = 12, .H = 3, .HK = 3, .D = 4, .R = 4}},
    {"llama, grouped queries", {LLAMA, .C = 24, .H = 6, .HK = 2, .D = 4, .R = 4}},
    {"llama, one key head, tied", {LLAMA, .C = 18, .H = 3, .HK = 1, .D = 6, .R = 6, .tied = true}},
};

const char *support_model_name(int index) {
  return (size_t)index < sizeof models / sizeof models[0] ? models[index].name : NULL;
}

struct arch support_model(int index) {
  return models[index].arch;
}

void support_model_tokens(const struct arch *a, uint64_t seed, int64_t count, int32_t *tokens,
                          int32_t *targets) {
  struct prng r = prng_seeded(seed, PRNG_TEST);
  for (int64_t i = 0; i < count; i++) {
    tokens[i] = (int32_t)prng_below(&r, (uint64_t)a->V);
    targets[i] = prng_below(&r, 5) ? (int32_t)prng_below(&r, (uint64_t)a->V) : -1;
  }
  targets[0] = 1; /* at least one counts */
}
