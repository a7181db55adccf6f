/* bench_tokenizer: how fast one thread turns text into token ids.
 *
 *   bench_tokenizer [TOKENIZER [FILE …]]
 *
 * Without files: English prose and code that are found on this machine, text in many languages, and
 * what is awkward: one endless word, and random bytes. Without a tokenizer: the GPT-NeoX file under
 * ../shared or $CARAVAN_SHARED. Every round begins with nothing remembered, and the fastest of the
 * rounds counts, because other programs can only make it slower. The figure is that of the prose
 * and the code together, or of the files given. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/data/tokenizer.h"
#include "proto/base/io_file.h"
#include "proto/base/io_system.h"
#include "proto/base/prng.h"

enum { ROUNDS = 7, DOCUMENT_MAX = 4096, TEXT_MB_MAX = 8, MADE_BYTES = 1 << 20, GLOBS_MAX = 4 };

struct sample {
  const char *name;
  bool counts; /* part of the figure */
  const char *globs[GLOBS_MAX];
  struct io_bytes documents[DOCUMENT_MAX];
  size_t count;
  size_t bytes;
};

static void die(const char *what, const struct why *why) {
  fprintf(stderr, "bench_tokenizer: %s: %s\n", what, why->text);
  exit(1);
}

static void add_file(struct sample *s, const char *path) {
  struct io_bytes *b = &s->documents[s->count];
  struct why why;
  if (s->count == DOCUMENT_MAX || s->bytes > (size_t)TEXT_MB_MAX << 20 || io_is_folder(path) ||
      io_file_read(path, (size_t)TEXT_MB_MAX << 20, b, &why) != STATUS_OK)
    return;
  s->bytes += b->count;
  s->count++;
}

static void add_globs(struct sample *s) {
  for (size_t i = 0; i < GLOBS_MAX && s->globs[i]; i++) {
    glob_t found;
    if (glob(s->globs[i], 0, NULL, &found) == 0)
      for (size_t j = 0; j < found.gl_pathc; j++)
        add_file(s, found.gl_pathv[j]);
    globfree(&found);
  }
}

/* span: how many different bytes, from `first` on. */
static void add_made(struct sample *s, uint8_t first, unsigned span) {
  struct io_bytes *b = &s->documents[s->count++];
  struct prng random = prng_seeded(1, 2);
  b->at = malloc(MADE_BYTES);
  b->count = b->at ? MADE_BYTES : 0;
  for (size_t i = 0; i < b->count; i++)
    b->at[i] = (uint8_t)(first + prng_below(&random, span));
  s->bytes += b->count;
}

/* Seconds of the fastest round, and the tokens of one. */
static double measure(const struct tokenizer *tk, const struct sample *s, size_t *tokens) {
  double best = 1e30;
  for (int round = 0; round < ROUNDS; round++) {
    struct tokenizer_work *w;
    struct why why;
    if (tokenizer_work_open(tk, &w, &why) != STATUS_OK)
      die("work", &why);
    *tokens = 0;
    uint64_t begin_ns = io_now_ns();
    for (size_t i = 0; i < s->count; i++) {
      const uint32_t *ids;
      size_t count;
      if (tokenizer_encode(tk, w, s->documents[i].at, s->documents[i].count, &ids, &count, &why) !=
          STATUS_OK)
        die(s->name, &why);
      *tokens += count;
    }
    double seconds = (double)(io_now_ns() - begin_ns) / 1e9;
    best = seconds < best ? seconds : best;
    tokenizer_work_close(&w);
  }
  return best;
}

static struct sample samples[] = {
    {.name = "given files"},
    {.name = "English prose",
     .counts = true,
     .globs = {"../shared/data/tinyshakespeare.txt", "/usr/share/common-licenses/*"}},
    {.name = "C code",
     .counts = true,
     .globs = {"*/*/*.[ch]", "/usr/include/*.h", "/usr/include/*/*.h"}},
    {.name = "many languages", .globs = {"/usr/share/i18n/locales/*"}},
    {.name = "one endless word"},
    {.name = "random bytes"},
};

static void fill(int argc, char **argv) {
  if (argc > 2) {
    samples[0].counts = true;
    samples[1].counts = samples[2].counts = false;
    for (int i = 2; i < argc; i++)
      add_file(&samples[0], argv[i]);
  }
  for (size_t i = 1; i < 4; i++)
    add_globs(&samples[i]);
  add_made(&samples[4], 'a', 26);
  add_made(&samples[5], 0, 256);
}

int main(int argc, char **argv) {
  struct tokenizer *tk;
  struct why why;
  char path[4096];
  const char *shared = getenv("CARAVAN_SHARED");
  snprintf(path, sizeof path, "%s/data/20B_tokenizer.json", shared ? shared : "../shared");
  if (argc < 2 && !io_exists(path)) {
    printf("SKIP: no tokenizer was given and %s is not there\n", path);
    return 0;
  }
  if (tokenizer_open(argc > 1 ? argv[1] : path, &tk, &why) != STATUS_OK)
    die("tokenizer", &why);
  fill(argc, argv);
  double counted_seconds = 0, counted_bytes = 0;
  printf("%-18s %9s %9s %12s\n", "one thread", "MB", "MB/s", "bytes/token");
  for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
    const struct sample *s = &samples[i];
    if (s->bytes == 0)
      continue;
    size_t tokens;
    double seconds = measure(tk, s, &tokens);
    printf("%-18s %9.1f %9.1f %12.2f\n", s->name, (double)s->bytes / 1e6,
           (double)s->bytes / 1e6 / seconds, (double)s->bytes / (double)tokens);
    counted_seconds += s->counts ? seconds : 0;
    counted_bytes += s->counts ? (double)s->bytes : 0;
  }
  tokenizer_close(&tk);
  if (counted_bytes > 0)
    printf("figure tokenize_mb_per_s_core %.1f MB/s\n", counted_bytes / 1e6 / counted_seconds);
  return 0;
}
