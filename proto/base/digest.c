#include "proto/base/digest.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "proto/base/claim.h"

static_assert(DIGEST_STATE_BYTES >= sizeof(crypto_generichash_blake2b_state), "state must fit");
static_assert(crypto_generichash_blake2b_PERSONALBYTES == 16, "labels are padded to 16 bytes");

static const char labels[DIGEST_LABEL_COUNT][crypto_generichash_blake2b_PERSONALBYTES] = {
    [DIGEST_PLAIN] = "",
    [DIGEST_LEAF] = "caravan.leaf",
    [DIGEST_NODE] = "caravan.node",
    [DIGEST_RUN] = "caravan.run",
};

static crypto_generichash_blake2b_state *state_of(struct digester *in) {
  return (crypto_generichash_blake2b_state *)(void *)in->state;
}

void digester_init(struct digester *in, enum digest_label label) {
  CLAIM(label < DIGEST_LABEL_COUNT);
  int failed = crypto_generichash_blake2b_init_salt_personal(
      state_of(in), NULL, 0, DIGEST_BYTES, NULL, (const unsigned char *)labels[label]);
  CLAIM(failed == 0);
}

void digester_add(struct digester *in, const void *bytes, size_t count) {
  int failed = crypto_generichash_blake2b_update(state_of(in), bytes, count);
  CLAIM(failed == 0);
}

struct digest digester_end(struct digester *in) {
  struct digest d;
  int failed = crypto_generichash_blake2b_final(state_of(in), d.bytes, DIGEST_BYTES);
  CLAIM(failed == 0);
  return d;
}

struct digest digest_of(enum digest_label label, const void *bytes, size_t count) {
  struct digester in;
  digester_init(&in, label);
  digester_add(&in, bytes, count);
  return digester_end(&in);
}

bool digest_equal(const struct digest *a, const struct digest *b) {
  return sodium_memcmp(a->bytes, b->bytes, DIGEST_BYTES) == 0;
}

void digest_hex(const struct digest *d, char hex[DIGEST_HEX_BYTES]) {
  sodium_bin2hex(hex, DIGEST_HEX_BYTES, d->bytes, DIGEST_BYTES);
}

enum status digest_from_hex(const char *hex, struct digest *out) {
  struct digest d;
  size_t read_bytes = 0;
  if (strlen(hex) != 2 * (size_t)DIGEST_BYTES)
    return STATUS_BAD;
  if (sodium_hex2bin(d.bytes, DIGEST_BYTES, hex, 2 * (size_t)DIGEST_BYTES, NULL, &read_bytes,
                     NULL) != 0)
    return STATUS_BAD;
  if (read_bytes != DIGEST_BYTES)
    return STATUS_BAD;
  *out = d;
  return STATUS_OK;
}
