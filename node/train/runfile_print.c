#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/train/runfile_table.h"
#include "proto/base/claim.h"

/* Text growing in a caller's buffer; once it does not fit it stays full. */
struct page {
  char *at;
  size_t used, room;
  bool full;
};

__attribute__((format(printf, 2, 3))) static void page_add(struct page *p, const char *format,
                                                           ...) {
  va_list args;
  va_start(args, format);
  int wrote = p->full ? 0 : vsnprintf(p->at + p->used, p->room - p->used, format, args);
  va_end(args);
  if (wrote < 0 || (size_t)wrote >= p->room - p->used)
    p->full = true;
  else
    p->used += (size_t)wrote;
}

/* The shortest digits that read back as the same double. */
static void add_real(struct page *p, double value) {
  char text[32];
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value)
      break;
  }
  page_add(p, "%s", text);
}

/* Double quotes and backslashes escaped, the YAML and JSON way. */
static void add_quoted(struct page *p, const char *text) {
  page_add(p, "\"");
  for (const char *at = text; *at; at++) {
    unsigned char c = (unsigned char)*at;
    if (c == '"' || c == '\\')
      page_add(p, "\\%c", c);
    else if (c < 0x20 || c == 0x7f)
      page_add(p, "\\x%02x", c);
    else
      page_add(p, "%c", c);
  }
  page_add(p, "\"");
}

static void add_count(struct page *p, const struct runfile_key *key, uint64_t value) {
  if (key->takes_auto && value == 0)
    page_add(p, "auto");
  else
    page_add(p, "%llu", (unsigned long long)value);
}

static void add_list(struct page *p, const struct runfile *run, enum runfile_kind kind) {
  bool paths = kind == RUNFILE_PATHS;
  size_t count = paths ? run->corpus_count : run->slice_count;
  page_add(p, "%s", paths ? "[" : "{");
  for (size_t i = 0; i < count; i++) {
    page_add(p, "%s", i ? ", " : "");
    add_quoted(p, paths ? run->corpus[i] : run->slices[i].name);
    if (!paths)
      page_add(p, ": %llu", (unsigned long long)run->slices[i].weight);
  }
  page_add(p, "%s", paths ? "]" : "}");
}

static void add_value(struct page *p, const struct runfile *run, const struct runfile_key *key) {
  const void *at = runfile_get(run, key);
  switch (key->kind) {
    case RUNFILE_NAME: page_add(p, "%s", (const char *)at); break;
    case RUNFILE_PATH: add_quoted(p, at); break;
    case RUNFILE_PATHS:
    case RUNFILE_SLICES: add_list(p, run, key->kind); break;
    case RUNFILE_COUNT:
    case RUNFILE_BYTES:
    case RUNFILE_WARMUP: add_count(p, key, *(const uint64_t *)at); break;
    case RUNFILE_WIDTH: page_add(p, "%lld", (long long)*(const int64_t *)at); break;
    case RUNFILE_REAL: add_real(p, *(const double *)at); break;
    case RUNFILE_FLAG: page_add(p, "%s", *(const bool *)at ? "true" : "false"); break;
    case RUNFILE_WORD: page_add(p, "%s", key->words[*(const int64_t *)at]); break;
  }
}

/* What the run means does not depend on how it was written: the preset's name stands for the
 * numbers that follow, and the batch is counted in tokens only. The words in `raw` are taken from
 * what they became. */
static bool is_meaning(const struct runfile_key *key) {
  return !key->of_machine && strcmp(key->name, "model.preset") != 0 &&
         strcmp(key->name, "batch.sequences") != 0;
}

enum status runfile_canonical(const struct runfile *run, char *out, size_t out_bytes,
                              struct why *why) {
  CLAIM(run->has_model);
  struct runfile *exact = malloc(sizeof *exact);
  if (!exact)
    return why_say(why, STATUS_NOMEM, "no memory for the run's canonical text");
  *exact = *run;
  exact->raw.family = (int64_t)run->arch.family;
  exact->raw.activation = (int64_t)run->arch.activation;
  exact->raw.init = (int64_t)run->arch.init;
  exact->raw.rotary_fraction = (double)run->arch.R / (double)run->arch.D;
  struct page p = {.at = out, .room = out_bytes};
  for (size_t i = 0; i < runfile_key_count(); i++)
    if (is_meaning(runfile_key(i))) {
      page_add(&p, "%s: ", runfile_key(i)->name);
      add_value(&p, exact, runfile_key(i));
      page_add(&p, "\n");
    }
  free(exact);
  return p.full ? why_say(why, STATUS_RANGE, "the run's canonical text is longer than %zu bytes",
                          out_bytes)
                : STATUS_OK;
}

/* The line of `text` that begins with the same key as `line`, or NULL. */
static const char *line_with_key(const char *text, const char *line, size_t key_length) {
  for (const char *at = text; at && *at;) {
    if (!strncmp(at, line, key_length))
      return at;
    at = strchr(at, '\n');
    at = at ? at + 1 : NULL;
  }
  return NULL;
}

static int value_length(const char *value) {
  size_t length = strcspn(value, "\n");
  return length > 100 ? 100 : (int)length;
}

/* Every line of `a` whose key has another value, or none, in `b`. */
static void add_differences(struct page *p, const char *a, const char *b, bool only_missing,
                            int *count) {
  for (const char *line = a; *line;) {
    const char *value = strstr(line, ": ");
    if (!value)
      return;
    size_t key_length = (size_t)(value + 2 - line);
    const char *other = line_with_key(b, line, key_length);
    const char *other_value = other ? other + key_length : NULL;
    size_t length = strcspn(line, "\n");
    bool same = other && strcspn(other, "\n") == length && !strncmp(line, other, length);
    if (!same && (!only_missing || !other) && (*count)++ < 3) {
      page_add(p, "%s%.*s ", *count > 1 ? "; " : "", (int)key_length - 2, line);
      if (only_missing)
        page_add(p, "is new (%.*s)", value_length(value + 2), value + 2);
      else if (other)
        page_add(p, "was %.*s and is %.*s", value_length(value + 2), value + 2,
                 value_length(other_value), other_value);
      else
        page_add(p, "was %.*s and is gone", value_length(value + 2), value + 2);
    }
    line += length + (line[length] == '\n');
  }
}

bool runfile_difference(const char *before, const char *now, char *out, size_t out_bytes) {
  struct page p = {.at = out, .room = out_bytes};
  int count = 0;
  page_add(&p, "%s", "");
  add_differences(&p, before, now, false, &count);
  add_differences(&p, now, before, true, &count);
  if (count > 3)
    page_add(&p, "; and %d more", count - 3);
  return count > 0;
}

/* Help as comment lines, broken before column 90. */
static void add_help(struct page *p, const struct runfile_key *key, const char *indent) {
  char text[1024];
  char expected[256];
  bool described = key->kind == RUNFILE_COUNT || key->kind == RUNFILE_REAL ||
                   key->kind == RUNFILE_WORD || key->kind == RUNFILE_WIDTH ||
                   key->kind == RUNFILE_BYTES || key->kind == RUNFILE_FLAG;
  snprintf(text, sizeof text, "%s%s%s%s", key->help, described ? " (" : "",
           described ? runfile_expects(key, expected, sizeof expected) : "", described ? ")" : "");
  for (const char *at = text; *at;) {
    size_t length = strlen(at);
    if (length > 90) {
      length = 90;
      while (length && at[length] != ' ')
        length--;
    }
    page_add(p, "%s# %.*s\n", indent, (int)length, at);
    at += length;
    at += *at == ' ';
  }
}

static void add_default(struct page *p, const struct runfile *run, const struct runfile_key *key) {
  const char *dot = strchr(key->name, '.');
  const char *indent = dot ? "  " : "";
  /* The model's numbers are the preset's: shown, but not said twice. */
  bool absent = key->otherwise == DEFAULT_EMPTY && strcmp(key->name, "model.preset") != 0;
  bool implied = !strncmp(key->name, "model.", 6) && key->otherwise == DEFAULT_PRESET;
  add_help(p, key, indent);
  page_add(p, "%s%s%s: ", indent, absent || implied ? "# " : "", dot ? dot + 1 : key->name);
  if (absent)
    page_add(p, "%s", key->standard);
  else if (key->kind == RUNFILE_WARMUP)
    page_add(p, "%s", key->standard);
  else
    add_value(p, run, key);
  page_add(p, "\n");
}

/* The defaults are those of a run that says only what must be said. */
static enum status parse_least(const char *preset, struct runfile *run, struct why *why) {
  char text[4 * NAME_BYTES_MAX];
  struct page p = {.at = text, .room = sizeof text};
  page_add(&p, "model: {preset: \"%s\"}\ndata: {corpus: %s}\n", preset,
           runfile_key((size_t)runfile_find("data.corpus"))->standard);
  for (size_t i = 0; i < runfile_key_count(); i++) {
    const struct runfile_key *key = runfile_key(i);
    if (key->otherwise == DEFAULT_NONE && !strchr(key->name, '.'))
      page_add(&p, "%s: %s\n", key->name, key->standard);
  }
  if (p.full)
    return why_say(why, STATUS_MISSING, "there is no preset with so long a name");
  return runfile_parse("defaults", text, p.used, run, why);
}

enum status runfile_defaults(const char *preset, char *out, size_t out_bytes, struct why *why) {
  struct runfile *run = malloc(sizeof *run);
  if (!run)
    return why_say(why, STATUS_NOMEM, "no memory for a run file");
  enum status s = parse_least(preset, run, why);
  if (s != STATUS_OK) {
    free(run);
    return s;
  }
  struct page p = {.at = out, .room = out_bytes};
  const char *section = "";
  size_t section_length = 0;
  page_add(&p,
           "# A run of Caravan, complete: every key, its meaning, and its default.\n"
           "# What you leave out keeps its default. 'caravan-node train RUN.yaml --check' "
           "tries it.\n"
           "# Sizes take K M G T (1000) and Ki Mi Gi Ti (1024).\n");
  for (size_t i = 0; i < runfile_key_count(); i++) {
    const struct runfile_key *key = runfile_key(i);
    const char *dot = strchr(key->name, '.');
    size_t length = dot ? (size_t)(dot - key->name) : 0;
    if (length != section_length || strncmp(section, key->name, length) != 0) {
      section = key->name;
      section_length = length;
      page_add(&p, "\n%.*s:\n", (int)length, section);
    }
    add_default(&p, run, key);
  }
  free(run);
  return p.full ? why_say(why, STATUS_RANGE, "%zu bytes are too few for the defaults", out_bytes)
                : STATUS_OK;
}
