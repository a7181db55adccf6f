/* How fast records are taken apart, and whole documents become tokens, on one core: the first must
 * be far above the second. `bench_records FILE.jsonl [TOKENIZER]`; without a file it makes one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/data/chunk.h"
#include "node/data/record.h"
#include "proto/base/io_file.h"
#include "proto/base/io_system.h"
#include "proto/base/prng.h"

enum { MADE_BYTES = 32 << 20, ROUNDS = 5, LINE_BYTES_MAX = 65536 };

static struct io_bytes make_lines(void) {
  struct prng r = prng_seeded(1, PRNG_TEST);
  struct io_bytes text = {malloc(MADE_BYTES + LINE_BYTES_MAX), 0};
  while (text.at && text.count < MADE_BYTES) {
    char *at = (char *)text.at + text.count;
    size_t used = (size_t)snprintf(at, LINE_BYTES_MAX, "{\"text\":\"");
    for (uint64_t words = prng_below(&r, 1200); words; words--)
      used += (size_t)snprintf(at + used, LINE_BYTES_MAX - used, "%s%llx ",
                               words % 11 ? "" : "\\n\\u00e9 ",
                               (unsigned long long)prng_below(&r, 1 << 20));
    used += (size_t)snprintf(at + used, LINE_BYTES_MAX - used,
                             "\",\"meta\":{\"url\":\"http://example\",\"n\":[1,2.5]}}\n");
    text.count += used;
  }
  return text;
}

static double extract(const struct io_bytes *text, uint8_t *out) {
  struct why why;
  uint64_t begin_ns = io_now_ns();
  uint64_t surrogates = 0;
  const uint8_t *at = text->at, *end = text->at + text->count;
  while (at < end) {
    const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
    newline = newline ? newline : end;
    size_t count;
    if (record_text(at, (size_t)(newline - at), out, &count, &surrogates, &why) != STATUS_OK)
      printf("%s\n", why.text);
    at = newline + 1;
  }
  return (double)text->count * 1000 / (double)(io_now_ns() - begin_ns);
}

static double encode(const struct io_bytes *text, const struct tokenizer *tk) {
  struct chunk_how how = {tk, (uint32_t)tokenizer_eod(tk), 4, CHUNK_RECORDS, true};
  struct chunk_out out = {0};
  struct tokenizer_work *work;
  struct why why;
  if (tokenizer_work_open(tk, &work, &why) != STATUS_OK)
    return 0;
  uint64_t begin_ns = io_now_ns();
  if (chunk_encode(&how, work, text->at, text->count, &out, &why) != STATUS_OK)
    printf("%s\n", why.text);
  double speed = (double)text->count * 1000 / (double)(io_now_ns() - begin_ns);
  chunk_end(&out);
  tokenizer_work_close(&work);
  return speed;
}

int main(int argc, char **argv) {
  struct io_bytes text;
  struct tokenizer *tk;
  struct why why;
  double best_extract = 0, best_encode = 0;
  if (argc > 1 && io_file_read(argv[1], (size_t)1 << 30, &text, &why) != STATUS_OK) {
    fprintf(stderr, "%s\n", why.text);
    return 1;
  }
  if (argc < 2)
    text = make_lines();
  uint8_t *out = malloc(text.count + 1);
  if (!out || tokenizer_open(argc > 2 ? argv[2] : "byte", &tk, &why) != STATUS_OK)
    return 1;
  for (int i = 0; i < ROUNDS; i++) {
    double speed = extract(&text, out);
    best_extract = speed > best_extract ? speed : best_extract;
    speed = encode(&text, tk);
    best_encode = speed > best_encode ? speed : best_encode;
  }
  printf("figure records_mb_per_s_core %.0f MB/s\n", best_extract);
  printf("figure records_to_tokens_mb_per_s_core %.1f MB/s\n", best_encode);
  tokenizer_close(&tk);
  free(text.at);
  free(out);
  return 0;
}
