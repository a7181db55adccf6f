/* Any bytes taken for a tokenizer.json are refused, or give a tokenizer whose ids are all in its
 * vocabulary and decode again. */
#include <stdlib.h>
#include <string.h>

#include "node/data/tokenizer.h"
#include "proto/base/claim.h"

static const char text[] =
    "The  the ab aab   <|endoftext|>a\r\n\n  it's 1234 e\xcc\x81\xe2\x84\xab \xff\xf0\x90 "
    "<x> \xea\xb0\x80\xe1\x86\xa8 thethethethethethethethethethethethethethethethethethethethethe"
    "thethethethethethethethethethethethethe\t\xe3\x80\x80 <x><y> \n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tokenizer *tk = NULL;
  struct tokenizer_work *w = NULL;
  struct why why;
  if (tokenizer_parse("fuzz", data, size, &tk, &why) != STATUS_OK) {
    CLAIM(!tk);
    return 0;
  }
  const uint32_t *ids;
  const char *back;
  size_t count, back_bytes;
  CLAIM(tokenizer_work_open(tk, &w, &why) == STATUS_OK);
  CLAIM(tokenizer_encode(tk, w, text, sizeof text, &ids, &count, &why) == STATUS_OK);
  for (size_t i = 0; i < count; i++)
    CLAIM(ids[i] < tokenizer_vocab_count(tk));
  CLAIM(tokenizer_decode(tk, w, ids, count, &back, &back_bytes, &why) == STATUS_OK);
  CLAIM(tokenizer_eod(tk) < (int64_t)tokenizer_vocab_count(tk));
  tokenizer_work_close(&w);
  tokenizer_close(&tk);
  return 0;
}
