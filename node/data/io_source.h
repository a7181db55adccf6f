/* io_source: an input file as chunks of whole documents, whatever its compression.
 *
 *   struct io_source *in;
 *   TRY(io_source_open("c4.jsonl.zst", CHUNK_RECORDS, offset, line, false, &in, &why));
 *   do TRY(io_source_next(in, &chunk, &why)); while (!chunk.last);
 *   io_source_close(&in);
 *
 * zstd is recognised by its first bytes and decompressed as it streams, however many frames there
 * are; other compressions are refused by name. A chunk ends where a document ends, so chunks can be
 * tokenized apart. It can begin at any place where a chunk once began. Memory: one chunk, which is
 * IO_SOURCE_CHUNK_BYTES unless one document is longer. */
#ifndef CARAVAN_IO_SOURCE_H
#define CARAVAN_IO_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/data/chunk.h"
#include "proto/base/status.h"

enum {
  IO_SOURCE_CHUNK_BYTES = 1 << 20,
  IO_SOURCE_LINE_BYTES_MAX = 256 << 20, /* a JSON line, a paragraph */
  IO_SOURCE_FILE_BYTES_MAX = 1 << 30,   /* a plain file that is one document */
};

/* Caller's storage, zeroed at first and reused; free(text) at the end. */
struct io_chunk {
  uint8_t *text;
  size_t count;
  size_t room;
  uint64_t offset;      /* of its first byte in the decompressed file */
  uint64_t line;        /* lines of the file before it */
  uint64_t next_offset; /* of the byte after it: differs by more than count after a skipped line */
  uint64_t next_line;
  uint64_t skipped_count; /* lines past the limit, left out before this chunk */
  bool last;              /* of the file */
};

struct io_source;

/* offset_bytes and line_count: where to begin. skip_long: leave out lines past the limit, else they
 * are FULL. UNSUPPORTED: the compression, by name. MISSING, DISK, SHORT (ends before the offset).
 */
CHECKED enum status io_source_open(const char *path, enum chunk_split split, uint64_t offset_bytes,
                                   uint64_t line_count, bool skip_long, struct io_source **out,
                                   struct why *why);
/* The next chunk; perhaps empty, when last. SHORT: compressed data ends early. BAD: it is damaged.
 * FULL: a line or document is too long, with its line. DISK, NOMEM. */
CHECKED enum status io_source_next(struct io_source *in, struct io_chunk *chunk, struct why *why);
uint64_t io_source_read_bytes(const struct io_source *in); /* of the file as it lies on disk */
void io_source_close(struct io_source **in);

#endif
