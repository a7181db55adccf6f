/* shard: the header of the files that hold tokens and the ends of documents.
 *
 * A slice NAME of a corpus is a line of tokens, cut at a fixed size into NAME-00000.tokens,
 * NAME-00001.tokens, …; beside each lies NAME-00000.documents, which says where documents end.
 * Both are a header and then little-endian integers, nothing else:
 *
 *    offset  bytes
 *         0      8  "CARVSHRD"
 *         8      4  version, 1
 *        12      4  kind: 1 tokens, 2 documents
 *        16      4  bytes of a value: 2 (vocabularies of at most 65536) or 4 for tokens, 8 for
 *                   documents
 *        20      4  vocabulary: every token is below it
 *        24      8  tokens, or documents, of the slice before this file
 *        32      8  values in this file; 0 while it is being written
 *        40     32  digest of the tokenizer
 *        72     56  zeros
 *       128         the values: tokens, or for each document that ends in the shard its end (one
 *                   past its <|endoftext|>) counted in tokens of the slice
 *
 * Pure. */
#ifndef CARAVAN_SHARD_H
#define CARAVAN_SHARD_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/digest.h"
#include "proto/base/status.h"

enum { SHARD_HEADER_BYTES = 128, SHARD_VERSION = 1 };
enum shard_kind { SHARD_TOKENS = 1, SHARD_DOCUMENTS = 2 };

struct shard_header {
  enum shard_kind kind;
  uint32_t width_bytes;
  uint32_t vocab_count;
  uint64_t begin; /* tokens or documents of the slice before this file */
  uint64_t count;
  struct digest tokenizer;
};

/* Bytes of a token for a vocabulary. */
uint32_t shard_token_bytes(uint32_t vocab_count);

void shard_encode(const struct shard_header *h, uint8_t out[SHARD_HEADER_BYTES]);
/* Of a whole file of file_bytes, whose first bytes are given (fewer than a header when the file is
 * that short). BAD: not such a file, or an unknown version or width. SHORT: ends early, with both
 * sizes. MISMATCH: longer than its header says. name is for messages. */
CHECKED enum status shard_decode(const char *name, const uint8_t *bytes, uint64_t file_bytes,
                                 struct shard_header *out, struct why *why);

#endif
