#include "node/data/tokenizer_file.h"

#include <stdlib.h>
#include <string.h>

#include "node/data/tokenizer.h"
#include "node/data/tokenizer_json.h"

static enum status parse_root(const json_t *root, const struct nfc *nfc, struct tokenizer_file *out,
                              struct why *why) {
  static const char *const keys[] = {
      "version",       "truncation",     "padding", "added_tokens", "normalizer",
      "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
  if (!json_is_object(root))
    return why_say(why, STATUS_BAD, "the file is not a JSON object");
  TRY(tokenizer_json_keys(root, "the file", keys, why));
  const json_t *version = json_object_get(root, "version");
  if (version && (!json_is_string(version) || strcmp(json_string_value(version), "1.0") != 0))
    return why_say(why, STATUS_UNSUPPORTED, "version is not \"1.0\"");
  TRY(tokenizer_json_pipeline(root, out, why));
  const json_t *added = json_object_get(root, "added_tokens");
  const json_t *model = json_object_get(root, "model");
  size_t added_bytes, added_count;
  TRY(tokenizer_json_added_room(added, &added_bytes, &added_count, why));
  TRY(tokenizer_json_model(model, added_bytes, added_count, out, why));
  return tokenizer_json_added(added, json_object_get(model, "vocab"), nfc, out, why);
}

enum status tokenizer_file_parse(const char *name, const void *json, size_t json_bytes,
                                 const struct nfc *nfc, struct tokenizer_file *out,
                                 struct why *why) {
  *out = (struct tokenizer_file){0};
  if (json_bytes > TOKENIZER_FILE_BYTES_MAX)
    return why_say(why, STATUS_BAD, "%s: %zu bytes, and a tokenizer may have %d", name, json_bytes,
                   TOKENIZER_FILE_BYTES_MAX);
  json_error_t error;
  json_t *root = json_loadb(json, json_bytes, JSON_REJECT_DUPLICATES, &error);
  if (!root)
    return why_say(why, STATUS_BAD, "%s line %d column %d: %s", name, error.line, error.column,
                   error.text);
  enum status s = parse_root(root, nfc, out, why);
  json_decref(root);
  if (s != STATUS_OK) {
    tokenizer_file_end(out);
    return why_prefix(why, s, "%s: ", name);
  }
  return STATUS_OK;
}

void tokenizer_file_end(struct tokenizer_file *f) {
  free(f->arena);
  free(f->tokens);
  free(f->added);
  bpe_close(&f->bpe);
  added_tokens_close(&f->raw);
  added_tokens_close(&f->normal);
  *f = (struct tokenizer_file){0};
}
