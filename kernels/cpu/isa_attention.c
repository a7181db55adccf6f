/* Attention of one head, in tiles that stay in the first and second cache, after FlashAttention
 * (Dao et al. 2022, arXiv 2205.14135; backward as in FlashAttention-2, arXiv 2307.08691, section
 * 3.1.2). Tiles that the causal mask hides whole are never computed.
 *
 * Everything is one small matrix product, tile(), whose left side is read one value at a time (so
 * that it may be transposed for nothing) and whose right side is read by rows of vectors. */
#include <math.h>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/isa_vector.h"

enum {
  /* Queries and keys of a tile. Forward: 16 KB of scores. Backward: smaller, because the half of a
   * diagonal tile that is masked is computed for nothing. */
  FORWARD_QUERIES = 32,
  FORWARD_KEYS = 128,
  GRAD_QUERIES = 32,
  GRAD_KEYS = 64,
  /* Accumulators of the inner product: rows by vectors, as many as there are registers for. */
  TILE_ROWS = 4,
  TILE_VECTORS = VL == 16 ? 4 : 2,
};

/* A right or left side of a product: value (i, j) at p + i · row + j · column. */
struct left {
  const float *p;
  int64_t row, column;
};
struct right {
  const float *p;
  int64_t row; /* columns are next to each other */
};

/* c (rows, vectors · VL) = or += a b, over `depth`. part < VL: only so many values of the last
 * vector exist. Constant arguments after inlining. */
INLINE void block(float *c, int64_t c_row, struct left a, struct right b, int64_t depth,
                  bool accumulate, const int rows, const int vectors, const bool whole,
                  int64_t part) {
  vf sum[TILE_ROWS][TILE_VECTORS];
  UNROLL for (int r = 0; r < rows; r++) {
    UNROLL for (int j = 0; j < vectors; j++) {
      const float *at = c + r * c_row + j * VL;
      sum[r][j] = !accumulate ? vf_set(0) : whole ? vf_load(at) : vf_load_part(at, part);
    }
  }
  for (int64_t k = 0; k < depth; k++) {
    vf value[TILE_VECTORS];
    UNROLL for (int j = 0; j < vectors; j++) {
      const float *at = b.p + k * b.row + j * VL;
      value[j] = whole ? vf_load(at) : vf_load_part(at, part);
    }
    UNROLL for (int r = 0; r < rows; r++) {
      vf factor = vf_set(a.p[r * a.row + k * a.column]);
      UNROLL for (int j = 0; j < vectors; j++) sum[r][j] = vf_fma(factor, value[j], sum[r][j]);
    }
  }
  UNROLL for (int r = 0; r < rows; r++) {
    UNROLL for (int j = 0; j < vectors; j++) {
      float *at = c + r * c_row + j * VL;
      if (whole)
        vf_store(at, sum[r][j]);
      else
        vf_store_part(at, sum[r][j], part);
    }
  }
}

/* One strip of columns, for all rows. */
INLINE void strip(float *c, int64_t c_row, struct left a, struct right b, int64_t rows,
                  int64_t depth, bool accumulate, const int vectors, const bool whole,
                  int64_t part) {
  int64_t r = 0;
  for (; r + TILE_ROWS <= rows; r += TILE_ROWS) {
    struct left from = {a.p + r * a.row, a.row, a.column};
    block(c + r * c_row, c_row, from, b, depth, accumulate, TILE_ROWS, vectors, whole, part);
  }
  for (; r < rows; r++) {
    struct left from = {a.p + r * a.row, a.row, a.column};
    block(c + r * c_row, c_row, from, b, depth, accumulate, 1, vectors, whole, part);
  }
}

/* c (rows, columns) = or += a (rows, depth) b (depth, columns) */
static void tile(float *c, int64_t c_row, struct left a, struct right b, int64_t rows,
                 int64_t columns, int64_t depth, bool accumulate) {
  int64_t j = 0;
  for (; j + TILE_VECTORS * VL <= columns; j += TILE_VECTORS * VL) {
    struct right from = {b.p + j, b.row};
    strip(c + j, c_row, a, from, rows, depth, accumulate, TILE_VECTORS, true, VL);
  }
  for (; j + VL <= columns; j += VL) {
    struct right from = {b.p + j, b.row};
    strip(c + j, c_row, a, from, rows, depth, accumulate, 1, true, VL);
  }
  if (j < columns) {
    struct right from = {b.p + j, b.row};
    strip(c + j, c_row, a, from, rows, depth, accumulate, 1, false, columns - j);
  }
}

/* to (D, width) = fromᵀ, where from has `rows` <= width rows of D values */
static void transpose(float *to, int64_t width, const float *from, int64_t stride, int64_t rows,
                      int64_t D) {
  enum { STEP = 8 };
  for (int64_t d0 = 0; d0 < D; d0 += STEP) {
    const int64_t d1 = d0 + STEP < D ? d0 + STEP : D;
    for (int64_t s = 0; s < rows; s++)
      for (int64_t d = d0; d < d1; d++)
        to[d * width + s] = from[s * stride + d];
  }
}

static int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t tiles(int64_t n, int64_t size) {
  return (n + size - 1) / size;
}

/* The running maximum and sum of a row's softmax. */
struct running {
  float most, sum;
};

/* s = exp(scale s - most) for the `seen` first of n scores, 0 for the others. Returns by what
 * everything summed so far must be multiplied, now that the maximum may be greater. */
static float soften(float *s, int64_t seen, int64_t n, float scale, struct running *run) {
  vf top = vf_set(run->most);
  int64_t i = 0;
  for (; i + VL <= seen; i += VL)
    top = vf_max(vf_load(s + i) * vf_set(scale), top);
  float most = vf_greatest(top);
  for (; i < seen; i++)
    most = s[i] * scale > most ? s[i] * scale : most;
  vf sum = vf_set(0);
  for (i = 0; i + VL <= seen; i += VL) {
    vf e = vf_exp(vf_fma(vf_load(s + i), vf_set(scale), vf_set(-most)));
    vf_store(s + i, e);
    sum += e;
  }
  float rest = 0;
  if (i < seen) {
    vf e = vf_exp(vf_fma(vf_load_part(s + i, seen - i), vf_set(scale), vf_set(-most)));
    vf_store_part(s + i, e, seen - i);
    for (; i < seen; i++)
      rest += s[i];
  }
  for (; i < n; i++)
    s[i] = 0;
  const float correction = expf(run->most - most);
  run->sum = run->sum * correction + vf_sum(sum) + rest;
  run->most = most;
  return correction;
}

static void scale_row(float *x, int64_t n, float factor) {
  int64_t i = 0;
  for (; i + VL <= n; i += VL)
    vf_store(x + i, vf_load(x + i) * vf_set(factor));
  for (; i < n; i++)
    x[i] *= factor;
}

static int64_t forward_scratch(int64_t S, int64_t D) {
  return tiles(S, FORWARD_KEYS) * FORWARD_KEYS * D + FORWARD_QUERIES * FORWARD_KEYS;
}

/* Query rows [t0, t1), at most FORWARD_QUERIES of them, against every key tile they see. */
static void forward_tile(const struct isa_attention_head *h, int64_t t0, int64_t t1,
                         const float *keys, float *scores) {
  const int64_t rows = t1 - t0;
  const int64_t D = h->D;
  const int64_t shift = h->S - h->T; /* query t sees keys up to t + shift */
  float *o = h->o + t0 * h->o_row;
  struct running run[FORWARD_QUERIES];
  for (int64_t r = 0; r < rows; r++)
    run[r] = (struct running){.most = -INFINITY, .sum = 0};
  for (int64_t s0 = 0; s0 < t1 + shift; s0 += FORWARD_KEYS) {
    const int64_t n = least(FORWARD_KEYS, t1 + shift - s0);
    const struct left q = {h->q + t0 * h->q_row, h->q_row, 1};
    const struct right kt = {keys + s0 * D, FORWARD_KEYS};
    tile(scores, FORWARD_KEYS, q, kt, rows, n, D, false);
    for (int64_t r = 0; r < rows; r++) {
      float *s = scores + r * FORWARD_KEYS;
      const int64_t seen = least(t0 + r + shift + 1 - s0, n);
      if (seen <= 0) {
        memset(s, 0, (size_t)n * sizeof *s);
        continue;
      }
      const float correction = soften(s, seen, n, h->scale, &run[r]);
      if (s0 > 0 && correction != 1)
        scale_row(o + r * h->o_row, D, correction);
    }
    const struct left p = {scores, FORWARD_KEYS, 1};
    const struct right v = {h->v + s0 * h->kv_row, h->kv_row};
    tile(o, h->o_row, p, v, rows, D, n, s0 > 0);
  }
  for (int64_t r = 0; r < rows; r++) {
    scale_row(o + r * h->o_row, D, 1 / run[r].sum);
    h->lse[t0 + r] = run[r].most + logf(run[r].sum);
  }
}

static void forward(const struct isa_attention_head *h, int64_t begin, int64_t end,
                    float *scratch) {
  const int64_t keys = end + h->S - h->T;
  float *scores = scratch + tiles(h->S, FORWARD_KEYS) * FORWARD_KEYS * h->D;
  for (int64_t s0 = 0; s0 < keys; s0 += FORWARD_KEYS)
    transpose(scratch + s0 * h->D, FORWARD_KEYS, h->k + s0 * h->kv_row, h->kv_row,
              least(FORWARD_KEYS, keys - s0), h->D);
  for (int64_t t0 = begin; t0 < end; t0 += FORWARD_QUERIES)
    forward_tile(h, t0, least(t0 + FORWARD_QUERIES, end), scratch, scores);
}

static float dot(const float *a, const float *b, int64_t n) {
  vf sum = vf_set(0);
  int64_t i = 0;
  for (; i + VL <= n; i += VL)
    sum = vf_fma(vf_load(a + i), vf_load(b + i), sum);
  float rest = 0;
  for (; i < n; i++)
    rest += a[i] * b[i];
  return vf_sum(sum) + rest;
}

/* p: scores on entry, probabilities on return; ds: dp on entry, scale · p (dp - delta) on return.
 * Only the first `seen` of n keys are visible; the others become 0. */
static void grad_row(float *p, float *ds, int64_t seen, int64_t n, float scale, float lse,
                     float delta) {
  int64_t i = 0;
  for (; i + VL <= seen; i += VL) {
    vf e = vf_exp(vf_fma(vf_load(p + i), vf_set(scale), vf_set(-lse)));
    vf_store(p + i, e);
    vf_store(ds + i, e * vf_set(scale) * (vf_load(ds + i) - vf_set(delta)));
  }
  if (i < seen) {
    const int64_t part = seen - i;
    vf e = vf_exp(vf_fma(vf_load_part(p + i, part), vf_set(scale), vf_set(-lse)));
    vf_store_part(p + i, e, part);
    vf_store_part(ds + i, e * vf_set(scale) * (vf_load_part(ds + i, part) - vf_set(delta)), part);
  }
  for (i = seen; i < n; i++)
    p[i] = ds[i] = 0;
}

struct grad_scratch_parts {
  float *kt, *vt; /* (D, GRAD_KEYS) */
  float *p, *ds;  /* (GRAD_QUERIES, GRAD_KEYS) */
  float *delta;   /* (T) of one query head: Σ_d dout o */
};

static int64_t grad_scratch(int64_t T, int64_t D) {
  return 2 * D * GRAD_KEYS + 2 * GRAD_QUERIES * GRAD_KEYS + T;
}

/* Query rows [t0, t1) against keys [s0, s1) of one query head: adds to dq, dk and dv. */
static void grad_tile(const struct isa_attention_head *h, int64_t t0, int64_t t1, int64_t s0,
                      int64_t s1, const struct grad_scratch_parts *at) {
  const int64_t rows = t1 - t0;
  const int64_t n = least(s1, t1) - s0;
  const int64_t D = h->D;
  const struct left q = {h->q + t0 * h->q_row, h->q_row, 1};
  const struct left dout = {h->dout + t0 * h->o_row, h->o_row, 1};
  tile(at->p, GRAD_KEYS, q, (struct right){at->kt, GRAD_KEYS}, rows, n, D, false);
  tile(at->ds, GRAD_KEYS, dout, (struct right){at->vt, GRAD_KEYS}, rows, n, D, false);
  for (int64_t r = 0; r < rows; r++) {
    const int64_t seen = least(t0 + r + 1 - s0, n);
    grad_row(at->p + r * GRAD_KEYS, at->ds + r * GRAD_KEYS, seen > 0 ? seen : 0, n, h->scale,
             h->lse[t0 + r], at->delta[t0 + r]);
  }
  const struct left pt = {at->p, 1, GRAD_KEYS};
  const struct left dst = {at->ds, 1, GRAD_KEYS};
  const struct left ds = {at->ds, GRAD_KEYS, 1};
  tile(h->dv + s0 * h->kv_row, h->kv_row, pt, (struct right){dout.p, h->o_row}, n, D, rows, true);
  tile(h->dk + s0 * h->kv_row, h->kv_row, dst, (struct right){q.p, h->q_row}, n, D, rows, true);
  tile(h->dq + t0 * h->q_row, h->q_row, ds, (struct right){h->k + s0 * h->kv_row, h->kv_row}, rows,
       D, n, s0 > 0);
}

/* One query head's part. Its key tiles run outside, so that a tile of k and v is transposed once
 * for all its queries; dq starts with the first tile, which every query sees. */
static void grad_query_head(const struct isa_attention_head *h,
                            const struct grad_scratch_parts *at) {
  for (int64_t t = 0; t < h->T; t++)
    at->delta[t] = dot(h->dout + t * h->o_row, h->o + t * h->o_row, h->D);
  for (int64_t s0 = 0; s0 < h->S; s0 += GRAD_KEYS) {
    const int64_t s1 = least(s0 + GRAD_KEYS, h->S);
    transpose(at->kt, GRAD_KEYS, h->k + s0 * h->kv_row, h->kv_row, s1 - s0, h->D);
    transpose(at->vt, GRAD_KEYS, h->v + s0 * h->kv_row, h->kv_row, s1 - s0, h->D);
    for (int64_t t0 = s0; t0 < h->T; t0 += GRAD_QUERIES)
      grad_tile(h, t0, least(t0 + GRAD_QUERIES, h->T), s0, s1, at);
  }
}

static void grad(const struct isa_attention_head *h, float *scratch) {
  struct grad_scratch_parts at;
  at.kt = scratch;
  at.vt = at.kt + h->D * GRAD_KEYS;
  at.p = at.vt + h->D * GRAD_KEYS;
  at.ds = at.p + GRAD_QUERIES * GRAD_KEYS;
  at.delta = at.ds + GRAD_QUERIES * GRAD_KEYS;
  for (int64_t s = 0; s < h->S; s++) {
    memset(h->dk + s * h->kv_row, 0, (size_t)h->D * sizeof(float));
    memset(h->dv + s * h->kv_row, 0, (size_t)h->D * sizeof(float));
  }
  struct isa_attention_head one = *h;
  for (int64_t g = 0; g < h->group; g++) {
    grad_query_head(&one, &at);
    one.q += h->q_head;
    one.dq += h->q_head;
    one.o += h->o_head;
    one.dout += h->o_head;
    one.lse += h->lse_head;
  }
}

const struct isa_attention ISA_NAME(isa_attention) = {
    .forward_scratch = forward_scratch,
    .grad_scratch = grad_scratch,
    .forward = forward,
    .grad = grad,
};
