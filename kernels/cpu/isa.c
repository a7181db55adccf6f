#include "kernels/cpu/isa.h"

#include <string.h>

#define ISA_TABLE(isa, product_is_fast, turned_is_fast)                                    \
  {                                                                                        \
#isa, &isa_pointwise_##isa, &isa_norm_##isa, &isa_attention_##isa, &isa_product_##isa, \
        product_is_fast, turned_is_fast                                                    \
  }

/* Best last. */
static const struct isa tables[] = {
    ISA_TABLE(base, false, false),
#if defined(__x86_64__)
    ISA_TABLE(avx2, true, false),
    ISA_TABLE(avx512, true, true),
#endif
};
enum { TABLE_COUNT = sizeof tables / sizeof tables[0] };

/* Must ask for everything that the Makefile's ISA_FLAGS_… let the compiler use. */
static int machine_has(const char *name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (strcmp(name, "base") == 0)
    return 1;
  /* No compiler of ours names f16c here; every processor with AVX2 has it. */
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    return 0;
  if (strcmp(name, "avx2") == 0)
    return 1;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  return strcmp(name, "base") == 0;
#endif
}

const struct isa *isa_find(const char *name) {
  for (int i = TABLE_COUNT - 1; i >= 0; i--)
    if ((!name || strcmp(tables[i].name, name) == 0) && machine_has(tables[i].name))
      return &tables[i];
  return NULL;
}
