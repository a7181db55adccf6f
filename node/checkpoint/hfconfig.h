/* hfconfig: Hugging Face's config.json, to and from struct arch.
 *
 *   struct arch arch;
 *   TRY(hfconfig_parse("DIR/config.json", text, text_bytes, &arch, &why));
 *   TRY(hfconfig_encode(&arch, eod, &json, &why));                // free(json)
 *
 * Reads GPTNeoXForCausalLM and LlamaForCausalLM, in the keys of old and of new transformers:
 *   rotary fraction  rotary_pct, partial_rotary_factor, rope_parameters.partial_rotary_factor
 *   rotary base      rotary_emb_base, rope_theta, rope_parameters.rope_theta
 * A key that is absent has the default of transformers' own configuration class. The promise:
 * whatever would change the mathematics and is not computed here (scaled rotary embeddings, biases
 * in LLaMA, a head width of its own, quantised weights, dropout, another activation, …) is refused
 * with its key, never ignored; so are two keys that contradict each other. What transformers'
 * two classes do not read themselves is ignored. Writes keys that every transformers since 4.30
 * reads. Pure. */
#ifndef CARAVAN_HFCONFIG_H
#define CARAVAN_HFCONFIG_H

#include "node/model/arch.h"
#include "proto/base/status.h"

enum { HFCONFIG_BYTES_MAX = 1 << 20 };

/* name is for messages.
 *   BAD          no JSON, or a key of the wrong kind, with the key
 *   UNSUPPORTED  another architecture or a setting that is not computed, with key and value
 *   RANGE        arch_check's
 *   MISMATCH     two keys that contradict each other, both named */
CHECKED enum status hfconfig_parse(const char *name, const void *json, size_t json_bytes,
                                   struct arch *out, struct why *why);

/* *out: a string for free(). eod: the id of <|endoftext|>, or -1 when unknown. NOMEM. */
CHECKED enum status hfconfig_encode(const struct arch *a, int64_t eod, char **out, struct why *why);
/* generation_config.json, likewise. */
CHECKED enum status hfconfig_encode_generation(int64_t eod, char **out, struct why *why);
/* tokenizer_config.json, likewise: what AutoTokenizer needs beside a tokenizer.json. */
CHECKED enum status hfconfig_encode_tokenizer(const struct arch *a, bool has_eod, char **out,
                                              struct why *why);
/* The tokenizer.json that does what the built-in "byte" tokenizer does: 256 bytes under their own
 * numbers, no merges, <|endoftext|> = 256. The same bytes every time. */
CHECKED enum status hfconfig_encode_byte_tokenizer(char **out, struct why *why);

#endif
