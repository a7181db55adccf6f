/* weightfiles: the safetensors files of one model, open together, every tensor found by its name.
 *
 *   struct weightfiles *w;
 *   TRY(weightfiles_open(dir, "model", manifest_or_NULL, &w, &why));
 *   TRY(weightfiles_read(w, "embed_out.weight", 2, shape, sink, context, &why));
 *   weightfiles_close(&w);
 *
 * Opens DIR/model.safetensors, or the shards that DIR/model.safetensors.index.json names. Headers
 * are checked at opening, against the manifest too where there is one. Files are mapped and read in
 * pieces, whose pages are given back: no tensor is ever in memory twice. */
#ifndef CARAVAN_WEIGHTFILES_H
#define CARAVAN_WEIGHTFILES_H

#include "node/checkpoint/manifest.h"
#include "node/checkpoint/safetensors.h"

enum {
  WEIGHTFILES_SHARD_COUNT_MAX = 1000,
  WEIGHTFILES_INDEX_BYTES_MAX = 32 << 20,
  WEIGHTFILES_PIECE_VALUES = 1 << 16 /* at most this many values a call of a sink */
};

struct weightfiles; /* opaque: holds mappings */

/* MISSING (neither file, or a shard that the index names), BAD (an index that names a path, a
 * tensor in two shards), SHORT (torn: the first tensor that is not whole, by name), FORGED (a
 * header that is not the manifest's), safetensors_parse's others. */
CHECKED enum status weightfiles_open(const char *dir, const char *stem, const struct manifest *m,
                                     struct weightfiles **out, struct why *why);
void weightfiles_close(struct weightfiles **w);

size_t weightfiles_count(const struct weightfiles *w);
/* The tensors in the order of their files, and by name in each. */
const struct safetensors_entry *weightfiles_entry(const struct weightfiles *w, size_t index);
const struct safetensors_entry *weightfiles_find(const struct weightfiles *w, const char *name);

/* Where values go: [first, first + count) of a tensor, in ascending pieces. */
struct weightfiles_sink {
  void (*put)(void *context, int64_t first, const float *values, int64_t count);
  void *context;
};

/* Give all values of a tensor to sink, which may be NULL, and compare its digest where there is a
 * manifest, once all pieces are given.
 *   MISMATCH     not there, or of another shape: both shapes. rank < 0: any
 *   UNSUPPORTED  not F32, F16 or BF16 (with a sink)
 *   FORGED       its bytes are not those that were written, or the manifest does not list it
 *   RANGE        a value that is not finite (with a sink) */
CHECKED enum status weightfiles_read(const struct weightfiles *w, const char *name, int rank,
                                     const int64_t *shape, const struct weightfiles_sink *sink,
                                     struct why *why);

#endif
