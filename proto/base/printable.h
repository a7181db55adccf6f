/* printable: which bytes of text that came from elsewhere may reach a person's terminal.
 *
 *   size_t length = printable_length(at);
 *   if (length == 0) replace or escape *at;
 *
 * A file or a peer can send terminal escapes, or a character cut in half. Pure. */
#ifndef CARAVAN_PRINTABLE_H
#define CARAVAN_PRINTABLE_H

#include <stddef.h>

/* Bytes of the well-formed UTF-8 character at the start of a zero-terminated text; 0 when there is
 * none, or a control character (C0, DEL, C1). */
size_t printable_length(const char *text);

#endif
