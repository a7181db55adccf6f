/* The model of a tokenizer.json: its vocabulary and its merges. */
#include <stdlib.h>
#include <string.h>

#include "node/data/tokenizer.h"
#include "node/data/tokenizer_json.h"
#include "node/text/unicode_class.h"

/* ByteLevel writes each byte as one printable character: itself where it is one, and otherwise the
 * next of U+0100, U+0101, … (openai/gpt-2, encoder.py, bytes_to_unicode). */
static bool byte_stands_for_itself(uint32_t c) {
  return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

struct byte_letters {
  uint16_t of_byte[256];
  int16_t byte_of[0x200]; /* -1: not the letter of a byte */
};

static void spell_bytes(struct byte_letters *l) {
  uint16_t next = 0x100;
  for (size_t i = 0; i < 0x200; i++)
    l->byte_of[i] = -1;
  for (uint16_t b = 0; b < 256; b++) {
    l->of_byte[b] = byte_stands_for_itself(b) ? b : next++;
    l->byte_of[l->of_byte[b]] = (int16_t)b;
  }
}

/* The bytes that a token of the vocabulary stands for. One with letters of no byte can never come
 * out of a text; it keeps its own UTF-8, as the ByteLevel decoder does. */
static uint32_t token_bytes(const struct byte_letters *l, const char *token, size_t length,
                            uint8_t *out) {
  const uint8_t *at = (const uint8_t *)token;
  uint32_t count = 0;
  for (size_t i = 0, step; i < length; i += step) {
    uint32_t c = unicode_decode(at + i, &step);
    if (c >= 0x200 || l->byte_of[c] < 0) {
      memcpy(out, token, length);
      return (uint32_t)length;
    }
    out[count++] = (uint8_t)l->byte_of[c];
  }
  return count;
}

static bool id_of(const json_t *vocab, const char *token, uint32_t *out) {
  const json_t *id = json_object_get(vocab, token);
  if (id)
    *out = (uint32_t)json_integer_value(id);
  return id != NULL;
}

/* Ids and lengths, before anything is allocated for them. */
static enum status measure_vocab(const json_t *vocab, size_t *bytes, uint32_t *id_end,
                                 struct why *why) {
  const char *key;
  json_t *id;
  *bytes = 0;
  *id_end = 0;
  json_object_foreach((json_t *)vocab, key, id) {
    json_int_t value = json_integer_value(id);
    size_t length = strlen(key);
    if (!json_is_integer(id) || value < 0 || value >= TOKENIZER_VOCAB_MAX)
      return why_say(why, STATUS_BAD, "model.vocab: the id of \"%.200s\" is not from 0 to %d", key,
                     TOKENIZER_VOCAB_MAX - 1);
    if (length > TOKENIZER_TOKEN_BYTES_MAX)
      return why_say(why, STATUS_BAD, "model.vocab: token %lld is %zu bytes long, and %d may be",
                     (long long)value, length, TOKENIZER_TOKEN_BYTES_MAX);
    *bytes += length;
    if ((uint32_t)value >= *id_end)
      *id_end = (uint32_t)value + 1;
  }
  return STATUS_OK;
}

static enum status read_vocab(const json_t *vocab, const struct byte_letters *letters,
                              size_t spare_bytes, size_t spare_tokens, struct tokenizer_file *out,
                              struct why *why) {
  size_t bytes;
  TRY(measure_vocab(vocab, &bytes, &out->vocab_count, why));
  out->arena = malloc(bytes + spare_bytes + 1);
  out->tokens = calloc(out->vocab_count + spare_tokens + 1, sizeof out->tokens[0]);
  if (!out->arena || !out->tokens)
    return why_say(why, STATUS_NOMEM, "no memory for a vocabulary of %u tokens", out->vocab_count);
  const char *key;
  json_t *id;
  json_object_foreach((json_t *)vocab, key, id) {
    struct tokenizer_token *t = &out->tokens[json_integer_value(id)];
    if (t->known)
      return why_say(why, STATUS_BAD, "model.vocab: id %lld is given twice, also to \"%.200s\"",
                     (long long)json_integer_value(id), key);
    t->known = true;
    t->begin = out->arena_bytes;
    t->bytes = token_bytes(letters, key, strlen(key), out->arena + t->begin);
    out->arena_bytes += t->bytes;
  }
  return STATUS_OK;
}

/* The ids of single bytes. UTF-8 never has the bytes C0, C1 and F5 to FF, and a vocabulary may do
 * without them. */
static enum status read_byte_ids(const json_t *vocab, const struct byte_letters *letters,
                                 uint32_t ids[256], struct why *why) {
  for (uint32_t b = 0; b < 256; b++) {
    char letter[5] = {0};
    unicode_encode(letters->of_byte[b], (uint8_t *)letter);
    ids[b] = 0;
    if (!id_of(vocab, letter, &ids[b]) && b < 0xf5 && b != 0xc0 && b != 0xc1)
      return why_say(why, STATUS_UNSUPPORTED,
                     "model.vocab has no token for the byte %02X (written \"%s\"): only "
                     "vocabularies over all bytes are supported",
                     b, letter);
  }
  return STATUS_OK;
}

/* left and right of a merge, as "left right" or ["left", "right"]; the halves are copied to text,
 * which has room for both, with a zero after each. */
static bool split_merge(const json_t *merge, char *text, const char **left, const char **right) {
  if (json_is_string(merge)) {
    size_t length = json_string_length(merge);
    if (length > TOKENIZER_TOKEN_BYTES_MAX)
      return false;
    memcpy(text, json_string_value(merge), length + 1);
    char *space = strchr(text, ' ');
    if (!space || strchr(space + 1, ' '))
      return false;
    *space = 0;
    *left = text;
    *right = space + 1;
    return true;
  }
  if (!json_is_array(merge) || json_array_size(merge) != 2)
    return false;
  *left = json_string_value(json_array_get(merge, 0));
  *right = json_string_value(json_array_get(merge, 1));
  return *left && *right && strlen(*left) + strlen(*right) <= TOKENIZER_TOKEN_BYTES_MAX;
}

static enum status read_merge(const json_t *vocab, const json_t *merge, size_t index, uint32_t rank,
                              char *text, struct bpe *b, struct why *why) {
  const char *left, *right;
  if (!split_merge(merge, text, &left, &right))
    return why_say(why, STATUS_BAD,
                   "model.merges[%zu] is not two tokens of at most %d bytes together", index,
                   TOKENIZER_TOKEN_BYTES_MAX);
  char *both = text + TOKENIZER_TOKEN_BYTES_MAX + 2;
  size_t left_bytes = strlen(left);
  memcpy(both, left, left_bytes);
  memcpy(both + left_bytes, right, strlen(right) + 1);
  uint32_t left_id, right_id, both_id;
  const char *missing = !id_of(vocab, left, &left_id)     ? left
                        : !id_of(vocab, right, &right_id) ? right
                        : !id_of(vocab, both, &both_id)   ? both
                                                          : NULL;
  if (missing)
    return why_say(why, STATUS_BAD, "model.merges[%zu]: \"%.200s\" is not in the vocabulary", index,
                   missing);
  bpe_add(b, left_id, right_id, rank, both_id);
  return STATUS_OK;
}

static bool is_version_line(const json_t *merge) {
  return json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0;
}

static enum status read_merges(const json_t *vocab, const json_t *merges, struct bpe *b,
                               struct why *why) {
  char *text = malloc(2 * (TOKENIZER_TOKEN_BYTES_MAX + 2));
  if (!text)
    return why_say(why, STATUS_NOMEM, "no memory to read merges");
  enum status s = STATUS_OK;
  uint32_t rank = 0;
  for (size_t i = 0; i < json_array_size(merges) && s == STATUS_OK; i++) {
    const json_t *merge = json_array_get(merges, i);
    if (!is_version_line(merge))
      s = read_merge(vocab, merge, i, rank++, text, b, why);
  }
  free(text);
  return s;
}

/* Options that change nothing once every byte has a token (unk_token, fuse_unk, byte_fallback) may
 * have any value. */
static enum status check_options(const json_t *model, struct why *why) {
  static const char *const keys[] = {"type",
                                     "dropout",
                                     "unk_token",
                                     "continuing_subword_prefix",
                                     "fuse_unk",
                                     "end_of_word_suffix",
                                     "byte_fallback",
                                     "ignore_merges",
                                     "vocab",
                                     "merges",
                                     NULL};
  static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
  const json_t *type = json_object_get(model, "type");
  if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
    return why_say(why, STATUS_UNSUPPORTED, "model type \"%s\" is not supported (BPE is)",
                   json_is_string(type) ? json_string_value(type) : "");
  TRY(tokenizer_json_keys(model, "model", keys, why));
  const json_t *dropout = json_object_get(model, "dropout");
  if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
    return why_say(why, STATUS_UNSUPPORTED, "model.dropout is not supported: ids must not vary");
  for (size_t i = 0; i < 2; i++) {
    const json_t *affix = json_object_get(model, affixes[i]);
    if (affix && !json_is_null(affix) && (!json_is_string(affix) || json_string_length(affix) > 0))
      return why_say(why, STATUS_UNSUPPORTED, "model.%s is not supported", affixes[i]);
  }
  const json_t *ignore = json_object_get(model, "ignore_merges");
  if (ignore && !json_is_boolean(ignore))
    return why_say(why, STATUS_BAD, "model.ignore_merges is neither true nor false");
  return STATUS_OK;
}

/* A whole piece that is in the vocabulary is taken at once. Two tokens can have the same bytes only
 * when one of them is not made of byte letters, and that one no piece can be. */
static enum status read_wholes(const json_t *vocab, const struct byte_letters *letters,
                               struct tokenizer_file *out, struct why *why) {
  const char *key;
  json_t *id;
  TRY(bpe_expect_whole(out->bpe, json_object_size(vocab), why));
  json_object_foreach((json_t *)vocab, key, id) {
    const struct tokenizer_token *t = &out->tokens[json_integer_value(id)];
    bool of_letters = t->bytes > 0;
    for (size_t i = 0, step; key[i] && of_letters; i += step) {
      uint32_t c = unicode_decode((const uint8_t *)key + i, &step);
      of_letters = c < 0x200 && letters->byte_of[c] >= 0;
    }
    if (of_letters)
      bpe_add_whole(out->bpe, out->arena + t->begin, t->bytes, (uint32_t)json_integer_value(id));
  }
  return STATUS_OK;
}

enum status tokenizer_json_model(const json_t *model, size_t spare_bytes, size_t spare_tokens,
                                 struct tokenizer_file *out, struct why *why) {
  if (!json_is_object(model))
    return why_say(why, STATUS_BAD, "there is no model");
  TRY(check_options(model, why));
  const json_t *vocab = json_object_get(model, "vocab");
  const json_t *merges = json_object_get(model, "merges");
  if (!json_is_object(vocab) || !json_is_array(merges))
    return why_say(why, STATUS_BAD, "the model has no vocab or no merges");
  if (json_array_size(merges) > BPE_MERGE_MAX)
    return why_say(why, STATUS_BAD, "model.merges: %zu merges, and %d are the most",
                   json_array_size(merges), BPE_MERGE_MAX);
  struct byte_letters letters;
  uint32_t byte_ids[256];
  spell_bytes(&letters);
  TRY(read_vocab(vocab, &letters, spare_bytes, spare_tokens, out, why));
  TRY(read_byte_ids(vocab, &letters, byte_ids, why));
  TRY(bpe_open(json_array_size(merges), byte_ids, &out->bpe, why));
  TRY(read_merges(vocab, merges, out->bpe, why));
  if (json_is_true(json_object_get(model, "ignore_merges")))
    TRY(read_wholes(vocab, &letters, out, why));
  return STATUS_OK;
}
