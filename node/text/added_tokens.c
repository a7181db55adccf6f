#include "node/text/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/claim.h"

/* A trie whose children are a list. Node 0 is the root and nobody's child, so 0 means none. */
struct node {
  uint32_t child;
  uint32_t sibling;
  uint32_t token; /* index + 1 of the token that ends here, or 0 */
  uint8_t byte;
};

struct added_tokens {
  struct added_token *tokens;
  size_t token_count;
  struct node *nodes;
  uint32_t node_count;
  uint32_t first[256];       /* the root's children, by byte */
  uint8_t starts[65536 / 8]; /* bit set: a token may begin with these two bytes */
  bool one_byte_starts;      /* some token is a single byte: the last byte of a text may match */
};

static uint32_t child_of(const struct added_tokens *a, uint32_t node, uint8_t byte) {
  uint32_t child = a->nodes[node].child;
  while (child && a->nodes[child].byte != byte)
    child = a->nodes[child].sibling;
  return child;
}

static uint32_t new_node(struct added_tokens *a, uint8_t byte, uint32_t sibling) {
  uint32_t node = a->node_count++;
  a->nodes[node] = (struct node){.byte = byte, .sibling = sibling};
  return node;
}

/* The token that has the same bytes already, or NULL. */
static const struct added_token *plant(struct added_tokens *a, size_t index) {
  const struct added_token *t = &a->tokens[index];
  uint32_t *first = &a->first[t->bytes[0]];
  if (!*first)
    *first = new_node(a, t->bytes[0], 0);
  uint32_t node = *first;
  for (uint32_t i = 1; i < t->count; i++) {
    uint32_t child = child_of(a, node, t->bytes[i]);
    if (!child) {
      child = new_node(a, t->bytes[i], a->nodes[node].child);
      a->nodes[node].child = child;
    }
    node = child;
  }
  if (a->nodes[node].token)
    return &a->tokens[a->nodes[node].token - 1];
  a->nodes[node].token = (uint32_t)index + 1;
  a->one_byte_starts |= t->count == 1;
  for (uint32_t second = 0; second < 256; second++) {
    if (t->count == 1 || t->bytes[1] == second) {
      uint32_t pair = (uint32_t)t->bytes[0] << 8 | second;
      a->starts[pair >> 3] |= (uint8_t)(1 << (pair & 7));
    }
  }
  return NULL;
}

enum status added_tokens_open(const struct added_token *tokens, size_t count,
                              struct added_tokens **out, struct why *why) {
  CLAIM(count <= ADDED_TOKEN_MAX);
  size_t nodes = 1;
  for (size_t i = 0; i < count; i++) {
    CLAIM(tokens[i].count > 0);
    nodes += tokens[i].count;
  }
  struct added_tokens *a = calloc(1, sizeof *a);
  if (a) {
    a->tokens = malloc((count + 1) * sizeof a->tokens[0]);
    a->nodes = calloc(nodes, sizeof a->nodes[0]);
  }
  if (!a || !a->tokens || !a->nodes) {
    added_tokens_close(&a);
    return why_say(why, STATUS_NOMEM, "no memory for %zu added tokens", count);
  }
  a->token_count = count;
  a->node_count = 1;
  for (size_t i = 0; i < count; i++) {
    a->tokens[i] = tokens[i];
    const struct added_token *same = plant(a, i);
    if (same) {
      uint32_t same_id = same->id;
      added_tokens_close(&a);
      return why_say(why, STATUS_UNSUPPORTED,
                     "the added tokens %u and %u are the same once normalised", same_id,
                     tokens[i].id);
    }
  }
  *out = a;
  return STATUS_OK;
}

void added_tokens_close(struct added_tokens **a) {
  if (*a) {
    free((*a)->tokens);
    free((*a)->nodes);
  }
  free(*a);
  *a = NULL;
}

static const struct added_token *longest_at(const struct added_tokens *a, const uint8_t *at,
                                            const uint8_t *end) {
  const struct added_token *best = NULL;
  uint32_t node = a->first[*at];
  while (node) {
    if (a->nodes[node].token)
      best = &a->tokens[a->nodes[node].token - 1];
    if (++at == end)
      break;
    node = child_of(a, node, *at);
  }
  return best;
}

/* The leftmost place from `at` on where a token stands; NULL when there is none. */
static const struct added_token *find_next(const struct added_tokens *a, const uint8_t **at,
                                           const uint8_t *end) {
  const uint8_t *p = *at;
  for (; end - p >= 2; p++) {
    uint32_t pair = (uint32_t)p[0] << 8 | p[1];
    if (!(a->starts[pair >> 3] >> (pair & 7) & 1))
      continue;
    const struct added_token *token = longest_at(a, p, end);
    if (token) {
      *at = p;
      return token;
    }
  }
  *at = p;
  return p < end && a->one_byte_starts ? longest_at(a, p, end) : NULL;
}

static uint8_t class_before(const struct added_scan *s, const uint8_t *at, const uint8_t **begin) {
  do
    at--;
  while ((*at & 0xc0) == 0x80);
  size_t bytes;
  *begin = at;
  return s->class_of->of[unicode_decode(at, &bytes)];
}

static uint8_t class_after(const struct added_scan *s, const uint8_t *at, const uint8_t **next) {
  size_t bytes;
  uint8_t flags = s->class_of->of[unicode_decode(at, &bytes)];
  *next = at + bytes;
  return flags;
}

static bool beside_a_word(const struct added_scan *s, const uint8_t *begin, const uint8_t *end) {
  const uint8_t *other;
  return (begin > s->begin && class_before(s, begin, &other) & UNICODE_WORD) ||
         (end < s->end && class_after(s, end, &other) & UNICODE_WORD);
}

static const uint8_t *without_spaces_before(const struct added_scan *s, const uint8_t *at) {
  const uint8_t *begin;
  while (at > s->done && (class_before(s, at, &begin) & UNICODE_KIND) == UNICODE_SPACE)
    at = begin;
  return at;
}

/* Remembered, because tokens made of spaces that take the spaces behind them would otherwise look
 * over the same run once each. */
static const uint8_t *without_spaces_after(struct added_scan *s, const uint8_t *at) {
  if (at >= s->spaces && at < s->spaces_end)
    return s->spaces_end;
  const uint8_t *next;
  s->spaces = at;
  while (at < s->end && (class_after(s, at, &next) & UNICODE_KIND) == UNICODE_SPACE)
    at = next;
  s->spaces_end = at;
  return at;
}

struct added_scan added_scan(const struct added_tokens *a, const struct unicode_class *class_of,
                             const uint8_t *text, const uint8_t *end) {
  return (struct added_scan){a, class_of, text, end, text, text, text, text};
}

bool added_scan_next(struct added_scan *s, struct added_found *out) {
  const struct added_token *token = NULL;
  const uint8_t *begin = s->search, *end = s->search;
  while (s->search < s->end && s->set->token_count > 0) {
    token = find_next(s->set, &s->search, s->end);
    if (!token) {
      s->search = s->end;
      break;
    }
    begin = s->search;
    end = s->search += token->count;
    if (!token->single_word || !beside_a_word(s, begin, end))
      break;
    token = NULL;
  }
  *out = (struct added_found){.text = s->done, .text_end = s->end};
  if (!token) {
    bool more = s->done < s->end;
    s->done = s->end;
    return more;
  }
  if (token->lstrip)
    begin = without_spaces_before(s, begin);
  if (token->rstrip)
    end = without_spaces_after(s, end);
  out->text_end = begin > s->done ? begin : s->done;
  out->is_token = true;
  out->id = token->id;
  s->done = end;
  return true;
}
