#include "kernels/cpu/isa.h"
#include "kernels/cpu/isa_vector.h"

/* Every loop below takes whole vectors, then what is left as one partial vector whose other lanes
 * are 0. A row is read several times, but from the first-level cache. */

INLINE vf get(const float *p, int64_t i, int64_t n) {
  return n - i >= VL ? vf_load(p + i) : vf_load_part(p + i, n - i);
}

INLINE void put(float *p, vf v, int64_t i, int64_t n) {
  if (n - i >= VL)
    vf_store(p + i, v);
  else
    vf_store_part(p + i, v, n - i);
}

static float row_mean(const float *x, int64_t n) {
  vf sum[2] = {vf_set(0), vf_set(0)};
  int64_t i = 0;
  for (; i + 2 * VL <= n; i += 2 * VL) {
    sum[0] += vf_load(x + i);
    sum[1] += vf_load(x + i + VL);
  }
  for (; i < n; i += VL)
    sum[0] += get(x, i, n);
  return vf_sum(sum[0] + sum[1]) / (float)n;
}

static float row_variance(const float *x, float mean, int64_t n) {
  const vf centre = vf_set(mean);
  vf sum[2] = {vf_set(0), vf_set(0)};
  int64_t i = 0;
  for (; i + 2 * VL <= n; i += 2 * VL) {
    vf a = vf_load(x + i) - centre;
    vf b = vf_load(x + i + VL) - centre;
    sum[0] = vf_fma(a, a, sum[0]);
    sum[1] = vf_fma(b, b, sum[1]);
  }
  for (; i + VL <= n; i += VL) {
    vf a = vf_load(x + i) - centre;
    sum[0] = vf_fma(a, a, sum[0]);
  }
  float rest = 0;
  for (; i < n; i++)
    rest += (x[i] - mean) * (x[i] - mean);
  return (vf_sum(sum[0] + sum[1]) + rest) / (float)n;
}

static void row(float *y, const float *x, const float *w, const float *b, float *mean, float *rstd,
                int64_t C, float eps) {
  const float m = mean ? row_mean(x, C) : 0;
  const float r = 1.0f / __builtin_sqrtf(row_variance(x, m, C) + eps);
  const vf scale = vf_set(r);
  const vf centre = vf_set(m);
  if (mean) {
    *mean = m;
    for (int64_t i = 0; i < C; i += VL)
      put(y, vf_fma((get(x, i, C) - centre) * scale, get(w, i, C), get(b, i, C)), i, C);
  } else {
    for (int64_t i = 0; i < C; i += VL)
      put(y, get(x, i, C) * scale * get(w, i, C), i, C);
  }
  *rstd = r;
}

/* With n = (x - mean) rstd and g = dy w:
 *   dx = rstd (g - mean(g) - n mean(g n)),  without mean(g) for NORM_RMS. */
static void row_grad(float *dx, float *dw, float *db, const float *dy, const float *x,
                     const float *w, const float *mean, float rstd, int64_t C, bool accumulate) {
  const vf scale = vf_set(rstd);
  const vf centre = vf_set(mean ? *mean : 0);
  vf sum_g = vf_set(0);
  vf sum_gn = vf_set(0);
  for (int64_t i = 0; i < C; i += VL) {
    vf d = get(dy, i, C);
    vf n = (get(x, i, C) - centre) * scale;
    vf g = d * get(w, i, C);
    sum_g += g;
    sum_gn = vf_fma(g, n, sum_gn);
    put(dw, vf_fma(d, n, get(dw, i, C)), i, C);
    if (mean)
      put(db, get(db, i, C) + d, i, C);
  }
  const vf mean_g = vf_set(mean ? vf_sum(sum_g) / (float)C : 0);
  const vf mean_gn = vf_set(vf_sum(sum_gn) / (float)C);
  for (int64_t i = 0; i < C; i += VL) {
    vf n = (get(x, i, C) - centre) * scale;
    vf g = get(dy, i, C) * get(w, i, C);
    vf d = scale * (g - mean_g - n * mean_gn);
    put(dx, accumulate ? get(dx, i, C) + d : d, i, C);
  }
}

/* The angles are a row's own, the same for all its heads: untangle them once. */
static void rope_row(float *x, const float *angles, int64_t heads, int64_t head_stride, int64_t R,
                     bool inverse) {
  float cosine[SHAPE_D_MAX / 2];
  float sine[SHAPE_D_MAX / 2];
  const int64_t half = R / 2;
  for (int64_t i = 0; i < half; i++) {
    cosine[i] = angles[2 * i];
    sine[i] = inverse ? -angles[2 * i + 1] : angles[2 * i + 1];
  }
  for (int64_t h = 0; h < heads; h++) {
    float *low = x + h * head_stride;
    float *high = low + half;
    for (int64_t i = 0; i < half; i += VL) {
      vf a = get(low, i, half);
      vf b = get(high, i, half);
      vf c = get(cosine, i, half);
      vf s = get(sine, i, half);
      put(low, vf_fma(a, c, -(b * s)), i, half);
      put(high, vf_fma(b, c, a * s), i, half);
    }
  }
}

const struct isa_norm ISA_NAME(isa_norm) = {
    .row = row,
    .row_grad = row_grad,
    .rope_row = rope_row,
};
