#include "node/data/io_tokenize.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "node/data/io_sink.h"
#include "node/data/io_source.h"
#include "node/data/shard.h"
#include "proto/base/claim.h"
#include "proto/base/io_file.h"
#include "proto/base/io_system.h"
#include "proto/base/log.h"

enum {
  SLOT_COUNT_EXTRA = 4,   /* beside two a worker: enough that nobody waits for the others long */
  WAKE_MS = 100,          /* how late a wish to stop may be noticed */
  DURABLE_MS_MAX = 15000, /* a slow machine's durable points are not further apart than this */
};

enum slot_state { SLOT_FREE, SLOT_READ, SLOT_ENCODED };

struct slot {
  enum slot_state state;
  size_t input;
  struct io_chunk chunk;
  uint64_t disk_bytes; /* of the input file, read up to here */
  struct chunk_out out;
  enum status status; /* of reading or encoding it */
  struct why why;
};

/* Slots are taken in the order of their sequence numbers; number n lives in slot n % slot_count. A
 * slot belongs to whoever's turn its state says; the lock guards states and numbers only. */
struct run {
  struct tokenize_plan *plan;
  struct chunk_how how; /* split aside */
  struct catalog manifest;
  struct io_sink *sink;
  struct catalog_progress progress;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct slot *slots;
  size_t slot_count;
  uint64_t read_next, encode_next, write_next; /* sequence numbers */
  bool read_all;                               /* nothing comes after read_next */
  bool abandoned;
  pthread_t threads[THREAD_COUNT_MAX + 1];
  int thread_count;
};

/* Wait until a slot has the state, or everybody is to go home. NULL then, and when the reader has
 * ended before that number. */
static struct slot *await_slot(struct run *r, uint64_t number, enum slot_state state) {
  struct slot *slot = &r->slots[number % r->slot_count];
  pthread_mutex_lock(&r->lock);
  for (;;) {
    bool none = r->read_all && number >= r->read_next;
    if (r->abandoned || none) {
      slot = NULL;
      break;
    }
    bool in_reach = number < r->write_next + r->slot_count;
    if (in_reach && slot->state == state)
      break;
    pthread_cond_wait(&r->changed, &r->lock);
  }
  pthread_mutex_unlock(&r->lock);
  return slot;
}

static void pass_on(struct run *r, struct slot *slot, enum slot_state state) {
  pthread_mutex_lock(&r->lock);
  slot->state = state;
  r->read_next += state == SLOT_READ;
  r->write_next += state == SLOT_FREE;
  pthread_cond_broadcast(&r->changed);
  pthread_mutex_unlock(&r->lock);
}

/* One file into slots. false: there is nothing more to read. */
static bool read_file(struct run *r, size_t index, uint64_t offset, uint64_t line) {
  const struct tokenize_input *input = &r->plan->inputs[index];
  struct io_source *in = NULL;
  struct slot *slot = await_slot(r, r->read_next, SLOT_FREE);
  if (!slot)
    return false;
  slot->status =
      io_source_open(input->path, input->split, offset, line, r->plan->skip_bad, &in, &slot->why);
  bool more = true;
  bool good;
  do {
    if (slot->status == STATUS_OK)
      slot->status = io_source_next(in, &slot->chunk, &slot->why);
    good = slot->status == STATUS_OK;
    more = good && !slot->chunk.last;
    slot->input = index;
    slot->disk_bytes = good ? io_source_read_bytes(in) : 0;
    pass_on(r, slot, SLOT_READ);
    if (more) {
      slot = await_slot(r, r->read_next, SLOT_FREE);
      if (slot)
        slot->status = STATUS_OK;
    }
  } while (more && slot);
  io_source_close(&in);
  return good && slot;
}

static void *read_inputs(void *argument) {
  struct run *r = argument;
  uint64_t offset = r->progress.offset_bytes;
  uint64_t line = r->progress.line_count;
  bool more = true;
  for (size_t i = r->progress.file_index; more && i < r->plan->input_count; i++) {
    more = read_file(r, i, offset, line);
    offset = 0;
    line = 0;
  }
  pthread_mutex_lock(&r->lock);
  r->read_all = true;
  pthread_cond_broadcast(&r->changed);
  pthread_mutex_unlock(&r->lock);
  return NULL;
}

static enum status encode_slot(struct run *r, struct tokenizer_work *work, struct slot *slot) {
  struct chunk_how how = r->how;
  const struct tokenize_input *input = &r->plan->inputs[slot->input];
  const uint8_t *text = slot->chunk.text;
  size_t count = slot->chunk.count;
  how.split = input->split;
  if (slot->chunk.offset == 0 && how.split == CHUNK_RECORDS && count >= 3 &&
      !memcmp(text, "\xef\xbb\xbf", 3)) {
    text += 3; /* a byte order mark is no part of the first record */
    count -= 3;
  }
  enum status s = chunk_encode(&how, work, text, count, &slot->out, &slot->why);
  if (s == STATUS_BAD)
    return why_prefix(&slot->why, s, "%s:%llu: ", input->path,
                      (unsigned long long)(slot->chunk.line + slot->out.line + 1));
  return s == STATUS_OK ? s : why_prefix(&slot->why, s, "%s: ", input->path);
}

static uint64_t next_to_encode(struct run *r) {
  pthread_mutex_lock(&r->lock);
  uint64_t number = r->encode_next++;
  pthread_mutex_unlock(&r->lock);
  return number;
}

static void *encode_chunks(void *argument) {
  struct run *r = argument;
  struct tokenizer_work *work = NULL;
  struct why why;
  struct slot *slot;
  enum status opened = tokenizer_work_open(r->how.tokenizer, &work, &why);
  while ((slot = await_slot(r, next_to_encode(r), SLOT_READ))) {
    if (opened != STATUS_OK) {
      slot->status = opened;
      slot->why = why;
    }
    if (slot->status == STATUS_OK)
      slot->status = encode_slot(r, work, slot);
    pass_on(r, slot, SLOT_ENCODED);
  }
  if (work)
    tokenizer_work_close(&work);
  return NULL;
}

/* The writer's own waiting: it also looks up now and then. *slot NULL and OK: everything is
 * written. */
static enum status await_encoded(struct run *r, struct slot **out, struct why *why) {
  struct slot *slot = &r->slots[r->write_next % r->slot_count];
  bool all = false;
  pthread_mutex_lock(&r->lock);
  while (slot->state != SLOT_ENCODED && !all && !io_stop_wanted()) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAKE_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    all = r->read_all && r->write_next == r->read_next;
    if (!all)
      pthread_cond_timedwait(&r->changed, &r->lock, &until);
  }
  pthread_mutex_unlock(&r->lock);
  *out = all ? NULL : slot;
  if (!all && io_stop_wanted())
    return why_say(why, STATUS_STOPPED, "stopped; the same command goes on from here");
  return STATUS_OK;
}

static void report_skipped(struct run *r, const struct slot *slot) {
  const char *path = r->plan->inputs[slot->input].path;
  uint64_t before = r->progress.skipped_count;
  uint64_t here = slot->out.skipped_count + slot->chunk.skipped_count;
  r->progress.skipped_count += here;
  if (!here || before >= TOKENIZE_REPORTED_MAX)
    return;
  if (slot->out.skipped_count)
    log_warn("tokenize", "skipped", "%s:%llu: %s", path,
             (unsigned long long)(slot->chunk.line + slot->out.line + 1), slot->out.broken.text);
  if (here > (slot->out.skipped_count > 0))
    log_warn("tokenize", "skipped", "%llu more near there",
             (unsigned long long)(here - (slot->out.skipped_count > 0)));
  if (r->progress.skipped_count >= TOKENIZE_REPORTED_MAX)
    log_warn("tokenize", "skipped", "further broken records are only counted");
}

static enum status write_slot(struct run *r, struct slot *slot, struct why *why) {
  struct catalog_progress *p = &r->progress;
  const char *slice = r->plan->inputs[slot->input].slice;
  if (slot->status != STATUS_OK) {
    *why = slot->why;
    return slot->status;
  }
  TRY(io_sink_begin_slice(r->sink, slice, why));
  TRY(io_sink_add(r->sink, slot->out.tokens, slot->out.token_count, slot->out.ends,
                  slot->out.document_count, why));
  report_skipped(r, slot);
  p->text_bytes += slot->chunk.count;
  p->replaced_count += slot->out.replaced_count;
  p->file_index = slot->input + slot->chunk.last;
  p->offset_bytes = slot->chunk.last ? 0 : slot->chunk.next_offset;
  p->line_count = slot->chunk.last ? 0 : slot->chunk.next_line;
  return STATUS_OK;
}

struct pace {
  struct io_progress line;
  uint64_t begin_ms;
  uint64_t begin_disk; /* bytes on disk that were read when the run began, resumed ones */
  uint64_t begin_text;
  uint64_t disk_total;
  uint64_t disk_before; /* files before the current one */
  size_t file_index;
  uint64_t settled_ms;
  uint64_t settled_text;
};

static uint64_t token_total(const struct catalog *m) {
  uint64_t tokens = 0;
  for (size_t i = 0; i < m->slice_count; i++)
    tokens += m->slices[i].token_count;
  return tokens;
}

static void show_progress(struct run *r, struct pace *p, const struct slot *slot) {
  char rate[32], text[32], tokens[32], left[32] = "?";
  for (; p->file_index < slot->input; p->file_index++)
    p->disk_before += r->plan->inputs[p->file_index].bytes;
  uint64_t disk = p->disk_before + slot->disk_bytes;
  disk = disk < p->disk_total ? disk : p->disk_total; /* a file may have grown */
  if (!p->begin_disk)
    p->begin_disk = disk ? disk : 1;
  double seconds = (double)(io_now_ms() - p->begin_ms) / 1000 + 1e-3;
  double done = disk > p->begin_disk ? (double)(disk - p->begin_disk) : 0;
  bool last = slot->chunk.last && slot->input + 1 == r->plan->input_count;
  if (last)
    io_human_seconds(0, left);
  else if (done > 0)
    io_human_seconds(seconds * (double)(p->disk_total - disk) / done, left);
  if (r->plan->quiet)
    return;
  io_progress_show(&p->line, last, "tokenize  %3.0f %%  %s of text  %s tokens  %s/s  %s left",
                   p->disk_total ? 100.0 * (double)disk / (double)p->disk_total : 100.0,
                   io_human_bytes((double)r->progress.text_bytes, text),
                   io_human_count((double)token_total(&r->manifest), tokens),
                   io_human_bytes((double)(r->progress.text_bytes - p->begin_text) / seconds, rate),
                   left);
}

static enum status settle_when_due(struct run *r, struct pace *p, struct why *why) {
  uint64_t now = io_now_ms();
  if (r->progress.text_bytes - p->settled_text < r->plan->durable_bytes &&
      now - p->settled_ms < DURABLE_MS_MAX)
    return STATUS_OK;
  p->settled_ms = now;
  p->settled_text = r->progress.text_bytes;
  return io_sink_settle(r->sink, &r->progress, why);
}

static enum status write_all(struct run *r, struct why *why) {
  struct pace p = {.begin_ms = io_now_ms(),
                   .begin_text = r->progress.text_bytes,
                   .settled_ms = io_now_ms(),
                   .settled_text = r->progress.text_bytes};
  struct slot *slot;
  enum status s;
  for (size_t i = 0; i < r->plan->input_count; i++)
    p.disk_total += r->plan->inputs[i].bytes;
  for (;;) {
    s = await_encoded(r, &slot, why);
    if (s != STATUS_OK || !slot)
      break;
    bool failed = slot->status != STATUS_OK;
    s = write_slot(r, slot, why);
    if (s != STATUS_OK && !failed) { /* the sink's failure: what is in its buffers is not sound */
      io_progress_end(&p.line);
      return s;
    }
    if (s != STATUS_OK)
      break;
    show_progress(r, &p, slot);
    pass_on(r, slot, SLOT_FREE);
    s = settle_when_due(r, &p, why);
    if (s != STATUS_OK) {
      io_progress_end(&p.line);
      return s;
    }
  }
  io_progress_end(&p.line);
  struct why ignored;
  if (s != STATUS_OK && io_sink_settle(r->sink, &r->progress, &ignored) != STATUS_OK)
    log_warn("tokenize", "settle", "%s", ignored.text);
  return s;
}

static void send_home(struct run *r) {
  pthread_mutex_lock(&r->lock);
  r->abandoned = true;
  pthread_cond_broadcast(&r->changed);
  pthread_mutex_unlock(&r->lock);
  for (int i = 0; i < r->thread_count; i++)
    pthread_join(r->threads[i], NULL);
  r->thread_count = 0;
}

static enum status start_threads(struct run *r, struct why *why) {
  for (int i = 0; i <= r->plan->thread_count; i++) {
    int failed = pthread_create(&r->threads[i], NULL, i ? encode_chunks : read_inputs, r);
    if (failed)
      return why_errno(why, failed, "cannot start a thread for", r->plan->dir);
    r->thread_count++;
  }
  return STATUS_OK;
}

static enum status run_threads(struct run *r, struct why *why) {
  pthread_mutex_init(&r->lock, NULL);
  pthread_cond_init(&r->changed, NULL);
  enum status s = start_threads(r, why);
  if (s == STATUS_OK)
    s = write_all(r, why);
  send_home(r);
  pthread_cond_destroy(&r->changed);
  pthread_mutex_destroy(&r->lock);
  return s;
}

static enum status look_at_inputs(struct tokenize_plan *plan, struct why *why) {
  struct stat about;
  for (size_t i = 0; i < plan->input_count; i++) {
    struct tokenize_input *input = &plan->inputs[i];
    if (stat(input->path, &about) != 0)
      return why_errno(why, errno, "cannot open", input->path);
    if (S_ISDIR(about.st_mode))
      return why_say(why, STATUS_USAGE, "%s is a directory; name the files in it, as in %s/*",
                     input->path, input->path);
    if (!S_ISREG(about.st_mode))
      return why_say(why, STATUS_UNSUPPORTED,
                     "%s is not a regular file; a run could not be continued from it", input->path);
    input->bytes = (uint64_t)about.st_size;
    input->changed_s = (int64_t)about.st_mtime;
  }
  return STATUS_OK;
}

/* Files of one slice together, slices in the order of their first file. */
static enum status group_inputs(struct tokenize_plan *plan, struct why *why) {
  struct tokenize_input *sorted = malloc((plan->input_count + 1) * sizeof *sorted);
  bool *taken = calloc(plan->input_count + 1, sizeof *taken);
  size_t count = 0;
  size_t slices = 0;
  for (size_t i = 0; sorted && taken && i < plan->input_count && slices <= SLICE_COUNT_MAX; i++) {
    slices += !taken[i];
    for (size_t j = i; !taken[i] && j < plan->input_count; j++) {
      if (taken[j] || (j != i && strcmp(plan->inputs[i].slice, plan->inputs[j].slice)))
        continue;
      sorted[count++] = plan->inputs[j];
      taken[j] = j != i;
    }
    taken[i] = true;
  }
  bool ok = sorted && taken;
  if (ok && slices <= SLICE_COUNT_MAX)
    memcpy(plan->inputs, sorted, count * sizeof *sorted);
  free(sorted);
  free(taken);
  if (!ok)
    return why_say(why, STATUS_NOMEM, "no memory for %zu inputs", plan->input_count);
  return slices <= SLICE_COUNT_MAX
             ? STATUS_OK
             : why_say(why, STATUS_FULL, "a corpus has at most %d slices", SLICE_COUNT_MAX);
}

/* What decides the output's bytes. --skip-bad does not: it only says what to do about a broken
 * record, so that a run that one has stopped can be continued with it. */
static struct digest recipe_of(const struct tokenize_plan *plan) {
  char line[PATH_BYTES_MAX + 256];
  char hex[DIGEST_HEX_BYTES];
  struct digester in;
  digester_init(&in, DIGEST_PLAIN);
  digest_hex(tokenizer_digest(plan->tokenizer), hex);
  int count = snprintf(line, sizeof line, "caravan tokenize 1\n%s %u\n%s %llu\n", hex, plan->eod,
                       plan->megatron ? "megatron" : "shards",
                       plan->megatron ? 0 : (unsigned long long)plan->shard_bytes);
  digester_add(&in, line, (size_t)count);
  for (size_t i = 0; i < plan->input_count; i++) {
    const struct tokenize_input *input = &plan->inputs[i];
    count = snprintf(line, sizeof line, "%.*s %d %llu %lld %.*s\n", CATALOG_SLICE_NAME_MAX,
                     input->slice, (int)input->split, (unsigned long long)input->bytes,
                     (long long)input->changed_s, PATH_BYTES_MAX, input->path);
    digester_add(&in, line, (size_t)count);
  }
  return digester_end(&in);
}

static enum status load_manifest(const char *dir, const char *name, bool *found,
                                 struct catalog *out, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct io_bytes text;
  TRY(io_path_join(dir, name, path, why));
  *found = io_exists(path);
  if (!*found)
    return STATUS_OK;
  TRY(io_file_read(path, CATALOG_BYTES_MAX, &text, why));
  enum status s = catalog_parse(path, text.at, text.count, out, why);
  io_bytes_free(&text);
  return s;
}

/* A fresh manifest, or the one of the run to go on with, or that of one which is complete. */
static enum status find_manifest(struct run *r, bool *complete, struct why *why) {
  const struct tokenize_plan *plan = r->plan;
  struct digest recipe = recipe_of(plan);
  bool found;
  TRY(load_manifest(plan->dir, CATALOG_FILE, complete, &r->manifest, why));
  if (*complete)
    return digest_equal(&recipe, &r->manifest.recipe)
               ? STATUS_OK
               : why_say(why, STATUS_EXISTS,
                         "%s already holds another corpus; choose another directory or remove it",
                         plan->dir);
  TRY(load_manifest(plan->dir, CATALOG_RESUME, &found, &r->manifest, why));
  if (found)
    return digest_equal(&recipe, &r->manifest.recipe)
               ? STATUS_OK
               : why_say(why, STATUS_MISMATCH,
                         "%s holds an unfinished run of another command, or an input has changed "
                         "since; finish that one, or remove the directory to begin again",
                         plan->dir);
  uint32_t vocab = tokenizer_vocab_count(plan->tokenizer);
  r->manifest = (struct catalog){.megatron = plan->megatron,
                                 .byte_tokenizer = tokenizer_is_byte(plan->tokenizer),
                                 .tokenizer = *tokenizer_digest(plan->tokenizer),
                                 .recipe = recipe,
                                 .vocab_count = vocab > plan->eod ? vocab : plan->eod + 1};
  vocab = r->manifest.vocab_count;
  r->manifest.eod = plan->eod;
  r->manifest.token_bytes = plan->megatron ? (vocab < 65500 ? 2 : 4) : shard_token_bytes(vocab);
  return STATUS_OK;
}

static enum status keep_tokenizer(const struct tokenize_plan *plan, struct why *why) {
  char path[PATH_BYTES_MAX];
  size_t count;
  const void *json = tokenizer_file(plan->tokenizer, &count);
  if (!json)
    return STATUS_OK;
  TRY(io_path_join(plan->dir, "tokenizer.json", path, why));
  return io_file_write(path, json, count, why);
}

static enum status carry_out(struct run *r, struct why *why) {
  struct tokenize_plan *plan = r->plan;
  uint64_t shard_tokens = plan->shard_bytes / r->manifest.token_bytes;
  r->progress = r->manifest.progress;
  r->how = (struct chunk_how){plan->tokenizer, plan->eod, r->manifest.token_bytes, CHUNK_WHOLE,
                              plan->skip_bad};
  r->slot_count = 2 * (size_t)plan->thread_count + SLOT_COUNT_EXTRA;
  r->slots = calloc(r->slot_count, sizeof *r->slots);
  if (!r->slots)
    return why_say(why, STATUS_NOMEM, "no memory for %zu chunks", r->slot_count);
  TRY(io_sink_open(plan->dir, &r->manifest, shard_tokens, &r->sink, why));
  TRY(keep_tokenizer(plan, why));
  TRY(io_sink_settle(r->sink, &r->progress, why));
  TRY(run_threads(r, why));
  return io_sink_finish(&r->sink, &r->progress, why);
}

enum status io_tokenize_run(struct tokenize_plan *plan, struct tokenize_report *report,
                            struct why *why) {
  CLAIM(plan->thread_count >= 1 && plan->thread_count <= THREAD_COUNT_MAX);
  struct run r = {.plan = plan};
  uint64_t begin_ms = io_now_ms();
  bool complete = false;
  TRY(look_at_inputs(plan, why));
  TRY(group_inputs(plan, why));
  enum status s = find_manifest(&r, &complete, why);
  uint64_t resumed = s == STATUS_OK ? r.manifest.progress.text_bytes : 0;
  if (s == STATUS_OK && complete)
    io_sink_tidy(plan->dir, &r.manifest);
  else if (s == STATUS_OK)
    s = carry_out(&r, why);
  io_sink_close(&r.sink);
  *report = (struct tokenize_report){.progress = complete ? r.manifest.progress : r.progress,
                                     .token_count = token_total(&r.manifest),
                                     .resumed_bytes = resumed,
                                     .elapsed_ms = io_now_ms() - begin_ms,
                                     .was_complete = complete};
  for (size_t i = 0; i < r.manifest.slice_count; i++)
    report->document_count += r.manifest.slices[i].document_count;
  for (size_t i = 0; i < r.slot_count && r.slots; i++) {
    free(r.slots[i].chunk.text);
    chunk_end(&r.slots[i].out);
  }
  free(r.slots);
  catalog_end(&r.manifest);
  return s;
}
