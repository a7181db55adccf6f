/* Any bytes as corpus.json. What is taken can be written, and read again as the same. */
#include <stdlib.h>
#include <string.h>

#include "node/data/catalog.h"
#include "proto/base/claim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct catalog m, again;
  struct why why;
  char *text, *text_again;
  size_t count, count_again;
  if (catalog_parse("fuzz", data, size, &m, &why) != STATUS_OK)
    return 0;
  CLAIM(catalog_print(&m, &text, &count, &why) == STATUS_OK);
  CLAIM(catalog_parse("again", text, count, &again, &why) == STATUS_OK);
  CLAIM(catalog_print(&again, &text_again, &count_again, &why) == STATUS_OK);
  CLAIM(count == count_again && !memcmp(text, text_again, count));
  free(text);
  free(text_again);
  catalog_end(&m);
  catalog_end(&again);
  return 0;
}
