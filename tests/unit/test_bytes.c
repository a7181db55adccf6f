#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "proto/base/bytes.h"

static void bytes_are_little_endian(void **state) {
  (void)state;
  uint8_t at[8];
  bytes_put_u16(at, 0x0201);
  assert_memory_equal(at, "\x01\x02", 2);
  bytes_put_u32(at, 0x84030201);
  assert_memory_equal(at, "\x01\x02\x03\x84", 4);
  bytes_put_u64(at, UINT64_C(0xf807060504030201));
  assert_memory_equal(at, "\x01\x02\x03\x04\x05\x06\x07\xf8", 8);
  bytes_put_f32(at, 1.0f);
  assert_memory_equal(at, "\x00\x00\x80\x3f", 4);
}

static void bytes_come_back_as_they_were_put(void **state) {
  (void)state;
  static const uint64_t values[] = {
      0, 1, 0x80, 0xffff, 0x80000000, UINT64_C(0xfedcba9876543210), UINT64_MAX};
  uint8_t at[9];
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    bytes_put_u16(at + 1, (uint16_t)values[i]);
    assert_int_equal(bytes_get_u16(at + 1), (uint16_t)values[i]);
    bytes_put_u32(at + 1, (uint32_t)values[i]);
    assert_int_equal(bytes_get_u32(at + 1), (uint32_t)values[i]);
    bytes_put_u64(at + 1, values[i]);
    assert_true(bytes_get_u64(at + 1) == values[i]);
  }
}

static void floats_keep_their_bits_even_when_they_are_no_numbers(void **state) {
  (void)state;
  static const uint32_t patterns[] = {0, 0x80000000, 1, 0x7f800000, 0xff800000, 0x7fc12345};
  uint8_t at[4];
  for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
    bytes_put_u32(at, patterns[i]);
    bytes_put_f32(at, bytes_get_f32(at));
    assert_int_equal(bytes_get_u32(at), patterns[i]);
  }
}

static void reader_walks_through_a_buffer(void **state) {
  (void)state;
  static const uint8_t buffer[] = {7, 1, 2, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 'a', 'b'};
  struct bytes_reader in = bytes_reader(buffer, sizeof buffer);
  assert_int_equal(bytes_read_u8(&in), 7);
  assert_int_equal(bytes_read_u16(&in), 0x0201);
  assert_int_equal(bytes_read_u32(&in), 0x04030201);
  assert_true(bytes_read_u64(&in) == UINT64_C(0x0807060504030201));
  assert_int_equal(bytes_left(&in), 2);
  const uint8_t *text = bytes_read(&in, 2);
  assert_ptr_equal(text, buffer + sizeof buffer - 2);
  assert_true(bytes_reader_ok(&in));
  assert_int_equal(bytes_left(&in), 0);
}

static void reader_asked_for_too_much_stays_failed_and_gives_zeros(void **state) {
  (void)state;
  static const uint8_t buffer[] = {1, 2, 3};
  struct bytes_reader in = bytes_reader(buffer, sizeof buffer);
  assert_int_equal(bytes_read_u32(&in), 0);
  assert_false(bytes_reader_ok(&in));
  assert_int_equal(bytes_read_u8(&in), 0); /* although a byte is there */
  assert_null(bytes_read(&in, 0));
  in = bytes_reader(buffer, sizeof buffer);
  assert_null(bytes_read(&in, SIZE_MAX));
  assert_false(bytes_reader_ok(&in));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_are_little_endian),
      cmocka_unit_test(bytes_come_back_as_they_were_put),
      cmocka_unit_test(floats_keep_their_bits_even_when_they_are_no_numbers),
      cmocka_unit_test(reader_walks_through_a_buffer),
      cmocka_unit_test(reader_asked_for_too_much_stays_failed_and_gives_zeros),
  };
  return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
