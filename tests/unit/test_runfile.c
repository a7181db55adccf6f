#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/train/runfile.h"
#include "proto/base/digest.h"

#define LEAST "name: r\nmodel: {preset: tiny}\ndata: {corpus: c}\ntokens_total: 1M\n"

static struct runfile *parse(const char *text, enum status expected, struct why *why) {
  struct runfile *run = malloc(sizeof *run);
  assert_non_null(run);
  why->text[0] = 0;
  enum status s = runfile_parse("r.yaml", text, strlen(text), run, why);
  if (s != expected)
    fail_msg("%s: %s for:\n%s", status_name(s), why->text, text);
  return run;
}

static struct runfile *parse_good(const char *text) {
  struct why why;
  return parse(text, STATUS_OK, &why);
}

/* One wrong file a row, and exactly what is said of it. */
static const struct {
  const char *text;
  const char *said;
} wrong[] = {
    {"", "r.yaml:1: the file is empty"},
    {"- a\n", "r.yaml:1: expected lines of \"key: value\", found a list"},
    {LEAST "sed: 4\n", "r.yaml:5: unknown key \"sed\"; did you mean \"seed\"?"},
    {LEAST "optimizer:\n  lrr: 1\n",
     "r.yaml:6: unknown key \"optimizer.lrr\"; did you mean \"optimizer.lr\"?"},
    {LEAST "lr: 1e-3\n", "r.yaml:5: unknown key \"lr\"; did you mean \"optimizer.lr\"?"},
    {LEAST "optimiser: {lr: 1}\n",
     "r.yaml:5: unknown key \"optimiser\"; did you mean \"optimizer\"?"},
    {LEAST "zzzzzzzz: 1\n",
     "r.yaml:5: unknown key \"zzzzzzzz\"; 'caravan-node train --print-defaults' shows all that "
     "there are"},
    {LEAST "optimizer.lr: 1\n",
     "r.yaml:5: unknown key \"optimizer.lr\"; did you mean \"optimizer\"?"},
    {LEAST "batch:\n  tokens: -4096\n",
     "r.yaml:6: key \"batch.tokens\": expected a whole number of tokens from 1 to 1Ti, such as "
     "20M, got \"-4096\""},
    {LEAST "optimizer:\n  lr: -1e-3\n",
     "r.yaml:6: key \"optimizer.lr\": expected a number above 0 and at most 1, got \"-1e-3\""},
    {LEAST "optimizer:\n  lr: 0\n",
     "r.yaml:6: key \"optimizer.lr\": expected a number above 0 and at most 1, got \"0\""},
    {LEAST "optimizer:\n  lr: nan\n",
     "r.yaml:6: key \"optimizer.lr\": expected a number above 0 and at most 1, got \"nan\""},
    {LEAST "optimizer:\n  lr: 1e999\n",
     "r.yaml:6: key \"optimizer.lr\": expected a number above 0 and at most 1, got \"1e999\""},
    {LEAST "optimizer:\n  lr: [1, 2]\n",
     "r.yaml:6: key \"optimizer.lr\": expected a number above 0 and at most 1, got a list"},
    {LEAST "batch:\n  tokens: 20 parsecs\n",
     "r.yaml:6: key \"batch.tokens\": expected a whole number of tokens from 1 to 1Ti, such as "
     "20M, got \"20 parsecs\""},
    {LEAST "batch:\n  tokens: 1.5\n",
     "r.yaml:6: key \"batch.tokens\": expected a whole number of tokens from 1 to 1Ti, such as "
     "20M, got \"1.5\""},
    {LEAST "batch:\n  tokens: 1000\n",
     "r.yaml:6: key \"batch.tokens\": 1000 is not a multiple of the sequence length 256; the "
     "nearest are 768 and 1024"},
    {LEAST "batch: {tokens: 1024, sequences: 4}\n",
     "r.yaml:5: key \"batch.sequences\": batch.tokens says it already; write one of them"},
    {LEAST "machine: {memory: 8 bananas}\n",
     "r.yaml:5: key \"machine.memory\": expected a whole number of bytes from 1048576 to 1024Ti, "
     "such as 8Gi, or auto, got \"8 bananas\""},
    {LEAST "machine: {threads: 99999}\n",
     "r.yaml:5: key \"machine.threads\": expected a whole number of threads from 1 to 256, or "
     "auto, got \"99999\""},
    {LEAST "machine: {recompute: some}\n",
     "r.yaml:5: key \"machine.recompute\": expected one of auto, none, cheap, layer, got "
     "\"some\""},
    {LEAST "machine: 3\n",
     "r.yaml:5: key \"machine\": expected a mapping (name: value), got \"3\""},
    {LEAST "sequence: 512\n",
     "r.yaml:5: key \"sequence\": 512 is more than the model's 256 positions"},
    {LEAST "seed: 1\nseed: 2\n",
     "r.yaml:6: key \"seed\" is here for the second time; it was on line 5 already"},
    {LEAST "optimizer:\n  warmup: 3x\n",
     "r.yaml:6: key \"optimizer.warmup\": expected a percentage such as 1%, or a number of tokens "
     "such as 2M, got \"3x\""},
    {LEAST "optimizer: {warmup: 2M}\n",
     "r.yaml:5: key \"optimizer.warmup\": 2000000 tokens is not less than the schedule of 1000192"},
    {LEAST "optimizer: {lr: 1e-4, lr_min: 1e-3}\n",
     "r.yaml:5: key \"optimizer.lr_min\": 0.001 is above the peak, optimizer.lr = 0.0001"},
    {LEAST "validation: {samples: 99}\n",
     "r.yaml:5: key \"validation.samples\": 99 is more than data.holdout, 16"},
    {"model: {preset: tiny}\ndata: {corpus: c}\ntokens_total: 1M\n",
     "r.yaml:1: key \"name\" is missing; expected a name of letters, digits, '.', '_' and '-', at "
     "most 127"},
    {"name: r\ndata: {corpus: c}\ntokens_total: 1M\n",
     "r.yaml: key \"model\" is missing; expected a mapping such as {preset: tiny}"},
    {"name: r\nmodel: {family: llama}\ndata: {corpus: c}\ntokens_total: 1M\n",
     "r.yaml: key \"model.layers\" is missing; a model without a preset needs family, layers, "
     "channels, heads, vocabulary and positions"},
    {"name: ../r\nmodel: {preset: tiny}\ndata: {corpus: c}\ntokens_total: 1M\n",
     "r.yaml:1: key \"name\": expected a name of letters, digits, '.', '_' and '-', at most 127, "
     "got \"../r\""},
    {"name: r\nmodel: {preset: tiny}\ndata:\n  corpus: c\n  slices: {a: -1}\ntokens_total: 1M\n",
     "r.yaml:5: key \"data.slices.a\": expected a weight such as 0.25, with at most 9 decimals and "
     "below 1000000, got \"-1\""},
    {"name: r\nmodel: {preset: tiny}\ndata:\n  corpus: c\n  slices: {a: 0}\ntokens_total: 1M\n",
     "r.yaml:5: key \"data.slices\": expected slice names with weights, such as {books: 0.3, web: "
     "0.7}, got a mapping (name: value)"},
    {"a: &x 1\nb: *x\n",
     "r.yaml:1: anchors (&) and tags (!) are not taken here; write the value itself"},
    {"a: !!int 1\n",
     "r.yaml:1: anchors (&) and tags (!) are not taken here; write the value itself"},
    {"name: r\n---\nname: s\n", "r.yaml:2: a second document (---) begins; a run file has one"},
    {"a: {b: {c: {d: {e: {f: {g: 1}}}}}}\n", "r.yaml:1: nested deeper than 6 levels"},
    {"name: r\nmodel: {preset: tiny\n",
     "r.yaml:3: not YAML: did not find expected ',' or '}', while parsing a flow mapping"},
    {"name: r\n\tseed: 1\n",
     "r.yaml:2: not YAML: found a tab character that violates indentation, while scanning a plain "
     "scalar"},
    {"name: \xff\n", "r.yaml: byte 6: invalid leading UTF-8 octet; a run file is UTF-8 text"},
    {"name: \"a\\0b\"\n", "r.yaml:1: a zero byte inside a text"},
};

static void a_mistake_names_file_line_key_and_what_was_expected(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct runfile *run = malloc(sizeof *run);
    struct why why = {""};
    assert_non_null(run);
    enum status s = runfile_parse("r.yaml", wrong[i].text, strlen(wrong[i].text), run, &why);
    if (s == STATUS_OK)
      fail_msg("taken for good:\n%s", wrong[i].text);
    assert_string_equal(why.text, wrong[i].said);
    free(run);
  }
}

static void an_unknown_preset_lists_the_known(void **state) {
  (void)state;
  struct why why;
  free(parse("name: r\nmodel:\n  preset: pythia-71m\ndata: {corpus: c}\ntokens_total: 1M\n",
             STATUS_MISSING, &why));
  assert_non_null(strstr(why.text, "r.yaml:3: key \"model.preset\": "));
  assert_non_null(strstr(why.text, "pythia-70m"));
}

static void defaults_come_from_the_preset(void **state) {
  (void)state;
  struct arch_recipe recipe;
  struct arch tiny;
  assert_int_equal(arch_preset_recipe("tiny", &recipe, NULL), STATUS_OK);
  assert_int_equal(arch_preset("tiny", &tiny, NULL), STATUS_OK);
  struct runfile *run = parse_good(LEAST);
  assert_true(run->lr == recipe.lr && run->lr_min == recipe.lr_min);
  assert_int_equal(run->T, tiny.T);
  assert_int_equal(run->batch_sequences, recipe.batch_tokens / tiny.T);
  assert_int_equal(run->arch.C, tiny.C);
  assert_int_equal(run->arch.R, tiny.R);
  assert_int_equal(run->tokens_total, 1000192); /* whole sequences of 256 */
  assert_int_equal(run->warmup_tokens, 10001);
  assert_int_equal(run->micro_sequences, 0);
  assert_true(run->recompute_auto);
  assert_true(run->beta2 == 0.95);
  assert_string_equal(run->folder, "runs/r");
  free(run);
}

static void numbers_take_suffixes_exactly(void **state) {
  (void)state;
  struct runfile *run = parse_good(
      "name: r\nmodel: {preset: tiny}\ndata: {corpus: [a, b/c], slices: {x: 0.30, y: 0.7}}\n"
      "tokens_total: 1.5M\nseed: 1e3\nbatch: {tokens: 4Ki}\nmachine: {memory: 6GiB, recompute: "
      "layer}\noptimizer: {warmup: 2.5%, lr: 3e-4}\nvalidation: {every: 256k}\n");
  assert_int_equal(run->tokens_total, (1500000 + 255) / 256 * 256);
  assert_int_equal(run->seed, 1000);
  assert_int_equal(run->batch_sequences, 16);
  assert_int_equal(run->memory_bytes, UINT64_C(6) << 30);
  assert_int_equal(run->validation_tokens, 256000);
  assert_int_equal(run->recompute, RECOMPUTE_LAYER);
  assert_false(run->recompute_auto);
  assert_int_equal(run->corpus_count, 2);
  assert_string_equal(run->corpus[1], "b/c");
  assert_int_equal(run->slice_count, 2);
  assert_int_equal(run->slices[0].weight, 3);
  assert_int_equal(run->slices[1].weight, 7);
  assert_true(run->lr_min == 3e-4 / 10);
  assert_int_equal(runfile_line(run, "optimizer.lr"), 8);
  free(run);
}

static void fields_change_a_preset_and_carry_what_follows_from_them(void **state) {
  (void)state;
  struct runfile *run = parse_good(
      "name: r\nmodel: {preset: tiny, channels: 96, heads: 3, layers: 2}\n"
      "data: {corpus: c}\ntokens_total: 1M\n");
  assert_int_equal(run->arch.C, 96);
  assert_int_equal(run->arch.D, 32);
  assert_int_equal(run->arch.HK, 3);
  assert_int_equal(run->arch.F, 384);
  assert_int_equal(run->arch.L, 2);
  free(run);
  run = parse_good(
      "name: r\nmodel: {family: llama, layers: 2, channels: 512, heads: 8, kv_heads: 2, "
      "vocabulary: 512, positions: 128}\ndata: {corpus: c}\ntokens_total: 1M\n");
  assert_int_equal(run->arch.F, 1536);
  assert_int_equal(run->arch.R, 64);
  assert_int_equal(run->arch.HK, 2);
  assert_true(run->arch.norm_eps == 1e-6);
  free(run);
}

static void canonical_text_is_the_meaning_and_not_the_writing(void **state) {
  (void)state;
  char *a = malloc(RUNFILE_CANONICAL_BYTES_MAX);
  char *b = malloc(RUNFILE_CANONICAL_BYTES_MAX);
  char said[512];
  assert_true(a && b);
  struct runfile *run = parse_good(LEAST);
  assert_int_equal(runfile_canonical(run, a, RUNFILE_CANONICAL_BYTES_MAX, NULL), STATUS_OK);
  free(run);
  run = parse_good(
      "\xef\xbb\xbf"
      "machine: {threads: 3}\ntokens_total: 1000000\nbatch: {sequences: 8}\nname: 'r'\n"
      "data: {corpus: elsewhere}\nmodel: {layers: 4, preset: tiny}\ncheckpoint: {keep: 9}\n");
  assert_int_equal(runfile_canonical(run, b, RUNFILE_CANONICAL_BYTES_MAX, NULL), STATUS_OK);
  free(run);
  assert_string_equal(a, b);
  assert_false(runfile_difference(a, b, said, sizeof said));
  run = parse_good(LEAST "seed: 2\noptimizer: {lr: 0.25, lr_min: 3e-4}\n");
  assert_int_equal(runfile_canonical(run, b, RUNFILE_CANONICAL_BYTES_MAX, NULL), STATUS_OK);
  free(run);
  assert_true(runfile_difference(a, b, said, sizeof said));
  assert_string_equal(said, "seed was 1 and is 2; optimizer.lr was 0.003 and is 0.25");
  assert_int_equal(runfile_canonical(run = parse_good(LEAST), b, 100, NULL), STATUS_RANGE);
  free(run);
  free(a);
  free(b);
}

static void printed_defaults_parse_and_mean_the_defaults(void **state) {
  (void)state;
  char *text = malloc(RUNFILE_CANONICAL_BYTES_MAX);
  char *a = malloc(RUNFILE_CANONICAL_BYTES_MAX);
  char *b = malloc(RUNFILE_CANONICAL_BYTES_MAX);
  assert_true(text && a && b);
  for (size_t i = 0; arch_preset_name(i); i++) {
    char least[512];
    snprintf(least, sizeof least,
             "name: my-run\nmodel: {preset: %s}\ndata: {corpus: c}\ntokens_total: 20M\n",
             arch_preset_name(i));
    assert_int_equal(runfile_defaults(arch_preset_name(i), text, RUNFILE_CANONICAL_BYTES_MAX, NULL),
                     STATUS_OK);
    struct runfile *run = parse_good(text);
    assert_int_equal(runfile_canonical(run, a, RUNFILE_CANONICAL_BYTES_MAX, NULL), STATUS_OK);
    free(run);
    run = parse_good(least);
    assert_int_equal(runfile_canonical(run, b, RUNFILE_CANONICAL_BYTES_MAX, NULL), STATUS_OK);
    free(run);
    assert_string_equal(a, b);
  }
  assert_int_equal(runfile_defaults("nothing", text, RUNFILE_CANONICAL_BYTES_MAX, NULL),
                   STATUS_MISSING);
  assert_int_equal(runfile_defaults("tiny", text, 1000, NULL), STATUS_RANGE);
  free(text);
  free(a);
  free(b);
}

static void a_file_of_too_many_values_or_bytes_is_refused(void **state) {
  (void)state;
  size_t room = RUNFILE_BYTES_MAX + 2;
  char *text = malloc(room);
  struct runfile *run = malloc(sizeof *run);
  struct why why;
  assert_true(text && run);
  memset(text, '#', room);
  assert_int_equal(runfile_parse("r.yaml", text, room, run, &why), STATUS_RANGE);
  memset(text, ',', 20000);
  for (size_t i = 0; i < 20000; i += 2)
    text[i] = '1';
  text[0] = '[';
  text[19999] = ']';
  text[1] = '1';
  assert_int_equal(runfile_parse("r.yaml", text, 20000, run, &why), STATUS_RANGE);
  assert_string_equal(why.text, "r.yaml:1: more than 4096 values in one file");
  free(text);
  free(run);
}

static void a_run_that_starts_from_a_checkpoint_takes_its_model(void **state) {
  (void)state;
  struct arch arch;
  assert_int_equal(arch_preset("pythia-14m", &arch, NULL), STATUS_OK);
  struct runfile *run =
      parse_good("name: r\nstart_from: imported\ndata: {corpus: c}\ntokens_total: 1M\n");
  assert_false(run->has_model);
  assert_int_equal(runfile_take_arch(run, &arch, NULL), STATUS_OK);
  assert_int_equal(run->T, 2048);
  assert_int_equal(run->arch.C, 128);
  free(run);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_mistake_names_file_line_key_and_what_was_expected),
      cmocka_unit_test(an_unknown_preset_lists_the_known),
      cmocka_unit_test(defaults_come_from_the_preset),
      cmocka_unit_test(numbers_take_suffixes_exactly),
      cmocka_unit_test(fields_change_a_preset_and_carry_what_follows_from_them),
      cmocka_unit_test(canonical_text_is_the_meaning_and_not_the_writing),
      cmocka_unit_test(printed_defaults_parse_and_mean_the_defaults),
      cmocka_unit_test(a_file_of_too_many_values_or_bytes_is_refused),
      cmocka_unit_test(a_run_that_starts_from_a_checkpoint_takes_its_model),
  };
  return cmocka_run_group_tests_name("runfile", tests, NULL, NULL);
}
