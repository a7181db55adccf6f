/* safetensors: the header of a .safetensors file, read from hostile bytes and written.
 *
 *   struct safetensors st;
 *   TRY(safetensors_parse("model.safetensors", map.at, map.count, map.count, &st, &why));
 *   const struct safetensors_entry *e = safetensors_find(&st, "embed_out.weight");
 *   safetensors_to_f32(e->type, map.at + st.data_begin + e->begin, 0, e->count, out);
 *   safetensors_free(&st);
 *
 * The format (huggingface/safetensors, README "Format"):
 *   offset 0      u64 little-endian, n: bytes of the JSON that follows
 *   offset 8      n bytes of JSON, first '{', padded with spaces: {"name": {"dtype": "F32",
 *                 "shape": [2, 3], "data_offsets": [begin, end]}, …, "__metadata__": {…}}
 *   offset 8 + n  the tensors' values, little-endian, row-major
 * Promise: after a successful parse every tensor lies inside the file, has exactly the bytes that
 * its shape and type need, no two overlap, and there is no byte that belongs to none. Pure. */
#ifndef CARAVAN_SAFETENSORS_H
#define CARAVAN_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/io_file.h"
#include "proto/base/limits.h"
#include "proto/base/status.h"

enum {
  SAFETENSORS_HEADER_BYTES_MAX = 32 << 20, /* of JSON; the format allows 100 MB */
  SAFETENSORS_TENSOR_COUNT_MAX = 65536,
  SAFETENSORS_RANK_MAX = 8,
  SAFETENSORS_PREFIX_BYTES = 8
};

/* name in the file, bytes of a value */
#define SAFETENSORS_TYPE_LIST(X) \
  X(F32, 4)                      \
  X(F16, 2)                      \
  X(BF16, 2)                     \
  X(F64, 8)                      \
  X(I64, 8)                      \
  X(U64, 8)                      \
  X(I32, 4)                      \
  X(U32, 4)                      \
  X(I16, 2)                      \
  X(U16, 2)                      \
  X(I8, 1)                       \
  X(U8, 1)                       \
  X(BOOL, 1)                     \
  X(F8_E4M3, 1)                  \
  X(F8_E5M2, 1)

enum safetensors_type {
#define SAFETENSORS_ENUM(name, bytes) SAFETENSORS_##name,
  SAFETENSORS_TYPE_LIST(SAFETENSORS_ENUM)
#undef SAFETENSORS_ENUM
      SAFETENSORS_TYPE_COUNT
};

struct safetensors_entry {
  char name[NAME_BYTES_MAX];
  enum safetensors_type type;
  int rank;
  int64_t shape[SAFETENSORS_RANK_MAX];
  int64_t count;  /* of values; 1 for rank 0 */
  uint64_t begin; /* [begin, end) in bytes, counted from data_begin */
  uint64_t end;
};

struct safetensors {
  struct safetensors_entry *entries; /* in ascending name; owned */
  size_t count;
  uint64_t data_begin; /* offset of the values in the file */
};

/* Read the header. bytes: the file's first have_bytes bytes, file_bytes: its size; name is for
 * messages. The caller frees out.
 *   SHORT        the header or a tensor (named) reaches past the end of the file
 *   BAD          no header, or one that contradicts itself: the tensor's name and what
 *   UNSUPPORTED  a type that the format does not list here, by name
 *   RANGE        past a limit above, or NAME_BYTES_MAX
 *   NOMEM */
CHECKED enum status safetensors_parse(const char *name, const void *bytes, size_t have_bytes,
                                      uint64_t file_bytes, struct safetensors *out,
                                      struct why *why);
void safetensors_free(struct safetensors *st);

/* NULL when there is none of that name. */
const struct safetensors_entry *safetensors_find(const struct safetensors *st, const char *name);

const char *safetensors_type_name(enum safetensors_type type); /* "BF16" */
size_t safetensors_type_bytes(enum safetensors_type type);
bool safetensors_type_readable(enum safetensors_type type); /* F32, F16 or BF16 */

/* Values [first, first + count) of a readable type to f32. Exact: every F16 and BF16 is an f32.
 * values: the tensor's first byte; need not be aligned. */
void safetensors_to_f32(enum safetensors_type type, const uint8_t *values, int64_t first,
                        int64_t count, float *out);

/* The length and the JSON for f32 tensors, as they are laid out one after another in the order
 * given; name, rank and shape are read from entries, count, begin and end are filled in. metadata
 * {"format": "pt"}, as transformers wants it. The values follow at out->count, which is a multiple
 * of 8. Free with io_bytes_free. NOMEM, RANGE. */
CHECKED enum status safetensors_encode(struct safetensors_entry *entries, size_t count,
                                       struct io_bytes *out, struct why *why);

#endif
