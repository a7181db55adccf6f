#include <cblas.h>
#include <limits.h>

#include "kernels/cpu/cpu.h"
#include "proto/base/claim.h"

/* The dimensions of Debian's OpenBLAS are int. A single product that passes that would be a hundred
 * times larger than anything SHAPE_…_MAX and the chunking of the ops lead to. */
static blasint narrow(int64_t n) {
  CLAIM(n <= INT_MAX);
  return (blasint)n;
}

void cpu_product_open(void) {
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
