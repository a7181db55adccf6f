/* The presets against published parameter counts, and the table of parameters. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/model/arch.h"

static struct why why;

static void assert_close(double got, double expected, double tolerance) {
  if (!(fabs(got - expected) <= tolerance))
    fail_msg("%.17g is not %.17g", got, expected);
}

static struct arch preset(const char *name) {
  struct arch a;
  assert_int_equal(arch_preset(name, &a, &why), STATUS_OK);
  return a;
}

static struct arch_params *table(const struct arch *a) {
  struct arch_params *p = NULL;
  assert_int_equal(arch_params_open(a, &p, &why), STATUS_OK);
  return p;
}

/* Counts of the models as published (untied, padded vocabulary). */
static void presets_have_the_published_parameter_counts(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int64_t count;
  } known[] = {
      {"pythia-14m", 14067712},
      {"pythia-31m", 30494720},
      {"pythia-70m", 70426624},
      {"pythia-160m", 162322944},
      {"pythia-410m", 405334016},
      {"pythia-1b", 1011781632},
      {"pythia-1.4b", 1414647808},
      {"pythia-2.8b", 2775208960},
      {"pythia-6.9b", 6857302016},
      {"pythia-12b", 11846072320},
      {"redpajama-incite-3b", 2775864320},
      {"redpajama-incite-7b", 6857302016},
      {"llama-7b", 6738415616},
  };
  size_t listed = 0;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    struct arch a = preset(known[i].name);
    struct arch_params *p = table(&a);
    assert_int_equal(p->param_count, known[i].count);
    arch_params_close(&p);
    assert_null(p);
  }
  while (arch_preset_name(listed))
    listed++;
  assert_int_equal(listed, sizeof known / sizeof known[0] + 1); /* and tiny */
}

static void presets_are_listed_in_order_of_size(void **state) {
  (void)state;
  int64_t before = 0;
  for (size_t i = 0; arch_preset_name(i); i++) {
    struct arch a = preset(arch_preset_name(i));
    struct arch_params *p = table(&a);
    assert_true(p->param_count >= before);
    before = p->param_count;
    arch_params_close(&p);
    struct arch_recipe r;
    assert_int_equal(arch_preset_recipe(arch_preset_name(i), &r, &why), STATUS_OK);
    assert_true(r.lr > r.lr_min && r.lr_min > 0 && r.batch_tokens % a.T == 0);
  }
}

static void an_unknown_preset_is_refused_with_the_list(void **state) {
  (void)state;
  struct arch a = {.L = 77};
  assert_int_equal(arch_preset("pythia-7b", &a, &why), STATUS_MISSING);
  assert_int_equal(a.L, 77);
  assert_non_null(strstr(why.text, "pythia-7b"));
  assert_non_null(strstr(why.text, "pythia-6.9b"));
  assert_non_null(strstr(why.text, "pythia-12b"));
}

static void incite_differs_from_pythia_where_its_config_does(void **state) {
  (void)state;
  struct arch i = preset("redpajama-incite-7b"), p = preset("pythia-6.9b");
  assert_int_equal(i.R, 128);
  assert_int_equal(p.R, 32);
  assert_false(i.parallel_residual);
  assert_true(p.parallel_residual);
  assert_int_equal(i.V, 50432);
  assert_int_equal(preset("redpajama-incite-3b").R, 80);
  assert_int_equal(preset("pythia-2.8b").R, 20);
}

/* Offsets ascend, tensors do not overlap, start aligned unless they belong to the one before. */
static void tensors_are_laid_out_without_overlap(void **state) {
  (void)state;
  struct arch a = preset("llama-7b");
  a.L = 2, a.C = 15, a.H = 5, a.HK = 1, a.D = 3, a.R = 2, a.F = 7, a.V = 11;
  a.family = ARCH_NEOX, a.HK = 5, a.activation = ACTIVATION_GELU;
  for (int llama = 0; llama < 2; llama++) {
    if (llama) {
      a.family = ARCH_LLAMA, a.HK = 1;
      a.C = 10, a.D = 2;
    }
    struct arch_params *p = table(&a);
    int64_t end = 0, count = 0;
    for (size_t i = 0; i < p->count; i++) {
      const struct arch_tensor *t = &p->tensors[i];
      assert_true(t->offset >= end);
      bool joined =
          strstr(t->name, "k_proj") || strstr(t->name, "v_proj") || strstr(t->name, "up_proj");
      if (joined)
        assert_int_equal(t->offset, end);
      else
        assert_int_equal(t->offset % ARCH_ALIGN, 0);
      assert_int_equal(t->count, t->shape[0] * (t->rank == 2 ? t->shape[1] : 1));
      assert_int_equal(t->decay, t->rank == 2);
      end = t->offset + t->count;
      count += t->count;
    }
    assert_true(p->values >= end && p->values < end + ARCH_ALIGN);
    assert_int_equal(count, p->param_count);
    arch_params_close(&p);
  }
}

static void assert_shape(const struct arch_params *p, const char *name, int64_t rows,
                         int64_t columns) {
  const struct arch_tensor *t = arch_params_find(p, name);
  if (!t)
    fail_msg("%s is not in the table", name);
  assert_int_equal(t->rank, columns ? 2 : 1);
  assert_int_equal(t->shape[0], rows);
  if (columns)
    assert_int_equal(t->shape[1], columns);
}

static void neox_tensors_have_hugging_face_names(void **state) {
  (void)state;
  struct arch a = preset("pythia-70m");
  struct arch_params *p = table(&a);
  assert_int_equal(p->count, 6 * 12 + 4);
  assert_shape(p, "gpt_neox.embed_in.weight", 50304, 512);
  assert_shape(p, "gpt_neox.layers.5.input_layernorm.weight", 512, 0);
  assert_shape(p, "gpt_neox.layers.0.input_layernorm.bias", 512, 0);
  assert_shape(p, "gpt_neox.layers.0.post_attention_layernorm.weight", 512, 0);
  assert_shape(p, "gpt_neox.layers.0.post_attention_layernorm.bias", 512, 0);
  assert_shape(p, "gpt_neox.layers.3.attention.query_key_value.weight", 1536, 512);
  assert_shape(p, "gpt_neox.layers.3.attention.query_key_value.bias", 1536, 0);
  assert_shape(p, "gpt_neox.layers.3.attention.dense.weight", 512, 512);
  assert_shape(p, "gpt_neox.layers.3.attention.dense.bias", 512, 0);
  assert_shape(p, "gpt_neox.layers.3.mlp.dense_h_to_4h.weight", 2048, 512);
  assert_shape(p, "gpt_neox.layers.3.mlp.dense_h_to_4h.bias", 2048, 0);
  assert_shape(p, "gpt_neox.layers.3.mlp.dense_4h_to_h.weight", 512, 2048);
  assert_shape(p, "gpt_neox.layers.3.mlp.dense_4h_to_h.bias", 512, 0);
  assert_shape(p, "gpt_neox.final_layer_norm.weight", 512, 0);
  assert_shape(p, "gpt_neox.final_layer_norm.bias", 512, 0);
  assert_shape(p, "embed_out.weight", 50304, 512);
  assert_null(arch_params_find(p, "gpt_neox.layers.6.attention.dense.weight"));
  arch_params_close(&p);
  a.tied = true;
  p = table(&a);
  assert_null(arch_params_find(p, "embed_out.weight"));
  arch_params_close(&p);
}

static void llama_tensors_have_hugging_face_names(void **state) {
  (void)state;
  struct arch a = preset("llama-7b");
  a.HK = 8;
  struct arch_params *p = table(&a);
  assert_int_equal(p->count, 32 * 9 + 3);
  assert_shape(p, "model.embed_tokens.weight", 32000, 4096);
  assert_shape(p, "model.layers.31.input_layernorm.weight", 4096, 0);
  assert_shape(p, "model.layers.31.post_attention_layernorm.weight", 4096, 0);
  assert_shape(p, "model.layers.31.self_attn.q_proj.weight", 4096, 4096);
  assert_shape(p, "model.layers.31.self_attn.k_proj.weight", 1024, 4096);
  assert_shape(p, "model.layers.31.self_attn.v_proj.weight", 1024, 4096);
  assert_shape(p, "model.layers.31.self_attn.o_proj.weight", 4096, 4096);
  assert_shape(p, "model.layers.31.mlp.gate_proj.weight", 11008, 4096);
  assert_shape(p, "model.layers.31.mlp.up_proj.weight", 11008, 4096);
  assert_shape(p, "model.layers.31.mlp.down_proj.weight", 4096, 11008);
  assert_shape(p, "model.norm.weight", 4096, 0);
  assert_shape(p, "lm_head.weight", 32000, 4096);
  arch_params_close(&p);
}

static void assert_refused(const struct arch *a, const char *word) {
  assert_int_equal(arch_check(a, &why), STATUS_RANGE);
  if (!strstr(why.text, word))
    fail_msg("'%s' does not say '%s'", why.text, word);
}

static void numbers_that_make_no_model_are_refused_by_name(void **state) {
  (void)state;
  struct arch good = preset("pythia-70m"), a;
  assert_int_equal(arch_check(&good, &why), STATUS_OK);
  a = good, a.L = 0, assert_refused(&a, "layers is 0");
  a = good, a.L = -3, assert_refused(&a, "-3");
  a = good, a.V = SHAPE_V_MAX + 1, assert_refused(&a, "vocabulary");
  a = good, a.H = 7, assert_refused(&a, "heads");
  a = good, a.R = 15, assert_refused(&a, "even");
  a = good, a.R = 66, assert_refused(&a, "66");
  a = good, a.HK = 4, assert_refused(&a, "key/value");
  a = good, a.norm_eps = 0, assert_refused(&a, "epsilon");
  a = good, a.norm_eps = NAN, assert_refused(&a, "epsilon");
  a = good, a.rope_base = 0.5, assert_refused(&a, "rotary base");
  a = good, a.activation = ACTIVATION_NONE, assert_refused(&a, "activation");
  a = good, a.init = ARCH_INIT_NORMAL, a.init_std = -1, assert_refused(&a, "deviation");
  a = preset("llama-7b"), a.HK = 5, assert_refused(&a, "divide");
  a = preset("llama-7b"), a.R = 64, assert_refused(&a, "rotates");
  a = preset("llama-7b"), a.parallel_residual = true, assert_refused(&a, "residual");
}

/* The formulas written out for one tensor of each kind. */
static void weights_start_as_the_configs_say(void **state) {
  (void)state;
  struct arch a = preset("pythia-160m");
  struct arch_params *p = table(&a);
  double small = sqrt(2.0 / (5 * 768)), wang = 2 / (12 * sqrt(768));
  assert_close(arch_params_find(p, "embed_out.weight")->std, small, 1e-15);
  assert_close(arch_params_find(p, "gpt_neox.layers.1.mlp.dense_h_to_4h.weight")->std, small,
               1e-15);
  assert_close(arch_params_find(p, "gpt_neox.layers.1.mlp.dense_4h_to_h.weight")->std, wang, 1e-15);
  assert_close(arch_params_find(p, "gpt_neox.layers.1.attention.dense.weight")->std, wang, 1e-15);
  assert_close(arch_params_find(p, "gpt_neox.layers.1.attention.dense.bias")->std, 0, 0);
  assert_true(arch_params_find(p, "gpt_neox.layers.1.input_layernorm.weight")->one);
  assert_false(arch_params_find(p, "gpt_neox.layers.1.input_layernorm.bias")->one);
  arch_params_close(&p);
  a = preset("pythia-6.9b");
  p = table(&a);
  assert_close(arch_params_find(p, "gpt_neox.layers.1.attention.dense.weight")->std, 0.02 / 8,
               1e-15);
  assert_close(arch_params_find(p, "gpt_neox.embed_in.weight")->std, 0.02, 1e-15);
  arch_params_close(&p);
}

/* Counted by hand: L6 C512 F2048: 6 · (4·512² + 8·512²) matrix values, head 50304 · 512. */
static void flop_per_token_is_six_per_matrix_value_and_half_the_square(void **state) {
  (void)state;
  struct arch a = preset("pythia-70m");
  double matrices = 6 * 12.0 * 512 * 512 + 50304.0 * 512;
  double attention = 6.0 * 6 * 512 * 2048;
  assert_close(arch_flop_per_token(&a, 2048), 6 * matrices + attention, 0.5);
  a = preset("llama-7b");
  a.HK = 8;
  matrices = 32 * (4096.0 * (4096 + 2 * 1024 + 4096) + 3 * 4096.0 * 11008) + 32000.0 * 4096;
  attention = 6.0 * 32 * 4096 * 100;
  assert_close(arch_flop_per_token(&a, 100), 6 * matrices + attention, 0.5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(presets_have_the_published_parameter_counts),
      cmocka_unit_test(presets_are_listed_in_order_of_size),
      cmocka_unit_test(an_unknown_preset_is_refused_with_the_list),
      cmocka_unit_test(incite_differs_from_pythia_where_its_config_does),
      cmocka_unit_test(tensors_are_laid_out_without_overlap),
      cmocka_unit_test(neox_tensors_have_hugging_face_names),
      cmocka_unit_test(llama_tensors_have_hugging_face_names),
      cmocka_unit_test(numbers_that_make_no_model_are_refused_by_name),
      cmocka_unit_test(weights_start_as_the_configs_say),
      cmocka_unit_test(flop_per_token_is_six_per_matrix_value_and_half_the_square),
  };
  return cmocka_run_group_tests_name("arch", tests, NULL, NULL);
}
