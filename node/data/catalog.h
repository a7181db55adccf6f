/* catalog: corpus.json, the manifest that makes a directory of shards a corpus.
 *
 *   struct catalog m;
 *   TRY(catalog_parse("DIR/corpus.json", bytes, count, &m, &why));
 *   for (s …) for (k …) m.slices[s].shards[k].tokens.name …
 *   catalog_end(&m);
 *
 * It names the tokenizer, every slice, and every file with its size and BLAKE2b-256 digest (that of
 * `b2sum -l 256`). It is written last, so a directory that has one is whole. The same form with a
 * "resume" object is unfinished.json: what is durable of a run that has not ended, and where in its
 * input it stands; the last shard it names is open, its digest not known. Pure. */
#ifndef CARAVAN_CATALOG_H
#define CARAVAN_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/digest.h"
#include "proto/base/limits.h"
#include "proto/base/status.h"

enum {
  CATALOG_BYTES_MAX = 256 << 20,
  CATALOG_SHARD_COUNT_MAX = 100000, /* of a slice */
  CATALOG_SLICE_NAME_MAX = 64, /* letters, digits, '.', '_', '-'; begins with neither . nor - */
  CATALOG_FILE_NAME_MAX = 96,
};
#define CATALOG_FILE   "corpus.json"
#define CATALOG_RESUME "unfinished.json"

struct catalog_file {
  char name[CATALOG_FILE_NAME_MAX]; /* inside the corpus's directory */
  uint64_t bytes;
  struct digest digest;
};

/* NAME-00000.tokens and .documents; in the Megatron layout NAME.bin and NAME.idx. */
struct catalog_shard {
  struct catalog_file tokens;
  struct catalog_file documents;
  uint64_t token_count;
  uint64_t document_count;
};

struct catalog_slice {
  char name[NAME_BYTES_MAX];
  uint64_t token_count;
  uint64_t document_count;
  struct catalog_shard *shards;
  size_t shard_count;
};

/* What was read, and where a run that has not ended goes on. */
struct catalog_progress {
  uint64_t text_bytes;     /* of input, decompressed */
  uint64_t skipped_count;  /* records left out because they were broken */
  uint64_t replaced_count; /* U+FFFD put in place of invalid UTF-8 and halves of surrogates */
  uint64_t file_index;     /* of the sorted input files */
  uint64_t offset_bytes;   /* in that file, decompressed */
  uint64_t line_count;     /* lines of that file before the offset */
};

struct catalog {
  bool finished;
  bool megatron;
  bool byte_tokenizer; /* else tokenizer.json lies beside it */
  struct digest tokenizer;
  struct digest recipe; /* of everything that decides the output: tokenizer, inputs, layout */
  uint32_t vocab_count;
  uint32_t eod;
  uint32_t token_bytes;
  struct catalog_progress progress;
  struct catalog_slice *slices;
  size_t slice_count;
};

bool catalog_slice_name_ok(const char *name);

/* BAD: not such a file, with what is wrong; RANGE: past a limit; NOMEM. */
CHECKED enum status catalog_parse(const char *name, const void *json, size_t count,
                                  struct catalog *out, struct why *why);
void catalog_end(struct catalog *m); /* frees; safe on zeros */

/* Room for one more, zeroed. NOMEM, FULL. */
CHECKED enum status catalog_add_slice(struct catalog *m, const char *name, struct why *why);
CHECKED enum status catalog_add_shard(struct catalog_slice *s, struct why *why);

/* The JSON, to be freed by the caller. NOMEM. */
CHECKED enum status catalog_print(const struct catalog *m, char **out, size_t *count,
                                  struct why *why);

#endif
