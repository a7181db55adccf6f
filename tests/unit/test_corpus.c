/* Corpora written and read: what goes in comes out, whatever the cuts; damage is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/data/corpus.h"
#include "node/data/io_sink.h"
#include "node/data/megatron.h"
#include "node/data/shard.h"
#include "proto/base/bytes.h"
#include "proto/base/io_file.h"
#include "proto/base/prng.h"

enum { TOKENS = 5000, SHARD = 777 };

static struct why why;
static char dir[64];
static char path[256];
static int32_t wanted[TOKENS];
static uint64_t ends[TOKENS];
static size_t document_count;

#define OK(call)                           \
  do {                                     \
    if ((call) != STATUS_OK)               \
      fail_msg("%s: %s", #call, why.text); \
  } while (0)

static const char *in_dir(const char *name) {
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/caravan-corpus-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  return io_folder_remove(dir, &why) == STATUS_OK ? 0 : -1;
}

/* TOKENS random ids in documents of random length, in pieces of random size, into slice "a", then
 * three tokens into slice "b". With reopen, the sink is given up and opened anew after each piece,
 * from what it wrote to unfinished.json, and with things written that were not settled. */
static void write_corpus(bool megatron, uint32_t vocab, bool reopen) {
  struct prng r = prng_seeded(vocab, PRNG_TEST);
  struct catalog m = {.megatron = megatron, .byte_tokenizer = true, .vocab_count = vocab};
  struct catalog_progress progress = {0};
  struct io_sink *sink;
  static uint8_t packed[4 * TOKENS];
  m.token_bytes = megatron ? megatron_width(megatron_type(vocab)) : shard_token_bytes(vocab);
  document_count = 0;
  for (size_t i = 0; i < TOKENS; i++) {
    wanted[i] = (int32_t)prng_below(&r, vocab);
    if (m.token_bytes == 2)
      bytes_put_u16(packed + 2 * i, (uint16_t)wanted[i]);
    else
      bytes_put_u32(packed + 4 * i, (uint32_t)wanted[i]);
    if (i + 1 == TOKENS || prng_below(&r, 40) == 0)
      ends[document_count++] = i + 1;
  }
  OK(io_sink_open(dir, &m, SHARD, &sink, &why));
  OK(io_sink_begin_slice(sink, "a", &why));
  for (size_t d = 0; d < document_count;) {
    uint64_t piece[TOKENS];
    size_t count = 1 + prng_below(&r, 60);
    uint64_t from = d ? ends[d - 1] : 0;
    count = count < document_count - d ? count : document_count - d;
    for (size_t i = 0; i < count; i++)
      piece[i] = ends[d + i] - from;
    const uint8_t *at = packed + from * m.token_bytes;
    OK(io_sink_add(sink, at, piece[count - 1], piece, count, &why));
    if (reopen && prng_below(&r, 2)) { /* lost: not settled */
      struct io_bytes text;
      io_sink_close(&sink);
      catalog_end(&m);
      if (io_exists(in_dir(CATALOG_RESUME))) {
        OK(io_file_read(path, CATALOG_BYTES_MAX, &text, &why));
        OK(catalog_parse("m", text.at, text.count, &m, &why));
        io_bytes_free(&text);
      } else {
        m = (struct catalog){.megatron = megatron, .byte_tokenizer = true, .vocab_count = vocab};
        m.token_bytes = megatron ? megatron_width(megatron_type(vocab)) : shard_token_bytes(vocab);
      }
      OK(io_sink_open(dir, &m, SHARD, &sink, &why));
      OK(io_sink_begin_slice(sink, "a", &why));
      d = m.progress.offset_bytes;
      continue;
    }
    d += count;
    progress.offset_bytes = d;
    OK(io_sink_settle(sink, &progress, &why));
  }
  OK(io_sink_begin_slice(sink, "b", &why));
  uint64_t three = 3;
  OK(io_sink_add(sink, packed, 3, &three, 1, &why));
  OK(io_sink_finish(&sink, &progress, &why));
  catalog_end(&m);
}

static void check_corpus(const struct corpus *c, size_t slice) {
  static int32_t got[TOKENS];
  struct prng r = prng_seeded(4, PRNG_TEST);
  const struct corpus_slice *about = corpus_slice(c, slice);
  assert_int_equal(about->token_count, TOKENS);
  assert_int_equal(about->document_count, document_count);
  OK(corpus_read(c, slice, 0, TOKENS, got, &why));
  assert_memory_equal(got, wanted, sizeof got);
  for (int i = 0; i < 2000; i++) {
    uint64_t begin = prng_below(&r, TOKENS + 1);
    size_t count = prng_below(&r, TOKENS - begin + 1);
    memset(got, 255, count * sizeof *got);
    OK(corpus_read(c, slice, begin, count, got, &why));
    assert_memory_equal(got, wanted + begin, count * sizeof *got);
  }
  for (size_t d = 0; d < document_count; d++) {
    uint64_t begin, end;
    OK(corpus_document(c, slice, d, &begin, &end, &why));
    assert_int_equal(begin, d ? ends[d - 1] : 0);
    assert_int_equal(end, ends[d]);
  }
  assert_int_equal(corpus_read(c, slice, TOKENS, 1, got, &why), STATUS_RANGE);
  assert_int_equal(corpus_read(c, slice, UINT64_MAX, 2, got, &why), STATUS_RANGE);
}

static void round_trip(bool megatron, uint32_t vocab, bool reopen) {
  struct corpus *c;
  make_dir(NULL);
  write_corpus(megatron, vocab, reopen);
  OK(corpus_open(dir, &c, &why));
  assert_int_equal(corpus_slice_count(c), 2);
  assert_string_equal(corpus_slice(c, 0)->name, "a");
  assert_int_equal(corpus_slice(c, 1)->token_count, 3);
  assert_int_equal(corpus_vocab_count(c), vocab);
  assert_string_equal(corpus_tokenizer_path(c), "byte");
  check_corpus(c, 0);
  OK(corpus_verify(c, NULL, NULL, &why));
  corpus_close(&c);
  if (megatron) {
    OK(corpus_open(in_dir("a"), &c, &why));
    assert_int_equal(corpus_slice_count(c), 1);
    assert_null(corpus_tokenizer(c));
    check_corpus(c, 0);
    OK(corpus_verify(c, NULL, NULL, &why));
    corpus_close(&c);
  }
  assert_false(io_exists(in_dir(CATALOG_RESUME)));
  remove_dir(NULL);
}

static void what_is_written_is_read_in_every_width_and_layout(void **state) {
  (void)state;
  static const uint32_t vocabs[] = {257, 65499, 65500, 65536, 65537, 1000000};
  for (size_t i = 0; i < sizeof vocabs / sizeof *vocabs; i++) {
    round_trip(false, vocabs[i], false);
    round_trip(true, vocabs[i], false);
  }
}

static void a_sink_opened_again_and_again_writes_the_same(void **state) {
  (void)state;
  for (uint32_t vocab = 300; vocab < 304; vocab++) {
    round_trip(false, vocab, true);
    round_trip(true, vocab, true);
  }
}

static void refused(enum status expected, const char *words) {
  struct corpus *c;
  enum status s = corpus_open(dir, &c, &why);
  if (s == STATUS_OK) {
    s = corpus_verify(c, NULL, NULL, &why);
    corpus_close(&c);
  }
  assert_string_equal(status_name(s), status_name(expected));
  if (!strstr(why.text, words))
    fail_msg("%s", why.text);
}

static void flip(const char *name, long at) {
  FILE *f = fopen(in_dir(name), "r+b");
  assert_non_null(f);
  fseek(f, at, SEEK_SET);
  int byte = fgetc(f);
  fseek(f, at, SEEK_SET);
  fputc(byte ^ 1, f);
  fclose(f);
}

static void every_flipped_byte_of_a_shard_is_found(void **state) {
  (void)state;
  write_corpus(false, 257, false);
  struct corpus *c;
  for (long at = 0; at < SHARD_HEADER_BYTES + 2 * SHARD; at += at < SHARD_HEADER_BYTES ? 1 : 97) {
    flip("a-00001.tokens", at);
    enum status s = corpus_open(dir, &c, &why);
    if (s == STATUS_OK) {
      s = corpus_verify(c, NULL, NULL, &why);
      corpus_close(&c);
    }
    assert_int_not_equal(s, STATUS_OK);
    assert_non_null(strstr(why.text, "a-00001.tokens"));
    flip("a-00001.tokens", at);
  }
  flip("a-00002.documents", 140);
  refused(STATUS_FORGED, "a-00002.documents was altered");
}

static void truncated_and_missing_files_are_named(void **state) {
  (void)state;
  write_corpus(false, 257, false);
  OK(io_truncate(in_dir("a-00003.tokens"), 1000, &why));
  refused(STATUS_SHORT, "it has 1000 bytes, the manifest says 1682");
  unlink(in_dir("a-00003.tokens"));
  refused(STATUS_MISSING, "a-00003.tokens");
  unlink(in_dir(CATALOG_FILE));
  refused(STATUS_MISSING, "'caravan-node tokenize' makes one");
}

static void a_megatron_index_of_another_bin_is_refused(void **state) {
  (void)state;
  struct corpus *c;
  write_corpus(true, 257, false);
  unlink(in_dir(CATALOG_FILE));
  OK(io_truncate(in_dir("a.bin"), 2 * TOKENS - 2, &why));
  assert_int_equal(corpus_open(in_dir("a"), &c, &why), STATUS_MISMATCH);
  assert_non_null(strstr(why.text, "lists 5000 tokens"));
}

/* As megatron/data/indexed_dataset.py of gpt-neox writes documents [1 2 0] and [3 0] in u16: made
 * with a transcript of its writer in Python (struct.pack and numpy's tobytes). */
static void golden_megatron_index(void **state) {
  (void)state;
  static const uint8_t golden[] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
                                   8,   2,   0,   0,   0,   0,   0,   0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
                                   3,   0,   0,   0,   2,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 6,
                                   0,   0,   0,   0,   0,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
                                   0,   0,   0,   0,   0,   0,   2,   0, 0, 0, 0, 0, 0, 0};
  static const uint8_t tokens[] = {1, 0, 2, 0, 0, 0, 3, 0, 0, 0};
  static const uint64_t two[] = {3, 5};
  struct catalog m = {
      .megatron = true, .byte_tokenizer = true, .vocab_count = 50277, .token_bytes = 2};
  struct catalog_progress progress = {0};
  struct io_sink *sink;
  struct io_bytes made;
  OK(io_sink_open(dir, &m, 1, &sink, &why));
  OK(io_sink_begin_slice(sink, "g", &why));
  OK(io_sink_add(sink, tokens, 5, two, 2, &why));
  OK(io_sink_finish(&sink, &progress, &why));
  catalog_end(&m);
  OK(io_file_read(in_dir("g.idx"), 1000, &made, &why));
  assert_int_equal(made.count, sizeof golden);
  assert_memory_equal(made.at, golden, sizeof golden);
  io_bytes_free(&made);
  OK(io_file_read(in_dir("g.bin"), 1000, &made, &why));
  assert_int_equal(made.count, sizeof tokens);
  assert_memory_equal(made.at, tokens, sizeof tokens);
  io_bytes_free(&made);
}

static void names_that_lead_elsewhere_are_refused(void **state) {
  (void)state;
  struct io_bytes text;
  write_corpus(false, 257, false);
  OK(io_file_read(in_dir(CATALOG_FILE), CATALOG_BYTES_MAX, &text, &why));
  char *at = strstr((char *)text.at, "a-00001.tokens");
  memcpy(at, "../../etc/pass", 14);
  OK(io_file_write(in_dir(CATALOG_FILE), text.at, text.count, &why));
  io_bytes_free(&text);
  refused(STATUS_BAD, "the plain name of a file");
}

static void a_slice_listed_twice_is_refused(void **state) {
  (void)state;
  static const char json[] =
      "{\"format\":\"caravan-corpus\",\"version\":1,\"layout\":\"shards\",\"token_bytes\":2,"
      "\"tokenizer\":{\"kind\":\"byte\",\"blake2b\":\"%064d\",\"vocab_count\":257,\"eod\":256},"
      "\"recipe\":\"%064d\",\"text_bytes\":0,\"skipped_count\":0,\"replaced_count\":0,\"slices\":["
      "{\"name\":\"a\",\"token_count\":0,\"document_count\":0,\"shards\":[]},"
      "{\"name\":\"%s\",\"token_count\":0,\"document_count\":0,\"shards\":[]}]}";
  char text[sizeof json + 200];
  struct catalog m;
  int count = snprintf(text, sizeof text, json, 0, 0, "b");
  OK(catalog_parse("m", text, (size_t)count, &m, &why));
  catalog_end(&m);
  count = snprintf(text, sizeof text, json, 0, 0, "a");
  assert_int_equal(catalog_parse("m", text, (size_t)count, &m, &why), STATUS_BAD);
  assert_string_equal(why.text, "m: slice 'a' is there twice");
}

static void a_shard_of_another_tokenizer_is_refused(void **state) {
  (void)state;
  struct io_bytes text;
  write_corpus(false, 257, false);
  OK(io_file_read(in_dir(CATALOG_FILE), CATALOG_BYTES_MAX, &text, &why));
  char *at = strstr((char *)text.at, "\"blake2b\": \"");
  assert_non_null(at);
  at[12] = at[12] == '1' ? '2' : '1';
  OK(io_file_write(in_dir(CATALOG_FILE), text.at, text.count, &why));
  io_bytes_free(&text);
  refused(STATUS_MISMATCH, "with another tokenizer");
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read_in_every_width_and_layout),
      cmocka_unit_test(a_sink_opened_again_and_again_writes_the_same),
      IN_DIR(every_flipped_byte_of_a_shard_is_found),
      IN_DIR(truncated_and_missing_files_are_named),
      IN_DIR(a_megatron_index_of_another_bin_is_refused),
      IN_DIR(golden_megatron_index),
      cmocka_unit_test(a_slice_listed_twice_is_refused),
      IN_DIR(a_shard_of_another_tokenizer_is_refused),
      IN_DIR(names_that_lead_elsewhere_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
