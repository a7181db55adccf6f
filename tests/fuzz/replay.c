/* replay: feeds files to a fuzz target without libFuzzer, one TAP line for each, so that what a
 * fuzzer once found stays found.
 *
 *   build/release/tests/replay_safetensors tests/fuzz/corpus/safetensors/FILE… */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/io_file.h"

enum { REPLAY_BYTES_MAX = 1 << 26 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
  bool failed = false;
  printf("1..%d\n", argc - 1);
  for (int i = 1; i < argc; i++) {
    struct io_bytes input;
    struct why why;
    if (io_file_read(argv[i], REPLAY_BYTES_MAX, &input, &why) != STATUS_OK) {
      printf("not ok %d - %s\n# %s\n", i, argv[i], why.text);
      failed = true;
      continue;
    }
    /* A buffer of the exact size, so that a sanitizer sees one byte too many. */
    uint8_t *exact = malloc(input.count > 0 ? input.count : 1);
    if (!exact)
      return 71;
    memcpy(exact, input.at, input.count);
    LLVMFuzzerTestOneInput(exact, input.count);
    free(exact);
    io_bytes_free(&input);
    printf("ok %d - %s\n", i, argv[i]);
    fflush(stdout);
  }
  return failed;
}
