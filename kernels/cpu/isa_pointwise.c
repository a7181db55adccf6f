#include "kernels/cpu/isa.h"
#include "kernels/cpu/isa_vector.h"

/* Every function is a loop over whole vectors and one partial vector at the end. */
#define EACH_VECTOR(n, BODY)         \
  do {                               \
    int64_t i = 0;                   \
    for (; i + VL <= (n); i += VL) { \
      const int64_t part = VL;       \
      BODY                           \
    }                                \
    if (i < (n)) {                   \
      const int64_t part = (n)-i;    \
      BODY                           \
    }                                \
  } while (0)

INLINE vf get(const float *p, int64_t part) {
  return part == VL ? vf_load(p) : vf_load_part(p, part);
}

INLINE void put(float *p, vf v, int64_t part) {
  if (part == VL)
    vf_store(p, v);
  else
    vf_store_part(p, v, part);
}

static void row_start(float *out, const float *bias, const float *add, int64_t n) {
  if (bias && add)
    EACH_VECTOR(n, put(out + i, get(bias + i, part) + get(add + i, part), part););
  else if (bias || add)
    memmove(out, bias ? bias : add, (size_t)n * sizeof *out);
  else
    memset(out, 0, (size_t)n * sizeof *out);
}

INLINE vf gelu(vf x) {
  return x * (vf_set(0.5f) + vf_set(0.5f) * vf_erf(x * vf_set(0.70710678f)));
}

INLINE vf gelu_slope(vf x) {
  vf below = vf_set(0.5f) + vf_set(0.5f) * vf_erf(x * vf_set(0.70710678f));
  vf density = vf_set(0.39894228f) * vf_exp(vf_set(-0.5f) * x * x);
  return vf_fma(x, density, below);
}

INLINE vf sigmoid(vf x) {
  return vf_set(1) / (vf_set(1) + vf_exp(-x));
}

/* x/2 (1 + tanh u) is x · sigmoid(2u). */
INLINE vf gelu_tanh_inner(vf x) {
  return x * vf_fma(x * x, vf_set(2 * 0.79788456f * 0.044715f), vf_set(2 * 0.79788456f));
}

INLINE vf gelu_tanh(vf x) {
  return x * sigmoid(gelu_tanh_inner(x));
}

INLINE vf gelu_tanh_slope(vf x) {
  vf s = sigmoid(gelu_tanh_inner(x));
  vf inner = vf_fma(x * x, vf_set(6 * 0.79788456f * 0.044715f), vf_set(2 * 0.79788456f));
  return vf_fma(x * s * (vf_set(1) - s), inner, s);
}

static void row_activate(float *out, const float *pre, const float *add, int64_t n,
                         enum activation a) {
#define ACTIVATE(value)                                                                           \
  if (add)                                                                                        \
    EACH_VECTOR(n, vf x = get(pre + i, part); put(out + i, (value) + get(add + i, part), part);); \
  else                                                                                            \
    EACH_VECTOR(n, vf x = get(pre + i, part); put(out + i, (value), part););                      \
  break
  switch (a) {
    case ACTIVATION_NONE: ACTIVATE(x);
    case ACTIVATION_GELU: ACTIVATE(gelu(x));
    case ACTIVATION_GELU_TANH: ACTIVATE(gelu_tanh(x));
  }
#undef ACTIVATE
}

static void row_activate_grad(float *dx, const float *pre, int64_t n, enum activation a) {
  switch (a) {
    case ACTIVATION_NONE: break;
    case ACTIVATION_GELU:
      EACH_VECTOR(n, put(dx + i, get(dx + i, part) * gelu_slope(get(pre + i, part)), part););
      break;
    case ACTIVATION_GELU_TANH:
      EACH_VECTOR(n, put(dx + i, get(dx + i, part) * gelu_tanh_slope(get(pre + i, part)), part););
      break;
  }
}

static void row_scale(float *x, int64_t n, float factor) {
  const vf f = vf_set(factor);
  EACH_VECTOR(n, put(x + i, get(x + i, part) * f, part););
}

/* The greatest of n values; NaN only when the first is. A NaN elsewhere reaches the sum. */
INLINE float greatest(const float *x, int64_t n) {
  vf most = vf_set(x[0]);
  int64_t i = 0;
  for (; i + VL <= n; i += VL)
    most = vf_max(vf_load(x + i), most);
  float result = vf_greatest(most);
  for (; i < n; i++)
    result = x[i] > result ? x[i] : result;
  return result;
}

static float row_exp(float *x, int64_t n, float *most) {
  const float top = greatest(x, n);
  vf sum = vf_set(0);
  float tail = 0;
  int64_t i = 0;
  for (; i + VL <= n; i += VL) {
    vf e = vf_exp(vf_load(x + i) - vf_set(top));
    vf_store(x + i, e);
    sum += e;
  }
  if (i < n) {
    vf_store_part(x + i, vf_exp(vf_load_part(x + i, n - i) - vf_set(top)), n - i);
    for (; i < n; i++)
      tail += x[i];
  }
  *most = top;
  return vf_sum(sum) + tail;
}

static void swiglu(float *out, const float *gate, const float *up, int64_t n) {
  EACH_VECTOR(n, vf g = get(gate + i, part);
              put(out + i, g * sigmoid(g) * get(up + i, part), part););
}

/* silu' = s (1 + g (1 - s)) */
static void swiglu_grad(float *dgate, float *dup, const float *dout, const float *gate,
                        const float *up, int64_t n) {
  EACH_VECTOR(n, vf g = get(gate + i, part); vf u = get(up + i, part); vf d = get(dout + i, part);
              vf s = sigmoid(g); put(dup + i, d * g * s, part);
              put(dgate + i, d * u * s * vf_fma(g, vf_set(1) - s, vf_set(1)), part););
}

static void adamw(const struct isa_adamw *a, float *p, const float *g, float *m, float *v,
                  int64_t n) {
  const vf beta1 = vf_set(a->beta1);
  const vf rest1 = vf_set(a->rest1);
  const vf beta2 = vf_set(a->beta2);
  const vf rest2 = vf_set(a->rest2);
  const vf grad_scale = vf_set(a->grad_scale);
  const vf variance = vf_set(a->variance);
  const vf eps = vf_set(a->eps);
  const vf rate = vf_set(a->rate);
  const vf keep = vf_set(a->keep);
  EACH_VECTOR(n, vf d = get(g + i, part) * grad_scale;
              vf mean = vf_fma(beta1, get(m + i, part), rest1 * d);
              vf square = vf_fma(beta2, get(v + i, part), rest2 * d * d); put(m + i, mean, part);
              put(v + i, square, part); vf move = rate * mean / (vf_sqrt(square * variance) + eps);
              put(p + i, vf_fma(keep, get(p + i, part), -move), part););
}

INLINE vd widen(const float *p) {
  vf_half h;
  memcpy(&h, p, sizeof h);
  return __builtin_convertvector(h, vd);
}

static double sum_squares(const float *x, int64_t n) {
  vd low = {0};
  vd high = {0};
  int64_t i = 0;
  for (; i + VL <= n; i += VL) {
    vd a = widen(x + i);
    vd b = widen(x + i + VL / 2);
    low += a * a;
    high += b * b;
  }
  double sum = 0;
  low += high;
  for (int lane = 0; lane < VL / 2; lane++)
    sum += low[lane];
  for (; i < n; i++)
    sum += (double)x[i] * (double)x[i];
  return sum;
}

static void column_sum(float *out, const float *x, int64_t rows, int64_t stride, int64_t n,
                       bool accumulate) {
  enum { WIDE = 4 }; /* vectors side by side, so that a row's visit uses whole cache lines */
  int64_t j = 0;
  for (; j + WIDE * VL <= n; j += WIDE * VL) {
    vf sum[WIDE];
    UNROLL for (int c = 0; c < WIDE; c++) sum[c] =
        accumulate ? vf_load(out + j + c * VL) : vf_set(0);
    for (int64_t r = 0; r < rows; r++)
      UNROLL for (int c = 0; c < WIDE; c++) sum[c] += vf_load(x + r * stride + j + c * VL);
    UNROLL for (int c = 0; c < WIDE; c++) vf_store(out + j + c * VL, sum[c]);
  }
  for (; j < n; j += VL) {
    const int64_t part = n - j < VL ? n - j : VL;
    vf sum = accumulate ? get(out + j, part) : vf_set(0);
    for (int64_t r = 0; r < rows; r++)
      sum += get(x + r * stride + j, part);
    put(out + j, sum, part);
  }
}

static void row_of_exp(float *x, int64_t n) {
  EACH_VECTOR(n, put(x + i, vf_exp(get(x + i, part)), part););
}

static void row_of_erf(float *x, int64_t n) {
  EACH_VECTOR(n, put(x + i, vf_erf(get(x + i, part)), part););
}

const struct isa_pointwise ISA_NAME(isa_pointwise) = {
    .row_start = row_start,
    .row_activate = row_activate,
    .row_activate_grad = row_activate_grad,
    .row_scale = row_scale,
    .row_exp = row_exp,
    .swiglu = swiglu,
    .swiglu_grad = swiglu_grad,
    .adamw = adamw,
    .sum_squares = sum_squares,
    .column_sum = column_sum,
    .exp = row_of_exp,
    .erf = row_of_erf,
};
