#include "node/text/unicode_class.h"

#include <string.h>

#include "node/text/unicode_tables.h"

static void paint(struct unicode_class *u, const struct unicode_range *ranges, size_t count,
                  uint8_t flags) {
  for (size_t i = 0; i < count; i++)
    for (uint32_t c = ranges[i].begin; c < ranges[i].end; c++)
      u->of[c] |= flags;
}

void unicode_class_init(struct unicode_class *u) {
  memset(u, 0, sizeof *u);
  paint(u, unicode_letters, unicode_letters_count, UNICODE_LETTER);
  paint(u, unicode_numbers, unicode_numbers_count, UNICODE_NUMBER);
  paint(u, unicode_spaces, unicode_spaces_count, UNICODE_SPACE);
  paint(u, unicode_words, unicode_words_count, UNICODE_WORD);
  for (size_t i = 0; i < unicode_marks_count; i++)
    for (uint32_t c = unicode_marks[i].begin; c < unicode_marks[i].end; c++)
      u->of[c] |= UNICODE_MARK;
  for (size_t i = 0; i < unicode_pairs_count; i++) {
    const struct unicode_pair *pair = &unicode_pairs[i];
    /* NFC takes apart what it does not put together again, and may attach a second part. */
    if (!pair->composes)
      u->of[pair->composite] |= UNICODE_LOOSE;
    else
      u->of[pair->second] |= UNICODE_LOOSE;
  }
  for (uint32_t c = 0x1161; c < 0x1176; c++) /* Hangul vowels and finals join what precedes them */
    u->of[c] |= UNICODE_LOOSE;
  for (uint32_t c = 0x11a8; c < 0x11c3; c++)
    u->of[c] |= UNICODE_LOOSE;
}
