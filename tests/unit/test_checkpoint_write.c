#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/checkpoint/checkpoint.h"
#include "node/checkpoint/hfconfig.h"
#include "support_folder.h"

/* A model with room for the byte tokenizer: 300 kB with its moments. */
static const struct arch some_arch = {.family = ARCH_NEOX,
                                      .L = 1,
                                      .C = 32,
                                      .F = 64,
                                      .H = 2,
                                      .HK = 2,
                                      .D = 16,
                                      .V = 260,
                                      .T = 16,
                                      .R = 4,
                                      .rope_base = 10000,
                                      .norm_eps = 1e-5,
                                      .parallel_residual = true,
                                      .activation = ACTIVATION_GELU,
                                      .init_std = 0.02};

struct place {
  char folder[PATH_BYTES_MAX];
  char dir[PATH_BYTES_MAX];
  struct engine *engine;
  struct transformer *t;
};

static int set_up(void **state) {
  struct place *p = calloc(1, sizeof *p);
  struct why why;
  support_folder_make(p->folder);
  snprintf(p->dir, sizeof p->dir, "%s", support_folder_path(p->folder, "ck"));
  const struct transformer_options o = {.B = 1, .T = 16, .training = true};
  if (engine_cpu_open(&(struct engine_cpu_options){.thread_count = 1}, &p->engine, &why) ||
      transformer_open(p->engine, &some_arch, &o, &p->t, &why))
    return 1;
  transformer_init(p->t, 1);
  *state = p;
  return 0;
}

static int tear_down(void **state) {
  struct place *p = *state;
  transformer_close(&p->t);
  engine_close(&p->engine);
  support_folder_end(p->folder);
  free(p);
  return 0;
}

static void must(enum status s, const struct why *why) {
  if (s != STATUS_OK)
    fail_msg("%s: %s", status_name(s), why->text);
}

static const struct checkpoint_state no_state = {0};

static void write_it(const struct place *p, const char *tokenizer) {
  struct why why;
  struct tokenizer *tk = NULL;
  if (tokenizer)
    must(tokenizer_open(tokenizer, &tk, &why), &why);
  must(checkpoint_write(p->dir, p->t, &no_state, tk, true, &why), &why);
  tokenizer_close(&tk);
}

/* Nothing in the folder but what is named. */
static void check_only(const struct place *p, const char *name) {
  char command[PATH_BYTES_MAX + 64], list[4096] = "";
  snprintf(command, sizeof command, "ls -A '%s'", p->folder);
  FILE *in = popen(command, "r");
  assert_non_null(in);
  size_t got = fread(list, 1, sizeof list - 1, in);
  list[got] = 0;
  pclose(in);
  char wanted[64] = "";
  if (name)
    snprintf(wanted, sizeof wanted, "%s\n", name);
  assert_string_equal(list, wanted);
}

static void what_is_there_is_not_replaced(void **state) {
  const struct place *p = *state;
  struct why why;
  write_it(p, NULL);
  struct io_bytes before = support_folder_read(support_folder_path(p->dir, "model.safetensors"));
  transformer_init(p->t, 2);
  assert_int_equal(checkpoint_write(p->dir, p->t, &no_state, NULL, true, &why), STATUS_EXISTS);
  assert_non_null(strstr(why.text, p->dir));
  struct io_bytes after = support_folder_read(support_folder_path(p->dir, "model.safetensors"));
  assert_int_equal(before.count, after.count);
  assert_memory_equal(before.at, after.at, before.count);
  io_bytes_free(&before);
  io_bytes_free(&after);
  check_only(p, "ck");
}

static void a_slash_at_the_end_is_the_same_folder(void **state) {
  const struct place *p = *state;
  struct why why;
  char dir[PATH_BYTES_MAX + 2];
  snprintf(dir, sizeof dir, "%s//", p->dir);
  must(checkpoint_write(dir, p->t, &no_state, NULL, false, &why), &why);
  check_only(p, "ck");
  assert_int_equal(checkpoint_write(dir, p->t, &no_state, NULL, false, &why), STATUS_EXISTS);
}

/* ---- a disk that is full, a machine that stops ---- */

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_write_that_fails_leaves_nothing_behind(void **state) {
  const struct place *p = *state;
  struct why why;
  signal(SIGXFSZ, SIG_IGN);
  limit_files(50000);
  enum status s = checkpoint_write(p->dir, p->t, &no_state, NULL, true, &why);
  limit_files(RLIM_INFINITY);
  signal(SIGXFSZ, SIG_DFL);
  assert_int_not_equal(s, STATUS_OK);
  assert_non_null(strstr(why.text, "model.safetensors"));
  check_only(p, NULL);
  write_it(p, NULL); /* and once there is room it works */
  must(checkpoint_verify(p->dir, &why), &why);
}

/* On a real small disk, where one can be made. */
static void a_full_disk_leaves_nothing_behind(void **state) {
  struct place *p = *state;
  struct why why;
  char command[PATH_BYTES_MAX + 128];
  char small[PATH_BYTES_MAX];
  snprintf(small, sizeof small, "%s", support_folder_path(p->folder, "small"));
  must(io_folder_make(small, &why), &why);
  snprintf(command, sizeof command, "mount -t tmpfs -o size=200k tmpfs '%s' 2>/dev/null", small);
  if (geteuid() != 0 || system(command)) {
    print_message("SKIP: no small disk can be mounted here\n");
    skip();
  }
  char dir[PATH_BYTES_MAX];
  snprintf(dir, sizeof dir, "%s", support_folder_path(small, "ck"));
  enum status with = checkpoint_write(dir, p->t, &no_state, NULL, true, &why);
  bool left = io_exists(dir);
  uint64_t room;
  must(io_disk_free(small, &room, &why), &why);
  struct why small_why;
  enum status without = checkpoint_write(dir, p->t, &no_state, NULL, false, &small_why);
  snprintf(command, sizeof command, "umount '%s'", small);
  int unmounted = system(command);
  assert_int_equal(with, STATUS_DISK);
  assert_non_null(strstr(why.text, "make room"));
  assert_false(left);
  assert_true(room > 190 * 1024); /* what was written is gone */
  must(without, &small_why);      /* what fits is written */
  assert_int_equal(unmounted, 0);
}

/* A process that dies in the middle of model.safetensors, as at a power cut. */
static void a_crash_before_the_manifest_leaves_no_checkpoint(void **state) {
  const struct place *p = *state;
  struct why why;
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGXFSZ, SIG_DFL);
    limit_files(50000);
    _exit(checkpoint_write(p->dir, p->t, &no_state, NULL, true, &why));
  }
  int ended;
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_true(WIFSIGNALED(ended));
  assert_false(io_exists(p->dir));
  char aside[NAME_BYTES_MAX];
  snprintf(aside, sizeof aside, "ck.partial-%ld", (long)child);
  check_only(p, aside);
  assert_false(
      io_exists(support_folder_path(support_folder_path(p->folder, aside), "caravan.json")));
  write_it(p, NULL);
  must(checkpoint_verify(p->dir, &why), &why);
}

/* ---- the tokenizer beside the weights ---- */

static void the_byte_tokenizer_goes_along_as_a_file(void **state) {
  const struct place *p = *state;
  static const char text[] = "Hello, w\xc3\xb6rld!  \n\t<|endoftext|>\x01\x7f z";
  struct why why;
  struct checkpoint_info info;
  struct tokenizer *byte, *file;
  struct tokenizer_work *byte_work, *file_work;
  const uint32_t *a, *b;
  size_t a_count, b_count;
  write_it(p, "byte");
  must(checkpoint_inspect(p->dir, &info, &why), &why);
  assert_true(info.has_tokenizer && info.byte_tokenizer);
  must(tokenizer_open("byte", &byte, &why), &why);
  must(tokenizer_open(p->dir, &file, &why), &why);
  must(tokenizer_work_open(byte, &byte_work, &why), &why);
  must(tokenizer_work_open(file, &file_work, &why), &why);
  must(tokenizer_encode(byte, byte_work, text, sizeof text - 1, &a, &a_count, &why), &why);
  must(tokenizer_encode(file, file_work, text, sizeof text - 1, &b, &b_count, &why), &why);
  assert_int_equal(a_count, b_count);
  assert_memory_equal(a, b, a_count * sizeof *a);
  assert_int_equal(tokenizer_eod(file), tokenizer_eod(byte));
  tokenizer_work_close(&byte_work);
  tokenizer_work_close(&file_work);
  tokenizer_close(&byte);
  tokenizer_close(&file);
}

static void a_tokenizer_file_goes_along_as_it_is(void **state) {
  const struct place *p = *state;
  struct why why;
  struct checkpoint_info info;
  struct tokenizer *tk;
  char *text;
  char path[PATH_BYTES_MAX];
  snprintf(path, sizeof path, "%s", support_folder_path(p->folder, "tokenizer.json"));
  must(hfconfig_encode_byte_tokenizer(&text, &why), &why);
  size_t count = strlen(text);
  char *other = malloc(count + 2);
  snprintf(other, count + 2, "%s\n", text); /* not ours to the byte */
  support_folder_write(path, other, count + 1);
  must(tokenizer_open(path, &tk, &why), &why);
  must(checkpoint_write(p->dir, p->t, &no_state, tk, false, &why), &why);
  struct io_bytes got = support_folder_read(support_folder_path(p->dir, "tokenizer.json"));
  assert_int_equal(got.count, count + 1);
  assert_memory_equal(got.at, other, count + 1);
  must(checkpoint_inspect(p->dir, &info, &why), &why);
  assert_true(info.has_tokenizer && !info.byte_tokenizer && !info.has_optimizer);
  io_bytes_free(&got);
  tokenizer_close(&tk);
  free(text);
  free(other);
}

static void a_tokenizer_with_more_ids_than_rows_is_refused(void **state) {
  struct place *p = *state;
  struct why why;
  struct tokenizer *tk;
  struct arch small = some_arch;
  const struct transformer_options o = {.B = 1, .T = 16, .training = true};
  small.V = 256;
  transformer_close(&p->t);
  must(transformer_open(p->engine, &small, &o, &p->t, &why), &why);
  must(tokenizer_open("byte", &tk, &why), &why);
  assert_int_equal(checkpoint_write(p->dir, p->t, &no_state, tk, false, &why), STATUS_MISMATCH);
  assert_non_null(strstr(why.text, "257 ids"));
  tokenizer_close(&tk);
  check_only(p, NULL);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(what_is_there_is_not_replaced),
      TEST(a_slash_at_the_end_is_the_same_folder),
      TEST(a_write_that_fails_leaves_nothing_behind),
      TEST(a_full_disk_leaves_nothing_behind),
      TEST(a_crash_before_the_manifest_leaves_no_checkpoint),
      TEST(the_byte_tokenizer_goes_along_as_a_file),
      TEST(a_tokenizer_file_goes_along_as_it_is),
      TEST(a_tokenizer_with_more_ids_than_rows_is_refused),
  };
  return cmocka_run_group_tests_name("checkpoint, writing", tests, NULL, NULL);
}
