#include "node/data/shard.h"

#include <assert.h>
#include <string.h>

#include "proto/base/bytes.h"

static const char magic[8] = {'C', 'A', 'R', 'V', 'S', 'H', 'R', 'D'};

enum {
  AT_VERSION = 8,
  AT_KIND = 12,
  AT_WIDTH = 16,
  AT_VOCAB = 20,
  AT_BEGIN = 24,
  AT_COUNT = 32,
  AT_TOKENIZER = 40,
  AT_ZEROS = 72
};
static_assert(AT_TOKENIZER + DIGEST_BYTES == AT_ZEROS, "the digest ends where the zeros begin");
static_assert(AT_ZEROS + 56 == SHARD_HEADER_BYTES, "the zeros fill the header");

uint32_t shard_token_bytes(uint32_t vocab_count) {
  return vocab_count <= 65536 ? 2 : 4;
}

void shard_encode(const struct shard_header *h, uint8_t out[SHARD_HEADER_BYTES]) {
  memset(out, 0, SHARD_HEADER_BYTES);
  memcpy(out, magic, sizeof magic);
  bytes_put_u32(out + AT_VERSION, SHARD_VERSION);
  bytes_put_u32(out + AT_KIND, (uint32_t)h->kind);
  bytes_put_u32(out + AT_WIDTH, h->width_bytes);
  bytes_put_u32(out + AT_VOCAB, h->vocab_count);
  bytes_put_u64(out + AT_BEGIN, h->begin);
  bytes_put_u64(out + AT_COUNT, h->count);
  memcpy(out + AT_TOKENIZER, h->tokenizer.bytes, DIGEST_BYTES);
}

static enum status check_size(const char *name, const struct shard_header *h, uint64_t file_bytes,
                              struct why *why) {
  uint64_t room = (file_bytes - SHARD_HEADER_BYTES) / h->width_bytes;
  if (h->count > room)
    return why_say(why, STATUS_SHORT,
                   "%s is cut short: its header promises %llu values of %u bytes, the file has "
                   "%llu bytes; fetch or make it again",
                   name, (unsigned long long)h->count, h->width_bytes,
                   (unsigned long long)file_bytes);
  if (h->count * h->width_bytes + SHARD_HEADER_BYTES != file_bytes)
    return why_say(why, STATUS_MISMATCH,
                   "%s has %llu bytes, but its header promises %llu values of %u bytes; it was "
                   "not finished or not written by this program",
                   name, (unsigned long long)file_bytes, (unsigned long long)h->count,
                   h->width_bytes);
  return STATUS_OK;
}

enum status shard_decode(const char *name, const uint8_t *bytes, uint64_t file_bytes,
                         struct shard_header *out, struct why *why) {
  if (file_bytes < SHARD_HEADER_BYTES)
    return why_say(why, STATUS_SHORT, "%s has %llu bytes, fewer than a shard's header of %d", name,
                   (unsigned long long)file_bytes, SHARD_HEADER_BYTES);
  if (memcmp(bytes, magic, sizeof magic))
    return why_say(why, STATUS_BAD, "%s is not a token shard", name);
  uint32_t version = bytes_get_u32(bytes + AT_VERSION);
  if (version != SHARD_VERSION)
    return why_say(why, STATUS_BAD, "%s is a shard of version %u; this program reads version %d",
                   name, version, SHARD_VERSION);
  uint32_t kind = bytes_get_u32(bytes + AT_KIND);
  struct shard_header h = {.width_bytes = bytes_get_u32(bytes + AT_WIDTH),
                           .vocab_count = bytes_get_u32(bytes + AT_VOCAB),
                           .begin = bytes_get_u64(bytes + AT_BEGIN),
                           .count = bytes_get_u64(bytes + AT_COUNT)};
  h.kind = kind == SHARD_TOKENS ? SHARD_TOKENS : SHARD_DOCUMENTS;
  if (kind != SHARD_TOKENS && kind != SHARD_DOCUMENTS)
    return why_say(why, STATUS_BAD, "%s is a shard of unknown kind %u", name, kind);
  uint32_t wanted = h.kind == SHARD_TOKENS ? shard_token_bytes(h.vocab_count) : 8;
  if (h.width_bytes != wanted)
    return why_say(why, STATUS_BAD, "%s has values of %u bytes where %u are due", name,
                   h.width_bytes, wanted);
  memcpy(h.tokenizer.bytes, bytes + AT_TOKENIZER, DIGEST_BYTES);
  TRY(check_size(name, &h, file_bytes, why));
  *out = h;
  return STATUS_OK;
}
