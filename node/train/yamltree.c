#include "node/train/yamltree.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "proto/base/claim.h"

struct yamltree {
  struct yamlnode *root;
  size_t node_count;
  struct yamlnode nodes[YAMLTREE_NODE_MAX];
  size_t text_bytes;
  char text[YAMLTREE_BYTES_MAX + 2 * YAMLTREE_NODE_MAX]; /* scalars never grow by unescaping much */
};

/* The parse in progress: the mappings and sequences that are open, outermost first. */
struct build {
  const char *name;
  struct yamltree *tree;
  struct why *why;
  struct {
    struct yamlnode *node;
    struct yamlnode *last; /* newest child */
    const char *key;       /* read, its value not yet */
    size_t key_line;
  } open[YAMLTREE_DEPTH_MAX];
  size_t depth;
};

const struct yamlnode *yamltree_root(const struct yamltree *t) {
  return t->root;
}

const char *yamlnode_kind_text(enum yamlnode_kind kind) {
  switch (kind) {
    case YAMLNODE_SCALAR: return "a single value";
    case YAMLNODE_MAPPING: return "a mapping (name: value)";
    case YAMLNODE_SEQUENCE: return "a list";
  }
  return "nothing";
}

const struct yamlnode *yamlnode_member(const struct yamlnode *mapping, const char *key) {
  for (const struct yamlnode *n = mapping->child; n; n = n->next)
    if (n->key && !strcmp(n->key, key))
      return n;
  return NULL;
}

/* A copy in the tree's own text; NULL when there is no room, which "\x85"-like escapes could cause
 * (four bytes that become two never grow, but folded lines are not proven to). */
static const char *keep_text(struct yamltree *t, const yaml_event_t *e) {
  size_t length = e->data.scalar.length;
  if (length >= sizeof t->text - t->text_bytes)
    return NULL;
  char *at = t->text + t->text_bytes;
  memcpy(at, e->data.scalar.value, length);
  at[length] = 0;
  t->text_bytes += length + 1;
  return at;
}

static size_t line_of(const yaml_event_t *e) {
  return e->start_mark.line + 1;
}

static enum status add_node(struct build *b, const yaml_event_t *e, enum yamlnode_kind kind,
                            const char *text, struct yamlnode **out) {
  struct yamltree *t = b->tree;
  if (t->node_count == YAMLTREE_NODE_MAX)
    return why_say(b->why, STATUS_RANGE, "%s:%zu: more than %d values in one file", b->name,
                   line_of(e), YAMLTREE_NODE_MAX);
  struct yamlnode *n = &t->nodes[t->node_count++];
  *n = (struct yamlnode){.kind = kind, .line = line_of(e), .text = text};
  if (b->depth == 0) {
    t->root = n;
  } else {
    size_t top = b->depth - 1;
    n->key = b->open[top].key;
    if (n->key)
      n->line = b->open[top].key_line;
    if (b->open[top].last)
      b->open[top].last->next = n;
    else
      b->open[top].node->child = n;
    b->open[top].last = n;
    b->open[top].key = NULL;
  }
  *out = n;
  return STATUS_OK;
}

static enum status take_key(struct build *b, const yaml_event_t *e, const char *text) {
  struct yamlnode *mapping = b->open[b->depth - 1].node;
  const struct yamlnode *before = yamlnode_member(mapping, text);
  if (before)
    return why_say(b->why, STATUS_BAD,
                   "%s:%zu: key \"%s\" is here for the second time; it was on "
                   "line %zu already",
                   b->name, line_of(e), text, before->line);
  b->open[b->depth - 1].key = text;
  b->open[b->depth - 1].key_line = line_of(e);
  return STATUS_OK;
}

static bool wants_key(const struct build *b) {
  return b->depth && b->open[b->depth - 1].node->kind == YAMLNODE_MAPPING &&
         !b->open[b->depth - 1].key;
}

static enum status take_scalar(struct build *b, const yaml_event_t *e) {
  if (e->data.scalar.anchor || e->data.scalar.tag)
    return why_say(b->why, STATUS_BAD,
                   "%s:%zu: anchors (&) and tags (!) are not taken here; write "
                   "the value itself",
                   b->name, line_of(e));
  if (memchr(e->data.scalar.value, 0, e->data.scalar.length))
    return why_say(b->why, STATUS_BAD, "%s:%zu: a zero byte inside a text", b->name, line_of(e));
  const char *text = keep_text(b->tree, e);
  if (!text)
    return why_say(b->why, STATUS_RANGE, "%s:%zu: more text than a run file may hold", b->name,
                   line_of(e));
  if (wants_key(b))
    return take_key(b, e, text);
  struct yamlnode *n;
  return add_node(b, e, YAMLNODE_SCALAR, text, &n);
}

static enum status take_start(struct build *b, const yaml_event_t *e, enum yamlnode_kind kind,
                              bool marked) {
  if (marked)
    return why_say(b->why, STATUS_BAD,
                   "%s:%zu: anchors (&) and tags (!) are not taken here; write "
                   "the value itself",
                   b->name, line_of(e));
  if (wants_key(b))
    return why_say(b->why, STATUS_BAD, "%s:%zu: expected a key, found %s", b->name, line_of(e),
                   yamlnode_kind_text(kind));
  if (b->depth == YAMLTREE_DEPTH_MAX)
    return why_say(b->why, STATUS_RANGE, "%s:%zu: nested deeper than %d levels", b->name,
                   line_of(e), YAMLTREE_DEPTH_MAX);
  struct yamlnode *n;
  TRY(add_node(b, e, kind, NULL, &n));
  memset(&b->open[b->depth], 0, sizeof b->open[0]);
  b->open[b->depth++].node = n;
  return STATUS_OK;
}

static enum status take_event(struct build *b, const yaml_event_t *e, bool *done) {
  switch (e->type) {
    case YAML_STREAM_END_EVENT: *done = true; return STATUS_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT: return STATUS_OK;
    case YAML_DOCUMENT_START_EVENT:
      if (b->tree->root)
        return why_say(b->why, STATUS_BAD,
                       "%s:%zu: a second document (---) begins; a run file has "
                       "one",
                       b->name, line_of(e));
      return STATUS_OK;
    case YAML_ALIAS_EVENT:
      return why_say(b->why, STATUS_BAD,
                     "%s:%zu: aliases (*) are not taken here; write the value "
                     "itself",
                     b->name, line_of(e));
    case YAML_SCALAR_EVENT: return take_scalar(b, e);
    case YAML_SEQUENCE_START_EVENT:
      return take_start(b, e, YAMLNODE_SEQUENCE,
                        e->data.sequence_start.anchor || e->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
      return take_start(b, e, YAMLNODE_MAPPING,
                        e->data.mapping_start.anchor || e->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
      CLAIM(b->depth > 0);
      b->depth--;
      return STATUS_OK;
  }
  return STATUS_OK;
}

/* libyaml's own words, with the line where it noticed. A tab is by far the most common cause. */
static enum status say_syntax(const struct build *b, const yaml_parser_t *p) {
  if (p->error == YAML_MEMORY_ERROR)
    return why_say(b->why, STATUS_NOMEM, "%s: no memory to read it", b->name);
  if (p->error == YAML_READER_ERROR)
    return why_say(b->why, STATUS_BAD, "%s: byte %zu: %s; a run file is UTF-8 text", b->name,
                   p->problem_offset, p->problem ? p->problem : "cannot be read");
  return why_say(b->why, STATUS_BAD, "%s:%zu: not YAML: %s%s%s", b->name, p->problem_mark.line + 1,
                 p->problem ? p->problem : "cannot be understood", p->context ? ", " : "",
                 p->context ? p->context : "");
}

static enum status build_tree(struct build *b, yaml_parser_t *p) {
  bool done = false;
  while (!done) {
    yaml_event_t e;
    if (!yaml_parser_parse(p, &e))
      return say_syntax(b, p);
    enum status s = take_event(b, &e, &done);
    yaml_event_delete(&e);
    TRY(s);
  }
  if (!b->tree->root)
    return why_say(b->why, STATUS_BAD, "%s:1: the file is empty", b->name);
  if (b->tree->root->kind != YAMLNODE_MAPPING)
    return why_say(b->why, STATUS_BAD, "%s:%zu: expected lines of \"key: value\", found %s",
                   b->name, b->tree->root->line, yamlnode_kind_text(b->tree->root->kind));
  return STATUS_OK;
}

enum status yamltree_parse(const char *name, const void *bytes, size_t count, struct yamltree **out,
                           struct why *why) {
  if (count > YAMLTREE_BYTES_MAX)
    return why_say(why, STATUS_RANGE, "%s: %zu bytes; a run file has at most %d", name, count,
                   YAMLTREE_BYTES_MAX);
  /* Some editors begin a file with a byte order mark, which libyaml only takes when it is to guess.
   */
  static const char mark[] = "\xef\xbb\xbf";
  if (count >= 3 && !memcmp(bytes, mark, 3)) {
    bytes = (const char *)bytes + 3;
    count -= 3;
  }
  struct build b = {.name = name, .why = why};
  b.tree = calloc(1, sizeof *b.tree);
  yaml_parser_t p;
  if (!b.tree || !yaml_parser_initialize(&p)) {
    free(b.tree);
    return why_say(why, STATUS_NOMEM, "%s: no memory to read it", name);
  }
  yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&p, bytes, count);
  enum status s = build_tree(&b, &p);
  yaml_parser_delete(&p);
  if (s != STATUS_OK) {
    yamltree_close(&b.tree);
    return s;
  }
  *out = b.tree;
  return STATUS_OK;
}

void yamltree_close(struct yamltree **t) {
  free(*t);
  *t = NULL;
}
