#include "node/train/metrics.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/claim.h"

static const char *const kind_names[] = {"start", "step", "validation", "checkpoint"};

/* A line in the making. Names are bounded, so a line always fits: METRICS_LINE_BYTES_MAX leaves
 * room for every byte of them escaped as \u00xx. */
struct line {
  char *at;
  size_t used;
};

static void add(struct line *l, const char *text) {
  size_t length = strlen(text);
  CLAIM(l->used + length < METRICS_LINE_BYTES_MAX);
  memcpy(l->at + l->used, text, length + 1);
  l->used += length;
}

static void add_count(struct line *l, const char *key, uint64_t value) {
  char text[64];
  snprintf(text, sizeof text, ",\"%s\":%llu", key, (unsigned long long)value);
  add(l, text);
}

static void add_real(struct line *l, const char *key, double value, int digits) {
  char text[64];
  if (isfinite(value))
    snprintf(text, sizeof text, ",\"%s\":%.*g", key, digits, value);
  else
    snprintf(text, sizeof text, ",\"%s\":null", key);
  add(l, text);
}

static void add_text(struct line *l, const char *key, const char *value) {
  char piece[80];
  snprintf(piece, sizeof piece, ",\"%s\":\"", key);
  add(l, piece);
  for (const char *at = value; *at; at++) {
    unsigned char c = (unsigned char)*at;
    if (c == '"' || c == '\\')
      snprintf(piece, sizeof piece, "\\%c", c);
    else if (c < 0x20)
      snprintf(piece, sizeof piece, "\\u%04x", c);
    else
      snprintf(piece, sizeof piece, "%c", c);
    add(l, piece);
  }
  add(l, "\"");
}

size_t metric_encode(const struct metric *m, char *out) {
  struct line l = {.at = out};
  add(&l, "{\"kind\":\"");
  add(&l, kind_names[m->kind]);
  add(&l, "\"");
  add_count(&l, "step", m->step);
  add_count(&l, "tokens", m->tokens);
  switch (m->kind) {
    case METRIC_START:
      add_count(&l, "wall_ms", m->wall_ms);
      add_text(&l, "name", m->name);
      add_text(&l, "unit", m->unit);
      add_text(&l, "engine", m->engine);
      add_count(&l, "threads", m->threads);
      add_count(&l, "micro", m->micro);
      add_text(&l, "recompute", m->recompute);
      add_text(&l, "run", m->run);
      break;
    case METRIC_STEP:
      add_real(&l, "loss", m->loss, 17);
      add_real(&l, "grad_norm", m->grad_norm, 17);
      add_real(&l, "lr", m->lr, 17);
      add_real(&l, "rate", m->rate, 6);
      break;
    case METRIC_VALIDATION:
      add_text(&l, "slice", m->name);
      add_real(&l, "loss", m->loss, 17);
      add_count(&l, "samples", m->samples);
      break;
    case METRIC_CHECKPOINT: add_text(&l, "folder", m->name); break;
  }
  add(&l, "}\n");
  return l.used;
}

static bool take_count(const json_t *object, const char *key, uint64_t *out) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_integer(value) || json_integer_value(value) < 0)
    return false;
  *out = (uint64_t)json_integer_value(value);
  return true;
}

static bool take_real(const json_t *object, const char *key, double *out) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value) && !json_is_null(value))
    return false;
  *out = json_is_null(value) ? NAN : json_number_value(value);
  return true;
}

static bool take_text(const json_t *object, const char *key, char *out, size_t out_bytes) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_string(value) || json_string_length(value) >= out_bytes)
    return false;
  memcpy(out, json_string_value(value), json_string_length(value) + 1);
  return true;
}

static bool take_start(const json_t *object, struct metric *m) {
  return take_count(object, "wall_ms", &m->wall_ms) &&
         take_text(object, "name", m->name, sizeof m->name) &&
         take_text(object, "unit", m->unit, sizeof m->unit) &&
         take_text(object, "engine", m->engine, sizeof m->engine) &&
         take_count(object, "threads", &m->threads) && take_count(object, "micro", &m->micro) &&
         take_text(object, "recompute", m->recompute, sizeof m->recompute) &&
         take_text(object, "run", m->run, sizeof m->run);
}

static bool take_object(const json_t *object, struct metric *m) {
  char kind[16];
  size_t index = 0;
  size_t kinds = sizeof kind_names / sizeof kind_names[0];
  if (!take_text(object, "kind", kind, sizeof kind) || !take_count(object, "step", &m->step) ||
      !take_count(object, "tokens", &m->tokens))
    return false;
  while (index < kinds && strcmp(kind, kind_names[index]) != 0)
    index++;
  if (index == kinds)
    return false;
  m->kind = (enum metric_kind)index;
  switch (m->kind) {
    case METRIC_START: return take_start(object, m);
    case METRIC_STEP:
      return take_real(object, "loss", &m->loss) && take_real(object, "grad_norm", &m->grad_norm) &&
             take_real(object, "lr", &m->lr) && take_real(object, "rate", &m->rate);
    case METRIC_VALIDATION:
      return take_text(object, "slice", m->name, sizeof m->name) &&
             take_real(object, "loss", &m->loss) && take_count(object, "samples", &m->samples);
    case METRIC_CHECKPOINT: return take_text(object, "folder", m->name, sizeof m->name);
  }
  return false;
}

enum status metric_parse(const char *line, size_t count, struct metric *out) {
  struct metric m = {0};
  if (count >= METRICS_LINE_BYTES_MAX)
    return STATUS_BAD;
  json_t *object = json_loadb(line, count, JSON_REJECT_DUPLICATES, NULL);
  bool read = json_is_object(object) && take_object(object, &m);
  json_decref(object);
  if (!read)
    return STATUS_BAD;
  *out = m;
  return STATUS_OK;
}
