/* The extractor of "text" against jansson on random JSON, and against what Python does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/data/record.h"
#include "proto/base/prng.h"

static struct why why;
static uint64_t surrogates;

/* The text in out, or NULL when the line is refused. Exact copies: a byte too far is seen. */
static char *text_of(const char *line, size_t line_bytes) {
  uint8_t *exact = malloc(line_bytes ? line_bytes : 1);
  uint8_t *out = malloc(line_bytes + 1);
  size_t count;
  memcpy(exact, line, line_bytes);
  enum status s = record_text(exact, line_bytes, out, &count, &surrogates, &why);
  free(exact);
  if (s != STATUS_OK) {
    assert_int_equal(s, STATUS_BAD);
    free(out);
    return NULL;
  }
  out[count] = 0;
  return (char *)out;
}

static void assert_text(const char *line, const char *expected) {
  char *text = text_of(line, strlen(line));
  if (!text)
    fail_msg("%s: %s", line, why.text);
  assert_string_equal(text, expected);
  free(text);
}

static void assert_bad(const char *line, const char *words) {
  char *text = text_of(line, strlen(line));
  if (text)
    fail_msg("taken: %s", line);
  if (!strstr(why.text, words))
    fail_msg("%s: %s", line, why.text);
}

static void records_of_every_slice_give_their_text(void **state) {
  (void)state;
  assert_text(
      "{\"pred_label\":\"__label__cc\",\"pred_label_prob\":0.9,\"wiki_prob\":1e-3,"
      "\"text\":\"flat\",\"source\":\"cc/1/line2\"}",
      "flat");
  assert_text("{\"text\":\"c4\",\"meta\":{\"timestamp\":\"x\",\"source\":\"c4\"}}", "c4");
  assert_text("{\"meta\":{\"text\":\"not this\",\"a\":[{\"text\":1}]},\"text\":\"first\"}",
              "first");
  assert_text(" { \"text\" : \"\" } \r", "");
}

static void strings_are_decoded_as_python_decodes_them(void **state) {
  (void)state;
  assert_text("{\"text\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\"}",
              "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac");
  assert_text("{\"text\":\"\\ud83d\\ude00\"}", "\xf0\x9f\x98\x80");
  assert_text("{\"te\\u0078t\":\"escaped key\"}", "escaped key");
  assert_text("{\"text\":1,\"text\":\"last\"}", "last");
  assert_text("{\"text\":\"long before it\",\"text\":\"x\"}", "x");
  assert_text("{\"a\":[NaN,Infinity,-Infinity,-0,1E+5],\"text\":\"numbers\"}", "numbers");
  assert_text("{\"text\":\"\xff\xfe raw\"}", "\xff\xfe raw");
}

static void half_surrogates_are_replaced_and_counted(void **state) {
  (void)state;
  surrogates = 0;
  assert_text("{\"text\":\"\\ud800\"}", "\xef\xbf\xbd");
  assert_int_equal(surrogates, 1);
  assert_text("{\"text\":\"\\udc00\\ud800\\u0041\"}",
              "\xef\xbf\xbd\xef\xbf\xbd"
              "A");
  assert_int_equal(surrogates, 3);
  assert_text("{\"text\":\"\\ud800\\ud83d\\ude00\"}", "\xef\xbf\xbd\xf0\x9f\x98\x80");
  assert_int_equal(surrogates, 4);
  assert_text("{\"meta\":\"\\ud800\",\"text\":\"not here\"}", "not here");
  assert_int_equal(surrogates, 4);
}

static void broken_records_are_refused_with_the_place(void **state) {
  (void)state;
  assert_bad("", "byte 1");
  assert_bad("[1]", "byte 1: expected a JSON object, '{', not '['");
  assert_bad("{\"meta\":{\"text\":\"x\"}}", "no \"text\"");
  assert_bad("{\"text\":5}", "not a string");
  assert_bad("{\"text\":\"a\",\"text\":null}", "not a string");
  assert_bad("{\"text\":\"a\"", "byte 12");
  assert_bad("{\"text\":\"a", "byte 11: the line ends inside a string");
  assert_bad("{\"text\":\"a\"} x", "the end of the line");
  assert_bad("{\"text\":\"a\",}", "a string");
  assert_bad("{\"text\":\"a\nb\"}", "0x0a inside a string; control");
  assert_bad("{\"text\":\"\\x\"}", "backslash");
  assert_bad("{\"text\":\"\\u12g4\"}", "hexadecimal");
  assert_bad("{\"text\":\"\\ud800\\u12\"}", "hexadecimal");
  assert_bad("{\"a\":01,\"text\":\"\"}", "',' or '}'");
  assert_bad("{\"a\":1.,\"text\":\"\"}", "a digit");
  assert_bad("{\"a\":tru,\"text\":\"\"}", "a value");
  assert_bad("{\"a\":[1}],\"text\":\"\"}", "',' or ']'");
  assert_bad("{\"a\" 1,\"text\":\"\"}", "':'");
}

static void deep_nesting_ends_at_its_limit(void **state) {
  (void)state;
  char line[3 * RECORD_DEPTH_MAX];
  for (int depth = RECORD_DEPTH_MAX; depth <= RECORD_DEPTH_MAX + 1; depth++) {
    int at = snprintf(line, sizeof line, "{\"a\":");
    memset(line + at, '[', (size_t)depth);
    memset(line + at + depth, ']', (size_t)depth);
    snprintf(line + at + 2 * depth, 16, ",\"text\":\"x\"}");
    if (depth == RECORD_DEPTH_MAX)
      assert_text(line, "x");
    else
      assert_bad(line, "deeper");
  }
}

enum { LINE_BYTES = 1024 };

static void append(char line[LINE_BYTES], const char *piece) {
  size_t used = strlen(line);
  snprintf(line + used, LINE_BYTES - used, "%s", piece);
}

/* Random lines of JSON's own pieces: jansson decides. It is stricter than Python in two ways that
 * are avoided here (no half surrogates, no raw bytes from 0x80). */
static void random_lines_are_taken_and_refused_as_by_jansson(void **state) {
  (void)state;
  static const char *const keys[] = {"\"text\":", "\"te\\u0078t\":", "\"a\" :", "\"texts\":"};
  static const char *const values[] = {"\"\"",
                                       "\"x\\n\\u00e9\\ud83d\\ude00 plain text of some length\"",
                                       "1",
                                       "-2.5e3",
                                       "0",
                                       "true",
                                       "null",
                                       "{\"text\":\"a\"}",
                                       "[{\"b\":[1,{\"text\":\"no\"}]},false ]",
                                       "{}",
                                       "[ ]"};
  static const char *const slips[] = {"{",       "}",   "[",  "]",  ",",  ":",
                                      "\"",      "\\",  "01", ".",  "-",  "\"\\u0001\"",
                                      "\"\\x\"", "tru", "\t", "1e", ",,", "\"a\":"};
  struct prng r = prng_seeded(3, PRNG_TEST);
  int taken = 0, refused = 0;
  for (int i = 0; i < 100000; i++) {
    char line[LINE_BYTES] = "{";
    size_t parts = prng_below(&r, 6);
    for (size_t p = 0; p < parts; p++) {
      append(line, p ? "," : "");
      append(line, keys[prng_below(&r, 4)]);
      append(line, values[prng_below(&r, 11)]);
      if (!prng_below(&r, 12))
        append(line, slips[prng_below(&r, 18)]);
    }
    append(line, prng_below(&r, 20) ? "}" : "");
    json_t *root = json_loads(line, 0, NULL);
    const char *wanted =
        json_is_object(root) ? json_string_value(json_object_get(root, "text")) : NULL;
    char *text = text_of(line, strlen(line));
    if (!wanted != !text)
      fail_msg("%s: jansson %s, we %s", line, wanted ? "takes" : "refuses", text ? text : why.text);
    if (wanted)
      assert_string_equal(text, wanted);
    taken += wanted != NULL;
    refused += !wanted;
    free(text);
    json_decref(root);
  }
  assert_true(taken > 5000 && refused > 5000); /* else the test is no test */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(records_of_every_slice_give_their_text),
      cmocka_unit_test(strings_are_decoded_as_python_decodes_them),
      cmocka_unit_test(half_surrogates_are_replaced_and_counted),
      cmocka_unit_test(broken_records_are_refused_with_the_place),
      cmocka_unit_test(deep_nesting_ends_at_its_limit),
      cmocka_unit_test(random_lines_are_taken_and_refused_as_by_jansson),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
