/* tokenizer_ids: our token ids of many texts, for comparing with another tokenizer.
 *
 *   tokenizer_ids TOKENIZER < texts > ids
 *
 * In: texts, each as a u32 length and its bytes. Out: for each text a u32 count and the ids as u32,
 * then the length and the bytes of the decoded ids, then the U+FFFD put in, as u32. All
 * little-endian. tests/reference/compare_tokenizer.py is the other side. */
#include <stdio.h>
#include <stdlib.h>

#include "node/data/tokenizer.h"
#include "proto/base/bytes.h"

enum { TEXT_BYTES_MAX = 256 << 20 };

static void write_u32(uint32_t value) {
  uint8_t four[4];
  bytes_put_u32(four, value);
  fwrite(four, 1, sizeof four, stdout);
}

static enum status answer(const struct tokenizer *tk, struct tokenizer_work *w, const uint8_t *text,
                          size_t bytes, struct why *why) {
  const uint32_t *ids;
  const char *back;
  size_t count, back_bytes;
  uint64_t before = tokenizer_replaced(w);
  TRY(tokenizer_encode(tk, w, text, bytes, &ids, &count, why));
  write_u32((uint32_t)count);
  for (size_t i = 0; i < count; i++)
    write_u32(ids[i]);
  TRY(tokenizer_decode(tk, w, ids, count, &back, &back_bytes, why));
  write_u32((uint32_t)back_bytes);
  fwrite(back, 1, back_bytes, stdout);
  write_u32((uint32_t)(tokenizer_replaced(w) - before));
  return STATUS_OK;
}

static enum status answer_all(const char *path, uint8_t *text, struct why *why) {
  struct tokenizer *tk;
  struct tokenizer_work *w;
  uint8_t four[4];
  TRY(tokenizer_open(path, &tk, why));
  TRY(tokenizer_work_open(tk, &w, why));
  while (fread(four, 1, sizeof four, stdin) == sizeof four) {
    size_t bytes = bytes_get_u32(four);
    if (bytes > TEXT_BYTES_MAX || fread(text, 1, bytes, stdin) != bytes)
      return why_say(why, STATUS_SHORT, "a text of %zu bytes is cut short or too long", bytes);
    TRY(answer(tk, w, text, bytes, why));
  }
  tokenizer_work_close(&w);
  tokenizer_close(&tk);
  return STATUS_OK;
}

int main(int argc, char **argv) {
  struct why why;
  uint8_t *text = malloc(TEXT_BYTES_MAX);
  if (argc != 2 || !text) {
    fprintf(stderr, "usage: tokenizer_ids TOKENIZER < texts > ids\n");
    return 64;
  }
  enum status s = answer_all(argv[1], text, &why);
  free(text);
  if (s != STATUS_OK)
    fprintf(stderr, "tokenizer_ids: %s\n", why.text);
  return status_exit_code(s);
}
