#include "node/data/io_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "proto/base/limits.h"

enum { RAW_BYTES = 1 << 17 };

struct io_source {
  char path[PATH_BYTES_MAX];
  enum chunk_split split;
  bool skip_long;
  int fd;
  uint64_t read_bytes;
  uint64_t offset; /* of the next chunk */
  uint64_t line;
  uint8_t *carry; /* read, but behind the last cut: belongs to the next chunk */
  size_t carry_count, carry_room;
  bool ended;
  ZSTD_DStream *zstd; /* NULL: not compressed */
  ZSTD_inBuffer raw;
  size_t frame_left; /* 0: between frames */
  uint8_t raw_bytes[RAW_BYTES];
};

void io_source_close(struct io_source **in) {
  if (!*in)
    return;
  if ((*in)->fd >= 0)
    close((*in)->fd);
  ZSTD_freeDStream((*in)->zstd);
  free((*in)->carry);
  free(*in);
  *in = NULL;
}

static enum status read_raw(struct io_source *in, uint8_t *out, size_t room, size_t *got,
                            struct why *why) {
  ssize_t count;
  do
    count = read(in->fd, out, room);
  while (count < 0 && errno == EINTR);
  if (count < 0)
    return why_errno(why, errno, "cannot read", in->path);
  in->read_bytes += (uint64_t)count;
  *got = (size_t)count;
  return STATUS_OK;
}

static enum status read_zstd(struct io_source *in, uint8_t *out, size_t room, size_t *got,
                             struct why *why) {
  ZSTD_outBuffer to = {out, room, 0};
  while (to.pos == 0) {
    if (in->raw.pos == in->raw.size) {
      TRY(read_raw(in, in->raw_bytes, RAW_BYTES, &in->raw.size, why));
      in->raw.pos = 0;
    }
    bool at_end = in->raw.size == 0;
    if (at_end && in->frame_left == 0)
      break;
    size_t before = in->raw.pos;
    size_t left = ZSTD_decompressStream(in->zstd, &to, &in->raw);
    if (ZSTD_isError(left))
      return why_say(why, STATUS_BAD, "%s: damaged zstd data near byte %llu: %s", in->path,
                     (unsigned long long)(in->read_bytes - in->raw.size + in->raw.pos),
                     ZSTD_getErrorName(left));
    in->frame_left = left;
    if (at_end && to.pos == 0 && in->raw.pos == before)
      return why_say(why, STATUS_SHORT,
                     "%s: the file ends inside a zstd frame, after %llu bytes; fetch it again",
                     in->path, (unsigned long long)in->read_bytes);
  }
  *got = to.pos;
  return STATUS_OK;
}

static enum status read_some(struct io_source *in, uint8_t *out, size_t room, size_t *got,
                             struct why *why) {
  return in->zstd ? read_zstd(in, out, room, got, why) : read_raw(in, out, room, got, why);
}

/* The compression by its first bytes. */
static enum status recognise(struct io_source *in, struct why *why) {
  static const struct {
    const char *name, *remedy;
    size_t count;
    char magic[6];
  } others[] = {{"gzip", "gunzip", 2, "\x1f\x8b"},
                {"bzip2", "bunzip2", 3, "BZh"},
                {"xz", "unxz", 6, {(char)0xfd, '7', 'z', 'X', 'Z', 0}},
                {"lz4", "unlz4", 4, "\x04\x22\x4d\x18"},
                {"zip", "unzip", 4, "PK\x03\x04"},
                {"Parquet", "a converter to jsonl", 4, "PAR1"}};
  uint8_t first[6];
  ssize_t count;
  do
    count = pread(in->fd, first, sizeof first, 0);
  while (count < 0 && errno == EINTR);
  if (count < 0)
    return why_errno(why, errno, "cannot read", in->path);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if ((size_t)count >= others[i].count && !memcmp(first, others[i].magic, others[i].count))
      return why_say(why, STATUS_UNSUPPORTED,
                     "%s is %s data; plain and zstd files are read: use %s first", in->path,
                     others[i].name, others[i].remedy);
  bool frame = count >= 4 && !memcmp(first, "\x28\xb5\x2f\xfd", 4);
  bool skippable = count >= 4 && (first[0] & 0xf0) == 0x50 && !memcmp(first + 1, "\x2a\x4d\x18", 3);
  size_t length = strlen(in->path);
  if (!frame && !skippable) {
    if (length > 4 && !strcmp(in->path + length - 4, ".zst"))
      return why_say(why, STATUS_BAD, "%s is called .zst, but does not begin as zstd data does",
                     in->path);
    return STATUS_OK;
  }
  in->zstd = ZSTD_createDStream();
  if (!in->zstd)
    return why_say(why, STATUS_NOMEM, "no memory to decompress %s", in->path);
  in->raw.src = in->raw_bytes;
  return STATUS_OK;
}

static enum status go_to(struct io_source *in, uint64_t offset, struct why *why) {
  uint64_t at = 0;
  size_t got = 1;
  if (!in->zstd) {
    if (lseek(in->fd, (off_t)offset, SEEK_SET) < 0)
      return why_errno(why, errno, "cannot seek in", in->path);
    in->read_bytes = offset;
    return STATUS_OK;
  }
  uint8_t *thrown = malloc(IO_SOURCE_CHUNK_BYTES);
  if (!thrown)
    return why_say(why, STATUS_NOMEM, "no memory to read %s", in->path);
  enum status s = STATUS_OK;
  while (at < offset && s == STATUS_OK && got) {
    uint64_t left = offset - at;
    s = read_some(in, thrown, left < IO_SOURCE_CHUNK_BYTES ? left : IO_SOURCE_CHUNK_BYTES, &got,
                  why);
    at += got;
  }
  free(thrown);
  if (s == STATUS_OK && at < offset)
    s = why_say(why, STATUS_SHORT, "%s ends before byte %llu, which was read before", in->path,
                (unsigned long long)offset);
  return s;
}

enum status io_source_open(const char *path, enum chunk_split split, uint64_t offset_bytes,
                           uint64_t line_count, bool skip_long, struct io_source **out,
                           struct why *why) {
  struct io_source *in = calloc(1, sizeof *in);
  if (!in)
    return why_say(why, STATUS_NOMEM, "no memory to read %s", path);
  strncpy(in->path, path, sizeof in->path - 1);
  in->split = split;
  in->skip_long = skip_long;
  in->offset = offset_bytes;
  in->line = line_count;
  in->fd = open(path, O_RDONLY | O_CLOEXEC);
  enum status s = in->fd < 0 ? why_errno(why, errno, "cannot open", path) : recognise(in, why);
  if (s == STATUS_OK && offset_bytes)
    s = go_to(in, offset_bytes, why);
  if (s != STATUS_OK) {
    io_source_close(&in);
    return s;
  }
  *out = in;
  return STATUS_OK;
}

uint64_t io_source_read_bytes(const struct io_source *in) {
  return in->read_bytes;
}

/* The byte after the last document that is whole, or 0. */
static size_t find_cut(enum chunk_split split, const uint8_t *text, size_t count) {
  if (split == CHUNK_WHOLE)
    return 0;
  for (size_t i = count; i > 0; i--) {
    if (text[i - 1] != '\n')
      continue;
    if (split != CHUNK_BLANK_LINES)
      return i;
    size_t before = i - 1;
    before -= before > 0 && text[before - 1] == '\r';
    if (before > 0 && text[before - 1] == '\n')
      return i;
  }
  return 0;
}

static uint64_t count_lines(const uint8_t *text, size_t count) {
  uint64_t lines = 0;
  const uint8_t *end = text + count;
  while (text < end && (text = memchr(text, '\n', (size_t)(end - text)))) {
    lines++;
    text++;
  }
  return lines;
}

static enum status grow(uint8_t **bytes, size_t *room, size_t wanted, struct why *why) {
  if (*room >= wanted)
    return STATUS_OK;
  uint8_t *grown = realloc(*bytes, wanted);
  if (!grown)
    return why_say(why, STATUS_NOMEM, "no memory for %zu bytes of text", wanted);
  *bytes = grown;
  *room = wanted;
  return STATUS_OK;
}

static enum status refuse_long(const struct io_source *in, size_t limit, struct why *why) {
  if (in->split == CHUNK_WHOLE)
    return why_say(why, STATUS_FULL,
                   "%s is longer than %zu bytes, the most one document may have; give --split "
                   "blank-lines or --split lines",
                   in->path, limit);
  return why_say(why, STATUS_FULL, "%s:%llu: the %s is longer than %zu bytes", in->path,
                 (unsigned long long)in->line + 1,
                 in->split == CHUNK_BLANK_LINES ? "paragraph" : "line", limit);
}

/* The chunk is the beginning of a line past the limit: read to its end, keep what follows. */
static enum status drop_line(struct io_source *in, struct io_chunk *chunk, struct why *why) {
  const uint8_t *newline = NULL;
  uint64_t dropped = 0;
  while (!newline && !in->ended) {
    dropped += chunk->count;
    TRY(read_some(in, chunk->text, IO_SOURCE_CHUNK_BYTES, &chunk->count, why));
    in->ended = chunk->count == 0;
    newline = memchr(chunk->text, '\n', chunk->count);
  }
  size_t head = newline ? (size_t)(newline - chunk->text) + 1 : chunk->count;
  memmove(chunk->text, chunk->text + head, chunk->count - head);
  chunk->count -= head;
  in->offset += dropped + head;
  in->line++;
  chunk->skipped_count++;
  return STATUS_OK;
}

/* Read until the chunk is large enough and holds a whole document, or the file ends. */
static enum status fill(struct io_source *in, struct io_chunk *chunk, size_t *cut,
                        struct why *why) {
  size_t limit = in->split == CHUNK_WHOLE ? IO_SOURCE_FILE_BYTES_MAX : IO_SOURCE_LINE_BYTES_MAX;
  size_t target = IO_SOURCE_CHUNK_BYTES;
  size_t got;
  for (*cut = 0; !in->ended && !*cut;) {
    /* One byte more than the limit tells a document of exactly the limit from a longer one. */
    size_t wanted = target > limit ? limit + 1 : target;
    TRY(grow(&chunk->text, &chunk->room, wanted, why));
    while (!in->ended && chunk->count < wanted) {
      TRY(read_some(in, chunk->text + chunk->count, wanted - chunk->count, &got, why));
      in->ended = got == 0;
      chunk->count += got;
    }
    *cut = find_cut(in->split, chunk->text, chunk->count);
    target = 2 * (target > chunk->count ? target : chunk->count);
    if (*cut || chunk->count <= limit)
      continue;
    if (!in->skip_long || in->split == CHUNK_WHOLE || in->split == CHUNK_BLANK_LINES)
      return refuse_long(in, limit, why);
    TRY(drop_line(in, chunk, why));
    target = IO_SOURCE_CHUNK_BYTES;
  }
  return STATUS_OK;
}

enum status io_source_next(struct io_source *in, struct io_chunk *chunk, struct why *why) {
  size_t cut;
  chunk->skipped_count = 0;
  if (chunk->room > 4 * (size_t)IO_SOURCE_CHUNK_BYTES) { /* a long document has passed */
    free(chunk->text);
    chunk->text = NULL;
    chunk->room = 0;
  }
  TRY(grow(&chunk->text, &chunk->room, in->carry_count + 1, why));
  memcpy(chunk->text, in->carry ? in->carry : chunk->text, in->carry_count);
  chunk->count = in->carry_count;
  in->carry_count = 0;
  TRY(fill(in, chunk, &cut, why));
  if (in->ended)
    cut = chunk->count;
  TRY(grow(&in->carry, &in->carry_room, chunk->count - cut + 1, why));
  in->carry_count = chunk->count - cut;
  memcpy(in->carry, chunk->text + cut, in->carry_count);
  chunk->count = cut;
  chunk->offset = in->offset;
  chunk->line = in->line;
  in->offset += cut;
  in->line += count_lines(chunk->text, cut);
  chunk->next_offset = in->offset;
  chunk->next_line = in->line;
  chunk->last = in->ended;
  return STATUS_OK;
}
