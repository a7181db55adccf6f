/* Any bytes as a Megatron index beside a .bin of whatever size fits or does not. */
#include <stdlib.h>
#include <string.h>

#include "node/data/megatron.h"
#include "proto/base/claim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct megatron_index in;
  struct why why;
  uint64_t bin_bytes = 0;
  if (size < 8)
    return 0;
  memcpy(&bin_bytes, data, 8);
  uint8_t *exact = malloc(size - 8 ? size - 8 : 1);
  CLAIM(exact);
  memcpy(exact, data + 8, size - 8);
  if (megatron_decode("fuzz.idx", exact, size - 8, bin_bytes, &in, &why) == STATUS_OK) {
    CLAIM(in.token_count * in.width_bytes == bin_bytes);
    uint64_t last = 0;
    for (uint64_t i = 0; i <= in.document_count; i++) {
      uint64_t at = megatron_document(&in, i);
      CLAIM(at >= last && at <= in.token_count);
      last = at;
    }
    CLAIM(last == in.token_count);
  }
  free(exact);
  return 0;
}
