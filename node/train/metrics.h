/* metrics: what happened in a training run, one JSON object a line, in a file that survives stops.
 *
 *   {"kind":"start","step":0,"tokens":0,"wall_ms":…,"name":"demo","unit":"byte","engine":"cpu",
 *    "threads":2,"micro":16,"recompute":"none","run":"8f3a…"}
 *   {"kind":"step","step":1,"tokens":4096,"loss":6.31,"grad_norm":2.1,"lr":2e-05,"rate":9800.5}
 *   {"kind":"validation","step":50,"tokens":204800,"slice":"books","loss":2.41,"samples":16}
 *   {"kind":"checkpoint","step":50,"tokens":204800,"folder":"step-50"}
 *
 * step counts batches from 1, skipped ones included (their loss or norm was not finite and is
 * null). Losses are nats per token with all digits of a double, so equal runs write equal losses;
 * rate (tokens a second) and wall_ms are the only values that differ between equal runs.
 *
 *   struct metrics *m;
 *   TRY(metrics_open(path, resume_step, &m, &seen, &why));   // lines after resume_step are cut
 *   TRY(metrics_add(m, &metric, &why));
 *   TRY(metrics_sync(m, &why));
 *   TRY(metrics_close(&m, &why));
 *
 * A line is at most METRICS_LINE_BYTES_MAX. A torn last line, as a crash leaves it, is cut; another
 * unreadable line is counted and otherwise left alone. metric_encode and metric_parse are pure;
 * metrics_* (io_metrics.c) own the file. */
#ifndef CARAVAN_METRICS_H
#define CARAVAN_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/digest.h"
#include "proto/base/limits.h"
#include "proto/base/status.h"

enum { METRICS_LINE_BYTES_MAX = 2048 };

enum metric_kind { METRIC_START, METRIC_STEP, METRIC_VALIDATION, METRIC_CHECKPOINT };

struct metric {
  enum metric_kind kind;
  uint64_t step;
  uint64_t tokens;
  double loss;                /* step, validation; NaN: was not finite */
  double grad_norm, lr;       /* step */
  double rate;                /* step: tokens a second */
  uint64_t wall_ms;           /* start */
  uint64_t threads, micro;    /* start */
  uint64_t samples;           /* validation */
  char name[NAME_BYTES_MAX];  /* start: the run; validation: the slice; checkpoint: the folder */
  char unit[16];              /* start: what a token is: "byte" or "token" */
  char engine[16];            /* start */
  char recompute[16];         /* start */
  char run[DIGEST_HEX_BYTES]; /* start: digest of the run */
};

/* One line with its newline; returns its bytes. out: METRICS_LINE_BYTES_MAX. */
size_t metric_encode(const struct metric *m, char *out);
/* A line without its newline. BAD: not one of ours. */
CHECKED enum status metric_parse(const char *line, size_t count, struct metric *out);

struct metrics; /* opaque: owns the file */

/* What a file that is continued already holds, up to the step it is continued from. */
struct metrics_seen {
  struct metric start;      /* the last start; its name is "" when there is none */
  uint64_t validation_step; /* the last one validated; 0: none */
  uint64_t bad_lines;
  uint64_t cut_bytes;
};

/* Open for appending, first cutting what was written after resume_step (0: everything). DISK, … */
CHECKED enum status metrics_open(const char *path, uint64_t resume_step, struct metrics **out,
                                 struct metrics_seen *seen, struct why *why);
CHECKED enum status metrics_add(struct metrics *m, const struct metric *metric, struct why *why);
CHECKED enum status metrics_sync(struct metrics *m, struct why *why); /* to the disk */
CHECKED enum status metrics_close(struct metrics **m, struct why *why);
void metrics_abandon(struct metrics **m); /* close whatever the state; nulls *m */

/* Every readable line of a file, in order. MISSING, DISK. *bad: lines that were not readable. */
CHECKED enum status metrics_read(const char *path,
                                 void (*take)(void *context, const struct metric *metric),
                                 void *context, uint64_t *bad, struct why *why);

#endif
