/* Any bytes as a line of JSON: never outside the buffers; what is taken is never longer than its
 * line, and taking it again gives the same. */
#include <stdlib.h>
#include <string.h>

#include "node/data/record.h"
#include "proto/base/claim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct why why;
  uint64_t surrogates = 0;
  size_t count = 0;
  uint8_t *line = malloc(size + 1); /* exact copies, so that a byte too far is seen */
  uint8_t *exact = size ? realloc(line, size) : line;
  uint8_t *out = malloc(size ? size : 1);
  CLAIM(exact && out);
  memcpy(exact, data, size);
  if (record_text(exact, size, out, &count, &surrogates, &why) == STATUS_OK) {
    CLAIM(count <= size);
    CLAIM(surrogates <= size / 6);
  } else {
    CLAIM(surrogates == 0);
  }
  free(exact);
  free(out);
  return 0;
}
