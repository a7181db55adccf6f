/* bpe: byte pairs merged in the order that a tokenizer learnt them.
 *
 *   TRY(bpe_open(merge_count, byte_ids, &b, &why));
 *   bpe_add(b, left_id, right_id, rank, merged_id);                   // each merge of the file
 *   TRY(bpe_work_init(&w, &why));                                     // one per thread
 *   TRY(bpe_encode(b, &w, piece, bytes, text_end, ids, &count, &why));
 *
 * A piece begins as the ids of its bytes; the neighbours of lowest rank, leftmost first, become one
 * until none are left that the file merges. Short pieces are scanned, long ones keep a heap: O(n
 * log n), 32 bytes of memory per byte of the longest piece. Short pieces seen before come from a
 * table in the work (3 MB), which only remembers and never changes a result. */
#ifndef CARAVAN_BPE_H
#define CARAVAN_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "node/text/growing.h"
#include "proto/base/status.h"

enum {
  BPE_ID_MAX = 1 << 20, /* ids are below */
  BPE_MERGE_MAX = 1 << 21,
  BPE_SCAN_MAX = 80, /* pieces up to this long are scanned */
};

struct bpe;

struct bpe_work {
  struct growing heap;
  struct growing links;
  struct word_cache *words;
};

/* byte_ids: the id of each byte, copied. NOMEM. */
CHECKED enum status bpe_open(size_t merge_count, const uint32_t byte_ids[256], struct bpe **out,
                             struct why *why);
void bpe_close(struct bpe **b);

/* At most merge_count times. A pair given twice keeps the last rank, as `tokenizers` does. */
void bpe_add(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t merged);

/* Remember that a piece of exactly these bytes is this id, whatever the merges say. Borrows the
 * bytes. At most whole_count pieces, announced once before. */
CHECKED enum status bpe_expect_whole(struct bpe *b, size_t whole_count, struct why *why);
void bpe_add_whole(struct bpe *b, const uint8_t *piece, size_t bytes, uint32_t id);

CHECKED enum status bpe_work_init(struct bpe_work *w, struct why *why);
void bpe_work_end(struct bpe_work *w);

/* The ids of one piece of at least one byte. Up to readable_end, the end of the text that the piece
 * is part of, memory may be looked at. ids has room for `bytes` and 8 more. NOMEM. */
CHECKED enum status bpe_encode(const struct bpe *b, struct bpe_work *w, const uint8_t *piece,
                               size_t bytes, const uint8_t *readable_end, uint32_t *ids,
                               size_t *count, struct why *why);

#endif
