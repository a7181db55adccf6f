/* pretokenize: where a text is cut into the pieces that byte pairs are merged in.
 *
 *   for (at = text; at < end; at = next)
 *     next = pretokenize_next(PRETOKENIZE_GPT2, classes, at, end);   // [at, next) is a piece
 *
 * The split patterns that byte-level tokenizers use are few, so each is written out by hand: many
 * times faster than a regular expression engine, and the same on every machine whatever Unicode
 * version its libraries have. Valid UTF-8 only. Linear in the text. Pure. */
#ifndef CARAVAN_PRETOKENIZE_H
#define CARAVAN_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/text/unicode_class.h"

enum pretokenize_pattern {
  PRETOKENIZE_WHOLE,  /* no cuts */
  PRETOKENIZE_GPT2,   /* ByteLevel's own pattern: GPT-2, GPT-NeoX, Pythia, RedPajama-INCITE */
  PRETOKENIZE_LLAMA3, /* cl100k's: contractions in any case, numbers of three digits at most */
  PRETOKENIZE_QWEN2,  /* the same with each digit alone */
};

/* The pattern that a regular expression of a tokenizer.json is, by its exact text. */
bool pretokenize_known(const char *regex, enum pretokenize_pattern *out);

/* The end of the piece that begins at `at`, which is before end. */
const uint8_t *pretokenize_next(enum pretokenize_pattern pattern, const struct unicode_class *u,
                                const uint8_t *at, const uint8_t *end);

#endif
