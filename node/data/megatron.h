/* megatron: the index file of Megatron-LM and GPT-NeoX data, PREFIX.idx beside PREFIX.bin.
 *
 * PREFIX.bin is token ids and nothing else. PREFIX.idx, little-endian and unaligned, as
 * MMapIndexedDataset in gpt-neox's megatron/data/indexed_dataset.py writes it:
 *
 *    offset       bytes
 *         0           9  "MMIDIDX\0\0"
 *         9           8  version, 1
 *        17           1  type of an id: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 8 u16 (6, 7: floats)
 *        18           8  S, number of sequences
 *        26           8  D, number of document marks: documents + 1
 *        34         4 S  i32 length of each sequence, in tokens
 *        34 + 4 S   8 S  i64 where each begins in PREFIX.bin, in bytes
 *        34 + 12 S  8 D  i64 the sequence at which each document begins; the last mark is S
 *
 * gpt-neox writes one sequence a document. Only data whose sequences follow each other without gap
 * is read, which is what both programs write. Pure. */
#ifndef CARAVAN_MEGATRON_H
#define CARAVAN_MEGATRON_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum { MEGATRON_HEADER_BYTES = 34 };
enum { MEGATRON_U8 = 1, MEGATRON_I8, MEGATRON_I16, MEGATRON_I32, MEGATRON_I64, MEGATRON_U16 = 8 };

struct megatron_index {
  uint8_t type;
  uint32_t width_bytes; /* of an id */
  uint64_t sequence_count;
  uint64_t document_count;
  uint64_t token_count;
  const uint8_t *pointers;  /* (sequence_count) i64, unaligned; borrowed from the file */
  const uint8_t *documents; /* (document_count + 1) i64, unaligned */
};

/* The type that gpt-neox takes for a vocabulary: u16 below 65500, else i32. */
uint8_t megatron_type(uint32_t vocab_count);
uint32_t megatron_width(uint8_t type); /* bytes of an id; 0: not an integer type */

void megatron_encode(uint8_t type, uint64_t document_count, uint8_t out[MEGATRON_HEADER_BYTES]);

/* Check a whole index against the size of its .bin. Takes a moment for a large one: every length is
 * looked at. BAD, SHORT, UNSUPPORTED (floats, gaps), MISMATCH (the two files do not belong
 * together, with both sizes). name is for messages. */
CHECKED enum status megatron_decode(const char *name, const uint8_t *bytes, uint64_t count,
                                    uint64_t bin_bytes, struct megatron_index *out,
                                    struct why *why);

/* The token at which document index begins; index == document_count gives the end. */
uint64_t megatron_document(const struct megatron_index *in, uint64_t index);

#endif
