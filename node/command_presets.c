/* caravan-node presets: the models known by name, and what they need of this machine. */
#include <stdio.h>

#include "kernels/engine.h"
#include "node/command.h"
#include "node/model/plan.h"
#include "proto/base/io_system.h"
#include "proto/base/options.h"

enum { TEXT = 32 };

static enum status plan_levels(const struct engine *e, const struct arch *a,
                               struct plan plans[RECOMPUTE_COUNT], struct why *why) {
  for (int r = 0; r < RECOMPUTE_COUNT; r++) {
    struct transformer_options o = {
        .B = 1, .T = a->T, .training = true, .recompute = (enum transformer_recompute)r};
    TRY(plan_make(e, a, &o, &plans[r], why));
  }
  return STATUS_OK;
}

static enum status param_count(const struct arch *a, int64_t *out, struct why *why) {
  struct arch_params *params;
  TRY(arch_params_open(a, &params, why));
  *out = params->param_count;
  arch_params_close(&params);
  return STATUS_OK;
}

/* Parameters as people say them: 70.4 M, 6.86 B. */
static const char *count_text(int64_t count, char out[TEXT]) {
  if (count < 1000000000)
    return io_human_count((double)count, out);
  snprintf(out, TEXT, "%.3g B", (double)count / 1e9);
  return out;
}

/* "yes", "recompute layer" (the least that fits), or "no". */
static const char *fitting(const struct plan plans[RECOMPUTE_COUNT], uint64_t memory,
                           char out[TEXT]) {
  for (int r = 0; r < RECOMPUTE_COUNT; r++) {
    if (plans[r].total > memory)
      continue;
    if (r == 0)
      return "yes";
    snprintf(out, TEXT, "recompute %s", plan_recompute_name((enum transformer_recompute)r));
    return out;
  }
  return "no";
}

static enum status print_row(const struct engine *e, const char *name, uint64_t memory,
                             struct why *why) {
  struct arch a;
  struct plan plans[RECOMPUTE_COUNT];
  int64_t count;
  char text[TEXT];
  TRY(arch_preset(name, &a, why));
  TRY(param_count(&a, &count, why));
  TRY(plan_levels(e, &a, plans, why));
  printf("%-20s %10s %6lld", name, count_text(count, text), (long long)a.T);
  for (int r = 0; r < RECOMPUTE_COUNT; r++)
    printf(" %10s", io_human_bytes((double)plans[r].total, text));
  printf("   %s\n", fitting(plans, memory, text));
  return STATUS_OK;
}

static enum status print_table(const struct engine *e, struct why *why) {
  char text[TEXT];
  uint64_t memory = io_memory_bytes();
  printf("%-20s %10s %6s %32s\n", "", "", "", "memory to train, by recompute");
  printf("%-20s %10s %6s", "preset", "parameters", "tokens");
  for (int r = 0; r < RECOMPUTE_COUNT; r++)
    printf(" %10s", plan_recompute_name((enum transformer_recompute)r));
  printf("   fits in %s\n", io_human_bytes((double)memory, text));
  for (size_t i = 0; arch_preset_name(i); i++)
    TRY(print_row(e, arch_preset_name(i), memory, why));
  printf(
      "\nFor one sequence of that many tokens at a time, on the CPU. "
      "'caravan-node presets NAME' says more.\n");
  return STATUS_OK;
}

static void print_arch(const struct arch *a, const struct arch_recipe *recipe, int64_t count) {
  char text[TEXT];
  bool neox = a->family == ARCH_NEOX;
  printf("family       %s%s\n", neox ? "GPT-NeoX" : "LLaMA",
         !neox                  ? ""
         : a->parallel_residual ? ", parallel residual"
                                : ", sequential residual");
  printf("parameters   %lld (%s)\n", (long long)count, count_text(count, text));
  printf("layers       %lld\n", (long long)a->L);
  printf("width        %lld, feed-forward %lld\n", (long long)a->C, (long long)a->F);
  printf("heads        %lld of %lld channels, %lld of them rotated; %lld for keys and values\n",
         (long long)a->H, (long long)a->D, (long long)a->R, (long long)a->HK);
  printf("vocabulary   %lld, output layer %s\n", (long long)a->V, a->tied ? "tied" : "its own");
  printf("sequence     %lld tokens\n", (long long)a->T);
  printf("work         %s floating-point operations a token\n",
         io_human_count(arch_flop_per_token(a, a->T), text));
  printf("recipe       learning rate %g to %g, batches of %s tokens\n", recipe->lr, recipe->lr_min,
         io_human_count((double)recipe->batch_tokens, text));
}

static enum status print_one(const struct engine *e, const char *name, struct why *why) {
  struct arch a;
  struct arch_recipe recipe;
  struct plan plans[RECOMPUTE_COUNT];
  int64_t count;
  char text[PLAN_TEXT_BYTES_MAX];
  uint64_t memory = io_memory_bytes();
  TRY(arch_preset(name, &a, why));
  TRY(arch_preset_recipe(name, &recipe, why));
  TRY(param_count(&a, &count, why));
  TRY(plan_levels(e, &a, plans, why));
  print_arch(&a, &recipe, count);
  printf("memory to train, one sequence at a time, by recompute\n");
  for (int r = 0; r < RECOMPUTE_COUNT; r++)
    printf("  %-10s %s\n", plan_recompute_name((enum transformer_recompute)r),
           plan_text(&plans[r], text));
  printf("fits         %s", fitting(plans, memory, text));
  printf(" (this machine has %s)\n", io_human_bytes((double)memory, text));
  return STATUS_OK;
}

static enum status run(int argc, char **argv, struct why *why) {
  const struct option table[] = {{0}};
  const struct option_command command = {
      "caravan-node presets",
      "[NAME]",
      "List the models known by name, what they need, and whether this machine has it.",
      table,
      0,
      1};
  struct option_operands names;
  TRY(options_parse(&command, argc, argv, &names, why));
  struct engine *e = NULL;
  TRY(engine_cpu_open(&(struct engine_cpu_options){0}, &e, why));
  enum status s = names.count ? print_one(e, names.values[0], why) : print_table(e, why);
  engine_close(&e);
  return s;
}

int command_presets(int argc, char **argv) {
  struct why why = {""};
  enum status s = run(argc, argv, &why);
  if (s == STATUS_STOPPED) /* help was asked for */
    return 0;
  if (s != STATUS_OK)
    fprintf(stderr, "caravan-node presets: %s\n", why.text);
  return status_exit_code(s);
}
