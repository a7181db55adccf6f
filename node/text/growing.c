#include "node/text/growing.h"

#include <stdlib.h>

enum status growing_need(struct growing *g, size_t bytes, struct why *why) {
  if (bytes <= g->bytes)
    return STATUS_OK;
  size_t room = g->bytes + g->bytes / 2;
  if (room < bytes)
    room = bytes;
  if (room < 4096)
    room = 4096;
  void *at = realloc(g->at, room);
  if (!at)
    return why_say(why, STATUS_NOMEM, "no memory for a text buffer of %zu bytes", room);
  g->at = at;
  g->bytes = room;
  return STATUS_OK;
}

void growing_end(struct growing *g) {
  free(g->at);
  *g = (struct growing){0};
}
