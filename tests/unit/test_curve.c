#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/train/curve.h"

static void take_step(struct curve *c, uint64_t step, double loss) {
  struct metric m = {.kind = METRIC_STEP, .step = step, .tokens = step * 1000, .loss = loss};
  curve_take(c, &m);
}

static void take_validation(struct curve *c, uint64_t step, const char *slice, double loss) {
  struct metric m = {.kind = METRIC_VALIDATION, .step = step, .tokens = step * 1000, .loss = loss};
  snprintf(m.name, sizeof m.name, "%s", slice);
  curve_take(c, &m);
}

static char *draw(const struct curve *c, const char *title) {
  char *svg;
  size_t bytes;
  struct why why;
  if (curve_draw(c, title, &svg, &bytes, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  assert_int_equal(strlen(svg), bytes);
  return svg;
}

/* Coordinates "x y" of the path that begins at `at`. */
static size_t path_points(const char *at, double *x, double *y, size_t most) {
  size_t count = 0;
  at = strstr(at, "d=\"");
  assert_non_null(at);
  at += 3;
  while (*at != '"' && count < most) {
    char *end;
    x[count] = strtod(at + 1, &end);
    y[count++] = strtod(end, &end);
    at = end;
  }
  return count;
}

static void a_falling_loss_is_a_falling_line_inside_the_frame(void **state) {
  (void)state;
  struct curve *c;
  double x[512], y[512];
  assert_int_equal(curve_open(&c, NULL), STATUS_OK);
  struct metric start = {.kind = METRIC_START};
  memcpy(start.name, "demo", 5);
  memcpy(start.unit, "byte", 5);
  curve_take(c, &start);
  for (uint64_t i = 1; i <= 200; i++)
    take_step(c, i, 6.0 - 0.02 * (double)i);
  take_validation(c, 100, "a<b&c", 4.1);
  take_validation(c, 200, "a<b&c", 2.1);
  char *svg = draw(c, NULL);
  const char *path = strstr(svg, "<path");
  assert_non_null(path);
  size_t count = path_points(path, x, y, 512);
  assert_int_equal(count, 200);
  for (size_t i = 1; i < count; i++) {
    assert_true(x[i] > x[i - 1]);
    assert_true(y[i] > y[i - 1]); /* down the page */
    assert_true(x[i] >= 0 && x[i] <= 760 && y[i] >= 0 && y[i] <= 400);
  }
  assert_non_null(strstr(svg, "nats per byte"));
  assert_non_null(strstr(svg, "trained bytes"));
  assert_non_null(strstr(svg, "a&#60;b&#38;c"));
  assert_non_null(strstr(svg, ">2.100<"));
  assert_non_null(strstr(svg, "prefers-color-scheme: dark"));
  assert_null(strstr(svg, "nan"));
  free(svg);
  svg = draw(c, "another \"title\"");
  assert_non_null(strstr(svg, "another &#34;title&#34;"));
  free(svg);
  curve_close(&c);
}

static void a_long_run_is_averaged_and_not_cut(void **state) {
  (void)state;
  struct curve *c;
  static double x[CURVE_POINT_MAX + 1], y[CURVE_POINT_MAX + 1];
  assert_int_equal(curve_open(&c, NULL), STATUS_OK);
  for (uint64_t i = 1; i <= 100000; i++)
    take_step(c, i, 3 - (double)i / 100000);
  char *svg = draw(c, "long");
  size_t count = path_points(strstr(svg, "<path"), x, y, CURVE_POINT_MAX + 1);
  assert_true(count > CURVE_POINT_MAX / 2 - 1 && count <= CURVE_POINT_MAX);
  assert_true(x[0] < 62 && x[count - 1] > 730);
  free(svg);
  curve_close(&c);
}

static void the_first_fall_does_not_flatten_the_rest(void **state) {
  (void)state;
  struct curve *c;
  static double x[512], y[512];
  assert_int_equal(curve_open(&c, NULL), STATUS_OK);
  take_step(c, 1, 500);
  for (uint64_t i = 2; i <= 300; i++)
    take_step(c, i, 3 - (double)i / 300);
  char *svg = draw(c, "spike");
  size_t count = path_points(strstr(svg, "<path"), x, y, 512);
  assert_int_equal(count, 299);
  assert_true(y[count - 1] - y[0] > 30);
  free(svg);
  curve_close(&c);
}

static void steps_that_repeat_count_the_second_time(void **state) {
  (void)state;
  struct curve *c;
  double x[64] = {0}, y[64] = {0};
  assert_int_equal(curve_open(&c, NULL), STATUS_OK);
  for (uint64_t i = 1; i <= 30; i++)
    take_step(c, i, 3);
  for (uint64_t i = 21; i <= 40; i++)
    take_step(c, i, 2);
  char *svg = draw(c, "again");
  size_t count = path_points(strstr(svg, "<path"), x, y, 64);
  assert_int_equal(count, 40);
  assert_true(y[19] < y[20]);
  for (size_t i = 1; i < count; i++)
    assert_true(x[i] > x[i - 1]);
  free(svg);
  curve_close(&c);
}

static void numbers_that_are_none_are_left_out(void **state) {
  (void)state;
  struct curve *c;
  char *svg;
  size_t bytes;
  struct why why;
  assert_int_equal(curve_open(&c, NULL), STATUS_OK);
  assert_int_equal(curve_draw(c, NULL, &svg, &bytes, &why), STATUS_MISSING);
  take_step(c, 1, NAN);
  take_step(c, 2, INFINITY);
  take_step(c, 3, 1e300);
  assert_int_equal(curve_draw(c, NULL, &svg, &bytes, &why), STATUS_MISSING);
  take_step(c, 4, 0);
  svg = draw(c, "");
  assert_null(strstr(svg, "nan"));
  assert_null(strstr(svg, "inf"));
  free(svg);
  curve_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_falling_loss_is_a_falling_line_inside_the_frame),
      cmocka_unit_test(a_long_run_is_averaged_and_not_cut),
      cmocka_unit_test(the_first_fall_does_not_flatten_the_rest),
      cmocka_unit_test(steps_that_repeat_count_the_second_time),
      cmocka_unit_test(numbers_that_are_none_are_left_out),
  };
  return cmocka_run_group_tests_name("curve", tests, NULL, NULL);
}
