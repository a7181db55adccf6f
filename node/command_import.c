#include <stdio.h>
#include <string.h>

#include "node/checkpoint/checkpoint.h"
#include "node/command.h"
#include "proto/base/io_file.h"
#include "proto/base/io_system.h"
#include "proto/base/options.h"

/* The tokenizer beside the model, if there is one and it is one of ours; a model without is fine.
 */
static enum status open_tokenizer(const char *dir, const struct checkpoint_info *info,
                                  struct tokenizer **out, struct why *why) {
  *out = NULL;
  if (!info->has_tokenizer)
    return STATUS_OK;
  struct why reason;
  enum status s = tokenizer_open(info->byte_tokenizer ? "byte" : dir, out, &reason);
  if (s == STATUS_UNSUPPORTED) {
    fprintf(stderr, "caravan-node import: the tokenizer is left out: %s\n", reason.text);
    return STATUS_OK;
  }
  return s == STATUS_OK ? s : why_say(why, s, "%s", reason.text);
}

static enum status copy_model(const char *dir, const char *out, const struct checkpoint_info *info,
                              struct transformer *t, struct why *why) {
  struct checkpoint_state state;
  struct tokenizer *tokenizer;
  TRY(checkpoint_read(dir, t, &state, false, why));
  TRY(open_tokenizer(dir, info, &tokenizer, why));
  /* A new beginning: what was trained elsewhere is not counted here. */
  state = (struct checkpoint_state){0};
  if (tokenizer)
    state.tokenizer = *tokenizer_digest(tokenizer);
  enum status s = checkpoint_write(out, t, &state, tokenizer, false, why);
  tokenizer_close(&tokenizer);
  return s;
}

static void say_done(const char *out, const struct transformer *t, uint64_t begin_ms) {
  char count[32], bytes[32], time[32];
  double parameters = (double)transformer_params(t)->param_count;
  printf("%s  %s  %s parameters  %s of weights  in %s\n", out,
         transformer_arch(t)->family == ARCH_NEOX ? "GPT-NeoX" : "LLaMA",
         io_human_count(parameters, count), io_human_bytes(parameters * 4, bytes),
         io_human_seconds((double)(io_now_ms() - begin_ms) / 1000, time));
}

static enum status import_with(struct engine *e, const char *dir, const char *out,
                               struct why *why) {
  uint64_t begin_ms = io_now_ms();
  struct checkpoint_info info;
  struct transformer *t;
  const struct transformer_options o = {.B = 1, .T = 1};
  if (io_exists(out))
    return why_say(why, STATUS_EXISTS, "'%s' is there already; remove it or choose another name",
                   out);
  TRY(checkpoint_inspect(dir, &info, why));
  TRY(transformer_open(e, &info.arch, &o, &t, why));
  enum status s = copy_model(dir, out, &info, t, why);
  if (s == STATUS_OK)
    say_done(out, t, begin_ms);
  transformer_close(&t);
  return s;
}

static enum status import(int argc, char **argv, struct why *why) {
  const char *out = NULL;
  const struct option table[] = {
      {"out", OPTION_TEXT, &out, "DIR", "the checkpoint to make; must not exist", 0, 0}, {0}};
  const struct option_command command = {
      "caravan-node import",
      "MODEL",
      "Make a checkpoint of a Hugging Face model directory: config.json and safetensors of a\n"
      "GPTNeoXForCausalLM or LlamaForCausalLM in F32, F16 or BF16. Training can start from it.",
      table,
      1,
      1};
  struct option_operands operands;
  struct engine *e;
  TRY(options_parse(&command, argc, argv, &operands, why));
  if (!out)
    return why_say(why, STATUS_USAGE, "--out DIR is needed: where to put the checkpoint");
  TRY(engine_cpu_open(&(struct engine_cpu_options){.thread_count = 1}, &e, why));
  enum status s = import_with(e, operands.values[0], out, why);
  engine_close(&e);
  return s;
}

int command_import(int argc, char **argv) {
  struct why why;
  enum status s = import(argc, argv, &why);
  if (s == STATUS_STOPPED) /* help */
    return 0;
  if (s != STATUS_OK)
    fprintf(stderr, "caravan-node import: %s\n", why.text);
  return status_exit_code(s);
}
