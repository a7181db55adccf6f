/* Promise: any config.json is either refused or describes a model that can be built; and what we
 * write for that model reads back as the same. */
#include <stdlib.h>
#include <string.h>

#include "node/checkpoint/hfconfig.h"
#include "proto/base/claim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct arch first, second;
  struct why why;
  char *text;
  if (hfconfig_parse("fuzz", data, size, &first, &why) != STATUS_OK)
    return 0;
  CLAIM(arch_check(&first, &why) == STATUS_OK);
  CLAIM(hfconfig_encode(&first, 0, &text, &why) == STATUS_OK);
  CLAIM(hfconfig_parse("again", text, strlen(text), &second, &why) == STATUS_OK);
  free(text);
  CLAIM(first.family == second.family);
  CLAIM(first.C == second.C && first.L == second.L && first.F == second.F && first.V == second.V);
  CLAIM(first.H == second.H && first.HK == second.HK && first.D == second.D);
  CLAIM(first.R == second.R && first.T == second.T);
  CLAIM(first.rope_base == second.rope_base);
  CLAIM(first.norm_eps == second.norm_eps);
  CLAIM(first.tied == second.tied);
  CLAIM(first.parallel_residual == second.parallel_residual);
  CLAIM(first.activation == second.activation);
  return 0;
}
