#include "proto/base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/claim.h"
#include "proto/base/printable.h"

struct status_entry {
  const char *name;
  const char *text;
  int exit_code;
};

static const struct status_entry entries[STATUS_COUNT] = {
#define STATUS_ENTRY(name, text, exit_code) {#name, text, exit_code},
    STATUS_LIST(STATUS_ENTRY)
#undef STATUS_ENTRY
};

static const struct status_entry *entry_of(enum status s) {
  CLAIM((unsigned)s < STATUS_COUNT);
  return &entries[s];
}

const char *status_name(enum status s) {
  return entry_of(s)->name;
}
const char *status_text(enum status s) {
  return entry_of(s)->text;
}
int status_exit_code(enum status s) {
  return entry_of(s)->exit_code;
}

/* What came from a file or a peer may hold terminal escapes, or be cut inside a character. */
static void make_printable(char *text) {
  while (*text) {
    size_t length = printable_length(text);
    if (length == 0)
      *text = '?';
    text += length ? length : 1;
  }
}

static void say(struct why *why, const char *format, va_list args) {
  int wrote = vsnprintf(why->text, sizeof why->text, format, args);
  if (wrote < 0)
    snprintf(why->text, sizeof why->text, "(the reason could not be written)");
  make_printable(why->text);
}

enum status why_say(struct why *why, enum status s, const char *format, ...) {
  if (why) {
    va_list args;
    va_start(args, format);
    say(why, format, args);
    va_end(args);
  }
  return s;
}

enum status why_prefix(struct why *why, enum status s, const char *format, ...) {
  if (why) {
    struct why before;
    struct why after = *why;
    va_list args;
    va_start(args, format);
    say(&before, format, args);
    va_end(args);
    size_t have = strlen(before.text);
    memcpy(why->text, before.text, have);
    snprintf(why->text + have, sizeof why->text - have, "%s", after.text);
    make_printable(why->text);
  }
  return s;
}

static enum status status_of_errno(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case EROFS:
    case EFBIG: return STATUS_DISK;
    case ENOENT:
    case ENOTDIR: return STATUS_MISSING;
    case EEXIST:
    case ENOTEMPTY: return STATUS_EXISTS;
    case ENOMEM: return STATUS_NOMEM;
    case EACCES:
    case EPERM: return STATUS_REFUSED;
    default: return STATUS_SYSTEM;
  }
}

enum status why_errno(struct why *why, int error, const char *what, const char *path) {
  return why_say(why, status_of_errno(error), "%s '%s': %s", what, path, strerror(error));
}
