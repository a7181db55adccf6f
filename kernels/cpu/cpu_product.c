#include <cblas.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "kernels/cpu/cpu.h"
#include "proto/base/claim.h"

/* OpenBLAS 0.3.21 gives Zen 4 its AVX-512 kernels, but that processor does 512 bits in two halves,
 * and the AVX2 kernels ("Haswell") are 3 to 7 % faster on it: 105 to 109 against 98 to 104 GFLOP/s
 * a core on the products of a small transformer (kernels/SPEED.md). The choice is made when the
 * library is loaded, from OPENBLAS_CORETYPE; these two functions of its builds for many processors
 * make it again. Weak, so that a build for one processor links too. */
void gotoblas_dynamic_quit(void) __attribute__((weak));
void gotoblas_dynamic_init(void) __attribute__((weak));

static bool halves_avx512(void) {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d) || b != signature_AMD_ebx || c != signature_AMD_ecx)
    return false;
  if (!__get_cpuid(1, &a, &b, &c, &d))
    return false;
  const unsigned family = (a >> 8 & 15) + (a >> 20 & 255);
  return family == 0x19 && __builtin_cpu_supports("avx512f"); /* Zen 3 and 4; only 4 has it */
#else
  return false;
#endif
}

static void choose_kernels(void) {
  static const char name[] = "OPENBLAS_CORETYPE";
  const bool can = gotoblas_dynamic_quit && gotoblas_dynamic_init;
  if (getenv(name) || !can || !halves_avx512() || setenv(name, "Haswell", 1) != 0)
    return;
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
  unsetenv(name);
}

/* The dimensions of Debian's OpenBLAS are int. A single product that passes that would be a hundred
 * times larger than anything SHAPE_…_MAX and the chunking of the ops lead to. */
static blasint narrow(int64_t n) {
  CLAIM(n <= INT_MAX);
  return (blasint)n;
}

void cpu_product_open(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, choose_kernels);
  openblas_set_num_threads(1);
}

void cpu_product_nt(int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float beta, float *c, int64_t ldc) {
  /* One row is a generated token: sgemm would pack all of b, which is the whole cost. */
  if (M == 1)
    cblas_sgemv(CblasRowMajor, CblasNoTrans, narrow(N), narrow(K), 1, b, narrow(ldb), a, 1, beta, c,
                1);
  else
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, narrow(M), narrow(N), narrow(K), 1, a,
                narrow(lda), b, narrow(ldb), beta, c, narrow(ldc));
}

void cpu_product_nn(int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float beta, float *c, int64_t ldc) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, narrow(M), narrow(N), narrow(K), 1, a,
              narrow(lda), b, narrow(ldb), beta, c, narrow(ldc));
}

void cpu_product_tn(int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float beta, float *c, int64_t ldc) {
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, narrow(M), narrow(N), narrow(K), 1, a,
              narrow(lda), b, narrow(ldb), beta, c, narrow(ldc));
}
