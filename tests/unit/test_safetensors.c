#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/checkpoint/safetensors.h"
#include "proto/base/bytes.h"

enum { FILE_BYTES_MAX = 4096 };

/* A file of this JSON, padded as the format wants, and data_bytes of values. */
static size_t make_file(const char *json, size_t data_bytes, uint8_t out[FILE_BYTES_MAX]) {
  size_t length = strlen(json);
  size_t padded = (length + 7) / 8 * 8;
  bytes_put_u64(out, padded);
  memset(out + 8, ' ', padded);
  memcpy(out + 8, json, length);
  memset(out + 8 + padded, 0, data_bytes);
  return 8 + padded + data_bytes;
}

static enum status parse(const char *json, size_t data_bytes, struct safetensors *out,
                         struct why *why) {
  uint8_t file[FILE_BYTES_MAX];
  size_t count = make_file(json, data_bytes, file);
  return safetensors_parse("m", file, count, count, out, why);
}

static void refuse(const char *json, size_t data_bytes, enum status expected, const char *words) {
  struct safetensors st = {0};
  struct why why = {""};
  enum status s = parse(json, data_bytes, &st, &why);
  if (s != expected || !strstr(why.text, words))
    fail_msg("%s\n gave %s \"%s\"; expected %s with \"%s\"", json, status_name(s), why.text,
             status_name(expected), words);
  assert_null(st.entries); /* unchanged */
}

static void tensors_are_found_by_name(void **state) {
  (void)state;
  struct safetensors st;
  struct why why;
  assert_int_equal(parse("{\"__metadata__\":{\"a\":\"b\"},"
                         "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[6,30]},"
                         "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]},"
                         "\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[30,31]}}",
                         31, &st, &why),
                   STATUS_OK);
  assert_int_equal(st.count, 3);
  const struct safetensors_entry *w = safetensors_find(&st, "w");
  assert_non_null(w);
  assert_int_equal(w->type, SAFETENSORS_F32);
  assert_int_equal(w->rank, 2);
  assert_int_equal(w->shape[0], 2);
  assert_int_equal(w->shape[1], 3);
  assert_int_equal(w->count, 6);
  assert_int_equal(w->begin, 6);
  assert_int_equal(safetensors_find(&st, "s")->count, 1);
  assert_null(safetensors_find(&st, "v"));
  assert_null(safetensors_find(&st, "__metadata__"));
  safetensors_free(&st);
}

static void an_empty_model_is_one(void **state) {
  (void)state;
  struct safetensors st;
  struct why why;
  assert_int_equal(parse("{}", 0, &st, &why), STATUS_OK);
  assert_int_equal(st.count, 0);
  assert_null(safetensors_find(&st, "w"));
  safetensors_free(&st);
}

#define W(type, shape, offsets) \
  "{\"w\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void headers_that_contradict_themselves_are_refused(void **state) {
  (void)state;
  refuse(W("F32", "[2]", "[0,4]"), 4, STATUS_BAD, "'w' needs 8 bytes; its offsets give it 4");
  refuse(W("F32", "[2]", "[0,12]"), 12, STATUS_BAD, "'w' needs 8 bytes; its offsets give it 12");
  refuse(W("F32", "[2]", "[8,0]"), 8, STATUS_BAD, "'w': \"data_offsets\"");
  refuse(W("F32", "[2]", "[0]"), 8, STATUS_BAD, "'w': \"data_offsets\"");
  refuse(W("F32", "[2]", "[0,8,8]"), 8, STATUS_BAD, "'w': \"data_offsets\"");
  refuse(W("F32", "[2]", "[-8,0]"), 8, STATUS_BAD, "'w': \"data_offsets\"");
  refuse(W("F32", "[2]", "[0.0,8.0]"), 8, STATUS_BAD, "'w': \"data_offsets\"");
  refuse(W("F32", "[-2]", "[0,8]"), 8, STATUS_BAD, "'w': dimension 0");
  refuse(W("F32", "[2.0]", "[0,8]"), 8, STATUS_BAD, "'w': dimension 0");
  refuse(W("F32", "2", "[0,8]"), 8, STATUS_BAD, "'w' has no \"shape\"");
  refuse(W("F32", "[4294967296,4294967296]", "[0,8]"), 8, STATUS_RANGE, "'w' has more values");
  refuse(W("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, STATUS_RANGE, "'w' has 9 dimensions");
  refuse(W("F31", "[2]", "[0,8]"), 8, STATUS_UNSUPPORTED, "'w' has dtype 'F31'");
  refuse("{\"w\":3}", 0, STATUS_BAD, "'w' is no object");
  refuse("{\"w\":{}}", 0, STATUS_BAD, "'w' has no \"dtype\"");
  refuse("[1]", 0, STATUS_BAD, "does not begin with '{'");
  refuse("{\"w\":", 0, STATUS_BAD, "header, byte");
  refuse("{} {}", 0, STATUS_BAD, "header, byte");
}

static void the_same_name_twice_is_refused(void **state) {
  (void)state;
  refuse(
      "{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
      "\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
      2, STATUS_BAD, "uplicate");
}

static void long_names_are_refused(void **state) {
  (void)state;
  char json[512], name[NAME_BYTES_MAX + 1];
  memset(name, 'n', NAME_BYTES_MAX);
  name[NAME_BYTES_MAX] = 0;
  snprintf(json, sizeof json, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
           name);
  refuse(json, 1, STATUS_RANGE, "the name 'nnn");
}

#define TWO(begin2, end2)                                           \
  "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}," \
  "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" begin2 "," end2 "]}}"

static void overlaps_holes_and_leftovers_are_refused(void **state) {
  (void)state;
  struct safetensors st;
  struct why why;
  assert_int_equal(parse(TWO("4", "8"), 8, &st, &why), STATUS_OK);
  safetensors_free(&st);
  refuse(TWO("3", "7"), 7, STATUS_BAD, "'b' begins at 3; 4 was expected: tensors overlap");
  refuse(TWO("0", "4"), 4, STATUS_BAD, "overlap");
  refuse(TWO("5", "9"), 9, STATUS_BAD, "'b' begins at 5; 4 was expected: tensors leave a hole");
  refuse(TWO("4", "8"), 9, STATUS_BAD, "1 bytes after its last tensor");
  refuse("{}", 1, STATUS_BAD, "1 bytes after its last tensor");
}

static void a_torn_file_is_refused_with_the_first_torn_tensor(void **state) {
  (void)state;
  refuse(TWO("4", "8"), 7, STATUS_SHORT, "'b'");
  refuse(TWO("4", "8"), 4, STATUS_SHORT, "'b'");
  refuse(TWO("4", "8"), 3, STATUS_SHORT, "'a'");
  refuse(TWO("4", "8"), 0, STATUS_SHORT, "'a'");
}

static void every_shorter_file_is_refused(void **state) {
  (void)state;
  uint8_t file[FILE_BYTES_MAX];
  size_t count = make_file(TWO("4", "8"), 8, file);
  for (size_t cut = 0; cut < count; cut++) {
    struct safetensors st = {0};
    struct why why;
    uint8_t *exact = malloc(cut ? cut : 1); /* so that a read past it is seen */
    assert_non_null(exact);
    memcpy(exact, file, cut);
    assert_int_equal(safetensors_parse("m", exact, cut, cut, &st, &why), STATUS_SHORT);
    free(exact);
  }
}

static void a_huge_header_is_refused_before_it_is_read(void **state) {
  (void)state;
  uint8_t file[16] = {0};
  struct safetensors st;
  struct why why;
  bytes_put_u64(file, UINT64_MAX);
  assert_int_equal(safetensors_parse("m", file, 16, 16, &st, &why), STATUS_RANGE);
  bytes_put_u64(file, SAFETENSORS_HEADER_BYTES_MAX);
  assert_int_equal(safetensors_parse("m", file, 16, UINT64_MAX, &st, &why), STATUS_SHORT);
}

static void halves_become_the_same_floats(void **state) {
  (void)state;
  static const struct {
    uint16_t bits;
    float value;
  } f16[] = {{0x0000, 0},        {0x3c00, 1},        {0xc000, -2},           {0x3555, 0x1.554p-2f},
             {0x7bff, 65504},    {0x0400, 0x1p-14f}, {0x03ff, 0x1.ff8p-15f}, {0x0001, 0x1p-24f},
             {0x8001, -0x1p-24f}},
    bf16[] = {{0x3f80, 1}, {0xc000, -2}, {0x4049, 3.140625f}, {0x0001, 0x1p-133f}};
  for (size_t i = 0; i < sizeof f16 / sizeof f16[0]; i++) {
    uint8_t bytes[4];
    float out;
    bytes_put_u16(bytes + 2, f16[i].bits);
    safetensors_to_f32(SAFETENSORS_F16, bytes, 1, 1, &out);
    if (out != f16[i].value)
      fail_msg("f16 %04x gave %a; expected %a", f16[i].bits, (double)out, (double)f16[i].value);
  }
  for (size_t i = 0; i < sizeof bf16 / sizeof bf16[0]; i++) {
    uint8_t bytes[2];
    float out;
    bytes_put_u16(bytes, bf16[i].bits);
    safetensors_to_f32(SAFETENSORS_BF16, bytes, 0, 1, &out);
    assert_true(out == bf16[i].value);
  }
  uint8_t minus_zero[2];
  float out;
  bytes_put_u16(minus_zero, 0x8000);
  safetensors_to_f32(SAFETENSORS_F16, minus_zero, 0, 1, &out);
  uint32_t bits;
  memcpy(&bits, &out, sizeof bits);
  assert_int_equal(bits, 0x80000000u);
  bytes_put_u16(minus_zero, 0x7c00);
  safetensors_to_f32(SAFETENSORS_F16, minus_zero, 0, 1, &out);
  assert_true(out > 3e38f);
}

static void what_is_written_is_read(void **state) {
  (void)state;
  struct safetensors_entry entries[2] = {{.name = "z \"quoted\"", .rank = 2, .shape = {3, 5}},
                                         {.name = "a", .rank = 1, .shape = {7}}};
  struct io_bytes header;
  struct safetensors st;
  struct why why;
  assert_int_equal(safetensors_encode(entries, 2, &header, &why), STATUS_OK);
  assert_int_equal(header.count % 8, 0);
  uint64_t whole = header.count + (15 + 7) * 4;
  assert_int_equal(safetensors_parse("m", header.at, header.count, whole, &st, &why), STATUS_OK);
  assert_int_equal(st.data_begin, header.count);
  const struct safetensors_entry *z = safetensors_find(&st, "z \"quoted\"");
  assert_int_equal(z->begin, 0);
  assert_int_equal(z->end, 60);
  assert_int_equal(z->shape[1], 5);
  assert_int_equal(safetensors_find(&st, "a")->begin, 60);
  safetensors_free(&st);
  io_bytes_free(&header);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tensors_are_found_by_name),
      cmocka_unit_test(an_empty_model_is_one),
      cmocka_unit_test(headers_that_contradict_themselves_are_refused),
      cmocka_unit_test(the_same_name_twice_is_refused),
      cmocka_unit_test(long_names_are_refused),
      cmocka_unit_test(overlaps_holes_and_leftovers_are_refused),
      cmocka_unit_test(a_torn_file_is_refused_with_the_first_torn_tensor),
      cmocka_unit_test(every_shorter_file_is_refused),
      cmocka_unit_test(a_huge_header_is_refused_before_it_is_read),
      cmocka_unit_test(halves_become_the_same_floats),
      cmocka_unit_test(what_is_written_is_read),
  };
  return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
