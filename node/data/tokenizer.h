/* tokenizer: text to token ids and back, the same ids as Hugging Face's `tokenizers`.
 *
 *   struct tokenizer *tk;
 *   TRY(tokenizer_open("tokenizer.json", &tk, &why));   // or the built-in "byte"
 *   struct tokenizer_work *w;                            // one per thread
 *   TRY(tokenizer_work_open(tk, &w, &why));
 *   const uint32_t *ids; size_t count;
 *   TRY(tokenizer_encode(tk, w, text, text_bytes, &ids, &count, &why));
 *
 * Reads byte-level BPE tokenizer.json files: added and special tokens, NFC, the split patterns of
 * GPT-2 (GPT-NeoX, Pythia), Llama 3 and Qwen 2, merges in order. Anything in the file that this
 * does not do is refused by name, never ignored; only a template that puts special tokens around a
 * prompt is left to whoever makes prompts. "byte" is the 256 bytes and 256 = <|endoftext|>; its
 * vocabulary is padded to 512 by who wants it. Input is any bytes: invalid UTF-8 is replaced by
 * U+FFFD exactly as Python's errors="replace" does, and counted. A struct tokenizer is read-only
 * after opening and may be shared by threads; a work is 3 MB and what its longest text needs, at
 * most 32 bytes for each byte of the longest stretch without a break, and gives back more than 8 MB
 * at the next text. */
#ifndef CARAVAN_TOKENIZER_H
#define CARAVAN_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/digest.h"
#include "proto/base/status.h"

enum {
  TOKENIZER_VOCAB_MAX = 1 << 20,
  TOKENIZER_FILE_BYTES_MAX = 64 << 20,
  TOKENIZER_TOKEN_BYTES_MAX = 65536,
};
#define TOKENIZER_TEXT_BYTES_MAX ((size_t)1 << 30) /* one document */

struct tokenizer;
struct tokenizer_work;

/* path is a tokenizer.json, a directory that holds one, or the word "byte".
 * MISSING, BAD (with what and where), UNSUPPORTED (a feature, by name), NOMEM. */
CHECKED enum status tokenizer_open(const char *path, struct tokenizer **out, struct why *why);
/* The same from bytes in memory: the fuzzer's door. name is for messages. */
CHECKED enum status tokenizer_parse(const char *name, const void *json, size_t json_bytes,
                                    struct tokenizer **out, struct why *why);
void tokenizer_close(struct tokenizer **tk);

uint32_t tokenizer_vocab_count(const struct tokenizer *tk); /* highest id + 1 */
int64_t tokenizer_eod(const struct tokenizer *tk);          /* id of <|endoftext|>, or -1 */
int64_t tokenizer_id(const struct tokenizer *tk, const char *token); /* a special's id, or -1 */
bool tokenizer_is_byte(const struct tokenizer *tk);
/* BLAKE2b of the tokenizer.json's bytes, or of "byte": shards and checkpoints name it. */
const struct digest *tokenizer_digest(const struct tokenizer *tk);
/* The file's own bytes, to be written beside a checkpoint; NULL and 0 for "byte". Borrowed. */
const void *tokenizer_file(const struct tokenizer *tk, size_t *bytes);

CHECKED enum status tokenizer_work_open(const struct tokenizer *tk, struct tokenizer_work **out,
                                        struct why *why);
void tokenizer_work_close(struct tokenizer_work **w);

/* Encode one document. *ids is borrowed from w until its next use. Special tokens inside the text
 * are recognised, as `tokenizers` does. No <|endoftext|> is added. FULL: text too long. NOMEM. */
CHECKED enum status tokenizer_encode(const struct tokenizer *tk, struct tokenizer_work *w,
                                     const void *text, size_t text_bytes, const uint32_t **ids,
                                     size_t *count, struct why *why);
/* U+FFFD put in place of invalid UTF-8 by this work so far. */
uint64_t tokenizer_replaced(const struct tokenizer_work *w);

/* The bytes of ids, one after another: valid text is returned as it was (after NFC). *bytes is
 * borrowed from w until its next use. RANGE: an id that the vocabulary does not have. */
CHECKED enum status tokenizer_decode(const struct tokenizer *tk, struct tokenizer_work *w,
                                     const uint32_t *ids, size_t count, const char **text,
                                     size_t *text_bytes, struct why *why);

#endif
