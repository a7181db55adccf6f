/* word_cache: the ids of short pieces that were seen before.
 *
 *   struct word_key key;
 *   if (word_key_of(piece, bytes, readable_end, &key)) {
 *     size_t count = word_cache_find(words, &key, ids);       // 0: not there
 *     if (count == 0) { …; word_cache_keep(words, &key, ids, count); }
 *   }
 *
 * Text is mostly a few thousand words. Two tables without chains, 3 MB together: 15 bytes and four
 * ids fit a slot of the first, 31 bytes and eight ids one of the second; a newcomer takes the slot
 * of what was there. The whole key is compared, so it can only be fast, not wrong. */
#ifndef CARAVAN_WORD_CACHE_H
#define CARAVAN_WORD_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
  WORD_CACHE_SHORT_BYTES = 15,
  WORD_CACHE_LONG_BYTES = 31,
  WORD_CACHE_SHORT_IDS = 4,
  WORD_CACHE_LONG_IDS = 8,
  WORD_CACHE_SHORT_BITS = 16,  /* 65536 slots of 32 bytes */
  WORD_CACHE_LONG_BITS = 14,   /* 16384 slots of 64 bytes */
  WORD_CACHE_COUNT_SHIFT = 24, /* the number of ids stands above the first id */
};

/* The piece, zeros after it, and its length in the last byte of its half or whole. */
struct word_key {
  uint64_t part[4];
  uint64_t hash;
  bool is_short;
};

struct word_short {
  uint64_t part[2];
  uint32_t ids[WORD_CACHE_SHORT_IDS];
};

struct word_long {
  uint64_t part[4];
  uint32_t ids[WORD_CACHE_LONG_IDS];
};

/* All zeros is an empty cache: the length in a key is never 0. */
struct word_cache {
  struct word_short shorts[1 << WORD_CACHE_SHORT_BITS];
  struct word_long longs[1 << WORD_CACHE_LONG_BITS];
};

static inline uint64_t word_key_load(const uint8_t *at, size_t bytes) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return bytes >= 8 ? word : word & ((UINT64_C(1) << (8 * bytes)) - 1);
}

static inline uint64_t word_key_mix(uint64_t a, uint64_t b) {
  uint64_t h = (a ^ (b >> 29) ^ b * UINT64_C(0xc2b2ae3d27d4eb4f)) * UINT64_C(0x9e3779b97f4a7c15);
  return h ^ h >> 32;
}

/* False: too long to be kept. readable_end bounds what may be read, past the piece. */
static inline bool word_key_of(const uint8_t *piece, size_t bytes, const uint8_t *readable_end,
                               struct word_key *out) {
  if (bytes > WORD_CACHE_LONG_BYTES)
    return false;
  uint8_t copy[32];
  if (readable_end - piece < 32) {
    memset(copy, 0, sizeof copy);
    memcpy(copy, piece, bytes);
    piece = copy;
  }
  out->is_short = bytes <= WORD_CACHE_SHORT_BYTES;
  uint64_t length = (uint64_t)bytes << 56;
  if (out->is_short) {
    out->part[0] = word_key_load(piece, bytes);
    out->part[1] = (bytes > 8 ? word_key_load(piece + 8, bytes - 8) : 0) | length;
    out->hash = word_key_mix(out->part[0], out->part[1]) * UINT64_C(0x9e3779b97f4a7c15);
    return true;
  }
  out->part[0] = word_key_load(piece, 8);
  out->part[1] = word_key_load(piece + 8, 8);
  out->part[2] = word_key_load(piece + 16, bytes > 16 ? bytes - 16 : 0);
  out->part[3] = (bytes > 24 ? word_key_load(piece + 24, bytes - 24) : 0) | length;
  out->hash = word_key_mix(word_key_mix(out->part[0], out->part[1]),
                           word_key_mix(out->part[2], out->part[3])) *
              UINT64_C(0x9e3779b97f4a7c15);
  return true;
}

/* The count of ids, copied to ids, which has room for 8 whatever the count; or 0. */
static inline size_t word_cache_find(const struct word_cache *c, const struct word_key *key,
                                     uint32_t *ids) {
  size_t count;
  if (key->is_short) {
    const struct word_short *s = &c->shorts[key->hash >> (64 - WORD_CACHE_SHORT_BITS)];
    if (s->part[0] != key->part[0] || s->part[1] != key->part[1])
      return 0;
    memcpy(ids, s->ids, sizeof s->ids);
    count = s->ids[0] >> WORD_CACHE_COUNT_SHIFT;
  } else {
    const struct word_long *l = &c->longs[key->hash >> (64 - WORD_CACHE_LONG_BITS)];
    if (memcmp(l->part, key->part, sizeof l->part) != 0)
      return 0;
    memcpy(ids, l->ids, sizeof l->ids);
    count = l->ids[0] >> WORD_CACHE_COUNT_SHIFT;
  }
  ids[0] &= (UINT32_C(1) << WORD_CACHE_COUNT_SHIFT) - 1;
  return count;
}

static inline void word_cache_keep(struct word_cache *c, const struct word_key *key,
                                   const uint32_t *ids, size_t count) {
  uint32_t first = ids[0] | (uint32_t)count << WORD_CACHE_COUNT_SHIFT;
  if (key->is_short && count <= WORD_CACHE_SHORT_IDS) {
    struct word_short *s = &c->shorts[key->hash >> (64 - WORD_CACHE_SHORT_BITS)];
    memcpy(s->part, key->part, sizeof s->part);
    memcpy(s->ids, ids, count * sizeof ids[0]);
    s->ids[0] = first;
  } else if (!key->is_short && count <= WORD_CACHE_LONG_IDS) {
    struct word_long *l = &c->longs[key->hash >> (64 - WORD_CACHE_LONG_BITS)];
    memcpy(l->part, key->part, sizeof l->part);
    memcpy(l->ids, ids, count * sizeof ids[0]);
    l->ids[0] = first;
  }
}

#endif
