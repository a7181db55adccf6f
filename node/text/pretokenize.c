#include "node/text/pretokenize.h"

#include <string.h>

#include "proto/base/claim.h"

static const struct {
  enum pretokenize_pattern pattern;
  const char *regex;
} known[] = {
    {PRETOKENIZE_GPT2,
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {PRETOKENIZE_LLAMA3,
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
     " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {PRETOKENIZE_QWEN2,
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
     " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
};

bool pretokenize_known(const char *regex, enum pretokenize_pattern *out) {
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(regex, known[i].regex) == 0) {
      *out = known[i].pattern;
      return true;
    }
  }
  return false;
}

/* The kind of the character at `at` and where the next one begins. */
static inline enum unicode_flag kind_at(const struct unicode_class *u, const uint8_t *at,
                                        const uint8_t **next) {
  if (*at < 0x80) {
    *next = at + 1;
    return u->of[*at] & UNICODE_KIND;
  }
  size_t bytes;
  uint32_t c = unicode_decode(at, &bytes);
  *next = at + bytes;
  return u->of[c] & UNICODE_KIND;
}

/* The end of the characters of one kind from `at` on. */
static inline const uint8_t *run_end(const struct unicode_class *u, const uint8_t *at,
                                     const uint8_t *end, enum unicode_flag kind) {
  while (at < end) {
    const uint8_t *next;
    if (kind_at(u, at, &next) != kind)
      break;
    at = next;
  }
  return at;
}

/* \s+(?!\S)|\s+ : all the spaces at the end of the text, otherwise all but the last, which goes
 * with what follows it; a single one alone. */
static const uint8_t *spaces_end(const struct unicode_class *u, const uint8_t *at,
                                 const uint8_t *end) {
  const uint8_t *p = at, *last = at;
  while (p < end) {
    const uint8_t *next;
    if (kind_at(u, p, &next) != UNICODE_SPACE)
      return last > at ? last : p;
    last = p;
    p = next;
  }
  return p;
}

static inline bool has(const uint8_t *at, const uint8_t *end, char first, char second) {
  return end - at >= 3 && at[1] == (uint8_t)first && at[2] == (uint8_t)second;
}

/* 's|'t|'re|'ve|'m|'ll|'d at an apostrophe; NULL when none is there. */
static const uint8_t *contraction_end(const uint8_t *at, const uint8_t *end) {
  if (end - at < 2)
    return NULL;
  uint8_t c = at[1];
  if (c == 's' || c == 't' || c == 'm' || c == 'd')
    return at + 2;
  if (has(at, end, 'r', 'e') || has(at, end, 'v', 'e') || has(at, end, 'l', 'l'))
    return at + 3;
  return NULL;
}

/* The same in either case. U+017F, the long s, is an s to a pattern that ignores case. */
static const uint8_t *any_case_contraction_end(const uint8_t *at, const uint8_t *end) {
  if (end - at < 2)
    return NULL;
  uint8_t lower[3] = {at[0], (uint8_t)(at[1] | 0x20), end - at > 2 ? (uint8_t)(at[2] | 0x20) : 0};
  const uint8_t *found = contraction_end(lower, lower + (end - at > 2 ? 3 : 2));
  if (found)
    return at + (found - lower);
  return has(at, end, '\xc5', '\xbf') ? at + 3 : NULL;
}

static const uint8_t *gpt2_next(const struct unicode_class *u, const uint8_t *at,
                                const uint8_t *end) {
  if (*at == '\'') {
    const uint8_t *contraction = contraction_end(at, end);
    if (contraction)
      return contraction;
  }
  const uint8_t *next;
  enum unicode_flag kind = kind_at(u, at, &next);
  if (*at == ' ' && next < end) {
    const uint8_t *second;
    kind = kind_at(u, next, &second);
    if (kind != UNICODE_SPACE)
      return run_end(u, second, end, kind);
  }
  if (kind == UNICODE_SPACE)
    return spaces_end(u, at, end);
  return run_end(u, next, end, kind);
}

static inline bool is_newline(uint8_t c) {
  return c == '\r' || c == '\n';
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static const uint8_t *spaces_or_lines_end(const struct unicode_class *u, const uint8_t *at,
                                          const uint8_t *end) {
  const uint8_t *run = run_end(u, at, end, UNICODE_SPACE);
  for (const uint8_t *p = run; p > at; p--)
    if (is_newline(p[-1]))
      return p;
  return spaces_end(u, at, end);
}

static const uint8_t *others_end(const struct unicode_class *u, const uint8_t *at,
                                 const uint8_t *end) {
  const uint8_t *p = run_end(u, at, end, UNICODE_OTHER);
  while (p < end && is_newline(*p))
    p++;
  return p;
}

static const uint8_t *llama3_next(const struct unicode_class *u, const uint8_t *at,
                                  const uint8_t *end, int digits_max) {
  if (*at == '\'') {
    const uint8_t *contraction = any_case_contraction_end(at, end);
    if (contraction)
      return contraction;
  }
  const uint8_t *next;
  const uint8_t *second = at; /* read only where it was set; not every gcc sees that */
  enum unicode_flag kind = kind_at(u, at, &next);
  if (kind == UNICODE_LETTER)
    return run_end(u, next, end, UNICODE_LETTER);
  if (kind == UNICODE_NUMBER) {
    for (int digits = 1; digits < digits_max && next < end; digits++, next = second)
      if (kind_at(u, next, &second) != UNICODE_NUMBER)
        break;
    return next;
  }
  enum unicode_flag after = next < end ? kind_at(u, next, &second) : UNICODE_SPACE;
  if (after == UNICODE_LETTER && !is_newline(*at))
    return run_end(u, second, end, UNICODE_LETTER);
  if (kind == UNICODE_OTHER)
    return others_end(u, next, end);
  if (*at == ' ' && after == UNICODE_OTHER)
    return others_end(u, second, end);
  return spaces_or_lines_end(u, at, end);
}

const uint8_t *pretokenize_next(enum pretokenize_pattern pattern, const struct unicode_class *u,
                                const uint8_t *at, const uint8_t *end) {
  CLAIM(at < end);
  switch (pattern) {
    case PRETOKENIZE_WHOLE: return end;
    case PRETOKENIZE_GPT2: return gpt2_next(u, at, end);
    case PRETOKENIZE_LLAMA3: return llama3_next(u, at, end, 3);
    case PRETOKENIZE_QWEN2: return llama3_next(u, at, end, 1);
  }
  return end;
}
