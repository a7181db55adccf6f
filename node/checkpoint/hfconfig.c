#include "node/checkpoint/hfconfig.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A JSON object being read; the first thing that is wrong sticks, later reads return defaults. */
struct reader {
  const char *file;
  const json_t *root;
  struct why *why;
  enum status status;
};

/* The value of a key, NULL when absent or null. */
static const json_t *get(const struct reader *r, const char *key) {
  const json_t *value = json_object_get(r->root, key);
  return json_is_null(value) ? NULL : value;
}

static void fail_kind(struct reader *r, const char *key, const char *kind) {
  if (r->status == STATUS_OK)
    r->status = why_say(r->why, STATUS_BAD, "%s: \"%s\" is no %s", r->file, key, kind);
}

static void fail_text(struct reader *r, const char *key, const char *value, const char *allowed) {
  if (r->status == STATUS_OK)
    r->status = why_say(r->why, STATUS_UNSUPPORTED, "%s: \"%s\" is %.80s; only %s is computed here",
                        r->file, key, value, allowed);
}

static int64_t read_int(struct reader *r, const char *key, int64_t otherwise) {
  const json_t *value = get(r, key);
  if (!value)
    return otherwise;
  if (!json_is_integer(value)) {
    fail_kind(r, key, "whole number");
    return otherwise;
  }
  return json_integer_value(value);
}

static int64_t need_int(struct reader *r, const char *key) {
  if (!get(r, key) && r->status == STATUS_OK)
    r->status = why_say(r->why, STATUS_BAD, "%s: \"%s\" is missing", r->file, key);
  return read_int(r, key, 0);
}

static double read_real(struct reader *r, const char *key, double otherwise) {
  const json_t *value = get(r, key);
  if (!value)
    return otherwise;
  if (!json_is_number(value)) {
    fail_kind(r, key, "number");
    return otherwise;
  }
  return json_number_value(value);
}

static bool read_bool(struct reader *r, const char *key, bool otherwise) {
  const json_t *value = get(r, key);
  if (!value)
    return otherwise;
  if (!json_is_boolean(value)) {
    fail_kind(r, key, "true or false");
    return otherwise;
  }
  return json_is_true(value);
}

/* Borrowed; "" when it is no text. */
static const char *read_text(struct reader *r, const char *key, const char *otherwise) {
  const json_t *value = get(r, key);
  if (!value)
    return otherwise;
  if (!json_is_string(value)) {
    fail_kind(r, key, "text");
    return "";
  }
  return json_string_value(value);
}

static void need_bool(struct reader *r, const char *key, bool otherwise, bool only) {
  if (read_bool(r, key, otherwise) != only)
    fail_text(r, key, only ? "false" : "true", only ? "true" : "false");
}

static void need_zero(struct reader *r, const char *key) {
  char text[32];
  double value = read_real(r, key, 0);
  if (value != 0) {
    snprintf(text, sizeof text, "%g", value);
    fail_text(r, key, text, "0");
  }
}

static void refuse_filled(struct reader *r, const char *key) {
  const json_t *value = get(r, key);
  if (value && (json_object_size(value) || json_array_size(value) ||
                (!json_is_object(value) && !json_is_array(value))))
    fail_text(r, key, "set", "its absence");
}

/* ---- rotary embeddings: three generations of keys ---- */

/* One setting under several keys: those present must agree. */
static double read_one_of(struct reader *r, const struct reader *inner, const char *inner_key,
                          const char *const keys[2], double otherwise) {
  const char *found = NULL;
  double value = otherwise;
  for (int i = 0; i < 3; i++) {
    const char *key = i < 2 ? keys[i] : inner_key;
    const struct reader *from = i < 2 ? r : inner;
    if (!key || !get(from, key))
      continue;
    struct reader read = *from;
    double here = read_real(&read, key, otherwise);
    if (read.status != STATUS_OK) {
      r->status = read.status;
      return otherwise;
    }
    if (found && here != value && r->status == STATUS_OK)
      r->status = why_say(r->why, STATUS_MISMATCH, "%s: \"%s\" is %g and \"%s\" is %g; which?",
                          r->file, found, value, key, here);
    found = key;
    value = here;
  }
  return value;
}

static void need_default_rope(struct reader *r, const char *outer, const struct reader *inner) {
  static const char *const keys[] = {"rope_type", "type"};
  for (int i = 0; i < 2; i++) {
    const json_t *value = get(inner, keys[i]);
    const char *text = json_string_value(value);
    if (value && (!text || strcmp(text, "default")))
      fail_text(r, outer, text ? text : "no text", "\"default\"");
  }
  /* An old rope_scaling without a type is still a scaling. */
  if (get(inner, "factor"))
    fail_text(r, outer, "a factor", "\"default\"");
}

static void read_rope(struct reader *r, struct arch *out) {
  static const char *const objects[] = {"rope_scaling", "rope_parameters"};
  for (int i = 0; i < 2; i++) {
    const json_t *value = get(r, objects[i]);
    if (value && !json_is_object(value))
      fail_kind(r, objects[i], "object");
    need_default_rope(r, objects[i], &(struct reader){r->file, value, r->why, STATUS_OK});
  }
  struct reader inner = {r->file, get(r, "rope_parameters"), r->why, STATUS_OK};
  out->rope_base = read_one_of(r, &inner, "rope_theta",
                               (const char *const[2]){"rotary_emb_base", "rope_theta"}, 10000);
  double fraction = read_one_of(r, &inner, "partial_rotary_factor",
                                (const char *const[2]){"rotary_pct", "partial_rotary_factor"},
                                out->family == ARCH_NEOX ? 0.25 : 1.0);
  if (r->status == STATUS_OK && !(fraction > 0 && fraction <= 1))
    r->status = why_say(r->why, STATUS_RANGE,
                        "%s: the rotary fraction is %g; it must be above 0 "
                        "and at most 1",
                        r->file, fraction);
  if (r->status == STATUS_OK)
    out->R = (int64_t)((double)out->D * fraction); /* truncated, as transformers does */
}

/* ---- the two families ---- */

static enum activation read_activation(struct reader *r) {
  static const struct {
    const char *name;
    enum activation activation;
  } known[] = {
      {"gelu", ACTIVATION_GELU},
      {"gelu_python", ACTIVATION_GELU},
      {"gelu_new", ACTIVATION_GELU_TANH},
      {"gelu_fast", ACTIVATION_GELU_TANH},
      {"gelu_accurate", ACTIVATION_GELU_TANH},
      {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
  };
  const char *name = read_text(r, "hidden_act", "gelu");
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (!strcmp(name, known[i].name))
      return known[i].activation;
  }
  fail_text(r, "hidden_act", name, "gelu, gelu_new, gelu_fast or gelu_pytorch_tanh");
  return ACTIVATION_GELU;
}

static void read_neox(struct reader *r, struct arch *out) {
  out->HK = out->H;
  out->norm_eps = read_real(r, "layer_norm_eps", 1e-5);
  out->parallel_residual = read_bool(r, "use_parallel_residual", true);
  out->activation = read_activation(r);
  need_bool(r, "attention_bias", true, true);
  need_zero(r, "hidden_dropout");
}

static void read_llama(struct reader *r, struct arch *out) {
  out->HK = read_int(r, "num_key_value_heads", out->H);
  out->norm_eps = read_real(r, "rms_norm_eps", 1e-6);
  const char *act = read_text(r, "hidden_act", "silu");
  if (strcmp(act, "silu") && strcmp(act, "swish"))
    fail_text(r, "hidden_act", act, "silu");
  need_bool(r, "attention_bias", false, false);
  need_bool(r, "mlp_bias", false, false);
}

static void read_family(struct reader *r, struct arch *out) {
  static const struct {
    const char *type, *class_name;
    enum arch_family family;
  } known[] = {{"gpt_neox", "GPTNeoXForCausalLM", ARCH_NEOX},
               {"llama", "LlamaForCausalLM", ARCH_LLAMA}};
  const char *type = read_text(r, "model_type", "missing");
  const json_t *classes = get(r, "architectures");
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(type, known[i].type))
      continue;
    out->family = known[i].family;
    const char *name = json_string_value(json_array_get(classes, 0));
    if (classes && (json_array_size(classes) != 1 || !name || strcmp(name, known[i].class_name)))
      fail_text(r, "architectures", name ? name : "no list of one name", known[i].class_name);
    return;
  }
  fail_text(r, "model_type", type, "gpt_neox or llama");
}

static void read_common(struct reader *r, struct arch *out) {
  out->C = need_int(r, "hidden_size");
  out->L = need_int(r, "num_hidden_layers");
  out->H = need_int(r, "num_attention_heads");
  out->F = need_int(r, "intermediate_size");
  out->V = need_int(r, "vocab_size");
  out->T = read_int(r, "max_position_embeddings", 2048);
  out->tied = read_bool(r, "tie_word_embeddings", false);
  out->init = ARCH_INIT_NORMAL;
  out->init_std = read_real(r, "initializer_range", 0.02);
  if (r->status == STATUS_OK && (out->H < 1 || out->C < 1 || out->C % out->H))
    r->status = why_say(r->why, STATUS_RANGE,
                        "%s: \"hidden_size\" %lld is no multiple of \"num_attention_heads\" %lld",
                        r->file, (long long)out->C, (long long)out->H);
  if (r->status != STATUS_OK)
    return;
  out->D = out->C / out->H;
  int64_t head = read_int(r, "head_dim", out->D);
  if (head != out->D && r->status == STATUS_OK)
    r->status = why_say(r->why, STATUS_UNSUPPORTED,
                        "%s: \"head_dim\" is %lld; only hidden_size / "
                        "num_attention_heads = %lld is computed here",
                        r->file, (long long)head, (long long)out->D);
  need_zero(r, "attention_dropout");
  refuse_filled(r, "quantization_config");
  refuse_filled(r, "pruned_heads");
  need_bool(r, "add_cross_attention", false, false);
  need_bool(r, "is_encoder_decoder", false, false);
}

enum status hfconfig_parse(const char *name, const void *json, size_t json_bytes, struct arch *out,
                           struct why *why) {
  if (json_bytes > HFCONFIG_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "%s has %zu bytes; at most %d are read", name, json_bytes,
                   HFCONFIG_BYTES_MAX);
  json_error_t error;
  json_t *root = json_loadb(json, json_bytes, JSON_REJECT_DUPLICATES, &error);
  if (!root)
    return why_say(why, STATUS_BAD, "%s: line %d: %s", name, error.line, error.text);
  struct reader r = {name, root, why, STATUS_OK};
  struct arch a = {0};
  if (!json_is_object(root))
    r.status = why_say(why, STATUS_BAD, "%s is no JSON object", name);
  if (r.status == STATUS_OK)
    read_family(&r, &a);
  if (r.status == STATUS_OK)
    read_common(&r, &a);
  if (r.status == STATUS_OK && a.family == ARCH_NEOX)
    read_neox(&r, &a);
  if (r.status == STATUS_OK && a.family == ARCH_LLAMA)
    read_llama(&r, &a);
  if (r.status == STATUS_OK)
    read_rope(&r, &a);
  json_decref(root);
  TRY(r.status);
  struct why reason;
  enum status s = arch_check(&a, &reason);
  if (s != STATUS_OK)
    return why_say(why, s, "%s: %s", name, reason.text);
  *out = a;
  return STATUS_OK;
}

/* ---- writing ---- */

/* Takes root, which may be NULL. */
static enum status dump(json_t *root, char **out, struct why *why) {
  char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
  json_decref(root);
  if (!text)
    return why_say(why, STATUS_NOMEM, "no memory for a JSON file");
  *out = text;
  return STATUS_OK;
}

static json_t *id_or_null(int64_t id) {
  return id >= 0 ? json_integer(id) : json_null();
}

/* A fraction that transformers' int(D · fraction) turns back into R. */
static double rotary_fraction(const struct arch *a) {
  double fraction = (double)a->R / (double)a->D;
  while ((int64_t)((double)a->D * fraction) < a->R)
    fraction = nextafter(fraction, 2);
  return fraction;
}

static json_t *neox_json(const struct arch *a) {
  return json_pack("{s:[s], s:s, s:s, s:f, s:f, s:f, s:b, s:b, s:f, s:f}", "architectures",
                   "GPTNeoXForCausalLM", "model_type", "gpt_neox", "hidden_act",
                   a->activation == ACTIVATION_GELU ? "gelu" : "gelu_new", "rotary_pct",
                   rotary_fraction(a), "rotary_emb_base", a->rope_base, "layer_norm_eps",
                   a->norm_eps, "use_parallel_residual", (int)a->parallel_residual,
                   "attention_bias", 1, "attention_dropout", 0.0, "hidden_dropout", 0.0);
}

static json_t *llama_json(const struct arch *a) {
  return json_pack("{s:[s], s:s, s:s, s:I, s:f, s:f, s:n, s:b, s:b, s:f}", "architectures",
                   "LlamaForCausalLM", "model_type", "llama", "hidden_act", "silu",
                   "num_key_value_heads", (json_int_t)a->HK, "rope_theta", a->rope_base,
                   "rms_norm_eps", a->norm_eps, "rope_scaling", "attention_bias", 0, "mlp_bias", 0,
                   "attention_dropout", 0.0);
}

enum status hfconfig_encode(const struct arch *a, int64_t eod, char **out, struct why *why) {
  json_t *root = a->family == ARCH_NEOX ? neox_json(a) : llama_json(a);
  json_t *common = json_pack(
      "{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:s, s:b, s:o, s:o}", "vocab_size",
      (json_int_t)a->V, "hidden_size", (json_int_t)a->C, "num_hidden_layers", (json_int_t)a->L,
      "num_attention_heads", (json_int_t)a->H, "intermediate_size", (json_int_t)a->F,
      "max_position_embeddings", (json_int_t)a->T, "tie_word_embeddings", (int)a->tied,
      "initializer_range", a->init_std > 0 ? a->init_std : 0.02, "torch_dtype", "float32",
      "use_cache", 1, "bos_token_id", id_or_null(eod), "eos_token_id", id_or_null(eod));
  if (!root || !common || json_object_update(root, common)) {
    json_decref(root);
    root = NULL;
  }
  json_decref(common);
  return dump(root, out, why);
}

enum status hfconfig_encode_generation(int64_t eod, char **out, struct why *why) {
  return dump(json_pack("{s:b, s:o, s:o}", "_from_model_config", 1, "bos_token_id", id_or_null(eod),
                        "eos_token_id", id_or_null(eod)),
              out, why);
}

enum status hfconfig_encode_tokenizer(const struct arch *a, bool has_eod, char **out,
                                      struct why *why) {
  const char *eod = has_eod ? "<|endoftext|>" : NULL;
  return dump(json_pack("{s:s, s:b, s:I, s:s?, s:s?, s:s?, s:b}", "tokenizer_class",
                        "PreTrainedTokenizerFast", "add_prefix_space", 0, "model_max_length",
                        (json_int_t)a->T, "bos_token", eod, "eos_token", eod, "unk_token", eod,
                        "clean_up_tokenization_spaces", 0),
              out, why);
}

/* GPT-2's printable stand-in for a byte (openai/gpt-2, encoder.py, bytes_to_unicode): itself where
 * it prints, else the next free code point from U+0100 on. */
static void byte_characters(uint32_t out[256]) {
  uint32_t next = 0x100;
  for (uint32_t b = 0; b < 256; b++) {
    bool prints = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    out[b] = prints ? b : next++;
  }
}

static json_t *byte_vocabulary(void) {
  uint32_t characters[256];
  byte_characters(characters);
  json_t *vocab = json_object();
  bool ok = vocab != NULL;
  for (uint32_t b = 0; ok && b < 256; b++) {
    uint32_t c = characters[b]; /* below U+0800: one or two bytes of UTF-8 */
    char key[3] = {(char)c, 0, 0};
    if (c >= 0x80) {
      key[0] = (char)(0xc0 | c >> 6);
      key[1] = (char)(0x80 | (c & 0x3f));
    }
    ok = json_object_set_new(vocab, key, json_integer(b)) == 0;
  }
  ok = ok && json_object_set_new(vocab, "<|endoftext|>", json_integer(256)) == 0;
  if (ok)
    return vocab;
  json_decref(vocab);
  return NULL;
}

enum status hfconfig_encode_byte_tokenizer(char **out, struct why *why) {
  json_t *vocab = byte_vocabulary();
  if (!vocab)
    return why_say(why, STATUS_NOMEM, "no memory for the byte tokenizer");
  return dump(
      json_pack("{s:s, s:n, s:n, s:[{s:i, s:s, s:b, s:b, s:b, s:b, s:b}], s:n,"
                " s:{s:s, s:b, s:b, s:b}, s:n, s:{s:s, s:b, s:b, s:b},"
                " s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:o, s:[]}}",
                "version", "1.0", "truncation", "padding",                                //
                "added_tokens", "id", 256, "content", "<|endoftext|>", "single_word", 0,  //
                "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1, "normalizer",    //
                "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                "use_regex", 1, "post_processor", "decoder", "type", "ByteLevel",
                "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1, "model", "type", "BPE",
                "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                "fuse_unk", 0, "byte_fallback", 0, "vocab", vocab, "merges"),
      out, why);
}
