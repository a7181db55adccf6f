#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "proto/base/prng.h"

/* The published first outputs for seed 1234567 (SplitMix64) and for the state {1, 2, 3, 4}
 * (xoshiro256**, as in the test vectors of the Rust crate rand_xoshiro). */
static void prng_gives_the_published_numbers(void **state) {
  (void)state;
  const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
  assert_true(prng_mix(1234567 + golden) == UINT64_C(6457827717110365317));
  assert_true(prng_mix(1234567 + 2 * golden) == UINT64_C(3203168211198807973));
  struct prng r = {{1, 2, 3, 4}};
  static const uint64_t expected[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
  for (int i = 0; i < 4; i++)
    assert_true(prng_u64(&r) == expected[i]);
}

/* Frozen: these numbers choose samples and initialise models. */
static void prng_seeding_never_changes(void **state) {
  (void)state;
  struct prng r = prng_seeded(42, PRNG_INIT);
  assert_true(prng_u64(&r) == UINT64_C(0x27edb3a4c4e6f4d));
  assert_true(prng_u64(&r) == UINT64_C(0xc684b8240da3448e));
  assert_true(prng_u64(&r) == UINT64_C(0x69b1eb485e17d726));
  struct prng other = prng_seeded(42, PRNG_SHUFFLE);
  assert_true(prng_u64(&other) != UINT64_C(0x27edb3a4c4e6f4d));
}

static void prng_below_is_uniform_and_below(void **state) {
  (void)state;
  struct prng r = prng_seeded(1, PRNG_TEST);
  int counts[7] = {0};
  for (int i = 0; i < 70000; i++) {
    uint64_t value = prng_below(&r, 7);
    assert_true(value < 7);
    counts[value]++;
  }
  for (int i = 0; i < 7; i++)
    assert_in_range(counts[i], 9500, 10500); /* 5 standard deviations */
  assert_true(prng_below(&r, 1) == 0);
}

static void prng_unit_and_normal_have_the_right_moments(void **state) {
  (void)state;
  struct prng r = prng_seeded(2, PRNG_TEST);
  double sum = 0, square = 0, unit = 0;
  for (int i = 0; i < 100000; i++) {
    double z = prng_normal(&r);
    double u = prng_unit(&r);
    assert_true(isfinite(z) && u >= 0 && u < 1);
    sum += z;
    square += z * z;
    unit += u;
  }
  assert_true(fabs(sum / 100000) < 0.016);
  assert_true(fabs(square / 100000 - 1) < 0.023);
  assert_true(fabs(unit / 100000 - 0.5) < 0.005);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(prng_gives_the_published_numbers),
      cmocka_unit_test(prng_seeding_never_changes),
      cmocka_unit_test(prng_below_is_uniform_and_below),
      cmocka_unit_test(prng_unit_and_normal_have_the_right_moments),
  };
  return cmocka_run_group_tests_name("prng", tests, NULL, NULL);
}
