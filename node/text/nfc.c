#include "node/text/nfc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "node/text/unicode_tables.h"
#include "proto/base/claim.h"

/* Hangul syllables by arithmetic: Unicode 16, section 3.12. */
enum {
  SYLLABLE = 0xac00,
  LEADING = 0x1100,
  VOWEL = 0x1161,
  TRAILING = 0x11a7, /* one before the first */
  LEADING_COUNT = 19,
  VOWEL_COUNT = 21,
  TRAILING_COUNT = 28,
  SYLLABLE_COUNT = LEADING_COUNT * VOWEL_COUNT * TRAILING_COUNT,
};

/* A code point with its combining class above it, so that both are sorted together. */
enum { CLASS_SHIFT = 21, POINT_MASK = (1 << CLASS_SHIFT) - 1, EXPANSION_MAX = 4 };

static int by_parts(const void *a, const void *b) {
  uint64_t x = ((const struct nfc_compose *)a)->parts;
  uint64_t y = ((const struct nfc_compose *)b)->parts;
  return (x > y) - (x < y);
}

void nfc_init(struct nfc *n, const struct unicode_class *class_of) {
  n->class_of = class_of;
  n->compose_count = 0;
  for (size_t i = 0; i < unicode_pairs_count; i++) {
    const struct unicode_pair *pair = &unicode_pairs[i];
    if (!pair->composes)
      continue;
    CLAIM(n->compose_count < NFC_COMPOSE_MAX);
    n->compose[n->compose_count++] =
        (struct nfc_compose){(uint64_t)pair->first << 32 | pair->second, pair->composite};
  }
  qsort(n->compose, n->compose_count, sizeof n->compose[0], by_parts);
}

void nfc_work_end(struct nfc_work *w) {
  growing_end(&w->out);
  growing_end(&w->points);
}

static uint32_t combining_class(const struct nfc *n, uint32_t c) {
  if (!(n->class_of->of[c] & UNICODE_MARK))
    return 0;
  size_t low = 0, high = unicode_marks_count;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    if (unicode_marks[middle].begin <= c)
      low = middle;
    else
      high = middle;
  }
  return unicode_marks[low].combining_class;
}

static const struct unicode_pair *pair_of(uint32_t c) {
  size_t low = 0, high = unicode_pairs_count;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    if (unicode_pairs[middle].composite <= c)
      low = middle;
    else
      high = middle;
  }
  return unicode_pairs[low].composite == c ? &unicode_pairs[low] : NULL;
}

/* 0: the two do not join. */
static uint32_t composite_of(const struct nfc *n, uint32_t first, uint32_t second) {
  if (first - LEADING < LEADING_COUNT && second - VOWEL < VOWEL_COUNT)
    return SYLLABLE + ((first - LEADING) * VOWEL_COUNT + second - VOWEL) * TRAILING_COUNT;
  if (first - SYLLABLE < SYLLABLE_COUNT && (first - SYLLABLE) % TRAILING_COUNT == 0 &&
      second - TRAILING - 1 < TRAILING_COUNT - 1)
    return first + second - TRAILING;
  uint64_t parts = (uint64_t)first << 32 | second;
  size_t low = 0, high = n->compose_count;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    if (n->compose[middle].parts <= parts)
      low = middle;
    else
      high = middle;
  }
  return n->compose[low].parts == parts ? n->compose[low].composite : 0;
}

/* The full canonical decomposition of c, at most EXPANSION_MAX points with their classes. */
static size_t decompose(const struct nfc *n, uint32_t c, uint32_t *out) {
  if (c - SYLLABLE < SYLLABLE_COUNT) {
    uint32_t index = c - SYLLABLE;
    out[0] = LEADING + index / (VOWEL_COUNT * TRAILING_COUNT);
    out[1] = VOWEL + index / TRAILING_COUNT % VOWEL_COUNT;
    out[2] = TRAILING + index % TRAILING_COUNT;
    return index % TRAILING_COUNT ? 3 : 2;
  }
  const struct unicode_pair *pair = c < 0x80 ? NULL : pair_of(c);
  if (!pair) {
    out[0] = combining_class(n, c) << CLASS_SHIFT | c;
    return 1;
  }
  size_t count = decompose(n, pair->first, out);
  if (pair->second)
    count += decompose(n, pair->second, out + count);
  CLAIM(count <= EXPANSION_MAX);
  return count;
}

/* Put marks of rising class after one another, equal ones as they stood. A long run is counted
 * into place, so that a million marks in the wrong order cost no more than in the right one. */
static void sort_marks(uint32_t *marks, size_t count, uint32_t *aside) {
  if (count <= 32) {
    for (size_t i = 1; i < count; i++) {
      uint32_t mark = marks[i];
      size_t j = i;
      for (; j > 0 && marks[j - 1] >> CLASS_SHIFT > mark >> CLASS_SHIFT; j--)
        marks[j] = marks[j - 1];
      marks[j] = mark;
    }
    return;
  }
  size_t begin[257] = {0};
  for (size_t i = 0; i < count; i++)
    begin[(marks[i] >> CLASS_SHIFT) + 1]++;
  for (size_t k = 0; k < 256; k++)
    begin[k + 1] += begin[k];
  for (size_t i = 0; i < count; i++)
    aside[begin[marks[i] >> CLASS_SHIFT]++] = marks[i];
  memcpy(marks, aside, count * sizeof marks[0]);
}

static void order(uint32_t *points, size_t count, uint32_t *aside) {
  for (size_t i = 0; i < count;) {
    size_t end = i;
    while (end < count && points[end] >> CLASS_SHIFT)
      end++;
    if (end - i > 1)
      sort_marks(points + i, end - i, aside);
    i = end + 1;
  }
}

/* Compose in place; the classes are gone afterwards. Returns the points left. */
static size_t compose(const struct nfc *n, uint32_t *points, size_t count) {
  size_t kept = 0, starter = SIZE_MAX;
  uint32_t class_before = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t c = points[i] & POINT_MASK, class_here = points[i] >> CLASS_SHIFT;
    if (starter != SIZE_MAX && (kept == starter + 1 || class_before < class_here)) {
      uint32_t both = composite_of(n, points[starter], c);
      if (both) {
        points[starter] = both;
        continue;
      }
    }
    if (class_here == 0)
      starter = kept;
    class_before = class_here;
    points[kept++] = c;
  }
  return kept;
}

/* Normalise text[0, bytes) onto the end of w->out. */
static enum status append_normal(const struct nfc *n, struct nfc_work *w, const uint8_t *text,
                                 size_t bytes, size_t *used, struct why *why) {
  size_t room = bytes * EXPANSION_MAX; /* no more points than bytes */
  TRY(growing_need(&w->points, 2 * room * sizeof(uint32_t), why));
  uint32_t *points = w->points.at;
  size_t count = 0;
  for (size_t i = 0, step; i < bytes; i += step)
    count += decompose(n, unicode_decode(text + i, &step), points + count);
  order(points, count, points + room);
  count = compose(n, points, count);
  TRY(growing_need(&w->out, *used + count * 4, why));
  uint8_t *out = w->out.at;
  for (size_t i = 0; i < count; i++)
    *used += unicode_encode(points[i], out + *used);
  return STATUS_OK;
}

static enum status append_same(struct nfc_work *w, const uint8_t *text, size_t bytes, size_t *used,
                               struct why *why) {
  if (bytes == 0)
    return STATUS_OK;
  TRY(growing_need(&w->out, *used + bytes, why));
  memcpy((uint8_t *)w->out.at + *used, text, bytes);
  *used += bytes;
  return STATUS_OK;
}

/* From i on, the first character that NFC might change or move; *anchor is where the character
 * before it begins, which stays as it is but may be joined to. */
static size_t find_loose(const struct nfc *n, const uint8_t *text, size_t bytes, size_t i,
                         size_t *anchor) {
  while (i < bytes) {
    uint64_t eight;
    if (bytes - i >= sizeof eight) {
      memcpy(&eight, text + i, sizeof eight);
      if (!(eight & UINT64_C(0x8080808080808080))) {
        i += sizeof eight;
        *anchor = i - 1;
        continue;
      }
    }
    size_t step;
    if (n->class_of->of[unicode_decode(text + i, &step)] & (UNICODE_MARK | UNICODE_LOOSE))
      return i;
    *anchor = i;
    i += step;
  }
  return bytes;
}

/* The end of the characters from i on that NFC might change or move. *settled: they are marks in
 * the right order that join nothing, so that they may stay. */
static size_t loose_end(const struct nfc *n, const uint8_t *text, size_t bytes, size_t i,
                        bool *settled) {
  uint32_t class_before = 0;
  *settled = true;
  while (i < bytes) {
    size_t step;
    uint32_t c = unicode_decode(text + i, &step);
    uint8_t flags = n->class_of->of[c];
    if (!(flags & (UNICODE_MARK | UNICODE_LOOSE)))
      break;
    uint32_t class_here = combining_class(n, c);
    if (flags & UNICODE_LOOSE || class_here < class_before)
      *settled = false;
    class_before = class_here;
    i += step;
  }
  return i;
}

enum status nfc_apply(const struct nfc *n, struct nfc_work *w, const uint8_t *text, size_t bytes,
                      const uint8_t **out, size_t *out_bytes, struct why *why) {
  size_t done = 0; /* text before it is in w->out */
  size_t used = 0, anchor = 0;
  bool changed = false;
  for (size_t i = find_loose(n, text, bytes, 0, &anchor); i < bytes;
       i = find_loose(n, text, bytes, i, &anchor)) {
    bool settled;
    i = loose_end(n, text, bytes, i, &settled);
    if (settled)
      continue;
    changed = true;
    TRY(append_same(w, text + done, anchor - done, &used, why));
    TRY(append_normal(n, w, text + anchor, i - anchor, &used, why));
    done = anchor = i;
  }
  *out = text;
  *out_bytes = bytes;
  if (changed) {
    TRY(append_same(w, text + done, bytes - done, &used, why));
    *out = w->out.at;
    *out_bytes = used;
  }
  return STATUS_OK;
}
