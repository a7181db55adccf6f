#include <math.h>

#include "kernels/engine_check.h"
#include "kernels/ref/ref.h"
#include "proto/base/claim.h"

/* The loss of row m; p becomes the softmax of its logits. */
static double head_row(const struct head_args *a, int64_t m, double *p) {
  const double *h = (const double *)a->h + m * a->C, *w = a->w;
  double most = -INFINITY, sum = 0;
  for (int64_t v = 0; v < a->V; v++) {
    p[v] = 0;
    for (int64_t c = 0; c < a->C; c++)
      p[v] += h[c] * w[v * a->C + c];
    most = fmax(most, p[v]);
  }
  double target_logit = p[a->targets[m]];
  for (int64_t v = 0; v < a->V; v++)
    sum += exp(p[v] - most);
  double lse = most + log(sum);
  for (int64_t v = 0; v < a->V; v++)
    p[v] = exp(p[v] - most) / sum;
  return lse - target_logit;
}

/* Add row m's part to the gradients; p is its softmax. */
static void head_row_grad(const struct head_args *a, int64_t m, const double *p) {
  const double *h = (const double *)a->h + m * a->C, *w = a->w;
  double *dh = (double *)a->dh + m * a->C, *dw = a->dw;
  for (int64_t v = 0; v < a->V; v++) {
    double dlogit = a->grad_scale * (p[v] - (v == a->targets[m] ? 1 : 0));
    for (int64_t c = 0; c < a->C; c++) {
      dh[c] += dlogit * w[v * a->C + c];
      dw[v * a->C + c] += dlogit * h[c];
    }
  }
}

void ref_head(struct engine *e, const struct head_args *a) {
  engine_check_head(a);
  double *p = ref_scratch(e, a->V), *loss = a->loss;
  for (int64_t i = 0; a->dh && i < a->M * a->C; i++)
    ((double *)a->dh)[i] = 0;
  for (int64_t i = 0; a->dw && !a->dw_accumulate && i < a->V * a->C; i++)
    ((double *)a->dw)[i] = 0;
  for (int64_t m = 0; m < a->M; m++) {
    loss[m] = 0;
    CLAIM(a->targets[m] < a->V);
    if (a->targets[m] < 0)
      continue;
    loss[m] = head_row(a, m, p);
    if (a->dh)
      head_row_grad(a, m, p);
  }
}

void ref_embed(struct engine *e, void *out, const void *table, const int32_t *tokens, int64_t M,
               int64_t C, int64_t V) {
  (void)e;
  for (int64_t m = 0; m < M; m++) {
    CLAIM(tokens[m] >= 0 && tokens[m] < V);
    for (int64_t c = 0; c < C; c++)
      ((double *)out)[m * C + c] = ((const double *)table)[tokens[m] * C + c];
  }
}

void ref_embed_grad(struct engine *e, void *dtable, const void *dout, const int32_t *tokens,
                    int64_t M, int64_t C, int64_t V, bool accumulate) {
  (void)e;
  for (int64_t i = 0; !accumulate && i < V * C; i++)
    ((double *)dtable)[i] = 0;
  for (int64_t m = 0; m < M; m++) {
    CLAIM(tokens[m] >= 0 && tokens[m] < V);
    for (int64_t c = 0; c < C; c++)
      ((double *)dtable)[tokens[m] * C + c] += ((const double *)dout)[m * C + c];
  }
}
