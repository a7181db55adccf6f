/* unicode_class: what kind of character a code point is, in one look.
 *
 *   struct unicode_class *u = malloc(sizeof *u);
 *   unicode_class_init(u);
 *   size_t bytes;
 *   uint32_t c = unicode_decode(at, &bytes);
 *   if ((u->of[c] & UNICODE_KIND) == UNICODE_LETTER) …
 *
 * A flat table of one byte per code point (1.1 MB, of which a text touches a few pages), spread out
 * from the ranges of unicode_tables.h. Read-only after init. Pure. */
#ifndef CARAVAN_UNICODE_CLASS_H
#define CARAVAN_UNICODE_CLASS_H

#include <stddef.h>
#include <stdint.h>

enum { UNICODE_COUNT = 0x110000 };

enum unicode_flag {
  UNICODE_OTHER = 0,
  UNICODE_LETTER = 1,
  UNICODE_NUMBER = 2,
  UNICODE_SPACE = 3,
  UNICODE_KIND = 3,   /* mask of the four above */
  UNICODE_WORD = 4,   /* \w */
  UNICODE_MARK = 8,   /* its combining class is not 0 */
  UNICODE_LOOSE = 16, /* NFC may change it or join it to what stands before */
};

struct unicode_class {
  uint8_t of[UNICODE_COUNT];
};

void unicode_class_init(struct unicode_class *u);

/* The code point at `at`, which must be valid UTF-8, and its length. */
static inline uint32_t unicode_decode(const uint8_t *at, size_t *bytes) {
  uint32_t c = at[0];
  if (c < 0x80) {
    *bytes = 1;
    return c;
  }
  if (c < 0xe0) {
    *bytes = 2;
    return (c & 0x1f) << 6 | (at[1] & 0x3f);
  }
  if (c < 0xf0) {
    *bytes = 3;
    return (c & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
  }
  *bytes = 4;
  return (c & 0x07) << 18 | (uint32_t)(at[1] & 0x3f) << 12 | (uint32_t)(at[2] & 0x3f) << 6 |
         (at[3] & 0x3f);
}

/* Write a code point as UTF-8; out has room for 4. Returns its length. */
static inline size_t unicode_encode(uint32_t c, uint8_t *out) {
  if (c < 0x80) {
    out[0] = (uint8_t)c;
    return 1;
  }
  size_t bytes = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = bytes - 1; i > 0; i--, c >>= 6)
    out[i] = (uint8_t)(0x80 | (c & 0x3f));
  out[0] = (uint8_t)((bytes == 2 ? 0xc0 : bytes == 3 ? 0xe0 : 0xf0) | c);
  return bytes;
}

#endif
