/* io_sink: the files of a corpus being written, and the points from which they can be continued.
 *
 *   TRY(io_sink_open(dir, &manifest, shard_tokens, &sink, &why));   // manifest: fresh or resumed
 *   TRY(io_sink_begin_slice(sink, "arxiv", &why));
 *   TRY(io_sink_add(sink, tokens, count, ends, documents, &why));   // often
 *   TRY(io_sink_settle(sink, &progress, &why));                     // now and then
 *   TRY(io_sink_finish(&sink, &why));                               // manifest last
 *
 * The promise: what io_sink_settle has returned OK for survives whatever happens to the process and
 * the machine, and a sink opened on that manifest goes on from there: the files become what they
 * would have been. Shards are written in place, for a directory is no corpus before corpus.json.
 * One process at a time has a directory. */
#ifndef CARAVAN_IO_SINK_H
#define CARAVAN_IO_SINK_H

#include "node/data/catalog.h"

struct io_sink;

/* Borrows manifest, which must outlive the sink; it says layout, tokenizer, and when resumed what
 * is durable. shard_tokens: tokens of a full shard. AGAIN: another process writes there. SHORT: the
 * files are not what the manifest says is durable. */
CHECKED enum status io_sink_open(const char *dir, struct catalog *m, uint64_t shard_tokens,
                                 struct io_sink **out, struct why *why);
/* From now on documents go to this slice. Begin the last one of a resumed manifest to go on. */
CHECKED enum status io_sink_begin_slice(struct io_sink *out, const char *name, struct why *why);
/* tokens: (token_count) little-endian ids of the manifest's token_bytes each; ends[i]: where
 * document i ends in them. DISK: as full as it is, nothing that was settled is lost. */
CHECKED enum status io_sink_add(struct io_sink *out, const uint8_t *tokens, size_t token_count,
                                const uint64_t *ends, size_t document_count, struct why *why);
/* Make everything so far durable, and that the input was read up to progress. */
CHECKED enum status io_sink_settle(struct io_sink *out, const struct catalog_progress *progress,
                                   struct why *why);
/* The last digests, then corpus.json; then the unfinished run's file goes. *out is closed whatever
 * happens. */
CHECKED enum status io_sink_finish(struct io_sink **out, const struct catalog_progress *progress,
                                   struct why *why);
/* Remove from a finished corpus what only an unfinished run needs: io_sink_finish does it, and
 * whoever finds a corpus whose run was killed between the two. Failing would be failing after
 * success. */
void io_sink_tidy(const char *dir, const struct catalog *m);
void io_sink_close(struct io_sink **out); /* leave it as it is, to be resumed */

#endif
