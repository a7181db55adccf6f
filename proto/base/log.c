#include "proto/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/base/claim.h"
#include "proto/base/io_system.h"
#include "proto/base/printable.h"

static const char *const level_names[LOG_LEVEL_COUNT] = {
    [LOG_ERROR] = "ERROR", [LOG_WARN] = "WARN", [LOG_INFO] = "INFO", [LOG_DEBUG] = "DEBUG"};

static atomic_int level_most = LOG_INFO;
static pthread_mutex_t file_mutex = PTHREAD_MUTEX_INITIALIZER;
static FILE *file; /* NULL: standard error. Under file_mutex. */

void log_level_set(enum log_level most) {
  CLAIM(most < LOG_LEVEL_COUNT);
  atomic_store(&level_most, (int)most);
}

enum status log_open(const char *path, struct why *why) {
  FILE *opened = fopen(path, "ae");
  if (!opened)
    return why_errno(why, errno, "cannot write the log", path);
  pthread_mutex_lock(&file_mutex);
  FILE *before = file;
  file = opened;
  pthread_mutex_unlock(&file_mutex);
  if (before)
    fclose(before);
  return STATUS_OK;
}

void log_close(void) {
  pthread_mutex_lock(&file_mutex);
  if (file)
    fclose(file);
  file = NULL;
  pthread_mutex_unlock(&file_mutex);
}

/* "2026-01-31T12:00:00.123Z ", the same length for every year until 9999. */
static size_t put_time(char *out, size_t out_bytes) {
  uint64_t now_ms = io_wall_ms();
  time_t seconds = (time_t)(now_ms / 1000);
  struct tm t;
  char second[32];
  if (!gmtime_r(&seconds, &t) || strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &t) == 0)
    second[0] = 0;
  int wrote = snprintf(out, out_bytes, "%s.%03uZ ", second, (unsigned)(now_ms % 1000));
  return wrote > 0 ? (size_t)wrote : 0;
}

/* Appends text, what a terminal could obey as \xNN, as far as it fits; gives the new length. */
static size_t put_escaped(char *out, size_t have, size_t most, const char *text) {
  while (*text) {
    size_t length = printable_length(text);
    size_t need = length ? length : 4;
    if (have + need > most)
      break;
    if (length)
      memcpy(out + have, text, length);
    else
      snprintf(out + have, 5, "\\x%02x", (unsigned char)*text);
    have += need;
    text += length ? length : 1;
  }
  return have;
}

void log_line(enum log_level level, const char *module, const char *event, const char *format,
              ...) {
  CLAIM(level < LOG_LEVEL_COUNT);
  if ((int)level > atomic_load_explicit(&level_most, memory_order_relaxed))
    return;
  char values[LOG_LINE_BYTES_MAX];
  char line[LOG_LINE_BYTES_MAX + 8]; /* room for the zero of the last escape */
  const size_t most = LOG_LINE_BYTES_MAX - 1;
  va_list args;
  va_start(args, format);
  if (vsnprintf(values, sizeof values, format, args) < 0)
    snprintf(values, sizeof values, "(the values could not be written)");
  va_end(args);
  size_t have = put_time(line, most);
  have = put_escaped(line, have, most, level_names[level]);
  const char *const parts[] = {" ", module, " ", event, values[0] ? " " : "", values};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    have = put_escaped(line, have, most, parts[i]);
  line[have++] = '\n';

  pthread_mutex_lock(&file_mutex);
  FILE *out = file ? file : stderr;
  fwrite(line, 1, have, out);
  fflush(out);
  pthread_mutex_unlock(&file_mutex);
}
