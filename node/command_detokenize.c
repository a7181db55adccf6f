#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/command.h"
#include "node/data/corpus.h"
#include "node/data/tokenizer.h"
#include "proto/base/io_system.h"
#include "proto/base/options.h"

enum { PIECE_TOKENS = 1 << 16 };

static const char summary[] =
    "Turn token shards, or ids given on the line, back into text on standard output.\n\n"
    "With --corpus: a slice from --begin on, --count tokens of it, or one --document without its\n"
    "<|endoftext|>. With --tokenizer alone: the ids that follow.";

struct wishes {
  const char *corpus, *slice, *tokenizer;
  int64_t begin, count, document;
};

static enum status print_ids(const struct tokenizer *tk, struct tokenizer_work *work,
                             const uint32_t *ids, size_t count, struct why *why) {
  const char *text;
  size_t text_bytes;
  TRY(tokenizer_decode(tk, work, ids, count, &text, &text_bytes, why));
  if (fwrite(text, 1, text_bytes, stdout) != text_bytes || fflush(stdout) != 0)
    return why_errno(why, errno, "cannot write", "standard output");
  return STATUS_OK;
}

static enum status print_range(const struct corpus *c, size_t slice, uint64_t begin, uint64_t end,
                               const struct tokenizer *tk, struct tokenizer_work *work,
                               struct why *why) {
  int32_t *ids = malloc(PIECE_TOKENS * sizeof *ids);
  uint32_t *unsigned_ids = malloc(PIECE_TOKENS * sizeof *unsigned_ids);
  enum status s =
      ids && unsigned_ids ? STATUS_OK : why_say(why, STATUS_NOMEM, "no memory for tokens");
  while (begin < end && s == STATUS_OK && !io_stop_wanted()) {
    size_t count = end - begin < PIECE_TOKENS ? (size_t)(end - begin) : PIECE_TOKENS;
    s = corpus_read(c, slice, begin, count, ids, why);
    for (size_t i = 0; i < count && s == STATUS_OK; i++)
      unsigned_ids[i] = (uint32_t)ids[i];
    if (s == STATUS_OK)
      s = print_ids(tk, work, unsigned_ids, count, why);
    begin += count;
  }
  free(ids);
  free(unsigned_ids);
  if (s == STATUS_OK && begin < end)
    return why_say(why, STATUS_STOPPED, "stopped before the end of the text");
  return s;
}

static enum status find_slice(const struct corpus *c, const char *name, size_t *out,
                              struct why *why) {
  size_t count = corpus_slice_count(c);
  *out = 0;
  if (!name && count == 1)
    return STATUS_OK;
  for (size_t i = 0; name && i < count; i++)
    if (!strcmp(corpus_slice(c, i)->name, name)) {
      *out = i;
      return STATUS_OK;
    }
  if (!count)
    return why_say(why, STATUS_MISSING, "the corpus has no slice");
  return why_say(why, STATUS_MISSING, "%s%s; --slice takes one of %zu, such as %s",
                 name ? "there is no slice " : "the corpus has several slices", name ? name : "",
                 count, corpus_slice(c, 0)->name);
}

static enum status find_range(const struct corpus *c, size_t slice, const struct wishes *wish,
                              uint64_t *begin, uint64_t *end, struct why *why) {
  uint64_t total = corpus_slice(c, slice)->token_count;
  if (wish->document >= 0) {
    TRY(corpus_document(c, slice, (uint64_t)wish->document, begin, end, why));
    *end -= *end > *begin;
    return STATUS_OK;
  }
  *begin = (uint64_t)wish->begin;
  if (*begin > total)
    return why_say(why, STATUS_RANGE, "--begin %llu: the slice has %llu tokens",
                   (unsigned long long)*begin, (unsigned long long)total);
  uint64_t left = total - *begin;
  *end = *begin + (wish->count >= 0 && (uint64_t)wish->count < left ? (uint64_t)wish->count : left);
  return STATUS_OK;
}

static enum status print_corpus(const struct corpus *c, const struct wishes *wish,
                                const struct tokenizer *tk, struct tokenizer_work *work,
                                struct why *why) {
  size_t slice;
  uint64_t begin, end;
  TRY(find_slice(c, wish->slice, &slice, why));
  TRY(find_range(c, slice, wish, &begin, &end, why));
  return print_range(c, slice, begin, end, tk, work, why);
}

static enum status print_operands(const struct option_operands *operands,
                                  const struct tokenizer *tk, struct tokenizer_work *work,
                                  struct why *why) {
  uint32_t *ids = malloc((size_t)(operands->count + 1) * sizeof *ids);
  enum status s = ids ? STATUS_OK : why_say(why, STATUS_NOMEM, "no memory for tokens");
  for (int i = 0; i < operands->count && s == STATUS_OK; i++) {
    const char *text = operands->values[i];
    size_t digits = strspn(text, "0123456789");
    if (!digits || digits > 9 || text[digits])
      s = why_say(why, STATUS_USAGE, "'%s' is not a token id", text);
    else
      ids[i] = (uint32_t)strtoul(text, NULL, 10);
  }
  if (s == STATUS_OK)
    s = print_ids(tk, work, ids, (size_t)operands->count, why);
  free(ids);
  return s;
}

/* What would otherwise be passed over in silence. */
static enum status check_wishes(const struct wishes *wish, int id_count, struct why *why) {
  if (wish->corpus && id_count)
    return why_say(why, STATUS_USAGE, "--corpus and ids on the line exclude each other");
  if (!wish->corpus && (wish->slice || wish->begin || wish->count >= 0 || wish->document >= 0))
    return why_say(why, STATUS_USAGE,
                   "--slice, --begin, --count and --document are of a corpus; name it by --corpus");
  if (wish->document >= 0 && (wish->begin || wish->count >= 0))
    return why_say(why, STATUS_USAGE, "--document is a whole one: no --begin, no --count");
  if (!wish->corpus && !wish->tokenizer)
    return why_say(why, STATUS_USAGE, "--corpus is missing, or --tokenizer and ids");
  if (!wish->corpus && !id_count)
    return why_say(why, STATUS_USAGE, "--corpus is missing, or the ids to turn into text");
  return STATUS_OK;
}

static enum status run(const struct wishes *wish, const struct option_operands *operands,
                       struct why *why) {
  struct corpus *c = NULL;
  struct tokenizer *tk = NULL;
  struct tokenizer_work *work = NULL;
  const char *path = wish->tokenizer;
  TRY(check_wishes(wish, operands->count, why));
  if (wish->corpus)
    TRY(corpus_open(wish->corpus, &c, why));
  if (c && !path)
    path = corpus_tokenizer_path(c);
  enum status s = path
                      ? tokenizer_open(path, &tk, why)
                      : why_say(why, STATUS_USAGE,
                                "--tokenizer is missing: a tokenizer.json, its directory, or byte");
  if (s == STATUS_OK)
    s = tokenizer_work_open(tk, &work, why);
  if (s == STATUS_OK)
    s = c ? print_corpus(c, wish, tk, work, why) : print_operands(operands, tk, work, why);
  if (work)
    tokenizer_work_close(&work);
  if (tk)
    tokenizer_close(&tk);
  corpus_close(&c);
  return s;
}

int command_detokenize(int argc, char **argv) {
  struct wishes wish = {.count = -1, .document = -1};
  const struct option table[] = {
      {"corpus", OPTION_TEXT, &wish.corpus, "PATH", "a corpus, or the prefix of a Megatron pair", 0,
       0},
      {"slice", OPTION_TEXT, &wish.slice, "NAME", "which slice (may be left out: the only one)", 0,
       0},
      {"begin", OPTION_INT, &wish.begin, "N", "first token", 0, 1e18},
      {"count", OPTION_INT, &wish.count, "N", "tokens; all of them unless given", 0, 1e18},
      {"document", OPTION_INT, &wish.document, "N", "one document, counted from 0", 0, 1e18},
      {"tokenizer", OPTION_TEXT, &wish.tokenizer, "PATH|byte", "instead of the corpus's own", 0, 0},
      {0}};
  const struct option_command command = {
      "caravan-node detokenize", "[ID…]", summary, table, 0, 1 << 20};
  struct option_operands operands;
  struct why why;
  enum status s = options_parse(&command, argc, argv, &operands, &why);
  if (s == STATUS_STOPPED)
    return 0;
  io_stop_catch();
  if (s == STATUS_OK)
    s = run(&wish, &operands, &why);
  if (s != STATUS_OK)
    fprintf(stderr, "caravan-node detokenize: %s\n", why.text);
  return status_exit_code(s);
}
