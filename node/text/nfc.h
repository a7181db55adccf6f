/* nfc: Unicode normalisation form C of UTF-8, as the tokenizer file's "NFC" asks for.
 *
 *   struct nfc n;
 *   nfc_init(&n, classes);                       // once; read-only afterwards
 *   struct nfc_work w = {0};                     // one per thread
 *   TRY(nfc_apply(&n, &w, text, bytes, &out, &out_bytes, &why));
 *
 * Text that already is in the form, nearly all text, is looked over once and returned itself. The
 * rest is taken apart between characters that never join what precedes them, put in canonical
 * order and composed (Unicode 16, sections 3.11 and 3.12), with the tables of unicode_tables.h.
 * The input must be valid UTF-8. Linear in the text, whatever the text. */
#ifndef CARAVAN_NFC_H
#define CARAVAN_NFC_H

#include <stddef.h>
#include <stdint.h>

#include "node/text/growing.h"
#include "node/text/unicode_class.h"
#include "proto/base/status.h"

enum { NFC_COMPOSE_MAX = 1024 };

struct nfc_compose {
  uint64_t parts; /* first << 32 | second */
  uint32_t composite;
};

struct nfc {
  const struct unicode_class *class_of;        /* borrowed */
  struct nfc_compose compose[NFC_COMPOSE_MAX]; /* rising by parts */
  size_t compose_count;
};

struct nfc_work {
  struct growing out;
  struct growing points;
};

void nfc_init(struct nfc *n, const struct unicode_class *class_of);
void nfc_work_end(struct nfc_work *w);

/* *out is text itself, or in w until its next use. NOMEM. */
CHECKED enum status nfc_apply(const struct nfc *n, struct nfc_work *w, const uint8_t *text,
                              size_t bytes, const uint8_t **out, size_t *out_bytes,
                              struct why *why);

#endif
