#include "node/train/runfile.h"

#include <string.h>

#include "node/train/runfile_table.h"
#include "node/train/yamltree.h"
#include "proto/base/claim.h"
#include "proto/base/options.h"

size_t runfile_line(const struct runfile *run, const char *key) {
  int index = runfile_find(key);
  CLAIM(index >= 0);
  return run->line[index];
}

/* "run.yaml:12: key "batch.tokens": " before what is wrong with the value as a whole. */
static enum status say_key(const struct runfile *run, const char *key, struct why *why) {
  size_t line = runfile_line(run, key);
  return line ? why_prefix(why, STATUS_RANGE, "%s:%zu: key \"%s\": ", run->file, line, key)
              : why_prefix(why, STATUS_RANGE, "%s: key \"%s\": ", run->file, key);
}

#define SAY_KEY(run, key, why, ...) \
  (why_say((why), STATUS_RANGE, __VA_ARGS__), say_key((run), (key), (why)))

/* The known keys of one section ("" for the top), for guessing what was meant. */
static const char *nearest_key(const char *section, const char *typed) {
  const char *names[RUNFILE_KEY_MAX + 1] = {NULL};
  size_t count = 0;
  size_t length = strlen(section);
  for (size_t i = 0; i < runfile_key_count(); i++) {
    const char *name = runfile_key(i)->name;
    const char *dot = strchr(name, '.');
    if (length ? dot && (size_t)(dot - name) == length && !strncmp(name, section, length) : !dot)
      names[count++] = length ? dot + 1 : name;
  }
  return options_nearest(typed, names);
}

/* A key that stands in another section than where it was written: "lr" at the top. */
static const char *same_key_elsewhere(const char *typed) {
  for (size_t i = 0; i < runfile_key_count(); i++) {
    const char *dot = strchr(runfile_key(i)->name, '.');
    if (!strcmp(dot ? dot + 1 : runfile_key(i)->name, typed))
      return runfile_key(i)->name;
  }
  return NULL;
}

static const char *const sections[] = {"model",      "data",       "batch",   "optimizer",
                                       "validation", "checkpoint", "machine", NULL};

static enum status say_unknown(const struct runfile *run, const char *section,
                               const struct yamlnode *n, struct why *why) {
  const char *dot = section[0] ? "." : "";
  const char *near = nearest_key(section, n->key);
  if (near)
    return why_say(why, STATUS_BAD, "%s:%zu: unknown key \"%s%s%.60s\"; did you mean \"%s%s%s\"?",
                   run->file, n->line, section, dot, n->key, section, dot, near);
  near = same_key_elsewhere(n->key);
  if (!near && !section[0])
    near = options_nearest(n->key, sections);
  if (near)
    return why_say(why, STATUS_BAD, "%s:%zu: unknown key \"%s%s%.60s\"; did you mean \"%s\"?",
                   run->file, n->line, section, dot, n->key, near);
  return why_say(why, STATUS_BAD,
                 "%s:%zu: unknown key \"%s%s%.60s\"; 'caravan-node train --print-defaults' shows "
                 "all that there are",
                 run->file, n->line, section, dot, n->key);
}

static bool is_section(const char *name) {
  for (size_t i = 0; sections[i]; i++)
    if (!strcmp(sections[i], name))
      return true;
  return false;
}

static enum status read_member(struct runfile *run, const char *section, const struct yamlnode *n,
                               struct why *why) {
  char name[NAME_BYTES_MAX];
  size_t length = strlen(section);
  size_t key_length = strlen(n->key);
  if (length + key_length + 2 > sizeof name)
    return say_unknown(run, section, n, why);
  memcpy(name, section, length);
  if (length)
    name[length++] = '.';
  memcpy(name + length, n->key, key_length + 1);
  int index = runfile_find(name);
  /* "model.heads" written with its dot at the top is not a key. */
  if (index < 0 || strchr(n->key, '.'))
    return say_unknown(run, section, n, why);
  run->line[index] = n->line;
  return runfile_set(run, runfile_key((size_t)index), n, why);
}

static bool is_preset(const char *name) {
  for (size_t i = 0; arch_preset_name(i); i++)
    if (!strcmp(arch_preset_name(i), name))
      return true;
  return false;
}

/* The preset first: the other keys of the section change what it says. */
static enum status read_model(struct runfile *run, const struct yamlnode *model, struct why *why) {
  const struct yamlnode *preset = yamlnode_member(model, "preset");
  if (preset) {
    TRY(read_member(run, "model", preset, why));
    if (!is_preset(run->preset)) {
      enum status missing = arch_preset(run->preset, &run->arch, why);
      return why_prefix(why, missing, "%s:%zu: key \"model.preset\": ", run->file, preset->line);
    }
    TRY(arch_preset(run->preset, &run->arch, why));
  }
  run->raw.family = (int64_t)run->arch.family;
  run->raw.activation = (int64_t)run->arch.activation;
  run->raw.init = (int64_t)run->arch.init;
  run->raw.rotary_fraction = preset ? (double)run->arch.R / (double)run->arch.D : 0;
  for (const struct yamlnode *n = model->child; n; n = n->next)
    if (n != preset)
      TRY(read_member(run, "model", n, why));
  run->has_model = true;
  return STATUS_OK;
}

static enum status read_section(struct runfile *run, const struct yamlnode *section,
                                struct why *why) {
  if (section->kind != YAMLNODE_MAPPING)
    return why_say(why, STATUS_BAD, "%s:%zu: key \"%s\": expected %s, got %s%.60s%s", run->file,
                   section->line, section->key, yamlnode_kind_text(YAMLNODE_MAPPING),
                   section->text ? "\"" : "",
                   section->text ? section->text : yamlnode_kind_text(section->kind),
                   section->text ? "\"" : "");
  if (!strcmp(section->key, "model"))
    return read_model(run, section, why);
  for (const struct yamlnode *n = section->child; n; n = n->next)
    TRY(read_member(run, section->key, n, why));
  return STATUS_OK;
}

static enum status read_tree(struct runfile *run, const struct yamlnode *root, struct why *why) {
  for (const struct yamlnode *n = root->child; n; n = n->next) {
    if (is_section(n->key))
      TRY(read_section(run, n, why));
    else
      TRY(read_member(run, "", n, why));
  }
  for (size_t i = 0; i < runfile_key_count(); i++) {
    const struct runfile_key *key = runfile_key(i);
    char expected[256];
    if (!run->line[i] && key->otherwise == DEFAULT_NONE)
      return why_say(why, STATUS_BAD, "%s:%zu: key \"%s\" is missing; expected %s", run->file,
                     root->line, key->name, runfile_expects(key, expected, sizeof expected));
  }
  return STATUS_OK;
}

static bool given(const struct runfile *run, const char *key) {
  return runfile_line(run, key) != 0;
}

/* What a model written field by field leaves out, and what follows from fields that were changed.
 */
static void complete_arch(const struct runfile *run, struct arch *a) {
  bool fresh = !run->preset[0];
  bool llama = a->family == ARCH_LLAMA;
  if (!given(run, "model.kv_heads") && (fresh || given(run, "model.heads")))
    a->HK = a->H;
  if (!given(run, "model.feed_forward") && (fresh || given(run, "model.channels")))
    a->F = llama ? (8 * a->C / 3 + 255) / 256 * 256 : 4 * a->C; /* LLaMA's rule */
  if (!fresh)
    return;
  if (!given(run, "model.rope_base"))
    a->rope_base = 10000;
  if (!given(run, "model.norm_eps"))
    a->norm_eps = llama ? 1e-6 : 1e-5;
  if (!given(run, "model.parallel_residual"))
    a->parallel_residual = !llama;
  if (!given(run, "model.activation"))
    a->activation = llama ? ACTIVATION_NONE : ACTIVATION_GELU;
  if (!given(run, "model.init"))
    a->init = llama ? ARCH_INIT_NORMAL : ARCH_INIT_SMALL_WANG;
  if (!given(run, "model.init_std"))
    a->init_std = 0.02;
}

static enum status resolve_arch(struct runfile *run, struct why *why) {
  static const char *const needed[] = {"model.family", "model.layers",     "model.channels",
                                       "model.heads",  "model.vocabulary", "model.positions"};
  struct arch *a = &run->arch;
  for (size_t i = 0; !run->preset[0] && i < sizeof needed / sizeof needed[0]; i++)
    if (!given(run, needed[i]))
      return why_say(why, STATUS_BAD,
                     "%s: key \"%s\" is missing; a model without a preset needs family, layers, "
                     "channels, heads, vocabulary and positions",
                     run->file, needed[i]);
  a->family = (enum arch_family)run->raw.family;
  a->activation = (enum activation)run->raw.activation;
  a->init = (enum arch_init)run->raw.init;
  if (a->H < 1 || a->C % a->H)
    return SAY_KEY(run, "model.channels", why, "%lld is not a multiple of the %lld heads",
                   (long long)a->C, (long long)a->H);
  a->D = a->C / a->H;
  complete_arch(run, a);
  double rotary = run->raw.rotary_fraction;
  if (!run->preset[0] && !given(run, "model.rotary_fraction"))
    rotary = a->family == ARCH_LLAMA ? 1.0 : 0.25;
  a->R = (int64_t)(rotary * (double)a->D) / 2 * 2;
  enum status s = arch_check(a, why);
  return s == STATUS_OK ? s : why_prefix(why, s, "%s: the model: ", run->file);
}

static enum status resolve_batch(struct runfile *run, const struct arch_recipe *recipe,
                                 struct why *why) {
  if (given(run, "batch.tokens") && given(run, "batch.sequences"))
    return SAY_KEY(run, "batch.sequences", why, "batch.tokens says it already; write one of them");
  if (given(run, "batch.sequences")) {
    run->raw.batch_tokens = run->batch_sequences * run->T;
  } else if (given(run, "batch.tokens")) {
    if (run->raw.batch_tokens % run->T)
      return SAY_KEY(run, "batch.tokens", why,
                     "%llu is not a multiple of the sequence length %llu; the nearest are %llu and "
                     "%llu",
                     (unsigned long long)run->raw.batch_tokens, (unsigned long long)run->T,
                     (unsigned long long)(run->raw.batch_tokens / run->T * run->T),
                     (unsigned long long)((run->raw.batch_tokens / run->T + 1) * run->T));
    run->batch_sequences = run->raw.batch_tokens / run->T;
  } else {
    uint64_t tokens = (uint64_t)recipe->batch_tokens;
    run->batch_sequences = tokens < run->T ? 1 : tokens / run->T;
    run->raw.batch_tokens = run->batch_sequences * run->T;
  }
  if (run->micro_sequences > run->batch_sequences)
    return SAY_KEY(run, "batch.micro", why, "%llu is more than the batch of %llu sequences",
                   (unsigned long long)run->micro_sequences,
                   (unsigned long long)run->batch_sequences);
  return STATUS_OK;
}

static enum status resolve_schedule(struct runfile *run, const struct arch_recipe *recipe,
                                    struct why *why) {
  if (!given(run, "sequence"))
    run->T = (uint64_t)run->arch.T;
  if (run->T > (uint64_t)run->arch.T)
    return SAY_KEY(run, "sequence", why, "%llu is more than the model's %lld positions",
                   (unsigned long long)run->T, (long long)run->arch.T);
  run->tokens_total = (run->tokens_total + run->T - 1) / run->T * run->T;
  TRY(resolve_batch(run, recipe, why));
  if (run->raw.warmup_fraction >= 0)
    run->warmup_tokens = (uint64_t)((double)run->tokens_total * run->raw.warmup_fraction);
  if (run->warmup_tokens >= run->tokens_total)
    return SAY_KEY(run, "optimizer.warmup", why,
                   "%llu tokens is not less than the schedule of %llu",
                   (unsigned long long)run->warmup_tokens, (unsigned long long)run->tokens_total);
  if (!given(run, "optimizer.lr"))
    run->lr = recipe->lr;
  if (!given(run, "optimizer.lr_min"))
    run->lr_min = given(run, "optimizer.lr") ? run->lr / 10 : recipe->lr_min;
  if (run->lr_min > run->lr)
    return SAY_KEY(run, "optimizer.lr_min", why, "%g is above the peak, optimizer.lr = %g",
                   run->lr_min, run->lr);
  if (!given(run, "validation.every"))
    run->validation_tokens = run->tokens_total / 20 + 1;
  if (!given(run, "checkpoint.every"))
    run->checkpoint_tokens = run->tokens_total / 10 + 1;
  return STATUS_OK;
}

/* What no preset says: the recipe of the smallest Pythias. */
static const struct arch_recipe plain_recipe = {
    .lr = 1e-3, .lr_min = 1e-4, .batch_tokens = 1 << 16};

static enum status resolve_run(struct runfile *run, struct why *why) {
  struct arch_recipe recipe = plain_recipe;
  if (run->preset[0])
    TRY(arch_preset_recipe(run->preset, &recipe, why));
  return resolve_schedule(run, &recipe, why);
}

static enum status resolve_machine(struct runfile *run, struct why *why) {
  run->recompute_auto = run->raw.recompute == 0;
  if (run->raw.recompute > 0)
    run->recompute = (enum transformer_recompute)(run->raw.recompute - 1);
  if (!given(run, "validation.samples"))
    run->validation_samples = run->holdout_count;
  if (run->validation_samples > run->holdout_count)
    return SAY_KEY(run, "validation.samples", why, "%llu is more than data.holdout, %llu",
                   (unsigned long long)run->validation_samples,
                   (unsigned long long)run->holdout_count);
  if (!given(run, "checkpoint.folder")) {
    memcpy(run->folder, "runs/", 5);
    memcpy(run->folder + 5, run->name, strlen(run->name) + 1);
  }
  return STATUS_OK;
}

enum status runfile_parse(const char *name, const void *bytes, size_t count, struct runfile *out,
                          struct why *why) {
  struct yamltree *tree = NULL;
  size_t name_length = strlen(name);
  memset(out, 0, sizeof *out);
  if (name_length >= sizeof out->file)
    return why_say(why, STATUS_RANGE, "the run file's path is longer than %d bytes",
                   PATH_BYTES_MAX - 1);
  memcpy(out->file, name, name_length + 1);
  TRY(yamltree_parse(name, bytes, count, &tree, why));
  for (size_t i = 0; i < runfile_key_count(); i++)
    if (runfile_key(i)->otherwise == DEFAULT_TEXT)
      runfile_set_default(out, runfile_key(i));
  enum status s = read_tree(out, yamltree_root(tree), why);
  yamltree_close(&tree);
  TRY(s);
  TRY(resolve_machine(out, why));
  if (!out->has_model && !out->start_from[0])
    return why_say(why, STATUS_BAD,
                   "%s: key \"model\" is missing; expected a mapping such as {preset: tiny}",
                   out->file);
  if (!out->has_model)
    return STATUS_OK;
  TRY(resolve_arch(out, why));
  return resolve_run(out, why);
}

enum status runfile_take_arch(struct runfile *run, const struct arch *arch, struct why *why) {
  CLAIM(!run->has_model);
  run->arch = *arch;
  run->has_model = true;
  run->raw.family = (int64_t)arch->family;
  run->raw.activation = (int64_t)arch->activation;
  run->raw.init = (int64_t)arch->init;
  run->raw.rotary_fraction = (double)arch->R / (double)arch->D;
  return resolve_run(run, why);
}
