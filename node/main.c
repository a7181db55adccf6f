/* caravan-node: a contributor's machine. The commands are in command_*.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/command.h"
#include "proto/base/options.h"

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *help;
} commands[] = {
    {"tokenize", command_tokenize, "turn text into token shards"},
    {"detokenize", command_detokenize, "turn token shards back into text"},
    {"train", command_train, "train a model from a run file on this machine"},
    {"curve", command_curve, "draw the losses of a run as a picture"},
    {"sample", command_sample, "let a checkpoint write text"},
    {"import", command_import, "start from a Hugging Face model directory"},
    {"verify", command_verify, "check every digest of a checkpoint or a corpus"},
    {"presets", command_presets, "the models known by name, and what they need"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_help(FILE *out) {
  fprintf(out,
          "caravan-node: train a language model, alone or with everybody\n\nusage: caravan-node "
          "COMMAND …\n\n");
  for (int i = 0; i < COMMAND_COUNT; i++)
    fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
  fprintf(out, "\n'caravan-node COMMAND --help' says more.\n");
}

/* A report that could not be written, to a full disk for instance, is no success. */
static int end_output(int code) {
  if ((fflush(stdout) == 0 && !ferror(stdout)) || code != 0)
    return code;
  fprintf(stderr, "caravan-node: cannot write 'standard output': %s\n", strerror(errno));
  return status_exit_code(STATUS_DISK);
}

static int run_command(int argc, char **argv) {
  const char *names[COMMAND_COUNT + 1] = {NULL};
  for (int i = 0; i < COMMAND_COUNT; i++) {
    if (!strcmp(argv[0], commands[i].name))
      return end_output(commands[i].run(argc, argv));
    names[i] = commands[i].name;
  }
  const char *near = options_nearest(argv[0], names);
  if (near)
    fprintf(stderr, "caravan-node: there is no command '%s'; did you mean '%s'?\n", argv[0], near);
  else
    fprintf(stderr, "caravan-node: there is no command '%s'; 'caravan-node --help' lists them\n",
            argv[0]);
  return status_exit_code(STATUS_USAGE);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    print_help(stderr);
    return status_exit_code(STATUS_USAGE);
  }
  /* 'help COMMAND' is 'COMMAND --help'. */
  char *help_line[] = {argv[argc - 1], "--help", NULL};
  if (argc == 3 && !strcmp(argv[1], "help"))
    return run_command(2, help_line);
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    print_help(stdout);
    return end_output(0);
  }
  return run_command(argc - 1, argv + 1);
}
