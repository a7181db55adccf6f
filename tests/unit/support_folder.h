/* support_folder: a folder for one test, gone afterwards. */
#ifndef CARAVAN_SUPPORT_FOLDER_H
#define CARAVAN_SUPPORT_FOLDER_H

#include "proto/base/io_file.h"
#include "proto/base/limits.h"

/* A new empty folder under $TMPDIR or /tmp; its path. Fails the test when there can be none. */
void support_folder_make(char out[PATH_BYTES_MAX]);
void support_folder_end(const char *folder);

/* folder/name in one of a few static buffers, used in turn. */
const char *support_folder_path(const char *folder, const char *name);

struct io_bytes support_folder_read(const char *path);
void support_folder_write(const char *path, const void *bytes, size_t count);

#endif
