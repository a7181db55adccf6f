/* shapes: what the single letters mean. Every array comment in the tree uses these.
 *
 *   B  sequences in a micro-batch            C  channels: width of the residual stream
 *   T  tokens of a sequence (queries)        F  width of the feed-forward layer
 *   S  keys a query may see (S == T when     H  query heads          HK  key/value heads, HK <= H
 *      training; S >= T when generating)     D  channels of a head   R   rotated channels of a head
 *   M  rows: B * T                           V  rows of the vocabulary table (padding included)
 *   L  layers                                N, K  output and input channels of a linear layer
 *
 * (M, C) f32 means M rows of C consecutive values, row-major, of the named type. Counts and sizes
 * are int64_t: M * V passes 2^31 on an ordinary card. */
#ifndef CARAVAN_SHAPES_H
#define CARAVAN_SHAPES_H

#include <stdint.h>

/* The largest shapes one call has room for. Checked where a model is configured. */
enum {
  SHAPE_C_MAX = 65536,
  SHAPE_F_MAX = 262144,
  SHAPE_H_MAX = 512,
  SHAPE_D_MAX = 256,
  SHAPE_V_MAX = 1 << 20,
  SHAPE_T_MAX = 1 << 20,
  SHAPE_L_MAX = 512,
  SHAPE_B_MAX = 65536,
};

/* The most of everything that a model will ask of an engine; sizes its scratch memory. */
struct shapes {
  int64_t B, T, S, C, F, H, HK, D, V;
};

#endif
