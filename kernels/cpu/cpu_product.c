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

/* Our own products are 5 to 10 % faster than OpenBLAS' here, except where the left side's rows are
 * a multiple of 4 KiB apart: then all that a block of sums reads falls into the same few sets of
 * the caches. Then, and for few rows, where packing is most of the work, it is OpenBLAS' turn. */
enum { DEPTH_MAX = 2048, OWN_ROWS_MIN = 64, BAD_STRIDE = 1024 };

int64_t cpu_product_scratch(const struct cpu *c) {
  return DEPTH_MAX * c->isa->product->panel;
}

bool cpu_product_is_own(const struct cpu *c, int64_t rows, int64_t lda, bool turned) {
  return (turned ? c->isa->turned_is_fast : c->isa->product_is_fast) && rows >= OWN_ROWS_MIN &&
         lda % BAD_STRIDE != 0;
}

/* How the sides lie: value (m, k) of a at a[m · lda + k], or turned at a[k · lda + m]; value (k, n)
 * of b at b[k · ldb + n], or transposed at b[n · ldb + k]. */
struct sides {
  const float *a, *b;
  int64_t lda, ldb;
  bool turned, transposed;
};

static void own_product(const struct cpu *c, int thread, int64_t M, int64_t N, int64_t K,
                        const struct sides *s, bool accumulate, float *to, int64_t ldc) {
  const struct isa_product *vector = c->isa->product;
  CLAIM(c->panels);
  float *panel = c->panels + thread * cpu_product_scratch(c);
  for (int64_t n = 0; n < N; n += vector->panel) {
    const int64_t columns = cpu_least(vector->panel, N - n);
    for (int64_t k = 0; k < K; k += DEPTH_MAX) {
      const int64_t depth = cpu_least(DEPTH_MAX, K - k);
      if (s->transposed)
        vector->pack_transposed(panel, s->b + n * s->ldb + k, s->ldb, columns, depth);
      else
        vector->pack(panel, s->b + k * s->ldb + n, s->ldb, columns, depth);
      vector->multiply(to + n, ldc, s->turned ? s->a + k * s->lda : s->a + k, s->lda, s->turned,
                       panel, M, columns, depth, accumulate || k > 0);
    }
  }
}

void cpu_product_nt(const struct cpu *c, int thread, int64_t M, int64_t N, int64_t K,
                    const float *a, int64_t lda, const float *b, int64_t ldb, bool accumulate,
                    float *to, int64_t ldc) {
  const float beta = accumulate ? 1 : 0;
  if (cpu_product_is_own(c, M, lda, false))
    own_product(c, thread, M, N, K, &(struct sides){a, b, lda, ldb, false, true}, accumulate, to,
                ldc);
  else if (M == 1) /* a generated token: sgemm would pack all of b, which is the whole cost */
    cblas_sgemv(CblasRowMajor, CblasNoTrans, narrow(N), narrow(K), 1, b, narrow(ldb), a, 1, beta,
                to, 1);
  else
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, narrow(M), narrow(N), narrow(K), 1, a,
                narrow(lda), b, narrow(ldb), beta, to, narrow(ldc));
}

void cpu_product_nn(const struct cpu *c, int thread, int64_t M, int64_t N, int64_t K,
                    const float *a, int64_t lda, const float *b, int64_t ldb, bool accumulate,
                    float *to, int64_t ldc) {
  if (cpu_product_is_own(c, M, lda, false))
    own_product(c, thread, M, N, K, &(struct sides){a, b, lda, ldb, false, false}, accumulate, to,
                ldc);
  else
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, narrow(M), narrow(N), narrow(K), 1, a,
                narrow(lda), b, narrow(ldb), accumulate ? 1 : 0, to, narrow(ldc));
}

void cpu_product_tn(const struct cpu *c, int thread, int64_t M, int64_t N, int64_t K,
                    const float *a, int64_t lda, const float *b, int64_t ldb, bool accumulate,
                    float *to, int64_t ldc) {
  if (cpu_product_is_own(c, M, lda, true))
    own_product(c, thread, M, N, K, &(struct sides){a, b, lda, ldb, true, false}, accumulate, to,
                ldc);
  else
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, narrow(M), narrow(N), narrow(K), 1, a,
                narrow(lda), b, narrow(ldb), accumulate ? 1 : 0, to, narrow(ldc));
}
