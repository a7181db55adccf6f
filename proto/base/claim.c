#include "proto/base/claim.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void claim_failed(const char *condition, const char *file, int line,
                            const char *function) {
  fprintf(stderr,
          "CLAIM failed: %s\n  at %s:%d in %s()\n  this is a bug in Caravan; please report it\n",
          condition, file, line, function);
  fflush(stderr);
  abort();
}
