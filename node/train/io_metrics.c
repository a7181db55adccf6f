#include <stdlib.h>
#include <string.h>

#include "node/train/metrics.h"
#include "proto/base/io_file.h"

struct metrics {
  struct io_writer *writer;
};

/* How much of the file stays: up to the first line past resume_step, or to a torn last line. A line
 * that cannot be read in the middle is nobody's loss but its own and stays. */
static size_t keep_bytes(const struct io_map *map, uint64_t resume_step,
                         struct metrics_seen *seen) {
  size_t at = 0;
  while (at < map->count) {
    const uint8_t *line = map->at + at;
    const uint8_t *end = memchr(line, '\n', map->count - at);
    struct metric m;
    if (!end)
      return at;
    if (metric_parse((const char *)line, (size_t)(end - line), &m) != STATUS_OK) {
      seen->bad_lines++;
    } else if (m.step > resume_step || resume_step == 0) {
      return at;
    } else {
      if (m.kind == METRIC_START)
        seen->start = m;
      if (m.kind == METRIC_VALIDATION)
        seen->validation_step = m.step;
    }
    at += (size_t)(end - line) + 1;
  }
  return at;
}

static enum status cut(const char *path, uint64_t resume_step, struct metrics_seen *seen,
                       struct why *why) {
  struct io_map map;
  TRY(io_map_open(path, &map, why));
  size_t keep = keep_bytes(&map, resume_step, seen);
  seen->cut_bytes = map.count - keep;
  io_map_close(&map);
  return seen->cut_bytes ? io_truncate(path, keep, why) : STATUS_OK;
}

enum status metrics_open(const char *path, uint64_t resume_step, struct metrics **out,
                         struct metrics_seen *seen, struct why *why) {
  memset(seen, 0, sizeof *seen);
  if (io_exists(path))
    TRY(cut(path, resume_step, seen, why));
  struct metrics *m = calloc(1, sizeof *m);
  if (!m)
    return why_say(why, STATUS_NOMEM, "no memory for the metrics file '%s'", path);
  enum status s = io_writer_open(path, true, &m->writer, why);
  if (s != STATUS_OK) {
    free(m);
    return s;
  }
  *out = m;
  return STATUS_OK;
}

enum status metrics_add(struct metrics *m, const struct metric *metric, struct why *why) {
  char line[METRICS_LINE_BYTES_MAX];
  size_t bytes = metric_encode(metric, line);
  return io_writer_add(m->writer, line, bytes, why);
}

enum status metrics_sync(struct metrics *m, struct why *why) {
  return io_writer_sync(m->writer, why);
}

enum status metrics_close(struct metrics **m, struct why *why) {
  enum status s = io_writer_close(&(*m)->writer, why);
  free(*m);
  *m = NULL;
  return s;
}

void metrics_abandon(struct metrics **m) {
  if (*m)
    io_writer_abandon(&(*m)->writer);
  free(*m);
  *m = NULL;
}

enum status metrics_read(const char *path, void (*take)(void *context, const struct metric *metric),
                         void *context, uint64_t *bad, struct why *why) {
  struct io_map map;
  TRY(io_map_open(path, &map, why));
  *bad = 0;
  for (size_t at = 0; at < map.count;) {
    const uint8_t *line = map.at + at;
    const uint8_t *end = memchr(line, '\n', map.count - at);
    size_t count = end ? (size_t)(end - line) : map.count - at;
    struct metric m;
    if (metric_parse((const char *)line, count, &m) == STATUS_OK)
      take(context, &m);
    else
      (*bad)++;
    at += count + 1;
  }
  io_map_close(&map);
  return STATUS_OK;
}
