#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/checkpoint/checkpoint.h"
#include "node/command.h"
#include "node/model/generate.h"
#include "proto/base/io_file.h"
#include "proto/base/io_system.h"
#include "proto/base/options.h"

enum { PROMPT_BYTES_MAX = 16 << 20, TOKENS_MAX = 1 << 20, PENDING_BYTES_MAX = 1 << 17 };

struct sample_options {
  const char *checkpoint, *prompt;
  int64_t tokens, threads, seed;
  bool stats;
  struct generate_options choice;
};

/* One text in the making. */
struct sample {
  const struct sample_options *options;
  struct transformer *t;
  const struct tokenizer *tokenizer;
  struct tokenizer_work *work;
  int64_t choices;                 /* ids that the tokenizer has; the table's padding never comes */
  float *logits;                   /* (V) */
  struct generate_candidate *room; /* (V) */
  int32_t *tokens;                 /* the whole text so far */
  int64_t count, room_count;
  char pending[PENDING_BYTES_MAX]; /* bytes of a character that is not whole yet, then new ones */
  size_t pending_count;
  bool plain; /* to a terminal: no control characters */
};

/* ---- showing ---- */

/* What a model writes must not move a terminal's cursor. */
static void show(struct sample *s, size_t count) {
  for (size_t i = 0; s->plain && i < count; i++) {
    unsigned char c = (unsigned char)s->pending[i];
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
      s->pending[i] = '?';
  }
  fwrite(s->pending, 1, count, stdout);
  fflush(stdout);
  memmove(s->pending, s->pending + count, s->pending_count - count);
  s->pending_count -= count;
}

static enum status show_token(struct sample *s, uint32_t token, struct why *why) {
  const char *text;
  size_t bytes;
  TRY(tokenizer_decode(s->tokenizer, s->work, &token, 1, &text, &bytes, why));
  if (bytes > sizeof s->pending - s->pending_count)
    return why_say(why, STATUS_RANGE, "token %" PRIu32 " has %zu bytes; at most %zu can be shown",
                   token, bytes, sizeof s->pending - s->pending_count);
  memcpy(s->pending + s->pending_count, text, bytes);
  s->pending_count += bytes;
  show(s, generate_showable(s->pending, s->pending_count));
  return STATUS_OK;
}

/* ---- generating ---- */

static enum status start_text(struct sample *s, const uint32_t *ids, size_t count,
                              struct why *why) {
  int64_t eod = tokenizer_eod(s->tokenizer);
  if (count == 0 && eod < 0)
    return why_say(why, STATUS_USAGE,
                   "an empty prompt, and the tokenizer has no <|endoftext|> to "
                   "begin with: give a --prompt");
  s->room_count = (int64_t)count + 1 + s->options->tokens;
  s->tokens = malloc((size_t)s->room_count * sizeof *s->tokens);
  if (!s->tokens)
    return why_say(why, STATUS_NOMEM, "no memory for %" PRId64 " tokens", s->room_count);
  if (count == 0) /* a new document */
    s->tokens[s->count++] = (int32_t)eod;
  for (size_t i = 0; i < count; i++)
    s->tokens[s->count++] = (int32_t)ids[i];
  return STATUS_OK;
}

/* Feed the newest tokens; when the model's view is full, begin again with the newest half. */
static enum status feed(struct sample *s, int64_t fresh, int64_t *seen, struct why *why) {
  int64_t T = transformer_arch(s->t)->T;
  if (*seen + fresh > T) {
    transformer_rewind(s->t);
    *seen = 0;
    int64_t keep = T > 1 ? T / 2 : 1;
    fresh = s->count < keep ? s->count : keep;
  }
  TRY(transformer_feed(s->t, s->tokens + s->count - fresh, fresh, s->logits, why));
  *seen += fresh;
  return STATUS_OK;
}

static enum status generate(struct sample *s, struct why *why) {
  struct prng r = prng_seeded((uint64_t)s->options->seed, PRNG_SAMPLE);
  int64_t eod = tokenizer_eod(s->tokenizer);
  int64_t seen = 0;
  int64_t fresh = s->count;
  int64_t made = 0;
  uint64_t begin_ms = io_now_ms();
  while (made < s->options->tokens && !io_stop_wanted()) {
    uint32_t token;
    TRY(feed(s, fresh, &seen, why));
    TRY(generate_choose(&s->options->choice, &r, s->logits, s->choices, s->room, &token, why));
    if ((int64_t)token == eod)
      break;
    TRY(show_token(s, token, why));
    s->tokens[s->count++] = (int32_t)token;
    fresh = 1;
    made++;
  }
  show(s, s->pending_count);
  putchar('\n');
  double seconds = (double)(io_now_ms() - begin_ms) / 1000;
  if (s->options->stats)
    fprintf(stderr, "%" PRId64 " tokens  %.1f tokens/s\n", made,
            seconds > 0 ? (double)made / seconds : 0);
  if (fflush(stdout) || ferror(stdout))
    return why_say(why, STATUS_DISK, "cannot write to standard output");
  return STATUS_OK;
}

/* ---- preparing ---- */

/* The prompt itself, or all of standard input for "-". Free with io_bytes_free. */
static enum status read_prompt(const char *prompt, struct io_bytes *out, struct why *why) {
  if (!strcmp(prompt, "-"))
    return io_file_read("/dev/stdin", PROMPT_BYTES_MAX, out, why);
  size_t count = strlen(prompt);
  uint8_t *at = malloc(count + 1);
  if (!at)
    return why_say(why, STATUS_NOMEM, "no memory for the prompt");
  memcpy(at, prompt, count + 1);
  *out = (struct io_bytes){at, count};
  return STATUS_OK;
}

static enum status write_text(struct sample *s, struct why *why) {
  struct io_bytes prompt;
  const uint32_t *ids;
  size_t count;
  TRY(read_prompt(s->options->prompt, &prompt, why));
  enum status status =
      tokenizer_encode(s->tokenizer, s->work, prompt.at, prompt.count, &ids, &count, why);
  if (status == STATUS_OK)
    status = start_text(s, ids, count, why);
  if (status == STATUS_OK) {
    fwrite(prompt.at, 1, prompt.count, stdout);
    fflush(stdout);
    status = generate(s, why);
  }
  io_bytes_free(&prompt);
  return status;
}

static enum status sample_model(const struct sample_options *o, struct transformer *t,
                                const struct tokenizer *tokenizer, struct why *why) {
  int64_t V = transformer_arch(t)->V;
  int64_t ids = (int64_t)tokenizer_vocab_count(tokenizer);
  struct sample *s = calloc(1, sizeof *s);
  float *logits = calloc((size_t)V, sizeof *logits);
  struct generate_candidate *room = calloc((size_t)V, sizeof *room);
  enum status status = STATUS_OK;
  if (!s || !logits || !room)
    status = why_say(why, STATUS_NOMEM, "no memory for %" PRId64 " logits", V);
  if (status == STATUS_OK) {
    *s = (struct sample){.options = o, .t = t, .tokenizer = tokenizer, .logits = logits};
    s->room = room;
    s->choices = ids < V ? ids : V;
    s->plain = io_is_terminal(stdout);
    status = tokenizer_work_open(tokenizer, &s->work, why);
  }
  if (status == STATUS_OK) {
    status = write_text(s, why);
    tokenizer_work_close(&s->work);
  }
  if (s)
    free(s->tokens);
  free(s);
  free(logits);
  free(room);
  return status;
}

static enum status sample_with(struct engine *e, const struct sample_options *o, struct why *why) {
  struct checkpoint_info info;
  struct checkpoint_state state;
  struct transformer *t = NULL;
  struct tokenizer *tokenizer = NULL;
  TRY(checkpoint_inspect(o->checkpoint, &info, why));
  if (!info.has_tokenizer)
    return why_say(why, STATUS_MISSING,
                   "'%s' has no tokenizer.json: put the one it was trained "
                   "with beside config.json",
                   o->checkpoint);
  TRY(tokenizer_open(info.byte_tokenizer ? "byte" : o->checkpoint, &tokenizer, why));
  const struct transformer_options options = {.B = 1, .T = info.arch.T};
  enum status s = transformer_open(e, &info.arch, &options, &t, why);
  if (s == STATUS_OK)
    s = checkpoint_read(o->checkpoint, t, &state, false, why);
  if (s == STATUS_OK)
    s = sample_model(o, t, tokenizer, why);
  transformer_close(&t);
  tokenizer_close(&tokenizer);
  return s;
}

static enum status sample(int argc, char **argv, struct why *why) {
  struct sample_options o = {
      .prompt = "", .tokens = 256, .choice = {.temperature = 0.8, .top_p = 0.95}};
  const struct option table[] = {
      {"checkpoint", OPTION_TEXT, &o.checkpoint, "DIR", "a checkpoint or a Hugging Face model", 0,
       0},
      {"prompt", OPTION_TEXT, &o.prompt, "TEXT", "how the text begins; - reads standard input", 0,
       0},
      {"tokens", OPTION_INT, &o.tokens, "N", "at most this many; fewer at <|endoftext|>", 1,
       TOKENS_MAX},
      {"temperature", OPTION_REAL, &o.choice.temperature, "X", "below 1 safer, above 1 wilder",
       1e-6, 100},
      {"top-p", OPTION_REAL, &o.choice.top_p, "X", "only from the likeliest that sum to this", 1e-6,
       1},
      {"greedy", OPTION_FLAG, &o.choice.greedy, NULL, "always the likeliest token", 0, 0},
      {"seed", OPTION_INT, &o.seed, "N", "the same seed writes the same text", 0, 0x1p53},
      {"threads", OPTION_INT, &o.threads, "N", "0: one per core", 0, THREAD_COUNT_MAX},
      {"stats", OPTION_FLAG, &o.stats, NULL, "tokens per second at the end, on standard error", 0,
       0},
      {0}};
  const struct option_command command = {"caravan-node sample",
                                         NULL,
                                         "Let a checkpoint write text. It appears as it is made.",
                                         table,
                                         0,
                                         0};
  struct option_operands operands;
  struct engine *e;
  TRY(options_parse(&command, argc, argv, &operands, why));
  if (!o.checkpoint)
    return why_say(why, STATUS_USAGE, "--checkpoint DIR is needed: which model is to write");
  io_stop_catch();
  TRY(engine_cpu_open(&(struct engine_cpu_options){.thread_count = (int)o.threads}, &e, why));
  enum status s = sample_with(e, &o, why);
  engine_close(&e);
  return s;
}

int command_sample(int argc, char **argv) {
  struct why why = {""};
  enum status s = sample(argc, argv, &why);
  if (s == STATUS_STOPPED) /* help was asked for */
    return 0;
  if (s != STATUS_OK)
    fprintf(stderr, "caravan-node sample: %s\n", why.text);
  return status_exit_code(s);
}
