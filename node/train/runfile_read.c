#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/train/runfile_table.h"
#include "proto/base/claim.h"

enum { EXPECT_BYTES_MAX = 256, DECIMALS_MAX = 9 };

static enum status say_expected(const struct runfile *run, const struct runfile_key *key,
                                const struct yamlnode *value, struct why *why) {
  char expected[EXPECT_BYTES_MAX];
  runfile_expects(key, expected, sizeof expected);
  if (!value->text)
    return why_say(why, STATUS_BAD, "%s:%zu: key \"%s\": expected %s, got %s", run->file,
                   value->line, key->name, expected, yamlnode_kind_text(value->kind));
  return why_say(why, STATUS_BAD, "%s:%zu: key \"%s\": expected %s, got \"%.80s\"", run->file,
                 value->line, key->name, expected, value->text);
}

/* A suffix as a factor; 0 when it is none. `e6` is taken as a factor too. */
static uint64_t factor_of(const char *suffix) {
  static const char letters[] = "KMGTP";
  if (!suffix[0])
    return 1;
  if (suffix[0] == 'e' && suffix[1] >= '0' && suffix[1] <= '9') {
    char *end;
    unsigned long power = strtoul(suffix + 1, &end, 10);
    uint64_t factor = 1;
    if (*end || power > 18)
      return 0;
    for (unsigned long i = 0; i < power; i++)
      factor *= 10;
    return factor;
  }
  const char *letter = strchr(letters, suffix[0] == 'k' ? 'K' : suffix[0]);
  if (!letter || (suffix[1] && strcmp(suffix + 1, "i") != 0))
    return 0;
  uint64_t factor = 1;
  for (long i = 0; i <= letter - letters; i++)
    factor *= suffix[1] ? 1024 : 1000;
  return factor;
}

/* Digits, perhaps with decimals: value = mantissa / 10^decimals. Returns what follows, or NULL. */
static const char *read_decimal(const char *text, uint64_t *mantissa, int *decimals) {
  *mantissa = 0;
  *decimals = 0;
  bool point = false;
  const char *at = text;
  for (; (*at >= '0' && *at <= '9') || (*at == '.' && !point); at++) {
    if (*at == '.') {
      point = true;
      continue;
    }
    if (*mantissa > UINT64_MAX / 10 - 1 || (point && *decimals == DECIMALS_MAX))
      return NULL;
    *mantissa = *mantissa * 10 + (uint64_t)(*at - '0');
    *decimals += point;
  }
  bool digits = at > text + point;
  return digits ? at : NULL;
}

static uint64_t power_of_ten(int exponent) {
  uint64_t value = 1;
  while (exponent-- > 0)
    value *= 10;
  return value;
}

/* A whole number with a suffix, exactly: "1.5M" is 1500000, "1.5" is none. */
static bool read_count(const char *text, bool bytes, uint64_t *out) {
  uint64_t mantissa;
  int decimals;
  const char *at = read_decimal(text, &mantissa, &decimals);
  if (!at)
    return false;
  char suffix[8] = "";
  size_t length = strlen(at);
  if (bytes && length && at[length - 1] == 'B')
    length--;
  if (length >= sizeof suffix)
    return false;
  memcpy(suffix, at, length);
  uint64_t factor = factor_of(suffix);
  if (!factor || mantissa > UINT64_MAX / factor)
    return false;
  uint64_t scaled = mantissa * factor;
  uint64_t divisor = power_of_ten(decimals);
  if (scaled % divisor)
    return false;
  *out = scaled / divisor;
  return true;
}

static bool read_real(const char *text, double *out) {
  if (!text[0] || text[strspn(text, "0123456789+-.eE")])
    return false;
  char *end;
  *out = strtod(text, &end);
  return !*end && isfinite(*out);
}

static bool set_count(struct runfile *run, const struct runfile_key *key, const char *text) {
  uint64_t value;
  if (key->takes_auto && !strcmp(text, "auto")) {
    *(uint64_t *)runfile_at(run, key) = 0;
    return true;
  }
  if (!read_count(text, key->kind == RUNFILE_BYTES, &value) || (double)value < key->least ||
      (double)value > key->most)
    return false;
  if (key->kind == RUNFILE_WIDTH)
    *(int64_t *)runfile_at(run, key) = (int64_t)value;
  else
    *(uint64_t *)runfile_at(run, key) = value;
  return true;
}

static bool set_real(struct runfile *run, const struct runfile_key *key, const char *text) {
  double value;
  if (!read_real(text, &value) || value < key->least || value > key->most ||
      (key->above && value == key->least))
    return false;
  *(double *)runfile_at(run, key) = value;
  return true;
}

static bool set_word(struct runfile *run, const struct runfile_key *key, const char *text) {
  for (int64_t i = 0; key->words[i]; i++)
    if (!strcmp(key->words[i], text)) {
      *(int64_t *)runfile_at(run, key) = i;
      return true;
    }
  return false;
}

static bool set_flag(struct runfile *run, const struct runfile_key *key, const char *text) {
  bool value = !strcmp(text, "true");
  if (!value && strcmp(text, "false") != 0)
    return false;
  *(bool *)runfile_at(run, key) = value;
  return true;
}

static bool set_text(char *out, size_t out_bytes, const char *text) {
  size_t length = strlen(text);
  if (length == 0 || length >= out_bytes)
    return false;
  memcpy(out, text, length + 1);
  return true;
}

static bool is_name(const char *text) {
  return text[0] != '.' && text[0] != '-' &&
         !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")];
}

static bool set_warmup(struct runfile *run, const char *text) {
  size_t length = strlen(text);
  char number[32];
  double percent;
  if (length < 2 || length >= sizeof number || text[length - 1] != '%') {
    run->raw.warmup_fraction = -1;
    return read_count(text, false, &run->warmup_tokens) && run->warmup_tokens <= TOKENS_TOTAL_MAX;
  }
  memcpy(number, text, length - 1);
  number[length - 1] = 0;
  if (!read_real(number, &percent) || percent < 0 || percent > 100)
    return false;
  run->raw.warmup_fraction = percent / 100;
  return true;
}

static bool set_scalar(struct runfile *run, const struct runfile_key *key, const char *text) {
  switch (key->kind) {
    case RUNFILE_NAME: return is_name(text) && set_text(runfile_at(run, key), NAME_BYTES_MAX, text);
    case RUNFILE_PATH: return set_text(runfile_at(run, key), PATH_BYTES_MAX, text);
    case RUNFILE_PATHS:
      run->corpus_count = 1;
      return set_text(run->corpus[0], PATH_BYTES_MAX, text);
    case RUNFILE_SLICES: return false;
    case RUNFILE_COUNT:
    case RUNFILE_WIDTH:
    case RUNFILE_BYTES: return set_count(run, key, text);
    case RUNFILE_REAL: return set_real(run, key, text);
    case RUNFILE_FLAG: return set_flag(run, key, text);
    case RUNFILE_WORD: return set_word(run, key, text);
    case RUNFILE_WARMUP: return set_warmup(run, text);
  }
  return false;
}

static enum status set_paths(struct runfile *run, const struct runfile_key *key,
                             const struct yamlnode *list, struct why *why) {
  run->corpus_count = 0;
  for (const struct yamlnode *n = list->child; n; n = n->next) {
    if (run->corpus_count == RUNFILE_CORPUS_MAX || !n->text ||
        !set_text(run->corpus[run->corpus_count], PATH_BYTES_MAX, n->text))
      return say_expected(run, key, n, why);
    run->corpus_count++;
  }
  return run->corpus_count ? STATUS_OK : say_expected(run, key, list, why);
}

static enum status say_weight(const struct runfile *run, const struct yamlnode *n,
                              struct why *why) {
  return why_say(why, STATUS_BAD,
                 "%s:%zu: key \"data.slices.%s\": expected a weight such as 0.25, with at most %d "
                 "decimals and below 1000000, got \"%.80s\"",
                 run->file, n->line, n->key, DECIMALS_MAX,
                 n->text ? n->text : yamlnode_kind_text(n->kind));
}

static uint64_t common_divisor(uint64_t a, uint64_t b) {
  while (b) {
    uint64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/* Decimal weights become integers by the same factor, then by their common divisor, so that
 * {a: 0.5, b: 0.5} and {a: 1, b: 1} are the same mixture. */
static enum status set_slices(struct runfile *run, const struct runfile_key *key,
                              const struct yamlnode *mapping, struct why *why) {
  uint64_t divisor = 0;
  run->slice_count = 0;
  for (const struct yamlnode *n = mapping->child; n; n = n->next) {
    uint64_t mantissa;
    int decimals;
    if (run->slice_count == SLICE_COUNT_MAX)
      return why_say(why, STATUS_RANGE, "%s:%zu: key \"data.slices\": more than %d slices",
                     run->file, n->line, SLICE_COUNT_MAX);
    struct runfile_slice *slice = &run->slices[run->slice_count++];
    if (!set_text(slice->name, NAME_BYTES_MAX, n->key))
      return why_say(why, STATUS_RANGE, "%s:%zu: a slice's name has 1 to %d bytes", run->file,
                     n->line, NAME_BYTES_MAX - 1);
    const char *end = n->text ? read_decimal(n->text, &mantissa, &decimals) : NULL;
    if (!end || *end || mantissa / power_of_ten(decimals) >= 1000000)
      return say_weight(run, n, why);
    slice->weight = mantissa * power_of_ten(DECIMALS_MAX - decimals);
    slice->line = n->line;
    divisor = common_divisor(slice->weight, divisor);
  }
  if (divisor == 0)
    return say_expected(run, key, mapping, why);
  for (size_t i = 0; i < run->slice_count; i++)
    run->slices[i].weight /= divisor;
  return STATUS_OK;
}

enum status runfile_set(struct runfile *run, const struct runfile_key *key,
                        const struct yamlnode *value, struct why *why) {
  if (key->kind == RUNFILE_PATHS && value->kind == YAMLNODE_SEQUENCE)
    return set_paths(run, key, value, why);
  if (key->kind == RUNFILE_SLICES && value->kind == YAMLNODE_MAPPING)
    return set_slices(run, key, value, why);
  if (value->kind != YAMLNODE_SCALAR || !set_scalar(run, key, value->text))
    return say_expected(run, key, value, why);
  return STATUS_OK;
}

void runfile_set_default(struct runfile *run, const struct runfile_key *key) {
  CLAIM(key->otherwise == DEFAULT_TEXT);
  bool read = set_scalar(run, key, key->standard);
  CLAIM(read);
}
