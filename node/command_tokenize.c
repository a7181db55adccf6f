#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/command.h"
#include "node/data/io_tokenize.h"
#include "proto/base/io_system.h"
#include "proto/base/options.h"

static const char summary[] =
    "Turn text into token shards: a directory that 'caravan-node train' reads.\n\n"
    "*.jsonl and *.json have a JSON object a line, whose \"text\" is the document (as in\n"
    "RedPajama-Data-1T); any other file is plain text, split as --split says. Either may be\n"
    "compressed with zstd. A slice is named by SLICE=FILE, by --slice, or by RedPajama's names in\n"
    "the path (arxiv, c4, …); otherwise it is 'text'. Behind each document comes <|endoftext|>.\n"
    "A run that was stopped, killed, or ran out of disk goes on with the same command.";

struct wishes {
  const char *tokenizer, *out, *slice, *format, *split, *eod;
  int64_t threads;
  bool skip_bad;
  uint64_t shard_bytes, durable_bytes;
};

static bool has_suffix(const char *name, size_t count, const char *suffix) {
  size_t length = strlen(suffix);
  return count >= length && !memcmp(name + count - length, suffix, length);
}

static enum chunk_split split_of(const char *path, enum chunk_split plain) {
  size_t count = strlen(path);
  if (has_suffix(path, count, ".zst"))
    count -= 4;
  bool records = has_suffix(path, count, ".jsonl") || has_suffix(path, count, ".json") ||
                 has_suffix(path, count, ".ndjson");
  return records ? CHUNK_RECORDS : plain;
}

/* RedPajama-Data-1T keeps a slice a directory; a few files say it by their own names. */
static const char *slice_by_path(const char *path) {
  static const struct {
    const char *part, *slice;
  } names[] = {{"arxiv", "arxiv"},     {"book", "books"},
               {"books", "books"},     {"c4", "c4"},
               {"cc", "common_crawl"}, {"common_crawl", "common_crawl"},
               {"github", "github"},   {"stackexchange", "stackexchange"},
               {"wiki", "wikipedia"},  {"wikipedia", "wikipedia"}};
  const char *end = path + strlen(path);
  bool is_file = true;
  while (end > path) {
    const char *begin = end;
    while (begin > path && begin[-1] != '/')
      begin--;
    size_t count = is_file ? strcspn(begin, "._-") : (size_t)(end - begin);
    count = count < (size_t)(end - begin) ? count : (size_t)(end - begin);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
      if (strlen(names[i].part) == count && !memcmp(begin, names[i].part, count))
        return names[i].slice;
    is_file = false;
    end = begin > path ? begin - 1 : path;
  }
  return "text";
}

/* An operand is FILE or SLICE=FILE; the part before the first '=' is a slice when it could
 * be one's name, so a file a=b in the current directory is written ./a=b. */
static enum status read_operand(char *operand, const struct wishes *wish, enum chunk_split plain,
                                struct tokenize_input *out, struct why *why) {
  char *equals = strchr(operand, '=');
  out->path = operand;
  out->slice = wish->slice;
  if (equals) {
    *equals = 0;
    if (catalog_slice_name_ok(operand)) {
      out->slice = operand;
      out->path = equals + 1;
    } else {
      *equals = '=';
    }
  }
  if (!out->slice)
    out->slice = slice_by_path(out->path);
  out->split = split_of(out->path, plain);
  if (!catalog_slice_name_ok(out->slice))
    return why_say(why, STATUS_USAGE,
                   "'%s' cannot name a slice: letters, digits, '.', '_' and '-', at most %d of "
                   "them",
                   out->slice, CATALOG_SLICE_NAME_MAX);
  return STATUS_OK;
}

static enum status read_words(const struct wishes *wish, struct tokenize_plan *plan,
                              enum chunk_split *plain, struct why *why) {
  static const struct {
    const char *name;
    enum chunk_split split;
  } splits[] = {{"file", CHUNK_WHOLE}, {"blank-lines", CHUNK_BLANK_LINES}, {"lines", CHUNK_LINES}};
  size_t i = 0;
  while (i < 3 && strcmp(wish->split, splits[i].name))
    i++;
  if (i == 3)
    return why_say(why, STATUS_USAGE, "--split is file, blank-lines or lines, not '%s'",
                   wish->split);
  *plain = splits[i].split;
  plan->megatron = !strcmp(wish->format, "megatron");
  if (!plan->megatron && strcmp(wish->format, "shards"))
    return why_say(why, STATUS_USAGE, "--format is shards or megatron, not '%s'", wish->format);
  if (!wish->tokenizer)
    return why_say(why, STATUS_USAGE,
                   "--tokenizer is missing: a tokenizer.json, its directory, or byte");
  if (!wish->out)
    return why_say(why, STATUS_USAGE, "--out is missing: the directory for the corpus");
  return STATUS_OK;
}

static enum status find_eod(const struct wishes *wish, const struct tokenizer *tk, uint32_t *eod,
                            struct why *why) {
  int64_t id = tokenizer_id(tk, wish->eod);
  if (id < 0 && !strcmp(wish->eod, "<|endoftext|>"))
    id = tokenizer_eod(tk);
  if (id < 0)
    return why_say(why, STATUS_MISSING,
                   "%s has no token '%s' to put behind documents; name another with --eod",
                   wish->tokenizer, wish->eod);
  *eod = (uint32_t)id;
  return STATUS_OK;
}

static void print_report(const struct tokenize_plan *plan, const struct tokenize_report *report) {
  char text[32], tokens[32], rate[32], time[32];
  const struct catalog_progress *p = &report->progress;
  double seconds = (double)report->elapsed_ms / 1000 + 1e-3;
  double here = (double)(p->text_bytes - report->resumed_bytes);
  if (report->was_complete)
    printf("%s was complete already\n", plan->dir);
  printf("documents  %" PRIu64 "\n", report->document_count);
  printf("tokens     %" PRIu64 "  (%s)\n", report->token_count,
         io_human_count((double)report->token_count, tokens));
  printf("text       %s\n", io_human_bytes((double)p->text_bytes, text));
  if (p->skipped_count)
    printf("skipped    %" PRIu64 " broken records\n", p->skipped_count);
  if (p->replaced_count)
    printf("replaced   %" PRIu64 " pieces of invalid UTF-8, by U+FFFD\n", p->replaced_count);
  if (!report->was_complete)
    printf("speed      %s/s in %s\n", io_human_bytes(here / seconds, rate),
           io_human_seconds(seconds, time));
  printf("written    %s\n", plan->dir);
}

static enum status run(const struct wishes *wish, const struct option_operands *files,
                       struct tokenize_plan *plan, struct why *why) {
  enum chunk_split plain = CHUNK_WHOLE;
  struct tokenizer *tk = NULL;
  struct tokenize_report report;
  TRY(read_words(wish, plan, &plain, why));
  for (int i = 0; i < files->count; i++)
    TRY(read_operand(files->values[i], wish, plain, &plan->inputs[i], why));
  plan->input_count = (size_t)files->count;
  plan->dir = wish->out;
  plan->skip_bad = wish->skip_bad;
  plan->shard_bytes = wish->shard_bytes;
  plan->durable_bytes = wish->durable_bytes;
  plan->thread_count = wish->threads ? (int)wish->threads : io_core_count();
  if (plan->thread_count > THREAD_COUNT_MAX)
    plan->thread_count = THREAD_COUNT_MAX;
  TRY(tokenizer_open(wish->tokenizer, &tk, why));
  plan->tokenizer = tk;
  enum status s = find_eod(wish, tk, &plan->eod, why);
  if (s == STATUS_OK)
    s = io_tokenize_run(plan, &report, why);
  if (s == STATUS_OK)
    print_report(plan, &report);
  tokenizer_close(&tk);
  return s;
}

int command_tokenize(int argc, char **argv) {
  struct wishes wish = {.format = "shards",
                        .split = "file",
                        .eod = "<|endoftext|>",
                        .shard_bytes = UINT64_C(1) << 30,
                        .durable_bytes = UINT64_C(256) << 20};
  const struct option table[] = {
      {"tokenizer", OPTION_TEXT, &wish.tokenizer, "PATH|byte",
       "a Hugging Face tokenizer.json, or bytes as they are", 0, 0},
      {"out", OPTION_TEXT, &wish.out, "DIR", "where the corpus goes", 0, 0},
      {"slice", OPTION_TEXT, &wish.slice, "NAME", "slice of the files that name none", 0, 0},
      {"format", OPTION_TEXT, &wish.format, "shards|megatron",
       "our shards, or Megatron's and GPT-NeoX's SLICE.bin and SLICE.idx", 0, 0},
      {"split", OPTION_TEXT, &wish.split, "file|blank-lines|lines",
       "what is a document in plain text; file: all of it", 0, 0},
      {"eod", OPTION_TEXT, &wish.eod, "TOKEN", "put behind each document", 0, 0},
      {"skip-bad", OPTION_FLAG, &wish.skip_bad, NULL,
       "leave out and count broken records instead of stopping at the first", 0, 0},
      {"threads", OPTION_INT, &wish.threads, "N", "encoding threads; 0: one per core", 0,
       THREAD_COUNT_MAX},
      {"shard-size", OPTION_BYTES, &wish.shard_bytes, "SIZE", "tokens of a full shard", 4096, 1e12},
      {"durable-every", OPTION_BYTES, &wish.durable_bytes, "SIZE",
       "text between the points from which a run can go on", 4096, 1e15},
      {0}};
  const struct option_command command = {
      "caravan-node tokenize", "[SLICE=]FILE…", summary, table, 1, TOKENIZE_INPUT_COUNT_MAX};
  struct option_operands files;
  struct tokenize_plan plan = {0};
  struct why why;
  enum status s = options_parse(&command, argc, argv, &files, &why);
  if (s == STATUS_STOPPED)
    return 0;
  io_stop_catch();
  if (s == STATUS_OK) {
    plan.inputs = calloc((size_t)files.count, sizeof *plan.inputs);
    s = plan.inputs ? run(&wish, &files, &plan, &why)
                    : why_say(&why, STATUS_NOMEM, "no memory for %d files", files.count);
  }
  free(plan.inputs);
  if (s != STATUS_OK)
    fprintf(stderr, "caravan-node tokenize: %s\n", why.text);
  return status_exit_code(s);
}
