#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/io_file.h"
#include "proto/base/io_system.h"
#include "proto/base/limits.h"

static char folder[] = "/tmp/caravan-io-XXXXXX";
static struct why why;

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}
static int remove_folder(void **state) {
  (void)state;
  return io_folder_remove(folder, &why) == STATUS_OK ? 0 : -1;
}

/* The path of a name in the scratch folder; four can be in use at once. */
static const char *in_folder(const char *name) {
  static char paths[4][PATH_BYTES_MAX];
  static int next;
  char *path = paths[next++ % 4];
  assert_int_equal(io_path_join(folder, name, path, &why), STATUS_OK);
  return path;
}

static void expect_text(const char *path, const char *text) {
  struct io_bytes got;
  assert_int_equal(io_file_read(path, 1000, &got, &why), STATUS_OK);
  assert_string_equal((const char *)got.at, text);
  assert_int_equal(got.count, strlen(text));
  io_bytes_free(&got);
  assert_null(got.at);
}

static void file_comes_back_as_it_was_written(void **state) {
  (void)state;
  const char *path = in_folder("a");
  assert_int_equal(io_file_write(path, "first", 5, &why), STATUS_OK);
  expect_text(path, "first");
  assert_int_equal(io_file_write(path, "2nd", 3, &why), STATUS_OK);
  expect_text(path, "2nd");
  assert_int_equal(io_file_write(path, "", 0, &why), STATUS_OK);
  expect_text(path, "");
}

static void file_larger_than_allowed_is_refused_with_both_sizes(void **state) {
  (void)state;
  struct io_bytes got = {NULL, 99};
  const char *path = in_folder("big");
  assert_int_equal(io_file_write(path, "0123456789", 10, &why), STATUS_OK);
  assert_int_equal(io_file_read(path, 9, &got, &why), STATUS_RANGE);
  assert_non_null(strstr(why.text, "has 10 bytes; at most 9"));
  assert_int_equal(got.count, 99);
  assert_int_equal(io_file_read(path, 10, &got, &why), STATUS_OK);
  io_bytes_free(&got);
  /* No size is known of this one, so it is read until it is too much. */
  assert_int_equal(io_file_read("/dev/zero", 100000, &got, &why), STATUS_RANGE);
}

static void file_that_is_not_there_or_a_folder_is_said_so(void **state) {
  (void)state;
  struct io_bytes got;
  struct io_map map;
  assert_int_equal(io_file_read(in_folder("none"), 9, &got, &why), STATUS_MISSING);
  assert_non_null(strstr(why.text, "/none'"));
  assert_int_equal(io_file_read(folder, 9, &got, &why), STATUS_BAD);
  assert_int_equal(io_map_open(folder, &map, &why), STATUS_BAD);
  assert_int_equal(io_map_open(in_folder("none"), &map, &why), STATUS_MISSING);
  assert_int_equal(io_file_write(in_folder("none/x"), "x", 1, &why), STATUS_MISSING);
}

static void map_shows_the_file_and_an_empty_one_as_nothing(void **state) {
  (void)state;
  struct io_map map;
  const char *path = in_folder("mapped");
  assert_int_equal(io_file_write(path, "abc", 3, &why), STATUS_OK);
  assert_int_equal(io_map_open(path, &map, &why), STATUS_OK);
  assert_int_equal(map.count, 3);
  assert_memory_equal(map.at, "abc", 3);
  io_map_close(&map);
  assert_int_equal(io_truncate(path, 0, &why), STATUS_OK);
  assert_int_equal(io_map_open(path, &map, &why), STATUS_OK);
  assert_int_equal(map.count, 0);
  io_map_close(&map);
}

static void writer_continues_a_file_and_counts_it(void **state) {
  (void)state;
  struct io_writer *w = NULL;
  const char *path = in_folder("written");
  assert_int_equal(io_writer_open(path, false, &w, &why), STATUS_OK);
  assert_int_equal(io_writer_add(w, "one ", 4, &why), STATUS_OK);
  assert_int_equal(io_writer_bytes(w), 4);
  assert_int_equal(io_writer_close(&w, &why), STATUS_OK);
  assert_null(w);
  assert_int_equal(io_writer_open(path, true, &w, &why), STATUS_OK);
  assert_int_equal(io_writer_bytes(w), 4);
  assert_int_equal(io_writer_add(w, "two", 3, &why), STATUS_OK);
  assert_int_equal(io_writer_sync(w, &why), STATUS_OK);
  expect_text(path, "one two");
  io_writer_abandon(&w);
  assert_null(w);
}

static void writer_keeps_the_order_of_small_and_large_pieces(void **state) {
  (void)state;
  enum { PIECE_BYTES = 300000 };
  struct io_writer *w = NULL;
  struct io_map map;
  const char *path = in_folder("pieces");
  char *piece = malloc(PIECE_BYTES);
  assert_non_null(piece);
  assert_int_equal(io_writer_open(path, false, &w, &why), STATUS_OK);
  for (int i = 0; i < 4; i++) {
    memset(piece, 'a' + i, PIECE_BYTES);
    assert_int_equal(io_writer_add(w, piece, i % 2 ? PIECE_BYTES : 100, &why), STATUS_OK);
  }
  assert_int_equal(io_writer_close(&w, &why), STATUS_OK);
  free(piece);
  assert_int_equal(io_map_open(path, &map, &why), STATUS_OK);
  assert_int_equal(map.count, 2 * (PIECE_BYTES + 100));
  assert_int_equal(map.at[99], 'a');
  assert_int_equal(map.at[100], 'b');
  assert_int_equal(map.at[100 + PIECE_BYTES], 'c');
  assert_int_equal(map.at[200 + PIECE_BYTES], 'd');
  io_map_close(&map);
}

static int count_names(void) {
  char command[PATH_BYTES_MAX];
  int count = 0;
  snprintf(command, sizeof command, "%s.partial-%ld", in_folder("limited"), (long)getpid());
  count += io_exists(command);
  return count;
}

/* A limit on file sizes fails a write half-way, as a full disk does, without needing root. */
static void failed_write_leaves_the_old_file_and_nothing_beside_it(void **state) {
  (void)state;
  static char large[100000];
  struct rlimit before;
  const char *path = in_folder("limited");
  assert_int_equal(io_file_write(path, "old", 3, &why), STATUS_OK);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit tight = {50000, before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  enum status s = io_file_write(path, large, sizeof large, &why);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(s, STATUS_DISK);
  expect_text(path, "old");
  assert_int_equal(count_names(), 0);
}

static void writer_on_a_full_disk_says_so_and_keeps_saying_it(void **state) {
  (void)state;
  struct io_writer *w = NULL;
  if (!io_exists("/dev/full")) {
    print_message("SKIP: there is no /dev/full\n");
    skip();
  }
  assert_int_equal(io_writer_open("/dev/full", false, &w, &why), STATUS_OK);
  assert_int_equal(io_writer_add(w, "x", 1, &why), STATUS_OK); /* buffered */
  assert_int_equal(io_writer_sync(w, &why), STATUS_DISK);
  assert_string_equal(why.text, "cannot write '/dev/full': No space left on device");
  assert_int_equal(io_writer_add(w, "y", 1, &why), STATUS_DISK);
  assert_int_equal(io_writer_close(&w, &why), STATUS_DISK);
  assert_null(w);
}

static void folder_is_made_with_its_parents_and_removed_with_its_contents(void **state) {
  (void)state;
  assert_int_equal(io_folder_make(in_folder("p/q//r/"), &why), STATUS_OK);
  assert_int_equal(io_folder_make(in_folder("p/q/r"), &why), STATUS_OK);
  assert_true(io_is_folder(in_folder("p/q/r")));
  assert_int_equal(io_file_write(in_folder("kept"), "k", 1, &why), STATUS_OK);
  assert_int_equal(io_file_write(in_folder("p/q/f"), "f", 1, &why), STATUS_OK);
  assert_int_equal(symlink("../../kept", in_folder("p/q/link")), 0);
  assert_int_equal(symlink("..", in_folder("p/q/up")), 0);
  assert_int_equal(io_folder_make(in_folder("p/q/f"), &why), STATUS_EXISTS);
  assert_int_equal(io_folder_make(in_folder("p/q/f/g"), &why), STATUS_EXISTS);
  assert_int_equal(io_folder_remove(in_folder("kept"), &why), STATUS_REFUSED);
  assert_int_equal(io_folder_remove(in_folder("p"), &why), STATUS_OK);
  assert_false(io_exists(in_folder("p")));
  expect_text(in_folder("kept"), "k");
  assert_int_equal(io_folder_remove(in_folder("p"), &why), STATUS_OK);
}

static void names_sizes_and_paths(void **state) {
  (void)state;
  uint64_t bytes = 0;
  char path[PATH_BYTES_MAX];
  static char long_name[PATH_BYTES_MAX];
  memset(long_name, 'n', sizeof long_name - 1);
  assert_int_equal(io_file_write(in_folder("from"), "1234", 4, &why), STATUS_OK);
  assert_int_equal(io_rename(in_folder("from"), in_folder("to"), &why), STATUS_OK);
  assert_false(io_exists(in_folder("from")));
  assert_int_equal(io_rename(in_folder("from"), in_folder("to"), &why), STATUS_MISSING);
  assert_int_equal(io_file_bytes(in_folder("to"), &bytes, &why), STATUS_OK);
  assert_int_equal(bytes, 4);
  assert_int_equal(io_disk_free(folder, &bytes, &why), STATUS_OK);
  assert_int_equal(io_path_join("a/", "b", path, &why), STATUS_OK);
  assert_string_equal(path, "a/b");
  assert_int_equal(io_path_join("a", long_name, path, &why), STATUS_RANGE);
  assert_string_equal(path, "a/b");
  assert_int_equal(io_file_write(long_name, "x", 1, &why), STATUS_RANGE);
}

static void numbers_for_people(void **state) {
  (void)state;
  char out[32];
  assert_string_equal(io_human_bytes(0, out), "0 B");
  assert_string_equal(io_human_bytes(1.5e9, out), "1.5 GB");
  assert_string_equal(io_human_bytes(312e3, out), "312 kB");
  assert_string_equal(io_human_bytes(999999, out), "1.0 MB");
  assert_string_equal(io_human_count(1234567, out), "1.23 M");
  assert_string_equal(io_human_count(42, out), "42");
  assert_string_equal(io_human_seconds(38.2, out), "38 s");
  assert_string_equal(io_human_seconds(59.6, out), "1 min 00 s");
  assert_string_equal(io_human_seconds(7500, out), "2 h 05 min");
  assert_string_equal(io_human_seconds(-1, out), "unknown");
}

static void the_machine_has_cores_memory_and_a_clock_that_goes_on(void **state) {
  (void)state;
  uint64_t before = io_now_ns();
  assert_in_range(io_core_count(), 1, 100000);
  assert_true(io_memory_bytes() > 1 << 20);
  assert_true(io_memory_free_bytes() <= io_memory_bytes());
  assert_true(io_memory_peak_bytes() > 1 << 16);
  assert_true(io_now_ns() > before);
  assert_true(io_wall_ms() > UINT64_C(1577836800000)); /* 2020 */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(file_comes_back_as_it_was_written),
      cmocka_unit_test(file_larger_than_allowed_is_refused_with_both_sizes),
      cmocka_unit_test(file_that_is_not_there_or_a_folder_is_said_so),
      cmocka_unit_test(map_shows_the_file_and_an_empty_one_as_nothing),
      cmocka_unit_test(writer_continues_a_file_and_counts_it),
      cmocka_unit_test(writer_keeps_the_order_of_small_and_large_pieces),
      cmocka_unit_test(failed_write_leaves_the_old_file_and_nothing_beside_it),
      cmocka_unit_test(writer_on_a_full_disk_says_so_and_keeps_saying_it),
      cmocka_unit_test(folder_is_made_with_its_parents_and_removed_with_its_contents),
      cmocka_unit_test(names_sizes_and_paths),
      cmocka_unit_test(numbers_for_people),
      cmocka_unit_test(the_machine_has_cores_memory_and_a_clock_that_goes_on),
  };
  return cmocka_run_group_tests_name("io_file", tests, make_folder, remove_folder);
}
