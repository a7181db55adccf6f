#include "node/checkpoint/manifest.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "caravan checkpoint"
enum { VERSION = 1 };

/* {"blake2b": "…",\n */
static const char line_start[] = "{\"blake2b\": \"";
static const char line_end[] = "\",\n";
enum {
  START_BYTES = sizeof line_start - 1,
  HEX_BYTES = DIGEST_HEX_BYTES - 1,
  LINE_BYTES = START_BYTES + HEX_BYTES + sizeof line_end - 1
};

/* ---- the lists ---- */

/* Room for one more of `size` bytes in *array. */
static enum status grow(void **array, size_t count, size_t *room, size_t size, size_t most,
                        const char *what, struct why *why) {
  if (count >= most)
    return why_say(why, STATUS_RANGE, "a checkpoint with more than %zu %s", most, what);
  if (count < *room)
    return STATUS_OK;
  size_t more = *room ? *room * 2 : 32;
  void *grown = realloc(*array, more * size);
  if (!grown)
    return why_say(why, STATUS_NOMEM, "no memory for %zu %s", more, what);
  *array = grown;
  *room = more;
  return STATUS_OK;
}

enum status manifest_add_file(struct manifest *m, const struct manifest_file *file,
                              struct why *why) {
  void *array = m->files;
  TRY(grow(&array, m->file_count, &m->file_room, sizeof *m->files, MANIFEST_FILE_COUNT_MAX, "files",
           why));
  m->files = array;
  m->files[m->file_count++] = *file;
  return STATUS_OK;
}

enum status manifest_add_tensor(struct manifest *m, const char *name, const struct digest *digest,
                                struct why *why) {
  if (strlen(name) >= NAME_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "a tensor's name has %zu bytes; at most %d", strlen(name),
                   NAME_BYTES_MAX - 1);
  void *array = m->tensors;
  TRY(grow(&array, m->tensor_count, &m->tensor_room, sizeof *m->tensors, MANIFEST_TENSOR_COUNT_MAX,
           "tensors", why));
  m->tensors = array;
  struct manifest_digest *added = &m->tensors[m->tensor_count++];
  memset(added, 0, sizeof *added);
  memcpy(added->name, name, strlen(name));
  added->digest = *digest;
  return STATUS_OK;
}

void manifest_free(struct manifest *m) {
  free(m->files);
  free(m->tensors);
  *m = (struct manifest){0};
}

const struct manifest_file *manifest_file(const struct manifest *m, const char *name) {
  for (size_t i = 0; i < m->file_count; i++) {
    if (!strcmp(m->files[i].name, name))
      return &m->files[i];
  }
  return NULL;
}

static int by_name(const void *a, const void *b) {
  const struct manifest_digest *left = a, *right = b;
  return strcmp(left->name, right->name);
}

static int name_to_entry(const void *name, const void *entry) {
  const struct manifest_digest *at = entry;
  return strcmp(name, at->name);
}

const struct manifest_digest *manifest_tensor(const struct manifest *m, const char *name) {
  return m->tensor_count
             ? bsearch(name, m->tensors, m->tensor_count, sizeof *m->tensors, name_to_entry)
             : NULL;
}

/* ---- writing ---- */

static json_t *hex_json(const struct digest *d) {
  char hex[DIGEST_HEX_BYTES];
  digest_hex(d, hex);
  return json_string(hex);
}

static json_t *files_json(const struct manifest *m) {
  json_t *files = json_object();
  for (size_t i = 0; files && i < m->file_count; i++) {
    const struct manifest_file *f = &m->files[i];
    json_t *file =
        json_pack("{s:I, s:o}", "bytes", (json_int_t)f->bytes, "blake2b", hex_json(&f->digest));
    bool failed = !file;
    if (!failed && f->header_bytes)
      failed =
          json_object_set_new(file, "header_bytes", json_integer((json_int_t)f->header_bytes)) ||
          json_object_set_new(file, "header_blake2b", hex_json(&f->header));
    if (failed || json_object_set(files, f->name, file)) {
      json_decref(files);
      files = NULL;
    }
    json_decref(file);
  }
  return files;
}

static json_t *tensors_json(const struct manifest *m) {
  json_t *tensors = json_object();
  for (size_t i = 0; tensors && i < m->tensor_count; i++) {
    if (json_object_set_new(tensors, m->tensors[i].name, hex_json(&m->tensors[i].digest))) {
      json_decref(tensors);
      return NULL;
    }
  }
  return tensors;
}

/* The first line before the object's text, whose "{\n" the line has taken over. */
static enum status put_first_line(const char *body, struct io_bytes *out, struct why *why) {
  size_t rest = strlen(body) - 2;
  uint8_t *at = malloc(LINE_BYTES + rest + 1);
  if (!at)
    return why_say(why, STATUS_NOMEM, "no memory for a manifest of %zu bytes", rest);
  struct digest d = digest_of(DIGEST_PLAIN, body + 2, rest);
  char hex[DIGEST_HEX_BYTES];
  digest_hex(&d, hex);
  memcpy(at, line_start, START_BYTES);
  memcpy(at + START_BYTES, hex, HEX_BYTES);
  memcpy(at + START_BYTES + HEX_BYTES, line_end, sizeof line_end - 1);
  memcpy(at + LINE_BYTES, body + 2, rest + 1);
  *out = (struct io_bytes){at, LINE_BYTES + rest};
  return STATUS_OK;
}

enum status manifest_encode(const struct manifest *m, struct io_bytes *out, struct why *why) {
  const struct checkpoint_state *s = &m->state;
  if (s->step > INT64_MAX || s->tokens > INT64_MAX || s->samples > INT64_MAX)
    return why_say(why, STATUS_RANGE,
                   "step %" PRIu64 ", tokens %" PRIu64 ", samples %" PRIu64
                   ": a count over 2^63 - 1",
                   s->step, s->tokens, s->samples);
  json_t *root = json_pack(
      "{s:s, s:i, s:I, s:I, s:I, s:o, s:o, s:b, s:o, s:o}", "format", FORMAT, "version", VERSION,
      "step", (json_int_t)s->step, "tokens", (json_int_t)s->tokens, "samples",
      (json_int_t)s->samples, "run", hex_json(&s->run), "tokenizer", hex_json(&s->tokenizer),
      "byte_tokenizer", (int)m->byte_tokenizer, "files", files_json(m), "tensors", tensors_json(m));
  char *body = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
  json_decref(root);
  if (!body)
    return why_say(why, STATUS_NOMEM, "no memory for a manifest");
  enum status status = put_first_line(body, out, why);
  free(body);
  return status;
}

/* ---- reading ---- */

struct source {
  const char *name;
  struct why *why;
};

static enum status bad(const struct source *in, const char *what) {
  return why_say(in->why, STATUS_BAD, "%s: \"%.80s\" is missing or of the wrong kind", in->name,
                 what);
}

static enum status read_count(const struct source *in, const json_t *object, const char *key,
                              uint64_t *out) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_integer(value) || json_integer_value(value) < 0)
    return bad(in, key);
  *out = (uint64_t)json_integer_value(value);
  return STATUS_OK;
}

static enum status read_digest(const struct source *in, const json_t *value, const char *key,
                               struct digest *out) {
  const char *hex = json_string_value(value);
  if (!hex || digest_from_hex(hex, out) != STATUS_OK)
    return bad(in, key);
  return STATUS_OK;
}

static enum status read_file(const struct source *in, const char *name, const json_t *value,
                             struct manifest *m) {
  if (!*name || strlen(name) >= NAME_BYTES_MAX || strchr(name, '/') || name[0] == '.')
    return why_say(in->why, STATUS_BAD, "%s: '%.80s' cannot be a file's name here", in->name, name);
  struct manifest_file f = {0};
  memcpy(f.name, name, strlen(name));
  TRY(read_count(in, value, "bytes", &f.bytes));
  TRY(read_digest(in, json_object_get(value, "blake2b"), "blake2b", &f.digest));
  if (json_object_get(value, "header_bytes")) {
    TRY(read_count(in, value, "header_bytes", &f.header_bytes));
    TRY(read_digest(in, json_object_get(value, "header_blake2b"), "header_blake2b", &f.header));
  }
  return manifest_add_file(m, &f, in->why);
}

static enum status read_lists(const struct source *in, const json_t *root, struct manifest *m) {
  const char *key;
  json_t *value;
  json_t *files = json_object_get(root, "files");
  json_t *tensors = json_object_get(root, "tensors");
  if (!json_is_object(files))
    return bad(in, "files");
  if (!json_is_object(tensors))
    return bad(in, "tensors");
  json_object_foreach(files, key, value) TRY(read_file(in, key, value, m));
  json_object_foreach(tensors, key, value) {
    struct digest d;
    TRY(read_digest(in, value, key, &d));
    TRY(manifest_add_tensor(m, key, &d, in->why));
  }
  if (m->tensor_count)
    qsort(m->tensors, m->tensor_count, sizeof *m->tensors, by_name);
  return STATUS_OK;
}

static enum status read_root(const struct source *in, const json_t *root, struct manifest *m) {
  const char *format = json_string_value(json_object_get(root, "format"));
  if (!format || strcmp(format, FORMAT))
    return bad(in, "format");
  uint64_t version;
  TRY(read_count(in, root, "version", &version));
  if (version != VERSION)
    return why_say(in->why, STATUS_UNSUPPORTED,
                   "%s is of version %" PRIu64 "; this program reads %d", in->name, version,
                   VERSION);
  struct checkpoint_state *s = &m->state;
  TRY(read_count(in, root, "step", &s->step));
  TRY(read_count(in, root, "tokens", &s->tokens));
  TRY(read_count(in, root, "samples", &s->samples));
  TRY(read_digest(in, json_object_get(root, "run"), "run", &s->run));
  TRY(read_digest(in, json_object_get(root, "tokenizer"), "tokenizer", &s->tokenizer));
  const json_t *byte = json_object_get(root, "byte_tokenizer");
  if (!json_is_boolean(byte))
    return bad(in, "byte_tokenizer");
  m->byte_tokenizer = json_is_true(byte);
  return read_lists(in, root, m);
}

static enum status check_first_line(const struct source *in, const char *text, size_t text_bytes) {
  char hex[DIGEST_HEX_BYTES] = "";
  struct digest claimed;
  if (text_bytes >= LINE_BYTES)
    memcpy(hex, text + START_BYTES, HEX_BYTES);
  if (text_bytes < LINE_BYTES || memcmp(text, line_start, START_BYTES) ||
      memcmp(text + START_BYTES + HEX_BYTES, line_end, sizeof line_end - 1) ||
      digest_from_hex(hex, &claimed) != STATUS_OK)
    return why_say(in->why, STATUS_BAD, "%s does not begin with its own digest", in->name);
  struct digest d = digest_of(DIGEST_PLAIN, text + LINE_BYTES, text_bytes - LINE_BYTES);
  if (!digest_equal(&d, &claimed))
    return why_say(in->why, STATUS_FORGED,
                   "%s was altered or torn: it does not match its own digest", in->name);
  return STATUS_OK;
}

enum status manifest_parse(const char *name, const void *text, size_t text_bytes,
                           struct manifest *out, struct why *why) {
  struct source in = {name, why};
  if (text_bytes > MANIFEST_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "%s has %zu bytes; at most %d are read", name, text_bytes,
                   MANIFEST_BYTES_MAX);
  TRY(check_first_line(&in, text, text_bytes));
  json_error_t error;
  json_t *root = json_loadb(text, text_bytes, JSON_REJECT_DUPLICATES, &error);
  if (!root)
    return why_say(why, STATUS_BAD, "%s: line %d: %s", name, error.line, error.text);
  struct manifest m = {0};
  enum status s = read_root(&in, root, &m);
  json_decref(root);
  if (s == STATUS_OK)
    *out = m;
  else
    manifest_free(&m);
  return s;
}
