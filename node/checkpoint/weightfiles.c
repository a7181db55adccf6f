#include "node/checkpoint/weightfiles.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"

struct shard {
  char name[NAME_BYTES_MAX];
  struct io_map map;
  struct safetensors header;
};

struct weightfiles {
  struct shard *shards;
  size_t shard_count;
  size_t tensor_count;
  const struct manifest *manifest; /* borrowed; NULL: somebody else's files */
  float *values;                   /* (WEIGHTFILES_PIECE_VALUES) */
};

/* ---- opening ---- */

/* A header that is not the one that was written is refused before it is believed. */
static enum status check_header(const struct shard *s, const struct manifest *m, struct why *why) {
  const struct manifest_file *f = manifest_file(m, s->name);
  if (!f || !f->header_bytes)
    return why_say(why, STATUS_FORGED, "%s is not listed in caravan.json", s->name);
  if (s->map.count < f->header_bytes)
    return why_say(why, STATUS_SHORT,
                   "%s ends inside its header: %zu of %" PRIu64 " bytes; copy it again", s->name,
                   s->map.count, f->bytes);
  struct digest d = digest_of(DIGEST_PLAIN, s->map.at, (size_t)f->header_bytes);
  if (!digest_equal(&d, &f->header))
    return why_say(why, STATUS_FORGED,
                   "the header of %s was altered: its digest is not the one in "
                   "caravan.json",
                   s->name);
  return STATUS_OK;
}

static enum status open_shard(struct weightfiles *w, const char *dir, const char *name,
                              struct why *why) {
  if (strlen(name) >= NAME_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "the file name '%.40s…' is too long", name);
  struct shard *s = &w->shards[w->shard_count];
  memcpy(s->name, name, strlen(name) + 1);
  char path[PATH_BYTES_MAX];
  TRY(io_path_join(dir, name, path, why));
  TRY(io_map_open(path, &s->map, why));
  w->shard_count++; /* from here on weightfiles_close undoes it */
  if (w->manifest)
    TRY(check_header(s, w->manifest, why));
  TRY(safetensors_parse(name, s->map.at, s->map.count, s->map.count, &s->header, why));
  w->tensor_count += s->header.count;
  return STATUS_OK;
}

static bool is_open(const struct weightfiles *w, const char *name) {
  for (size_t i = 0; i < w->shard_count; i++) {
    if (!strcmp(w->shards[i].name, name))
      return true;
  }
  return false;
}

static enum status open_indexed(struct weightfiles *w, const char *dir, const char *index,
                                const json_t *root, struct why *why) {
  const char *tensor;
  json_t *value;
  json_t *map = json_object_get(root, "weight_map");
  if (!json_is_object(map) || !json_object_size(map))
    return why_say(why, STATUS_BAD, "%s has no \"weight_map\"", index);
  json_object_foreach(map, tensor, value) {
    const char *name = json_string_value(value);
    if (!name || !*name || strchr(name, '/') || name[0] == '.')
      return why_say(why, STATUS_BAD, "%s: tensor '%.80s': '%.80s' is no name of a file beside it",
                     index, tensor, name ? name : "");
    if (is_open(w, name))
      continue;
    if (w->shard_count == WEIGHTFILES_SHARD_COUNT_MAX)
      return why_say(why, STATUS_RANGE, "%s names more than %d files", index,
                     WEIGHTFILES_SHARD_COUNT_MAX);
    TRY(open_shard(w, dir, name, why));
  }
  for (size_t i = 1; i < w->shard_count; i++) {
    for (size_t k = 0; k < w->shards[i].header.count; k++) {
      const char *name = w->shards[i].header.entries[k].name;
      for (size_t j = 0; j < i; j++) {
        if (safetensors_find(&w->shards[j].header, name))
          return why_say(why, STATUS_BAD, "tensor '%s' is in %s and in %s", name, w->shards[j].name,
                         w->shards[i].name);
      }
    }
  }
  return STATUS_OK;
}

static enum status open_index(struct weightfiles *w, const char *dir, const char *path,
                              const char *name, struct why *why) {
  struct io_bytes text;
  TRY(io_file_read(path, WEIGHTFILES_INDEX_BYTES_MAX, &text, why));
  json_error_t error;
  json_t *root = json_loadb((const char *)text.at, text.count, JSON_REJECT_DUPLICATES, &error);
  enum status s = root ? open_indexed(w, dir, name, root, why)
                       : why_say(why, STATUS_BAD, "%s: line %d: %s", name, error.line, error.text);
  json_decref(root);
  io_bytes_free(&text);
  return s;
}

static enum status open_files(struct weightfiles *w, const char *dir, const char *stem,
                              struct why *why) {
  char name[NAME_BYTES_MAX], index[NAME_BYTES_MAX], path[PATH_BYTES_MAX];
  snprintf(name, sizeof name, "%s.safetensors", stem);
  snprintf(index, sizeof index, "%s.safetensors.index.json", stem);
  TRY(io_path_join(dir, name, path, why));
  if (io_exists(path))
    return open_shard(w, dir, name, why);
  TRY(io_path_join(dir, index, path, why));
  if (io_exists(path))
    return open_index(w, dir, path, index, why);
  return why_say(why, STATUS_MISSING,
                 "'%s' has neither %s nor %s; other formats are not read: "
                 "transformers' save_pretrained(…, safe_serialization=True) writes it",
                 dir, name, index);
}

enum status weightfiles_open(const char *dir, const char *stem, const struct manifest *m,
                             struct weightfiles **out, struct why *why) {
  struct weightfiles *w = calloc(1, sizeof *w);
  if (w) {
    w->manifest = m;
    w->shards = calloc(WEIGHTFILES_SHARD_COUNT_MAX, sizeof *w->shards);
    w->values = malloc(WEIGHTFILES_PIECE_VALUES * sizeof *w->values);
  }
  enum status s = w && w->shards && w->values
                      ? open_files(w, dir, stem, why)
                      : why_say(why, STATUS_NOMEM, "no memory to open '%s'", dir);
  if (s == STATUS_OK)
    *out = w;
  else
    weightfiles_close(&w);
  return s;
}

void weightfiles_close(struct weightfiles **w) {
  if (!*w)
    return;
  for (size_t i = 0; i < (*w)->shard_count; i++) {
    safetensors_free(&(*w)->shards[i].header);
    io_map_close(&(*w)->shards[i].map);
  }
  free((*w)->shards);
  free((*w)->values);
  free(*w);
  *w = NULL;
}

/* ---- finding ---- */

size_t weightfiles_count(const struct weightfiles *w) {
  return w->tensor_count;
}

const struct safetensors_entry *weightfiles_entry(const struct weightfiles *w, size_t index) {
  for (size_t i = 0; i < w->shard_count; i++) {
    if (index < w->shards[i].header.count)
      return &w->shards[i].header.entries[index];
    index -= w->shards[i].header.count;
  }
  return NULL;
}

static const struct shard *shard_of(const struct weightfiles *w, const char *name,
                                    const struct safetensors_entry **entry) {
  for (size_t i = 0; i < w->shard_count; i++) {
    *entry = safetensors_find(&w->shards[i].header, name);
    if (*entry)
      return &w->shards[i];
  }
  return NULL;
}

const struct safetensors_entry *weightfiles_find(const struct weightfiles *w, const char *name) {
  const struct safetensors_entry *entry;
  return shard_of(w, name, &entry) ? entry : NULL;
}

/* ---- reading ---- */

static const char *shape_text(int rank, const int64_t *shape, char out[128]) {
  size_t used = (size_t)snprintf(out, 128, "(");
  for (int i = 0; i < rank && used < 100; i++)
    used += (size_t)snprintf(out + used, 128 - used, i ? ", %" PRId64 : "%" PRId64, shape[i]);
  snprintf(out + used, 128 - used, ")");
  return out;
}

static enum status check_shape(const struct safetensors_entry *e, int rank, const int64_t *shape,
                               struct why *why) {
  char have[128], want[128];
  if (rank < 0 || (e->rank == rank && !memcmp(e->shape, shape, (size_t)rank * sizeof *shape)))
    return STATUS_OK;
  return why_say(why, STATUS_MISMATCH, "tensor '%s' is %s; config.json makes it %s", e->name,
                 shape_text(e->rank, e->shape, have), shape_text(rank, shape, want));
}

/* The index of the first value that is not finite, or -1. */
static int64_t find_infinite(const float *values, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(values[i]))
      return i;
  }
  return -1;
}

/* Piece by piece: digest, convert, hand on, forget the pages. *infinite: as find_infinite. */
static struct digest read_pieces(const struct weightfiles *w, const struct shard *s,
                                 const struct safetensors_entry *e,
                                 const struct weightfiles_sink *sink, int64_t *infinite) {
  size_t size = safetensors_type_bytes(e->type);
  size_t begin = (size_t)(s->header.data_begin + e->begin);
  const uint8_t *values = s->map.at + begin;
  struct digester digester;
  digester_init(&digester, DIGEST_PLAIN);
  *infinite = -1;
  for (int64_t first = 0; first < e->count; first += WEIGHTFILES_PIECE_VALUES) {
    int64_t left = e->count - first;
    int64_t count = left < WEIGHTFILES_PIECE_VALUES ? left : WEIGHTFILES_PIECE_VALUES;
    size_t offset = (size_t)first * size, bytes = (size_t)count * size;
    if (w->manifest)
      digester_add(&digester, values + offset, bytes);
    if (sink) {
      safetensors_to_f32(e->type, values, first, count, w->values);
      int64_t found = *infinite < 0 ? find_infinite(w->values, count) : -1;
      if (found >= 0)
        *infinite = first + found;
      sink->put(sink->context, first, w->values, count);
    }
    io_map_forget(&s->map, begin + offset, bytes);
  }
  return digester_end(&digester);
}

enum status weightfiles_read(const struct weightfiles *w, const char *name, int rank,
                             const int64_t *shape, const struct weightfiles_sink *sink,
                             struct why *why) {
  const struct safetensors_entry *e;
  const struct shard *s = shard_of(w, name, &e);
  if (!s)
    return why_say(why, STATUS_MISMATCH, "tensor '%s' is missing", name);
  TRY(check_shape(e, rank, shape, why));
  if (sink && !safetensors_type_readable(e->type))
    return why_say(why, STATUS_UNSUPPORTED, "tensor '%s' is of %s; F32, F16 and BF16 are read",
                   name, safetensors_type_name(e->type));
  const struct manifest_digest *known = w->manifest ? manifest_tensor(w->manifest, name) : NULL;
  if (w->manifest && !known)
    return why_say(why, STATUS_FORGED, "tensor '%s' is not listed in caravan.json", name);
  int64_t infinite;
  struct digest digest = read_pieces(w, s, e, sink, &infinite);
  if (known && !digest_equal(&digest, &known->digest))
    return why_say(why, STATUS_FORGED,
                   "tensor '%s' in %s was altered: its digest is not the one in caravan.json; use "
                   "another checkpoint",
                   name, s->name);
  if (infinite >= 0)
    return why_say(why, STATUS_RANGE, "tensor '%s': value %" PRId64 " is not a finite number", name,
                   infinite);
  return STATUS_OK;
}
