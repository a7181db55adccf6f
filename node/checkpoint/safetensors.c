#include "node/checkpoint/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/claim.h"

static const struct {
  const char *name;
  size_t bytes;
} types[SAFETENSORS_TYPE_COUNT] = {
#define SAFETENSORS_ROW(name, bytes) {#name, bytes},
    SAFETENSORS_TYPE_LIST(SAFETENSORS_ROW)
#undef SAFETENSORS_ROW
};

const char *safetensors_type_name(enum safetensors_type type) {
  CLAIM(type < SAFETENSORS_TYPE_COUNT);
  return types[type].name;
}

size_t safetensors_type_bytes(enum safetensors_type type) {
  CLAIM(type < SAFETENSORS_TYPE_COUNT);
  return types[type].bytes;
}

bool safetensors_type_readable(enum safetensors_type type) {
  return type == SAFETENSORS_F32 || type == SAFETENSORS_F16 || type == SAFETENSORS_BF16;
}

/* ---- values ---- */

static float f32_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* IEEE-754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
static float f32_of_f16(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t exponent = half >> 10 & 0x1f;
  uint32_t fraction = half & 0x3ff;
  if (exponent == 0x1f)
    return f32_of_bits(sign | 0x7f800000 | fraction << 13);
  if (exponent != 0)
    return f32_of_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
  float small = (float)fraction * 0x1p-24f; /* subnormal or zero: exact in f32 */
  return sign ? -small : small;
}

void safetensors_to_f32(enum safetensors_type type, const uint8_t *values, int64_t first,
                        int64_t count, float *out) {
  CLAIM(safetensors_type_readable(type));
  const uint8_t *at = values + (size_t)first * types[type].bytes;
  for (int64_t i = 0; i < count; i++) {
    if (type == SAFETENSORS_F32)
      out[i] = bytes_get_f32(at + 4 * i);
    else if (type == SAFETENSORS_F16)
      out[i] = f32_of_f16(bytes_get_u16(at + 2 * i));
    else
      out[i] = f32_of_bits((uint32_t)bytes_get_u16(at + 2 * i) << 16);
  }
}

/* ---- one entry ---- */

/* What every message of one tensor begins with. */
struct place {
  const char *file;
  const char *tensor;
  struct why *why;
};

static enum status read_type(const struct place *at, const json_t *value,
                             enum safetensors_type *out) {
  const char *name = json_string_value(value);
  if (!name)
    return why_say(at->why, STATUS_BAD, "%s: tensor '%s' has no \"dtype\"", at->file, at->tensor);
  for (int i = 0; i < SAFETENSORS_TYPE_COUNT; i++) {
    if (!strcmp(name, types[i].name)) {
      *out = (enum safetensors_type)i;
      return STATUS_OK;
    }
  }
  return why_say(at->why, STATUS_UNSUPPORTED, "%s: tensor '%s' has dtype '%.40s', unknown here",
                 at->file, at->tensor, name);
}

/* The count of values times its type's bytes fits an int64_t. */
static enum status read_shape(const struct place *at, const json_t *value,
                              struct safetensors_entry *out) {
  if (!json_is_array(value))
    return why_say(at->why, STATUS_BAD, "%s: tensor '%s' has no \"shape\"", at->file, at->tensor);
  if (json_array_size(value) > SAFETENSORS_RANK_MAX)
    return why_say(at->why, STATUS_RANGE, "%s: tensor '%s' has %zu dimensions; at most %d are read",
                   at->file, at->tensor, json_array_size(value), SAFETENSORS_RANK_MAX);
  out->rank = (int)json_array_size(value);
  out->count = 1;
  for (int i = 0; i < out->rank; i++) {
    const json_t *size = json_array_get(value, (size_t)i);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
      return why_say(at->why, STATUS_BAD, "%s: tensor '%s': dimension %d is no size", at->file,
                     at->tensor, i);
    int64_t n = json_integer_value(size);
    if (n > 0 && out->count > INT64_MAX / 8 / n)
      return why_say(at->why, STATUS_RANGE, "%s: tensor '%s' has more values than there can be",
                     at->file, at->tensor);
    out->shape[i] = n;
    out->count *= n;
  }
  return STATUS_OK;
}

static enum status read_offsets(const struct place *at, const json_t *value,
                                struct safetensors_entry *out) {
  const json_t *begin = json_array_get(value, 0); /* NULL when it is no array */
  const json_t *end = json_array_get(value, 1);
  if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
      json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
    return why_say(at->why, STATUS_BAD, "%s: tensor '%s': \"data_offsets\" is no [begin, end]",
                   at->file, at->tensor);
  out->begin = (uint64_t)json_integer_value(begin);
  out->end = (uint64_t)json_integer_value(end);
  uint64_t need = (uint64_t)out->count * types[out->type].bytes;
  if (out->end - out->begin != need)
    return why_say(at->why, STATUS_BAD,
                   "%s: tensor '%s' needs %" PRIu64 " bytes; its offsets give it %" PRIu64,
                   at->file, at->tensor, need, out->end - out->begin);
  return STATUS_OK;
}

static enum status read_entry(const struct place *at, const json_t *value,
                              struct safetensors_entry *out) {
  if (strlen(at->tensor) >= NAME_BYTES_MAX)
    return why_say(at->why, STATUS_RANGE, "%s: the name '%.40s…' has %zu bytes; at most %d",
                   at->file, at->tensor, strlen(at->tensor), NAME_BYTES_MAX - 1);
  if (!json_is_object(value))
    return why_say(at->why, STATUS_BAD, "%s: tensor '%s' is no object", at->file, at->tensor);
  memset(out, 0, sizeof *out);
  memcpy(out->name, at->tensor, strlen(at->tensor));
  TRY(read_type(at, json_object_get(value, "dtype"), &out->type));
  TRY(read_shape(at, json_object_get(value, "shape"), out));
  return read_offsets(at, json_object_get(value, "data_offsets"), out);
}

/* ---- the whole header ---- */

static int by_begin(const void *a, const void *b) {
  const struct safetensors_entry *left = a, *right = b;
  if (left->begin != right->begin)
    return left->begin < right->begin ? -1 : 1;
  return (left->end > right->end) - (left->end < right->end);
}

static int by_name(const void *a, const void *b) {
  const struct safetensors_entry *left = a, *right = b;
  return strcmp(left->name, right->name);
}

/* The tensors must tile the rest of the file: no overlap, no hole, nothing past the end. */
static enum status check_tiling(const char *file, struct safetensors *st, uint64_t data_bytes,
                                struct why *why) {
  qsort(st->entries, st->count, sizeof *st->entries, by_begin);
  uint64_t at = 0;
  for (size_t i = 0; i < st->count; i++) {
    const struct safetensors_entry *e = &st->entries[i];
    if (e->begin != at)
      return why_say(why, STATUS_BAD,
                     "%s: tensor '%s' begins at %" PRIu64 "; %" PRIu64 " was expected: tensors %s",
                     file, e->name, e->begin, at, e->begin < at ? "overlap" : "leave a hole");
    if (e->end > data_bytes)
      return why_say(why, STATUS_SHORT,
                     "%s ends inside tensor '%s': it needs values up to byte %" PRIu64
                     ", the file has %" PRIu64 "; copy it again",
                     file, e->name, st->data_begin + e->end, st->data_begin + data_bytes);
    at = e->end;
  }
  if (at != data_bytes)
    return why_say(why, STATUS_BAD, "%s has %" PRIu64 " bytes after its last tensor", file,
                   data_bytes - at);
  qsort(st->entries, st->count, sizeof *st->entries, by_name);
  return STATUS_OK;
}

static enum status read_entries(const char *file, json_t *root, struct safetensors *st,
                                struct why *why) {
  size_t most = json_object_size(root);
  if (most > SAFETENSORS_TENSOR_COUNT_MAX)
    return why_say(why, STATUS_RANGE, "%s has %zu tensors; at most %d are read", file, most,
                   SAFETENSORS_TENSOR_COUNT_MAX);
  st->entries = calloc(most ? most : 1, sizeof *st->entries);
  if (!st->entries)
    return why_say(why, STATUS_NOMEM, "%s: no memory for %zu tensors' names", file, most);
  const char *key;
  json_t *value;
  json_object_foreach(root, key, value) {
    if (!strcmp(key, "__metadata__"))
      continue;
    TRY(read_entry(&(struct place){file, key, why}, value, &st->entries[st->count]));
    st->count++;
  }
  return STATUS_OK;
}

/* The JSON's length, checked against the file and the limit. */
static enum status read_length(const char *file, const uint8_t *bytes, size_t have_bytes,
                               uint64_t file_bytes, size_t *out, struct why *why) {
  if (have_bytes < SAFETENSORS_PREFIX_BYTES || file_bytes < SAFETENSORS_PREFIX_BYTES)
    return why_say(why, STATUS_SHORT, "%s has %" PRIu64 " bytes: too few for a header", file,
                   file_bytes);
  uint64_t length = bytes_get_u64(bytes);
  if (length > SAFETENSORS_HEADER_BYTES_MAX)
    return why_say(why, STATUS_RANGE,
                   "%s: its header claims %" PRIu64
                   " bytes; at most %d are read: is it a safetensors file?",
                   file, length, SAFETENSORS_HEADER_BYTES_MAX);
  if (length > file_bytes - SAFETENSORS_PREFIX_BYTES ||
      length > have_bytes - SAFETENSORS_PREFIX_BYTES)
    return why_say(why, STATUS_SHORT, "%s ends inside its header: %" PRIu64 " of %" PRIu64 " bytes",
                   file, file_bytes, length + SAFETENSORS_PREFIX_BYTES);
  if (length == 0 || bytes[SAFETENSORS_PREFIX_BYTES] != '{')
    return why_say(why, STATUS_BAD, "%s: its header does not begin with '{'", file);
  *out = (size_t)length;
  return STATUS_OK;
}

enum status safetensors_parse(const char *name, const void *bytes, size_t have_bytes,
                              uint64_t file_bytes, struct safetensors *out, struct why *why) {
  size_t length = 0;
  TRY(read_length(name, bytes, have_bytes, file_bytes, &length, why));
  json_error_t error;
  json_t *root = json_loadb((const char *)bytes + SAFETENSORS_PREFIX_BYTES, length,
                            JSON_REJECT_DUPLICATES, &error);
  if (!root)
    return why_say(why, STATUS_BAD, "%s: header, byte %d: %s", name, error.position, error.text);
  struct safetensors st = {.data_begin = SAFETENSORS_PREFIX_BYTES + length};
  enum status s = STATUS_OK;
  if (!json_is_object(root))
    s = why_say(why, STATUS_BAD, "%s: its header is no object", name);
  if (s == STATUS_OK)
    s = read_entries(name, root, &st, why);
  if (s == STATUS_OK)
    s = check_tiling(name, &st, file_bytes - st.data_begin, why);
  json_decref(root);
  if (s == STATUS_OK)
    *out = st;
  else
    safetensors_free(&st);
  return s;
}

void safetensors_free(struct safetensors *st) {
  free(st->entries);
  *st = (struct safetensors){0};
}

const struct safetensors_entry *safetensors_find(const struct safetensors *st, const char *name) {
  size_t low = 0, high = st->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(name, st->entries[middle].name);
    if (order == 0)
      return &st->entries[middle];
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return NULL;
}

/* ---- writing ---- */

/* NULL when memory is short. */
static json_t *entry_json(const struct safetensors_entry *e) {
  json_t *shape = json_array();
  for (int i = 0; shape && i < e->rank; i++) {
    if (json_array_append_new(shape, json_integer(e->shape[i]))) {
      json_decref(shape);
      return NULL;
    }
  }
  return json_pack("{s:s, s:o, s:[I, I]}", "dtype", types[e->type].name, "shape", shape,
                   "data_offsets", (json_int_t)e->begin, (json_int_t)e->end);
}

static bool fill_json(json_t *root, struct safetensors_entry *entries, size_t count) {
  if (json_object_set_new(root, "__metadata__", json_pack("{s:s}", "format", "pt")))
    return false;
  uint64_t at = 0;
  for (size_t i = 0; i < count; i++) {
    struct safetensors_entry *e = &entries[i];
    e->type = SAFETENSORS_F32;
    e->count = 1;
    for (int d = 0; d < e->rank; d++)
      e->count *= e->shape[d];
    e->begin = at;
    at += (uint64_t)e->count * types[e->type].bytes;
    e->end = at;
    if (json_object_set_new(root, e->name, entry_json(e)))
      return false;
  }
  return true;
}

enum status safetensors_encode(struct safetensors_entry *entries, size_t count,
                               struct io_bytes *out, struct why *why) {
  if (count > SAFETENSORS_TENSOR_COUNT_MAX)
    return why_say(why, STATUS_RANGE, "%zu tensors; at most %d fit one file", count,
                   SAFETENSORS_TENSOR_COUNT_MAX);
  json_t *root = json_object();
  char *text = root && fill_json(root, entries, count) ? json_dumps(root, JSON_COMPACT) : NULL;
  json_decref(root);
  size_t length = text ? strlen(text) : 0;
  size_t padded = (length + 7) / 8 * 8;
  uint8_t *at = text ? malloc(SAFETENSORS_PREFIX_BYTES + padded + 1) : NULL;
  if (at) {
    bytes_put_u64(at, padded);
    memset(at + SAFETENSORS_PREFIX_BYTES, ' ', padded);
    memcpy(at + SAFETENSORS_PREFIX_BYTES, text, length);
    at[SAFETENSORS_PREFIX_BYTES + padded] = 0;
    *out = (struct io_bytes){at, SAFETENSORS_PREFIX_BYTES + padded};
  }
  free(text);
  return at ? STATUS_OK
            : why_say(why, STATUS_NOMEM, "no memory for a header of %zu tensors", count);
}
