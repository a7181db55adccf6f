/* What `caravan-node presets` prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/command.h"
#include "node/model/arch.h"

enum { PRINTED = 16384 };

/* Run the command with standard output and error in a file; what it printed, and its exit code. */
static int run(int argc, char **argv, char printed[PRINTED]) {
  FILE *file = tmpfile();
  assert_non_null(file);
  fflush(NULL);
  int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
  assert_true(dup2(fileno(file), STDOUT_FILENO) >= 0);
  assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
  int code = command_presets(argc, argv);
  fflush(NULL);
  assert_true(dup2(out, STDOUT_FILENO) >= 0);
  assert_true(dup2(err, STDERR_FILENO) >= 0);
  close(out);
  close(err);
  rewind(file);
  size_t bytes = fread(printed, 1, PRINTED - 1, file);
  printed[bytes] = 0;
  fclose(file);
  return code;
}

static void assert_says(const char *printed, const char *words) {
  if (!strstr(printed, words))
    fail_msg("'%s' is not in\n%s", words, printed);
}

static void every_preset_has_a_row(void **state) {
  (void)state;
  static char printed[PRINTED];
  char *argv[] = {"presets", NULL};
  assert_int_equal(run(1, argv, printed), 0);
  for (size_t i = 0; arch_preset_name(i); i++) {
    char row[64];
    snprintf(row, sizeof row, "\n%s ", arch_preset_name(i));
    assert_says(printed, row);
  }
  assert_says(printed, "70.4 M");
  assert_says(printed, "6.86 B");
}

static void one_preset_is_told_whole(void **state) {
  (void)state;
  static char printed[PRINTED];
  char *argv[] = {"presets", "redpajama-incite-7b", NULL};
  assert_int_equal(run(2, argv, printed), 0);
  assert_says(printed, "6857302016");
  assert_says(printed, "sequential residual");
  assert_says(printed, "32 of 128 channels, 128 of them rotated");
  assert_says(printed, "layer");
  assert_says(printed, "gradients 27.4 GB");
}

static void an_unknown_name_ends_with_the_list(void **state) {
  (void)state;
  static char printed[PRINTED];
  char *argv[] = {"presets", "gpt-5", NULL};
  assert_int_equal(run(2, argv, printed), 66);
  assert_says(printed, "no preset 'gpt-5'");
  assert_says(printed, "pythia-70m");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_preset_has_a_row),
      cmocka_unit_test(one_preset_is_told_whole),
      cmocka_unit_test(an_unknown_name_ends_with_the_list),
  };
  return cmocka_run_group_tests_name("presets", tests, NULL, NULL);
}
