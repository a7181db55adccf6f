/* status: the one list of what can go wrong, and the sentence that goes with it.
 *
 * A function that can fail for a reason outside the program returns an enum status, and the caller
 * must look at it. A message for a person is carried beside it in a struct why:
 *
 *   struct why why;
 *   if (shards_open(dir, &shards, &why) != STATUS_OK) log_error("data", "%s", why.text);
 *
 *   return why_say(why, STATUS_BAD, "%s line %zu: key \"%s\" is unknown; did you mean \"%s\"?", …);
 *
 * Promise: on any status but OK the outputs and the state are as before the call, unless the header
 * of the function says otherwise. What can only be the program's own fault is a CLAIM (claim.h). */
#ifndef CARAVAN_STATUS_H
#define CARAVAN_STATUS_H

#include <stdarg.h>
#include <stddef.h>

enum { WHY_BYTES_MAX = 768 };

#define CHECKED __attribute__((warn_unused_result))

/* name, text, exit code of a program that ends because of it */
#define STATUS_LIST(X)                                      \
  X(OK, "done", 0)                                          \
  X(AGAIN, "not now, the same call may work later", 75)     \
  X(USAGE, "called with options that make no sense", 64)    \
  X(BAD, "malformed input", 65)                             \
  X(MISSING, "not there", 66)                               \
  X(EXISTS, "already there", 73)                            \
  X(RANGE, "a value outside what is allowed", 65)           \
  X(MISMATCH, "two things that belong together do not", 65) \
  X(SHORT, "ends before it should", 65)                     \
  X(FORGED, "does not match its digest or signature", 76)   \
  X(STALE, "no longer current", 75)                         \
  X(FULL, "a limit is reached", 75)                         \
  X(GONE, "the other side is gone", 69)                     \
  X(REFUSED, "refused, with a reason", 77)                  \
  X(UNSUPPORTED, "not supported here", 69)                  \
  X(NOMEM, "not enough memory", 71)                         \
  X(DISK, "the disk is full or failed", 74)                 \
  X(GPU, "the GPU failed", 74)                              \
  X(NETWORK, "the network failed", 68)                      \
  X(STOPPED, "stopped on request", 130)                     \
  X(SYSTEM, "the operating system refused", 71)

enum status {
#define STATUS_ENUM(name, text, exit_code) STATUS_##name,
  STATUS_LIST(STATUS_ENUM)
#undef STATUS_ENUM
      STATUS_COUNT
};

/* A reason for a person: what happened, which value, what to do next. One line, no final newline.
 */
struct why {
  char text[WHY_BYTES_MAX];
};

const char *status_name(enum status s); /* "BAD"; static storage */
const char *status_text(enum status s); /* "malformed input"; static storage */
int status_exit_code(enum status s);    /* sysexits.h style; 130 for STOPPED */

/* Write the reason, cut to fit, control characters and broken UTF-8 replaced by '?', and return s
 * so that a caller can write `return why_say(why, STATUS_BAD, …)`. why may be NULL. */
enum status why_say(struct why *why, enum status s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put words before a reason that is already there: "RUN.yaml: " + why->text. why may be NULL. */
enum status why_prefix(struct why *why, enum status s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The reason for a failed system call: "what 'path': No space left on device", as DISK for ENOSPC,
 * EDQUOT, EIO, EROFS; MISSING for ENOENT and ENOTDIR; EXISTS for EEXIST; NOMEM for ENOMEM; REFUSED
 * for EACCES and EPERM; SYSTEM otherwise. */
enum status why_errno(struct why *why, int error, const char *what, const char *path);

/* Return the status from the enclosing function unless it is OK. For where nothing must be undone.
 */
#define TRY(call)                     \
  do {                                \
    enum status try_status_ = (call); \
    if (try_status_ != STATUS_OK)     \
      return try_status_;             \
  } while (0)

#endif
