/* tokenizer_json: the parts of a tokenizer.json, one function each, for tokenizer_file.c.
 *
 * Each looks at one value of the file and fills what it says into the tokenizer_file, or refuses it
 * by name. Messages begin with the part ("model.merges[7] …"); the caller puts the file before. */
#ifndef CARAVAN_TOKENIZER_JSON_H
#define CARAVAN_TOKENIZER_JSON_H

#include <jansson.h>

#include "node/data/tokenizer_file.h"

/* Every key of the object must be one of the names, which end with NULL. UNSUPPORTED: another. */
CHECKED enum status tokenizer_json_keys(const json_t *object, const char *where,
                                        const char *const *names, struct why *why);

/* normalizer, pre_tokenizer, post_processor, decoder, truncation, padding. */
CHECKED enum status tokenizer_json_pipeline(const json_t *root, struct tokenizer_file *out,
                                            struct why *why);

/* Vocabulary and merges. The arena is made with spare_bytes more than the vocabulary needs, and
 * tokens with room for spare_tokens more ids. */
CHECKED enum status tokenizer_json_model(const json_t *model, size_t spare_bytes,
                                         size_t spare_tokens, struct tokenizer_file *out,
                                         struct why *why);

/* How much room the added tokens need in the arena, and how many there are. */
CHECKED enum status tokenizer_json_added_room(const json_t *list, size_t *bytes, size_t *count,
                                              struct why *why);
CHECKED enum status tokenizer_json_added(const json_t *list, const json_t *vocab,
                                         const struct nfc *nfc, struct tokenizer_file *out,
                                         struct why *why);

#endif
