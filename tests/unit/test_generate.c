#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/model/generate.h"

enum { COUNT = 5, DRAWS = 20000 };

static const float logits[COUNT] = {1.0f, 3.0f, 2.0f, -1.0f, 3.0f};

static uint32_t choose(const struct generate_options *o, struct prng *r) {
  struct generate_candidate room[COUNT];
  struct why why;
  uint32_t out = 99;
  assert_int_equal(generate_choose(o, r, logits, COUNT, room, &out, &why), STATUS_OK);
  assert_in_range(out, 0, COUNT - 1);
  return out;
}

static void draw_many(const struct generate_options *o, uint64_t seed, int seen[COUNT]) {
  struct prng r = prng_seeded(seed, PRNG_SAMPLE);
  memset(seen, 0, COUNT * sizeof *seen);
  for (int i = 0; i < DRAWS; i++)
    seen[choose(o, &r)]++;
}

static void greedy_takes_the_largest_and_of_two_the_first(void **state) {
  (void)state;
  const struct generate_options o = {.greedy = true};
  assert_int_equal(choose(&o, NULL), 1);
}

static void tokens_come_as_often_as_their_probability(void **state) {
  (void)state;
  static const double temperatures[] = {0.5, 1, 3};
  for (int t = 0; t < 3; t++) {
    const struct generate_options o = {.temperature = temperatures[t], .top_p = 1};
    double p[COUNT], total = 0;
    int seen[COUNT];
    for (int i = 0; i < COUNT; i++)
      total += p[i] = exp((double)logits[i] / temperatures[t]);
    draw_many(&o, 7, seen);
    for (int i = 0; i < COUNT; i++) {
      double expected = DRAWS * p[i] / total;
      /* five standard deviations of a binomial count */
      if (fabs(seen[i] - expected) > 5 * sqrt(expected * (1 - p[i] / total)) + 1)
        fail_msg("temperature %g: token %d came %d times, not %.0f", temperatures[t], i, seen[i],
                 expected);
    }
  }
}

static void top_p_leaves_the_fewest_that_reach_it(void **state) {
  (void)state;
  int seen[COUNT];
  /* probabilities 0.054 0.397 0.146 0.007 0.397: two make 0.79, three 0.94 */
  draw_many(&(struct generate_options){.temperature = 1, .top_p = 0.75}, 3, seen);
  assert_true(seen[1] > 0 && seen[4] > 0);
  assert_int_equal(seen[0] + seen[2] + seen[3], 0);
  draw_many(&(struct generate_options){.temperature = 1, .top_p = 0.85}, 3, seen);
  assert_true(seen[1] > 0 && seen[4] > 0 && seen[2] > 0);
  assert_int_equal(seen[0] + seen[3], 0);
  draw_many(&(struct generate_options){.temperature = 1, .top_p = 1e-9}, 3, seen);
  assert_int_equal(seen[1], DRAWS);
}

static void what_top_p_leaves_keeps_its_proportions(void **state) {
  (void)state;
  int seen[COUNT];
  draw_many(&(struct generate_options){.temperature = 1, .top_p = 0.9}, 3, seen);
  double ratio = (double)seen[2] / (seen[1] + seen[4]);
  assert_true(fabs(ratio - exp(2) / (2 * exp(3))) < 0.02);
}

static void the_same_seed_writes_the_same_text(void **state) {
  (void)state;
  const struct generate_options o = {.temperature = 1, .top_p = 0.99};
  struct prng a = prng_seeded(5, PRNG_SAMPLE), b = prng_seeded(5, PRNG_SAMPLE),
              c = prng_seeded(6, PRNG_SAMPLE);
  int other = 0;
  for (int i = 0; i < 200; i++) {
    uint32_t token = choose(&o, &a);
    assert_int_equal(token, choose(&o, &b));
    other += token != choose(&o, &c);
  }
  assert_true(other > 50);
}

static void options_and_logits_that_are_no_use_are_refused(void **state) {
  (void)state;
  static const struct generate_options bad[] = {
      {.temperature = 0, .top_p = 1},   {.temperature = -1, .top_p = 1},
      {.temperature = NAN, .top_p = 1}, {.temperature = 1, .top_p = 0},
      {.temperature = 1, .top_p = 1.5}, {.temperature = 1, .top_p = NAN}};
  struct generate_candidate room[COUNT];
  struct why why;
  uint32_t out;
  struct prng r = prng_seeded(1, PRNG_SAMPLE);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(generate_choose(&bad[i], &r, logits, COUNT, room, &out, &why), STATUS_RANGE);
  const float infinite[2] = {0, INFINITY};
  assert_int_equal(generate_choose(&(struct generate_options){.greedy = true}, &r, infinite, 2,
                                   room, &out, &why),
                   STATUS_RANGE);
  assert_non_null(strstr(why.text, "token 1"));
}

static void large_logits_do_not_overflow(void **state) {
  (void)state;
  const float large[2] = {3e38f, -3e38f};
  struct generate_candidate room[2];
  struct why why;
  uint32_t out;
  struct prng r = prng_seeded(1, PRNG_SAMPLE);
  for (int i = 0; i < 100; i++) {
    assert_int_equal(generate_choose(&(struct generate_options){.temperature = 1, .top_p = 1}, &r,
                                     large, 2, room, &out, &why),
                     STATUS_OK);
    assert_int_equal(out, 0);
  }
}

static void a_character_waits_until_it_is_whole(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t showable;
  } known[] = {{"", 0},
               {"abc", 3},
               {"a\xc3", 1},
               {"a\xc3\xb6", 3},
               {"\xe2", 0},
               {"\xe2\x82", 0},
               {"\xe2\x82\xac", 3},
               {"x\xf0\x9f\x98", 1},
               {"x\xf0\x9f\x98\x80", 5},
               {"\xff", 1},              /* begins nothing */
               {"a\x80\x80\x80\x80", 5}, /* continues nothing */
               {"\xc3\xc3", 1},          /* the first will never be whole */
               {"\xe2\x82\xac\xe2\x82", 3}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    assert_int_equal(generate_showable(known[i].bytes, strlen(known[i].bytes)), known[i].showable);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(greedy_takes_the_largest_and_of_two_the_first),
      cmocka_unit_test(tokens_come_as_often_as_their_probability),
      cmocka_unit_test(top_p_leaves_the_fewest_that_reach_it),
      cmocka_unit_test(what_top_p_leaves_keeps_its_proportions),
      cmocka_unit_test(the_same_seed_writes_the_same_text),
      cmocka_unit_test(options_and_logits_that_are_no_use_are_refused),
      cmocka_unit_test(large_logits_do_not_overflow),
      cmocka_unit_test(a_character_waits_until_it_is_whole),
  };
  return cmocka_run_group_tests_name("generate", tests, NULL, NULL);
}
