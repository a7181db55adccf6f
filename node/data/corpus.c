#include "node/data/corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/data/catalog.h"
#include "node/data/megatron.h"
#include "node/data/shard.h"
#include "proto/base/bytes.h"
#include "proto/base/claim.h"
#include "proto/base/io_file.h"

/* One shard, or a whole Megatron pair. */
struct part {
  struct io_map tokens;
  struct io_map documents;
  const uint8_t *ids; /* (count) of width bytes, unaligned */
  uint64_t begin;     /* tokens of the slice before it */
  uint64_t count;
  uint64_t document_begin;
  uint64_t document_count;
  struct megatron_index index;
};

struct slice {
  struct corpus_slice about;
  struct part *parts;
  size_t part_count;
  uint8_t type; /* of an id, as Megatron numbers types; U32 for our own wide shards */
};

enum { TYPE_U32 = 100, VERIFY_STEP_BYTES = 1 << 24, SCAN_TOKENS = 4096 };

struct corpus {
  char path[PATH_BYTES_MAX]; /* directory or prefix, for messages */
  char tokenizer_path[PATH_BYTES_MAX];
  struct catalog manifest; /* empty for a bare Megatron pair */
  bool has_manifest;
  size_t slice_count;
  struct slice slices[SLICE_COUNT_MAX];
};

void corpus_close(struct corpus **c) {
  if (!*c)
    return;
  for (size_t s = 0; s < (*c)->slice_count; s++) {
    for (size_t k = 0; k < (*c)->slices[s].part_count; k++) {
      io_map_close(&(*c)->slices[s].parts[k].tokens);
      io_map_close(&(*c)->slices[s].parts[k].documents);
    }
    free((*c)->slices[s].parts);
  }
  catalog_end(&(*c)->manifest);
  free(*c);
  *c = NULL;
}

/* Map a file that the manifest names and see that it has the size it had. */
static enum status map_file(const char *path, const struct catalog_file *f, struct io_map *out,
                            struct why *why) {
  TRY(io_map_open(path, out, why));
  if (!f || out->count == f->bytes)
    return STATUS_OK;
  bool is_short = out->count < f->bytes;
  enum status s = why_say(
      why, is_short ? STATUS_SHORT : STATUS_MISMATCH,
      "%s %s: it has %zu bytes, the manifest says %llu; fetch or make the corpus again", path,
      is_short ? "is cut short" : "is too long", out->count, (unsigned long long)f->bytes);
  io_map_close(out);
  return s;
}

static enum status check_header(const struct corpus *c, const char *path,
                                const struct shard_header *h, enum shard_kind kind, uint64_t begin,
                                uint64_t count, struct why *why) {
  if (!digest_equal(&h->tokenizer, &c->manifest.tokenizer))
    return why_say(why, STATUS_MISMATCH,
                   "%s was made with another tokenizer than the manifest beside it names", path);
  if (h->kind != kind || h->begin != begin || h->count != count ||
      h->vocab_count != c->manifest.vocab_count)
    return why_say(why, STATUS_MISMATCH,
                   "%s is not the shard that the manifest beside it means: it begins at %llu and "
                   "has %llu values below %u, the manifest says %llu, %llu and %u",
                   path, (unsigned long long)h->begin, (unsigned long long)h->count, h->vocab_count,
                   (unsigned long long)begin, (unsigned long long)count, c->manifest.vocab_count);
  return STATUS_OK;
}

static enum status open_shard(struct corpus *c, const struct catalog_shard *from, struct part *part,
                              struct why *why) {
  char path[PATH_BYTES_MAX];
  struct shard_header h;
  TRY(io_path_join(c->path, from->tokens.name, path, why));
  TRY(map_file(path, &from->tokens, &part->tokens, why));
  TRY(shard_decode(path, part->tokens.at, part->tokens.count, &h, why));
  TRY(check_header(c, path, &h, SHARD_TOKENS, part->begin, from->token_count, why));
  part->ids = part->tokens.at + SHARD_HEADER_BYTES;
  TRY(io_path_join(c->path, from->documents.name, path, why));
  TRY(map_file(path, &from->documents, &part->documents, why));
  TRY(shard_decode(path, part->documents.at, part->documents.count, &h, why));
  return check_header(c, path, &h, SHARD_DOCUMENTS, part->document_begin, from->document_count,
                      why);
}

/* from is NULL for a pair without a manifest. */
static enum status open_pair(const char *prefix, const struct catalog_shard *from,
                             struct slice *slice, struct part *part, struct why *why) {
  char path[PATH_BYTES_MAX + 8];
  snprintf(path, sizeof path, "%s.bin", prefix);
  TRY(map_file(path, from ? &from->tokens : NULL, &part->tokens, why));
  snprintf(path, sizeof path, "%s.idx", prefix);
  TRY(map_file(path, from ? &from->documents : NULL, &part->documents, why));
  TRY(megatron_decode(path, part->documents.at, part->documents.count, part->tokens.count,
                      &part->index, why));
  part->ids = part->tokens.at;
  part->count = part->index.token_count;
  part->document_count = part->index.document_count;
  slice->type = part->index.type;
  if (from && (part->count != from->token_count || part->document_count != from->document_count))
    return why_say(why, STATUS_MISMATCH, "%s lists %llu tokens, its manifest says %llu", path,
                   (unsigned long long)part->count, (unsigned long long)from->token_count);
  return STATUS_OK;
}

static enum status open_slice(struct corpus *c, const struct catalog_slice *from,
                              struct slice *slice, struct why *why) {
  char prefix[PATH_BYTES_MAX];
  memcpy(slice->about.name, from->name, sizeof slice->about.name);
  slice->about.token_count = from->token_count;
  slice->about.document_count = from->document_count;
  slice->type = c->manifest.token_bytes == 2 ? MEGATRON_U16 : TYPE_U32;
  slice->parts = calloc(from->shard_count + 1, sizeof *slice->parts);
  if (!slice->parts)
    return why_say(why, STATUS_NOMEM, "no memory for the shards of '%s'", from->name);
  uint64_t begin = 0;
  uint64_t document_begin = 0;
  for (size_t k = 0; k < from->shard_count; k++) {
    struct part *part = &slice->parts[slice->part_count++];
    part->begin = begin;
    part->count = from->shards[k].token_count;
    part->document_begin = document_begin;
    part->document_count = from->shards[k].document_count;
    begin += part->count;
    document_begin += part->document_count;
    if (!c->manifest.megatron) {
      TRY(open_shard(c, &from->shards[k], part, why));
    } else {
      TRY(io_path_join(c->path, from->name, prefix, why));
      TRY(open_pair(prefix, &from->shards[k], slice, part, why));
    }
  }
  return STATUS_OK;
}

static enum status check_manifest(const struct corpus *c, const char *path, struct why *why) {
  const struct catalog *m = &c->manifest;
  if (!m->finished)
    return why_say(why, STATUS_BAD, "%s describes a run that has not ended", path);
  uint32_t due = m->megatron ? megatron_width(megatron_type(m->vocab_count))
                             : shard_token_bytes(m->vocab_count);
  if (m->token_bytes != due)
    return why_say(why, STATUS_MISMATCH, "%s: a vocabulary of %u takes tokens of %u bytes, not %u",
                   path, m->vocab_count, due, m->token_bytes);
  for (size_t s = 0; m->megatron && s < m->slice_count; s++)
    if (m->slices[s].shard_count != 1)
      return why_say(why, STATUS_BAD, "%s: slice '%s' has %zu Megatron pairs where one is due",
                     path, m->slices[s].name, m->slices[s].shard_count);
  return STATUS_OK;
}

static enum status open_directory(struct corpus *c, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct io_bytes text;
  TRY(io_path_join(c->path, CATALOG_FILE, path, why));
  if (!io_exists(path)) {
    TRY(io_path_join(c->path, CATALOG_RESUME, path, why));
    return why_say(why, STATUS_MISSING,
                   io_exists(path) ? "%s is not finished: run the same 'caravan-node tokenize' "
                                     "again, it goes on where it stopped"
                                   : "%s has no " CATALOG_FILE
                                     ": 'caravan-node tokenize' makes one",
                   c->path);
  }
  TRY(io_file_read(path, CATALOG_BYTES_MAX, &text, why));
  enum status s = catalog_parse(path, text.at, text.count, &c->manifest, why);
  io_bytes_free(&text);
  TRY(s);
  c->has_manifest = true;
  TRY(check_manifest(c, path, why));
  for (size_t i = 0; i < c->manifest.slice_count; i++)
    TRY(open_slice(c, &c->manifest.slices[i], &c->slices[c->slice_count++], why));
  if (c->manifest.byte_tokenizer)
    snprintf(c->tokenizer_path, sizeof c->tokenizer_path, "byte");
  else
    TRY(io_path_join(c->path, "tokenizer.json", c->tokenizer_path, why));
  return STATUS_OK;
}

static enum status open_bare_pair(struct corpus *c, struct why *why) {
  struct slice *slice = &c->slices[c->slice_count++];
  const char *base = strrchr(c->path, '/');
  snprintf(slice->about.name, sizeof slice->about.name, "%.*s", NAME_BYTES_MAX - 1,
           base ? base + 1 : c->path);
  slice->parts = calloc(1, sizeof *slice->parts);
  if (!slice->parts)
    return why_say(why, STATUS_NOMEM, "no memory for %s", c->path);
  slice->part_count = 1;
  TRY(open_pair(c->path, NULL, slice, slice->parts, why));
  slice->about.token_count = slice->parts->count;
  slice->about.document_count = slice->parts->document_count;
  return STATUS_OK;
}

/* PREFIX.idx and PREFIX.bin mean PREFIX. */
static bool cut_suffix(char *path) {
  size_t count = strlen(path);
  if (count < 5 || (strcmp(path + count - 4, ".idx") && strcmp(path + count - 4, ".bin")))
    return false;
  path[count - 4] = 0;
  return true;
}

static enum status open_either(struct corpus *c, const char *path, struct why *why) {
  char index[PATH_BYTES_MAX + 8];
  if (strlen(path) >= sizeof c->path)
    return why_say(why, STATUS_RANGE, "the path of a corpus has at most %d bytes",
                   PATH_BYTES_MAX - 1);
  snprintf(c->path, sizeof c->path, "%s", path);
  if (io_is_folder(path))
    return open_directory(c, why);
  bool named = cut_suffix(c->path);
  snprintf(index, sizeof index, "%s.idx", c->path);
  if (named || io_exists(index))
    return open_bare_pair(c, why);
  return why_say(why, STATUS_MISSING,
                 "%s is neither a directory made by 'caravan-node tokenize' nor the prefix of a "
                 "Megatron pair (%s is not there)",
                 path, index);
}

enum status corpus_open(const char *path, struct corpus **out, struct why *why) {
  struct corpus *c = calloc(1, sizeof *c);
  if (!c)
    return why_say(why, STATUS_NOMEM, "no memory for the corpus %s", path);
  enum status s = open_either(c, path, why);
  if (s != STATUS_OK) {
    corpus_close(&c);
    return s;
  }
  *out = c;
  return STATUS_OK;
}

size_t corpus_slice_count(const struct corpus *c) {
  return c->slice_count;
}

const struct corpus_slice *corpus_slice(const struct corpus *c, size_t index) {
  CLAIM(index < c->slice_count);
  return &c->slices[index].about;
}

uint32_t corpus_vocab_count(const struct corpus *c) {
  return c->manifest.vocab_count;
}

const struct digest *corpus_tokenizer(const struct corpus *c) {
  return c->has_manifest ? &c->manifest.tokenizer : NULL;
}

const char *corpus_tokenizer_path(const struct corpus *c) {
  return c->tokenizer_path[0] ? c->tokenizer_path : NULL;
}

uint32_t corpus_eod(const struct corpus *c) {
  return c->manifest.eod;
}

bool corpus_has_digests(const struct corpus *c) {
  return c->has_manifest;
}

/* One id, sign-extended; what no vocabulary has (negative, past 2^31) comes out as it is. */
static int64_t id_at(const uint8_t *ids, uint8_t type, uint64_t i) {
  switch (type) {
    case MEGATRON_U8: return ids[i];
    case MEGATRON_I8: return (int8_t)ids[i];
    case MEGATRON_I16: return (int16_t)bytes_get_u16(ids + 2 * i);
    case MEGATRON_U16: return bytes_get_u16(ids + 2 * i);
    case MEGATRON_I32: return (int32_t)bytes_get_u32(ids + 4 * i);
    case MEGATRON_I64: return (int64_t)bytes_get_u64(ids + 8 * i);
    default: return bytes_get_u32(ids + 4 * i);
  }
}

static enum status copy_ids(const struct corpus *c, const struct slice *s, const struct part *part,
                            uint64_t from, size_t count, int32_t *out, struct why *why) {
  uint64_t most = c->manifest.vocab_count ? c->manifest.vocab_count : (uint64_t)INT32_MAX;
  for (size_t i = 0; i < count; i++) {
    int64_t id = id_at(part->ids, s->type, from + i);
    if ((uint64_t)id >= most)
      return why_say(why, STATUS_MISMATCH,
                     "%s: token %llu of slice '%s' is %lld, but the vocabulary has %llu; the "
                     "corpus is damaged or was made with another tokenizer",
                     c->path, (unsigned long long)(part->begin + from + i), s->about.name,
                     (long long)id, (unsigned long long)most);
    out[i] = (int32_t)id;
  }
  return STATUS_OK;
}

/* The last part that begins at or before a token. */
static const struct part *find_part(const struct slice *s, uint64_t token) {
  size_t low = 0;
  size_t high = s->part_count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (s->parts[middle].begin <= token)
      low = middle;
    else
      high = middle;
  }
  return &s->parts[low];
}

enum status corpus_read(const struct corpus *c, size_t slice, uint64_t begin, size_t count,
                        int32_t *out, struct why *why) {
  CLAIM(slice < c->slice_count);
  const struct slice *s = &c->slices[slice];
  if (count > s->about.token_count || begin > s->about.token_count - count)
    return why_say(why, STATUS_RANGE, "%s: slice '%s' has %llu tokens; %zu from %llu are not there",
                   c->path, s->about.name, (unsigned long long)s->about.token_count, count,
                   (unsigned long long)begin);
  const struct part *part = count ? find_part(s, begin) : NULL;
  while (count) {
    uint64_t from = begin - part->begin;
    size_t here = part->count - from < count ? (size_t)(part->count - from) : count;
    TRY(copy_ids(c, s, part, from, here, out, why));
    out += here;
    begin += here;
    count -= here;
    part++;
  }
  return STATUS_OK;
}

/* Where a document ends, in tokens of the slice; before the first one, 0. */
static uint64_t document_end(const struct slice *s, uint64_t count) {
  size_t k = 0;
  if (!count)
    return 0;
  if (s->parts[0].index.documents)
    return megatron_document(&s->parts[0].index, count);
  while (s->parts[k].document_begin + s->parts[k].document_count < count)
    k++;
  uint64_t at = count - 1 - s->parts[k].document_begin;
  return bytes_get_u64(s->parts[k].documents.at + SHARD_HEADER_BYTES + 8 * at);
}

enum status corpus_document(const struct corpus *c, size_t slice, uint64_t document,
                            uint64_t *begin, uint64_t *end, struct why *why) {
  CLAIM(slice < c->slice_count);
  const struct slice *s = &c->slices[slice];
  if (document >= s->about.document_count)
    return why_say(why, STATUS_RANGE, "%s: slice '%s' has %llu documents; there is no number %llu",
                   c->path, s->about.name, (unsigned long long)s->about.document_count,
                   (unsigned long long)document);
  uint64_t from = document_end(s, document);
  uint64_t to = document_end(s, document + 1);
  if (from > to || to > s->about.token_count)
    return why_say(why, STATUS_BAD,
                   "%s: document %llu of slice '%s' goes from token %llu to %llu; the file of "
                   "documents is damaged",
                   c->path, (unsigned long long)document, s->about.name, (unsigned long long)from,
                   (unsigned long long)to);
  *begin = from;
  *end = to;
  return STATUS_OK;
}

struct verifying {
  bool (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes);
  void *context;
  uint64_t done_bytes;
  uint64_t total_bytes;
};

static enum status advance(struct verifying *v, uint64_t bytes, struct why *why) {
  v->done_bytes += bytes;
  if (v->progress && !v->progress(v->context, v->done_bytes, v->total_bytes))
    return why_say(why, STATUS_STOPPED, "stopped before everything was verified");
  return STATUS_OK;
}

static enum status verify_file(const struct corpus *c, const struct io_map *map,
                               const struct catalog_file *f, struct verifying *v, struct why *why) {
  struct digester in;
  char found_hex[DIGEST_HEX_BYTES];
  char wanted_hex[DIGEST_HEX_BYTES];
  digester_init(&in, DIGEST_PLAIN);
  for (size_t at = 0; at < map->count;) {
    size_t step = map->count - at < VERIFY_STEP_BYTES ? map->count - at : VERIFY_STEP_BYTES;
    digester_add(&in, map->at + at, step);
    at += step;
    TRY(advance(v, step, why));
  }
  struct digest found = digester_end(&in);
  if (digest_equal(&found, &f->digest))
    return STATUS_OK;
  digest_hex(&found, found_hex);
  digest_hex(&f->digest, wanted_hex);
  return why_say(why, STATUS_FORGED,
                 "%s/%s was altered: its digest is %.16s…, the manifest says %.16s…; fetch or make "
                 "it again",
                 c->path, f->name, found_hex, wanted_hex);
}

static enum status scan_ids(const struct corpus *c, size_t slice, struct verifying *v,
                            struct why *why) {
  int32_t ids[SCAN_TOKENS];
  const struct slice *s = &c->slices[slice];
  for (uint64_t at = 0; at < s->about.token_count;) {
    uint64_t left = s->about.token_count - at;
    size_t step = left < SCAN_TOKENS ? (size_t)left : SCAN_TOKENS;
    TRY(corpus_read(c, slice, at, step, ids, why));
    at += step;
    TRY(advance(v, step * megatron_width(s->type), why));
  }
  return STATUS_OK;
}

static enum status verify_tokenizer(const struct corpus *c, struct why *why) {
  struct io_map map;
  if (c->manifest.byte_tokenizer)
    return STATUS_OK;
  TRY(io_map_open(c->tokenizer_path, &map, why));
  struct digest found = digest_of(DIGEST_PLAIN, map.at, map.count);
  io_map_close(&map);
  if (!digest_equal(&found, &c->manifest.tokenizer))
    return why_say(why, STATUS_FORGED, "%s is not the tokenizer that made the corpus",
                   c->tokenizer_path);
  return STATUS_OK;
}

enum status corpus_verify(const struct corpus *c,
                          bool (*progress)(void *context, uint64_t done_bytes,
                                           uint64_t total_bytes),
                          void *context, struct why *why) {
  struct verifying v = {progress, context, 0, 0};
  for (size_t s = 0; s < c->slice_count; s++)
    for (size_t k = 0; k < c->slices[s].part_count; k++)
      v.total_bytes += c->slices[s].parts[k].tokens.count +
                       (c->has_manifest ? c->slices[s].parts[k].documents.count : 0);
  if (!c->has_manifest)
    return scan_ids(c, 0, &v, why);
  TRY(verify_tokenizer(c, why));
  for (size_t s = 0; s < c->slice_count; s++)
    for (size_t k = 0; k < c->slices[s].part_count; k++) {
      const struct catalog_shard *from = &c->manifest.slices[s].shards[k];
      TRY(verify_file(c, &c->slices[s].parts[k].tokens, &from->tokens, &v, why));
      TRY(verify_file(c, &c->slices[s].parts[k].documents, &from->documents, &v, why));
    }
  return STATUS_OK;
}
