/* runfile: what a run is, as a person writes it down in YAML.
 *
 *   struct runfile *run = malloc(sizeof *run);                  // about 80 KB
 *   TRY(runfile_parse("run.yaml", bytes, count, run, &why));
 *   // run->arch, run->lr, … are complete: what was not written has its default
 *   TRY(runfile_canonical(run, text, sizeof text, &why));       // its meaning, one key a line
 *   struct digest id = digest_of(DIGEST_RUN, text, strlen(text));
 *
 * One table (runfile_table.c) holds every key with its kind, bounds, default and help. Reading,
 * the canonical text and the commented defaults that `caravan-node train --print-defaults` shows
 * all come from it. A mistake names file, line and key, the value, and what was expected; an
 * unknown key names the nearest known one. Bounds of the YAML itself: yamltree.h.
 *
 * Keys are of the run (they decide which numbers come out) or of the machine (threads, folders, how
 * often to look). The canonical text holds only the first kind, so the same run on another machine,
 * or with more frequent checkpoints, has the same digest. Pure. */
#ifndef CARAVAN_RUNFILE_H
#define CARAVAN_RUNFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/model/arch.h"
#include "node/model/transformer.h"
#include "proto/base/limits.h"
#include "proto/base/status.h"

enum {
  RUNFILE_BYTES_MAX = 256 << 10,
  RUNFILE_CORPUS_MAX = 16,
  RUNFILE_CANONICAL_BYTES_MAX = 32 << 10,
  RUNFILE_KEY_MAX = 64,
};

struct runfile_slice {
  char name[NAME_BYTES_MAX];
  uint64_t weight; /* parts: the decimal weights of all slices, scaled alike to integers */
  size_t line;
};

struct runfile {
  char name[NAME_BYTES_MAX];
  char start_from[PATH_BYTES_MAX]; /* "" : from random weights */
  uint64_t seed;
  uint64_t tokens_total; /* a multiple of T: rounded up to whole sequences */
  uint64_t T;

  bool has_model; /* false: only start_from says what the model is, and arch is still empty */
  char preset[NAME_BYTES_MAX];
  struct arch arch;

  char corpus[RUNFILE_CORPUS_MAX][PATH_BYTES_MAX];
  size_t corpus_count;
  struct runfile_slice slices[SLICE_COUNT_MAX];
  size_t slice_count; /* 0: every slice of the corpora, weighted by its size */
  uint64_t holdout_count;

  uint64_t batch_sequences; /* of one optimizer step */
  uint64_t micro_sequences; /* 0: as many as fit */

  double lr, lr_min, beta1, beta2, eps, decay, clip;
  uint64_t warmup_tokens;

  bool recompute_auto;
  enum transformer_recompute recompute;
  uint64_t thread_count; /* 0: one per core */
  uint64_t memory_bytes; /* 0: four fifths of what the machine has */

  char folder[PATH_BYTES_MAX];
  uint64_t checkpoint_tokens;
  uint64_t checkpoint_keep;
  uint64_t validation_tokens;
  uint64_t validation_samples;

  /* How it was written, for messages and for what follows from other keys. */
  char file[PATH_BYTES_MAX];
  size_t line[RUNFILE_KEY_MAX]; /* by place in the table; 0: not written */
  struct {
    int64_t family, activation, init, recompute; /* words, by place in their lists */
    uint64_t batch_tokens;
    double rotary_fraction, warmup_fraction; /* fraction below 0: tokens were given */
  } raw;
};

/* Read a run file. name is for messages. BAD, RANGE, MISSING, NOMEM: *out is undefined. */
CHECKED enum status runfile_parse(const char *name, const void *bytes, size_t count,
                                  struct runfile *out, struct why *why);

/* For a run without a model section: the model is that of the checkpoint it starts from. Completes
 * what depends on the model. RANGE. */
CHECKED enum status runfile_take_arch(struct runfile *run, const struct arch *arch,
                                      struct why *why);

/* The line of a key such as "data.corpus", or 0 where it was not written. */
size_t runfile_line(const struct runfile *run, const char *key);

/* The meaning of a run: "key: value\n" for every key of the run, defaults written out, numbers in
 * one form. Zero-terminated. RANGE: does not fit. */
CHECKED enum status runfile_canonical(const struct runfile *run, char *out, size_t out_bytes,
                                      struct why *why);
/* The lines in which two canonical texts differ, as words: "optimizer.lr was 0.001 and is 0.002".
 * At most three are named. False when there are none. */
bool runfile_difference(const char *before, const char *now, char *out, size_t out_bytes);

/* A complete run file for a preset, every key with its default and help; it parses. MISSING: no
 * such preset; RANGE: out is too small (RUNFILE_CANONICAL_BYTES_MAX is enough). */
CHECKED enum status runfile_defaults(const char *preset, char *out, size_t out_bytes,
                                     struct why *why);

#endif
