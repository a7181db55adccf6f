#include "node/text/utf8_repair.h"

#include <stdbool.h>
#include <string.h>

/* Look at one sequence of at least one byte. *bytes is its length when it is whole, and otherwise
 * that of its longest beginning which could still have become a character (at least 1). */
static bool sequence_is_whole(const uint8_t *at, size_t left, size_t *bytes) {
  uint8_t first = at[0];
  *bytes = 1;
  if (first < 0x80)
    return true;
  if (first < 0xc2 || first > 0xf4)
    return false;
  size_t need = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;  /* no overlong forms */
  uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf; /* no surrogates, no more */
  while (*bytes < need) {
    if (*bytes >= left || at[*bytes] < low || at[*bytes] > high)
      return false;
    low = 0x80;
    high = 0xbf;
    ++*bytes;
  }
  return true;
}

size_t utf8_valid_prefix(const uint8_t *text, size_t n) {
  size_t i = 0;
  while (i < n) {
    uint64_t eight;
    if (n - i >= sizeof eight) {
      memcpy(&eight, text + i, sizeof eight);
      if (!(eight & UINT64_C(0x8080808080808080))) {
        i += sizeof eight;
        continue;
      }
    }
    size_t bytes;
    if (!sequence_is_whole(text + i, n - i, &bytes))
      return i;
    i += bytes;
  }
  return n;
}

size_t utf8_repair(const uint8_t *text, size_t n, uint8_t *out, uint64_t *replaced) {
  size_t i = 0, written = 0;
  while (i < n) {
    size_t good = utf8_valid_prefix(text + i, n - i);
    memcpy(out + written, text + i, good);
    written += good;
    i += good;
    if (i == n)
      break;
    size_t bytes;
    (void)sequence_is_whole(text + i, n - i, &bytes);
    memcpy(out + written, "\xef\xbf\xbd", 3);
    written += 3;
    i += bytes;
    ++*replaced;
  }
  return written;
}
