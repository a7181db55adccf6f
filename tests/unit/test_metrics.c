#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/train/metrics.h"
#include "proto/base/io_file.h"

static char folder[64];
static char path[96];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/test_metrics.XXXXXX");
  if (!mkdtemp(folder))
    return -1;
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  return io_folder_remove(folder, NULL) == STATUS_OK ? 0 : -1;
}

static struct metric step_metric(uint64_t step) {
  return (struct metric){.kind = METRIC_STEP,
                         .step = step,
                         .tokens = step * 100,
                         .loss = 1.0 / (double)(step + 2),
                         .grad_norm = 0.1,
                         .lr = 1e-3,
                         .rate = 12.5};
}

static void a_line_reads_back_as_it_was(void **state) {
  (void)state;
  char line[METRICS_LINE_BYTES_MAX];
  struct metric back;
  struct metric m = step_metric(7);
  m.loss = 0.1 + 0.2;
  size_t bytes = metric_encode(&m, line);
  assert_int_equal(line[bytes - 1], '\n');
  assert_int_equal(metric_parse(line, bytes - 1, &back), STATUS_OK);
  assert_true(back.kind == METRIC_STEP && back.step == 7 && back.tokens == 700);
  assert_true(back.loss == m.loss && back.lr == m.lr && back.rate == m.rate);
  m.loss = NAN;
  bytes = metric_encode(&m, line);
  assert_non_null(strstr(line, "\"loss\":null"));
  assert_int_equal(metric_parse(line, bytes - 1, &back), STATUS_OK);
  assert_true(isnan(back.loss));
}

static void every_name_fits_into_a_line_however_it_is_escaped(void **state) {
  (void)state;
  char line[METRICS_LINE_BYTES_MAX];
  struct metric back;
  struct metric m = {.kind = METRIC_START, .step = UINT64_MAX / 4, .tokens = UINT64_MAX / 4};
  memset(m.name, 1, sizeof m.name - 1);
  memset(m.unit, '"', sizeof m.unit - 1);
  memset(m.engine, '\\', sizeof m.engine - 1);
  memset(m.recompute, 'x', sizeof m.recompute - 1);
  memset(m.run, 'f', sizeof m.run - 1);
  size_t bytes = metric_encode(&m, line);
  assert_int_equal(metric_parse(line, bytes - 1, &back), STATUS_OK);
  assert_string_equal(back.name, m.name);
  assert_string_equal(back.engine, m.engine);
}

static void what_is_not_ours_is_refused(void **state) {
  (void)state;
  static const char *const lines[] = {
      "",
      "{",
      "[]",
      "{\"kind\":\"step\"}",
      "{\"kind\":\"other\",\"step\":1,\"tokens\":1}",
      "{\"kind\":\"step\",\"step\":-1,\"tokens\":1,\"loss\":1,\"grad_norm\":1,\"lr\":1,\"rate\":1}",
      "{\"kind\":\"step\",\"step\":1,\"tokens\":1,\"loss\":\"x\",\"grad_norm\":1,\"lr\":1}"};
  struct metric m;
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
    assert_int_equal(metric_parse(lines[i], strlen(lines[i]), &m), STATUS_BAD);
}

static void write_steps(uint64_t resume_step, uint64_t first, uint64_t last,
                        struct metrics_seen *seen) {
  struct metrics *m;
  struct why why;
  if (metrics_open(path, resume_step, &m, seen, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  for (uint64_t i = first; i <= last; i++) {
    struct metric metric = step_metric(i);
    assert_int_equal(metrics_add(m, &metric, NULL), STATUS_OK);
    struct metric look = {.kind = METRIC_VALIDATION, .step = i, .tokens = i * 100, .samples = 4};
    memcpy(look.name, "books", 6);
    if (i % 2 == 0)
      assert_int_equal(metrics_add(m, &look, NULL), STATUS_OK);
  }
  assert_int_equal(metrics_close(&m, NULL), STATUS_OK);
}

struct counted {
  uint64_t steps[64];
  size_t count;
};

static void count_step(void *context, const struct metric *m) {
  struct counted *c = context;
  if (m->kind == METRIC_STEP)
    c->steps[c->count++] = m->step;
}

static void lines_after_the_resumed_step_are_cut(void **state) {
  (void)state;
  struct metrics_seen seen;
  struct counted c = {.count = 0};
  uint64_t bad;
  write_steps(0, 1, 9, &seen);
  write_steps(5, 6, 8, &seen);
  assert_int_equal(seen.validation_step, 4);
  assert_true(seen.cut_bytes > 0);
  assert_int_equal(metrics_read(path, count_step, &c, &bad, NULL), STATUS_OK);
  assert_int_equal(bad, 0);
  assert_int_equal(c.count, 8);
  for (size_t i = 0; i < c.count; i++)
    assert_int_equal(c.steps[i], i + 1);
  write_steps(0, 1, 2, &seen);
  c.count = 0;
  assert_int_equal(metrics_read(path, count_step, &c, &bad, NULL), STATUS_OK);
  assert_int_equal(c.count, 2);
}

static void a_torn_last_line_is_cut_and_a_spoilt_one_is_counted(void **state) {
  (void)state;
  struct metrics_seen seen;
  struct counted c = {.count = 0};
  uint64_t bad;
  write_steps(0, 1, 3, &seen);
  FILE *f = fopen(path, "ab");
  assert_non_null(f);
  fputs("spoilt\n{\"kind\":\"step\",\"st", f);
  fclose(f);
  write_steps(3, 4, 4, &seen);
  assert_int_equal(seen.bad_lines, 1);
  assert_int_equal(seen.cut_bytes, strlen("{\"kind\":\"step\",\"st"));
  assert_int_equal(metrics_read(path, count_step, &c, &bad, NULL), STATUS_OK);
  assert_int_equal(bad, 1);
  assert_int_equal(c.count, 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_line_reads_back_as_it_was),
      cmocka_unit_test(every_name_fits_into_a_line_however_it_is_escaped),
      cmocka_unit_test(what_is_not_ours_is_refused),
      cmocka_unit_test_setup_teardown(lines_after_the_resumed_step_are_cut, make_folder,
                                      remove_folder),
      cmocka_unit_test_setup_teardown(a_torn_last_line_is_cut_and_a_spoilt_one_is_counted,
                                      make_folder, remove_folder),
  };
  return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
