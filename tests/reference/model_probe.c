/* model_probe: what our engine computes for a model directory, as files that a script compares.
 *
 *   model_probe MODEL TOKENS.i32 B T STEPS OUT
 *
 * MODEL is a Hugging Face directory, TOKENS.i32 holds (B, T + 1) little-endian ids. Writes to OUT,
 * which must exist, raw little-endian arrays and a text file:
 *   logits.f32 (B, T, V)   greedy.i32: the first half of the first row, continued to T
 *   loss.f64               gradients.f32, updated.f32: every parameter's values, one after another
 *   names.txt              their names and counts, in that order
 *   norms.f64 (STEPS)      gradient norms of the AdamW steps, before clipping
 *   checkpoint/            the model before any step, as our checkpoint in files of 100 kB, with
 * the byte tokenizer The steps all use the same gradients, with the settings in `adam` below. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/checkpoint/checkpoint.h"
#include "node/model/generate.h"
#include "proto/base/io_file.h"

static const struct transformer_adam adam = {
    .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .clip = 1.0};

struct probe {
  const char *model, *out;
  struct engine *engine;
  struct arch arch;
  int64_t B, T, steps;
  int32_t *ids; /* (B, T + 1) */
};

static enum status put(const struct probe *p, const char *name, const void *bytes, size_t count,
                       struct why *why) {
  char path[PATH_BYTES_MAX];
  TRY(io_path_join(p->out, name, path, why));
  return io_file_write(path, bytes, count, why);
}

static enum status open_model(const struct probe *p, bool training, struct transformer **t,
                              struct why *why) {
  const struct transformer_options o = {.B = training ? p->B : 1, .T = p->T, .training = training};
  struct checkpoint_state state;
  TRY(transformer_open(p->engine, &p->arch, &o, t, why));
  transformer_init(*t, 1);
  return checkpoint_read(p->model, *t, &state, false, why);
}

static enum status put_logits(const struct probe *p, struct transformer *t, struct why *why) {
  int64_t row = p->T * p->arch.V;
  float *logits = malloc((size_t)(p->B * row) * sizeof *logits);
  if (!logits)
    return why_say(why, STATUS_NOMEM, "no memory for logits");
  enum status s = STATUS_OK;
  for (int64_t b = 0; s == STATUS_OK && b < p->B; b++)
    s = transformer_logits(t, p->ids + b * (p->T + 1), p->T, p->T, logits + b * row, why);
  if (s == STATUS_OK)
    s = put(p, "logits.f32", logits, (size_t)(p->B * row) * sizeof *logits, why);
  free(logits);
  return s;
}

/* Token by token through the key/value cache, as `caravan-node sample` does. */
static enum status put_greedy(const struct probe *p, struct transformer *t, struct why *why) {
  const struct generate_options greedy = {.greedy = true};
  int32_t *ids = malloc((size_t)p->T * sizeof *ids);
  float *logits = malloc((size_t)p->arch.V * sizeof *logits);
  if (!ids || !logits)
    return why_say(why, STATUS_NOMEM, "no memory for logits");
  int64_t count = p->T / 2;
  memcpy(ids, p->ids, (size_t)count * sizeof *ids);
  enum status s = transformer_feed(t, ids, count, logits, why);
  while (s == STATUS_OK && count < p->T) {
    uint32_t token;
    s = generate_choose(&greedy, NULL, logits, p->arch.V, NULL, &token, why);
    if (s != STATUS_OK)
      break;
    ids[count++] = (int32_t)token;
    if (count < p->T)
      s = transformer_feed(t, &ids[count - 1], 1, logits, why);
  }
  if (s == STATUS_OK)
    s = put(p, "greedy.i32", ids, (size_t)p->T * sizeof *ids, why);
  free(ids);
  free(logits);
  return s;
}

static enum status put_array(const struct probe *p, struct transformer *t,
                             enum transformer_array which, const char *name, struct why *why) {
  const struct arch_params *params = transformer_params(t);
  float *values = malloc((size_t)params->param_count * sizeof *values);
  if (!values)
    return why_say(why, STATUS_NOMEM, "no memory for %s", name);
  int64_t at = 0;
  for (size_t i = 0; i < params->count; i++) {
    transformer_get(t, which, params->tensors[i].offset, params->tensors[i].count, values + at);
    at += params->tensors[i].count;
  }
  enum status s = put(p, name, values, (size_t)at * sizeof *values, why);
  free(values);
  return s;
}

static enum status put_names(const struct probe *p, struct transformer *t, struct why *why) {
  const struct arch_params *params = transformer_params(t);
  size_t room = params->count * (NAME_BYTES_MAX + 32), used = 0;
  char *text = malloc(room);
  if (!text)
    return why_say(why, STATUS_NOMEM, "no memory for names");
  for (size_t i = 0; i < params->count; i++)
    used += (size_t)snprintf(text + used, room - used, "%s %lld %d\n", params->tensors[i].name,
                             (long long)params->tensors[i].count, params->tensors[i].decay);
  enum status s = put(p, "names.txt", text, used, why);
  free(text);
  return s;
}

static enum status put_training(const struct probe *p, struct transformer *t, struct why *why) {
  int64_t rows = p->B * p->T;
  int32_t *tokens = malloc((size_t)rows * sizeof *tokens);
  int32_t *targets = malloc((size_t)rows * sizeof *targets);
  double *norms = calloc((size_t)p->steps, sizeof *norms);
  double loss = 0;
  if (!tokens || !targets || !norms)
    return why_say(why, STATUS_NOMEM, "no memory for %lld rows", (long long)rows);
  for (int64_t i = 0; i < rows; i++) {
    const int32_t *at = p->ids + i / p->T * (p->T + 1) + i % p->T;
    tokens[i] = at[0];
    targets[i] = at[1];
  }
  enum status s = transformer_backward(t, tokens, targets, 1.0 / (double)rows, false, &loss, why);
  loss /= (double)rows;
  if (s == STATUS_OK)
    s = put(p, "loss.f64", &loss, sizeof loss, why);
  if (s == STATUS_OK)
    s = put_array(p, t, ARRAY_GRADIENTS, "gradients.f32", why);
  for (int64_t i = 0; s == STATUS_OK && i < p->steps; i++)
    s = transformer_update(t, &adam, &norms[i], why);
  if (s == STATUS_OK)
    s = put_array(p, t, ARRAY_WEIGHTS, "updated.f32", why);
  if (s == STATUS_OK)
    s = put(p, "norms.f64", norms, (size_t)p->steps * sizeof *norms, why);
  free(tokens);
  free(targets);
  free(norms);
  return s;
}

static enum status put_checkpoint(const struct probe *p, struct transformer *t, struct why *why) {
  char path[PATH_BYTES_MAX];
  const struct checkpoint_state state = {0};
  struct tokenizer *tokenizer;
  TRY(io_path_join(p->out, "checkpoint", path, why));
  TRY(tokenizer_open("byte", &tokenizer, why));
  enum status s = checkpoint_write_shards(path, t, &state, tokenizer, true, UINT64_C(100000), why);
  tokenizer_close(&tokenizer);
  return s;
}

static enum status probe(struct probe *p, const char *tokens, struct why *why) {
  struct checkpoint_info info;
  struct io_bytes ids;
  struct transformer *t = NULL;
  TRY(checkpoint_inspect(p->model, &info, why));
  p->arch = info.arch;
  TRY(io_file_read(tokens, 1 << 28, &ids, why));
  if (ids.count != (size_t)(p->B * (p->T + 1)) * 4)
    return why_say(why, STATUS_MISMATCH, "%s has %zu bytes", tokens, ids.count);
  p->ids = (int32_t *)(void *)ids.at;
  enum status s = open_model(p, false, &t, why);
  if (s == STATUS_OK)
    s = put_logits(p, t, why);
  if (s == STATUS_OK)
    s = put_greedy(p, t, why);
  transformer_close(&t);
  if (s == STATUS_OK)
    s = open_model(p, true, &t, why);
  if (s == STATUS_OK)
    s = put_names(p, t, why);
  if (s == STATUS_OK)
    s = put_checkpoint(p, t, why);
  if (s == STATUS_OK)
    s = put_training(p, t, why);
  transformer_close(&t);
  io_bytes_free(&ids);
  return s;
}

int main(int argc, char **argv) {
  struct why why = {""};
  if (argc != 7) {
    fprintf(stderr, "usage: model_probe MODEL TOKENS.i32 B T STEPS OUT\n");
    return 64;
  }
  struct probe p = {.model = argv[1], .out = argv[6]};
  p.B = atoll(argv[3]);
  p.T = atoll(argv[4]);
  p.steps = atoll(argv[5]);
  enum status s = engine_cpu_open(&(struct engine_cpu_options){.thread_count = 2}, &p.engine, &why);
  if (s == STATUS_OK)
    s = probe(&p, argv[2], &why);
  engine_close(&p.engine);
  if (s != STATUS_OK)
    fprintf(stderr, "model_probe: %s: %s\n", status_name(s), why.text);
  return status_exit_code(s);
}
