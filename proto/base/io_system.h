/* io_system: the clock, the machine, the terminal, and a person's wish to stop.
 *
 *   io_stop_catch();
 *   while (!io_stop_wanted()) step();
 *   io_progress(&line, "tokenize  %s/s  %s left", …);
 *
 * Cores never include this: time comes to them as a number in an event. */
#ifndef CARAVAN_IO_SYSTEM_H
#define CARAVAN_IO_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

uint64_t io_now_ms(void);            /* monotonic */
uint64_t io_now_ns(void);            /* monotonic */
uint64_t io_wall_ms(void);           /* since 1970, UTC; only for logs and certificates */
int io_core_count(void);             /* cores this process may run on; at least 1 */
uint64_t io_memory_bytes(void);      /* of the machine or the cgroup, whichever is less */
uint64_t io_memory_free_bytes(void); /* available now without swapping */
uint64_t io_memory_peak_bytes(void); /* this process's highest resident size */
long io_process_id(void);

/* SIGINT and SIGTERM ask to stop; a second one ends the process at once. SIGPIPE is ignored. */
void io_stop_catch(void);
bool io_stop_wanted(void);
void io_stop_ask(void); /* as if a signal had come: for tests */

bool io_is_terminal(
    FILE *stream); /* colour and redrawing allowed: a terminal, TERM not dumb, no NO_COLOR */

/* A line that redraws itself on a terminal, and on anything else appears at most every ten seconds.
 * Writes to standard error. now: at once, as the last line of a job should be. */
struct io_progress {
  uint64_t shown_ms;
  bool open; /* a line is on the screen without its newline */
};
void io_progress_show(struct io_progress *p, bool now, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void io_progress_end(struct io_progress *p); /* newline, if one is due */

/* "1.5 GB", "312 kB/s" style with at most four digits; "2 h 05 min", "38 s". out: 32 bytes. */
const char *io_human_bytes(double bytes, char out[32]);
const char *io_human_count(double count, char out[32]); /* 1.23 M */
const char *io_human_seconds(double seconds, char out[32]);

#endif
