#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/io_file.h"
#include "proto/base/log.h"

static char path[] = "/tmp/caravan-log-XXXXXX";
static struct why why;
static struct io_bytes text;

static int open_log(void **state) {
  (void)state;
  memcpy(path + sizeof path - 7, "XXXXXX", 6);
  int fd = mkstemp(path);
  if (fd < 0)
    return -1;
  close(fd);
  log_level_set(LOG_INFO);
  return log_open(path, &why) == STATUS_OK ? 0 : -1;
}

static int remove_log(void **state) {
  (void)state;
  log_close();
  io_bytes_free(&text);
  return unlink(path);
}

static char *read_log(void) {
  assert_int_equal(io_file_read(path, 1 << 24, &text, &why), STATUS_OK);
  return (char *)text.at;
}

static void log_writes_time_level_module_event_and_values(void **state) {
  (void)state;
  log_info("train", "step", "step=%d loss=%.4f", 12, 5.4321);
  const char *line = read_log();
  const char *form = "0000-00-00T00:00:00.000Z ";
  for (size_t i = 0; form[i]; i++)
    assert_true(form[i] == '0' ? line[i] >= '0' && line[i] <= '9' : line[i] == form[i]);
  assert_string_equal(line + strlen(form), "INFO train step step=12 loss=5.4321\n");
}

static void log_leaves_out_what_is_below_its_level(void **state) {
  (void)state;
  log_debug("m", "quiet", "%d", 1);
  log_level_set(LOG_ERROR);
  log_warn("m", "quiet", "%d", 2);
  log_error("m", "loud", "%d", 3);
  const char *line = read_log();
  assert_null(strstr(line, "quiet"));
  assert_non_null(strstr(line, "ERROR m loud 3\n"));
}

static void log_escapes_what_a_terminal_could_obey(void **state) {
  (void)state;
  log_info("m", "e", "name=%s", "a\x1b[2J\nINFO forged\xc2\x9b\xff é");
  const char *line = read_log();
  assert_non_null(strstr(line, "name=a\\x1b[2J\\x0aINFO forged\\xc2\\x9b\\xff é\n"));
  assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void log_cuts_a_line_that_is_too_long(void **state) {
  (void)state;
  char values[2 * LOG_LINE_BYTES_MAX];
  memset(values, '\x1b', sizeof values - 1);
  values[sizeof values - 1] = 0;
  log_info("m", "e", "%s", values);
  const char *line = read_log();
  assert_in_range(strlen(line), LOG_LINE_BYTES_MAX - 8, LOG_LINE_BYTES_MAX);
  assert_int_equal(line[strlen(line) - 1], '\n');
}

static void log_that_cannot_be_opened_leaves_the_old_one(void **state) {
  (void)state;
  assert_int_equal(log_open("/nowhere/at/all", &why), STATUS_MISSING);
  log_info("m", "still", "%s", "here");
  assert_non_null(strstr(read_log(), "still here"));
}

static void *write_lines(void *name) {
  for (int i = 0; i < 500; i++)
    log_info("thread", name, "%s", "0123456789012345678901234567890123456789");
  return NULL;
}

static void log_keeps_lines_of_several_threads_whole(void **state) {
  (void)state;
  pthread_t threads[4];
  char name[] = "line";
  int whole = 0;
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, write_lines, name), 0);
  for (int i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  for (char *at = read_log(); *at; at = strchr(at, '\n') + 1, whole++)
    assert_memory_equal(at + 24, " INFO thread line 0123456789012345678901234567890123456789\n",
                        59);
  assert_int_equal(whole, 2000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(log_writes_time_level_module_event_and_values, open_log,
                                      remove_log),
      cmocka_unit_test_setup_teardown(log_leaves_out_what_is_below_its_level, open_log, remove_log),
      cmocka_unit_test_setup_teardown(log_escapes_what_a_terminal_could_obey, open_log, remove_log),
      cmocka_unit_test_setup_teardown(log_cuts_a_line_that_is_too_long, open_log, remove_log),
      cmocka_unit_test_setup_teardown(log_that_cannot_be_opened_leaves_the_old_one, open_log,
                                      remove_log),
      cmocka_unit_test_setup_teardown(log_keeps_lines_of_several_threads_whole, open_log,
                                      remove_log),
  };
  return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
