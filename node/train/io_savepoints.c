#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/train/savepoints.h"
#include "proto/base/io_file.h"

/* "step-40" is 40; anything else, leading zeros included, is not a checkpoint of ours. */
static bool step_of(const char *name, uint64_t *step) {
  char again[32];
  char *end;
  if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9')
    return false;
  errno = 0;
  unsigned long long value = strtoull(name + 5, &end, 10);
  if (*end || errno)
    return false;
  snprintf(again, sizeof again, "step-%llu", value);
  *step = value;
  return !strcmp(again, name);
}

static int ascending(const void *a, const void *b) {
  const uint64_t *x = a;
  const uint64_t *y = b;
  return *x < *y ? -1 : *x > *y;
}

enum status savepoints_path(const char *folder, uint64_t step, char *out, struct why *why) {
  char name[32];
  snprintf(name, sizeof name, "step-%llu", (unsigned long long)step);
  return io_path_join(folder, name, out, why);
}

enum status savepoints_list(const char *folder, struct savepoints *out, struct why *why) {
  out->count = 0;
  DIR *d = opendir(folder);
  if (!d)
    return errno == ENOENT ? STATUS_OK : why_errno(why, errno, "cannot open the folder", folder);
  enum status s = STATUS_OK;
  for (const struct dirent *entry; s == STATUS_OK && (entry = readdir(d));) {
    uint64_t step;
    if (!step_of(entry->d_name, &step))
      continue;
    if (out->count == SAVEPOINTS_MAX)
      s = why_say(why, STATUS_RANGE, "'%s' holds more than %d checkpoints", folder, SAVEPOINTS_MAX);
    else
      out->steps[out->count++] = step;
  }
  closedir(d);
  qsort(out->steps, out->count, sizeof out->steps[0], ascending);
  return s;
}

static enum status remove_any(const char *path, struct why *why) {
  if (io_is_folder(path))
    return io_folder_remove(path, why);
  return unlink(path) && errno != ENOENT ? why_errno(why, errno, "cannot remove", path) : STATUS_OK;
}

static enum status sweep(const char *folder, struct why *why) {
  char path[PATH_BYTES_MAX];
  DIR *d = opendir(folder);
  if (!d)
    return why_errno(why, errno, "cannot open the folder", folder);
  enum status s = STATUS_OK;
  for (const struct dirent *entry; s == STATUS_OK && (entry = readdir(d));) {
    if (!strstr(entry->d_name, ".partial-"))
      continue;
    s = io_path_join(folder, entry->d_name, path, why);
    if (s == STATUS_OK)
      s = remove_any(path, why);
  }
  closedir(d);
  return s;
}

enum status savepoints_lock(const char *folder, struct savepoints_lock *lock, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  lock->descriptor = -1;
  TRY(io_folder_make(folder, why));
  TRY(io_path_join(folder, "lock", path, why));
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0)
    return why_errno(why, errno, "cannot open", path);
  if (fcntl(fd, F_SETLK, &whole)) {
    enum status s = why_errno(why, errno, "cannot lock", path);
    if ((errno == EACCES || errno == EAGAIN) && !fcntl(fd, F_GETLK, &whole))
      s = why_say(why, STATUS_REFUSED,
                  "'%s' is in use by process %ld; give this run another checkpoint.folder, or stop "
                  "that one first",
                  folder, (long)whole.l_pid);
    close(fd);
    return s;
  }
  lock->descriptor = fd;
  enum status s = sweep(folder, why);
  if (s != STATUS_OK)
    savepoints_unlock(lock);
  return s;
}

void savepoints_unlock(struct savepoints_lock *lock) {
  if (lock->descriptor >= 0)
    close(lock->descriptor);
  lock->descriptor = -1;
}

static enum status remove_step(const char *folder, uint64_t step, struct why *why) {
  char path[PATH_BYTES_MAX];
  char gone[PATH_BYTES_MAX];
  char name[64];
  snprintf(name, sizeof name, "step-%llu.partial-gone", (unsigned long long)step);
  TRY(savepoints_path(folder, step, path, why));
  TRY(io_path_join(folder, name, gone, why));
  TRY(remove_any(gone, why));
  TRY(io_rename(path, gone, why));
  return remove_any(gone, why);
}

enum status savepoints_retain(const char *folder, uint64_t keep, struct why *why) {
  struct savepoints list;
  TRY(savepoints_list(folder, &list, why));
  for (size_t i = 0; i + (keep ? keep : 1) < list.count; i++)
    TRY(remove_step(folder, list.steps[i], why));
  return STATUS_OK;
}

enum status savepoints_set_aside(const char *folder, uint64_t step, struct why *why) {
  char path[PATH_BYTES_MAX];
  char aside[PATH_BYTES_MAX];
  char name[64];
  snprintf(name, sizeof name, "step-%llu.damaged", (unsigned long long)step);
  TRY(savepoints_path(folder, step, path, why));
  TRY(io_path_join(folder, name, aside, why));
  TRY(remove_any(aside, why));
  return io_rename(path, aside, why);
}
