#include "node/data/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "node/data/record.h"
#include "proto/base/bytes.h"

void chunk_end(struct chunk_out *out) {
  free(out->tokens);
  free(out->ends);
  free(out->text);
  memset(out, 0, sizeof *out);
}

static enum status reserve(void **at, size_t *room, size_t wanted, size_t each, struct why *why) {
  if (wanted <= *room)
    return STATUS_OK;
  size_t grown = wanted + wanted / 2 + 64;
  void *bytes = realloc(*at, grown * each);
  if (!bytes)
    return why_say(why, STATUS_NOMEM, "no memory for %zu tokens", grown);
  *at = bytes;
  *room = grown;
  return STATUS_OK;
}

static void pack(uint8_t *out, const uint32_t *ids, size_t count, uint32_t token_bytes) {
  if (token_bytes == 2) {
    for (size_t i = 0; i < count; i++)
      bytes_put_u16(out + 2 * i, (uint16_t)ids[i]);
  } else {
    for (size_t i = 0; i < count; i++)
      bytes_put_u32(out + 4 * i, ids[i]);
  }
}

static enum status add_document(const struct chunk_how *how, struct tokenizer_work *work,
                                const uint8_t *text, size_t count, struct chunk_out *out,
                                struct why *why) {
  const uint32_t *ids;
  size_t id_count;
  uint64_t replaced = tokenizer_replaced(work);
  TRY(tokenizer_encode(how->tokenizer, work, text, count, &ids, &id_count, why));
  out->replaced_count += tokenizer_replaced(work) - replaced;
  TRY(reserve((void **)&out->tokens, &out->token_room, out->token_count + id_count + 1,
              how->token_bytes, why));
  TRY(reserve((void **)&out->ends, &out->document_room, out->document_count + 1, sizeof *out->ends,
              why));
  uint8_t *to = out->tokens + out->token_count * how->token_bytes;
  pack(to, ids, id_count, how->token_bytes);
  pack(to + id_count * how->token_bytes, &how->eod, 1, how->token_bytes);
  out->token_count += id_count + 1;
  out->ends[out->document_count++] = out->token_count;
  return STATUS_OK;
}

static enum status add_record(const struct chunk_how *how, struct tokenizer_work *work,
                              const uint8_t *line, size_t count, uint64_t number,
                              struct chunk_out *out, struct why *why) {
  struct why broken;
  size_t text_bytes;
  TRY(reserve((void **)&out->text, &out->text_room, count, 1, why));
  enum status s = record_text(line, count, out->text, &text_bytes, &out->replaced_count, &broken);
  if (s == STATUS_OK)
    return add_document(how, work, out->text, text_bytes, out, why);
  if (!out->skipped_count) {
    out->line = number;
    out->broken = broken;
  }
  out->skipped_count++;
  return how->skip_bad ? STATUS_OK : why_say(why, s, "%s", broken.text);
}

static bool is_blank(const uint8_t *line, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
      return false;
  return true;
}

static enum status add_lines(const struct chunk_how *how, struct tokenizer_work *work,
                             const uint8_t *text, size_t count, struct chunk_out *out,
                             struct why *why) {
  const uint8_t *end = text + count;
  for (uint64_t number = 0; text < end; number++) {
    const uint8_t *newline = memchr(text, '\n', (size_t)(end - text));
    const uint8_t *line_end = newline ? newline : end;
    size_t length = (size_t)(line_end - text);
    if (!is_blank(text, length)) {
      if (how->split == CHUNK_RECORDS)
        TRY(add_record(how, work, text, length, number, out, why));
      else
        TRY(add_document(how, work, text, length - (text[length - 1] == '\r'), out, why));
    }
    text = newline ? newline + 1 : end;
  }
  return STATUS_OK;
}

/* Paragraphs keep their inner newlines and lose the last one. An empty line has no bytes, or a
 * carriage return. */
static enum status add_paragraphs(const struct chunk_how *how, struct tokenizer_work *work,
                                  const uint8_t *text, size_t count, struct chunk_out *out,
                                  struct why *why) {
  const uint8_t *end = text + count;
  const uint8_t *begin = NULL; /* of the paragraph */
  const uint8_t *last = NULL;  /* end of its last line so far */
  while (text < end) {
    const uint8_t *newline = memchr(text, '\n', (size_t)(end - text));
    const uint8_t *line_end = newline ? newline : end;
    line_end -= line_end > text && line_end[-1] == '\r';
    if (line_end > text) {
      begin = begin ? begin : text;
      last = line_end;
    } else if (begin) {
      TRY(add_document(how, work, begin, (size_t)(last - begin), out, why));
      begin = NULL;
    }
    text = newline ? newline + 1 : end;
  }
  return begin ? add_document(how, work, begin, (size_t)(last - begin), out, why) : STATUS_OK;
}

enum status chunk_encode(const struct chunk_how *how, struct tokenizer_work *work,
                         const uint8_t *text, size_t count, struct chunk_out *out,
                         struct why *why) {
  out->token_count = 0;
  out->document_count = 0;
  out->skipped_count = 0;
  out->replaced_count = 0;
  switch (how->split) {
    case CHUNK_WHOLE: return add_document(how, work, text, count, out, why);
    case CHUNK_BLANK_LINES: return add_paragraphs(how, work, text, count, out, why);
    case CHUNK_RECORDS:
    case CHUNK_LINES: return add_lines(how, work, text, count, out, why);
  }
  return STATUS_OK;
}
