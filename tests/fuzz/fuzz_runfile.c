/* A run file of any bytes is read or refused with a reason; what was read has a canonical text that
 * does not depend on when it is asked for, and defaults that make sense. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/train/runfile.h"
#include "proto/base/claim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_run(const struct runfile *run) {
  char *a = malloc(RUNFILE_CANONICAL_BYTES_MAX);
  char *b = malloc(RUNFILE_CANONICAL_BYTES_MAX);
  char said[256];
  struct why why;
  CLAIM(a && b);
  CLAIM(run->T >= 1 && run->T <= (uint64_t)run->arch.T);
  CLAIM(run->tokens_total % run->T == 0 && run->tokens_total >= run->T);
  CLAIM(run->batch_sequences >= 1);
  CLAIM(run->warmup_tokens < run->tokens_total);
  CLAIM(run->lr > 0 && run->lr_min >= 0 && run->lr_min <= run->lr);
  CLAIM(arch_check(&run->arch, &why) == STATUS_OK);
  enum status s = runfile_canonical(run, a, RUNFILE_CANONICAL_BYTES_MAX, &why);
  CLAIM(s == STATUS_OK || s == STATUS_RANGE);
  if (s == STATUS_OK) {
    CLAIM(runfile_canonical(run, b, RUNFILE_CANONICAL_BYTES_MAX, &why) == STATUS_OK);
    CLAIM(!strcmp(a, b));
    CLAIM(!runfile_difference(a, b, said, sizeof said));
  }
  free(a);
  free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct runfile *run = malloc(sizeof *run);
  struct why why = {""};
  CLAIM(run != NULL);
  enum status s = runfile_parse("fuzz.yaml", data, size, run, &why);
  if (s != STATUS_OK)
    CLAIM(!strncmp(why.text, "fuzz.yaml", 9));
  else if (run->has_model)
    check_run(run);
  free(run);
  return 0;
}
