#include "node/data/io_sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/data/megatron.h"
#include "node/data/shard.h"
#include "proto/base/bytes.h"
#include "proto/base/claim.h"
#include "proto/base/io_file.h"

static const char lock_name[] = ".lock";
enum { INDEX_STEP = 4096 }; /* values of a Megatron index encoded at a time */

/* The open shard is the last one of the manifest's last slice. In the Megatron layout there is one
 * a slice, and the lengths of its documents wait in NAME.sizes until the index is made of them. */
struct io_sink {
  char dir[PATH_BYTES_MAX];
  struct catalog *m;
  uint64_t shard_tokens;
  int lock;
  struct io_writer *tokens;
  struct io_writer *documents;
  uint64_t last_end; /* where the document before ended, in tokens of the slice */
};

static struct catalog_slice *slice_of(struct io_sink *k) {
  CLAIM(k->m->slice_count > 0);
  return &k->m->slices[k->m->slice_count - 1];
}

static struct catalog_shard *shard_of(struct io_sink *k) {
  struct catalog_slice *s = slice_of(k);
  CLAIM(s->shard_count > 0);
  return &s->shards[s->shard_count - 1];
}

static uint64_t header_bytes(const struct io_sink *k) {
  return k->m->megatron ? 0 : SHARD_HEADER_BYTES;
}

static uint64_t document_bytes(const struct io_sink *k) {
  return k->m->megatron ? 4 : 8;
}

/* The file that document ends, or lengths, are appended to. */
static enum status documents_path(struct io_sink *k, char *path, struct why *why) {
  char name[CATALOG_FILE_NAME_MAX];
  if (!k->m->megatron)
    return io_path_join(k->dir, shard_of(k)->documents.name, path, why);
  snprintf(name, sizeof name, "%.*s.sizes", CATALOG_SLICE_NAME_MAX, slice_of(k)->name);
  return io_path_join(k->dir, name, path, why);
}

void io_sink_close(struct io_sink **out) {
  struct io_sink *k = *out;
  if (!k)
    return;
  if (k->tokens)
    io_writer_abandon(&k->tokens);
  if (k->documents)
    io_writer_abandon(&k->documents);
  if (k->lock >= 0)
    close(k->lock);
  free(k);
  *out = NULL;
}

static enum status take_lock(struct io_sink *k, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  TRY(io_path_join(k->dir, lock_name, path, why));
  k->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (k->lock < 0)
    return why_errno(why, errno, "cannot open", path);
  if (fcntl(k->lock, F_SETLK, &whole) == 0)
    return STATUS_OK;
  if (errno != EACCES && errno != EAGAIN)
    return why_errno(why, errno, "cannot lock", path);
  return why_say(why, STATUS_AGAIN, "another process is writing to %s", k->dir);
}

/* Cut a file back to what was durable, and go on behind it. */
static enum status continue_file(const char *path, uint64_t bytes, struct io_writer **out,
                                 struct why *why) {
  uint64_t found;
  TRY(io_file_bytes(path, &found, why));
  if (found < bytes)
    return why_say(why, STATUS_SHORT,
                   "%s has %llu bytes, but %llu were written before the run stopped; remove the "
                   "directory and begin again",
                   path, (unsigned long long)found, (unsigned long long)bytes);
  TRY(io_truncate(path, bytes, why));
  return io_writer_open(path, true, out, why);
}

static enum status continue_shard(struct io_sink *k, struct why *why) {
  struct catalog_slice *s = slice_of(k);
  char path[PATH_BYTES_MAX];
  if (!s->shard_count)
    return STATUS_OK;
  struct catalog_shard *shard = shard_of(k);
  uint64_t tokens = header_bytes(k) + shard->token_count * k->m->token_bytes;
  uint64_t documents = header_bytes(k) + shard->document_count * document_bytes(k);
  TRY(io_path_join(k->dir, shard->tokens.name, path, why));
  TRY(continue_file(path, tokens, &k->tokens, why));
  TRY(documents_path(k, path, why));
  return continue_file(path, documents, &k->documents, why);
}

/* What io_file_write had begun when an earlier process was killed. Nobody else writes here while we
 * have the lock. */
static void remove_leavings(const struct io_sink *k) {
  char path[PATH_BYTES_MAX];
  DIR *dir = opendir(k->dir);
  struct dirent *entry;
  while (dir && (entry = readdir(dir)))
    if (strstr(entry->d_name, ".json.partial-") &&
        io_path_join(k->dir, entry->d_name, path, NULL) == STATUS_OK)
      unlink(path);
  if (dir)
    closedir(dir);
}

/* Where the last whole document of a resumed Megatron slice ended: the sum of all lengths, which is
 * all its tokens, as documents are added whole. In the shard layout ends are absolute. */
static enum status open_sink(struct io_sink *k, struct why *why) {
  TRY(io_folder_make(k->dir, why));
  TRY(take_lock(k, why));
  remove_leavings(k);
  if (!k->m->slice_count)
    return STATUS_OK;
  k->last_end = slice_of(k)->token_count;
  return continue_shard(k, why);
}

enum status io_sink_open(const char *dir, struct catalog *m, uint64_t shard_tokens,
                         struct io_sink **out, struct why *why) {
  CLAIM(shard_tokens > 0);
  struct io_sink *k = calloc(1, sizeof *k);
  if (!k)
    return why_say(why, STATUS_NOMEM, "no memory to write %s", dir);
  snprintf(k->dir, sizeof k->dir, "%s", dir);
  k->m = m;
  k->shard_tokens = shard_tokens;
  k->lock = -1;
  enum status s = open_sink(k, why);
  if (s != STATUS_OK) {
    io_sink_close(&k);
    return s;
  }
  *out = k;
  return STATUS_OK;
}

static struct shard_header header_of(struct io_sink *k, enum shard_kind kind, uint64_t count) {
  const struct catalog_slice *s = slice_of(k);
  const struct catalog_shard *shard = shard_of(k);
  bool tokens = kind == SHARD_TOKENS;
  uint64_t before =
      tokens ? s->token_count - shard->token_count : s->document_count - shard->document_count;
  return (struct shard_header){
      kind, tokens ? k->m->token_bytes : 8, k->m->vocab_count, before, count, k->m->tokenizer};
}

static enum status begin_file(struct io_sink *k, const char *path, enum shard_kind kind,
                              struct io_writer **out, struct why *why) {
  uint8_t header[SHARD_HEADER_BYTES];
  TRY(io_writer_open(path, false, out, why));
  if (k->m->megatron)
    return STATUS_OK;
  struct shard_header h = header_of(k, kind, 0);
  shard_encode(&h, header);
  return io_writer_add(*out, header, sizeof header, why);
}

static enum status begin_shard(struct io_sink *k, struct why *why) {
  struct catalog_slice *s = slice_of(k);
  char path[PATH_BYTES_MAX];
  int name_bytes = (int)strlen(s->name);
  TRY(catalog_add_shard(s, why));
  struct catalog_shard *shard = shard_of(k);
  if (k->m->megatron) {
    snprintf(shard->tokens.name, sizeof shard->tokens.name, "%.*s.bin", name_bytes, s->name);
    snprintf(shard->documents.name, sizeof shard->documents.name, "%.*s.idx", name_bytes, s->name);
  } else {
    snprintf(shard->tokens.name, sizeof shard->tokens.name, "%.*s-%05zu.tokens", name_bytes,
             s->name, s->shard_count - 1);
    snprintf(shard->documents.name, sizeof shard->documents.name, "%.*s-%05zu.documents",
             name_bytes, s->name, s->shard_count - 1);
  }
  TRY(io_path_join(k->dir, shard->tokens.name, path, why));
  TRY(begin_file(k, path, SHARD_TOKENS, &k->tokens, why));
  TRY(documents_path(k, path, why));
  return begin_file(k, path, SHARD_DOCUMENTS, &k->documents, why);
}

/* The counts into the header, now that they are known. */
static enum status patch_header(const char *path, const struct shard_header *h, struct why *why) {
  uint8_t header[SHARD_HEADER_BYTES];
  shard_encode(h, header);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    return why_errno(why, errno, "cannot open", path);
  ssize_t wrote = pwrite(fd, header, sizeof header, 0);
  enum status s = STATUS_OK;
  if (wrote != (ssize_t)sizeof header || fsync(fd) != 0)
    s = why_errno(why, wrote < 0 || errno ? errno : EIO, "cannot write", path);
  close(fd);
  return s;
}

/* Size and digest of a file that is complete, read back: what the manifest promises is what the
 * disk gave. Costs about a second a gigabyte. */
static enum status seal_file(struct io_sink *k, struct catalog_file *f, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct io_map map;
  TRY(io_path_join(k->dir, f->name, path, why));
  TRY(io_map_open(path, &map, why));
  f->bytes = map.count;
  f->digest = digest_of(DIGEST_PLAIN, map.at, map.count);
  io_map_close(&map);
  return STATUS_OK;
}

struct index_making {
  struct io_writer *out;
  const struct io_map *sizes;
  uint64_t count;
  uint32_t token_bytes;
};

/* The i64 parts of an index: where each document begins in bytes, then 0 … count. */
static enum status add_pointers(const struct index_making *in, bool marks, struct why *why) {
  uint8_t block[8 * INDEX_STEP];
  uint64_t at = 0;
  uint64_t last = in->count + (marks ? 1 : 0);
  for (uint64_t i = 0; i < last;) {
    size_t used = 0;
    for (; i < last && used < sizeof block; i++, used += 8) {
      bytes_put_u64(block + used, marks ? i : at);
      at += marks ? 0 : (uint64_t)bytes_get_u32(in->sizes->at + 4 * i) * in->token_bytes;
    }
    TRY(io_writer_add(in->out, block, used, why));
  }
  return STATUS_OK;
}

static enum status add_index(const struct index_making *in, uint8_t type, struct why *why) {
  uint8_t header[MEGATRON_HEADER_BYTES];
  megatron_encode(type, in->count, header);
  TRY(io_writer_add(in->out, header, sizeof header, why));
  TRY(io_writer_add(in->out, in->sizes->at, 4 * in->count, why));
  TRY(add_pointers(in, false, why));
  return add_pointers(in, true, why);
}

static enum status make_index(struct io_sink *k, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct io_map sizes;
  struct index_making in = {NULL, &sizes, shard_of(k)->document_count, k->m->token_bytes};
  TRY(documents_path(k, path, why));
  TRY(io_map_open(path, &sizes, why));
  CLAIM(sizes.count == 4 * in.count);
  enum status s = io_path_join(k->dir, shard_of(k)->documents.name, path, why);
  if (s == STATUS_OK)
    s = io_writer_open(path, false, &in.out, why);
  if (s == STATUS_OK)
    s = add_index(&in, megatron_type(k->m->vocab_count), why);
  if (s == STATUS_OK)
    s = io_writer_close(&in.out, why);
  if (in.out)
    io_writer_abandon(&in.out);
  io_map_close(&sizes);
  return s;
}

static enum status end_shard(struct io_sink *k, struct why *why) {
  char path[PATH_BYTES_MAX];
  if (!k->tokens)
    return STATUS_OK;
  struct catalog_shard *shard = shard_of(k);
  TRY(io_writer_close(&k->tokens, why));
  TRY(io_writer_close(&k->documents, why));
  if (k->m->megatron) {
    TRY(make_index(k, why));
  } else {
    struct shard_header h = header_of(k, SHARD_TOKENS, shard->token_count);
    TRY(io_path_join(k->dir, shard->tokens.name, path, why));
    TRY(patch_header(path, &h, why));
    h = header_of(k, SHARD_DOCUMENTS, shard->document_count);
    TRY(io_path_join(k->dir, shard->documents.name, path, why));
    TRY(patch_header(path, &h, why));
  }
  TRY(seal_file(k, &shard->tokens, why));
  return seal_file(k, &shard->documents, why);
}

enum status io_sink_begin_slice(struct io_sink *k, const char *name, struct why *why) {
  if (k->m->slice_count && !strcmp(slice_of(k)->name, name))
    return STATUS_OK;
  TRY(end_shard(k, why));
  TRY(catalog_add_slice(k->m, name, why));
  k->last_end = 0;
  return k->m->megatron ? begin_shard(k, why) : STATUS_OK;
}

static enum status add_document(struct io_sink *k, uint64_t end, struct why *why) {
  uint8_t value[8];
  if (k->m->megatron)
    bytes_put_u32(value, (uint32_t)(end - k->last_end));
  else
    bytes_put_u64(value, end);
  k->last_end = end;
  shard_of(k)->document_count++;
  slice_of(k)->document_count++;
  return io_writer_add(k->documents, value, document_bytes(k), why);
}

enum status io_sink_add(struct io_sink *k, const uint8_t *tokens, size_t token_count,
                        const uint64_t *ends, size_t document_count, struct why *why) {
  struct catalog_slice *s = slice_of(k);
  uint64_t base = s->token_count;
  size_t done = 0;
  size_t document = 0;
  if (token_count > TOKENS_TOTAL_MAX - base)
    return why_say(why, STATUS_FULL, "slice '%s' passes %llu tokens", s->name,
                   (unsigned long long)TOKENS_TOTAL_MAX);
  while (done < token_count) {
    if (!k->m->megatron && (!k->tokens || shard_of(k)->token_count == k->shard_tokens)) {
      TRY(end_shard(k, why));
      TRY(begin_shard(k, why));
    }
    uint64_t room = k->m->megatron ? token_count : k->shard_tokens - shard_of(k)->token_count;
    size_t step = token_count - done < room ? token_count - done : (size_t)room;
    TRY(io_writer_add(k->tokens, tokens + done * k->m->token_bytes, step * k->m->token_bytes, why));
    done += step;
    shard_of(k)->token_count += step;
    s->token_count += step;
    while (document < document_count && ends[document] <= done)
      TRY(add_document(k, base + ends[document++], why));
  }
  CLAIM(document == document_count);
  return STATUS_OK;
}

static enum status write_manifest(struct io_sink *k, const char *name, struct why *why) {
  char path[PATH_BYTES_MAX];
  char *text;
  size_t count;
  TRY(io_path_join(k->dir, name, path, why));
  TRY(catalog_print(k->m, &text, &count, why));
  enum status s = io_file_write(path, text, count, why);
  free(text);
  return s;
}

enum status io_sink_settle(struct io_sink *k, const struct catalog_progress *progress,
                           struct why *why) {
  if (k->tokens) {
    TRY(io_writer_sync(k->tokens, why));
    TRY(io_writer_sync(k->documents, why));
  }
  TRY(io_folder_sync(k->dir, why));
  k->m->finished = false;
  k->m->progress = *progress;
  return write_manifest(k, CATALOG_RESUME, why);
}

void io_sink_tidy(const char *dir, const struct catalog *m) {
  char path[PATH_BYTES_MAX];
  char name[CATALOG_FILE_NAME_MAX];
  for (size_t i = 0; m->megatron && i < m->slice_count; i++) {
    snprintf(name, sizeof name, "%.*s.sizes", CATALOG_SLICE_NAME_MAX, m->slices[i].name);
    if (io_path_join(dir, name, path, NULL) == STATUS_OK)
      unlink(path);
  }
  if (io_path_join(dir, CATALOG_RESUME, path, NULL) == STATUS_OK)
    unlink(path);
  if (io_path_join(dir, lock_name, path, NULL) == STATUS_OK)
    unlink(path);
}

enum status io_sink_finish(struct io_sink **out, const struct catalog_progress *progress,
                           struct why *why) {
  struct io_sink *k = *out;
  enum status s = end_shard(k, why);
  k->m->finished = true;
  k->m->progress = *progress;
  if (s == STATUS_OK)
    s = io_folder_sync(k->dir, why);
  if (s == STATUS_OK)
    s = write_manifest(k, CATALOG_FILE, why);
  if (s == STATUS_OK)
    io_sink_tidy(k->dir, k->m);
  io_sink_close(out);
  return s;
}
