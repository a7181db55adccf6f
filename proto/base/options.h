/* options: one typed table per command that parses its line, checks it, and prints its own help.
 *
 *   int64_t threads = 0;
 *   const struct option table[] = {
 *       {"threads", OPTION_INT, &threads, "N", "worker threads; 0: one per core", 0, 256},
 *       {0}};
 *   struct option_command command = {"caravan-node tokenize", "FILE…", "Turn text into shards.",
 *                                    table, 1, 65536};
 *   TRY(options_parse(&command, argc, argv, &files, &why)); // argv[0] is the command's own name
 *   for (int i = 0; i < files.count; i++)
 *     read(files.values[i]);
 *
 * Long options only: --name VALUE, --name=VALUE, --flag, --no-flag; "--" ends them. --help prints
 * the help to standard output and gives STOPPED. An unknown name is refused with the nearest known
 * one; a value that is no number, has a wrong unit, or is outside [least, most] is refused with
 * both. Sizes take K, M, G, T (1000) and Ki, Mi, Gi, Ti (1024); durations take ms, s, m, h, d, and
 * only 0 goes without a unit. The order of argv's words changes: operands come first. */
#ifndef CARAVAN_OPTIONS_H
#define CARAVAN_OPTIONS_H

#include <stdio.h>

#include "proto/base/status.h"

enum {
  OPTION_TABLE_COUNT_MAX = 64, /* rows of a table; more is a CLAIM */
  OPTION_NAME_BYTES_MAX = 64,  /* longer names are never the nearest to anything */
};

enum option_kind {
  OPTION_FLAG,        /* bool * */
  OPTION_INT,         /* int64_t * */
  OPTION_REAL,        /* double * */
  OPTION_TEXT,        /* const char **: borrowed from argv */
  OPTION_BYTES,       /* uint64_t * */
  OPTION_DURATION_MS, /* uint64_t * */
};

struct option {
  const char *name; /* without the dashes; NULL ends the table */
  enum option_kind kind;
  void *value; /* holds the default before, the value after; unchanged on failure */
  const char *value_name;
  const char *help;
  double least, most; /* for numbers; both 0: unbounded */
};

struct option_command {
  const char *name;     /* "caravan-node tokenize" */
  const char *operands; /* "FILE…" or NULL */
  const char *summary;  /* one sentence, or several lines */
  const struct option *table;
  int operand_count_min, operand_count_max;
};

struct option_operands {
  char **values; /* borrowed from argv */
  int count;
};

/* USAGE: with what is wrong and what would be right; nothing in the table has changed.
 * STOPPED: help was asked for and printed. */
CHECKED enum status options_parse(const struct option_command *command, int argc, char **argv,
                                  struct option_operands *operands, struct why *why);
void options_print_help(const struct option_command *command, FILE *out);

/* One value from text, as a table row would take it: for run files and conf files. USAGE. */
CHECKED enum status options_read_value(const struct option *row, const char *text, struct why *why);

/* The known name nearest to what was typed, or NULL when none is near. names ends with NULL. */
const char *options_nearest(const char *typed, const char *const *names);

#endif
