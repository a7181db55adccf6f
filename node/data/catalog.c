#include "node/data/catalog.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "caravan-corpus";
enum { VERSION = 1 };

bool catalog_slice_name_ok(const char *name) {
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  size_t count = strlen(name);
  return count >= 1 && count <= CATALOG_SLICE_NAME_MAX && strspn(name, allowed) == count &&
         name[0] != '.' && name[0] != '-';
}

void catalog_end(struct catalog *m) {
  for (size_t i = 0; i < m->slice_count; i++)
    free(m->slices[i].shards);
  free(m->slices);
  memset(m, 0, sizeof *m);
}

enum status catalog_add_slice(struct catalog *m, const char *name, struct why *why) {
  if (m->slice_count == SLICE_COUNT_MAX)
    return why_say(why, STATUS_FULL, "a corpus has at most %d slices", SLICE_COUNT_MAX);
  struct catalog_slice *grown = realloc(m->slices, (m->slice_count + 1) * sizeof *grown);
  if (!grown)
    return why_say(why, STATUS_NOMEM, "no memory for slice '%s'", name);
  m->slices = grown;
  struct catalog_slice *s = &grown[m->slice_count++];
  memset(s, 0, sizeof *s);
  strncpy(s->name, name, sizeof s->name - 1);
  return STATUS_OK;
}

enum status catalog_add_shard(struct catalog_slice *s, struct why *why) {
  if (s->shard_count == CATALOG_SHARD_COUNT_MAX)
    return why_say(why, STATUS_FULL,
                   "slice '%s' has %d shards already, the most there can be; take larger shards",
                   s->name, CATALOG_SHARD_COUNT_MAX);
  if ((s->shard_count & (s->shard_count - 1)) == 0) {
    size_t room = s->shard_count ? 2 * s->shard_count : 1;
    struct catalog_shard *grown = realloc(s->shards, room * sizeof *grown);
    if (!grown)
      return why_say(why, STATUS_NOMEM, "no memory for a shard of slice '%s'", s->name);
    s->shards = grown;
  }
  memset(&s->shards[s->shard_count++], 0, sizeof *s->shards);
  return STATUS_OK;
}

/* Reading. The first complaint is kept in why, and everything after it does nothing. */
struct reading {
  const char *name;
  enum status status;
  struct why *why;
};

static void complain(struct reading *r, const char *key, const char *expected) {
  if (r->status == STATUS_OK)
    r->status = why_say(r->why, STATUS_BAD, "%s: \"%s\" is not %s", r->name, key, expected);
}

static uint64_t read_number(struct reading *r, const json_t *in, const char *key, uint64_t most) {
  const json_t *value = json_object_get(in, key);
  json_int_t number = json_integer_value(value);
  if (!json_is_integer(value) || number < 0 || (uint64_t)number > most) {
    complain(r, key, "a number in range");
    return 0;
  }
  return (uint64_t)number;
}

static const char *read_text(struct reading *r, const json_t *in, const char *key) {
  const char *text = json_string_value(json_object_get(in, key));
  if (!text)
    complain(r, key, "a string");
  return text ? text : "";
}

static void read_digest(struct reading *r, const json_t *in, const char *key, struct digest *out) {
  if (digest_from_hex(read_text(r, in, key), out) != STATUS_OK)
    complain(r, key, "a digest of 64 hexadecimal digits");
}

/* A name that cannot lead out of the directory. */
static void read_file(struct reading *r, const json_t *in, const char *key, bool open,
                      struct catalog_file *out) {
  const json_t *file = json_object_get(in, key);
  const char *name = read_text(r, file, "file");
  if (strlen(name) >= sizeof out->name || strchr(name, '/') || name[0] == '.' || !name[0]) {
    complain(r, "file", "the plain name of a file");
    return;
  }
  snprintf(out->name, sizeof out->name, "%s", name);
  out->bytes = read_number(r, file, "bytes", UINT64_C(1) << 62);
  if (!open || json_object_get(file, "blake2b"))
    read_digest(r, file, "blake2b", &out->digest);
}

static void read_shards(struct reading *r, const json_t *in, bool open, struct catalog_slice *s) {
  const json_t *shards = json_object_get(in, "shards");
  uint64_t tokens = 0;
  uint64_t documents = 0;
  if (!json_is_array(shards))
    complain(r, "shards", "a list");
  for (size_t k = 0; k < json_array_size(shards) && r->status == STATUS_OK; k++) {
    const json_t *from = json_array_get(shards, k);
    r->status = catalog_add_shard(s, r->why);
    if (r->status != STATUS_OK)
      return;
    struct catalog_shard *to = &s->shards[k];
    read_file(r, from, "tokens", open, &to->tokens);
    read_file(r, from, "documents", open, &to->documents);
    to->token_count = read_number(r, from, "token_count", TOKENS_TOTAL_MAX);
    to->document_count = read_number(r, from, "document_count", TOKENS_TOTAL_MAX);
    tokens += to->token_count;
    documents += to->document_count;
    if (tokens > TOKENS_TOTAL_MAX || documents > TOKENS_TOTAL_MAX)
      complain(r, "token_count", "small enough");
  }
  if (tokens != s->token_count || documents != s->document_count)
    complain(r, "token_count", "the sum of its shards");
}

static bool has_slice(const struct catalog *m, const char *name) {
  for (size_t i = 0; i < m->slice_count; i++)
    if (!strcmp(m->slices[i].name, name))
      return true;
  return false;
}

static void read_slices(struct reading *r, const json_t *in, struct catalog *m) {
  const json_t *slices = json_object_get(in, "slices");
  if (!json_is_array(slices))
    complain(r, "slices", "a list");
  for (size_t i = 0; i < json_array_size(slices) && r->status == STATUS_OK; i++) {
    const json_t *from = json_array_get(slices, i);
    const char *name = read_text(r, from, "name");
    if (!catalog_slice_name_ok(name)) {
      complain(r, "name", "the name of a slice");
      return;
    }
    if (has_slice(m, name)) {
      r->status = why_say(r->why, STATUS_BAD, "%s: slice '%s' is there twice", r->name, name);
      return;
    }
    r->status = catalog_add_slice(m, name, r->why);
    if (r->status != STATUS_OK)
      return;
    struct catalog_slice *to = &m->slices[i];
    to->token_count = read_number(r, from, "token_count", TOKENS_TOTAL_MAX);
    to->document_count = read_number(r, from, "document_count", TOKENS_TOTAL_MAX);
    read_shards(r, from, !m->finished, to);
  }
}

static void read_tokenizer(struct reading *r, const json_t *in, struct catalog *m) {
  const json_t *tokenizer = json_object_get(in, "tokenizer");
  const char *kind = read_text(r, tokenizer, "kind");
  m->byte_tokenizer = !strcmp(kind, "byte");
  if (!m->byte_tokenizer && strcmp(kind, "tokenizer.json"))
    complain(r, "kind", "\"byte\" or \"tokenizer.json\"");
  read_digest(r, tokenizer, "blake2b", &m->tokenizer);
  m->vocab_count = (uint32_t)read_number(r, tokenizer, "vocab_count", INT32_MAX);
  m->eod = (uint32_t)read_number(r, tokenizer, "eod", INT32_MAX);
}

static void read_progress(struct reading *r, const json_t *in, struct catalog *m) {
  const uint64_t most = UINT64_C(1) << 62;
  struct catalog_progress *p = &m->progress;
  p->text_bytes = read_number(r, in, "text_bytes", most);
  p->skipped_count = read_number(r, in, "skipped_count", most);
  p->replaced_count = read_number(r, in, "replaced_count", most);
  const json_t *resume = json_object_get(in, "resume");
  m->finished = !resume;
  if (!resume)
    return;
  p->file_index = read_number(r, resume, "file_index", most);
  p->offset_bytes = read_number(r, resume, "offset_bytes", most);
  p->line_count = read_number(r, resume, "line_count", most);
}

static void read_manifest(struct reading *r, const json_t *in, struct catalog *m) {
  if (strcmp(read_text(r, in, "format"), format_name))
    complain(r, "format", "\"caravan-corpus\"");
  uint64_t version = read_number(r, in, "version", UINT32_MAX);
  if (r->status == STATUS_OK && version != VERSION)
    r->status = why_say(r->why, STATUS_BAD,
                        "%s: version %" PRIu64 " of the corpus format; this program reads %d",
                        r->name, version, VERSION);
  const char *layout = read_text(r, in, "layout");
  m->megatron = !strcmp(layout, "megatron");
  if (!m->megatron && strcmp(layout, "shards"))
    complain(r, "layout", "\"shards\" or \"megatron\"");
  m->token_bytes = (uint32_t)read_number(r, in, "token_bytes", 8);
  read_digest(r, in, "recipe", &m->recipe);
  read_tokenizer(r, in, m);
  read_progress(r, in, m);
  read_slices(r, in, m);
}

enum status catalog_parse(const char *name, const void *json, size_t count, struct catalog *out,
                          struct why *why) {
  json_error_t error;
  if (count > CATALOG_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "%s has %zu bytes; at most %d are read", name, count,
                   CATALOG_BYTES_MAX);
  json_t *in = json_loadb(json, count, JSON_REJECT_DUPLICATES, &error);
  if (!in)
    return why_say(why, STATUS_BAD, "%s:%d: %s", name, error.line, error.text);
  struct catalog m = {0};
  struct reading r = {name, STATUS_OK, why};
  read_manifest(&r, in, &m);
  json_decref(in);
  if (r.status != STATUS_OK) {
    catalog_end(&m);
    return r.status;
  }
  *out = m;
  return STATUS_OK;
}

/* Writing. jansson's *_new functions take NULL and pass it on, so one check at the end is enough.
 */
static json_t *number(uint64_t value) {
  return json_integer((json_int_t)value);
}

static json_t *hex_of(const struct digest *d) {
  char hex[DIGEST_HEX_BYTES];
  digest_hex(d, hex);
  return json_string(hex);
}

static json_t *print_file(const struct catalog_file *f, bool open) {
  json_t *out = json_pack("{s:s, s:o}", "file", f->name, "bytes", number(f->bytes));
  if (!open && out && json_object_set_new(out, "blake2b", hex_of(&f->digest)) != 0) {
    json_decref(out);
    return NULL;
  }
  return out;
}

static json_t *print_slice(const struct catalog_slice *s, bool open) {
  json_t *shards = json_array();
  for (size_t k = 0; k < s->shard_count; k++) {
    const struct catalog_shard *from = &s->shards[k];
    bool last = open && k + 1 == s->shard_count;
    json_t *shard =
        json_pack("{s:o, s:o, s:o, s:o}", "tokens", print_file(&from->tokens, last), "documents",
                  print_file(&from->documents, last), "token_count", number(from->token_count),
                  "document_count", number(from->document_count));
    if (json_array_append_new(shards, shard) != 0) {
      json_decref(shards);
      return NULL;
    }
  }
  return json_pack("{s:s, s:o, s:o, s:o}", "name", s->name, "token_count", number(s->token_count),
                   "document_count", number(s->document_count), "shards", shards);
}

static json_t *print_slices(const struct catalog *m) {
  json_t *slices = json_array();
  for (size_t i = 0; i < m->slice_count; i++) {
    bool open = !m->finished && i + 1 == m->slice_count;
    if (json_array_append_new(slices, print_slice(&m->slices[i], open)) != 0) {
      json_decref(slices);
      return NULL;
    }
  }
  return slices;
}

enum status catalog_print(const struct catalog *m, char **out, size_t *count, struct why *why) {
  const struct catalog_progress *p = &m->progress;
  json_t *root = json_pack("{s:s, s:i, s:s, s:i, s:{s:s, s:o, s:o, s:o}, s:o, s:o, s:o, s:o, s:o}",
                           "format", format_name, "version", VERSION, "layout",
                           m->megatron ? "megatron" : "shards", "token_bytes", (int)m->token_bytes,
                           "tokenizer", "kind", m->byte_tokenizer ? "byte" : "tokenizer.json",
                           "blake2b", hex_of(&m->tokenizer), "vocab_count", number(m->vocab_count),
                           "eod", number(m->eod), "recipe", hex_of(&m->recipe), "text_bytes",
                           number(p->text_bytes), "skipped_count", number(p->skipped_count),
                           "replaced_count", number(p->replaced_count), "slices", print_slices(m));
  bool ok = root != NULL;
  if (ok && !m->finished) {
    json_t *resume =
        json_pack("{s:o, s:o, s:o}", "file_index", number(p->file_index), "offset_bytes",
                  number(p->offset_bytes), "line_count", number(p->line_count));
    ok = json_object_set_new(root, "resume", resume) == 0;
  }
  char *text = ok ? json_dumps(root, JSON_INDENT(1)) : NULL;
  json_decref(root);
  if (!text)
    return why_say(why, STATUS_NOMEM, "no memory for the corpus's manifest");
  *out = text;
  *count = strlen(text);
  return STATUS_OK;
}
