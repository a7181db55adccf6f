/* unicode_tables: the Unicode data behind the tokenizer, as ranges and pairs.
 *
 * Data only, written by tests/reference/make_unicode_tables.py from what Hugging Face's
 * `tokenizers` does. They are our own, and not those of a library on the machine, because a corpus
 * tokenized on two machines must have the same ids. Use unicode_class.h and nfc.h, not this. */
#ifndef CARAVAN_UNICODE_TABLES_H
#define CARAVAN_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

struct unicode_range {
  uint32_t begin; /* [begin, end) */
  uint32_t end;
};

struct unicode_mark {
  uint32_t begin; /* [begin, end) */
  uint32_t end;
  uint8_t combining_class; /* never 0 */
};

/* One step of a canonical decomposition. Hangul syllables are not among them. */
struct unicode_pair {
  uint32_t composite; /* rising */
  uint32_t first;
  uint32_t second;  /* 0: a singleton */
  uint8_t composes; /* first and second are put together again by NFC */
};

extern const struct unicode_range unicode_letters[]; /* \p{L} */
extern const size_t unicode_letters_count;
extern const struct unicode_range unicode_numbers[]; /* \p{N} */
extern const size_t unicode_numbers_count;
extern const struct unicode_range unicode_spaces[]; /* \s */
extern const size_t unicode_spaces_count;
extern const struct unicode_range unicode_words[]; /* \w, as beside single_word added tokens */
extern const size_t unicode_words_count;
extern const struct unicode_mark unicode_marks[];
extern const size_t unicode_marks_count;
extern const struct unicode_pair unicode_pairs[];
extern const size_t unicode_pairs_count;

#endif
