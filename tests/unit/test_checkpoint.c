#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/checkpoint/checkpoint.h"
#include "node/checkpoint/safetensors.h"
#include "node/checkpoint/weightfiles.h"
#include "support_folder.h"
#include "support_model.h"

/* One folder and one engine for each test; models in it have moments and a step count. */
struct place {
  char folder[PATH_BYTES_MAX];
  char dir[PATH_BYTES_MAX]; /* folder/ck */
  struct engine *engine;
};

static int set_up(void **state) {
  struct place *p = calloc(1, sizeof *p);
  struct why why;
  support_folder_make(p->folder);
  snprintf(p->dir, sizeof p->dir, "%s", support_folder_path(p->folder, "ck"));
  if (engine_cpu_open(&(struct engine_cpu_options){.thread_count = 1}, &p->engine, &why))
    return 1;
  *state = p;
  return 0;
}

static int tear_down(void **state) {
  struct place *p = *state;
  engine_close(&p->engine);
  support_folder_end(p->folder);
  free(p);
  return 0;
}

static void must(enum status s, const struct why *why) {
  if (s != STATUS_OK)
    fail_msg("%s: %s", status_name(s), why->text);
}

static void expect(enum status s, const struct why *why, enum status wanted, const char *words) {
  if (s != wanted || !strstr(why->text, words))
    fail_msg("%s \"%s\"; expected %s with \"%s\"", status_name(s), s ? why->text : "",
             status_name(wanted), words);
}

static const struct checkpoint_state some_state = {
    .step = 3, .tokens = 123456789012345, .samples = 77, .run = {{1, 2, 3}}, .tokenizer = {{9}}};

static struct transformer *open_model(const struct place *p, const struct arch *a, uint64_t seed) {
  struct transformer *t;
  struct why why;
  const struct transformer_options o = {.B = 1, .T = a->T, .training = true};
  must(transformer_open(p->engine, a, &o, &t, &why), &why);
  transformer_init(t, seed);
  return t;
}

/* Weights, moments and step that no initialisation would give. */
static struct transformer *open_trained(const struct place *p, const struct arch *a) {
  struct transformer *t = open_model(p, a, 5);
  struct why why;
  int32_t *tokens = calloc((size_t)a->T * 2, sizeof *tokens);
  double loss, norm;
  const struct transformer_adam adam = {
      .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .clip = 1};
  for (int i = 0; i < 3; i++) {
    support_model_tokens(a, (uint64_t)i, a->T, tokens, tokens + a->T);
    must(transformer_backward(t, tokens, tokens + a->T, 0.1, false, &loss, &why), &why);
    must(transformer_update(t, &adam, &norm, &why), &why);
  }
  free(tokens);
  return t;
}

static void write_some(const struct place *p, const struct arch *a) {
  struct why why;
  struct transformer *t = open_trained(p, a);
  must(checkpoint_write(p->dir, t, &some_state, NULL, true, &why), &why);
  transformer_close(&t);
}

static void check_same(struct transformer *a, struct transformer *b) {
  int64_t count = transformer_params(a)->values;
  float *x = malloc((size_t)count * 2 * sizeof *x);
  static const enum transformer_array arrays[] = {ARRAY_WEIGHTS, ARRAY_MOMENT_M, ARRAY_MOMENT_V};
  for (int i = 0; i < 3; i++) {
    transformer_get(a, arrays[i], 0, count, x);
    transformer_get(b, arrays[i], 0, count, x + count);
    assert_memory_equal(x, x + count, (size_t)count * sizeof *x);
  }
  free(x);
  assert_int_equal(transformer_step(a), transformer_step(b));
}

static void everything_comes_back_to_the_bit(void **state) {
  const struct place *p = *state;
  for (int i = 0; support_model_name(i); i++) {
    struct arch a = support_model(i);
    struct why why;
    struct checkpoint_state got;
    struct checkpoint_info info;
    struct transformer *written = open_trained(p, &a), *read = open_model(p, &a, 6);
    must(checkpoint_write(p->dir, written, &some_state, NULL, true, &why), &why);
    must(checkpoint_inspect(p->dir, &info, &why), &why);
    assert_true(info.has_manifest && info.has_optimizer && !info.has_tokenizer);
    must(checkpoint_read(p->dir, read, &got, true, &why), &why);
    assert_memory_equal(&got, &some_state, sizeof got);
    check_same(written, read);
    must(checkpoint_verify(p->dir, &why), &why);
    transformer_close(&written);
    transformer_close(&read);
    support_folder_end(p->dir);
  }
}

static void many_files_are_one_model(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(4);
  struct why why;
  struct checkpoint_state got;
  struct transformer *written = open_trained(p, &a), *read = open_model(p, &a, 6);
  must(checkpoint_write_shards(p->dir, written, &some_state, NULL, true, 600, &why), &why);
  assert_false(io_exists(support_folder_path(p->dir, "model.safetensors")));
  assert_true(io_exists(support_folder_path(p->dir, "model.safetensors.index.json")));
  must(checkpoint_read(p->dir, read, &got, true, &why), &why);
  check_same(written, read);
  must(checkpoint_verify(p->dir, &why), &why);
  struct weightfiles *w;
  must(weightfiles_open(p->dir, "model", NULL, &w, &why), &why);
  assert_int_equal(weightfiles_count(w), transformer_params(read)->count);
  weightfiles_close(&w);
  /* without its manifest it is somebody else's sharded model */
  assert_int_equal(remove(support_folder_path(p->dir, "caravan.json")), 0);
  must(checkpoint_read(p->dir, read, &got, false, &why), &why);
  expect(checkpoint_read(p->dir, read, &got, true, &why), &why, STATUS_MISSING, "optimizer");
  transformer_close(&written);
  transformer_close(&read);
}

/* ---- altered and torn files ---- */

/* The tensor whose values hold this byte of the file, or NULL for the header. */
static const char *tensor_at(const struct safetensors *st, uint64_t offset) {
  for (size_t i = 0; i < st->count; i++) {
    const struct safetensors_entry *e = &st->entries[i];
    if (offset >= st->data_begin + e->begin && offset < st->data_begin + e->end)
      return e->name;
  }
  return NULL;
}

static void flip_everywhere(const struct place *p, struct transformer *t, const char *file,
                            size_t stride) {
  struct why why;
  struct safetensors st;
  struct checkpoint_state got;
  struct io_bytes whole = support_folder_read(support_folder_path(p->dir, file));
  must(safetensors_parse(file, whole.at, whole.count, whole.count, &st, &why), &why);
  for (size_t i = 0; i < whole.count; i += stride) {
    const char *tensor = tensor_at(&st, i);
    whole.at[i] ^= (uint8_t)(1 << i % 8);
    support_folder_write(support_folder_path(p->dir, file), whole.at, whole.count);
    whole.at[i] ^= (uint8_t)(1 << i % 8);
    expect(checkpoint_read(p->dir, t, &got, true, &why), &why, STATUS_FORGED,
           tensor ? tensor : "the header of");
    expect(checkpoint_verify(p->dir, &why), &why, STATUS_FORGED, tensor ? tensor : "the header of");
  }
  support_folder_write(support_folder_path(p->dir, file), whole.at, whole.count);
  safetensors_free(&st);
  io_bytes_free(&whole);
}

static void a_flipped_bit_is_refused_with_the_tensors_name(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(5);
  struct why why;
  write_some(p, &a);
  struct transformer *t = open_model(p, &a, 6);
  flip_everywhere(p, t, "model.safetensors", 97);
  flip_everywhere(p, t, "optimizer.safetensors", 331);
  must(checkpoint_verify(p->dir, &why), &why); /* as it was again */
  transformer_close(&t);
}

static void a_flipped_bit_in_the_small_files_is_refused(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(1);
  struct why why;
  struct checkpoint_info info;
  write_some(p, &a);
  static const char *const files[] = {"config.json", "caravan.json"};
  for (int f = 0; f < 2; f++) {
    char path[PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s", support_folder_path(p->dir, files[f]));
    struct io_bytes whole = support_folder_read(path);
    for (size_t i = 0; i < whole.count; i += 5) {
      whole.at[i] ^= 4;
      support_folder_write(path, whole.at, whole.count);
      whole.at[i] ^= 4;
      enum status s = checkpoint_inspect(p->dir, &info, &why);
      if ((s != STATUS_FORGED && s != STATUS_BAD) || !strstr(why.text, files[f]))
        fail_msg("%s, byte %zu: %s %s", files[f], i, status_name(s), why.text);
    }
    support_folder_write(path, whole.at, whole.count);
    io_bytes_free(&whole);
  }
  must(checkpoint_verify(p->dir, &why), &why);
}

static void a_torn_file_is_refused_with_the_tensors_name(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(0);
  struct why why;
  struct safetensors st;
  struct checkpoint_state got;
  write_some(p, &a);
  struct transformer *t = open_model(p, &a, 6);
  char path[PATH_BYTES_MAX];
  snprintf(path, sizeof path, "%s", support_folder_path(p->dir, "model.safetensors"));
  struct io_bytes whole = support_folder_read(path);
  must(safetensors_parse("m", whole.at, whole.count, whole.count, &st, &why), &why);
  for (size_t cut = 0; cut < whole.count; cut += 301) {
    must(io_truncate(path, cut, &why), &why);
    const char *tensor = tensor_at(&st, cut);
    expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_SHORT,
           tensor ? tensor : "header");
    expect(checkpoint_verify(p->dir, &why), &why, STATUS_SHORT, tensor ? tensor : "header");
    support_folder_write(path, whole.at, whole.count);
  }
  safetensors_free(&st);
  io_bytes_free(&whole);
  transformer_close(&t);
}

static void a_file_that_is_gone_is_named(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(0);
  struct why why;
  write_some(p, &a);
  remove(support_folder_path(p->dir, "model.safetensors"));
  expect(checkpoint_verify(p->dir, &why), &why, STATUS_MISSING, "model.safetensors");
  remove(support_folder_path(p->dir, "config.json"));
  expect(checkpoint_verify(p->dir, &why), &why, STATUS_MISSING, "config.json");
  expect(checkpoint_verify("no such folder", &why), &why, STATUS_MISSING, "no such folder");
}

/* ---- somebody else's models ---- */

enum { EXTRA_MAX = 4 };

/* Rewrite model.safetensors without a manifest: tensors of t, changed. */
struct change {
  const char *leave_out, *other_shape;
  struct safetensors_entry extra[EXTRA_MAX];
  int extra_count;
  float extra_value; /* of every value of the extra tensors; their first value if they are f32 */
  bool extra_as_embedding;
};

static void write_changed(const struct place *p, struct transformer *t, const struct change *c) {
  struct why why;
  struct io_bytes header;
  struct io_writer *out;
  const struct arch_params *params = transformer_params(t);
  struct safetensors_entry *entries = calloc(params->count + EXTRA_MAX, sizeof *entries);
  size_t count = 0;
  remove(support_folder_path(p->dir, "caravan.json"));
  for (size_t i = 0; i < params->count; i++) {
    const struct arch_tensor *tensor = &params->tensors[i];
    if (c->leave_out && !strcmp(tensor->name, c->leave_out))
      continue;
    struct safetensors_entry *e = &entries[count++];
    snprintf(e->name, sizeof e->name, "%s", tensor->name);
    e->rank = tensor->rank;
    memcpy(e->shape, tensor->shape, sizeof tensor->shape);
    if (c->other_shape && !strcmp(tensor->name, c->other_shape)) {
      int64_t first = e->shape[0]; /* the same count of values, transposed */
      e->shape[0] = e->shape[1];
      e->shape[1] = first;
    }
  }
  for (int i = 0; i < c->extra_count; i++)
    entries[count++] = c->extra[i];
  must(safetensors_encode(entries, count, &header, &why), &why);
  must(io_writer_open(support_folder_path(p->dir, "model.safetensors"), false, &out, &why), &why);
  must(io_writer_add(out, header.at, header.count, &why), &why);
  for (size_t i = 0; i < count; i++) {
    const struct arch_tensor *tensor = arch_params_find(params, entries[i].name);
    float *values = calloc((size_t)entries[i].count + 1, sizeof *values);
    if (tensor)
      transformer_get(t, ARRAY_WEIGHTS, tensor->offset, tensor->count, values);
    else if (c->extra_as_embedding)
      transformer_get(t, ARRAY_WEIGHTS, params->tensors[0].offset, entries[i].count, values);
    if (!tensor)
      values[entries[i].count - 1] += c->extra_value;
    must(io_writer_add(out, values, (size_t)entries[i].count * sizeof *values, &why), &why);
    free(values);
  }
  must(io_writer_close(&out, &why), &why);
  io_bytes_free(&header);
  free(entries);
}

static void a_tensor_too_few_too_many_or_of_another_shape_is_named(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(0);
  struct why why;
  struct checkpoint_state got;
  struct transformer *t = open_model(p, &a, 6);
  write_some(p, &a);
  const char *dense = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight";
  write_changed(p, t, &(struct change){.leave_out = dense});
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_MISMATCH, dense);
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_MISMATCH, "missing");
  write_changed(p, t, &(struct change){.other_shape = dense});
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_MISMATCH,
         "'gpt_neox.layers.1.mlp.dense_4h_to_h.weight' is (11, 24); config.json makes it (24, 11)");
  write_changed(p, t,
                &(struct change){.extra = {{.name = "score.weight", .rank = 1, .shape = {3}}},
                                 .extra_count = 1});
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_MISMATCH, "'score.weight'");
  transformer_close(&t);
}

static void buffers_of_old_checkpoints_are_ignored(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(0);
  struct why why;
  struct checkpoint_state got;
  struct transformer *t = open_model(p, &a, 6), *read = open_model(p, &a, 7);
  write_some(p, &a);
  write_changed(
      p, t,
      &(struct change){
          .extra = {{.name = "gpt_neox.layers.0.attention.bias", .rank = 4, .shape = {1, 1, 9, 9}},
                    {.name = "gpt_neox.layers.0.attention.masked_bias", .rank = 0},
                    {.name = "gpt_neox.layers.0.attention.rotary_emb.inv_freq",
                     .rank = 1,
                     .shape = {1}}},
          .extra_count = 3});
  must(checkpoint_read(p->dir, read, &got, false, &why), &why);
  check_same(t, read);
  transformer_close(&t);
  transformer_close(&read);
}

static void a_tied_output_layer_may_come_twice_but_not_differ(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(6);
  struct why why;
  struct checkpoint_state got;
  struct transformer *t = open_model(p, &a, 6);
  write_some(p, &a);
  struct change c = {.extra = {{.name = "lm_head.weight", .rank = 2, .shape = {a.V, a.C}}},
                     .extra_count = 1,
                     .extra_as_embedding = true};
  write_changed(p, t, &c);
  must(checkpoint_read(p->dir, t, &got, false, &why), &why);
  c.extra_value = 1;
  write_changed(p, t, &c);
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_MISMATCH,
         "'lm_head.weight' differs");
  transformer_close(&t);
}

static void other_types_and_values_that_are_no_numbers_are_named(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(4);
  struct why why;
  struct checkpoint_state got;
  struct transformer *t = open_model(p, &a, 6);
  write_some(p, &a);
  const struct arch_tensor *norm = arch_params_find(transformer_params(t), "model.norm.weight");
  float infinite = (float)(1e30 * 1e30);
  transformer_set(t, ARRAY_WEIGHTS, norm->offset + 1, 1, &infinite);
  write_changed(p, t, &(struct change){0});
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_RANGE,
         "'model.norm.weight': value 1");
  char path[PATH_BYTES_MAX];
  snprintf(path, sizeof path, "%s", support_folder_path(p->dir, "model.safetensors"));
  struct io_bytes whole = support_folder_read(path);
  char *type = strstr((char *)whole.at + 8, "\"model.norm.weight\":{\"dtype\":\"F32\"");
  assert_non_null(type);
  memcpy(strstr(type, "F32"), "I32", 3);
  support_folder_write(path, whole.at, whole.count);
  io_bytes_free(&whole);
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_UNSUPPORTED,
         "'model.norm.weight' is of I32");
  transformer_close(&t);
}

static void another_architecture_is_refused_by_its_field(void **state) {
  const struct place *p = *state;
  struct arch a = support_model(0);
  struct why why;
  struct checkpoint_state got;
  write_some(p, &a);
  a.R = 4;
  struct transformer *t = open_model(p, &a, 6);
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_MISMATCH, "rotated channels");
  transformer_close(&t);
  a = support_model(0);
  a.parallel_residual = false;
  t = open_model(p, &a, 6);
  expect(checkpoint_read(p->dir, t, &got, false, &why), &why, STATUS_MISMATCH, "parallel residual");
  transformer_close(&t);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(everything_comes_back_to_the_bit),
      TEST(many_files_are_one_model),
      TEST(a_flipped_bit_is_refused_with_the_tensors_name),
      TEST(a_flipped_bit_in_the_small_files_is_refused),
      TEST(a_torn_file_is_refused_with_the_tensors_name),
      TEST(a_file_that_is_gone_is_named),
      TEST(a_tensor_too_few_too_many_or_of_another_shape_is_named),
      TEST(buffers_of_old_checkpoints_are_ignored),
      TEST(a_tied_output_layer_may_come_twice_but_not_differ),
      TEST(other_types_and_values_that_are_no_numbers_are_named),
      TEST(another_architecture_is_refused_by_its_field),
  };
  return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
