/* runfile_table: every key of a run file: its kind, bounds, default, help. The inside of runfile.h:
 * only runfile*.c include this.
 *
 *   for (size_t i = 0; i < runfile_key_count(); i++) use(runfile_key(i));
 *
 * A key is "section.name" or "name". Values stand in struct runfile at `offset`. */
#ifndef CARAVAN_RUNFILE_TABLE_H
#define CARAVAN_RUNFILE_TABLE_H

#include "node/train/runfile.h"
#include "node/train/yamltree.h"

enum runfile_kind {
  RUNFILE_NAME,   /* char[NAME_BYTES_MAX]: letters, digits, '.', '_', '-' */
  RUNFILE_PATH,   /* char[PATH_BYTES_MAX] */
  RUNFILE_PATHS,  /* the corpus list */
  RUNFILE_SLICES, /* the slice table */
  RUNFILE_COUNT,  /* uint64_t; suffixes K M G T, Ki Mi Gi Ti */
  RUNFILE_WIDTH,  /* int64_t; a count that belongs to struct arch */
  RUNFILE_BYTES,  /* uint64_t; suffixes as above and a final B */
  RUNFILE_REAL,   /* double */
  RUNFILE_FLAG,   /* bool; true or false */
  RUNFILE_WORD,   /* int64_t: place in `words` */
  RUNFILE_WARMUP, /* a count of tokens, or a percentage of all */
};

enum runfile_default {
  DEFAULT_NONE,   /* must be written */
  DEFAULT_TEXT,   /* `standard`, read as if it had been written */
  DEFAULT_PRESET, /* the preset's, or worked out from other keys */
  DEFAULT_EMPTY,  /* may be left out, and is then absent */
};

struct runfile_key {
  const char *name;
  enum runfile_kind kind;
  enum runfile_default otherwise;
  const char *standard; /* DEFAULT_TEXT: the default; DEFAULT_NONE: an example */
  size_t offset;
  double least, most;       /* of numbers; a REAL must be above least where `above` is set */
  const char *unit;         /* "tokens"; NULL: a plain number */
  const char *const *words; /* of RUNFILE_WORD; ends with NULL */
  bool above;
  bool of_machine; /* not part of the run's meaning */
  bool takes_auto; /* the word auto is 0 */
  const char *help;
};

size_t runfile_key_count(void);
const struct runfile_key *runfile_key(size_t index);
/* Its place in the table, or -1. */
int runfile_find(const char *name);
/* "a whole number of tokens from 1 to …, such as 20M": how a value of this key looks. */
const char *runfile_expects(const struct runfile_key *key, char *out, size_t out_bytes);

/* Read one value into its place. BAD or RANGE: file, line, key, what was expected and what was
 * found. */
CHECKED enum status runfile_set(struct runfile *run, const struct runfile_key *key,
                                const struct yamlnode *value, struct why *why);
/* The same from text, for defaults out of the table. */
void runfile_set_default(struct runfile *run, const struct runfile_key *key);

static inline void *runfile_at(struct runfile *run, const struct runfile_key *key) {
  return (char *)run + key->offset;
}
static inline const void *runfile_get(const struct runfile *run, const struct runfile_key *key) {
  return (const char *)run + key->offset;
}

#endif
