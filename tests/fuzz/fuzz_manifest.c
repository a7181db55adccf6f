/* Promise: any caravan.json is either refused, or lists files without a path, and what we write for
 * it reads back. The first line is made right here, or the fuzzer would never get past it. */
#include <stdlib.h>
#include <string.h>

#include "node/checkpoint/manifest.h"
#include "proto/base/claim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t count) {
  struct manifest m, again;
  struct io_bytes written;
  struct why why;
  if (manifest_parse("fuzz", text, count, &m, &why) != STATUS_OK)
    return;
  for (size_t i = 0; i < m.file_count; i++)
    CLAIM(!strchr(m.files[i].name, '/'));
  for (size_t i = 0; i < m.tensor_count; i++)
    CLAIM(manifest_tensor(&m, m.tensors[i].name) == &m.tensors[i]);
  CLAIM(manifest_encode(&m, &written, &why) == STATUS_OK);
  CLAIM(manifest_parse("again", written.at, written.count, &again, &why) == STATUS_OK);
  CLAIM(again.tensor_count == m.tensor_count);
  CLAIM(again.file_count == m.file_count);
  CLAIM(again.state.step == m.state.step);
  io_bytes_free(&written);
  manifest_free(&again);
  manifest_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char start[] = "{\"blake2b\": \"", end[] = "\",\n";
  size_t line = sizeof start - 1 + DIGEST_HEX_BYTES - 1 + sizeof end - 1;
  char *text = malloc(line + size + 1);
  char hex[DIGEST_HEX_BYTES];
  CLAIM(text != NULL);
  struct digest d = digest_of(DIGEST_PLAIN, data, size);
  digest_hex(&d, hex);
  memcpy(text, start, sizeof start - 1);
  memcpy(text + sizeof start - 1, hex, DIGEST_HEX_BYTES - 1);
  memcpy(text + line - (sizeof end - 1), end, sizeof end - 1);
  memcpy(text + line, data, size);
  parse(text, line + size);
  free(text);
  parse((const char *)data, size);
  return 0;
}
