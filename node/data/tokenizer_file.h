/* tokenizer_file: a Hugging Face tokenizer.json taken apart into what the tokenizer works with.
 *
 *   struct tokenizer_file f;
 *   TRY(tokenizer_file_parse("tokenizer.json", json, bytes, &nfc, &f, &why));
 *   tokenizer_file_end(&f);
 *
 * The one place that sees the raw JSON. What it does: model BPE over bytes, with every byte that
 * UTF-8 uses in the vocabulary; normalizer null or NFC; pre_tokenizer ByteLevel, or a Split by a
 * pattern that pretokenize.h knows and then ByteLevel; decoder ByteLevel. A post_processor that
 * trims offsets or puts special tokens around a prompt changes nothing here: ids are those of
 * encode(text, add_special_tokens=False). Everything else, unknown keys included, is refused by
 * name. */
#ifndef CARAVAN_TOKENIZER_FILE_H
#define CARAVAN_TOKENIZER_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/text/added_tokens.h"
#include "node/text/bpe.h"
#include "node/text/nfc.h"
#include "node/text/pretokenize.h"
#include "proto/base/status.h"

struct tokenizer_token {
  size_t begin; /* its bytes are arena[begin, begin + bytes) */
  uint32_t bytes;
  bool known; /* false: an id that the file skips */
  bool added;
};

struct tokenizer_file {
  bool nfc;
  bool prefix_space; /* each text between added tokens begins with a space */
  enum pretokenize_pattern pattern;
  uint8_t *arena;
  size_t arena_bytes;
  struct tokenizer_token *tokens; /* by id */
  uint32_t vocab_count;           /* highest id + 1 */
  struct bpe *bpe;
  struct added_token *added; /* all of them, contents in arena */
  size_t added_count;
  struct added_tokens *raw;    /* those found in the text as it came */
  struct added_tokens *normal; /* those found in the normalised text */
};

/* BAD, UNSUPPORTED, NOMEM; *out is zero then. name is for messages. */
CHECKED enum status tokenizer_file_parse(const char *name, const void *json, size_t json_bytes,
                                         const struct nfc *nfc, struct tokenizer_file *out,
                                         struct why *why);
void tokenizer_file_end(struct tokenizer_file *f);

#endif
