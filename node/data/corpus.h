/* corpus: tokenized data on disk, read as one long line of tokens per slice.
 *
 *   struct corpus *c;
 *   TRY(corpus_open(dir_or_prefix, &c, &why));
 *   for (i …) TRY(corpus_read(c, slice, token_begin, count, ids, &why));
 *
 * Opens a directory written by `caravan-node tokenize` (corpus.json and its shards) or a Megatron /
 * GPT-NeoX pair PREFIX.bin PREFIX.idx (one slice, named by the prefix). Shards are mapped, not
 * loaded. Sizes and headers are checked at opening; corpus_verify checks every digest. Safe for
 * many threads. */
#ifndef CARAVAN_CORPUS_H
#define CARAVAN_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/digest.h"
#include "proto/base/limits.h"
#include "proto/base/status.h"

struct corpus;

struct corpus_slice {
  char name[NAME_BYTES_MAX];
  uint64_t token_count;
  uint64_t document_count;
};

/* MISSING, BAD, SHORT (a truncated shard, by name and both sizes), MISMATCH, NOMEM. */
CHECKED enum status corpus_open(const char *path, struct corpus **out, struct why *why);
void corpus_close(struct corpus **c);

size_t corpus_slice_count(const struct corpus *c);
const struct corpus_slice *corpus_slice(const struct corpus *c, size_t index);
uint32_t corpus_vocab_count(const struct corpus *c); /* ids are below this; 0: unknown (Megatron) */
/* Digest of the tokenizer that made it; NULL when unknown (Megatron). */
const struct digest *corpus_tokenizer(const struct corpus *c);
/* The tokenizer.json kept beside the shards, or "byte", or NULL when unknown. Borrowed. */
const char *corpus_tokenizer_path(const struct corpus *c);

/* Copy tokens [begin, begin + count) of a slice. RANGE: past the end, with both numbers. MISMATCH:
 * an id that the vocabulary does not have, with its place. */
CHECKED enum status corpus_read(const struct corpus *c, size_t slice, uint64_t begin, size_t count,
                                int32_t *out, struct why *why);

/* Tokens [*begin, *end) of a document of the slice, its <|endoftext|> included. RANGE: the slice
 * has no such document. BAD: the file of documents is damaged. */
CHECKED enum status corpus_document(const struct corpus *c, size_t slice, uint64_t document,
                                    uint64_t *begin, uint64_t *end, struct why *why);
uint32_t corpus_eod(const struct corpus *c);     /* the id after each document; 0 when unknown */
bool corpus_has_digests(const struct corpus *c); /* false for a bare Megatron pair */

/* Read everything and compare digests. FORGED: the shard's name. STOPPED: progress returned false.
 * progress may be NULL. Without digests every id is looked at instead. */
CHECKED enum status corpus_verify(const struct corpus *c,
                                  bool (*progress)(void *context, uint64_t done_bytes,
                                                   uint64_t total_bytes),
                                  void *context, struct why *why);

#endif
