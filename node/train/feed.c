#include "node/train/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/data/corpus.h"
#include "proto/base/claim.h"

struct feed {
  struct corpus *corpora[RUNFILE_CORPUS_MAX];
  size_t corpus_count;
  struct {
    const struct corpus *corpus;
    size_t slice;
  } places[SLICE_COUNT_MAX]; /* by the mixture's slices */
  struct mixture mixture;
  struct digest tokenizer;
  int32_t *sample; /* T + 1 ids, being split */
};

void feed_close(struct feed **f) {
  if (!*f)
    return;
  for (size_t i = 0; i < (*f)->corpus_count; i++)
    corpus_close(&(*f)->corpora[i]);
  free((*f)->sample);
  free(*f);
  *f = NULL;
}

static enum status open_corpora(struct feed *f, const struct runfile *run, struct why *why) {
  size_t line = runfile_line(run, "data.corpus");
  for (size_t i = 0; i < run->corpus_count; i++) {
    enum status s = corpus_open(run->corpus[i], &f->corpora[i], why);
    if (s != STATUS_OK)
      return why_prefix(why, s, "%s:%zu: key \"data.corpus\": ", run->file, line);
    f->corpus_count++;
  }
  return STATUS_OK;
}

static enum status check_vocabulary(struct feed *f, const struct runfile *run, struct why *why) {
  size_t line = runfile_line(run, "data.corpus");
  const char *first = NULL;
  for (size_t i = 0; i < f->corpus_count; i++) {
    uint32_t words = corpus_vocab_count(f->corpora[i]);
    const struct digest *tokenizer = corpus_tokenizer(f->corpora[i]);
    if (words > (uint64_t)run->arch.V)
      return why_say(why, STATUS_MISMATCH,
                     "%s:%zu: key \"data.corpus\": '%s' was tokenized with %u words and the model "
                     "has %lld rows in its vocabulary; tokenize it again with the model's "
                     "tokenizer, or set model.vocabulary to at least %u",
                     run->file, line, run->corpus[i], words, (long long)run->arch.V, words);
    if (tokenizer && first && !digest_equal(tokenizer, &f->tokenizer))
      return why_say(why, STATUS_MISMATCH,
                     "%s:%zu: key \"data.corpus\": '%s' and '%s' were made with different "
                     "tokenizers",
                     run->file, line, first, run->corpus[i]);
    if (tokenizer && !first) {
      first = run->corpus[i];
      f->tokenizer = *tokenizer;
    }
  }
  return STATUS_OK;
}

/* Find a slice by name among all corpora: its number, or -1. */
static bool find_slice(const struct feed *f, const char *name, size_t *corpus, size_t *slice) {
  for (*corpus = 0; *corpus < f->corpus_count; (*corpus)++)
    for (*slice = 0; *slice < corpus_slice_count(f->corpora[*corpus]); (*slice)++)
      if (!strcmp(corpus_slice(f->corpora[*corpus], *slice)->name, name))
        return true;
  return false;
}

static enum status say_no_slice(const struct feed *f, const struct runfile *run,
                                const struct runfile_slice *wanted, struct why *why) {
  char names[400] = "";
  size_t used = 0;
  for (size_t c = 0; c < f->corpus_count; c++)
    for (size_t i = 0; i < corpus_slice_count(f->corpora[c]) && used < sizeof names; i++)
      used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                               corpus_slice(f->corpora[c], i)->name);
  return why_say(why, STATUS_MISSING,
                 "%s:%zu: key \"data.slices.%s\": no corpus has a slice of that name; there are %s",
                 run->file, wanted->line, wanted->name, names);
}

static enum status add_slice(struct feed *f, const struct runfile *run, size_t corpus, size_t slice,
                             uint64_t weight, struct mixture_slice *slices, size_t *count,
                             struct why *why) {
  const struct corpus_slice *from = corpus_slice(f->corpora[corpus], slice);
  if (*count == SLICE_COUNT_MAX)
    return why_say(why, STATUS_RANGE, "%s: the corpora have more than %d slices", run->file,
                   SLICE_COUNT_MAX);
  for (size_t i = 0; i < *count; i++)
    if (!strcmp(slices[i].name, from->name))
      return why_say(why, STATUS_MISMATCH,
                     "%s:%zu: key \"data.corpus\": two slices are called '%s'; name them apart "
                     "when tokenizing",
                     run->file, runfile_line(run, "data.corpus"), from->name);
  struct mixture_slice *to = &slices[*count];
  memcpy(to->name, from->name, sizeof to->name);
  to->token_count = from->token_count;
  to->weight = weight;
  to->holdout_count = run->holdout_count;
  f->places[*count].corpus = f->corpora[corpus];
  f->places[*count].slice = slice;
  (*count)++;
  return STATUS_OK;
}

static enum status choose_slices(struct feed *f, const struct runfile *run, struct why *why) {
  struct mixture_slice slices[SLICE_COUNT_MAX];
  size_t count = 0;
  size_t c;
  size_t s;
  memset(slices, 0, sizeof slices);
  for (size_t i = 0; i < run->slice_count; i++) {
    if (!find_slice(f, run->slices[i].name, &c, &s))
      return say_no_slice(f, run, &run->slices[i], why);
    if (run->slices[i].weight)
      TRY(add_slice(f, run, c, s, run->slices[i].weight, slices, &count, why));
  }
  for (c = 0; !run->slice_count && c < f->corpus_count; c++)
    for (s = 0; s < corpus_slice_count(f->corpora[c]); s++)
      TRY(add_slice(f, run, c, s, corpus_slice(f->corpora[c], s)->token_count, slices, &count,
                    why));
  enum status made = mixture_init(&f->mixture, run->seed, run->T, slices, count, why);
  return made == STATUS_OK ? made : why_prefix(why, made, "%s: the data: ", run->file);
}

static enum status fill(struct feed *f, const struct runfile *run, struct why *why) {
  TRY(open_corpora(f, run, why));
  TRY(check_vocabulary(f, run, why));
  TRY(choose_slices(f, run, why));
  f->sample = malloc((run->T + 1) * sizeof *f->sample);
  return f->sample ? STATUS_OK : why_say(why, STATUS_NOMEM, "no memory for a sample");
}

enum status feed_open(const struct runfile *run, struct feed **out, struct why *why) {
  CLAIM(run->has_model);
  struct feed *f = calloc(1, sizeof *f);
  if (!f)
    return why_say(why, STATUS_NOMEM, "no memory for the run's data");
  enum status s = fill(f, run, why);
  if (s != STATUS_OK) {
    feed_close(&f);
    return s;
  }
  *out = f;
  return STATUS_OK;
}

const struct mixture *feed_mixture(const struct feed *f) {
  return &f->mixture;
}

struct digest feed_tokenizer(const struct feed *f) {
  return f->tokenizer;
}

const char *feed_tokenizer_path(const struct feed *f) {
  for (size_t i = 0; i < f->corpus_count; i++)
    if (corpus_tokenizer_path(f->corpora[i]))
      return corpus_tokenizer_path(f->corpora[i]);
  return NULL;
}

static enum status read_place(const struct feed *f, size_t slice, uint64_t begin, int32_t *tokens,
                              int32_t *targets, struct why *why) {
  size_t T = f->mixture.T;
  TRY(corpus_read(f->places[slice].corpus, f->places[slice].slice, begin, T + 1, f->sample, why));
  memcpy(tokens, f->sample, T * sizeof *tokens);
  memcpy(targets, f->sample + 1, T * sizeof *targets);
  return STATUS_OK;
}

enum status feed_sample(const struct feed *f, uint64_t index, int32_t *tokens, int32_t *targets,
                        struct why *why) {
  struct mixture_place p = mixture_sample(&f->mixture, index);
  return read_place(f, p.slice, p.token_begin, tokens, targets, why);
}

enum status feed_holdout(const struct feed *f, size_t slice, uint64_t index, int32_t *tokens,
                         int32_t *targets, struct why *why) {
  return read_place(f, slice, mixture_holdout(&f->mixture, slice, index), tokens, targets, why);
}

enum status feed_canonical(const struct feed *f, char *out, size_t out_bytes, struct why *why) {
  char hex[DIGEST_HEX_BYTES];
  size_t used = 0;
  digest_hex(&f->tokenizer, hex);
  for (size_t i = 0; i <= f->mixture.slice_count && used < out_bytes; i++) {
    const struct mixture_slice *s = &f->mixture.slices[i];
    if (i == f->mixture.slice_count)
      used += (size_t)snprintf(out + used, out_bytes - used, "data tokenizer: %s\n", hex);
    else
      used += (size_t)snprintf(out + used, out_bytes - used,
                               "data of slice \"%s\": %llu tokens, weight %llu\n", s->name,
                               (unsigned long long)s->token_count, (unsigned long long)s->weight);
  }
  return used < out_bytes ? STATUS_OK
                          : why_say(why, STATUS_RANGE, "the run's canonical text is too long");
}
