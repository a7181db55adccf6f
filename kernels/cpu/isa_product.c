/* Matrix products. The right side is copied panel by panel (so many columns, all of the depth) into
 * scratch where it can be read in order; the left side is read where it lies, one value at a time,
 * and multiplied into a block of sums that fills the registers. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/isa_vector.h"

enum {
  /* Sums held in registers: of 32 registers 24, of 16 twelve. Measured in kernels/SPEED.md. */
  ROWS = VL == 16 ? 8 : 4,
  VECTORS = 3,
  PANEL = VECTORS * VL,
  /* Steps of depth fetched ahead when each lies in another line, often in another page. */
  AHEAD = 16,
};

typedef float v4 __attribute__((vector_size(16)));

/* Columns of a panel that the matrix does not have become 0. */
static void pack(float *panel, const float *b, int64_t b_row, int64_t columns, int64_t depth) {
  for (int64_t k = 0; k < depth; k++) {
    const float *from = b + k * b_row;
    float *to = panel + k * PANEL;
    if (columns == PANEL) {
      UNROLL for (int j = 0; j < VECTORS; j++) vf_store(to + j * VL, vf_load(from + j * VL));
    } else {
      for (int64_t j = 0; j < PANEL; j++)
        to[j] = j < columns ? from[j] : 0;
    }
  }
}

INLINE v4 v4_load(const float *p) {
  v4 v;
  memcpy(&v, p, sizeof v);
  return v;
}

/* Four columns' next four values, turned. */
INLINE void pack_square(float *to, const float *b, int64_t b_row) {
  const v4 r0 = v4_load(b);
  const v4 r1 = v4_load(b + b_row);
  const v4 r2 = v4_load(b + 2 * b_row);
  const v4 r3 = v4_load(b + 3 * b_row);
  const v4 low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5);
  const v4 low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
  const v4 high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
  const v4 high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
  const v4 c0 = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
  const v4 c1 = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  const v4 c2 = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
  const v4 c3 = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
  memcpy(to, &c0, sizeof c0);
  memcpy(to + PANEL, &c1, sizeof c1);
  memcpy(to + 2 * PANEL, &c2, sizeof c2);
  memcpy(to + 3 * PANEL, &c3, sizeof c3);
}

static void pack_transposed(float *panel, const float *b, int64_t b_row, int64_t columns,
                            int64_t depth) {
  for (int64_t k = 0; k < depth; k += 4) {
    const int64_t steps = depth - k < 4 ? depth - k : 4;
    for (int64_t j = 0; j < PANEL; j += 4) {
      if (steps == 4 && j + 4 <= columns) {
        pack_square(panel + k * PANEL + j, b + j * b_row + k, b_row);
        continue;
      }
      for (int64_t s = 0; s < steps; s++)
        for (int64_t i = j; i < j + 4; i++)
          panel[(k + s) * PANEL + i] = i < columns ? b[i * b_row + k + s] : 0;
    }
  }
}

/* c (rows, PANEL) = or += a · panel. Value (r, k) of a at a[r · a_row + k], or when turned at
 * a[k · a_row + r]. Constant arguments after inlining. */
INLINE void block(float *c, int64_t c_row, const float *a, int64_t a_row, const float *panel,
                  int64_t depth, bool accumulate, const int rows, const bool turned) {
  vf sum[ROWS][VECTORS];
  UNROLL for (int r = 0; r < rows; r++) {
    UNROLL for (int j = 0; j < VECTORS; j++) sum[r][j] = vf_set(0);
  }
  for (int64_t k = 0; k < depth; k++) {
    vf value[VECTORS];
    UNROLL for (int j = 0; j < VECTORS; j++) value[j] = vf_load(panel + k * PANEL + j * VL);
    if (turned)
      __builtin_prefetch(a + (k + AHEAD < depth ? k + AHEAD : k) * a_row);
    UNROLL for (int r = 0; r < rows; r++) {
      const vf factor = vf_set(turned ? a[k * a_row + r] : a[r * a_row + k]);
      UNROLL for (int j = 0; j < VECTORS; j++) sum[r][j] = vf_fma(factor, value[j], sum[r][j]);
    }
  }
  UNROLL for (int r = 0; r < rows; r++) {
    UNROLL for (int j = 0; j < VECTORS; j++) {
      float *at = c + r * c_row + j * VL;
      vf_store(at, accumulate ? vf_load(at) + sum[r][j] : sum[r][j]);
    }
  }
}

/* As block, for a panel of fewer columns: by way of a block of its own. */
static void narrow_block(float *c, int64_t c_row, const float *a, int64_t a_row, const float *panel,
                         int64_t columns, int64_t depth, bool accumulate, int rows, bool turned) {
  float whole[PANEL];
  for (int r = 0; r < rows; r++) {
    if (turned)
      block(whole, PANEL, a + r, a_row, panel, depth, false, 1, true);
    else
      block(whole, PANEL, a + r * a_row, a_row, panel, depth, false, 1, false);
    for (int64_t j = 0; j < columns; j++)
      c[r * c_row + j] = accumulate ? c[r * c_row + j] + whole[j] : whole[j];
  }
}

INLINE void all_rows(float *c, int64_t c_row, const float *a, int64_t a_row, const float *panel,
                     int64_t rows, int64_t columns, int64_t depth, bool accumulate,
                     const bool turned) {
  const int64_t step = turned ? 1 : a_row; /* from one row of a to the next */
  if (columns < PANEL) {
    narrow_block(c, c_row, a, a_row, panel, columns, depth, accumulate, (int)rows, turned);
    return;
  }
  int64_t r = 0;
  for (; r + ROWS <= rows; r += ROWS)
    block(c + r * c_row, c_row, a + r * step, a_row, panel, depth, accumulate, ROWS, turned);
  for (; r < rows; r++)
    block(c + r * c_row, c_row, a + r * step, a_row, panel, depth, accumulate, 1, turned);
}

static void multiply(float *c, int64_t c_row, const float *a, int64_t a_row, bool turned,
                     const float *panel, int64_t rows, int64_t columns, int64_t depth,
                     bool accumulate) {
  if (turned)
    all_rows(c, c_row, a, a_row, panel, rows, columns, depth, accumulate, true);
  else
    all_rows(c, c_row, a, a_row, panel, rows, columns, depth, accumulate, false);
}

const struct isa_product ISA_NAME(isa_product) = {
    .panel = PANEL,
    .pack = pack,
    .pack_transposed = pack_transposed,
    .multiply = multiply,
};
