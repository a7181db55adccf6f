/* io_file: files read within limits, and written so that a crash leaves the old or the new, never
 * half.
 *
 *   struct io_bytes text;
 *   TRY(io_file_read("run.yaml", RUNFILE_BYTES_MAX, &text, &why));
 *   io_bytes_free(&text);
 *   TRY(io_file_write("corpus.json", json, json_bytes, &why));   // aside, fsync, rename, fsync
 * folder
 *
 * Every message names the path and what the system said. A short write on a full disk is DISK, and
 * the half-written temporary file is removed. */
#ifndef CARAVAN_IO_FILE_H
#define CARAVAN_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum { IO_FOLDER_DEPTH_MAX = 64 }; /* folders in folders that io_folder_remove goes into */

struct io_bytes {
  uint8_t *at; /* followed by one zero byte, so that text is a string */
  size_t count;
};

/* Read a whole file of at most most_bytes. MISSING, RANGE (too big, both sizes), DISK, NOMEM. */
CHECKED enum status io_file_read(const char *path, size_t most_bytes, struct io_bytes *out,
                                 struct why *why);
void io_bytes_free(struct io_bytes *b);

/* Replace a file durably: PATH.partial-PID, fsync, rename, fsync of the folder. DISK: PATH is as
 * before. */
CHECKED enum status io_file_write(const char *path, const void *bytes, size_t count,
                                  struct why *why);

/* A read-only mapping of a whole file. An empty file maps to count 0. */
struct io_map {
  const uint8_t *at;
  size_t count;
};
CHECKED enum status io_map_open(const char *path, struct io_map *out, struct why *why);
void io_map_close(struct io_map *m);
/* [begin, begin + count) will not be read again soon: its whole pages leave this process's memory.
 */
void io_map_forget(const struct io_map *m, size_t begin, size_t count);

/* A file being written from start to end, or continued. Buffered. A failed write sticks: every
 * later call on that writer repeats it. */
struct io_writer; /* opaque */
CHECKED enum status io_writer_open(const char *path, bool append, struct io_writer **out,
                                   struct why *why);
CHECKED enum status io_writer_add(struct io_writer *w, const void *bytes, size_t count,
                                  struct why *why);
CHECKED enum status io_writer_sync(struct io_writer *w, struct why *why); /* flush and fsync */
uint64_t io_writer_bytes(const struct io_writer *w); /* written, buffered included */
/* Flush, fsync, close. *w is NULL afterwards, whatever comes back. */
CHECKED enum status io_writer_close(struct io_writer **w, struct why *why);
void io_writer_abandon(struct io_writer **w); /* close, whatever state; the file stays as it is */

bool io_exists(const char *path);
bool io_is_folder(const char *path);
CHECKED enum status io_file_bytes(const char *path, uint64_t *out, struct why *why);
CHECKED enum status io_folder_make(const char *path,
                                   struct why *why); /* parents too; OK when there */
CHECKED enum status io_folder_sync(const char *path, struct why *why);
/* With everything in it; links are removed, not followed. OK when absent; REFUSED when path is no
 * folder itself. */
CHECKED enum status io_folder_remove(const char *path, struct why *why);
CHECKED enum status io_rename(const char *from, const char *to,
                              struct why *why); /* and fsync the folder */
CHECKED enum status io_truncate(const char *path, uint64_t bytes, struct why *why);
/* Free bytes for this user on the file system that holds path. */
CHECKED enum status io_disk_free(const char *path, uint64_t *out, struct why *why);
/* out[PATH_BYTES_MAX] = folder/name. RANGE: too long. */
CHECKED enum status io_path_join(const char *folder, const char *name, char *out, struct why *why);

#endif
