#include "node/data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "node/data/tokenizer_file.h"
#include "node/text/utf8_repair.h"
#include "proto/base/claim.h"
#include "proto/base/io_file.h"
#include "proto/base/limits.h"

static const char byte_name[] = "byte";
static const char eod_name[] = "<|endoftext|>";

enum {
  BYTE_EOD = 256,
  IDS_SPARE = 8,            /* bpe_encode may write so many whatever the piece */
  KEEP_BYTES_MAX = 8 << 20, /* a larger buffer is given back before the next text */
};

struct tokenizer {
  struct tokenizer_file file; /* of "byte": its 257 tokens and no merges */
  struct unicode_class class_of;
  struct nfc nfc;
  void *json;
  size_t json_bytes;
  struct digest digest;
  bool is_byte;
};

struct tokenizer_work {
  const struct tokenizer *tk; /* what the words in bpe belong to */
  struct bpe_work bpe;
  struct nfc_work nfc;
  struct growing repaired;
  struct growing prefixed;
  struct growing ids;
  struct growing text;
  size_t count; /* of ids */
  uint64_t replaced;
};

static enum status make(struct tokenizer **out, struct why *why) {
  struct tokenizer *tk = calloc(1, sizeof *tk);
  if (!tk)
    return why_say(why, STATUS_NOMEM, "no memory for a tokenizer");
  unicode_class_init(&tk->class_of);
  nfc_init(&tk->nfc, &tk->class_of);
  *out = tk;
  return STATUS_OK;
}

static enum status fill_bytes(struct tokenizer_file *f, struct why *why) {
  f->vocab_count = BYTE_EOD + 1;
  f->arena_bytes = BYTE_EOD + strlen(eod_name);
  f->arena = malloc(f->arena_bytes);
  f->tokens = calloc(f->vocab_count, sizeof f->tokens[0]);
  f->added = calloc(1, sizeof f->added[0]);
  if (!f->arena || !f->tokens || !f->added)
    return why_say(why, STATUS_NOMEM, "no memory for a tokenizer");
  for (uint32_t b = 0; b < BYTE_EOD; b++) {
    f->arena[b] = (uint8_t)b;
    f->tokens[b] = (struct tokenizer_token){b, 1, true, false};
  }
  uint32_t eod_bytes = (uint32_t)strlen(eod_name);
  memcpy(f->arena + BYTE_EOD, eod_name, eod_bytes);
  f->tokens[BYTE_EOD] = (struct tokenizer_token){BYTE_EOD, eod_bytes, true, true};
  f->added[0] = (struct added_token){f->arena + BYTE_EOD, eod_bytes, BYTE_EOD, false, false, false};
  f->added_count = 1;
  TRY(added_tokens_open(f->added, 1, &f->raw, why));
  return added_tokens_open(NULL, 0, &f->normal, why);
}

static enum status open_byte(struct tokenizer **out, struct why *why) {
  struct tokenizer *tk = NULL;
  TRY(make(&tk, why));
  tk->is_byte = true;
  tk->digest = digest_of(DIGEST_PLAIN, byte_name, strlen(byte_name));
  enum status s = fill_bytes(&tk->file, why);
  if (s == STATUS_OK)
    *out = tk;
  else
    tokenizer_close(&tk);
  return s;
}

enum status tokenizer_parse(const char *name, const void *json, size_t json_bytes,
                            struct tokenizer **out, struct why *why) {
  struct tokenizer *tk = NULL;
  TRY(make(&tk, why));
  enum status s = tokenizer_file_parse(name, json, json_bytes, &tk->nfc, &tk->file, why);
  if (s == STATUS_OK) {
    tk->json = malloc(json_bytes + 1);
    if (!tk->json)
      s = why_say(why, STATUS_NOMEM, "%s: no memory to keep its %zu bytes", name, json_bytes);
  }
  if (s != STATUS_OK) {
    tokenizer_close(&tk);
    return s;
  }
  memcpy(tk->json, json, json_bytes);
  tk->json_bytes = json_bytes;
  tk->digest = digest_of(DIGEST_PLAIN, json, json_bytes);
  *out = tk;
  return STATUS_OK;
}

enum status tokenizer_open(const char *path, struct tokenizer **out, struct why *why) {
  char inside[PATH_BYTES_MAX];
  if (strcmp(path, byte_name) == 0)
    return open_byte(out, why);
  if (io_is_folder(path)) {
    TRY(io_path_join(path, "tokenizer.json", inside, why));
    path = inside;
  }
  struct io_bytes json;
  TRY(io_file_read(path, TOKENIZER_FILE_BYTES_MAX, &json, why));
  enum status s = tokenizer_parse(path, json.at, json.count, out, why);
  io_bytes_free(&json);
  return s;
}

void tokenizer_close(struct tokenizer **tk) {
  if (*tk) {
    tokenizer_file_end(&(*tk)->file);
    free((*tk)->json);
  }
  free(*tk);
  *tk = NULL;
}

uint32_t tokenizer_vocab_count(const struct tokenizer *tk) {
  return tk->file.vocab_count;
}

int64_t tokenizer_id(const struct tokenizer *tk, const char *token) {
  size_t bytes = strlen(token);
  for (size_t i = 0; i < tk->file.added_count; i++) {
    const struct added_token *t = &tk->file.added[i];
    if (t->count == bytes && memcmp(t->bytes, token, bytes) == 0)
      return t->id;
  }
  return -1;
}

int64_t tokenizer_eod(const struct tokenizer *tk) {
  return tokenizer_id(tk, eod_name);
}

bool tokenizer_is_byte(const struct tokenizer *tk) {
  return tk->is_byte;
}

const struct digest *tokenizer_digest(const struct tokenizer *tk) {
  return &tk->digest;
}

const void *tokenizer_file(const struct tokenizer *tk, size_t *bytes) {
  *bytes = tk->json_bytes;
  return tk->json;
}

enum status tokenizer_work_open(const struct tokenizer *tk, struct tokenizer_work **out,
                                struct why *why) {
  struct tokenizer_work *w = calloc(1, sizeof *w);
  if (!w)
    return why_say(why, STATUS_NOMEM, "no memory for a tokenizer's work");
  enum status s = bpe_work_init(&w->bpe, why);
  if (s != STATUS_OK) {
    free(w);
    return s;
  }
  w->tk = tk;
  *out = w;
  return STATUS_OK;
}

void tokenizer_work_close(struct tokenizer_work **w) {
  if (*w) {
    struct growing *buffers[] = {&(*w)->repaired, &(*w)->prefixed, &(*w)->ids, &(*w)->text};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
      growing_end(buffers[i]);
    nfc_work_end(&(*w)->nfc);
    bpe_work_end(&(*w)->bpe);
  }
  free(*w);
  *w = NULL;
}

/* One huge document must not keep its memory for the rest of the run. */
static void shed(struct tokenizer_work *w) {
  struct growing *buffers[] = {&w->repaired, &w->prefixed,   &w->ids,      &w->text,
                               &w->nfc.out,  &w->nfc.points, &w->bpe.heap, &w->bpe.links};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
    if (buffers[i]->bytes > KEEP_BYTES_MAX)
      growing_end(buffers[i]);
}

static inline enum status room_for(struct tokenizer_work *w, size_t more, struct why *why) {
  size_t bytes = (w->count + more + IDS_SPARE) * sizeof(uint32_t);
  return bytes <= w->ids.bytes ? STATUS_OK : growing_need(&w->ids, bytes, why);
}

static enum status add_id(struct tokenizer_work *w, uint32_t id, struct why *why) {
  TRY(room_for(w, 1, why));
  ((uint32_t *)w->ids.at)[w->count++] = id;
  return STATUS_OK;
}

static enum status add_bytes(struct tokenizer_work *w, const uint8_t *text, const uint8_t *end,
                             struct why *why) {
  size_t bytes = (size_t)(end - text);
  TRY(room_for(w, bytes, why));
  uint32_t *ids = (uint32_t *)w->ids.at + w->count;
  for (size_t i = 0; i < bytes; i++)
    ids[i] = text[i];
  w->count += bytes;
  return STATUS_OK;
}

/* A text without added tokens in it, normalised: cut into pieces, each merged. */
static enum status encode_plain(const struct tokenizer *tk, struct tokenizer_work *w,
                                const uint8_t *text, const uint8_t *end, struct why *why) {
  if (text == end)
    return STATUS_OK;
  if (tk->is_byte)
    return add_bytes(w, text, end, why);
  if (tk->file.prefix_space && *text != ' ') {
    size_t bytes = (size_t)(end - text);
    TRY(growing_need(&w->prefixed, bytes + 1, why));
    uint8_t *copy = w->prefixed.at;
    copy[0] = ' ';
    memcpy(copy + 1, text, bytes);
    text = copy;
    end = copy + bytes + 1;
  }
  while (text < end) {
    const uint8_t *next = pretokenize_next(tk->file.pattern, &tk->class_of, text, end);
    size_t bytes = (size_t)(next - text), count;
    TRY(room_for(w, bytes, why));
    TRY(bpe_encode(tk->file.bpe, &w->bpe, text, bytes, end, (uint32_t *)w->ids.at + w->count,
                   &count, why));
    w->count += count;
    text = next;
  }
  return STATUS_OK;
}

/* A text between the added tokens that are found before normalisation. */
static enum status encode_section(const struct tokenizer *tk, struct tokenizer_work *w,
                                  const uint8_t *text, const uint8_t *end, struct why *why) {
  size_t bytes = (size_t)(end - text);
  if (tk->file.nfc)
    TRY(nfc_apply(&tk->nfc, &w->nfc, text, bytes, &text, &bytes, why));
  if (bytes >= UINT32_MAX - 1)
    return why_say(why, STATUS_FULL, "a text of %zu bytes once normalised is too long", bytes);
  struct added_scan scan = added_scan(tk->file.normal, &tk->class_of, text, text + bytes);
  struct added_found found;
  while (added_scan_next(&scan, &found)) {
    TRY(encode_plain(tk, w, found.text, found.text_end, why));
    if (found.is_token)
      TRY(add_id(w, found.id, why));
  }
  return STATUS_OK;
}

enum status tokenizer_encode(const struct tokenizer *tk, struct tokenizer_work *w, const void *text,
                             size_t text_bytes, const uint32_t **ids, size_t *count,
                             struct why *why) {
  CLAIM(w->tk == tk);
  if (text_bytes > TOKENIZER_TEXT_BYTES_MAX)
    return why_say(why, STATUS_FULL, "a text of %zu bytes, and one document may have %zu",
                   text_bytes, TOKENIZER_TEXT_BYTES_MAX);
  shed(w);
  w->count = 0;
  TRY(room_for(w, 0, why));
  const uint8_t *at = text;
  uint64_t replaced = 0;
  if (utf8_valid_prefix(at, text_bytes) < text_bytes) {
    TRY(growing_need(&w->repaired, 3 * text_bytes, why));
    text_bytes = utf8_repair(at, text_bytes, w->repaired.at, &replaced);
    at = w->repaired.at;
  }
  struct added_scan scan = added_scan(tk->file.raw, &tk->class_of, at, at + text_bytes);
  struct added_found found;
  while (added_scan_next(&scan, &found)) {
    if (found.text < found.text_end)
      TRY(encode_section(tk, w, found.text, found.text_end, why));
    if (found.is_token)
      TRY(add_id(w, found.id, why));
  }
  w->replaced += replaced;
  *ids = w->ids.at;
  *count = w->count;
  return STATUS_OK;
}

uint64_t tokenizer_replaced(const struct tokenizer_work *w) {
  return w->replaced;
}

enum status tokenizer_decode(const struct tokenizer *tk, struct tokenizer_work *w,
                             const uint32_t *ids, size_t count, const char **text,
                             size_t *text_bytes, struct why *why) {
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++) {
    if (ids[i] >= tk->file.vocab_count || !tk->file.tokens[ids[i]].known)
      return why_say(why, STATUS_RANGE, "id %u at place %zu is not in the vocabulary of %u tokens",
                     ids[i], i, tk->file.vocab_count);
    bytes += tk->file.tokens[ids[i]].bytes;
  }
  TRY(growing_need(&w->text, bytes + 1, why));
  char *at = w->text.at;
  for (size_t i = 0; i < count; i++) {
    const struct tokenizer_token *t = &tk->file.tokens[ids[i]];
    memcpy(at, tk->file.arena + t->begin, t->bytes);
    at += t->bytes;
  }
  *at = 0;
  *text = w->text.at;
  *text_bytes = bytes;
  return STATUS_OK;
}
