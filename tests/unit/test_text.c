/* The rooms of node/text, one at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/text/added_tokens.h"
#include "node/text/bpe.h"
#include "node/text/nfc.h"
#include "node/text/pretokenize.h"
#include "node/text/utf8_repair.h"
#include "proto/base/prng.h"

static struct unicode_class class_of;
static struct nfc nfc;

static int open_tables(void **state) {
  (void)state;
  unicode_class_init(&class_of);
  nfc_init(&nfc, &class_of);
  return 0;
}

static void broken_utf8_is_replaced_as_python_does(void **state) {
  (void)state;
#define R "\xef\xbf\xbd"
  static const struct {
    const char *text, *want;
    uint64_t replaced;
  } cases[] = {
      {"plain", "plain", 0},
      {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 0},
      {"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 0},
      {"\x80", R, 1},
      {"a\xffz", "a" R "z", 1},
      {"\xc0\xaf", R R, 2}, /* overlong: neither byte can begin anything */
      {"\xe0\x80\xaf", R R R, 3},
      {"\xed\xa0\x80", R R R, 3}, /* a surrogate */
      {"\xf4\x90\x80\x80", R R R R, 4},
      {"\xf5\x80", R R, 2},
      {"\xe2\x82", R, 1}, /* the maximal part of a broken character is one */
      {"\xe2\x82z", R "z", 1},
      {"\xf0\x9f\x98", R, 1},
      {"\xf0\x9f\x98\xf0\x9f", R R, 2},
      {"\xe2\xe2\x82\xac", R "\xe2\x82\xac", 1},
      {"12345678\xc3", "12345678" R, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint8_t out[64];
    uint64_t replaced = 0;
    size_t n = strlen(cases[i].text);
    size_t m = utf8_repair((const uint8_t *)cases[i].text, n, out, &replaced);
    out[m] = 0;
    assert_string_equal((char *)out, cases[i].want);
    assert_int_equal(replaced, cases[i].replaced);
    assert_int_equal(utf8_valid_prefix((const uint8_t *)cases[i].text, n) == n, replaced == 0);
    assert_int_equal(utf8_valid_prefix(out, m), m);
  }
#undef R
}

static void expect_nfc(const char *text, const char *want) {
  struct nfc_work w = {0};
  struct why why;
  const uint8_t *out;
  size_t bytes;
  assert_int_equal(nfc_apply(&nfc, &w, (const uint8_t *)text, strlen(text), &out, &bytes, &why),
                   STATUS_OK);
  assert_int_equal(bytes, strlen(want));
  assert_memory_equal(out, want, bytes);
  nfc_work_end(&w);
}

static void nfc_composes_orders_and_takes_apart(void **state) {
  (void)state;
  expect_nfc("", "");
  expect_nfc("plain text, more than eight bytes", "plain text, more than eight bytes");
  expect_nfc("xxxxxxxe\u0301y", "xxxxxxx\u00e9y"); /* the base is the last of eight bytes */
  expect_nfc("e\u0301", "\u00e9");
  expect_nfc("\u212b\u2126", "\u00c5\u03a9");  /* singletons */
  expect_nfc("\u1e9b\u0323", "\u1e9b\u0323");  /* UAX 15, figure 6 */
  expect_nfc("a\u0301\u0323", "\u1ea1\u0301"); /* reordered, then composed */
  expect_nfc("a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b"); /* NormalizationTest */
  expect_nfc("\u0958", "\u0915\u093c"); /* excluded from composition */
  expect_nfc("\u0344", "\u0308\u0301");
  expect_nfc("\u0301e", "\u0301e");
  expect_nfc("\u1100\u1161\u11a8", "\uac01"); /* Hangul */
  expect_nfc("\uac00\u11a8", "\uac01");
  expect_nfc("\uac01\u11a8", "\uac01\u11a8");
  expect_nfc("\u1100\u1161\u1161", "\uac00\u1161");
  expect_nfc("a\u0338\u0338=\u0338\u0338", "a\u0338\u0338\u2260\u0338");
  expect_nfc("a\u0363\u0301", "a\u0363\u0301"); /* a mark of the same class stands between */
  expect_nfc("\U0001d15e", "\U0001d157\U0001d165");
}

static void nfc_of_a_million_marks_is_sorted_in_order(void **state) {
  (void)state;
  enum { MARKS = 300000 };
  struct nfc_work w = {0};
  struct why why;
  const uint8_t *out;
  size_t bytes;
  char *text = malloc(2 * MARKS);
  assert_non_null(text);
  for (size_t i = 0; i < MARKS; i++) /* U+0315 of class 232 and U+0327 of class 202 in turn */
    memcpy(text + 2 * i, i % 2 ? "\u0327" : "\u0315", 2);
  assert_int_equal(nfc_apply(&nfc, &w, (const uint8_t *)text, 2 * MARKS, &out, &bytes, &why),
                   STATUS_OK);
  assert_int_equal(bytes, 2 * MARKS);
  for (size_t i = 0; i < MARKS; i++)
    assert_memory_equal(out + 2 * i, i < MARKS / 2 ? "\u0327" : "\u0315", 2);
  nfc_work_end(&w);
  free(text);
}

/* The pieces of a text with bars between them. */
static void expect_pieces(enum pretokenize_pattern pattern, const char *text, const char *want) {
  char got[256];
  size_t used = 0;
  const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
  while (at < end) {
    const uint8_t *next = pretokenize_next(pattern, &class_of, at, end);
    assert_true(next > at && next <= end);
    if (used > 0)
      got[used++] = '|';
    memcpy(got + used, at, (size_t)(next - at));
    used += (size_t)(next - at);
    at = next;
  }
  got[used] = 0;
  assert_string_equal(got, want);
}

static void gpt2_pieces_are_words_numbers_signs_and_spaces(void **state) {
  (void)state;
  const enum pretokenize_pattern p = PRETOKENIZE_GPT2;
  expect_pieces(p, "Hello world, it's 42!", "Hello| world|,| it|'s| 42|!");
  expect_pieces(p, "we'll they've 'tis IT'S", "we|'ll| they|'ve| '|tis| IT|'|S");
  expect_pieces(p, "x  y   z", "x| | y|  | z");
  expect_pieces(p, "a \n b\n\nc  ", "a| \n| b|\n|\n|c|  ");
  expect_pieces(p, "a\tb\u00a0c", "a|\t|b|\u00a0|c");
  expect_pieces(p, "\u00e9t\u00e9 \u0661\u0662a\u00b2", "\u00e9t\u00e9| \u0661\u0662|a|\u00b2");
  expect_pieces(p, " ''s", " ''|s");
  expect_pieces(p, "''s", "''|s");
  expect_pieces(p, "'", "'");
  expect_pieces(p, " ", " ");
  expect_pieces(PRETOKENIZE_WHOLE, "a b  c", "a b  c");
}

static void llama3_pieces_follow_its_pattern(void **state) {
  (void)state;
  const enum pretokenize_pattern p = PRETOKENIZE_LLAMA3;
  expect_pieces(p, "IT'S it's x'Re", "IT|'S| it|'s| x|'Re");
  expect_pieces(p, "'\u017fa", "'\u017f|a"); /* the long s is an s */
  expect_pieces(p, "12345 67", "123|45| |67");
  expect_pieces(PRETOKENIZE_QWEN2, "12 3", "1|2| |3");
  expect_pieces(p, "(abc) $x _y", "(abc|)| $|x| _|y");
  expect_pieces(p, "a!\n\nb", "a|!\n\n|b");
  expect_pieces(p, "a  \n  b", "a|  \n| | b");
  expect_pieces(p, "a\n b\tc", "a|\n| b|\tc");
  expect_pieces(p, "\nabc", "\n|abc");
  expect_pieces(p, "x   ", "x|   ");
}

static void known_patterns_are_known_by_their_text(void **state) {
  (void)state;
  enum pretokenize_pattern p = PRETOKENIZE_WHOLE;
  assert_true(pretokenize_known(
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", &p));
  assert_int_equal(p, PRETOKENIZE_GPT2);
  assert_false(pretokenize_known("\\p{L}+", &p));
}

struct expect_found {
  const char *text; /* before the token */
  int64_t id;       /* -1: the end */
};

static void expect_scan(const struct added_token *tokens, size_t count, const char *text,
                        const struct expect_found *want, size_t want_count) {
  struct added_tokens *a;
  struct added_found found;
  struct why why;
  assert_int_equal(added_tokens_open(tokens, count, &a, &why), STATUS_OK);
  const uint8_t *begin = (const uint8_t *)text;
  struct added_scan scan = added_scan(a, &class_of, begin, begin + strlen(text));
  size_t i = 0;
  for (; added_scan_next(&scan, &found); i++) {
    assert_true(i < want_count);
    assert_int_equal(found.text_end - found.text, strlen(want[i].text));
    assert_memory_equal(found.text, want[i].text, strlen(want[i].text));
    assert_int_equal(found.is_token ? (int64_t)found.id : -1, want[i].id);
  }
  assert_int_equal(i, want_count);
  added_tokens_close(&a);
}

#define TOKEN(text, id, ...) \
  { (const uint8_t *)(text), sizeof(text) - 1, id, __VA_ARGS__ }
#define SCAN(tokens, text, ...)                                          \
  do {                                                                   \
    const struct expect_found want_[] = {__VA_ARGS__};                   \
    expect_scan(tokens, sizeof(tokens) / sizeof(tokens)[0], text, want_, \
                sizeof want_ / sizeof want_[0]);                         \
  } while (0)

static void leftmost_longest_added_token_wins(void **state) {
  (void)state;
  const struct added_token tokens[] = {
      TOKEN("<a", 1, false, false, false),  TOKEN("<abc", 2, false, false, false),
      TOKEN("bcd", 3, false, false, false), TOKEN("  ", 4, false, false, false),
      TOKEN("   ", 5, false, false, false), TOKEN("z", 6, false, false, false)};
  SCAN(tokens, "x<abcd", {"x", 2}, {"d", -1});
  SCAN(tokens, "<abd<", {"", 1}, {"bd<", -1});
  SCAN(tokens, "bcd<a", {"", 3}, {"", 1});
  SCAN(tokens, "a     b", {"a", 5}, {"", 4}, {"b", -1});
  SCAN(tokens, "yz", {"y", 6});
  SCAN(tokens, "plain", {"plain", -1});
}

static void added_tokens_take_spaces_and_keep_off_words(void **state) {
  (void)state;
  const struct added_token tokens[] = {
      TOKEN("<l>", 1, false, true, false), TOKEN("<r>", 2, false, false, true),
      TOKEN("<w>", 3, true, false, false), TOKEN("  ", 4, false, false, false)};
  SCAN(tokens, "a \u3000\n<l> b", {"a", 1}, {" b", -1});
  SCAN(tokens, "a <r> \t\u00a0b", {"a ", 2}, {"b", -1});
  SCAN(tokens, "a<w> <w>_ <w>.<w>", {"a<w> <w>_ ", 3}, {".", 3});
  /* What rstrip took is still found as a token of its own, as the library does it. */
  SCAN(tokens, "<r>   b", {"", 2}, {"", 4}, {" b", -1});
}

/* Merge the leftmost pair of lowest rank until there is none: the definition. */
static size_t merge_naively(const uint32_t (*merges)[2], size_t merge_count, uint32_t *ids,
                            size_t n) {
  for (;;) {
    size_t best = merge_count, place = 0;
    for (size_t i = 0; i + 1 < n; i++)
      for (size_t m = 0; m < best; m++)
        if (merges[m][0] == ids[i] && merges[m][1] == ids[i + 1]) {
          best = m;
          place = i;
        }
    if (best == merge_count)
      return n;
    ids[place] = 256 + (uint32_t)best;
    memmove(ids + place + 1, ids + place + 2, (n - place - 2) * sizeof ids[0]);
    n--;
  }
}

static void merging_is_by_rank_from_the_left_at_every_length(void **state) {
  (void)state;
  enum { MERGES = 24, LENGTH = 3 * BPE_SCAN_MAX, LETTERS = 3 };
  struct prng r = prng_seeded(11, 0);
  struct bpe_work w;
  struct why why;
  uint32_t byte_ids[256], got[LENGTH + 8], want[LENGTH];
  for (uint32_t i = 0; i < 256; i++)
    byte_ids[i] = i;
  for (int round = 0; round < 60; round++) {
    uint32_t merges[MERGES][2];
    struct bpe *b;
    assert_int_equal(bpe_open(MERGES, byte_ids, &b, &why), STATUS_OK);
    assert_int_equal(bpe_work_init(&w, &why), STATUS_OK);
    for (uint32_t m = 0; m < MERGES; m++) {
      /* Any two ids that exist by then; a pair that was drawn before is drawn again. */
      bool fresh = false;
      while (!fresh) {
        for (int side = 0; side < 2; side++) {
          uint32_t id = (uint32_t)prng_below(&r, LETTERS + m);
          merges[m][side] = id < LETTERS ? 'a' + id : 256 + id - LETTERS;
        }
        fresh = true;
        for (uint32_t k = 0; k < m; k++)
          fresh &= merges[k][0] != merges[m][0] || merges[k][1] != merges[m][1];
      }
      bpe_add(b, merges[m][0], merges[m][1], m, 256 + m);
    }
    for (size_t length = 1; length <= LENGTH; length += 1 + length / 4) {
      uint8_t piece[LENGTH];
      size_t count;
      for (size_t i = 0; i < length; i++)
        want[i] = piece[i] = (uint8_t)('a' + prng_below(&r, LETTERS));
      size_t want_count = merge_naively((const uint32_t(*)[2])merges, MERGES, want, length);
      for (int twice = 0; twice < 2; twice++) { /* the second time from the cache, when short */
        assert_int_equal(bpe_encode(b, &w, piece, length, piece + length, got, &count, &why),
                         STATUS_OK);
        assert_int_equal(count, want_count);
        assert_memory_equal(got, want, count * sizeof got[0]);
      }
    }
    bpe_work_end(&w);
    bpe_close(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(broken_utf8_is_replaced_as_python_does),
      cmocka_unit_test(nfc_composes_orders_and_takes_apart),
      cmocka_unit_test(nfc_of_a_million_marks_is_sorted_in_order),
      cmocka_unit_test(gpt2_pieces_are_words_numbers_signs_and_spaces),
      cmocka_unit_test(llama3_pieces_follow_its_pattern),
      cmocka_unit_test(known_patterns_are_known_by_their_text),
      cmocka_unit_test(leftmost_longest_added_token_wins),
      cmocka_unit_test(added_tokens_take_spaces_and_keep_off_words),
      cmocka_unit_test(merging_is_by_rank_from_the_left_at_every_length),
  };
  return cmocka_run_group_tests(tests, open_tables, NULL);
}
