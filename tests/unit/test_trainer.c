#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/checkpoint/checkpoint.h"
#include "node/train/savepoints.h"
#include "node/train/trainer.h"
#include "proto/base/bytes.h"
#include "proto/base/io_file.h"

enum { VOCABULARY = 64, TOKENS = 6000, SEQUENCE = 16, STEPS = 9 };

static char home[64];

/* A Megatron pair: one document of ids that a model can learn a little of. */
static void write_corpus(const char *name, uint16_t above) {
  static uint8_t bin[2 * TOKENS];
  uint8_t idx[64] = "MMIDIDX";
  char path[256];
  uint32_t seed = 7;
  for (int i = 0; i < TOKENS; i++) {
    seed = seed * 1664525 + 1013904223;
    bytes_put_u16(bin + 2 * i, (uint16_t)((uint32_t)(i % 7 * 3) + (seed >> 30) + above));
  }
  bytes_put_u64(idx + 9, 1);
  idx[17] = 8; /* uint16 */
  bytes_put_u64(idx + 18, 1);
  bytes_put_u64(idx + 26, 2);
  bytes_put_u32(idx + 34, TOKENS);
  bytes_put_u64(idx + 38, 0);
  bytes_put_u64(idx + 46, 0);
  bytes_put_u64(idx + 54, 1);
  snprintf(path, sizeof path, "%s/%s.bin", home, name);
  assert_int_equal(io_file_write(path, bin, sizeof bin, NULL), STATUS_OK);
  snprintf(path, sizeof path, "%s/%s.idx", home, name);
  assert_int_equal(io_file_write(path, idx, 62, NULL), STATUS_OK);
}

static int make_home(void **state) {
  (void)state;
  snprintf(home, sizeof home, "/tmp/test_trainer.XXXXXX");
  if (!mkdtemp(home))
    return -1;
  write_corpus("corpus", 0);
  write_corpus("strange", 60);
  return 0;
}

static int remove_home(void **state) {
  (void)state;
  return io_folder_remove(home, NULL) == STATUS_OK ? 0 : -1;
}

/* A small run in `folder`; `more` overrides. */
static const char *run_text(const char *folder, const char *corpus, const char *more) {
  static char text[2048];
  snprintf(text, sizeof text,
           "name: small\n"
           "model: {preset: tiny, layers: 1, channels: 32, heads: 2, vocabulary: %d, positions: "
           "%d}\n"
           "data: {corpus: %s/%s, holdout: 3}\n"
           "batch: {sequences: 4, micro: 3}\n"
           "tokens_total: %d\n"
           "checkpoint: {folder: %s/%s, every: 200, keep: 2}\n"
           "validation: {every: 150}\n"
           "machine: {threads: 2}\n%s",
           VOCABULARY, SEQUENCE, home, corpus, SEQUENCE * 4 * STEPS - SEQUENCE, home, folder, more);
  return text;
}

/* Words of the same length. */
static void replace(char *text, const char *from, const char *to) {
  char *at = strstr(text, from);
  assert_non_null(at);
  assert_int_equal(strlen(from), strlen(to));
  memcpy(at, to, strlen(to));
}

static enum status train(const char *text, uint64_t stop_step, struct trainer_result *result,
                         struct why *why) {
  struct runfile *run = malloc(sizeof *run);
  struct trainer_options options = {.quiet = true, .stop_step = stop_step};
  struct trainer_result unseen;
  assert_non_null(run);
  enum status s = runfile_parse("r.yaml", text, strlen(text), run, why);
  if (s == STATUS_OK)
    s = trainer_run(run, &options, result ? result : &unseen, why);
  free(run);
  return s;
}

static void train_expecting(enum status expected, const char *text, uint64_t stop_step) {
  struct why why = {""};
  enum status s = train(text, stop_step, NULL, &why);
  if (s != expected)
    fail_msg("%s instead of %s: %s", status_name(s), status_name(expected), why.text);
}

static struct io_bytes read_file(const char *folder, const char *name) {
  char path[512];
  struct io_bytes b;
  struct why why;
  snprintf(path, sizeof path, "%s/%s/%s", home, folder, name);
  if (io_file_read(path, 1 << 24, &b, &why) != STATUS_OK)
    fail_msg("%s", why.text);
  return b;
}

static void assert_same_file(const char *a, const char *b, const char *name) {
  struct io_bytes x = read_file(a, name);
  struct io_bytes y = read_file(b, name);
  if (x.count != y.count || memcmp(x.at, y.at, x.count) != 0)
    fail_msg("%s of %s and of %s differ", name, a, b);
  io_bytes_free(&x);
  io_bytes_free(&y);
}

/* Every file of a checkpoint, byte for byte. */
static void assert_same_checkpoint(const char *a, const char *b) {
  char path[256];
  int files = 0;
  snprintf(path, sizeof path, "%s/%s", home, a);
  DIR *d = opendir(path);
  assert_non_null(d);
  for (const struct dirent *e; (e = readdir(d));)
    if (e->d_name[0] != '.') {
      assert_same_file(a, b, e->d_name);
      files++;
    }
  closedir(d);
  assert_true(files >= 4);
}

/* The steps and validations of a metrics file, without what the clock says. */
static void losses(const char *folder, char *out, size_t out_bytes) {
  struct io_bytes b = read_file(folder, "metrics.jsonl");
  size_t used = 0;
  for (char *line = (char *)b.at, *end; (end = strchr(line, '\n')); line = end + 1) {
    *end = 0;
    char *rate = strstr(line, ",\"rate\"");
    if (rate)
      *rate = 0;
    if (strstr(line, "\"step\",") || strstr(line, "\"validation\""))
      used += (size_t)snprintf(out + used, out_bytes - used, "%s\n", line);
  }
  assert_true(used > 0 && used < out_bytes);
  io_bytes_free(&b);
}

static void stopping_and_going_on_gives_the_same_bits(void **state) {
  (void)state;
  static char a[16384], b[16384];
  train_expecting(STATUS_OK, run_text("whole", "corpus", ""), 0);
  train_expecting(STATUS_STOPPED, run_text("parts", "corpus", ""), 2);
  train_expecting(STATUS_STOPPED, run_text("parts", "corpus", ""), 3);
  train_expecting(STATUS_STOPPED, run_text("parts", "corpus", ""), 7);
  train_expecting(STATUS_OK, run_text("parts", "corpus", ""), 0);
  assert_same_checkpoint("whole/step-9", "parts/step-9");
  assert_same_file("whole", "parts", "run.txt");
  losses("whole", a, sizeof a);
  losses("parts", b, sizeof b);
  assert_string_equal(a, b);
}

static void a_finished_run_has_nothing_left_to_do(void **state) {
  (void)state;
  struct trainer_result result;
  struct why why;
  static char a[16384], b[16384];
  train_expecting(STATUS_OK, run_text("again", "corpus", ""), 0);
  losses("again", a, sizeof a);
  assert_int_equal(train(run_text("again", "corpus", ""), 0, &result, &why), STATUS_OK);
  losses("again", b, sizeof b);
  assert_string_equal(a, b);
  assert_int_equal(result.step, STEPS);
  assert_int_equal(result.tokens, SEQUENCE * 4 * STEPS - SEQUENCE);
}

static void only_the_last_checkpoints_are_kept(void **state) {
  (void)state;
  struct savepoints list;
  char path[256];
  train_expecting(STATUS_OK, run_text("kept", "corpus", ""), 0);
  snprintf(path, sizeof path, "%s/kept", home);
  assert_int_equal(savepoints_list(path, &list, NULL), STATUS_OK);
  assert_int_equal(list.count, 2);
  assert_int_equal(list.steps[0], 7);
  assert_int_equal(list.steps[1], 9);
}

static void the_loss_falls(void **state) {
  (void)state;
  struct trainer_result result;
  struct why why;
  assert_int_equal(train(run_text("falls", "corpus", "optimizer: {lr: 1e-2}\n"), 1, &result, &why),
                   STATUS_STOPPED);
  double first = result.loss;
  assert_int_equal(train(run_text("falls", "corpus", "optimizer: {lr: 1e-2}\n"), 0, &result, &why),
                   STATUS_OK);
  assert_true(first > 3.5 && result.loss < first - 0.5);
}

static void another_run_in_the_folder_is_refused_by_the_key_that_differs(void **state) {
  (void)state;
  struct why why;
  train_expecting(STATUS_STOPPED, run_text("other", "corpus", ""), 2);
  assert_int_equal(train(run_text("other", "corpus", "seed: 2\n"), 0, NULL, &why), STATUS_MISMATCH);
  assert_non_null(strstr(why.text, "belongs to another run: seed was 1 and is 2;"));
  /* What does not change the numbers may change. */
  static char text[4096];
  snprintf(text, sizeof text, "%s", run_text("other", "corpus", ""));
  replace(text, "keep: 2", "keep: 5");
  replace(text, "every: 150", "every: 140");
  train_expecting(STATUS_OK, text, 0);
}

static void spoil(const char *folder, const char *name) {
  struct io_bytes b = read_file(folder, name);
  char path[512];
  snprintf(path, sizeof path, "%s/%s/%s", home, folder, name);
  b.at[b.count / 2] ^= 1;
  assert_int_equal(io_file_write(path, b.at, b.count, NULL), STATUS_OK);
  io_bytes_free(&b);
}

static bool exists(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", home, name);
  return io_exists(path);
}

static void a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(void **state) {
  (void)state;
  train_expecting(STATUS_OK, run_text("sound", "corpus", ""), 0);
  train_expecting(STATUS_STOPPED, run_text("damaged", "corpus", ""), 7);
  spoil("damaged/step-7", "model.safetensors");
  train_expecting(STATUS_OK, run_text("damaged", "corpus", ""), 0);
  assert_true(exists("damaged/step-7.damaged"));
  assert_same_checkpoint("sound/step-9", "damaged/step-9");
  static char a[16384], b[16384];
  losses("sound", a, sizeof a);
  losses("damaged", b, sizeof b);
  assert_string_equal(a, b);
}

static void a_run_without_a_whole_checkpoint_is_not_begun_again_silently(void **state) {
  (void)state;
  struct why why;
  train_expecting(STATUS_STOPPED, run_text("lost", "corpus", ""), 2);
  spoil("lost/step-2", "optimizer.safetensors");
  assert_int_not_equal(train(run_text("lost", "corpus", ""), 0, NULL, &why), STATUS_OK);
  assert_non_null(strstr(why.text, "no whole checkpoint is left"));
  assert_true(exists("lost/step-2"));
}

static void what_a_kill_left_half_done_is_swept(void **state) {
  (void)state;
  char path[256];
  train_expecting(STATUS_STOPPED, run_text("swept", "corpus", ""), 2);
  snprintf(path, sizeof path, "%s/swept/step-4.partial-77", home);
  assert_int_equal(io_folder_make(path, NULL), STATUS_OK);
  train_expecting(STATUS_OK, run_text("swept", "corpus", ""), 0);
  assert_false(exists("swept/step-4.partial-77"));
}

static void ids_past_the_vocabulary_are_refused_by_number(void **state) {
  (void)state;
  struct why why;
  enum status s = train(run_text("strange-run", "strange", ""), 0, NULL, &why);
  assert_true(s == STATUS_RANGE || s == STATUS_MISMATCH);
  if (!strstr(why.text, "vocabulary is 0 to 63"))
    fail_msg("%s", why.text);
}

static void a_plan_that_does_not_fit_says_what_would(void **state) {
  (void)state;
  struct runfile *run = malloc(sizeof *run);
  struct trainer_options options = {.quiet = true, .check_only = true};
  struct trainer_result result;
  struct why why;
  char text[1024];
  assert_non_null(run);
  snprintf(text, sizeof text,
           "name: big\nmodel: {preset: pythia-410m}\ndata: {corpus: %s/corpus, holdout: 0}\n"
           "sequence: 128\nbatch: {sequences: 8}\ntokens_total: 1M\nmachine: {memory: 2G}\n",
           home);
  assert_int_equal(runfile_parse("r.yaml", text, strlen(text), run, &why), STATUS_OK);
  assert_int_equal(trainer_run(run, &options, &result, &why), STATUS_NOMEM);
  assert_non_null(strstr(why.text, "fits"));
  assert_non_null(strstr(why.text, "pythia-"));
  free(run);
}

static void a_folder_in_use_is_refused(void **state) {
  (void)state;
  char path[256];
  int ready[2], done[2];
  char byte = 0;
  struct why why;
  snprintf(path, sizeof path, "%s/busy", home);
  assert_true(pipe(ready) == 0 && pipe(done) == 0);
  pid_t child = fork();
  if (child == 0) {
    struct savepoints_lock lock;
    bool held = savepoints_lock(path, &lock, NULL) == STATUS_OK;
    close(done[1]);
    if (write(ready[1], "x", 1) != 1 || read(done[0], &byte, 1) < 0)
      _exit(2);
    _exit(held ? 0 : 1);
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(train(run_text("busy", "corpus", ""), 0, NULL, &why), STATUS_REFUSED);
  assert_non_null(strstr(why.text, "is in use by process"));
  close(done[1]);
  int code;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_int_equal(code, 0);
  train_expecting(STATUS_STOPPED, run_text("busy", "corpus", ""), 1);
}

/* Weights so large that no loss comes out of them, as a checkpoint to start from. */
static void write_nowhere(const char *path) {
  struct runfile *run = malloc(sizeof *run);
  const char *text = run_text("x", "corpus", "");
  const struct engine_cpu_options options = {.thread_count = 1};
  struct transformer_options shape = {.B = 1, .T = SEQUENCE, .training = false};
  struct checkpoint_state state = {0};
  struct engine *e;
  struct transformer *t;
  const float huge = 3e38f;
  assert_non_null(run);
  assert_int_equal(runfile_parse("r.yaml", text, strlen(text), run, NULL), STATUS_OK);
  assert_int_equal(engine_cpu_open(&options, &e, NULL), STATUS_OK);
  assert_int_equal(transformer_open(e, &run->arch, &shape, &t, NULL), STATUS_OK);
  transformer_init(t, 1);
  const struct arch_tensor *last =
      arch_params_find(transformer_params(t), "gpt_neox.final_layer_norm.weight");
  assert_non_null(last);
  for (int64_t i = 0; i < last->count; i++)
    transformer_set(t, ARRAY_WEIGHTS, last->offset + i, 1, &huge);
  assert_int_equal(checkpoint_write(path, t, &state, NULL, false, NULL), STATUS_OK);
  transformer_close(&t);
  engine_close(&e);
  free(run);
}

static void losses_that_are_no_numbers_stop_the_run_after_a_while(void **state) {
  (void)state;
  char path[256], more[512];
  struct trainer_result result;
  struct why why;
  snprintf(path, sizeof path, "%s/nowhere", home);
  write_nowhere(path);
  snprintf(more, sizeof more, "start_from: %s\nseed: 5\n", path);
  static char text[4096];
  snprintf(text, sizeof text, "%s", run_text("astray", "corpus", more));
  replace(text, "tokens_total: 560", "tokens_total: 960");
  assert_int_equal(train(text, 0, &result, &why), STATUS_RANGE);
  if (result.skipped_steps != TRAINER_BAD_STEPS_MAX)
    fail_msg("%s", why.text);
  assert_int_equal(result.skipped_steps, TRAINER_BAD_STEPS_MAX);
  assert_non_null(strstr(why.text, "not finite in 10 steps in a row"));
}

static void training_starts_from_the_weights_it_is_given(void **state) {
  (void)state;
  char more[512];
  struct trainer_result fresh, tuned;
  struct why why;
  train_expecting(STATUS_OK, run_text("base", "corpus", "optimizer: {lr: 1e-2}\n"), 0);
  snprintf(more, sizeof more, "start_from: %s/base/step-9\n", home);
  assert_int_equal(train(run_text("fresh", "corpus", ""), 1, &fresh, &why), STATUS_STOPPED);
  assert_int_equal(train(run_text("tuned", "corpus", more), 1, &tuned, &why), STATUS_STOPPED);
  assert_true(tuned.loss < fresh.loss - 0.5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stopping_and_going_on_gives_the_same_bits),
      cmocka_unit_test(a_finished_run_has_nothing_left_to_do),
      cmocka_unit_test(only_the_last_checkpoints_are_kept),
      cmocka_unit_test(the_loss_falls),
      cmocka_unit_test(another_run_in_the_folder_is_refused_by_the_key_that_differs),
      cmocka_unit_test(a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used),
      cmocka_unit_test(a_run_without_a_whole_checkpoint_is_not_begun_again_silently),
      cmocka_unit_test(what_a_kill_left_half_done_is_swept),
      cmocka_unit_test(ids_past_the_vocabulary_are_refused_by_number),
      cmocka_unit_test(a_plan_that_does_not_fit_says_what_would),
      cmocka_unit_test(a_folder_in_use_is_refused),
      cmocka_unit_test(losses_that_are_no_numbers_stop_the_run_after_a_while),
      cmocka_unit_test(training_starts_from_the_weights_it_is_given),
  };
  return cmocka_run_group_tests_name("trainer", tests, make_home, remove_home);
}
