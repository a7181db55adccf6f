#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "proto/base/printable.h"
#include "proto/base/status.h"

static void status_has_a_name_a_text_and_an_exit_code_for_every_value(void **state) {
  (void)state;
  for (int s = 0; s < STATUS_COUNT; s++) {
    assert_true(strlen(status_name((enum status)s)) > 0);
    assert_true(strlen(status_text((enum status)s)) > 0);
    assert_true((status_exit_code((enum status)s) == 0) == (s == STATUS_OK));
    assert_in_range(status_exit_code((enum status)s), 0, 130);
  }
  assert_string_equal(status_name(STATUS_MISSING), "MISSING");
  assert_int_equal(status_exit_code(STATUS_USAGE), 64);
  assert_int_equal(status_exit_code(STATUS_STOPPED), 130);
}

static void why_say_writes_the_reason_and_gives_the_status_back(void **state) {
  (void)state;
  struct why why;
  assert_int_equal(why_say(&why, STATUS_BAD, "line %d: %s", 7, "wrong"), STATUS_BAD);
  assert_string_equal(why.text, "line 7: wrong");
  assert_int_equal(why_say(NULL, STATUS_FULL, "nobody reads %s", "this"), STATUS_FULL);
}

static void why_say_cuts_a_long_reason_without_half_a_character(void **state) {
  (void)state;
  struct why why;
  char text[2 * WHY_BYTES_MAX + 2];
  text[0] = 'x';
  for (size_t i = 1; i + 1 < sizeof text; i += 2)
    memcpy(text + i, "é", 2);
  text[sizeof text - 1] = 0;
  assert_int_equal(why_say(&why, STATUS_BAD, "%s", text), STATUS_BAD);
  assert_int_equal(strlen(why.text), WHY_BYTES_MAX - 1);
  /* 766 bytes after the x are whole characters, so nothing is left over here … */
  assert_memory_equal(why.text + 1, text + 1, WHY_BYTES_MAX - 2);
  /* … and one is when there is no x: it must not survive as half a character. */
  assert_int_equal(why_say(&why, STATUS_BAD, "%s", text + 1), STATUS_BAD);
  assert_int_equal(why.text[WHY_BYTES_MAX - 2], '?');
}

static void why_say_lets_no_terminal_escape_through(void **state) {
  (void)state;
  struct why why;
  assert_int_equal(why_say(&why, STATUS_BAD, "%s", "a\x1b[31m\n\x7f\xc2\x9b\xff€"), STATUS_BAD);
  assert_string_equal(why.text, "a?[31m?????€");
}

static void why_prefix_puts_words_before_the_reason(void **state) {
  (void)state;
  struct why why;
  assert_int_equal(why_say(&why, STATUS_BAD, "unknown key"), STATUS_BAD);
  assert_int_equal(why_prefix(&why, STATUS_BAD, "%s: ", "run.yaml"), STATUS_BAD);
  assert_string_equal(why.text, "run.yaml: unknown key");
  char text[2 * WHY_BYTES_MAX];
  memset(text, 'p', sizeof text - 1);
  text[sizeof text - 1] = 0;
  assert_int_equal(why_prefix(&why, STATUS_BAD, "%s", text), STATUS_BAD);
  assert_int_equal(strlen(why.text), WHY_BYTES_MAX - 1);
}

static void why_errno_translates_what_the_system_said(void **state) {
  (void)state;
  struct why why;
  assert_int_equal(why_errno(&why, ENOSPC, "cannot write", "/a/b"), STATUS_DISK);
  assert_string_equal(why.text, "cannot write '/a/b': No space left on device");
  assert_int_equal(why_errno(&why, EROFS, "x", "y"), STATUS_DISK);
  assert_int_equal(why_errno(&why, ENOENT, "x", "y"), STATUS_MISSING);
  assert_int_equal(why_errno(&why, ENOTDIR, "x", "y"), STATUS_MISSING);
  assert_int_equal(why_errno(&why, EEXIST, "x", "y"), STATUS_EXISTS);
  assert_int_equal(why_errno(&why, ENOMEM, "x", "y"), STATUS_NOMEM);
  assert_int_equal(why_errno(&why, EACCES, "x", "y"), STATUS_REFUSED);
  assert_int_equal(why_errno(&why, ELOOP, "x", "y"), STATUS_SYSTEM);
}

static enum status outer(enum status inner, int *reached) {
  TRY(inner);
  *reached = 1;
  return STATUS_OK;
}

static void try_returns_early_only_on_failure(void **state) {
  (void)state;
  int reached = 0;
  assert_int_equal(outer(STATUS_GONE, &reached), STATUS_GONE);
  assert_int_equal(reached, 0);
  assert_int_equal(outer(STATUS_OK, &reached), STATUS_OK);
  assert_int_equal(reached, 1);
}

static void printable_takes_exactly_the_well_formed_visible_characters(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t length;
  } cases[] = {
      {"a", 1},
      {" ", 1},
      {"~", 1},
      {"", 0},
      {"\n", 0},
      {"\x7f", 0},
      {"\x80", 0},
      {"\xc1\x81", 0}, /* overlong */
      {"\xc2\x9f", 0}, /* C1 */
      {"\xc2\xa0", 2}, /* the first after C1 */
      {"\xe0\x9f\xbf", 0},
      {"\xe0\xa0\x80", 3}, /* overlong, and the first that is not */
      {"\xed\x9f\xbf", 3},
      {"\xed\xa0\x80", 0}, /* the last before the surrogates, a surrogate */
      {"\xee\x80\x80", 3}, /* the first after them */
      {"\xf0\x8f\xbf\xbf", 0},
      {"\xf0\x90\x80\x80", 4}, /* overlong, and the first that is not */
      {"\xf4\x8f\xbf\xbf", 4},
      {"\xf4\x90\x80\x80", 0}, /* U+10FFFF, and past it */
      {"\xf5\x80\x80\x80", 0},
      {"\xe2\x82", 0}, /* no such lead; cut */
      {"\xe2\x82z", 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    if (printable_length(cases[i].text) != cases[i].length)
      fail_msg("case %zu: %zu instead of %zu", i, printable_length(cases[i].text), cases[i].length);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(status_has_a_name_a_text_and_an_exit_code_for_every_value),
      cmocka_unit_test(why_say_writes_the_reason_and_gives_the_status_back),
      cmocka_unit_test(why_say_cuts_a_long_reason_without_half_a_character),
      cmocka_unit_test(why_say_lets_no_terminal_escape_through),
      cmocka_unit_test(why_prefix_puts_words_before_the_reason),
      cmocka_unit_test(why_errno_translates_what_the_system_said),
      cmocka_unit_test(try_returns_early_only_on_failure),
      cmocka_unit_test(printable_takes_exactly_the_well_formed_visible_characters),
  };
  return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
