/* support_tokenizer: small tokenizer.json texts for tests, whole but for the parts that are given.
 *
 *   struct support_tokenizer t = support_tokenizer_default();
 *   t.normalizer = "null";
 *   char *json = support_tokenizer_json(&t);   // free it
 *
 * The vocabulary is the 256 letters of bytes, ids 0 to 255 in the order of the bytes, and then the
 * tokens given, from 256 on. Inline, because tests and fuzzers share it without a library. */
#ifndef CARAVAN_SUPPORT_TOKENIZER_H
#define CARAVAN_SUPPORT_TOKENIZER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUPPORT_TOKENIZER_BYTES = 32768 };

/* Each is JSON text. */
struct support_tokenizer {
  const char *before; /* "key": value, … at the start of the file, each with its comma */
  const char *added_tokens;
  const char *normalizer;
  const char *pre_tokenizer;
  const char *post_processor;
  const char *decoder;
  const char *model_options; /* "key": value, … each with its comma */
  const char *vocab;         /* , "token": 256, … */
  const char *merges;
};

static inline struct support_tokenizer support_tokenizer_default(void) {
  return (struct support_tokenizer){
      .before = "\"version\": \"1.0\", \"truncation\": null, \"padding\": null,",
      .added_tokens =
          "[{\"id\": 263, \"content\": \"<|endoftext|>\", \"single_word\": false,"
          "\"lstrip\": false, \"rstrip\": false, \"normalized\": false,"
          "\"special\": true}, {\"id\": 264, \"content\": \"   \","
          "\"single_word\": false, \"lstrip\": false, \"rstrip\": false,"
          "\"normalized\": true, \"special\": false}]",
      .normalizer = "{\"type\": \"NFC\"}",
      .pre_tokenizer =
          "{\"type\": \"ByteLevel\", \"add_prefix_space\": false,"
          "\"trim_offsets\": true}",
      .post_processor = "null",
      .decoder = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true}",
      .model_options = "\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null,",
      .vocab =
          ", \"th\": 256, \"the\": 257, \"\304\240the\": 258, \"ab\": 259, \"aa\": 260,"
          "\"\304\240t\": 261, \"he\": 262",
      .merges = "[\"\304\240 t\", \"h e\", \"\304\240t he\", \"t he\", \"a b\", \"a a\", \"t h\"]",
  };
}

/* The letter that a byte is written as, in JSON. */
static inline size_t support_tokenizer_letter(unsigned byte, char *out) {
  unsigned c = byte;
  if (byte <= 0x20)
    c = 0x100 + byte;
  else if (byte >= 0x7f && byte <= 0xa0)
    c = 0x121 + byte - 0x7f;
  else if (byte == 0xad)
    c = 0x143;
  return (size_t)snprintf(out, 32, "%s\"\\u%04x\": %u", byte ? ", " : "", c, byte);
}

static inline char *support_tokenizer_json(const struct support_tokenizer *t) {
  char *json = malloc(SUPPORT_TOKENIZER_BYTES);
  if (!json)
    abort();
  size_t used =
      (size_t)snprintf(json, SUPPORT_TOKENIZER_BYTES / 2,
                       "{%s \"added_tokens\": %s, \"normalizer\": %s, \"pre_tokenizer\": %s,"
                       "\"post_processor\": %s, \"decoder\": %s, \"model\": {%s \"vocab\": {",
                       t->before, t->added_tokens, t->normalizer, t->pre_tokenizer,
                       t->post_processor, t->decoder, t->model_options);
  for (unsigned b = 0; b < 256; b++)
    used += support_tokenizer_letter(b, json + used);
  snprintf(json + used, SUPPORT_TOKENIZER_BYTES - used, "%s}, \"merges\": %s}}", t->vocab,
           t->merges);
  return json;
}

#endif
