#include <math.h>

#include "kernels/engine_check.h"
#include "kernels/ref/ref.h"
#include "proto/base/claim.h"

void ref_adamw(struct engine *e, const struct adamw_args *a) {
  (void)e;
  engine_check_adamw(a);
  CLAIM(!a->master); /* p is f64 itself */
  double *p = a->p, *m = a->m, *v = a->v;
  double m_share = 1 - pow(a->beta1, (double)a->step), v_share = 1 - pow(a->beta2, (double)a->step);
  for (int64_t i = 0; i < a->count; i++) {
    double g = a->grad_scale * ((const double *)a->g)[i];
    m[i] = a->beta1 * m[i] + (1 - a->beta1) * g;
    v[i] = a->beta2 * v[i] + (1 - a->beta2) * g * g;
    p[i] -= a->lr * (m[i] / m_share / (sqrt(v[i] / v_share) + a->eps) + a->decay * p[i]);
  }
}

double ref_sum_squares(struct engine *e, const void *x, int64_t count) {
  (void)e;
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += ((const double *)x)[i] * ((const double *)x)[i];
  return sum;
}
