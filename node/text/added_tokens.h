/* added_tokens: tokens that are cut out of the text as they stand, before anything else sees it.
 *
 *   TRY(added_tokens_open(tokens, count, &a, &why));
 *   struct added_scan scan = added_scan(a, classes, text, end);
 *   while (added_scan_next(&scan, &found)) …      // text before found, then found.id
 *
 * At each place the longest token wins and the search goes on behind it, as the Aho-Corasick
 * automaton of `tokenizers` does with "leftmost-longest"; then the token's own rules: single_word
 * refuses it beside a word character, lstrip and rstrip take the white space at its sides. A token
 * that rstrip took spaces for does not hide tokens made of those spaces; that is how the model's
 * data was tokenized, so it is kept. Read-only after opening. */
#ifndef CARAVAN_ADDED_TOKENS_H
#define CARAVAN_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/text/unicode_class.h"
#include "proto/base/status.h"

enum {
  ADDED_TOKEN_MAX = 65536, /* added tokens of one file */
  ADDED_TOKEN_BYTES_MAX = 1024,
};

struct added_token {
  const uint8_t *bytes; /* borrowed until the set is closed; at least one */
  uint32_t count;       /* bytes */
  uint32_t id;
  bool single_word;
  bool lstrip;
  bool rstrip;
};

struct added_tokens;

/* UNSUPPORTED: two tokens with the same bytes; `tokenizers` takes either, by chance. NOMEM. */
CHECKED enum status added_tokens_open(const struct added_token *tokens, size_t count,
                                      struct added_tokens **out, struct why *why);
void added_tokens_close(struct added_tokens **a);

struct added_scan {
  const struct added_tokens *set;
  const struct unicode_class *class_of;
  const uint8_t *begin, *end;
  const uint8_t *search;              /* the automaton is here */
  const uint8_t *done;                /* text before it has been given out */
  const uint8_t *spaces, *spaces_end; /* white space looked over last, not to do so twice */
};

struct added_found {
  const uint8_t *text; /* [text, text_end) came before the token, or the end; it may be empty */
  const uint8_t *text_end;
  bool is_token; /* false: the end of the text */
  uint32_t id;
};

struct added_scan added_scan(const struct added_tokens *a, const struct unicode_class *class_of,
                             const uint8_t *text, const uint8_t *end);
/* False when everything, the text behind the last token included, has been given. */
bool added_scan_next(struct added_scan *s, struct added_found *out);

#endif
