#include <math.h>

#include "kernels/engine_check.h"
#include "kernels/ref/ref.h"

void ref_linear(struct engine *e, const struct linear_args *a) {
  (void)e;
  engine_check_linear(a);
  const double *x = a->x, *w = a->w, *bias = a->bias, *add = a->add;
  double *pre = a->pre, *out = a->out;
  for (int64_t m = 0; m < a->M; m++) {
    for (int64_t n = 0; n < a->N; n++) {
      double sum = bias ? bias[n] : 0;
      for (int64_t k = 0; k < a->K; k++)
        sum += x[m * a->K + k] * w[n * a->K + k];
      if (pre)
        pre[m * a->N + n] = sum;
      out[m * a->N + n] = ref_activation(a->activation, sum) + (add ? add[m * a->N + n] : 0);
    }
  }
}

static void linear_grad_input(const struct linear_grad_args *a) {
  const double *dout = a->dout, *w = a->w, *pre = a->pre;
  double *dx = a->dx;
  for (int64_t m = 0; m < a->M; m++) {
    for (int64_t k = 0; k < a->K; k++) {
      double sum = 0;
      for (int64_t n = 0; n < a->N; n++)
        sum += dout[m * a->N + n] * w[n * a->K + k];
      if (a->activation != ACTIVATION_NONE)
        sum *= ref_activation_slope(a->activation, pre[m * a->K + k]);
      dx[m * a->K + k] = sum + (a->dx_accumulate ? dx[m * a->K + k] : 0);
    }
  }
}

static void linear_grad_weight(const struct linear_grad_args *a) {
  const double *dout = a->dout, *x = a->x;
  double *dw = a->dw;
  for (int64_t n = 0; n < a->N; n++) {
    for (int64_t k = 0; k < a->K; k++) {
      double sum = 0;
      for (int64_t m = 0; m < a->M; m++)
        sum += dout[m * a->N + n] * x[m * a->K + k];
      dw[n * a->K + k] = sum + (a->dw_accumulate ? dw[n * a->K + k] : 0);
    }
  }
}

static void linear_grad_bias(const struct linear_grad_args *a) {
  const double *dout = a->dout;
  double *db = a->db;
  for (int64_t n = 0; n < a->N; n++) {
    double sum = 0;
    for (int64_t m = 0; m < a->M; m++)
      sum += dout[m * a->N + n];
    db[n] = sum + (a->dw_accumulate ? db[n] : 0);
  }
}

void ref_linear_grad(struct engine *e, const struct linear_grad_args *a) {
  (void)e;
  engine_check_linear_grad(a);
  if (a->dx)
    linear_grad_input(a);
  if (a->dw)
    linear_grad_weight(a);
  if (a->db)
    linear_grad_bias(a);
}
