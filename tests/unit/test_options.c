#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/options.h"

static bool resume;
static int64_t threads;
static double rate;
static const char *out;
static uint64_t cache;
static uint64_t pause_ms;
static struct why why;
static struct option_operands operands;

static const struct option table[] = {
    {"resume", OPTION_FLAG, &resume, NULL, "go on", 0, 0},
    {"threads", OPTION_INT, &threads, "N", "worker threads; 0: one per core", 0, 256},
    {"rate", OPTION_REAL, &rate, "X", "learning rate", 0, 1},
    {"out", OPTION_TEXT, &out, "DIR", "where to", 0, 0},
    {"cache", OPTION_BYTES, &cache, "SIZE", "how much", 0, 0},
    {"pause", OPTION_DURATION_MS, &pause_ms, "TIME", "how long", 1000, 3600000},
    {0},
};
static const struct option_command command = {"caravan-node test", "FILE…", "Test.", table, 0, 3};

static int reset(void **state) {
  (void)state;
  resume = false;
  threads = 2;
  rate = 0.5;
  out = "here";
  cache = 64000000;
  pause_ms = 10000;
  return 0;
}

/* Words separated by spaces. */
static enum status parse(const char *line) {
  static char text[512];
  static char *argv[32];
  int argc = 0;
  snprintf(text, sizeof text, "%s", line);
  argv[argc++] = text;
  for (char *at = text; (at = strchr(at, ' ')) != NULL; argv[argc++] = at)
    *at++ = 0;
  return options_parse(&command, argc, argv, &operands, &why);
}

static void refused(const char *line, const char *words) {
  reset(NULL);
  if (parse(line) != STATUS_USAGE)
    fail_msg("'%s' was taken", line);
  if (!strstr(why.text, words))
    fail_msg("'%s': '%s' does not say '%s'", line, why.text, words);
  assert_true(!resume && threads == 2 && rate == 0.5 && cache == 64000000 && pause_ms == 10000);
  assert_string_equal(out, "here");
}

static void options_takes_every_kind_in_both_forms(void **state) {
  (void)state;
  assert_int_equal(parse("t --resume a --threads 7 --rate=1e-3 b --out=x=y --cache 1.5Gi "
                         "--pause 2m"),
                   STATUS_OK);
  assert_true(resume && threads == 7 && rate == 1e-3);
  assert_true(cache == UINT64_C(1610612736) && pause_ms == 120000);
  assert_string_equal(out, "x=y");
  assert_int_equal(operands.count, 2);
  assert_string_equal(operands.values[0], "a");
  assert_string_equal(operands.values[1], "b");
  assert_int_equal(parse("t --no-resume -- --threads -"), STATUS_OK);
  assert_false(resume);
  assert_int_equal(operands.count, 2);
  assert_string_equal(operands.values[0], "--threads");
}

static void options_reads_units_exactly(void **state) {
  (void)state;
  static const struct {
    const char *line;
    uint64_t bytes;
  } cases[] = {{"t --cache 0", 0},
               {"t --cache 12", 12},
               {"t --cache 3K", 3000},
               {"t --cache 3Ki", 3072},
               {"t --cache 5M", 5000000},
               {"t --cache 2Ti", UINT64_C(2199023255552)},
               {"t --cache 18446744073709551615", UINT64_MAX}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(parse(cases[i].line), STATUS_OK);
    assert_true(cache == cases[i].bytes);
  }
  assert_int_equal(parse("t --pause 1500ms"), STATUS_OK);
  assert_true(pause_ms == 1500);
  assert_int_equal(parse("t --pause 0.5h"), STATUS_OK);
  assert_true(pause_ms == 1800000);
}

static void options_refuses_what_makes_no_sense_and_changes_nothing(void **state) {
  (void)state;
  refused("t --resume --thread 3", "did you mean --threads?");
  refused("t --treads 3", "did you mean --threads?");
  refused("t --zzzzzzzz", "--help");
  refused("t --threads 3 --threads", "needs a value");
  refused("t --out --resume", "needs a value");
  refused("t --threads three", "--threads: 'three' is not a whole number");
  refused("t --threads 3x", "not a whole number");
  refused("t --threads=", "not a whole number");
  refused("t --threads -1", "0 to 256");
  refused("t --threads 257", "0 to 256");
  refused("t --threads 99999999999999999999", "64 bits");
  refused("t --rate nan", "not a number");
  refused("t --rate 0x1p-1", "not a number");
  refused("t --rate 1e999", "too large");
  refused("t --cache 5Q", "not a size");
  refused("t --cache -5", "not a size");
  refused("t --cache 1.2.3M", "not a size");
  refused("t --cache 99999999T", "64 bits");
  refused("t --pause 5", "not a duration");
  refused("t --pause 5ms", "1s to 1h");
  refused("t --resume=yes", "takes no value");
  refused("t --no-threads", "there is no option");
  refused("t -r", "options are long");
  refused("t a b c d", "1 words too many");
}

static void options_asks_for_operands_that_are_missing(void **state) {
  (void)state;
  struct option_command needy = command;
  char name[] = "t";
  char *argv[] = {name, NULL};
  needy.operand_count_min = 1;
  assert_int_equal(options_parse(&needy, 1, argv, &operands, &why), STATUS_USAGE);
  assert_non_null(strstr(why.text, "FILE… is missing"));
}

static void options_help_shows_defaults_and_bounds(void **state) {
  (void)state;
  char *text = NULL;
  size_t bytes = 0;
  FILE *memory = open_memstream(&text, &bytes);
  assert_non_null(memory);
  options_print_help(&command, memory);
  fclose(memory);
  assert_non_null(strstr(text, "usage: caravan-node test [options] FILE…"));
  assert_non_null(
      strstr(text, "  --threads N   worker threads; 0: one per core (default 2; 0 to 256)\n"));
  assert_non_null(strstr(text, "  --cache SIZE  how much (default 64M)\n"));
  assert_non_null(strstr(text, "  --pause TIME  how long (default 10s; 1s to 1h)\n"));
  free(text);
}

/* Such as a count of -1 for "all of them". */
static void options_help_hides_a_default_that_nobody_could_give(void **state) {
  (void)state;
  char *text = NULL;
  size_t bytes = 0;
  FILE *memory = open_memstream(&text, &bytes);
  assert_non_null(memory);
  threads = -1;
  options_print_help(&command, memory);
  fclose(memory);
  assert_non_null(strstr(text, "  --threads N   worker threads; 0: one per core (0 to 256)\n"));
  free(text);
}

static void options_nearest_forgives_a_slip_and_no_more(void **state) {
  (void)state;
  static const char *const names[] = {"tokenize", "detokenize", "train", "sample", NULL};
  assert_string_equal(options_nearest("trian", names), "train");
  assert_string_equal(options_nearest("tokenise", names), "tokenize");
  assert_string_equal(options_nearest("det", names), "detokenize");
  assert_null(options_nearest("xyzzy", names));
  assert_null(options_nearest("", names));
}

static void options_read_value_takes_words_of_a_file(void **state) {
  (void)state;
  assert_int_equal(options_read_value(&table[0], "on", &why), STATUS_OK);
  assert_true(resume);
  assert_int_equal(options_read_value(&table[0], "maybe", &why), STATUS_USAGE);
  assert_string_equal(why.text, "resume: 'maybe' is not true or false");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(options_takes_every_kind_in_both_forms, reset),
      cmocka_unit_test_setup(options_reads_units_exactly, reset),
      cmocka_unit_test_setup(options_refuses_what_makes_no_sense_and_changes_nothing, reset),
      cmocka_unit_test_setup(options_asks_for_operands_that_are_missing, reset),
      cmocka_unit_test_setup(options_help_shows_defaults_and_bounds, reset),
      cmocka_unit_test_setup(options_help_hides_a_default_that_nobody_could_give, reset),
      cmocka_unit_test_setup(options_nearest_forgives_a_slip_and_no_more, reset),
      cmocka_unit_test_setup(options_read_value_takes_words_of_a_file, reset),
  };
  return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
