/* The tokenizer as a whole: ids of `tokenizers` from tests/golden, the options of the file, the
 * refusals, and what decoding gives back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/data/tokenizer.h"
#include "proto/base/io_file.h"
#include "tests/unit/support_tokenizer.h"

enum { TEXT_MAX = 65536, IDS_MAX = 65536 };

static struct tokenizer *open_parts(const struct support_tokenizer *parts) {
  struct tokenizer *tk = NULL;
  struct why why = {{0}};
  char *json = support_tokenizer_json(parts);
  if (tokenizer_parse("made", json, strlen(json), &tk, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  free(json);
  return tk;
}

/* The ids as text, "1 2 3". */
static const char *ids_of(const struct tokenizer *tk, const char *text, size_t bytes) {
  static char out[TEXT_MAX];
  struct tokenizer_work *w;
  struct why why;
  const uint32_t *ids;
  size_t count, used = 0;
  assert_int_equal(tokenizer_work_open(tk, &w, &why), STATUS_OK);
  assert_int_equal(tokenizer_encode(tk, w, text, bytes, &ids, &count, &why), STATUS_OK);
  out[0] = 0;
  for (size_t i = 0; i < count; i++)
    used += (size_t)snprintf(out + used, sizeof out - used, i ? " %u" : "%u", ids[i]);
  tokenizer_work_close(&w);
  return out;
}

static void expect_ids(const struct support_tokenizer *parts, const char *text, const char *want) {
  struct tokenizer *tk = open_parts(parts);
  assert_string_equal(ids_of(tk, text, strlen(text)), want);
  tokenizer_close(&tk);
}

/* Undo the \xHH of a golden text; returns the bytes. */
static size_t unescape(const char *from, size_t bytes, char *to) {
  size_t used = 0;
  for (size_t i = 0; i < bytes; i++) {
    if (from[i] == '\\') {
      char hex[3] = {from[i + 2], from[i + 3], 0};
      to[used++] = (char)strtol(hex, NULL, 16);
      i += 3;
    } else {
      to[used++] = from[i];
    }
  }
  return used;
}

static void expect_golden(const char *tokenizer, const char *golden, size_t lines_min) {
  struct tokenizer *tk;
  struct why why = {{0}};
  struct io_bytes file;
  static char text[TEXT_MAX];
  if (tokenizer_open(tokenizer, &tk, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  assert_int_equal(io_file_read(golden, TEXT_MAX, &file, &why), STATUS_OK);
  size_t lines = 0;
  for (char *line = (char *)file.at, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
    *end = 0;
    char *tab = strchr(line, '\t');
    assert_non_null(tab);
    size_t bytes = unescape(line, (size_t)(tab - line), text);
    const char *got = ids_of(tk, text, bytes);
    if (strcmp(got, tab + 1) != 0)
      fail_msg("%s line %zu: %.*s\n  gives %s\n  not   %s", golden, lines + 1, (int)(tab - line),
               line, got, tab + 1);
  }
  assert_true(lines >= lines_min);
  io_bytes_free(&file);
  tokenizer_close(&tk);
}

static void small_golden_texts_have_the_ids_of_tokenizers(void **state) {
  (void)state;
  expect_golden("tests/golden/tokenizer_small.json", "tests/golden/tokenizer_small.txt", 45);
}

static void neox_golden_texts_have_the_ids_of_tokenizers(void **state) {
  (void)state;
  char path[4096];
  const char *shared = getenv("CARAVAN_SHARED");
  snprintf(path, sizeof path, "%s/data/20B_tokenizer.json", shared ? shared : "../shared");
  if (!io_exists(path)) {
    print_message("SKIP: %s is not there, so the GPT-NeoX ids were not compared\n", path);
    skip();
  }
  expect_golden(path, "tests/golden/tokenizer_20b.txt", 45);
}

static void byte_tokenizer_is_the_bytes_and_an_end(void **state) {
  (void)state;
  struct tokenizer *tk;
  struct why why;
  size_t bytes = 1;
  assert_int_equal(tokenizer_open("byte", &tk, &why), STATUS_OK);
  assert_true(tokenizer_is_byte(tk));
  assert_int_equal(tokenizer_vocab_count(tk), 257);
  assert_int_equal(tokenizer_eod(tk), 256);
  assert_null(tokenizer_file(tk, &bytes));
  assert_int_equal(bytes, 0);
  assert_string_equal(ids_of(tk, "a\0\xc3\xa9\xff", 5), "97 0 195 169 239 191 189");
  assert_string_equal(ids_of(tk, "a<|endoftext|>b", 15), "97 256 98");
  assert_string_equal(ids_of(tk, "", 0), "");
  tokenizer_close(&tk);
  assert_null(tk);
}

static void file_is_kept_and_named_by_its_digest(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  struct tokenizer *tk = open_parts(&parts);
  char *json = support_tokenizer_json(&parts);
  size_t bytes;
  const void *kept = tokenizer_file(tk, &bytes);
  assert_int_equal(bytes, strlen(json));
  assert_memory_equal(kept, json, bytes);
  struct digest want = digest_of(DIGEST_PLAIN, json, bytes);
  assert_true(digest_equal(tokenizer_digest(tk), &want));
  assert_int_equal(tokenizer_vocab_count(tk), 265);
  assert_int_equal(tokenizer_eod(tk), 263);
  assert_int_equal(tokenizer_id(tk, "   "), 264);
  assert_int_equal(tokenizer_id(tk, "the"), -1);
  assert_false(tokenizer_is_byte(tk));
  free(json);
  tokenizer_close(&tk);
}

static void merges_are_read_in_both_forms(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  expect_ids(&parts, "a the theab aaa", "97 258 258 259 32 260 97");
  parts.merges =
      "[[\"\304\240\", \"t\"], [\"h\", \"e\"], [\"\304\240t\", \"he\"], [\"t\", \"he\"],"
      "[\"a\", \"b\"], [\"a\", \"a\"]]";
  expect_ids(&parts, "a the theab aaa", "97 258 258 259 32 260 97");
  parts.merges = "[\"#version: 0.2\", \"a b\"]";
  expect_ids(&parts, "a the", "97 32 116 104 101");
}

static void a_pair_merged_twice_keeps_its_last_rank(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  parts.merges = "[\"t h\", \"h e\"]";
  expect_ids(&parts, "the", "256 101");
  parts.merges = "[\"t h\", \"h e\", \"t h\"]";
  expect_ids(&parts, "the", "116 262");
}

static void whole_words_go_before_merges_when_asked(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  parts.merges = "[]";
  expect_ids(&parts, "the the", "116 104 101 32 116 104 101");
  parts.model_options = "\"ignore_merges\": true,";
  expect_ids(&parts, "the the", "257 258");
}

static void a_prefix_space_is_added_to_each_text(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  parts.pre_tokenizer = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}";
  expect_ids(&parts, "the", "258");
  expect_ids(&parts, " the", "258");
  expect_ids(&parts, "", "");
  expect_ids(&parts, "the<|endoftext|>the<|endoftext|>", "258 263 258 263");
}

static void normalisation_is_only_what_the_file_says(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  expect_ids(&parts, "e\xcc\x81", "195 169");
  /* The end of the token and the mark would be one character, were they normalised together. */
  expect_ids(&parts, "<|endoftext|>\xcc\xb8", "263 204 184");
  parts.normalizer = "null";
  expect_ids(&parts, "e\xcc\x81", "101 204 129");
}

static void broken_text_is_repaired_and_counted(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  struct tokenizer *tk = open_parts(&parts);
  struct tokenizer_work *w;
  struct why why;
  const uint32_t *ids;
  size_t count;
  assert_int_equal(tokenizer_work_open(tk, &w, &why), STATUS_OK);
  assert_int_equal(tokenizer_encode(tk, w, "a\xff\xe2\x82", 4, &ids, &count, &why), STATUS_OK);
  assert_int_equal(count, 7);
  assert_int_equal(tokenizer_replaced(w), 2);
  assert_int_equal(tokenizer_encode(tk, w, "\xef\xbf\xbd", 3, &ids, &count, &why), STATUS_OK);
  assert_int_equal(tokenizer_replaced(w), 2);
  assert_int_equal(tokenizer_encode(tk, w, "\x80", 1, &ids, &count, &why), STATUS_OK);
  assert_int_equal(tokenizer_replaced(w), 3);
  tokenizer_work_close(&w);
  tokenizer_close(&tk);
}

static void decoding_gives_the_text_back(void **state) {
  (void)state;
  static const char text[] = "The the\0 ab\r\n    <|endoftext|>\xf0\x9f\x98\x80 \xc3\xa9";
  struct support_tokenizer parts = support_tokenizer_default();
  struct tokenizer *tk = open_parts(&parts);
  struct tokenizer_work *w;
  struct why why;
  const uint32_t *ids;
  const char *back;
  size_t count, bytes;
  assert_int_equal(tokenizer_work_open(tk, &w, &why), STATUS_OK);
  assert_int_equal(tokenizer_encode(tk, w, text, sizeof text, &ids, &count, &why), STATUS_OK);
  assert_int_equal(tokenizer_decode(tk, w, ids, count, &back, &bytes, &why), STATUS_OK);
  assert_int_equal(bytes, sizeof text);
  assert_memory_equal(back, text, sizeof text);
  uint32_t wrong[] = {97, 265};
  assert_int_equal(tokenizer_decode(tk, w, wrong, 2, &back, &bytes, &why), STATUS_RANGE);
  assert_string_equal(why.text, "id 265 at place 1 is not in the vocabulary of 265 tokens");
  tokenizer_work_close(&w);
  tokenizer_close(&tk);
}

static void an_id_that_the_file_skips_does_not_decode(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  parts.vocab = ", \"ab\": 300";
  parts.merges = "[\"a b\"]";
  parts.added_tokens = "[]";
  struct tokenizer *tk = open_parts(&parts);
  struct tokenizer_work *w;
  struct why why;
  uint32_t ids[] = {300, 299};
  const char *back;
  size_t bytes;
  assert_int_equal(tokenizer_work_open(tk, &w, &why), STATUS_OK);
  assert_int_equal(tokenizer_eod(tk), -1);
  assert_int_equal(tokenizer_decode(tk, w, ids, 1, &back, &bytes, &why), STATUS_OK);
  assert_int_equal(tokenizer_decode(tk, w, ids, 2, &back, &bytes, &why), STATUS_RANGE);
  tokenizer_work_close(&w);
  tokenizer_close(&tk);
}

static void a_long_word_takes_no_longer_than_its_length(void **state) {
  (void)state;
  enum { BYTES = 400000 };
  struct support_tokenizer parts = support_tokenizer_default();
  struct tokenizer *tk = open_parts(&parts);
  struct tokenizer_work *w;
  struct why why;
  const uint32_t *ids;
  size_t count;
  char *text = malloc(BYTES);
  assert_non_null(text);
  for (size_t i = 0; i < BYTES; i++)
    text[i] = "ab"[i % 2];
  assert_int_equal(tokenizer_work_open(tk, &w, &why), STATUS_OK);
  assert_int_equal(tokenizer_encode(tk, w, text, BYTES, &ids, &count, &why), STATUS_OK);
  assert_int_equal(count, BYTES / 2);
  for (size_t i = 0; i < count; i++)
    assert_int_equal(ids[i], 259);
  tokenizer_work_close(&w);
  tokenizer_close(&tk);
  free(text);
}

static void expect_refusal(const struct support_tokenizer *parts, enum status want,
                           const char *says) {
  struct tokenizer *tk = NULL;
  struct why why = {{0}};
  char *json = support_tokenizer_json(parts);
  enum status got = tokenizer_parse("made", json, strlen(json), &tk, &why);
  free(json);
  assert_null(tk);
  if (got != want || !strstr(why.text, says) || strncmp(why.text, "made", 4) != 0)
    fail_msg("%s \"%s\" instead of %s \"…%s…\"", status_name(got), why.text, status_name(want),
             says);
}

#define REFUSE(part, value, want, says)                            \
  do {                                                             \
    struct support_tokenizer parts_ = support_tokenizer_default(); \
    parts_.part = (value);                                         \
    expect_refusal(&parts_, STATUS_##want, says);                  \
  } while (0)

static void what_is_not_done_is_refused_by_name(void **state) {
  (void)state;
  REFUSE(before, "\"version\": \"2.0\",", UNSUPPORTED, "version");
  REFUSE(before, "\"frobnicator\": 1,", UNSUPPORTED, "\"frobnicator\"");
  REFUSE(before, "\"truncation\": {},", UNSUPPORTED, "truncation");
  REFUSE(before, "\"padding\": {},", UNSUPPORTED, "padding");
  REFUSE(normalizer, "{\"type\": \"NFKC\"}", UNSUPPORTED, "normalizer \"NFKC\"");
  REFUSE(normalizer, "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}]}",
         UNSUPPORTED, "normalizer \"Lowercase\"");
  REFUSE(pre_tokenizer, "null", UNSUPPORTED, "pre_tokenizer null");
  REFUSE(pre_tokenizer, "{\"type\": \"Metaspace\"}", UNSUPPORTED, "pre_tokenizer \"Metaspace\"");
  REFUSE(pre_tokenizer, "{\"type\": \"ByteLevel\"}", BAD, "add_prefix_space");
  REFUSE(pre_tokenizer, "{\"type\": \"ByteLevel\", \"add_prefix_space\": 1}", BAD,
         "add_prefix_space");
  REFUSE(post_processor, "{\"type\": \"BertProcessing\"}", UNSUPPORTED, "\"BertProcessing\"");
  REFUSE(decoder, "null", UNSUPPORTED, "decoder null");
  REFUSE(decoder, "{\"type\": \"Metaspace\"}", UNSUPPORTED, "decoder \"Metaspace\"");
  REFUSE(model_options, "\"type\": \"Unigram\",", UNSUPPORTED, "model type \"Unigram\"");
  REFUSE(model_options, "\"dropout\": 0.1,", UNSUPPORTED, "model.dropout");
  REFUSE(model_options, "\"end_of_word_suffix\": \"</w>\",", UNSUPPORTED, "end_of_word_suffix");
  REFUSE(model_options, "\"gadget\": 1,", UNSUPPORTED, "\"gadget\"");
}

static void an_unknown_split_pattern_is_refused_with_its_text(void **state) {
  (void)state;
  REFUSE(pre_tokenizer,
         "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\":"
         "{\"Regex\": \"[a-z]+\"}, \"behavior\": \"Isolated\", \"invert\": false},"
         "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}",
         UNSUPPORTED, "the pattern [a-z]+ is");
  REFUSE(pre_tokenizer,
         "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\"}, {\"type\":"
         "\"ByteLevel\", \"add_prefix_space\": false}]}",
         UNSUPPORTED, "pre_tokenizer \"Digits\"");
}

static void vocabularies_and_merges_that_do_not_fit_are_bad(void **state) {
  (void)state;
  REFUSE(vocab, ", \"th\": 97", BAD, "id 97 is given twice");
  REFUSE(vocab, ", \"th\": -1", BAD, "\"th\"");
  REFUSE(vocab, ", \"th\": 1048576", BAD, "\"th\"");
  REFUSE(vocab, ", \"th\": 1.5", BAD, "\"th\"");
  REFUSE(vocab, ", \"th\": 256, \"th\": 257", BAD, "duplicate");
  REFUSE(merges, "[\"t h\", \"q q\"]", BAD, "model.merges[1]: \"qq\"");
  REFUSE(merges, "[\"th\"]", BAD, "model.merges[0]");
  REFUSE(merges, "[\"t h e\"]", BAD, "model.merges[0]");
  REFUSE(merges, "[[\"t\"]]", BAD, "model.merges[0]");
  REFUSE(merges, "[[\"t\", 1]]", BAD, "model.merges[0]");
  REFUSE(merges, "7", BAD, "no merges");
}

static void added_tokens_that_do_not_fit_are_refused(void **state) {
  (void)state;
#define FLAGS "\"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"special\": true,"
  REFUSE(added_tokens, "[{\"id\": 500, \"content\": \"<x>\"," FLAGS "\"normalized\": false}]", BAD,
         "its id is 500 in the file and would be 263");
  REFUSE(added_tokens, "[{\"id\": 263, \"content\": \"\"," FLAGS "\"normalized\": false}]", BAD,
         "added_tokens[0]");
  REFUSE(added_tokens, "[{\"id\": 263, \"content\": \"<x>\"," FLAGS "\"normalized\": 0}]", BAD,
         "added_tokens[0]: normalized");
  REFUSE(added_tokens,
         "[{\"id\": 97, \"content\": \"a\"," FLAGS
         "\"normalized\": false},"
         "{\"id\": 97, \"content\": \"a\"," FLAGS "\"normalized\": false}]",
         UNSUPPORTED, "given twice");
  /* The Ohm sign is an omega once normalised: `tokenizers` then takes either, by chance. */
  REFUSE(added_tokens,
         "[{\"id\": 263, \"content\": \"\\u2126\"," FLAGS
         "\"normalized\": true},"
         "{\"id\": 264, \"content\": \"\\u03a9\"," FLAGS "\"normalized\": true}]",
         UNSUPPORTED, "263 and 264 are the same");
  REFUSE(added_tokens, "{}", BAD, "added_tokens is not a list");
#undef FLAGS
}

static void a_vocabulary_without_every_byte_is_refused(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  struct tokenizer *tk = NULL;
  struct why why;
  char *json = support_tokenizer_json(&parts);
  char *letter = strstr(json, "\"\\u0041\"");
  assert_non_null(letter);
  memcpy(letter, "\"\\u1041\"", 8);
  assert_int_equal(tokenizer_parse("made", json, strlen(json), &tk, &why), STATUS_UNSUPPORTED);
  assert_non_null(strstr(why.text, "the byte 41"));
  free(json);
}

static void no_beginning_of_a_file_is_a_file(void **state) {
  (void)state;
  struct support_tokenizer parts = support_tokenizer_default();
  char *json = support_tokenizer_json(&parts);
  size_t bytes = strlen(json);
  for (size_t i = 0; i < bytes; i += 37) {
    struct tokenizer *tk = NULL;
    struct why why;
    assert_int_not_equal(tokenizer_parse("made", json, i, &tk, &why), STATUS_OK);
    assert_null(tk);
  }
  free(json);
}

static void a_file_that_is_not_there_is_missing(void **state) {
  (void)state;
  struct tokenizer *tk = NULL;
  struct why why;
  assert_int_equal(tokenizer_open("tests/golden/none.json", &tk, &why), STATUS_MISSING);
  assert_int_equal(tokenizer_open("tests/golden", &tk, &why), STATUS_MISSING);
  assert_non_null(strstr(why.text, "tests/golden/tokenizer.json"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_golden_texts_have_the_ids_of_tokenizers),
      cmocka_unit_test(neox_golden_texts_have_the_ids_of_tokenizers),
      cmocka_unit_test(byte_tokenizer_is_the_bytes_and_an_end),
      cmocka_unit_test(file_is_kept_and_named_by_its_digest),
      cmocka_unit_test(merges_are_read_in_both_forms),
      cmocka_unit_test(a_pair_merged_twice_keeps_its_last_rank),
      cmocka_unit_test(whole_words_go_before_merges_when_asked),
      cmocka_unit_test(a_prefix_space_is_added_to_each_text),
      cmocka_unit_test(normalisation_is_only_what_the_file_says),
      cmocka_unit_test(broken_text_is_repaired_and_counted),
      cmocka_unit_test(decoding_gives_the_text_back),
      cmocka_unit_test(an_id_that_the_file_skips_does_not_decode),
      cmocka_unit_test(a_long_word_takes_no_longer_than_its_length),
      cmocka_unit_test(what_is_not_done_is_refused_by_name),
      cmocka_unit_test(an_unknown_split_pattern_is_refused_with_its_text),
      cmocka_unit_test(vocabularies_and_merges_that_do_not_fit_are_bad),
      cmocka_unit_test(added_tokens_that_do_not_fit_are_refused),
      cmocka_unit_test(a_vocabulary_without_every_byte_is_refused),
      cmocka_unit_test(no_beginning_of_a_file_is_a_file),
      cmocka_unit_test(a_file_that_is_not_there_is_missing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
