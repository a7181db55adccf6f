/* growing: a buffer that is made larger when it must be, and keeps what it holds.
 *
 *   struct growing g = {0};
 *   TRY(growing_need(&g, bytes, &why));   // g.at has room for that many now
 *   growing_end(&g);
 */
#ifndef CARAVAN_GROWING_H
#define CARAVAN_GROWING_H

#include <stddef.h>

#include "proto/base/status.h"

struct growing {
  void *at;
  size_t bytes; /* room, not use */
};

/* NOMEM: with the size; the buffer is as before. */
CHECKED enum status growing_need(struct growing *g, size_t bytes, struct why *why);
void growing_end(struct growing *g);

#endif
