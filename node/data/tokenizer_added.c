/* The added tokens of a tokenizer.json. */
#include <stdlib.h>
#include <string.h>

#include "node/data/tokenizer.h"
#include "node/data/tokenizer_json.h"

enum { NFC_GROWTH = 3 }; /* UTF-8 grows at most so many times under NFC (Unicode, UAX 15) */

enum status tokenizer_json_added_room(const json_t *list, size_t *bytes, size_t *count,
                                      struct why *why) {
  *bytes = 0;
  *count = json_array_size(list);
  if (list && !json_is_array(list))
    return why_say(why, STATUS_BAD, "added_tokens is not a list");
  if (*count > ADDED_TOKEN_MAX)
    return why_say(why, STATUS_BAD, "added_tokens: %zu of them, and %d are the most", *count,
                   ADDED_TOKEN_MAX);
  for (size_t i = 0; i < *count; i++) {
    const json_t *content = json_object_get(json_array_get(list, i), "content");
    size_t length = json_string_length(content);
    if (length < 1 || length > ADDED_TOKEN_BYTES_MAX)
      return why_say(why, STATUS_BAD, "added_tokens[%zu]: no content of 1 to %d bytes", i,
                     ADDED_TOKEN_BYTES_MAX);
    *bytes += length * (1 + NFC_GROWTH);
  }
  return STATUS_OK;
}

struct added_flags {
  bool normalized, special, single_word, lstrip, rstrip;
};

static enum status read_flags(const json_t *token, size_t index, struct added_flags *out,
                              struct why *why) {
  static const char *const keys[] = {"id",     "content", "single_word", "lstrip",
                                     "rstrip", "special", "normalized",  NULL};
  const struct {
    const char *key;
    bool *value;
  } flags[] = {{"single_word", &out->single_word},
               {"lstrip", &out->lstrip},
               {"rstrip", &out->rstrip},
               {"normalized", &out->normalized},
               {"special", &out->special}};
  TRY(tokenizer_json_keys(token, "added_tokens", keys, why));
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    const json_t *value = json_object_get(token, flags[i].key);
    if (!json_is_boolean(value))
      return why_say(why, STATUS_BAD, "added_tokens[%zu]: %s is not there as true or false", index,
                     flags[i].key);
    *flags[i].value = json_is_true(value);
  }
  return STATUS_OK;
}

/* The id that `tokenizers` gives, whatever the file says: the vocabulary's when the token is in it,
 * and otherwise the next one behind the vocabulary's count. A file that says another would be read
 * differently by the two of us, so it is refused. */
static enum status check_id(const json_t *token, size_t index, const json_t *vocab,
                            uint32_t *next_id, uint32_t *out, struct why *why) {
  const char *content = json_string_value(json_object_get(token, "content"));
  const json_t *in_vocab = json_object_get(vocab, content);
  uint32_t id = in_vocab ? (uint32_t)json_integer_value(in_vocab) : *next_id;
  const json_t *given = json_object_get(token, "id");
  if (!json_is_integer(given) || json_integer_value(given) != (json_int_t)id)
    return why_say(why, STATUS_BAD,
                   "added_tokens[%zu] \"%.100s\": its id is %lld in the file and would be %u to "
                   "the tokenizers library",
                   index, content, (long long)json_integer_value(given), id);
  if (id >= TOKENIZER_VOCAB_MAX)
    return why_say(why, STATUS_BAD, "added_tokens[%zu]: id %u, and %d is the most", index, id,
                   TOKENIZER_VOCAB_MAX - 1);
  if (id >= *next_id)
    *next_id = id + 1;
  *out = id;
  return STATUS_OK;
}

static enum status check_new(const struct tokenizer_file *f, const char *content, uint32_t id,
                             bool in_vocab, struct why *why) {
  const struct tokenizer_token *t = &f->tokens[id];
  if (t->added)
    return why_say(why, STATUS_UNSUPPORTED, "added_tokens: \"%.100s\" (id %u) is given twice",
                   content, id);
  if (t->known && !in_vocab)
    return why_say(why, STATUS_BAD,
                   "added_tokens: \"%.100s\" has the id %u, which another token of the vocabulary "
                   "has",
                   content, id);
  return STATUS_OK;
}

static void store(struct tokenizer_file *f, const char *content, uint32_t id,
                  const struct added_flags *flags) {
  struct tokenizer_token *t = &f->tokens[id];
  uint32_t length = (uint32_t)strlen(content);
  *t = (struct tokenizer_token){f->arena_bytes, length, true, true};
  memcpy(f->arena + t->begin, content, length);
  f->arena_bytes += length;
  if (id >= f->vocab_count)
    f->vocab_count = id + 1;
  f->added[f->added_count++] = (struct added_token){
      f->arena + t->begin, length, id, flags->single_word, flags->lstrip, flags->rstrip};
}

/* What the token looks like in normalised text. */
static enum status normalise(const struct nfc *nfc, struct nfc_work *work, struct tokenizer_file *f,
                             struct added_token *t, struct why *why) {
  const uint8_t *text;
  size_t bytes;
  TRY(nfc_apply(nfc, work, t->bytes, t->count, &text, &bytes, why));
  memcpy(f->arena + f->arena_bytes, text, bytes);
  t->bytes = f->arena + f->arena_bytes;
  t->count = (uint32_t)bytes;
  f->arena_bytes += bytes;
  return STATUS_OK;
}

struct two_lists {
  struct added_token *raw, *normal;
  size_t raw_count, normal_count;
  struct nfc_work work;
};

static enum status read_one(const json_t *token, size_t index, const json_t *vocab,
                            uint32_t *next_id, struct tokenizer_file *out, struct why *why) {
  struct added_flags flags;
  uint32_t id = 0;
  const char *content = json_string_value(json_object_get(token, "content"));
  TRY(read_flags(token, index, &flags, why));
  TRY(check_id(token, index, vocab, next_id, &id, why));
  TRY(check_new(out, content, id, json_object_get(vocab, content) != NULL, why));
  store(out, content, id, &flags);
  return STATUS_OK;
}

/* Sort the tokens into the two lists. */
static enum status sort_out(const json_t *list, const struct nfc *nfc, struct two_lists *lists,
                            struct tokenizer_file *out, struct why *why) {
  for (size_t i = 0; i < out->added_count; i++) {
    struct added_flags flags;
    TRY(read_flags(json_array_get(list, i), i, &flags, why));
    if (!flags.normalized) {
      lists->raw[lists->raw_count++] = out->added[i];
      continue;
    }
    struct added_token *t = &lists->normal[lists->normal_count++];
    *t = out->added[i];
    if (out->nfc)
      TRY(normalise(nfc, &lists->work, out, t, why));
  }
  return STATUS_OK;
}

static enum status read_all(const json_t *list, const json_t *vocab, const struct nfc *nfc,
                            struct two_lists *lists, struct tokenizer_file *out, struct why *why) {
  uint32_t next_id = (uint32_t)json_object_size(vocab);
  for (size_t i = 0; i < json_array_size(list); i++)
    TRY(read_one(json_array_get(list, i), i, vocab, &next_id, out, why));
  TRY(sort_out(list, nfc, lists, out, why));
  TRY(added_tokens_open(lists->raw, lists->raw_count, &out->raw, why));
  return added_tokens_open(lists->normal, lists->normal_count, &out->normal, why);
}

enum status tokenizer_json_added(const json_t *list, const json_t *vocab, const struct nfc *nfc,
                                 struct tokenizer_file *out, struct why *why) {
  size_t count = json_array_size(list);
  struct two_lists lists = {0};
  out->added = calloc(count + 1, sizeof out->added[0]);
  lists.raw = calloc(count + 1, sizeof lists.raw[0]);
  lists.normal = calloc(count + 1, sizeof lists.normal[0]);
  enum status s;
  if (!out->added || !lists.raw || !lists.normal)
    s = why_say(why, STATUS_NOMEM, "no memory for %zu added tokens", count);
  else
    s = read_all(list, vocab, nfc, &lists, out, why);
  free(lists.raw);
  free(lists.normal);
  nfc_work_end(&lists.work);
  return s;
}
