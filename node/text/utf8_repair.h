/* utf8_repair: any bytes to valid UTF-8, exactly as Python's bytes.decode(errors="replace").
 *
 *   size_t good = utf8_valid_prefix(text, n);
 *   if (good < n) m = utf8_repair(text, n, out, &replaced);   // out has room for 3 n
 *
 * Each maximal part of a broken sequence becomes one U+FFFD (Unicode 16, section 3.9, "U+FFFD
 * Substitution of Maximal Subparts", which CPython follows); surrogates, overlong forms and code
 * points past U+10FFFF are broken. Pure. */
#ifndef CARAVAN_UTF8_REPAIR_H
#define CARAVAN_UTF8_REPAIR_H

#include <stddef.h>
#include <stdint.h>

/* How many bytes at the start are whole, valid characters. n when all is well. */
size_t utf8_valid_prefix(const uint8_t *text, size_t n);

/* Returns the bytes written; adds the number of U+FFFD written to *replaced. */
size_t utf8_repair(const uint8_t *text, size_t n, uint8_t *out, uint64_t *replaced);

#endif
