/* The steps around the model: what is done here, and a refusal by name for what is not. */
#include <string.h>

#include "node/data/tokenizer_json.h"

enum status tokenizer_json_keys(const json_t *object, const char *where, const char *const *names,
                                struct why *why) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)object, key, value) {
    size_t i = 0;
    while (names[i] && strcmp(names[i], key) != 0)
      i++;
    if (!names[i])
      return why_say(why, STATUS_UNSUPPORTED, "%s has the key \"%s\", which is not supported",
                     where, key);
  }
  return STATUS_OK;
}

static bool is_null(const json_t *value) {
  return !value || json_is_null(value);
}

/* The "type" of a step; "" when it has none. */
static const char *type_of(const json_t *step) {
  const json_t *type = json_object_get(step, "type");
  return json_is_string(type) ? json_string_value(type) : "";
}

static bool is_type(const json_t *step, const char *type) {
  return strcmp(type_of(step), type) == 0;
}

static enum status refuse(const char *part, const json_t *step, const char *instead,
                          struct why *why) {
  return why_say(why, STATUS_UNSUPPORTED, "%s \"%s\" is not supported (%s)", part, type_of(step),
                 instead);
}

static enum status flag_of(const json_t *step, const char *where, const char *key, bool *out,
                           struct why *why) {
  const json_t *value = json_object_get(step, key);
  if (!value)
    return STATUS_OK;
  if (!json_is_boolean(value))
    return why_say(why, STATUS_BAD, "%s: %s is neither true nor false", where, key);
  *out = json_is_true(value);
  return STATUS_OK;
}

static enum status read_normalizer(const json_t *step, bool *nfc, struct why *why) {
  static const char *const nfc_keys[] = {"type", NULL};
  static const char *const sequence_keys[] = {"type", "normalizers", NULL};
  if (is_null(step))
    return STATUS_OK;
  if (is_type(step, "NFC")) {
    *nfc = true;
    return tokenizer_json_keys(step, "normalizer", nfc_keys, why);
  }
  if (!is_type(step, "Sequence"))
    return refuse("normalizer", step, "null and NFC are", why);
  TRY(tokenizer_json_keys(step, "normalizer", sequence_keys, why));
  const json_t *list = json_object_get(step, "normalizers");
  if (!json_is_array(list))
    return why_say(why, STATUS_BAD, "normalizer: a Sequence without a list of normalizers");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *inner = json_array_get(list, i);
    if (!is_type(inner, "NFC"))
      return refuse("normalizer", inner, "null and NFC are", why);
    *nfc = true;
  }
  return STATUS_OK;
}

static enum status read_byte_level(const json_t *step, const char *where, bool *prefix_space,
                                   bool *regex, struct why *why) {
  static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
  bool trim = false;
  *regex = true;
  TRY(tokenizer_json_keys(step, where, keys, why));
  if (!json_object_get(step, "add_prefix_space"))
    return why_say(why, STATUS_BAD, "%s: ByteLevel without add_prefix_space", where);
  TRY(flag_of(step, where, "add_prefix_space", prefix_space, why));
  TRY(flag_of(step, where, "trim_offsets", &trim, why));
  return flag_of(step, where, "use_regex", regex, why);
}

/* Each match is a piece of its own, said in either of the two ways; the patterns known to
 * pretokenize.h match every character, so that nothing is between the matches. */
static enum status read_split(const json_t *step, enum pretokenize_pattern *pattern,
                              struct why *why) {
  static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
  static const char *const pattern_keys[] = {"Regex", NULL};
  TRY(tokenizer_json_keys(step, "pre_tokenizer Split", keys, why));
  const json_t *given = json_object_get(step, "pattern");
  if (!json_is_object(given))
    return why_say(why, STATUS_BAD, "pre_tokenizer Split: no pattern");
  TRY(tokenizer_json_keys(given, "pre_tokenizer Split pattern", pattern_keys, why));
  const json_t *regex = json_object_get(given, "Regex");
  if (!json_is_string(regex))
    return why_say(why, STATUS_BAD, "pre_tokenizer Split: the pattern is not a string");
  if (!pretokenize_known(json_string_value(regex), pattern))
    return why_say(why, STATUS_UNSUPPORTED,
                   "pre_tokenizer Split by the pattern %s is not supported (those of GPT-2, "
                   "Llama 3 and Qwen 2 are)",
                   json_string_value(regex));
  bool invert = false;
  TRY(flag_of(step, "pre_tokenizer Split", "invert", &invert, why));
  const json_t *behavior = json_object_get(step, "behavior");
  const char *word = json_is_string(behavior) ? json_string_value(behavior) : "";
  if (strcmp(word, invert ? "Removed" : "Isolated") != 0)
    return why_say(why, STATUS_UNSUPPORTED,
                   "pre_tokenizer Split with behavior \"%s\" and invert %s is not supported "
                   "(\"Isolated\" and false is)",
                   word, invert ? "true" : "false");
  return STATUS_OK;
}

static enum status read_pre_tokenizer(const json_t *step, struct tokenizer_file *out,
                                      struct why *why) {
  static const char *const keys[] = {"type", "pretokenizers", NULL};
  static const char *const instead = "ByteLevel is, alone or in a Sequence after one Split";
  bool regex;
  const json_t *split = NULL, *byte_level = step;
  if (is_null(step))
    return why_say(why, STATUS_UNSUPPORTED, "pre_tokenizer null is not supported (%s)", instead);
  if (is_type(step, "Sequence")) {
    TRY(tokenizer_json_keys(step, "pre_tokenizer", keys, why));
    const json_t *list = json_object_get(step, "pretokenizers");
    size_t count = json_array_size(list);
    if (count < 1 || count > 2)
      return why_say(why, STATUS_UNSUPPORTED, "pre_tokenizer: a Sequence of %zu steps (%s)", count,
                     instead);
    split = count == 2 ? json_array_get(list, 0) : NULL;
    byte_level = json_array_get(list, count - 1);
  }
  if (split && !is_type(split, "Split"))
    return refuse("pre_tokenizer", split, instead, why);
  if (!is_type(byte_level, "ByteLevel"))
    return refuse("pre_tokenizer", byte_level, instead, why);
  TRY(read_byte_level(byte_level, "pre_tokenizer", &out->prefix_space, &regex, why));
  out->pattern = regex ? PRETOKENIZE_GPT2 : PRETOKENIZE_WHOLE;
  if (!split)
    return STATUS_OK;
  if (regex || out->prefix_space)
    return why_say(why, STATUS_UNSUPPORTED,
                   "pre_tokenizer: a Split before a ByteLevel with %s is not supported",
                   regex ? "use_regex" : "add_prefix_space");
  return read_split(split, &out->pattern, why);
}

static enum status check_one_post_processor(const json_t *step, struct why *why) {
  if (is_type(step, "ByteLevel") || is_type(step, "TemplateProcessing"))
    return STATUS_OK;
  return refuse("post_processor", step, "null, ByteLevel and TemplateProcessing are", why);
}

static enum status check_post_processor(const json_t *step, struct why *why) {
  if (is_null(step))
    return STATUS_OK;
  if (!is_type(step, "Sequence"))
    return check_one_post_processor(step, why);
  const json_t *list = json_object_get(step, "processors");
  if (!json_is_array(list))
    return why_say(why, STATUS_BAD, "post_processor: a Sequence without a list of processors");
  for (size_t i = 0; i < json_array_size(list); i++)
    TRY(check_one_post_processor(json_array_get(list, i), why));
  return STATUS_OK;
}

enum status tokenizer_json_pipeline(const json_t *root, struct tokenizer_file *out,
                                    struct why *why) {
  static const char *const cutters[] = {"truncation", "padding"};
  for (size_t i = 0; i < 2; i++)
    if (!is_null(json_object_get(root, cutters[i])))
      return why_say(why, STATUS_UNSUPPORTED, "%s is not supported; set it to null in the file",
                     cutters[i]);
  TRY(read_normalizer(json_object_get(root, "normalizer"), &out->nfc, why));
  TRY(read_pre_tokenizer(json_object_get(root, "pre_tokenizer"), out, why));
  TRY(check_post_processor(json_object_get(root, "post_processor"), why));
  const json_t *decoder = json_object_get(root, "decoder");
  if (is_null(decoder))
    return why_say(why, STATUS_UNSUPPORTED, "decoder null is not supported (ByteLevel is)");
  if (!is_type(decoder, "ByteLevel"))
    return refuse("decoder", decoder, "ByteLevel is", why);
  return STATUS_OK;
}
