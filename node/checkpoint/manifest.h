/* manifest: caravan.json, what a checkpoint's directory must hold, to the byte.
 *
 *   struct manifest m;
 *   TRY(manifest_parse("DIR/caravan.json", text, text_bytes, &m, &why));
 *   const struct manifest_digest *d = manifest_tensor(&m, "embed_out.weight");
 *   manifest_free(&m);
 *
 * The first line is {"blake2b": "64 hex digits", where the digest is that of every byte after that
 * line, so that an altered manifest is noticed too. The rest is one JSON object: format, version,
 * step, tokens, samples, run, tokenizer, byte_tokenizer, files {name: {bytes, blake2b, and for
 * safetensors header_bytes, header_blake2b}}, tensors {name: blake2b}. Digests are DIGEST_PLAIN:
 * b2sum -l 256 prints the files'. Pure. */
#ifndef CARAVAN_MANIFEST_H
#define CARAVAN_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "node/checkpoint/checkpoint.h"
#include "proto/base/io_file.h"
#include "proto/base/limits.h"

enum {
  MANIFEST_BYTES_MAX = 64 << 20,
  MANIFEST_FILE_COUNT_MAX = 1100, /* CHECKPOINT_SHARD_COUNT_MAX and the small ones */
  MANIFEST_TENSOR_COUNT_MAX = 65536
};

struct manifest_file {
  char name[NAME_BYTES_MAX]; /* never with a slash */
  uint64_t bytes;
  struct digest digest;
  uint64_t header_bytes; /* safetensors: length and JSON; 0 for other files */
  struct digest header;
};

struct manifest_digest {
  char name[NAME_BYTES_MAX];
  struct digest digest;
};

struct manifest {
  struct checkpoint_state state;
  bool byte_tokenizer;
  struct manifest_file *files; /* owned */
  size_t file_count, file_room;
  struct manifest_digest *tensors; /* owned; in ascending name after manifest_parse */
  size_t tensor_count, tensor_room;
};

/* Append. NOMEM, RANGE past a limit. Start from struct manifest zeroed. */
CHECKED enum status manifest_add_file(struct manifest *m, const struct manifest_file *file,
                                      struct why *why);
CHECKED enum status manifest_add_tensor(struct manifest *m, const char *name,
                                        const struct digest *digest, struct why *why);
void manifest_free(struct manifest *m);

/* NULL when not listed. Tensors only after manifest_parse. */
const struct manifest_file *manifest_file(const struct manifest *m, const char *name);
const struct manifest_digest *manifest_tensor(const struct manifest *m, const char *name);

/* Free out with io_bytes_free. NOMEM; RANGE: a count over 2^63 - 1. */
CHECKED enum status manifest_encode(const struct manifest *m, struct io_bytes *out,
                                    struct why *why);
/* name is for messages. FORGED: the first line's digest is another one. BAD, RANGE, UNSUPPORTED (a
 * later version), NOMEM. */
CHECKED enum status manifest_parse(const char *name, const void *text, size_t text_bytes,
                                   struct manifest *out, struct why *why);

#endif
