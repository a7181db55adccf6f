/* isa_vector: one vector of f32 as wide as the instruction set that a file is compiled for.
 *
 *   vf sum = vf_set(0);
 *   for (i = 0; i + VL <= n; i += VL) sum = vf_fma(vf_load(x + i), vf_load(y + i), sum);
 *   if (i < n) sum = vf_fma(vf_load_part(x + i, n - i), vf_load_part(y + i, n - i), sum);
 *   return vf_sum(sum);
 *
 * Only for kernels/cpu/isa_*.c, each of which the Makefile compiles once per instruction set with
 * -DISA=base, avx2, avx512. Written with the vector extensions of gcc and clang, so "base" is
 * whatever the compiler assumes (SSE2, NEON, VSX). A fused multiply-add is used where the
 * instruction set has one, so results differ between instruction sets in the last bits.
 *
 * Greatest errors, from tests/unit/test_cpu.c, against libm in double: vf_exp 1e-7 relative
 * where the result is a normal number; vf_erf 5e-7 absolute. NaN goes through all of them. */
#ifndef CARAVAN_ISA_VECTOR_H
#define CARAVAN_ISA_VECTOR_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef ISA
#error "compile with -DISA=base, avx2 or avx512"
#endif
#define ISA_JOIN2(a, b) a##_##b
#define ISA_JOIN(a, b)  ISA_JOIN2(a, b)
#define ISA_NAME(name)  ISA_JOIN(name, ISA)

#if defined(__AVX512F__)
enum { VL = 16 };
#elif defined(__AVX2__) && defined(__FMA__)
enum { VL = 8 };
#else
enum { VL = 4 };
#endif

#define INLINE static inline __attribute__((always_inline, unused))
/* Loops over accumulators must be unrolled whole, or the accumulators live in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));
typedef double vd __attribute__((vector_size(VL * 4)));     /* VL / 2 of them */
typedef float vf_half __attribute__((vector_size(VL * 2))); /* VL / 2 of them */

INLINE vf vf_load(const float *p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}

INLINE void vf_store(float *p, vf v) {
  memcpy(p, &v, sizeof v);
}

INLINE vf vf_set(float x) {
#if defined(__AVX512F__)
  return (vf)_mm512_set1_ps(x);
#elif defined(__AVX2__) && defined(__FMA__)
  return (vf)_mm256_set1_ps(x);
#else
  return (vf){x, x, x, x};
#endif
}

/* The first n values, n < VL; the others are 0. Nothing past p + n is touched. */
INLINE vf vf_load_part(const float *p, int64_t n) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  float lanes[VL] = {0};
  for (int64_t i = 0; i < n; i++)
    lanes[i] = p[i];
  return vf_load(lanes);
#endif
}

INLINE void vf_store_part(float *p, vf v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
  float lanes[VL];
  vf_store(lanes, v);
  for (int64_t i = 0; i < n; i++)
    p[i] = lanes[i];
#endif
}

INLINE vf vf_fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

INLINE vf vf_select(vi mask, vf yes, vf no) {
  return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* b where either is NaN. */
INLINE vf vf_max(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__) && defined(__FMA__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return vf_select(a > b, a, b);
#endif
}

INLINE vf vf_sqrt(vf x) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__) && defined(__FMA__)
  return (vf)_mm256_sqrt_ps((__m256)x);
#else
  vf y;
  for (int i = 0; i < VL; i++)
    y[i] = __builtin_sqrtf(x[i]);
  return y;
#endif
}

/* Lanes are added as a tree, halves onto halves. */
INLINE float vf_sum(vf v) {
  float lanes[VL];
  vf_store(lanes, v);
  for (int width = VL / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++)
      lanes[i] += lanes[i + width];
  return lanes[0];
}

INLINE float vf_greatest(vf v) {
  float lanes[VL];
  vf_store(lanes, v);
  for (int width = VL / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++)
      lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  return lanes[0];
}

/* e^x. Below -87.3 (the smallest normal number) 0; above 88.7 the greatest finite result, not
 * infinity. Reduction to |r| <= ln2 / 2 and the polynomial of Cephes' expf (S. Moshier). */
INLINE vf vf_exp(vf x) {
  const vf magic = vf_set(12582912.0f); /* 1.5 · 2^23: adding it rounds to an integer */
  vi tiny = x < vf_set(-87.33654f);
  x = vf_select(x > vf_set(88.7228f), vf_set(88.7228f), x);
  vf shifted = vf_fma(x, vf_set(1.44269504f), magic);
  vf n = shifted - magic;
  vf r = vf_fma(n, vf_set(-0.693359375f), x);
  r = vf_fma(n, vf_set(2.12194440e-4f), r);
  vf p = vf_set(1.9875691500e-4f);
  p = vf_fma(p, r, vf_set(1.3981999507e-3f));
  p = vf_fma(p, r, vf_set(8.3334519073e-3f));
  p = vf_fma(p, r, vf_set(4.1665795894e-2f));
  p = vf_fma(p, r, vf_set(1.6666665459e-1f));
  p = vf_fma(p, r, vf_set(5.0000001201e-1f));
  p = vf_fma(p, r * r, r) + vf_set(1.0f);
  /* The low bits of `shifted` are n; unsigned, because the sum wraps where `tiny` discards it. */
  vf y = (vf)((vu)p + ((vu)shifted << 23));
  return vf_select(tiny, vf_set(0), y);
}

/* erf(x) = x P(x²) / Q(x²) on |x| <= 4, beyond which it is ±1 in f32: the rational function of
 * Eigen's generic_fast_erf (and XLA's), whose coefficients are minimax in f32. */
INLINE vf vf_erf(vf x) {
  x = vf_select(x > vf_set(4.0f), vf_set(4.0f), x);
  x = vf_select(x < vf_set(-4.0f), vf_set(-4.0f), x);
  vf s = x * x;
  vf p = vf_set(-2.72614225801306e-10f);
  p = vf_fma(p, s, vf_set(2.77068142495902e-08f));
  p = vf_fma(p, s, vf_set(-2.10102402082508e-06f));
  p = vf_fma(p, s, vf_set(-5.69250639462346e-05f));
  p = vf_fma(p, s, vf_set(-7.34990630326855e-04f));
  p = vf_fma(p, s, vf_set(-2.95459980854025e-03f));
  p = vf_fma(p, s, vf_set(-1.60960333262415e-02f));
  vf q = vf_set(-1.45660718464996e-05f);
  q = vf_fma(q, s, vf_set(-2.13374055278905e-04f));
  q = vf_fma(q, s, vf_set(-1.68282697438203e-03f));
  q = vf_fma(q, s, vf_set(-7.37332916720468e-03f));
  q = vf_fma(q, s, vf_set(-1.42647390514189e-02f));
  return x * p / q;
}

#endif
