#include "kernels/engine.h"

#include <stdint.h>

#include "proto/base/claim.h"

size_t dtype_bytes(enum dtype t) {
  switch (t) {
    case DTYPE_F64: return 8;
    case DTYPE_F32: return 4;
    case DTYPE_F16: return 2;
    case DTYPE_BF16: return 2;
  }
  CLAIM(!"a dtype of the list");
  return 0;
}

size_t engine_scratch_bytes(const struct engine *e, const struct shapes *most) {
  return e->ops->scratch_bytes(e, most);
}

enum status engine_reserve(struct engine *e, const struct shapes *most, struct why *why) {
  return e->ops->reserve(e, most, why);
}

enum status engine_alloc(struct engine *e, size_t bytes, void **out) {
  /* Half of the address space: implementations may round up without overflow. */
  if (bytes > SIZE_MAX / 2)
    return STATUS_NOMEM;
  return e->ops->alloc(e, bytes, out);
}

void engine_release(struct engine *e, void **p, size_t bytes) {
  if (!*p)
    return;
  e->ops->release(e, *p, bytes);
  *p = NULL;
}

enum status engine_sync(struct engine *e, struct why *why) {
  return e->ops->sync(e, why);
}

void engine_close(struct engine **e) {
  if (!*e)
    return;
  (*e)->ops->close(*e);
  *e = NULL;
}
