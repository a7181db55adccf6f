/* Promise: any bytes are either refused, or every tensor of the header lies inside the file, has
 * the bytes that its shape and type need, and its values can be read. */
#include <stdlib.h>

#include "node/checkpoint/safetensors.h"
#include "proto/base/claim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct safetensors st;
  struct why why;
  if (safetensors_parse("fuzz", data, size, size, &st, &why) != STATUS_OK)
    return 0;
  uint64_t covered = st.data_begin;
  for (size_t i = 0; i < st.count; i++) {
    const struct safetensors_entry *e = &st.entries[i];
    CLAIM(st.data_begin + e->end <= size);
    CLAIM(e->end - e->begin == (uint64_t)e->count * safetensors_type_bytes(e->type));
    CLAIM(safetensors_find(&st, e->name) == e);
    covered += e->end - e->begin;
    float values[16];
    if (safetensors_type_readable(e->type) && e->count > 0)
      safetensors_to_f32(e->type, data + st.data_begin + e->begin,
                         e->count > 16 ? e->count - 16 : 0, e->count > 16 ? 16 : e->count, values);
  }
  CLAIM(covered == size);
  safetensors_free(&st);
  return 0;
}
