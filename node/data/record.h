/* record: the text of one JSON line.
 *
 *   size_t count;
 *   TRY(record_text(line, line_bytes, out, &count, &surrogates, &why));   // out: line_bytes
 *
 * A line of RedPajama-Data-1T is an object whose "text" is the document; whatever stands beside it
 * (flat keys, a "meta" object before or after) is checked to be JSON and otherwise ignored. As
 * Python's json module does: the last of equal keys wins, keys may be written with escapes, NaN and
 * Infinity are numbers, control characters inside strings are refused. Unlike it, an escaped
 * surrogate without its other half becomes U+FFFD and is counted, for it cannot be written in
 * UTF-8. Bytes from 0x80 pass as they are: the tokenizer replaces and counts what is not UTF-8.
 * Faster than a tree of values by far, because nothing but the text is kept. Pure. */
#ifndef CARAVAN_RECORD_H
#define CARAVAN_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum { RECORD_DEPTH_MAX = 512 }; /* objects and arrays inside each other */

/* The text into out, which has room for line_bytes (text is never longer than its JSON). The number
 * of replaced surrogates is added to *surrogates. BAD: what was found and expected, and at which
 * byte of the line; out is undefined then, *out_bytes and *surrogates unchanged. */
CHECKED enum status record_text(const uint8_t *line, size_t line_bytes, uint8_t *out,
                                size_t *out_bytes, uint64_t *surrogates, struct why *why);

#endif
