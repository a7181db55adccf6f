#include <stdio.h>
#include <stdlib.h>

#include "node/command.h"
#include "node/train/curve.h"
#include "proto/base/io_file.h"
#include "proto/base/options.h"

static enum status draw(const char *metrics, const char *title, const char *out, struct why *why) {
  struct curve *c = NULL;
  char *svg = NULL;
  size_t svg_bytes;
  uint64_t bad;
  TRY(curve_open(&c, why));
  enum status s = metrics_read(metrics, curve_take, c, &bad, why);
  if (s == STATUS_OK)
    s = curve_draw(c, title, &svg, &svg_bytes, why);
  if (s == STATUS_OK)
    s = io_file_write(out, svg, svg_bytes, why);
  if (s == STATUS_OK && bad)
    fprintf(stderr, "curve: %llu lines of '%s' could not be read and are not in the picture\n",
            (unsigned long long)bad, metrics);
  free(svg);
  curve_close(&c);
  return s;
}

int command_curve(int argc, char **argv) {
  const char *out = "curve.svg";
  const char *title = NULL;
  const struct option table[] = {
      {"out", OPTION_TEXT, &out, "FILE.svg", "where the picture goes", 0, 0},
      {"title", OPTION_TEXT, &title, "WORDS", "its title; the run's name unless given", 0, 0},
      {0}};
  const struct option_command command = {
      "caravan-node curve", "METRICS.jsonl", "Draw the losses of a run as a picture.", table, 1, 1};
  struct option_operands files;
  struct why why;
  enum status s = options_parse(&command, argc, argv, &files, &why);
  if (s == STATUS_STOPPED)
    return 0;
  if (s == STATUS_OK)
    s = draw(files.values[0], title, out, &why);
  if (s != STATUS_OK)
    fprintf(stderr, "caravan-node curve: %s\n", why.text);
  return status_exit_code(s);
}
