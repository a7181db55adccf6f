#include "node/checkpoint/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/checkpoint/hfconfig.h"
#include "node/checkpoint/manifest.h"
#include "node/checkpoint/weightfiles.h"

/* ---- the small files ---- */

/* A whole file, which must be the manifest's when there is one. */
static enum status read_small(const char *dir, const char *name, const struct manifest *m,
                              struct io_bytes *out, struct why *why) {
  char path[PATH_BYTES_MAX];
  TRY(io_path_join(dir, name, path, why));
  const struct manifest_file *f = m ? manifest_file(m, name) : NULL;
  if (m && !f)
    return why_say(why, STATUS_FORGED, "%s is not listed in caravan.json", name);
  struct io_bytes text;
  TRY(io_file_read(path, CHECKPOINT_FILE_BYTES_MAX, &text, why));
  if (f) {
    struct digest d = digest_of(DIGEST_PLAIN, text.at, text.count);
    if (!digest_equal(&d, &f->digest)) {
      bool torn = text.count < f->bytes;
      io_bytes_free(&text);
      return why_say(why, torn ? STATUS_SHORT : STATUS_FORGED,
                     "%s was %s: it does not match its digest in caravan.json", name,
                     torn ? "torn" : "altered");
    }
  }
  *out = text;
  return STATUS_OK;
}

/* *has: whether there is a manifest; without one *out is empty. */
static enum status read_manifest(const char *dir, struct manifest *out, bool *has,
                                 struct why *why) {
  char path[PATH_BYTES_MAX];
  *out = (struct manifest){0};
  *has = false;
  if (!io_is_folder(dir))
    return why_say(why, STATUS_MISSING, "there is no checkpoint '%s'", dir);
  TRY(io_path_join(dir, "caravan.json", path, why));
  if (!io_exists(path))
    return STATUS_OK;
  struct io_bytes text;
  TRY(io_file_read(path, MANIFEST_BYTES_MAX, &text, why));
  enum status s = manifest_parse("caravan.json", text.at, text.count, out, why);
  io_bytes_free(&text);
  *has = s == STATUS_OK;
  return s;
}

static enum status read_config(const char *dir, const struct manifest *m, struct arch *out,
                               struct why *why) {
  struct io_bytes text;
  TRY(read_small(dir, "config.json", m, &text, why));
  enum status s = hfconfig_parse("config.json", text.at, text.count, out, why);
  io_bytes_free(&text);
  return s;
}

/* Somebody else's tokenizer.json may be the byte tokenizer too: by its bytes. */
static enum status look_at_tokenizer(const char *dir, const struct manifest *m,
                                     struct checkpoint_info *info, struct why *why) {
  char path[PATH_BYTES_MAX];
  TRY(io_path_join(dir, "tokenizer.json", path, why));
  info->has_tokenizer = io_exists(path);
  if (!info->has_tokenizer)
    return STATUS_OK;
  struct io_bytes text;
  char *byte;
  TRY(read_small(dir, "tokenizer.json", m, &text, why));
  enum status s = hfconfig_encode_byte_tokenizer(&byte, why);
  if (s == STATUS_OK) {
    info->byte_tokenizer = strlen(byte) == text.count && !memcmp(byte, text.at, text.count);
    free(byte);
  }
  io_bytes_free(&text);
  return s;
}

enum status checkpoint_inspect(const char *dir, struct checkpoint_info *out, struct why *why) {
  struct manifest manifest;
  struct checkpoint_info info = {0};
  char path[PATH_BYTES_MAX];
  enum status s = read_manifest(dir, &manifest, &info.has_manifest, why);
  const struct manifest *m = info.has_manifest ? &manifest : NULL;
  if (s == STATUS_OK)
    s = read_config(dir, m, &info.arch, why);
  if (s == STATUS_OK)
    s = look_at_tokenizer(dir, m, &info, why);
  if (s == STATUS_OK)
    s = io_path_join(dir, "optimizer.safetensors", path, why);
  if (s == STATUS_OK) {
    info.state = manifest.state;
    info.has_optimizer = m && io_exists(path);
    *out = info;
  }
  manifest_free(&manifest);
  return s == STATUS_OK ? s : why_prefix(why, s, "%s: ", dir);
}

/* ---- what may lie in a model file beside the parameters ---- */

static bool ends_with(const char *name, const char *end) {
  size_t length = strlen(name), tail = strlen(end);
  return length >= tail && !strcmp(name + length - tail, end);
}

/* Constants that transformers computed at opening and, before 4.31, saved. */
static bool is_old_buffer(const char *name) {
  return ends_with(name, ".attention.bias") || ends_with(name, ".attention.masked_bias") ||
         ends_with(name, ".rotary_emb.inv_freq");
}

static const char *output_name(const struct arch *a) {
  return a->family == ARCH_NEOX ? "embed_out.weight" : "lm_head.weight";
}

struct comparison {
  struct transformer *t;
  int64_t offset;
  float *mine; /* (WEIGHTFILES_PIECE_VALUES) */
  bool differs;
};

static void compare_piece(void *context, int64_t first, const float *values, int64_t count) {
  struct comparison *c = context;
  transformer_get(c->t, ARRAY_WEIGHTS, c->offset + first, count, c->mine);
  c->differs = c->differs || memcmp(c->mine, values, (size_t)count * sizeof *values);
}

/* A tied model may carry its output layer a second time; if it is another one, config.json lies. */
static enum status check_tied_output(const struct weightfiles *w, struct transformer *t,
                                     struct why *why) {
  const struct arch_tensor *table = &transformer_params(t)->tensors[0];
  const char *name = output_name(transformer_arch(t));
  struct comparison c = {.t = t, .offset = table->offset};
  c.mine = malloc(WEIGHTFILES_PIECE_VALUES * sizeof *c.mine);
  if (!c.mine)
    return why_say(why, STATUS_NOMEM, "no memory to compare '%s'", name);
  const struct weightfiles_sink sink = {compare_piece, &c};
  enum status s = weightfiles_read(w, name, table->rank, table->shape, &sink, why);
  free(c.mine);
  if (s == STATUS_OK && c.differs)
    return why_say(why, STATUS_MISMATCH,
                   "config.json ties the output layer to the embedding, but "
                   "'%s' differs from '%s'",
                   name, table->name);
  return s;
}

static enum status check_unexpected(const struct weightfiles *w, struct transformer *t,
                                    struct why *why) {
  const struct arch *a = transformer_arch(t);
  for (size_t i = 0; i < weightfiles_count(w); i++) {
    const char *name = weightfiles_entry(w, i)->name;
    if (arch_params_find(transformer_params(t), name) || is_old_buffer(name))
      continue;
    if (!a->tied || strcmp(name, output_name(a)))
      return why_say(why, STATUS_MISMATCH, "tensor '%s' is not part of this architecture", name);
    TRY(check_tied_output(w, t, why));
  }
  return STATUS_OK;
}

/* ---- reading ---- */

struct filling {
  struct transformer *t;
  enum transformer_array which;
  int64_t offset;
};

static void fill_piece(void *context, int64_t first, const float *values, int64_t count) {
  struct filling *f = context;
  transformer_set(f->t, f->which, f->offset + first, count, values);
}

/* suffix: of the tensors' names in this file. */
static enum status fill_array(const struct weightfiles *w, struct transformer *t,
                              enum transformer_array which, const char *suffix, struct why *why) {
  const struct arch_params *p = transformer_params(t);
  for (size_t i = 0; i < p->count; i++) {
    const struct arch_tensor *tensor = &p->tensors[i];
    char name[NAME_BYTES_MAX * 2];
    snprintf(name, sizeof name, "%s%s", tensor->name, suffix);
    struct filling f = {t, which, tensor->offset};
    const struct weightfiles_sink sink = {fill_piece, &f};
    TRY(weightfiles_read(w, name, tensor->rank, tensor->shape, &sink, why));
  }
  return STATUS_OK;
}

static enum status same(const char *field, double theirs, double ours, struct why *why) {
  if (theirs == ours)
    return STATUS_OK;
  return why_say(why, STATUS_MISMATCH, "config.json has %s %g; the model being filled has %g",
                 field, theirs, ours);
}

/* The length it was trained for and how it was initialised do not matter to what it computes. */
static enum status check_same_arch(const struct arch *a, const struct arch *b, struct why *why) {
  TRY(same("family", a->family, b->family, why));
  TRY(same("layers", (double)a->L, (double)b->L, why));
  TRY(same("width", (double)a->C, (double)b->C, why));
  TRY(same("feed-forward width", (double)a->F, (double)b->F, why));
  TRY(same("heads", (double)a->H, (double)b->H, why));
  TRY(same("key/value heads", (double)a->HK, (double)b->HK, why));
  TRY(same("vocabulary", (double)a->V, (double)b->V, why));
  TRY(same("rotated channels", (double)a->R, (double)b->R, why));
  TRY(same("rotary base", a->rope_base, b->rope_base, why));
  TRY(same("norm epsilon", a->norm_eps, b->norm_eps, why));
  TRY(same("parallel residual", a->parallel_residual, b->parallel_residual, why));
  TRY(same("tied output layer", a->tied, b->tied, why));
  if (a->family == ARCH_NEOX)
    TRY(same("activation", a->activation, b->activation, why));
  return STATUS_OK;
}

static enum status read_weights(const char *dir, struct transformer *t, const struct manifest *m,
                                struct why *why) {
  struct weightfiles *w;
  TRY(weightfiles_open(dir, "model", m, &w, why));
  enum status s = fill_array(w, t, ARRAY_WEIGHTS, "", why);
  if (s == STATUS_OK)
    s = check_unexpected(w, t, why);
  weightfiles_close(&w);
  return s;
}

static enum status read_moments(const char *dir, struct transformer *t, const struct manifest *m,
                                struct why *why) {
  struct weightfiles *w;
  if (!m || !manifest_file(m, "optimizer.safetensors"))
    return why_say(why, STATUS_MISSING,
                   "it holds no optimizer state: training cannot resume from "
                   "it, only start from its weights");
  TRY(weightfiles_open(dir, "optimizer", m, &w, why));
  enum status s = fill_array(w, t, ARRAY_MOMENT_M, ".exp_avg", why);
  if (s == STATUS_OK)
    s = fill_array(w, t, ARRAY_MOMENT_V, ".exp_avg_sq", why);
  weightfiles_close(&w);
  return s;
}

enum status checkpoint_read(const char *dir, struct transformer *t, struct checkpoint_state *state,
                            bool with_optimizer, struct why *why) {
  struct manifest manifest;
  struct arch arch;
  bool has;
  enum status s = read_manifest(dir, &manifest, &has, why);
  const struct manifest *m = has ? &manifest : NULL;
  if (s == STATUS_OK)
    s = read_config(dir, m, &arch, why);
  if (s == STATUS_OK)
    s = check_same_arch(&arch, transformer_arch(t), why);
  if (s == STATUS_OK)
    s = read_weights(dir, t, m, why);
  if (s == STATUS_OK && with_optimizer)
    s = read_moments(dir, t, m, why);
  if (s == STATUS_OK && with_optimizer)
    transformer_step_set(t, (int64_t)manifest.state.step);
  if (s == STATUS_OK)
    *state = manifest.state;
  manifest_free(&manifest);
  return s == STATUS_OK ? s : why_prefix(why, s, "%s: ", dir);
}

/* ---- verifying ---- */

static enum status verify_weights(const char *dir, const char *stem, const struct manifest *m,
                                  size_t *tensors, struct why *why) {
  struct weightfiles *w;
  TRY(weightfiles_open(dir, stem, m, &w, why));
  enum status s = STATUS_OK;
  for (size_t i = 0; s == STATUS_OK && i < weightfiles_count(w); i++)
    s = weightfiles_read(w, weightfiles_entry(w, i)->name, -1, NULL, NULL, why);
  *tensors += weightfiles_count(w);
  weightfiles_close(&w);
  return s;
}

static enum status verify_all(const char *dir, const struct manifest *m, struct why *why) {
  size_t tensors = 0;
  for (size_t i = 0; i < m->file_count; i++) {
    struct io_bytes text;
    if (m->files[i].header_bytes)
      continue;
    TRY(read_small(dir, m->files[i].name, m, &text, why));
    io_bytes_free(&text);
  }
  TRY(verify_weights(dir, "model", m, &tensors, why));
  if (manifest_file(m, "optimizer.safetensors"))
    TRY(verify_weights(dir, "optimizer", m, &tensors, why));
  if (tensors != m->tensor_count)
    return why_say(why, STATUS_MISMATCH, "caravan.json lists %zu tensors; the files hold %zu",
                   m->tensor_count, tensors);
  return STATUS_OK;
}

enum status checkpoint_verify(const char *dir, struct why *why) {
  struct manifest manifest;
  struct arch arch;
  bool has;
  enum status s = read_manifest(dir, &manifest, &has, why);
  if (s == STATUS_OK && !has)
    s = why_say(why, STATUS_MISSING,
                "there is no caravan.json to compare it with; 'caravan-node "
                "import' makes a checkpoint of it");
  if (s == STATUS_OK)
    s = read_config(dir, &manifest, &arch, why);
  if (s == STATUS_OK)
    s = verify_all(dir, &manifest, why);
  manifest_free(&manifest);
  return s == STATUS_OK ? s : why_prefix(why, s, "%s: ", dir);
}
