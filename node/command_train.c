#include <stdio.h>
#include <stdlib.h>

#include "node/command.h"
#include "node/train/runfile.h"
#include "node/train/trainer.h"
#include "proto/base/io_file.h"
#include "proto/base/io_system.h"
#include "proto/base/options.h"

static enum status print_defaults(const char *preset, struct why *why) {
  char *text = malloc(RUNFILE_CANONICAL_BYTES_MAX);
  if (!text)
    return why_say(why, STATUS_NOMEM, "no memory for a run file");
  enum status s = runfile_defaults(preset, text, RUNFILE_CANONICAL_BYTES_MAX, why);
  if (s == STATUS_OK)
    fputs(text, stdout);
  free(text);
  return s;
}

static enum status train(const char *path, const struct trainer_options *options,
                         struct runfile *run, struct why *why) {
  struct trainer_result result;
  struct io_bytes text;
  TRY(io_file_read(path, RUNFILE_BYTES_MAX, &text, why));
  enum status s = runfile_parse(path, text.at, text.count, run, why);
  io_bytes_free(&text);
  TRY(s);
  io_stop_catch();
  s = trainer_run(run, options, &result, why);
  if (s == STATUS_OK && options->check_only)
    printf("check      %s can be trained here\n", path);
  else if (s == STATUS_OK)
    printf("done       %llu steps, %llu tokens, %llu steps skipped\n",
           (unsigned long long)result.step, (unsigned long long)result.tokens,
           (unsigned long long)result.skipped_steps);
  return s;
}

static enum status run_command(const char *path, const struct trainer_options *options,
                               struct why *why) {
  struct runfile *run = malloc(sizeof *run);
  if (!run)
    return why_say(why, STATUS_NOMEM, "no memory for a run file");
  enum status s = train(path, options, run, why);
  free(run);
  return s;
}

int command_train(int argc, char **argv) {
  bool defaults = false;
  const char *preset = "tiny";
  struct trainer_options options = {0};
  const struct option table[] = {
      {"check", OPTION_FLAG, &options.check_only, NULL,
       "look at the run file, the data and the memory, and train nothing", 0, 0},
      {"print-defaults", OPTION_FLAG, &defaults, NULL,
       "print a complete run file with every key explained", 0, 0},
      {"preset", OPTION_TEXT, &preset, "NAME", "the model that --print-defaults is for", 0, 0},
      {0}};
  const struct option_command command = {
      "caravan-node train",
      "RUN.yaml",
      "Train the model of a run file on this machine, from wherever it stopped.\n"
      "Ctrl-C stops with a checkpoint; the same command goes on from there.",
      table,
      0,
      1};
  struct option_operands files;
  struct why why;
  enum status s = options_parse(&command, argc, argv, &files, &why);
  if (s == STATUS_STOPPED)
    return 0;
  if (s == STATUS_OK && defaults)
    s = print_defaults(preset, &why);
  else if (s == STATUS_OK && files.count != 1)
    s = why_say(&why, STATUS_USAGE,
                "which run? give a run file; 'caravan-node train --print-defaults' prints one");
  else if (s == STATUS_OK)
    s = run_command(files.values[0], &options, &why);
  fflush(stdout);
  if (s != STATUS_OK)
    fprintf(stderr, "caravan-node train: %s\n", why.text);
  return status_exit_code(s);
}
