/* Any bytes encode; the ids decode to the text, repaired and normalised between special tokens;
 * and that text has the same ids again. The first byte chooses the tokenizer. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "node/data/tokenizer.h"
#include "node/text/nfc.h"
#include "node/text/utf8_repair.h"
#include "proto/base/claim.h"
#include "tests/unit/support_tokenizer.h"

enum { KINDS = 5 };

static struct tokenizer *tokenizers[KINDS];
static struct tokenizer_work *works[KINDS];
static struct unicode_class class_of;
static struct nfc nfc;

static void open_one(size_t kind, const char *pre_tokenizer, const char *normalizer,
                     const char *options) {
  struct why why;
  struct support_tokenizer parts = support_tokenizer_default();
  if (pre_tokenizer)
    parts.pre_tokenizer = pre_tokenizer;
  parts.normalizer = normalizer;
  parts.model_options = options;
  char *json = support_tokenizer_json(&parts);
  CLAIM(tokenizer_parse("made", json, strlen(json), &tokenizers[kind], &why) == STATUS_OK);
  free(json);
}

static void open_all(void) {
  static const char whole[] =
      "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}";
  static const char llama3[] =
      "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\":"
      "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"
      " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"
      "\"behavior\": \"Isolated\", \"invert\": false}, {\"type\": \"ByteLevel\","
      "\"add_prefix_space\": false, \"use_regex\": false}]}";
  struct why why;
  open_one(0, NULL, "{\"type\": \"NFC\"}", "");
  open_one(1, NULL, "null", "");
  open_one(2, llama3, "null", "\"ignore_merges\": true,");
  open_one(3, whole, "{\"type\": \"NFC\"}", "");
  CLAIM(tokenizer_open("byte", &tokenizers[4], &why) == STATUS_OK);
  for (size_t i = 0; i < KINDS; i++)
    CLAIM(tokenizer_work_open(tokenizers[i], &works[i], &why) == STATUS_OK);
  unicode_class_init(&class_of);
  nfc_init(&nfc, &class_of);
}

/* The repaired text, with what lies between <|endoftext|> normalised on its own. */
static size_t expected(const uint8_t *text, size_t bytes, bool normal, uint8_t *out) {
  static const char eod[] = "<|endoftext|>";
  struct nfc_work w = {0};
  size_t used = 0, eod_bytes = sizeof eod - 1;
  const uint8_t *end = text + bytes;
  while (text < end) {
    const uint8_t *token = memmem(text, (size_t)(end - text), eod, eod_bytes);
    const uint8_t *part = text;
    size_t part_bytes = (size_t)((token ? token : end) - text);
    struct why why;
    if (normal)
      CLAIM(nfc_apply(&nfc, &w, part, part_bytes, &part, &part_bytes, &why) == STATUS_OK);
    memcpy(out + used, part, part_bytes);
    used += part_bytes;
    if (token) {
      memcpy(out + used, eod, eod_bytes);
      used += eod_bytes;
    }
    text = token ? token + eod_bytes : end;
  }
  nfc_work_end(&w);
  return used;
}

static void check(size_t kind, const uint8_t *text, size_t bytes, const uint8_t *want,
                  size_t want_bytes) {
  const uint32_t *ids, *again;
  const char *back;
  size_t count, back_bytes, again_count;
  struct why why;
  struct tokenizer *tk = tokenizers[kind];
  struct tokenizer_work *w = works[kind];
  CLAIM(tokenizer_encode(tk, w, text, bytes, &ids, &count, &why) == STATUS_OK);
  CLAIM(tokenizer_decode(tk, w, ids, count, &back, &back_bytes, &why) == STATUS_OK);
  CLAIM(back_bytes == want_bytes);
  CLAIM(memcmp(back, want, want_bytes) == 0);
  uint32_t *first = malloc((count + 1) * sizeof *first);
  CLAIM(first != NULL);
  memcpy(first, ids, count * sizeof *first);
  CLAIM(tokenizer_encode(tk, w, want, want_bytes, &again, &again_count, &why) == STATUS_OK);
  CLAIM(again_count == count);
  CLAIM(memcmp(again, first, count * sizeof *first) == 0);
  free(first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!tokenizers[0])
    open_all();
  if (size < 1)
    return 0;
  size_t kind = data[0] % KINDS;
  const uint8_t *text = data + 1;
  size_t bytes = size - 1;
  uint8_t *repaired = malloc(3 * bytes + 1);
  uint8_t *want = malloc(9 * bytes + 1);
  CLAIM(repaired && want);
  uint64_t replaced = 0;
  size_t repaired_bytes = utf8_repair(text, bytes, repaired, &replaced);
  CLAIM(utf8_valid_prefix(repaired, repaired_bytes) == repaired_bytes);
  CLAIM((replaced == 0) == (utf8_valid_prefix(text, bytes) == bytes));
  size_t want_bytes = expected(repaired, repaired_bytes, kind == 0 || kind == 3, want);
  check(kind, text, bytes, want, want_bytes);
  free(repaired);
  free(want);
  return 0;
}
