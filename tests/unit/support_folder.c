#include "support_folder.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/claim.h"

void support_folder_make(char out[PATH_BYTES_MAX]) {
  const char *base = getenv("TMPDIR");
  snprintf(out, PATH_BYTES_MAX, "%s/caravan-test-XXXXXX", base && *base ? base : "/tmp");
  CLAIM(mkdtemp(out) != NULL);
}

void support_folder_end(const char *folder) {
  struct why why;
  CLAIM(io_folder_remove(folder, &why) == STATUS_OK);
}

const char *support_folder_path(const char *folder, const char *name) {
  static char paths[4][PATH_BYTES_MAX];
  static unsigned turn;
  struct why why;
  char *path = paths[turn++ % 4];
  CLAIM(io_path_join(folder, name, path, &why) == STATUS_OK);
  return path;
}

struct io_bytes support_folder_read(const char *path) {
  struct io_bytes bytes;
  struct why why;
  CLAIM(io_file_read(path, 1 << 28, &bytes, &why) == STATUS_OK);
  return bytes;
}

void support_folder_write(const char *path, const void *bytes, size_t count) {
  struct why why;
  CLAIM(io_file_write(path, bytes, count, &why) == STATUS_OK);
}
