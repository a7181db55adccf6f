/* io_tokenize: files of text to a corpus, with all cores, in constant memory, to be continued.
 *
 *   struct tokenize_plan plan = {.dir = "data", .inputs = inputs, .input_count = n, …};
 *   TRY(io_tokenize_run(&plan, &report, &why));
 *
 *   reader ──▶ slots (a ring) ──▶ workers ──▶ the same slots ──▶ writer, in the input's order
 *
 * One thread reads and decompresses, every worker encodes a chunk at a time, and the caller's
 * thread writes them in order, shows progress, and now and then makes everything durable. The files
 * depend on the inputs and the plan alone: not on threads, nor on how often the run was stopped,
 * killed, or out of disk. The same plan on the same directory goes on where it stopped. */
#ifndef CARAVAN_IO_TOKENIZE_H
#define CARAVAN_IO_TOKENIZE_H

#include "node/data/catalog.h"
#include "node/data/chunk.h"

enum { TOKENIZE_INPUT_COUNT_MAX = 1 << 20, TOKENIZE_REPORTED_MAX = 20 };

struct tokenize_input {
  const char *path;
  const char *slice;
  enum chunk_split split;
  uint64_t bytes;    /* as it lies on disk; filled by io_tokenize_run */
  int64_t changed_s; /* when it last changed; filled too */
};

struct tokenize_plan {
  const char *dir;
  const struct tokenizer *tokenizer;
  uint32_t eod;
  struct tokenize_input *inputs; /* sorted by io_tokenize_run so that slices are not interleaved */
  size_t input_count;
  int thread_count; /* workers */
  bool megatron;
  bool skip_bad;
  bool quiet;             /* no progress line */
  uint64_t shard_bytes;   /* of tokens, of a full shard */
  uint64_t durable_bytes; /* of text between durable points */
};

struct tokenize_report {
  struct catalog_progress progress;
  uint64_t token_count;
  uint64_t document_count;
  uint64_t resumed_bytes; /* of text, done by earlier runs */
  uint64_t elapsed_ms;
  bool was_complete; /* nothing had to be done */
};

/* EXISTS: the directory holds another corpus. MISMATCH: it holds another unfinished run. STOPPED,
 * DISK, BAD (file and line), …: what is durable stays, and the same call goes on. */
CHECKED enum status io_tokenize_run(struct tokenize_plan *plan, struct tokenize_report *report,
                                    struct why *why);

#endif
