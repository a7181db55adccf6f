#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "proto/base/digest.h"

static void expect_hex(struct digest d, const char *expected) {
  char hex[DIGEST_HEX_BYTES];
  digest_hex(&d, hex);
  assert_string_equal(hex, expected);
}

/* What `b2sum -l 256` prints. */
static void digest_without_a_label_is_what_b2sum_prints(void **state) {
  (void)state;
  static const uint8_t zeros[1000];
  expect_hex(digest_of(DIGEST_PLAIN, "", 0),
             "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  expect_hex(digest_of(DIGEST_PLAIN, "abc", 3),
             "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
  expect_hex(digest_of(DIGEST_PLAIN, zeros, sizeof zeros),
             "919da92d5040aeac86a75eb4125da3d0a9423bae8ae422b733b755f7baa8dadf");
}

/* From Python's hashlib.blake2b(b"abc", digest_size=32, person=…). */
static void digest_of_each_label_is_its_personalisation(void **state) {
  (void)state;
  expect_hex(digest_of(DIGEST_LEAF, "abc", 3),
             "2c9678c50dec17d5c7d7e13319527117ce3206d6234aae1321d3d9f2fd8c1f63");
  expect_hex(digest_of(DIGEST_NODE, "abc", 3),
             "72a4439fc32263bfb34941f9f17675d18722de8189bec5661efee30df31c7af0");
  expect_hex(digest_of(DIGEST_RUN, "abc", 3),
             "0ff69ee736ff9b6a1e288151c10129c024bcf8c7fc798de941e5ff37dd38c4d0");
}

static void digest_in_pieces_is_the_digest_of_the_whole(void **state) {
  (void)state;
  uint8_t bytes[1000];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (uint8_t)(i * 7);
  struct digest whole = digest_of(DIGEST_LEAF, bytes, sizeof bytes);
  for (size_t cut = 0; cut <= sizeof bytes; cut += 125) {
    struct digester in;
    digester_init(&in, DIGEST_LEAF);
    digester_add(&in, bytes, cut);
    struct digester fork = in;
    digester_add(&in, bytes + cut, sizeof bytes - cut);
    struct digest d = digester_end(&in);
    assert_true(digest_equal(&d, &whole));
    struct digest part = digester_end(&fork);
    assert_true(digest_equal(&part, &whole) == (cut == sizeof bytes));
  }
}

static void digest_from_hex_takes_64_digits_and_nothing_else(void **state) {
  (void)state;
  char hex[DIGEST_HEX_BYTES];
  struct digest d = digest_of(DIGEST_PLAIN, "x", 1);
  struct digest back;
  struct digest before;
  memset(&back, 7, sizeof back);
  before = back;
  digest_hex(&d, hex);
  hex[63] = 'g';
  assert_int_equal(digest_from_hex(hex, &back), STATUS_BAD);
  hex[63] = 0;
  assert_int_equal(digest_from_hex(hex, &back), STATUS_BAD);
  assert_int_equal(digest_from_hex("", &back), STATUS_BAD);
  assert_true(digest_equal(&back, &before));
  digest_hex(&d, hex);
  assert_int_equal(digest_from_hex(hex, &back), STATUS_OK);
  assert_true(digest_equal(&back, &d));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(digest_without_a_label_is_what_b2sum_prints),
      cmocka_unit_test(digest_of_each_label_is_its_personalisation),
      cmocka_unit_test(digest_in_pieces_is_the_digest_of_the_whole),
      cmocka_unit_test(digest_from_hex_takes_64_digits_and_nothing_else),
  };
  return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
