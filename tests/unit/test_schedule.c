/* The learning rate at the corners of its curve, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/model/schedule.h"

static const struct schedule plain = {
    .lr = 1e-3, .lr_min = 1e-4, .warmup_tokens = 1000, .tokens_total = 101000};

static void assert_lr(const struct schedule *s, uint64_t tokens, double expected) {
  double got = schedule_lr(s, tokens);
  if (!(fabs(got - expected) <= 1e-15))
    fail_msg("at %llu tokens the rate is %.17g, not %.17g", (unsigned long long)tokens, got,
             expected);
}

static void warmup_is_a_straight_line_from_zero(void **state) {
  (void)state;
  assert_lr(&plain, 0, 0);
  assert_lr(&plain, 1, 1e-6);
  assert_lr(&plain, 250, 0.25e-3);
  assert_lr(&plain, 1000, 1e-3);
}

static void the_cosine_falls_to_its_floor_and_stays(void **state) {
  (void)state;
  assert_lr(&plain, 51000, 0.55e-3); /* half way: the mean of peak and floor */
  assert_lr(&plain, 26000, 1e-4 + 9e-4 * 0.5 * (1 + sqrt(0.5)));
  assert_lr(&plain, 101000, 1e-4);
  assert_lr(&plain, UINT64_MAX, 1e-4);
  for (uint64_t tokens = 1000; tokens < 101000; tokens += 500)
    assert_true(schedule_lr(&plain, tokens + 500) < schedule_lr(&plain, tokens));
}

static void without_warmup_it_starts_at_the_peak(void **state) {
  (void)state;
  struct schedule s = plain;
  s.warmup_tokens = 0;
  assert_lr(&s, 0, 1e-3);
}

static void a_trillion_tokens_lose_no_precision(void **state) {
  (void)state;
  struct schedule s = {1.2e-4, 1.2e-5, 10000000000, 1000000000000};
  assert_lr(&s, 5000000000, 0.6e-4);
  assert_lr(&s, 505000000000, 0.66e-4);
  assert_true(schedule_lr(&s, 505000000000) > schedule_lr(&s, 505004194304));
}

static void assert_refused(struct schedule s, const char *word) {
  struct why why;
  assert_int_equal(schedule_check(&s, &why), STATUS_RANGE);
  if (!strstr(why.text, word))
    fail_msg("'%s' does not say '%s'", why.text, word);
}

static void impossible_schedules_are_refused_by_name(void **state) {
  (void)state;
  struct why why;
  assert_int_equal(schedule_check(&plain, &why), STATUS_OK);
  assert_refused((struct schedule){0, 0, 0, 10}, "lr is 0");
  assert_refused((struct schedule){NAN, 0, 0, 10}, "lr is nan");
  assert_refused((struct schedule){-1e-3, 0, 0, 10}, "lr is -0.001");
  assert_refused((struct schedule){1e-3, 2e-3, 0, 10}, "lr_min is 0.002");
  assert_refused((struct schedule){1e-3, -1, 0, 10}, "lr_min is -1");
  assert_refused((struct schedule){1e-3, 0, 10, 10}, "warmup is 10 tokens");
  assert_refused((struct schedule){1e-3, 0, 0, 0}, "total are 0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(warmup_is_a_straight_line_from_zero),
      cmocka_unit_test(the_cosine_falls_to_its_floor_and_stays),
      cmocka_unit_test(without_warmup_it_starts_at_the_peak),
      cmocka_unit_test(a_trillion_tokens_lose_no_precision),
      cmocka_unit_test(impossible_schedules_are_refused_by_name),
  };
  return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
