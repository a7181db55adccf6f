#include "node/train/runfile_table.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/claim.h"

static const char *const family_words[] = {"neox", "llama", NULL};
static const char *const activation_words[] = {"none", "gelu", "gelu_tanh", NULL};
static const char *const init_words[] = {"normal", "small_wang", "scaled", NULL};
static const char *const recompute_words[] = {"auto", "none", "cheap", "layer", NULL};

#define AT(member) offsetof(struct runfile, member)

/* clang-format off */
static const struct runfile_key keys[] = {
    {"name", RUNFILE_NAME, DEFAULT_NONE, "my-run", AT(name),
     .help = "What the run is called."},
    {"seed", RUNFILE_COUNT, DEFAULT_TEXT, "1", AT(seed), .most = 9e15,
     .help = "Decides the first weights and the order of the data."},
    {"tokens_total", RUNFILE_COUNT, DEFAULT_NONE, "20M", AT(tokens_total), 1, 0x1p60, "tokens",
     .help = "Length of the schedule. Rounded up to whole sequences."},
    {"sequence", RUNFILE_COUNT, DEFAULT_PRESET, NULL, AT(T), 1, SHAPE_T_MAX, "tokens",
     .help = "Length of a training sequence; at most the model's positions."},
    {"start_from", RUNFILE_PATH, DEFAULT_EMPTY, "checkpoints/imported", AT(start_from),
     .help = "Begin with the weights of this checkpoint instead of random ones. Without a model "
             "section the model is that of the checkpoint."},

    {"model.preset", RUNFILE_NAME, DEFAULT_EMPTY, "tiny", AT(preset),
     .help = "A model by name ('caravan-node presets' lists them). Keys below it change it."},
    {"model.family", RUNFILE_WORD, DEFAULT_PRESET, NULL, AT(raw.family), .words = family_words,
     .help = "Without a preset: what kind of model; then layers, channels, heads, vocabulary and "
             "positions must be written too."},
    {"model.layers", RUNFILE_WIDTH, DEFAULT_PRESET, NULL, AT(arch.L), 1, SHAPE_L_MAX, "layers",
     .help = "Layers (L)."},
    {"model.channels", RUNFILE_WIDTH, DEFAULT_PRESET, NULL, AT(arch.C), 1, SHAPE_C_MAX, "channels",
     .help = "Width of the residual stream (C)."},
    {"model.feed_forward", RUNFILE_WIDTH, DEFAULT_PRESET, NULL, AT(arch.F), 1, SHAPE_F_MAX,
     "channels", .help = "Width of the feed-forward layers (F)."},
    {"model.heads", RUNFILE_WIDTH, DEFAULT_PRESET, NULL, AT(arch.H), 1, SHAPE_H_MAX, "heads",
     .help = "Attention heads (H)."},
    {"model.kv_heads", RUNFILE_WIDTH, DEFAULT_PRESET, NULL, AT(arch.HK), 1, SHAPE_H_MAX, "heads",
     .help = "Key/value heads (HK); fewer than heads: grouped queries, llama only."},
    {"model.vocabulary", RUNFILE_WIDTH, DEFAULT_PRESET, NULL, AT(arch.V), 1, SHAPE_V_MAX, "rows",
     .help = "Rows of the vocabulary table (V), padding included."},
    {"model.positions", RUNFILE_WIDTH, DEFAULT_PRESET, NULL, AT(arch.T), 1, SHAPE_T_MAX, "tokens",
     .help = "Longest sequence the model is made for."},
    {"model.rotary_fraction", RUNFILE_REAL, DEFAULT_PRESET, NULL, AT(raw.rotary_fraction), 0, 1,
     .above = true, .help = "Share of a head's channels that are rotated by position."},
    {"model.rope_base", RUNFILE_REAL, DEFAULT_PRESET, NULL, AT(arch.rope_base), 1, 1e12,
     .above = true, .help = "Base of the rotation angles."},
    {"model.norm_eps", RUNFILE_REAL, DEFAULT_PRESET, NULL, AT(arch.norm_eps), 0, 1, .above = true,
     .help = "Added to the variance in norms."},
    {"model.parallel_residual", RUNFILE_FLAG, DEFAULT_PRESET, NULL, AT(arch.parallel_residual),
     .help = "neox: attention and feed-forward side by side instead of one after the other."},
    {"model.tied", RUNFILE_FLAG, DEFAULT_PRESET, NULL, AT(arch.tied),
     .help = "The output layer is the embedding table."},
    {"model.activation", RUNFILE_WORD, DEFAULT_PRESET, NULL, AT(raw.activation),
     .words = activation_words, .help = "neox: of the feed-forward layers (llama has SwiGLU)."},
    {"model.init", RUNFILE_WORD, DEFAULT_PRESET, NULL, AT(raw.init), .words = init_words,
     .help = "How the first weights are drawn."},
    {"model.init_std", RUNFILE_REAL, DEFAULT_PRESET, NULL, AT(arch.init_std), 0, 10, .above = true,
     .help = "Standard deviation of the first weights; small_wang does not use it."},

    {"data.corpus", RUNFILE_PATHS, DEFAULT_NONE, "data/my-corpus", AT(corpus), .of_machine = true,
     .help = "A folder that 'caravan-node tokenize' wrote, or the common prefix of a Megatron pair "
             ".bin and .idx, or a list of such."},
    {"data.slices", RUNFILE_SLICES, DEFAULT_EMPTY, "{books: 0.3, web: 0.7}", AT(slices),
     .help = "Weights of the corpus's slices, by name; those not named are not used. Left out: "
             "every slice, weighted by its size."},
    {"data.holdout", RUNFILE_COUNT, DEFAULT_TEXT, "16", AT(holdout_count), 0, 1e6, "sequences",
     .help = "Sequences of every slice that are never trained on, for validation."},

    {"batch.tokens", RUNFILE_COUNT, DEFAULT_PRESET, NULL, AT(raw.batch_tokens), 1, 0x1p40,
     "tokens", .help = "Tokens of an optimizer step: a multiple of sequence."},
    {"batch.sequences", RUNFILE_COUNT, DEFAULT_EMPTY, "16", AT(batch_sequences), 1, 1 << 24,
     "sequences", .help = "The same in sequences; write one of the two."},
    {"batch.micro", RUNFILE_COUNT, DEFAULT_TEXT, "auto", AT(micro_sequences), 1, SHAPE_B_MAX,
     "sequences", .takes_auto = true, .of_machine = true,
     .help = "Sequences computed at once; auto: what the memory plan allows. Another number adds "
             "in another order, so results agree only up to rounding."},

    {"optimizer.lr", RUNFILE_REAL, DEFAULT_PRESET, NULL, AT(lr), 0, 1, .above = true,
     .help = "AdamW's peak learning rate, after warmup."},
    {"optimizer.lr_min", RUNFILE_REAL, DEFAULT_PRESET, NULL, AT(lr_min), 0, 1,
     .help = "Where the cosine ends; a tenth of lr unless written."},
    {"optimizer.warmup", RUNFILE_WARMUP, DEFAULT_TEXT, "1%", AT(warmup_tokens), 0, 0x1p60, "tokens",
     .help = "Over how much of the schedule the learning rate rises: 1% or 2M tokens."},
    {"optimizer.beta1", RUNFILE_REAL, DEFAULT_TEXT, "0.9", AT(beta1), 0, 0.9999,
     .help = "Decay of the first moment."},
    {"optimizer.beta2", RUNFILE_REAL, DEFAULT_TEXT, "0.95", AT(beta2), 0, 0.99999,
     .help = "Decay of the second moment."},
    {"optimizer.eps", RUNFILE_REAL, DEFAULT_TEXT, "1e-8", AT(eps), 0, 1, .above = true,
     .help = "Added to the root of the second moment."},
    {"optimizer.decay", RUNFILE_REAL, DEFAULT_TEXT, "0.1", AT(decay), 0, 10,
     .help = "Weight decay, on matrices only."},
    {"optimizer.clip", RUNFILE_REAL, DEFAULT_TEXT, "1.0", AT(clip), 0, 1e6,
     .help = "Largest norm of the whole gradient; 0: no limit."},

    {"validation.every", RUNFILE_COUNT, DEFAULT_PRESET, NULL, AT(validation_tokens), 1, 0x1p60,
     "tokens", .of_machine = true,
     .help = "How often the held-out sequences are looked at; a twentieth of the schedule unless "
             "written, and always at the end."},
    {"validation.samples", RUNFILE_COUNT, DEFAULT_PRESET, NULL, AT(validation_samples), 1, 1e6,
     "sequences", .of_machine = true,
     .help = "How many of every slice; all that are held out unless written."},

    {"checkpoint.folder", RUNFILE_PATH, DEFAULT_PRESET, NULL, AT(folder), .of_machine = true,
     .help = "Where step-N, metrics.jsonl and curve.svg go; runs/NAME unless written."},
    {"checkpoint.every", RUNFILE_COUNT, DEFAULT_PRESET, NULL, AT(checkpoint_tokens), 1, 0x1p60,
     "tokens", .of_machine = true,
     .help = "How often; a tenth of the schedule unless written. Also at the end and on Ctrl-C."},
    {"checkpoint.keep", RUNFILE_COUNT, DEFAULT_TEXT, "3", AT(checkpoint_keep), 1, 1e6,
     "checkpoints", .of_machine = true, .help = "Older ones are deleted."},

    {"machine.threads", RUNFILE_COUNT, DEFAULT_TEXT, "auto", AT(thread_count), 1, THREAD_COUNT_MAX,
     "threads", .takes_auto = true, .of_machine = true,
     .help = "auto: one per core. Another number may add in another order."},
    {"machine.memory", RUNFILE_BYTES, DEFAULT_TEXT, "auto", AT(memory_bytes), 1 << 20, 0x1p50,
     "bytes", .takes_auto = true, .of_machine = true,
     .help = "What training may take, such as 6G or 8Gi; auto: four fifths of this machine's."},
    {"machine.recompute", RUNFILE_WORD, DEFAULT_TEXT, "auto", AT(raw.recompute),
     .words = recompute_words, .of_machine = true,
     .help = "What the backward pass computes again to save memory; auto: as little as fits."},
};
/* clang-format on */

enum { KEY_COUNT = sizeof keys / sizeof keys[0] };
_Static_assert((int)KEY_COUNT <= (int)RUNFILE_KEY_MAX, "struct runfile keeps a line for each key");

size_t runfile_key_count(void) {
  return KEY_COUNT;
}

const struct runfile_key *runfile_key(size_t index) {
  CLAIM(index < KEY_COUNT);
  return &keys[index];
}

int runfile_find(const char *name) {
  for (int i = 0; i < KEY_COUNT; i++)
    if (!strcmp(keys[i].name, name))
      return i;
  return -1;
}

/* 2^60 reads better than 1152921504606846976. */
static const char *bound_text(double value, char out[32]) {
  if (value == 0x1p60)
    snprintf(out, 32, "2^60");
  else if (value == 0x1p50)
    snprintf(out, 32, "1024Ti");
  else if (value == 0x1p40)
    snprintf(out, 32, "1Ti");
  else
    snprintf(out, 32, "%.15g", value);
  return out;
}

static void expect_number(const struct runfile_key *key, char *out, size_t out_bytes) {
  char least[32];
  char most[32];
  bool whole = key->kind != RUNFILE_REAL;
  snprintf(out, out_bytes, "%s%s%s %s %s %s %s%s%s", whole ? "a whole number" : "a number",
           key->unit ? " of " : "", key->unit ? key->unit : "", key->above ? "above" : "from",
           bound_text(key->least, least), key->above ? "and at most" : "to",
           bound_text(key->most, most),
           key->kind == RUNFILE_BYTES                                         ? ", such as 8Gi"
           : key->unit && !strcmp(key->unit, "tokens") && key->most >= 0x1p40 ? ", such as 20M"
                                                                              : "",
           key->takes_auto ? ", or auto" : "");
}

static void expect_word(const struct runfile_key *key, char *out, size_t out_bytes) {
  size_t used = (size_t)snprintf(out, out_bytes, "one of ");
  for (size_t i = 0; key->words[i] && used < out_bytes; i++)
    used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", i ? ", " : "", key->words[i]);
}

const char *runfile_expects(const struct runfile_key *key, char *out, size_t out_bytes) {
  switch (key->kind) {
    case RUNFILE_NAME:
      snprintf(out, out_bytes, "a name of letters, digits, '.', '_' and '-', at most %d",
               NAME_BYTES_MAX - 1);
      break;
    case RUNFILE_PATH:
      snprintf(out, out_bytes, "a path of at most %d bytes", PATH_BYTES_MAX - 1);
      break;
    case RUNFILE_PATHS:
      snprintf(out, out_bytes, "a path, or a list of at most %d", RUNFILE_CORPUS_MAX);
      break;
    case RUNFILE_SLICES:
      snprintf(out, out_bytes, "slice names with weights, such as {books: 0.3, web: 0.7}");
      break;
    case RUNFILE_COUNT:
    case RUNFILE_WIDTH:
    case RUNFILE_BYTES:
    case RUNFILE_REAL: expect_number(key, out, out_bytes); break;
    case RUNFILE_FLAG: snprintf(out, out_bytes, "true or false"); break;
    case RUNFILE_WORD: expect_word(key, out, out_bytes); break;
    case RUNFILE_WARMUP:
      snprintf(out, out_bytes, "a percentage such as 1%%, or a number of tokens such as 2M");
      break;
  }
  return out;
}
