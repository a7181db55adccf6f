/* yamltree: a small YAML document as a tree whose every node knows its line.
 *
 *   struct yamltree *t;
 *   TRY(yamltree_parse("run.yaml", bytes, count, &t, &why));
 *   for (const struct yamlnode *n = yamltree_root(t)->child; n; n = n->next)
 *     use(n->key, n->text, n->line);
 *   yamltree_close(&t);
 *
 * Built on libyaml's events. libcyaml, which was looked at first (1.3.1), names the line of the key
 * before an unknown or missing one, takes "1e3 tokens" for 1000 and "20M" for 20, and cannot say
 * what was expected; a run file needs all of these right.
 *
 * The input is hostile: at most YAMLTREE_BYTES_MAX bytes of UTF-8, YAMLTREE_NODE_MAX nodes and
 * YAMLTREE_DEPTH_MAX levels; one document; no anchors, aliases or tags (so no file can unfold into
 * more than was written); no key twice in a mapping; no zero bytes. Pure. */
#ifndef CARAVAN_YAMLTREE_H
#define CARAVAN_YAMLTREE_H

#include <stddef.h>

#include "proto/base/status.h"

enum {
  YAMLTREE_BYTES_MAX = 256 << 10,
  YAMLTREE_NODE_MAX = 4096,
  YAMLTREE_DEPTH_MAX = 6,
};

enum yamlnode_kind { YAMLNODE_SCALAR, YAMLNODE_MAPPING, YAMLNODE_SEQUENCE };

struct yamlnode {
  enum yamlnode_kind kind;
  size_t line;            /* of the key where there is one, else of the value; from 1 */
  const char *key;        /* in a mapping, else NULL */
  const char *text;       /* of a scalar, else NULL; "" and "~" are kept as they are */
  struct yamlnode *child; /* first member of a mapping or sequence, or NULL */
  struct yamlnode *next;  /* sibling, in the order of the file, or NULL */
};

struct yamltree; /* opaque: owns the nodes and their texts */

/* name is for messages: "run.yaml:12: …". BAD with line and what was expected, RANGE, NOMEM. The
 * root is always a mapping. */
CHECKED enum status yamltree_parse(const char *name, const void *bytes, size_t count,
                                   struct yamltree **out, struct why *why);
void yamltree_close(struct yamltree **t); /* nulls *t; *t may be NULL */

const struct yamlnode *yamltree_root(const struct yamltree *t);
/* The member of a mapping with that key, or NULL. */
const struct yamlnode *yamlnode_member(const struct yamlnode *mapping, const char *key);
const char *yamlnode_kind_text(
    enum yamlnode_kind kind); /* "a single value", "a mapping (key: …)" */

#endif
