#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/checkpoint/hfconfig.h"
#include "support_model.h"

#define NEOX                                                                                  \
  "\"model_type\":\"gpt_neox\",\"architectures\":[\"GPTNeoXForCausalLM\"],\"vocab_size\":50," \
  "\"hidden_size\":64,\"num_hidden_layers\":3,\"num_attention_heads\":4,"                     \
  "\"intermediate_size\":96"
#define LLAMA                                                                            \
  "\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"vocab_size\":50," \
  "\"hidden_size\":64,\"num_hidden_layers\":3,\"num_attention_heads\":4,\"intermediate_size\":96"

static struct arch read_config(const char *keys) {
  char json[2048];
  struct arch a;
  struct why why;
  snprintf(json, sizeof json, "{%s}", keys);
  enum status s = hfconfig_parse("config.json", json, strlen(json), &a, &why);
  if (s != STATUS_OK)
    fail_msg("%s: %s %s", json, status_name(s), why.text);
  return a;
}

static void refuse(const char *keys, enum status wanted, const char *words) {
  char json[2048];
  struct arch a = {.C = 12345};
  struct why why;
  snprintf(json, sizeof json, "{%s}", keys);
  enum status s = hfconfig_parse("config.json", json, strlen(json), &a, &why);
  if (s != wanted || !strstr(why.text, words))
    fail_msg("%s\n gave %s \"%s\"; expected %s with \"%s\"", json, status_name(s),
             s ? why.text : "", status_name(wanted), words);
  assert_int_equal(a.C, 12345);
}

static void absent_keys_have_the_defaults_of_transformers(void **state) {
  (void)state;
  struct arch a = read_config(NEOX);
  assert_int_equal(a.family, ARCH_NEOX);
  assert_int_equal(a.V, 50);
  assert_int_equal(a.C, 64);
  assert_int_equal(a.L, 3);
  assert_int_equal(a.H, 4);
  assert_int_equal(a.HK, 4);
  assert_int_equal(a.D, 16);
  assert_int_equal(a.F, 96);
  assert_int_equal(a.T, 2048);
  assert_int_equal(a.R, 4); /* rotary_pct 0.25 */
  assert_true(a.rope_base == 10000 && a.norm_eps == 1e-5);
  assert_true(a.parallel_residual && !a.tied);
  assert_int_equal(a.activation, ACTIVATION_GELU);
  a = read_config(LLAMA);
  assert_int_equal(a.family, ARCH_LLAMA);
  assert_int_equal(a.HK, 4);
  assert_int_equal(a.R, 16);
  assert_true(a.rope_base == 10000 && a.norm_eps == 1e-6);
  assert_false(a.parallel_residual || a.tied);
}

static void old_and_new_keys_say_the_same(void **state) {
  (void)state;
  static const char *const written[] = {
      NEOX ",\"rotary_pct\":0.5,\"rotary_emb_base\":500",
      NEOX ",\"partial_rotary_factor\":0.5,\"rope_theta\":500.0",
      NEOX
      ",\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5,"
      "\"rope_theta\":500}",
      NEOX
      ",\"rotary_pct\":0.5,\"rope_theta\":500,\"rope_scaling\":null,"
      "\"rope_parameters\":{\"type\":\"default\",\"partial_rotary_factor\":0.5}",
  };
  for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
    struct arch a = read_config(written[i]);
    assert_int_equal(a.R, 8);
    assert_true(a.rope_base == 500);
  }
  struct arch a = read_config(LLAMA ",\"rope_parameters\":{\"rope_theta\":7.5}");
  assert_true(a.rope_base == 7.5);
}

static void keys_that_contradict_each_other_are_refused_by_name(void **state) {
  (void)state;
  refuse(NEOX ",\"rotary_emb_base\":500,\"rope_theta\":600", STATUS_MISMATCH,
         "\"rotary_emb_base\" is 500 and \"rope_theta\" is 600");
  refuse(NEOX ",\"rotary_pct\":1.0,\"rope_parameters\":{\"partial_rotary_factor\":0.5}",
         STATUS_MISMATCH, "\"rotary_pct\" is 1 and \"partial_rotary_factor\" is 0.5");
}

static void activations_are_read_by_all_their_names(void **state) {
  (void)state;
  static const struct {
    const char *name;
    enum activation activation;
  } known[] = {{"gelu", ACTIVATION_GELU},
               {"gelu_new", ACTIVATION_GELU_TANH},
               {"gelu_fast", ACTIVATION_GELU_TANH},
               {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH}};
  for (size_t i = 0; i < 4; i++) {
    char keys[1024];
    snprintf(keys, sizeof keys, NEOX ",\"hidden_act\":\"%s\"", known[i].name);
    assert_int_equal(read_config(keys).activation, known[i].activation);
  }
  refuse(NEOX ",\"hidden_act\":\"relu\"", STATUS_UNSUPPORTED, "\"hidden_act\" is relu");
  refuse(LLAMA ",\"hidden_act\":\"gelu\"", STATUS_UNSUPPORTED, "\"hidden_act\" is gelu");
}

static void what_would_change_the_mathematics_is_refused_by_name(void **state) {
  (void)state;
  refuse(NEOX ",\"attention_bias\":false", STATUS_UNSUPPORTED, "\"attention_bias\" is false");
  refuse(NEOX ",\"hidden_dropout\":0.1", STATUS_UNSUPPORTED, "\"hidden_dropout\" is 0.1");
  refuse(NEOX ",\"attention_dropout\":0.1", STATUS_UNSUPPORTED, "\"attention_dropout\" is 0.1");
  refuse(LLAMA ",\"attention_bias\":true", STATUS_UNSUPPORTED, "\"attention_bias\" is true");
  refuse(LLAMA ",\"mlp_bias\":true", STATUS_UNSUPPORTED, "\"mlp_bias\" is true");
  refuse(LLAMA ",\"head_dim\":32", STATUS_UNSUPPORTED, "\"head_dim\" is 32");
  refuse(LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}", STATUS_UNSUPPORTED,
         "\"rope_scaling\" is linear");
  refuse(LLAMA ",\"rope_scaling\":{\"factor\":2.0}", STATUS_UNSUPPORTED, "\"rope_scaling\"");
  refuse(LLAMA ",\"rope_parameters\":{\"rope_type\":\"llama3\"}", STATUS_UNSUPPORTED,
         "\"rope_parameters\" is llama3");
  refuse(LLAMA ",\"partial_rotary_factor\":0.5", STATUS_RANGE, "rotates every channel");
  refuse(LLAMA ",\"quantization_config\":{\"bits\":4}", STATUS_UNSUPPORTED,
         "\"quantization_config\"");
  refuse(LLAMA ",\"pruned_heads\":{\"0\":[1]}", STATUS_UNSUPPORTED, "\"pruned_heads\"");
  read_config(LLAMA ",\"pruned_heads\":{},\"head_dim\":16,\"rope_scaling\":null");
}

static void other_architectures_are_refused_by_name(void **state) {
  (void)state;
  refuse("\"model_type\":\"mistral\"", STATUS_UNSUPPORTED, "\"model_type\" is mistral");
  refuse("\"hidden_size\":4", STATUS_UNSUPPORTED, "\"model_type\" is missing");
  refuse("\"model_type\":\"gpt_neox\",\"architectures\":[\"GPTNeoXForSequenceClassification\"]",
         STATUS_UNSUPPORTED, "\"architectures\" is GPTNeoXForSequenceClassification");
}

static void keys_of_the_wrong_kind_are_refused_by_name(void **state) {
  (void)state;
  refuse("\"model_type\":\"llama\",\"hidden_size\":64", STATUS_BAD, "is missing");
  refuse(LLAMA ",\"num_key_value_heads\":2.0", STATUS_BAD, "\"num_key_value_heads\" is no whole");
  refuse(LLAMA ",\"rms_norm_eps\":\"1e-5\"", STATUS_BAD, "\"rms_norm_eps\" is no number");
  refuse(LLAMA ",\"tie_word_embeddings\":1", STATUS_BAD, "\"tie_word_embeddings\"");
  refuse(LLAMA ",\"rope_scaling\":\"linear\"", STATUS_BAD, "\"rope_scaling\" is no object");
  refuse(LLAMA ",\"vocab_size\":51", STATUS_BAD, "uplicate");
  refuse(LLAMA ",\"num_key_value_heads\":3", STATUS_RANGE, "key/value heads");
  refuse(LLAMA ",\"rms_norm_eps\":0", STATUS_RANGE, "epsilon");
  refuse(NEOX ",\"rotary_pct\":1.5", STATUS_RANGE, "rotary fraction is 1.5");
  refuse(NEOX ",\"rotary_pct\":0.01", STATUS_RANGE, "rotated channels");
}

static void what_is_written_is_read_as_the_same_model(void **state) {
  (void)state;
  for (int i = 0; support_model_name(i); i++) {
    struct arch a = support_model(i), b;
    struct why why;
    char *text;
    assert_int_equal(hfconfig_encode(&a, 0, &text, &why), STATUS_OK);
    enum status s = hfconfig_parse("config.json", text, strlen(text), &b, &why);
    if (s != STATUS_OK)
      fail_msg("%s: %s", support_model_name(i), why.text);
    free(text);
    if (a.family == ARCH_LLAMA)
      b.activation = a.activation;
    a.init = b.init;
    assert_memory_equal(&a, &b, sizeof a);
  }
}

/* R is int(D · fraction) in transformers; a fraction that is rounded down would lose a pair. */
static void every_count_of_rotated_channels_survives(void **state) {
  (void)state;
  struct arch a = support_model(0);
  a.H = a.HK = 1;
  for (a.D = 2; a.D <= 256; a.D++) {
    a.C = a.D;
    for (a.R = 2; a.R <= a.D; a.R += 2) {
      struct arch b;
      struct why why;
      char *text;
      assert_int_equal(hfconfig_encode(&a, -1, &text, &why), STATUS_OK);
      assert_int_equal(hfconfig_parse("c", text, strlen(text), &b, &why), STATUS_OK);
      free(text);
      if (a.R != b.R)
        fail_msg("%lld of %lld came back as %lld", (long long)a.R, (long long)a.D, (long long)b.R);
      if (a.D > 64)
        a.R += 12; /* a sample of the large ones */
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(absent_keys_have_the_defaults_of_transformers),
      cmocka_unit_test(old_and_new_keys_say_the_same),
      cmocka_unit_test(keys_that_contradict_each_other_are_refused_by_name),
      cmocka_unit_test(activations_are_read_by_all_their_names),
      cmocka_unit_test(what_would_change_the_mathematics_is_refused_by_name),
      cmocka_unit_test(other_architectures_are_refused_by_name),
      cmocka_unit_test(keys_of_the_wrong_kind_are_refused_by_name),
      cmocka_unit_test(what_is_written_is_read_as_the_same_model),
      cmocka_unit_test(every_count_of_rotated_channels_survives),
  };
  return cmocka_run_group_tests_name("hfconfig", tests, NULL, NULL);
}
