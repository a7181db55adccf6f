#include "node/text/bpe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "node/text/word_cache.h"
#include "proto/base/claim.h"

static const uint32_t no_rank = UINT32_MAX;
static const uint32_t nowhere = UINT32_MAX;

/* A slot of the open-addressed table of merges. rank is no_rank while it is empty. */
struct merge {
  uint32_t left;
  uint32_t right;
  uint32_t rank;
  uint32_t merged;
};

struct whole {
  const uint8_t *piece; /* NULL: empty */
  uint32_t bytes;
  uint32_t id;
};

struct bpe {
  struct merge *merges;
  size_t merge_mask;
  size_t merge_left;    /* bpe_add may be called so many times more */
  struct whole *wholes; /* NULL unless the file ignores merges for whole words */
  size_t whole_mask;
  size_t whole_left;
  uint32_t byte_ids[256];
};

/* Twice the room, rounded up to a power of two, keeps probes short. */
static size_t slots_for(size_t count) {
  size_t slots = 16;
  while (slots < count * 2)
    slots *= 2;
  return slots;
}

enum status bpe_open(size_t merge_count, const uint32_t byte_ids[256], struct bpe **out,
                     struct why *why) {
  CLAIM(merge_count <= BPE_MERGE_MAX);
  struct bpe *b = calloc(1, sizeof *b);
  size_t slots = slots_for(merge_count);
  struct merge *merges = malloc(slots * sizeof *merges);
  if (!b || !merges) {
    free(b);
    free(merges);
    return why_say(why, STATUS_NOMEM, "no memory for %zu merges", merge_count);
  }
  for (size_t i = 0; i < slots; i++)
    merges[i] = (struct merge){.rank = no_rank};
  b->merges = merges;
  b->merge_mask = slots - 1;
  b->merge_left = merge_count;
  memcpy(b->byte_ids, byte_ids, sizeof b->byte_ids);
  *out = b;
  return STATUS_OK;
}

void bpe_close(struct bpe **b) {
  if (*b) {
    free((*b)->merges);
    free((*b)->wholes);
  }
  free(*b);
  *b = NULL;
}

static inline size_t pair_hash(uint32_t left, uint32_t right) {
  uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
  return (size_t)(h >> 32 ^ h >> 12);
}

/* The slot of the pair, or the empty one where it would stand. */
static inline const struct merge *find(const struct bpe *b, uint32_t left, uint32_t right) {
  size_t i = pair_hash(left, right) & b->merge_mask;
  while (b->merges[i].rank != no_rank && (b->merges[i].left != left || b->merges[i].right != right))
    i = (i + 1) & b->merge_mask;
  return &b->merges[i];
}

void bpe_add(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t merged) {
  CLAIM(b->merge_left > 0);
  b->merge_left--;
  b->merges[find(b, left, right) - b->merges] = (struct merge){left, right, rank, merged};
}

static size_t piece_hash(const uint8_t *piece, size_t bytes) {
  uint64_t h = bytes;
  for (size_t i = 0; i < bytes; i++)
    h = (h ^ piece[i]) * UINT64_C(0x100000001b3);
  return (size_t)(h ^ h >> 29);
}

enum status bpe_expect_whole(struct bpe *b, size_t whole_count, struct why *why) {
  CLAIM(!b->wholes);
  size_t slots = slots_for(whole_count);
  b->wholes = calloc(slots, sizeof *b->wholes);
  if (!b->wholes)
    return why_say(why, STATUS_NOMEM, "no memory for a table of %zu whole words", whole_count);
  b->whole_mask = slots - 1;
  b->whole_left = whole_count;
  return STATUS_OK;
}

static struct whole *find_whole(const struct bpe *b, const uint8_t *piece, size_t bytes) {
  size_t i = piece_hash(piece, bytes) & b->whole_mask;
  while (b->wholes[i].piece &&
         (b->wholes[i].bytes != bytes || memcmp(b->wholes[i].piece, piece, bytes) != 0))
    i = (i + 1) & b->whole_mask;
  return &b->wholes[i];
}

void bpe_add_whole(struct bpe *b, const uint8_t *piece, size_t bytes, uint32_t id) {
  CLAIM(b->whole_left > 0);
  b->whole_left--;
  *find_whole(b, piece, bytes) = (struct whole){piece, (uint32_t)bytes, id};
}

enum status bpe_work_init(struct bpe_work *w, struct why *why) {
  *w = (struct bpe_work){0};
  w->words = calloc(1, sizeof *w->words);
  if (!w->words)
    return why_say(why, STATUS_NOMEM, "no memory for a word cache of %zu bytes", sizeof *w->words);
  return STATUS_OK;
}

void bpe_work_end(struct bpe_work *w) {
  growing_end(&w->heap);
  growing_end(&w->links);
  free(w->words);
  w->words = NULL;
}

/* Merge by looking for the lowest rank each time: best while a piece is a word. */
static size_t merge_scanning(const struct bpe *b, const uint8_t *piece, size_t bytes,
                             uint32_t *ids) {
  uint32_t ranks[BPE_SCAN_MAX], merged[BPE_SCAN_MAX];
  size_t n = bytes;
  for (size_t i = 0; i < n; i++)
    ids[i] = b->byte_ids[piece[i]];
  for (size_t i = 0; i + 1 < n; i++) {
    const struct merge *m = find(b, ids[i], ids[i + 1]);
    ranks[i] = m->rank;
    merged[i] = m->merged;
  }
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; i++)
      best = ranks[i] < ranks[best] ? i : best;
    if (ranks[best] == no_rank)
      break;
    ids[best] = merged[best];
    n--;
    for (size_t i = best + 1; i < n; i++) {
      ids[i] = ids[i + 1];
      ranks[i] = ranks[i + 1]; /* the last one moved is not looked at again */
      merged[i] = merged[i + 1];
    }
    if (best > 0) {
      const struct merge *m = find(b, ids[best - 1], ids[best]);
      ranks[best - 1] = m->rank;
      merged[best - 1] = m->merged;
    }
    if (best + 1 < n) {
      const struct merge *m = find(b, ids[best], ids[best + 1]);
      ranks[best] = m->rank;
      merged[best] = m->merged;
    }
  }
  return n;
}

/* A binary heap of rank << 32 | place, lowest first. */
struct heap {
  uint64_t *at;
  size_t count;
};

static void heap_push(struct heap *h, uint64_t item) {
  size_t i = h->count++;
  for (; i > 0 && h->at[(i - 1) / 2] > item; i = (i - 1) / 2)
    h->at[i] = h->at[(i - 1) / 2];
  h->at[i] = item;
}

static void heap_sink(struct heap *h, size_t i, uint64_t item) {
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= h->count)
      break;
    if (child + 1 < h->count && h->at[child + 1] < h->at[child])
      child++;
    if (h->at[child] >= item)
      break;
    h->at[i] = h->at[child];
    i = child;
  }
  h->at[i] = item;
}

static uint64_t heap_pop(struct heap *h) {
  uint64_t top = h->at[0];
  uint64_t last = h->at[--h->count];
  if (h->count > 0)
    heap_sink(h, 0, last);
  return top;
}

static void push_pair(const struct bpe *b, struct heap *h, const uint32_t *ids, uint32_t place,
                      uint32_t after) {
  const struct merge *m = find(b, ids[place], ids[after]);
  if (m->rank != no_rank)
    heap_push(h, (uint64_t)m->rank << 32 | place);
}

/* Ids stand at the place of their first byte, linked to the next and the one before. A place whose
 * id was swallowed has next == itself. An entry of the heap is good while the pair at its place
 * still has its rank; two pairs never share one. */
static enum status merge_with_heap(const struct bpe *b, struct bpe_work *w, const uint8_t *piece,
                                   size_t bytes, uint32_t *ids, size_t *count, struct why *why) {
  CLAIM(bytes < nowhere);
  uint32_t n = (uint32_t)bytes;
  TRY(growing_need(&w->heap, 2 * bytes * sizeof(uint64_t), why));
  TRY(growing_need(&w->links, 2 * bytes * sizeof(uint32_t), why));
  struct heap h = {w->heap.at, 0};
  uint32_t *next = w->links.at;
  uint32_t *before = next + bytes;
  for (uint32_t i = 0; i < n; i++) {
    ids[i] = b->byte_ids[piece[i]];
    next[i] = i + 1 < n ? i + 1 : nowhere;
    before[i] = i > 0 ? i - 1 : nowhere;
  }
  for (uint32_t i = 0; i + 1 < n; i++) {
    const struct merge *m = find(b, ids[i], ids[i + 1]);
    if (m->rank != no_rank)
      h.at[h.count++] = (uint64_t)m->rank << 32 | i;
  }
  for (size_t i = h.count / 2; i-- > 0;)
    heap_sink(&h, i, h.at[i]);
  while (h.count > 0) {
    uint64_t top = heap_pop(&h);
    uint32_t place = (uint32_t)top, after = next[place];
    if (after == nowhere || after == place)
      continue;
    const struct merge *m = find(b, ids[place], ids[after]);
    if (m->rank != (uint32_t)(top >> 32))
      continue;
    ids[place] = m->merged;
    next[place] = next[after];
    next[after] = after;
    if (next[place] != nowhere) {
      before[next[place]] = place;
      push_pair(b, &h, ids, place, next[place]);
    }
    if (before[place] != nowhere)
      push_pair(b, &h, ids, before[place], place);
  }
  size_t kept = 0;
  for (uint32_t i = 0; i != nowhere; i = next[i])
    ids[kept++] = ids[i];
  *count = kept;
  return STATUS_OK;
}

enum status bpe_encode(const struct bpe *b, struct bpe_work *w, const uint8_t *piece, size_t bytes,
                       const uint8_t *readable_end, uint32_t *ids, size_t *count, struct why *why) {
  struct word_key key;
  bool short_enough = word_key_of(piece, bytes, readable_end, &key);
  if (short_enough) {
    *count = word_cache_find(w->words, &key, ids);
    if (*count > 0)
      return STATUS_OK;
  }
  const struct whole *whole = b->wholes ? find_whole(b, piece, bytes) : NULL;
  if (whole && whole->piece) {
    ids[0] = whole->id;
    *count = 1;
  } else if (bytes <= BPE_SCAN_MAX) {
    *count = merge_scanning(b, piece, bytes, ids);
  } else {
    return merge_with_heap(b, w, piece, bytes, ids, count, why);
  }
  if (short_enough)
    word_cache_keep(w->words, &key, ids, *count);
  return STATUS_OK;
}
