/* The mixture against walking, brute force over token sets, and frozen values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/data/mixture.h"
#include "proto/base/prng.h"

static struct why why;

static struct mixture_slice slice(const char *name, uint64_t tokens, uint64_t weight,
                                  uint64_t holdout) {
  struct mixture_slice s = {.token_count = tokens, .weight = weight, .holdout_count = holdout};
  strncpy(s.name, name, sizeof s.name - 1);
  return s;
}

static struct mixture mix(uint64_t seed, uint64_t T, const struct mixture_slice *slices, size_t n) {
  static struct mixture m;
  if (mixture_init(&m, seed, T, slices, n, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  return m;
}

static uint64_t gap(uint64_t a, uint64_t b) {
  return a > b ? a - b : b - a;
}

/* Walks `steps` samples from 0, checking counts against the closed form and the bound of 1.68. */
static void walk(const struct mixture *m, uint64_t steps) {
  uint64_t walked[SLICE_COUNT_MAX] = {0};
  uint64_t counted[SLICE_COUNT_MAX];
  for (uint64_t i = 0; i < steps; i++) {
    struct mixture_place p = mixture_sample(m, i);
    assert_true(p.slice < m->slice_count);
    assert_int_equal(p.epoch, walked[p.slice] / m->train_count[p.slice]);
    assert_true(p.index < m->train_count[p.slice]);
    walked[p.slice]++;
    mixture_counts(m, i + 1, counted);
    for (size_t s = 0; s < m->slice_count; s++) {
      assert_int_equal(counted[s], walked[s]);
      uint64_t off = gap(counted[s] * m->weight_sum, (i + 1) * m->slices[s].weight);
      if (off * 100 > 168 * m->weight_sum)
        fail_msg("slice %zu off by %llu/%llu after %llu", s, (unsigned long long)off,
                 (unsigned long long)m->weight_sum, (unsigned long long)i + 1);
    }
  }
}

static void counts_stay_near_the_weights_and_agree_with_walking(void **state) {
  (void)state;
  static const uint64_t weights[][8] = {
      {1},          {1, 1},           {1, 1000},         {670, 150, 45, 45, 25, 45, 20},
      {1, 1, 1, 1}, {0, 7, 0, 11, 3}, {999, 1, 1, 1, 1}, {1, 1, 2, 3, 5, 8, 13, 21}};
  for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) {
    struct mixture_slice slices[8];
    for (size_t s = 0; s < 8; s++)
      slices[s] = slice("s", 100 + 10 * s, weights[w][s], 0);
    struct mixture m = mix(w, 10, slices, 8);
    walk(&m, 3000);
  }
}

static void counts_stay_near_the_weights_for_64_slices(void **state) {
  (void)state;
  struct mixture_slice slices[SLICE_COUNT_MAX];
  struct prng r = prng_seeded(1, PRNG_TEST);
  for (int round = 0; round < 4; round++) {
    for (size_t s = 0; s < SLICE_COUNT_MAX; s++)
      slices[s] =
          slice("s", 1000, round == 0 ? 1 + 5000 * !s : 1 + prng_below(&r, 1u << 5 * round), 0);
    struct mixture m = mix(7, 10, slices, SLICE_COUNT_MAX);
    walk(&m, 1500);
  }
}

static void a_whole_period_has_exactly_the_weights(void **state) {
  (void)state;
  struct mixture_slice slices[] = {slice("a", 1000, 67, 0), slice("b", 1000, 15, 0),
                                   slice("c", 1000, 18, 0)};
  struct mixture m = mix(3, 10, slices, 3);
  uint64_t counts[3];
  mixture_counts(&m, UINT64_C(100) << 43, counts);
  assert_int_equal(counts[0], UINT64_C(67) << 43);
  assert_int_equal(counts[1], UINT64_C(15) << 43);
  assert_int_equal(counts[2], UINT64_C(18) << 43);
}

static void check_epochs(uint64_t seed, uint64_t samples) {
  struct mixture_slice one = slice("only", samples * 3 + 1, 1, 0);
  struct mixture m = mix(seed, 3, &one, 1);
  assert_int_equal(m.train_count[0], samples);
  uint8_t *seen = calloc(samples, 1);
  for (uint64_t i = 0; i < 2 * samples; i++) {
    struct mixture_place p = mixture_sample(&m, i);
    assert_int_equal(p.epoch, i / samples);
    assert_int_equal(p.token_begin, p.index * 3);
    assert_int_equal(seen[p.index], p.epoch); /* once each epoch, all of the epoch before */
    seen[p.index]++;
  }
  free(seen);
}

static void every_epoch_draws_each_sample_once(void **state) {
  (void)state;
  static const uint64_t sizes[] = {1021, 1024, 1025, 4093, 4096, 4097, 65536, 65537, 100003};
  for (uint64_t n = 1; n <= 300; n++)
    check_epochs(n, n);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    check_epochs(99, sizes[i]);
}

static void epochs_slices_and_seeds_are_permuted_apart(void **state) {
  (void)state;
  struct mixture_slice two[] = {slice("a", 10001, 1, 0), slice("b", 10001, 1, 0)};
  struct mixture m = mix(5, 10, two, 2);
  struct mixture other = mix(6, 10, two, 2);
  int by_epoch = 0, by_slice = 0, by_seed = 0, in_place = 0;
  for (uint64_t i = 0; i < 1000; i++) {
    struct mixture_place a = mixture_sample(&m, 2 * i);
    struct mixture_place b = mixture_sample(&m, 2 * i + 1);
    struct mixture_place later = mixture_sample(&m, 2 * i + 2000);
    assert_int_equal(a.slice + b.slice, 1);
    assert_int_equal(a.slice, later.slice);
    by_epoch += a.index == later.index;
    by_slice += a.index == b.index;
    by_seed += a.index == mixture_sample(&other, 2 * i).index;
    in_place += a.index == i;
  }
  /* One of a thousand by chance, each. */
  assert_true(by_epoch < 8 && by_slice < 8 && by_seed < 8 && in_place < 8);
}

/* Marks all tokens of training and held-out samples and looks for one that is in both. */
static void check_disjoint(uint64_t tokens, uint64_t T, uint64_t holdout) {
  struct mixture_slice one = slice("only", tokens, 1, holdout);
  struct mixture m = mix(11, T, &one, 1);
  uint8_t *mark = calloc(tokens, 1);
  uint8_t *drawn = calloc(m.train_count[0], 1);
  for (uint64_t i = 0; i < m.train_count[0]; i++) {
    struct mixture_place p = mixture_sample(&m, i);
    assert_true(p.token_begin + T + 1 <= tokens);
    memset(mark + p.token_begin, 1, T + 1);
    assert_int_equal(drawn[p.index]++, 0);
  }
  uint64_t last = 0;
  for (uint64_t j = 0; j < holdout; j++) {
    uint64_t begin = mixture_holdout(&m, 0, j);
    assert_true(begin + T + 1 <= tokens);
    assert_true(!j || begin >= last + T); /* no input is held out twice */
    for (uint64_t t = begin; t < begin + T + 1; t++)
      assert_int_not_equal(mark[t], 1);
    memset(mark + begin, 2, T + 1);
    last = begin;
  }
  uint64_t unused = 0;
  for (uint64_t t = 0; t < tokens; t++)
    unused += mark[t] == 0;
  if (m.train_count[0] > holdout / MIXTURE_BLOCK_SAMPLES + 1)
    assert_true(unused < T); /* what is left could not hold one more */
  free(mark);
  free(drawn);
}

static void held_out_samples_share_no_token_with_training(void **state) {
  (void)state;
  static const uint64_t holdouts[] = {0, 1, 2, 3, 4, 5, 8, 9, 63, 64, 65, 400, 1023, 1025, 1500};
  static const uint64_t lengths[] = {1, 2, 3, 7, 16};
  for (size_t h = 0; h < sizeof holdouts / sizeof *holdouts; h++)
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
      for (uint64_t extra = 0; extra <= lengths[l] + 1; extra++) {
        uint64_t T = lengths[l];
        check_disjoint(holdouts[h] * T + 2 * holdouts[h] + 1 + 3 * T + extra, T, holdouts[h]);
        check_disjoint(holdouts[h] * T + 4000 * T + extra, T, holdouts[h]);
      }
}

static void held_out_samples_are_spread_over_the_slice(void **state) {
  (void)state;
  struct mixture_slice one = slice("only", 1000000, 1, 100);
  struct mixture m = mix(1, 10, &one, 1);
  for (uint64_t j = 0; j < 100; j++) {
    uint64_t at = mixture_holdout(&m, 0, j);
    assert_true(gap(at, (j / 4 + 1) * 1000000 / 26) < 2000);
  }
}

static void huge_runs_do_not_overflow(void **state) {
  (void)state;
  struct mixture_slice slices[] = {slice("a", TOKENS_TOTAL_MAX, TOKENS_TOTAL_MAX - 3, 10000),
                                   slice("b", 5000, 1, 0), slice("c", TOKENS_TOTAL_MAX, 2, 0)};
  struct mixture m = mix(42, 2048, slices, 3);
  struct prng r = prng_seeded(2, PRNG_TEST);
  uint64_t before[3], after[3];
  for (int i = 0; i < 20000; i++) {
    uint64_t n = prng_u64(&r) >> (4 + i % 30);
    struct mixture_place p = mixture_sample(&m, n);
    assert_true(p.token_begin + 2049 <= m.slices[p.slice].token_count);
    mixture_counts(&m, n, before);
    mixture_counts(&m, n + 1, after);
    assert_int_equal(before[0] + before[1] + before[2], n);
    for (uint32_t s = 0; s < 3; s++)
      assert_int_equal(after[s] - before[s], s == p.slice);
    assert_int_equal(p.epoch, before[p.slice] / m.train_count[p.slice]);
  }
  assert_true(mixture_holdout(&m, 0, 9999) + 2049 < TOKENS_TOTAL_MAX);
}

/* Frozen: a run's data must be the same on every machine and in every later version. */
static void golden_places(void **state) {
  (void)state;
  static const struct {
    uint64_t i;
    uint32_t slice;
    uint64_t epoch, index, token_begin;
  } golden[] = {
      {UINT64_C(0), 0, 0, 20664341, UINT64_C(42320570368)},
      {UINT64_C(1), 5, 0, 2, UINT64_C(4096)},
      {UINT64_C(2), 0, 0, 133081195, UINT64_C(272550328330)},
      {UINT64_C(3), 0, 0, 309611527, UINT64_C(634084505624)},
      {UINT64_C(7), 2, 0, 17032670, UINT64_C(34882990100)},
      {UINT64_C(12), 0, 0, 355628091, UINT64_C(728326445084)},
      {UINT64_C(20), 4, 0, 55, UINT64_C(112640)},
      {UINT64_C(100), 0, 0, 191049122, UINT64_C(391268659214)},
      {UINT64_C(1000), 4, 0, 74, UINT64_C(153602)},
      {UINT64_C(4096), 0, 0, 74868917, UINT64_C(153331558404)},
      {UINT64_C(123456), 1, 0, 84245578, UINT64_C(172535074848)},
      {UINT64_C(1000000), 0, 0, 325912431, UINT64_C(667468757016)},
      {UINT64_C(488281249), 3, 17780, 470, UINT64_C(970754)},
      {UINT64_C(1000000000000), 4, 188964474, 30, UINT64_C(61440)},
      {UINT64_C(1125899906842623), 0, 1795494, 261317679, UINT64_C(535178688532)},
  };
  struct mixture_slice slices[] = {slice("common_crawl", UINT64_C(878000000000), 670, 64),
                                   slice("c4", UINT64_C(175000000000), 150, 64),
                                   slice("github", UINT64_C(59000000000), 45, 64),
                                   slice("books", 2600000, 45, 8),
                                   slice("arxiv", 280000, 25, 1),
                                   slice("wikipedia", 24001, 45, 0)};
  struct mixture m = mix(20230417, 2048, slices, 6);
  for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
    struct mixture_place p = mixture_sample(&m, golden[g].i);
    assert_int_equal(p.slice, golden[g].slice);
    assert_int_equal(p.epoch, golden[g].epoch);
    assert_int_equal(p.index, golden[g].index);
    assert_int_equal(p.token_begin, golden[g].token_begin);
  }
  assert_int_equal(mixture_holdout(&m, 0, 0), UINT64_C(51647051777));
  assert_int_equal(mixture_holdout(&m, 0, 63), UINT64_C(826352947231));
  assert_int_equal(mixture_holdout(&m, 3, 5), 1732611);
}

static void impossible_mixtures_are_refused_with_the_slice(void **state) {
  (void)state;
  struct mixture m;
  struct mixture_slice s = slice("tiny", 10, 1, 0);
  assert_int_equal(mixture_init(&m, 1, 10, &s, 1, &why), STATUS_RANGE);
  assert_non_null(strstr(why.text, "'tiny' has 10 tokens"));
  s.token_count = 11;
  assert_int_equal(mixture_init(&m, 1, 10, &s, 1, &why), STATUS_OK);
  s.holdout_count = UINT64_MAX;
  assert_int_equal(mixture_init(&m, 1, 10, &s, 1, &why), STATUS_RANGE);
  s = slice("w", 100, 0, 0);
  assert_int_equal(mixture_init(&m, 1, 10, &s, 1, &why), STATUS_RANGE);
  assert_non_null(strstr(why.text, "weight 0"));
  assert_int_equal(mixture_init(&m, 1, 0, &s, 1, &why), STATUS_RANGE);
  assert_int_equal(mixture_init(&m, 1, 10, &s, 0, &why), STATUS_RANGE);
  s.weight = UINT64_MAX;
  assert_int_equal(mixture_init(&m, 1, 10, &s, 1, &why), STATUS_RANGE);
  s = slice("big", UINT64_MAX, 1, 0);
  assert_int_equal(mixture_init(&m, 1, 10, &s, 1, &why), STATUS_RANGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts_stay_near_the_weights_and_agree_with_walking),
      cmocka_unit_test(counts_stay_near_the_weights_for_64_slices),
      cmocka_unit_test(a_whole_period_has_exactly_the_weights),
      cmocka_unit_test(every_epoch_draws_each_sample_once),
      cmocka_unit_test(epochs_slices_and_seeds_are_permuted_apart),
      cmocka_unit_test(held_out_samples_share_no_token_with_training),
      cmocka_unit_test(held_out_samples_are_spread_over_the_slice),
      cmocka_unit_test(huge_runs_do_not_overflow),
      cmocka_unit_test(golden_places),
      cmocka_unit_test(impossible_mixtures_are_refused_with_the_slice),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
