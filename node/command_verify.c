#include <stdio.h>
#include <string.h>

#include "node/checkpoint/checkpoint.h"
#include "node/command.h"
#include "node/data/catalog.h"
#include "node/data/corpus.h"
#include "proto/base/io_file.h"
#include "proto/base/io_system.h"
#include "proto/base/options.h"

struct showing {
  struct io_progress line;
  uint64_t begin_ms;
};

static bool show(void *context, uint64_t done_bytes, uint64_t total_bytes) {
  struct showing *s = context;
  char done[32], total[32], rate[32], left[32];
  double seconds = (double)(io_now_ms() - s->begin_ms) / 1000 + 1e-3;
  double speed = (double)done_bytes / seconds;
  io_progress_show(&s->line, done_bytes == total_bytes, "verify  %s of %s  %s/s  %s left",
                   io_human_bytes((double)done_bytes, done),
                   io_human_bytes((double)total_bytes, total), io_human_bytes(speed, rate),
                   io_human_seconds((double)(total_bytes - done_bytes) / speed, left));
  return !io_stop_wanted();
}

static enum status verify_corpus(const char *path, struct why *why) {
  struct corpus *c;
  struct showing showing = {.begin_ms = io_now_ms()};
  char tokens[32];
  TRY(corpus_open(path, &c, why));
  enum status s = corpus_verify(c, show, &showing, why);
  io_progress_end(&showing.line);
  for (size_t i = 0; i < corpus_slice_count(c) && s == STATUS_OK; i++)
    printf("%-20s %12s tokens  %12llu documents\n", corpus_slice(c, i)->name,
           io_human_count((double)corpus_slice(c, i)->token_count, tokens),
           (unsigned long long)corpus_slice(c, i)->document_count);
  if (s == STATUS_OK)
    printf("%s: %s\n", path,
           corpus_has_digests(c) ? "every digest is right"
                                 : "the pair is sound (it carries no digests to compare)");
  corpus_close(&c);
  return s;
}

/* A checkpoint is known by what only a checkpoint has; everything else is tried as a corpus, whose
 * message then says what was looked for. */
static enum status verify(const char *path, struct why *why) {
  static const char *const marks[] = {"caravan.json", "config.json", "model.safetensors"};
  char file[PATH_BYTES_MAX];
  TRY(io_path_join(path, CATALOG_FILE, file, why));
  if (io_exists(file) || !io_is_folder(path))
    return verify_corpus(path, why);
  for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
    TRY(io_path_join(path, marks[i], file, why));
    if (!io_exists(file))
      continue;
    TRY(checkpoint_verify(path, why));
    printf("%s: every digest is right\n", path);
    return STATUS_OK;
  }
  return verify_corpus(path, why);
}

int command_verify(int argc, char **argv) {
  static const struct option table[] = {{0}};
  const struct option_command command = {
      "caravan-node verify",
      "PATH…",
      "Check every digest of checkpoints and corpora. A Megatron pair is given by its prefix.",
      table,
      1,
      65536};
  struct option_operands paths;
  struct why why;
  enum status worst = STATUS_OK;
  enum status s = options_parse(&command, argc, argv, &paths, &why);
  if (s == STATUS_STOPPED)
    return 0;
  if (s != STATUS_OK) {
    fprintf(stderr, "caravan-node verify: %s\n", why.text);
    return status_exit_code(s);
  }
  io_stop_catch();
  for (int i = 0; i < paths.count && s != STATUS_STOPPED; i++) {
    s = io_stop_wanted()
            ? why_say(&why, STATUS_STOPPED, "stopped before %s was looked at", paths.values[i])
            : verify(paths.values[i], &why);
    if (s != STATUS_OK)
      fprintf(stderr, "caravan-node verify: %s\n", why.text);
    worst = worst == STATUS_OK ? s : worst;
  }
  return status_exit_code(worst);
}
