/* chunk: the documents of a piece of input as packed token ids.
 *
 *   struct chunk_out out = {0};                       // reused from chunk to chunk
 *   TRY(chunk_encode(&how, work, text, bytes, &out, &why));
 *   chunk_end(&out);
 *
 * Splits the text into documents, takes a record's "text" out of its JSON, tokenizes, and puts
 * <|endoftext|> behind each document. What comes out depends on the text alone, so chunks can be
 * done by any thread in any order. Pure. */
#ifndef CARAVAN_CHUNK_H
#define CARAVAN_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/data/tokenizer.h"
#include "proto/base/status.h"

enum chunk_split {
  CHUNK_RECORDS,     /* a JSON object a line; empty lines are passed over */
  CHUNK_WHOLE,       /* one document, even when empty */
  CHUNK_BLANK_LINES, /* documents with empty lines between them */
  CHUNK_LINES,       /* a document a line; empty lines are passed over */
};

struct chunk_how {
  const struct tokenizer *tokenizer;
  uint32_t eod;
  uint32_t token_bytes; /* 2 or 4 */
  enum chunk_split split;
  bool skip_bad; /* count broken records instead of stopping at the first */
};

struct chunk_out {
  uint8_t *tokens; /* (token_count) little-endian ids of token_bytes each */
  size_t token_count, token_room;
  uint64_t *ends; /* (document_count): one past each document's <|endoftext|> */
  size_t document_count, document_room;
  uint64_t skipped_count;  /* broken records left out */
  uint64_t replaced_count; /* U+FFFD in place of invalid UTF-8 or half a surrogate */
  uint64_t line;           /* of the first broken record, from 0, counted in this chunk */
  struct why broken;       /* what was wrong with it */
  uint8_t *text;           /* a record's decoded text */
  size_t text_room;
};

/* BAD: out->line and why say which record and what is wrong with it. NOMEM. */
CHECKED enum status chunk_encode(const struct chunk_how *how, struct tokenizer_work *work,
                                 const uint8_t *text, size_t count, struct chunk_out *out,
                                 struct why *why);
void chunk_end(struct chunk_out *out); /* frees; safe on zeros */

#endif
