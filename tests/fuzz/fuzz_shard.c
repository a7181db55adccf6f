/* Any bytes as a shard's header. One that is taken says how long the file is. */
#include <stdlib.h>
#include <string.h>

#include "node/data/shard.h"
#include "proto/base/claim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct shard_header h;
  struct why why;
  uint8_t again[SHARD_HEADER_BYTES];
  uint8_t *exact = malloc(size ? size : 1);
  CLAIM(exact);
  memcpy(exact, data, size);
  if (shard_decode("fuzz.tokens", exact, size, &h, &why) == STATUS_OK) {
    CLAIM(size == SHARD_HEADER_BYTES + h.count * h.width_bytes);
    shard_encode(&h, again);
    CLAIM(!memcmp(again, exact, 72));
  }
  free(exact);
  return 0;
}
