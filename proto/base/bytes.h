/* bytes: little-endian integers and floats in byte buffers, and a reader that cannot run past the
 * end.
 *
 *   uint8_t head[12];
 *   bytes_put_u32(head, magic);
 *   bytes_put_u64(head + 4, count);
 *
 *   struct bytes_reader in = bytes_reader(buffer, length);
 *   uint64_t count = bytes_read_u64(&in);
 *   if (!bytes_reader_ok(&in)) return STATUS_SHORT;
 *
 * Structures never go to the wire or the disk by casting. A reader that was asked for more than
 * there is returns zeros from then on and is not ok; it never reads outside the buffer. Pure. */
#ifndef CARAVAN_BYTES_H
#define CARAVAN_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void bytes_put_u16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

static inline void bytes_put_u32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++)
    at[i] = (uint8_t)(value >> (8 * i));
}

static inline void bytes_put_u64(uint8_t *at, uint64_t value) {
  for (int i = 0; i < 8; i++)
    at[i] = (uint8_t)(value >> (8 * i));
}

static inline uint16_t bytes_get_u16(const uint8_t *at) {
  return (uint16_t)(at[0] | (uint16_t)(at[1] << 8));
}

static inline uint32_t bytes_get_u32(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t bytes_get_u64(const uint8_t *at) {
  return (uint64_t)bytes_get_u32(at) | (uint64_t)bytes_get_u32(at + 4) << 32;
}

/* IEEE-754 bit patterns, unchanged. */
static inline void bytes_put_f32(uint8_t *at, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  bytes_put_u32(at, bits);
}

static inline float bytes_get_f32(const uint8_t *at) {
  uint32_t bits = bytes_get_u32(at);
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* Borrowed view: the buffer must outlive the reader. */
struct bytes_reader {
  const uint8_t *at;
  const uint8_t *end;
  bool short_read;
};

static inline struct bytes_reader bytes_reader(const void *buffer, size_t length_bytes) {
  struct bytes_reader in = {(const uint8_t *)buffer, (const uint8_t *)buffer + length_bytes, false};
  return in;
}

static inline bool bytes_reader_ok(const struct bytes_reader *in) {
  return !in->short_read;
}
static inline size_t bytes_left(const struct bytes_reader *in) {
  return (size_t)(in->end - in->at);
}

/* The next count bytes, or NULL and a reader that is no longer ok. */
static inline const uint8_t *bytes_read(struct bytes_reader *in, size_t count) {
  if (in->short_read || bytes_left(in) < count) {
    in->short_read = true;
    return NULL;
  }
  const uint8_t *here = in->at;
  in->at += count;
  return here;
}

static inline uint8_t bytes_read_u8(struct bytes_reader *in) {
  const uint8_t *here = bytes_read(in, 1);
  return here ? here[0] : 0;
}

static inline uint16_t bytes_read_u16(struct bytes_reader *in) {
  const uint8_t *here = bytes_read(in, 2);
  return here ? bytes_get_u16(here) : 0;
}

static inline uint32_t bytes_read_u32(struct bytes_reader *in) {
  const uint8_t *here = bytes_read(in, 4);
  return here ? bytes_get_u32(here) : 0;
}

static inline uint64_t bytes_read_u64(struct bytes_reader *in) {
  const uint8_t *here = bytes_read(in, 8);
  return here ? bytes_get_u64(here) : 0;
}

#endif
