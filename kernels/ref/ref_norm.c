#include <math.h>

#include "kernels/engine_check.h"
#include "kernels/ref/ref.h"

void ref_norm(struct engine *e, const struct norm_args *a) {
  (void)e;
  engine_check_norm(a);
  const double *w = a->w, *b = a->b;
  bool layer = a->kind == NORM_LAYER;
  for (int64_t m = 0; m < a->M; m++) {
    const double *x = (const double *)a->x + m * a->C;
    double *y = (double *)a->y + m * a->C;
    double mean = 0, square = 0;
    for (int64_t c = 0; c < a->C && layer; c++)
      mean += x[c] / (double)a->C;
    for (int64_t c = 0; c < a->C; c++)
      square += (x[c] - mean) * (x[c] - mean) / (double)a->C;
    double rstd = 1 / sqrt(square + a->eps);
    for (int64_t c = 0; c < a->C; c++)
      y[c] = (x[c] - mean) * rstd * w[c] + (layer ? b[c] : 0);
    if (layer)
      ((double *)a->mean)[m] = mean;
    ((double *)a->rstd)[m] = rstd;
  }
}

/* With n = (x - mean) rstd and g = dy w:
 *   dx = rstd (g - average(g) - n average(g n))     average(g) is absent from RMSNorm */
static void norm_grad_input(const struct norm_grad_args *a) {
  const double *w = a->w;
  bool layer = a->kind == NORM_LAYER;
  for (int64_t m = 0; m < a->M; m++) {
    const double *dy = (const double *)a->dy + m * a->C, *x = (const double *)a->x + m * a->C;
    double *dx = (double *)a->dx + m * a->C;
    double mean = layer ? ((const double *)a->mean)[m] : 0, rstd = ((const double *)a->rstd)[m];
    double g_average = 0, gn_average = 0;
    for (int64_t c = 0; c < a->C; c++) {
      g_average += layer ? dy[c] * w[c] / (double)a->C : 0;
      gn_average += dy[c] * w[c] * (x[c] - mean) * rstd / (double)a->C;
    }
    for (int64_t c = 0; c < a->C; c++) {
      double n = (x[c] - mean) * rstd;
      double d = rstd * (dy[c] * w[c] - g_average - n * gn_average);
      dx[c] = d + (a->dx_accumulate ? dx[c] : 0);
    }
  }
}

void ref_norm_grad(struct engine *e, const struct norm_grad_args *a) {
  (void)e;
  engine_check_norm_grad(a);
  norm_grad_input(a);
  bool layer = a->kind == NORM_LAYER;
  const double *dy = a->dy, *x = a->x, *mean = a->mean, *rstd = a->rstd;
  double *dw = a->dw, *db = a->db;
  for (int64_t c = 0; c < a->C; c++) {
    double w_sum = 0, b_sum = 0;
    for (int64_t m = 0; m < a->M; m++) {
      w_sum += dy[m * a->C + c] * (x[m * a->C + c] - (layer ? mean[m] : 0)) * rstd[m];
      b_sum += dy[m * a->C + c];
    }
    dw[c] = w_sum + (a->dw_accumulate ? dw[c] : 0);
    if (layer)
      db[c] = b_sum + (a->dw_accumulate ? db[c] : 0);
  }
}
