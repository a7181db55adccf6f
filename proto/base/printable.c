#include "proto/base/printable.h"

#include <stdint.h>

/* Well-formed as the Unicode standard's table 3-7 says: no overlong forms, no surrogates, nothing
 * past U+10FFFF. A zero ends every loop early, since it is no continuation byte. */
size_t printable_length(const char *text) {
  const uint8_t *s = (const uint8_t *)text;
  if (s[0] >= 0x20 && s[0] < 0x7f)
    return 1;
  size_t need = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  if (s[0] < 0xc2 || s[0] > 0xf4)
    return 0;
  for (size_t i = 1; i < need; i++)
    if ((s[i] & 0xc0) != 0x80)
      return 0;
  if (s[0] == 0xc2 && s[1] < 0xa0)
    return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
    return 0;
  if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
    return 0;
  return need;
}
