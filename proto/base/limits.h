/* limits: the bounds that more than one room must agree on. A bound of one room stands in its
 * header.
 *
 * Nothing here is a tuning knob: a value past one of these is refused with a clear error. */
#ifndef CARAVAN_LIMITS_H
#define CARAVAN_LIMITS_H

#include <stdint.h>

enum {
  PATH_BYTES_MAX = 4096,  /* a file path, with its final zero */
  NAME_BYTES_MAX = 128,   /* a run, slice, tensor or member name, with its final zero */
  THREAD_COUNT_MAX = 256, /* worker threads of one process */
  SLICE_COUNT_MAX = 64,   /* slices of a data mixture */
};

/* The longest schedule: 2^60 tokens, so that sums of token counts never overflow an int64. */
#define TOKENS_TOTAL_MAX (UINT64_C(1) << 60)

#endif
