#include "node/data/megatron.h"

#include <assert.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/claim.h"

static const char magic[9] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
enum { AT_VERSION = 9, AT_TYPE = 17, AT_SEQUENCES = 18, AT_DOCUMENTS = 26, VERSION = 1 };
static_assert(AT_DOCUMENTS + 8 == MEGATRON_HEADER_BYTES, "the lengths follow the counts");

uint8_t megatron_type(uint32_t vocab_count) {
  return vocab_count < 65500 ? MEGATRON_U16 : MEGATRON_I32;
}

uint32_t megatron_width(uint8_t type) {
  static const uint8_t widths[] = {0, 1, 1, 2, 4, 8, 0, 0, 2};
  return type < sizeof widths ? widths[type] : 0;
}

void megatron_encode(uint8_t type, uint64_t document_count, uint8_t out[MEGATRON_HEADER_BYTES]) {
  memcpy(out, magic, sizeof magic);
  bytes_put_u64(out + AT_VERSION, VERSION);
  out[AT_TYPE] = type;
  bytes_put_u64(out + AT_SEQUENCES, document_count);
  bytes_put_u64(out + AT_DOCUMENTS, document_count + 1);
}

/* Sequences one after another from byte 0, together as long as the .bin. */
static enum status check_sequences(const char *name, const uint8_t *sizes, uint64_t bin_bytes,
                                   struct megatron_index *in, struct why *why) {
  uint64_t tokens = 0;
  for (uint64_t i = 0; i < in->sequence_count; i++) {
    uint32_t length = bytes_get_u32(sizes + 4 * i);
    if (length > INT32_MAX)
      return why_say(why, STATUS_BAD, "%s: sequence %llu has a negative length", name,
                     (unsigned long long)i);
    if (bytes_get_u64(in->pointers + 8 * i) != tokens * in->width_bytes)
      return why_say(why, STATUS_UNSUPPORTED,
                     "%s: sequence %llu does not begin where the one before ends; only gapless "
                     "data is read",
                     name, (unsigned long long)i);
    tokens += length; /* at most 2^31 times a file's size: no overflow */
  }
  if (bin_bytes % in->width_bytes || tokens != bin_bytes / in->width_bytes)
    return why_say(why, STATUS_MISMATCH,
                   "%s lists %llu tokens of %u bytes, but the .bin beside it has %llu bytes", name,
                   (unsigned long long)tokens, in->width_bytes, (unsigned long long)bin_bytes);
  in->token_count = tokens;
  return STATUS_OK;
}

static enum status check_documents(const char *name, const struct megatron_index *in,
                                   struct why *why) {
  uint64_t last = 0;
  for (uint64_t i = 0; i <= in->document_count; i++) {
    uint64_t mark = bytes_get_u64(in->documents + 8 * i);
    if (mark < last || mark > in->sequence_count)
      return why_say(why, STATUS_BAD, "%s: document mark %llu is out of order", name,
                     (unsigned long long)i);
    last = mark;
  }
  if (bytes_get_u64(in->documents) != 0 || last != in->sequence_count)
    return why_say(why, STATUS_BAD, "%s: the document marks do not span all %llu sequences", name,
                   (unsigned long long)in->sequence_count);
  return STATUS_OK;
}

static enum status decode_header(const char *name, const uint8_t *bytes, uint64_t count,
                                 struct megatron_index *in, struct why *why) {
  if (count < MEGATRON_HEADER_BYTES)
    return why_say(why, STATUS_SHORT, "%s has %llu bytes, fewer than the header of an index", name,
                   (unsigned long long)count);
  if (memcmp(bytes, magic, sizeof magic))
    return why_say(why, STATUS_BAD, "%s is not a Megatron index (MMIDIDX)", name);
  uint64_t version = bytes_get_u64(bytes + AT_VERSION);
  if (version != VERSION)
    return why_say(why, STATUS_BAD, "%s is a Megatron index of version %llu; only %d is known",
                   name, (unsigned long long)version, VERSION);
  in->type = bytes[AT_TYPE];
  in->width_bytes = megatron_width(in->type);
  if (!in->width_bytes)
    return why_say(why, STATUS_UNSUPPORTED, "%s: type %u is not a type of token ids", name,
                   in->type);
  in->sequence_count = bytes_get_u64(bytes + AT_SEQUENCES);
  uint64_t marks = bytes_get_u64(bytes + AT_DOCUMENTS);
  uint64_t room = count - MEGATRON_HEADER_BYTES;
  if (marks < 1)
    return why_say(why, STATUS_BAD, "%s has no document marks", name);
  if (in->sequence_count > room / 12 || marks > (room - 12 * in->sequence_count) / 8)
    return why_say(why, STATUS_SHORT,
                   "%s is cut short: %llu sequences and %llu document marks do not fit in its %llu "
                   "bytes",
                   name, (unsigned long long)in->sequence_count, (unsigned long long)marks,
                   (unsigned long long)count);
  if (12 * in->sequence_count + 8 * marks != room)
    return why_say(why, STATUS_BAD, "%s has bytes after its last document mark", name);
  in->document_count = marks - 1;
  return STATUS_OK;
}

enum status megatron_decode(const char *name, const uint8_t *bytes, uint64_t count,
                            uint64_t bin_bytes, struct megatron_index *out, struct why *why) {
  struct megatron_index in = {0};
  TRY(decode_header(name, bytes, count, &in, why));
  const uint8_t *sizes = bytes + MEGATRON_HEADER_BYTES;
  in.pointers = sizes + 4 * in.sequence_count;
  in.documents = in.pointers + 8 * in.sequence_count;
  TRY(check_sequences(name, sizes, bin_bytes, &in, why));
  TRY(check_documents(name, &in, why));
  *out = in;
  return STATUS_OK;
}

uint64_t megatron_document(const struct megatron_index *in, uint64_t index) {
  CLAIM(index <= in->document_count);
  uint64_t sequence = bytes_get_u64(in->documents + 8 * index);
  if (sequence >= in->sequence_count)
    return in->token_count;
  return bytes_get_u64(in->pointers + 8 * sequence) / in->width_bytes;
}
