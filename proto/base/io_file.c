/* madvise is older than POSIX and not in it. */
#define _DEFAULT_SOURCE
#include "proto/base/io_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "proto/base/claim.h"
#include "proto/base/limits.h"

enum {
  READ_FIRST_BYTES = 4096,      /* for files whose size is not known: pipes, /proc */
  CALL_BYTES_MAX = 1 << 30,     /* one read or write; Linux stops at 2^31 - 4096 */
  WRITER_BUFFER_BYTES = 1 << 18 /* large enough that the system call is not what costs */
};

/* ---- paths ---- */

/* The folder that holds path: "a/b" → "a", "b" → ".", "/b" → "/". */
static enum status parent_of(const char *path, char out[PATH_BYTES_MAX], struct why *why) {
  size_t length = strlen(path);
  if (length >= PATH_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "the path '%.60s…' has %zu bytes; at most %d are allowed",
                   path, length, PATH_BYTES_MAX - 1);
  while (length > 1 && path[length - 1] == '/')
    length--;
  while (length > 0 && path[length - 1] != '/')
    length--;
  while (length > 1 && path[length - 1] == '/')
    length--;
  if (length == 0) {
    out[0] = '.';
    out[1] = 0;
  } else {
    memcpy(out, path, length);
    out[length] = 0;
  }
  return STATUS_OK;
}

enum status io_path_join(const char *folder, const char *name, char *out, struct why *why) {
  size_t have = strlen(folder);
  bool slash = have > 0 && folder[have - 1] != '/';
  size_t need = have + (slash ? 1 : 0) + strlen(name) + 1;
  if (need > PATH_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "the path of '%.60s' has %zu bytes; at most %d are allowed",
                   name, need - 1, PATH_BYTES_MAX - 1);
  /* out may be folder itself, so the folder is moved, not printed. */
  memmove(out, folder, have);
  if (slash)
    out[have++] = '/';
  memcpy(out + have, name, strlen(name) + 1);
  return STATUS_OK;
}

/* ---- descriptors ---- */

static int open_retrying(const char *path, int flags) {
  int fd;
  do
    fd = open(path, flags | O_CLOEXEC, 0666);
  while (fd < 0 && errno == EINTR);
  return fd;
}

/* Everything, or an errno. */
static int write_all(int fd, const uint8_t *bytes, size_t count) {
  while (count > 0) {
    ssize_t wrote = write(fd, bytes, count < CALL_BYTES_MAX ? count : CALL_BYTES_MAX);
    if (wrote < 0 && errno == EINTR)
      continue;
    if (wrote < 0)
      return errno;
    if (wrote == 0)
      return ENOSPC;
    bytes += wrote;
    count -= (size_t)wrote;
  }
  return 0;
}

/* Devices and pipes cannot be synchronised, and need not be. */
static int sync_fd(int fd) {
  int failed;
  do
    failed = fsync(fd);
  while (failed && errno == EINTR);
  if (failed && (errno == EINVAL || errno == ENOTSUP))
    return 0;
  return failed ? errno : 0;
}

/* ---- reading ---- */

/* Reads to the end of fd, growing the buffer; sees one byte past most_bytes, to know that there is
 * more. */
static enum status read_to_end(int fd, const char *path, size_t first_bytes, size_t most_bytes,
                               struct io_bytes *out, struct why *why) {
  size_t capacity = first_bytes;
  size_t count = 0;
  uint8_t *at = malloc(capacity + 1);
  enum status s = STATUS_OK;
  while (at) {
    if (count == capacity) {
      capacity = capacity <= SIZE_MAX / 4 ? capacity * 2 : capacity;
      uint8_t *more = realloc(at, capacity + 1);
      if (!more)
        break;
      at = more;
    }
    size_t want = capacity - count < CALL_BYTES_MAX ? capacity - count : CALL_BYTES_MAX;
    ssize_t got = read(fd, at + count, want);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0) {
      s = why_errno(why, errno, "cannot read", path);
      free(at);
      return s;
    }
    if (got == 0) {
      at[count] = 0;
      *out = (struct io_bytes){at, count};
      return STATUS_OK;
    }
    count += (size_t)got;
    if (count > most_bytes) {
      free(at);
      return why_say(why, STATUS_RANGE, "'%s' has more than the %zu bytes allowed here", path,
                     most_bytes);
    }
  }
  free(at);
  return why_say(why, STATUS_NOMEM, "cannot read '%s': no memory for %zu bytes", path, capacity);
}

static enum status refuse_folder(const struct stat *about, const char *path, struct why *why) {
  if (S_ISDIR(about->st_mode))
    return why_say(why, STATUS_BAD, "'%s' is a folder; a file was expected", path);
  return STATUS_OK;
}

enum status io_file_read(const char *path, size_t most_bytes, struct io_bytes *out,
                         struct why *why) {
  int fd = open_retrying(path, O_RDONLY);
  if (fd < 0)
    return why_errno(why, errno, "cannot open", path);
  struct stat about;
  enum status s = STATUS_OK;
  if (fstat(fd, &about) != 0)
    s = why_errno(why, errno, "cannot look at", path);
  if (s == STATUS_OK)
    s = refuse_folder(&about, path, why);
  if (s == STATUS_OK && S_ISREG(about.st_mode) && (uint64_t)about.st_size > most_bytes)
    s = why_say(why, STATUS_RANGE, "'%s' has %" PRIu64 " bytes; at most %zu are allowed here", path,
                (uint64_t)about.st_size, most_bytes);
  if (s == STATUS_OK) {
    /* One more than the size, so that the end is seen without growing. */
    size_t first = about.st_size > 0 ? (size_t)about.st_size + 1 : READ_FIRST_BYTES;
    s = read_to_end(fd, path, first, most_bytes, out, why);
  }
  close(fd);
  return s;
}

void io_bytes_free(struct io_bytes *b) {
  free(b->at);
  *b = (struct io_bytes){NULL, 0};
}

enum status io_map_open(const char *path, struct io_map *out, struct why *why) {
  int fd = open_retrying(path, O_RDONLY);
  if (fd < 0)
    return why_errno(why, errno, "cannot open", path);
  struct stat about;
  enum status s = STATUS_OK;
  if (fstat(fd, &about) != 0)
    s = why_errno(why, errno, "cannot look at", path);
  if (s == STATUS_OK)
    s = refuse_folder(&about, path, why);
  if (s == STATUS_OK && !S_ISREG(about.st_mode))
    s = why_say(why, STATUS_BAD, "'%s' is no ordinary file and cannot be mapped", path);
  if (s == STATUS_OK) {
    struct io_map m = {NULL, (size_t)about.st_size};
    if (m.count > 0) {
      void *at = mmap(NULL, m.count, PROT_READ, MAP_PRIVATE, fd, 0);
      if (at == MAP_FAILED)
        s = why_errno(why, errno, "cannot map", path);
      else
        m.at = at;
    }
    if (s == STATUS_OK)
      *out = m;
  }
  close(fd);
  return s;
}

void io_map_close(struct io_map *m) {
  /* munmap takes the address without const; nothing is written through it. */
  if (m->at)
    munmap((void *)(uintptr_t)m->at, m->count);
  *m = (struct io_map){NULL, 0};
}

void io_map_forget(const struct io_map *m, size_t begin, size_t count) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t first = (begin + page - 1) / page * page;
  size_t last = begin + count == m->count ? m->count : (begin + count) / page * page;
  CLAIM(begin + count <= m->count);
  /* Advice only: when it fails the pages stay a little longer. */
  if (first < last)
    (void)madvise((void *)(uintptr_t)(m->at + first), last - first, MADV_DONTNEED);
}

/* ---- writing ---- */

enum status io_file_write(const char *path, const void *bytes, size_t count, struct why *why) {
  char aside[PATH_BYTES_MAX];
  char folder[PATH_BYTES_MAX];
  TRY(parent_of(path, folder, why));
  int length = snprintf(aside, sizeof aside, "%s.partial-%ld", path, (long)getpid());
  if (length < 0 || (size_t)length >= sizeof aside)
    return why_say(why, STATUS_RANGE, "the path '%.60s…' is too long to write a file beside it",
                   path);
  int fd = open_retrying(aside, O_WRONLY | O_CREAT | O_TRUNC);
  if (fd < 0)
    return why_errno(why, errno, "cannot create", aside);
  int error = write_all(fd, bytes, count);
  if (error == 0)
    error = sync_fd(fd);
  if (close(fd) != 0 && error == 0)
    error = errno;
  if (error == 0 && rename(aside, path) != 0)
    error = errno;
  if (error != 0) {
    unlink(aside);
    return why_errno(why, error, "cannot write", path);
  }
  return io_folder_sync(folder, why);
}

/* After a failed write nobody knows what is in the file, so the failure sticks: every later call
 * repeats it. */
struct io_writer {
  int fd;
  int error;       /* errno of the first failure, or 0 */
  uint64_t bytes;  /* in the file when this writer opened it, and added since */
  size_t buffered; /* of buffer */
  char path[PATH_BYTES_MAX];
  uint8_t buffer[WRITER_BUFFER_BYTES];
};

enum status io_writer_open(const char *path, bool append, struct io_writer **out, struct why *why) {
  if (strlen(path) >= PATH_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "the path '%.60s…' has %zu bytes; at most %d are allowed",
                   path, strlen(path), PATH_BYTES_MAX - 1);
  struct io_writer *w = malloc(sizeof *w);
  if (!w)
    return why_say(why, STATUS_NOMEM, "cannot write '%s': no memory for %zu bytes of buffer", path,
                   sizeof *w);
  w->error = 0;
  w->bytes = 0;
  w->buffered = 0;
  memcpy(w->path, path, strlen(path) + 1);
  w->fd = open_retrying(path, O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC));
  struct stat about;
  if (w->fd < 0 || fstat(w->fd, &about) != 0) {
    int error = errno;
    if (w->fd >= 0)
      close(w->fd);
    free(w);
    return why_errno(why, error, "cannot write", path);
  }
  if (append && S_ISREG(about.st_mode))
    w->bytes = (uint64_t)about.st_size;
  *out = w;
  return STATUS_OK;
}

static enum status writer_failed(struct io_writer *w, struct why *why) {
  return why_errno(why, w->error, "cannot write", w->path);
}

static void writer_flush(struct io_writer *w) {
  if (w->error == 0)
    w->error = write_all(w->fd, w->buffer, w->buffered);
  w->buffered = 0;
}

enum status io_writer_add(struct io_writer *w, const void *bytes, size_t count, struct why *why) {
  if (w->buffered + count > sizeof w->buffer)
    writer_flush(w);
  if (w->error != 0)
    return writer_failed(w, why);
  if (count >= sizeof w->buffer) {
    w->error = write_all(w->fd, bytes, count);
    if (w->error != 0)
      return writer_failed(w, why);
  } else if (count > 0) {
    memcpy(w->buffer + w->buffered, bytes, count);
    w->buffered += count;
  }
  w->bytes += count;
  return STATUS_OK;
}

enum status io_writer_sync(struct io_writer *w, struct why *why) {
  writer_flush(w);
  if (w->error == 0)
    w->error = sync_fd(w->fd);
  return w->error == 0 ? STATUS_OK : writer_failed(w, why);
}

uint64_t io_writer_bytes(const struct io_writer *w) {
  return w->bytes;
}

enum status io_writer_close(struct io_writer **w, struct why *why) {
  enum status s = io_writer_sync(*w, why);
  if (close((*w)->fd) != 0 && s == STATUS_OK)
    s = why_errno(why, errno, "cannot write", (*w)->path);
  free(*w);
  *w = NULL;
  return s;
}

void io_writer_abandon(struct io_writer **w) {
  if (!*w)
    return;
  close((*w)->fd);
  free(*w);
  *w = NULL;
}

/* ---- names on the disk ---- */

bool io_exists(const char *path) {
  struct stat about;
  return stat(path, &about) == 0;
}

bool io_is_folder(const char *path) {
  struct stat about;
  return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

enum status io_file_bytes(const char *path, uint64_t *out, struct why *why) {
  struct stat about;
  if (stat(path, &about) != 0)
    return why_errno(why, errno, "cannot look at", path);
  TRY(refuse_folder(&about, path, why));
  *out = (uint64_t)about.st_size;
  return STATUS_OK;
}

/* One level; there already is fine, a file in the way is not. */
static enum status make_one(const char *path, struct why *why) {
  if (mkdir(path, 0777) == 0) {
    char folder[PATH_BYTES_MAX];
    TRY(parent_of(path, folder, why));
    return io_folder_sync(folder, why);
  }
  int error = errno;
  if (io_is_folder(path))
    return STATUS_OK;
  if (error == EEXIST)
    return why_say(why, STATUS_EXISTS, "cannot make the folder '%s': a file has that name", path);
  return why_errno(why, error, "cannot make the folder", path);
}

enum status io_folder_make(const char *path, struct why *why) {
  char part[PATH_BYTES_MAX];
  size_t length = strlen(path);
  if (length >= sizeof part)
    return why_say(why, STATUS_RANGE, "the path '%.60s…' has %zu bytes; at most %d are allowed",
                   path, length, PATH_BYTES_MAX - 1);
  memcpy(part, path, length + 1);
  for (size_t i = 1; i < length; i++) {
    if (part[i] != '/' || part[i - 1] == '/')
      continue;
    part[i] = 0;
    TRY(make_one(part, why));
    part[i] = '/';
  }
  return make_one(part, why);
}

enum status io_folder_sync(const char *path, struct why *why) {
  int fd = open_retrying(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0)
    return why_errno(why, errno, "cannot open the folder", path);
  int error = sync_fd(fd);
  close(fd);
  return error == 0 ? STATUS_OK : why_errno(why, error, "cannot synchronise the folder", path);
}

/* Everything inside the folder fd, which is closed. Links are removed, never followed. */
static int empty_folder(int fd, int depth) {
  DIR *folder = depth < IO_FOLDER_DEPTH_MAX ? fdopendir(fd) : NULL;
  if (!folder) {
    int error = depth < IO_FOLDER_DEPTH_MAX ? errno : ELOOP;
    close(fd);
    return error;
  }
  int error = 0;
  const struct dirent *entry;
  while (error == 0 && (errno = 0, entry = readdir(folder)) != NULL) {
    const char *name = entry->d_name;
    if (!strcmp(name, ".") || !strcmp(name, ".."))
      continue;
    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
      continue;
    int inner = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner < 0)
      error = errno;
    else
      error = empty_folder(inner, depth + 1);
    if (error == 0 && unlinkat(fd, name, AT_REMOVEDIR) != 0)
      error = errno;
  }
  if (error == 0)
    error = errno;
  closedir(folder);
  return error;
}

enum status io_folder_remove(const char *path, struct why *why) {
  int fd = open_retrying(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (fd < 0 && errno == ENOENT)
    return STATUS_OK;
  if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
    return why_say(why, STATUS_REFUSED, "'%s' is no folder and was left alone", path);
  if (fd < 0)
    return why_errno(why, errno, "cannot open the folder", path);
  int error = empty_folder(fd, 0);
  if (error == 0 && rmdir(path) != 0)
    error = errno;
  return error == 0 ? STATUS_OK : why_errno(why, error, "cannot remove the folder", path);
}

enum status io_rename(const char *from, const char *to, struct why *why) {
  char from_folder[PATH_BYTES_MAX];
  char to_folder[PATH_BYTES_MAX];
  TRY(parent_of(from, from_folder, why));
  TRY(parent_of(to, to_folder, why));
  if (rename(from, to) != 0)
    return why_errno(why, errno, "cannot rename to", to);
  TRY(io_folder_sync(to_folder, why));
  return strcmp(from_folder, to_folder) ? io_folder_sync(from_folder, why) : STATUS_OK;
}

enum status io_truncate(const char *path, uint64_t bytes, struct why *why) {
  CLAIM(bytes <= INT64_MAX);
  int failed;
  do
    failed = truncate(path, (off_t)bytes);
  while (failed && errno == EINTR);
  return failed ? why_errno(why, errno, "cannot cut", path) : STATUS_OK;
}

enum status io_disk_free(const char *path, uint64_t *out, struct why *why) {
  struct statvfs about;
  if (statvfs(path, &about) != 0)
    return why_errno(why, errno, "cannot look at the disk of", path);
  *out = (uint64_t)about.f_bavail * (uint64_t)about.f_frsize;
  return STATUS_OK;
}
