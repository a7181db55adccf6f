/* digest: BLAKE2b-256 of bytes, whole or in pieces, with a label that keeps uses apart.
 *
 *   struct digest d = digest_of(DIGEST_SHARD, bytes, length);
 *   char hex[DIGEST_HEX_BYTES];
 *   digest_hex(&d, hex);
 *
 * libsodium's crypto_generichash_blake2b_salt_personal, 32 bytes out, no key, no salt; the label is
 * the personalisation, zero-padded to 16 bytes, so the same bytes under two labels have two
 * digests. `b2sum -l 256` prints the digest of label DIGEST_PLAIN, whose personalisation is all
 * zeros. */
#ifndef CARAVAN_DIGEST_H
#define CARAVAN_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum { DIGEST_BYTES = 32, DIGEST_HEX_BYTES = 65, DIGEST_STATE_BYTES = 384 };

enum digest_label {
  DIGEST_PLAIN, /* no personalisation: comparable with b2sum */
  DIGEST_LEAF,  /* a leaf of a Merkle tree */
  DIGEST_NODE,  /* an inner node of a Merkle tree */
  DIGEST_RUN,   /* a run file */
  DIGEST_LABEL_COUNT
};

struct digest {
  uint8_t bytes[DIGEST_BYTES];
};

/* A digest in the making. Opaque; copy it to fork. */
struct digester {
  _Alignas(64) uint8_t state[DIGEST_STATE_BYTES];
};

void digester_init(struct digester *in, enum digest_label label);
void digester_add(struct digester *in, const void *bytes, size_t count);
struct digest digester_end(struct digester *in);

struct digest digest_of(enum digest_label label, const void *bytes, size_t count);
bool digest_equal(const struct digest *a, const struct digest *b);
void digest_hex(const struct digest *d,
                char hex[DIGEST_HEX_BYTES]); /* lower case, zero-terminated */

/* Read 64 hexadecimal digits. BAD: not exactly 64, or another character; *out unchanged. */
CHECKED enum status digest_from_hex(const char *hex, struct digest *out);

#endif
