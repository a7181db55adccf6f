/* log: one line per event, for people and for scripts.
 *
 *   log_info("train", "step", "step=%llu loss=%.4f", step, loss);
 *   → 2026-01-31T12:00:00.123Z INFO train step step=12 loss=5.4321
 *
 * Levels by frequency: ERROR once per failure, WARN once per thing somebody should look at, INFO
 * once per round, checkpoint or membership change, DEBUG once per message or step. Values that came
 * from elsewhere are escaped: control characters never reach a terminal. Never log a secret. Safe
 * for threads. Lines go to standard error until log_open. */
#ifndef CARAVAN_LOG_H
#define CARAVAN_LOG_H

#include "proto/base/status.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVEL_COUNT };
enum { LOG_LINE_BYTES_MAX = 2048 };

void log_level_set(enum log_level most); /* starts at LOG_INFO */
/* Append to a file from now on. DISK, REFUSED, MISSING: lines keep going where they went. */
CHECKED enum status log_open(const char *path, struct why *why);
void log_close(void);

void log_line(enum log_level level, const char *module, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define log_error(module, event, ...) log_line(LOG_ERROR, module, event, __VA_ARGS__)
#define log_warn(module, event, ...)  log_line(LOG_WARN, module, event, __VA_ARGS__)
#define log_info(module, event, ...)  log_line(LOG_INFO, module, event, __VA_ARGS__)
#define log_debug(module, event, ...) log_line(LOG_DEBUG, module, event, __VA_ARGS__)

#endif
