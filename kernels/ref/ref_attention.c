#include <math.h>

#include "kernels/engine_check.h"
#include "kernels/ref/ref.h"

void ref_rope(struct engine *e, const struct rope_args *a) {
  (void)e;
  engine_check_rope(a);
  for (int64_t m = 0; m < a->B * a->T; m++) {
    int64_t position = a->position + m % a->T;
    const double *turns = (const double *)a->table + position * a->R;
    for (int64_t h = 0; h < a->heads; h++) {
      double *x = (double *)a->x + m * a->row_stride + h * a->head_stride;
      for (int64_t i = 0; i < a->R / 2; i++) {
        double cosine = turns[2 * i], sine = a->inverse ? -turns[2 * i + 1] : turns[2 * i + 1];
        double first = x[i], second = x[i + a->R / 2];
        x[i] = first * cosine - second * sine;
        x[i + a->R / 2] = second * cosine + first * sine;
      }
    }
  }
}

static double dot(const double *a, const double *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += a[i] * b[i];
  return sum;
}

/* Where a head of a token starts, in elements. */
static int64_t q_at(const struct attention_args *a, int64_t b, int64_t t, int64_t h) {
  return (b * a->T + t) * a->q_row + h * a->q_head;
}
static int64_t kv_at(const struct attention_args *a, int64_t b, int64_t s, int64_t h) {
  return (b * a->S + s) * a->kv_row + h / (a->H / a->HK) * a->kv_head;
}
static int64_t o_at(const struct attention_args *a, int64_t b, int64_t t, int64_t h) {
  return ((b * a->T + t) * a->H + h) * a->D;
}
static int64_t lse_at(const struct attention_args *a, int64_t b, int64_t t, int64_t h) {
  return (b * a->H + h) * a->T + t;
}

/* One query of one head. */
static void attend(const struct attention_args *a, double *scores, int64_t b, int64_t t,
                   int64_t h) {
  const double *q = (const double *)a->q + q_at(a, b, t, h);
  double *o = (double *)a->o + o_at(a, b, t, h);
  int64_t seen = t + (a->S - a->T) + 1;
  double most = -INFINITY, sum = 0;
  for (int64_t s = 0; s < seen; s++) {
    scores[s] = a->scale * dot(q, (const double *)a->k + kv_at(a, b, s, h), a->D);
    most = fmax(most, scores[s]);
  }
  for (int64_t s = 0; s < seen; s++)
    sum += exp(scores[s] - most);
  double lse = most + log(sum);
  for (int64_t d = 0; d < a->D; d++)
    o[d] = 0;
  for (int64_t s = 0; s < seen; s++) {
    const double *v = (const double *)a->v + kv_at(a, b, s, h);
    for (int64_t d = 0; d < a->D; d++)
      o[d] += exp(scores[s] - most) / sum * v[d];
  }
  ((double *)a->lse)[lse_at(a, b, t, h)] = lse;
}

void ref_attention(struct engine *e, const struct attention_args *a) {
  engine_check_attention(a);
  double *scores = ref_scratch(e, a->S);
  for (int64_t b = 0; b < a->B; b++)
    for (int64_t t = 0; t < a->T; t++)
      for (int64_t h = 0; h < a->H; h++)
        attend(a, scores, b, t, h);
}

/* One query's part of the gradients. With p = softmax, and its gradient dp = dout · v:
 *   dscore = p (dp - Σ p dp),  where Σ p dp = dout · o
 *   dq += scale dscore k    dk += scale dscore q    dv += p dout */
static void attend_grad(const struct attention_grad_args *g, int64_t b, int64_t t, int64_t h) {
  const struct attention_args *a = &g->forward;
  const double *q = (const double *)a->q + q_at(a, b, t, h);
  const double *dout = (const double *)g->dout + o_at(a, b, t, h);
  double *dq = (double *)g->dq + q_at(a, b, t, h);
  double lse = ((const double *)a->lse)[lse_at(a, b, t, h)];
  double p_dp = dot(dout, (const double *)a->o + o_at(a, b, t, h), a->D);
  for (int64_t s = 0; s <= t; s++) {
    const double *k = (const double *)a->k + kv_at(a, b, s, h);
    double *dk = (double *)g->dk + kv_at(a, b, s, h), *dv = (double *)g->dv + kv_at(a, b, s, h);
    double p = exp(a->scale * dot(q, k, a->D) - lse);
    double dp = dot(dout, (const double *)a->v + kv_at(a, b, s, h), a->D);
    double dscore = p * (dp - p_dp);
    for (int64_t d = 0; d < a->D; d++) {
      dq[d] += a->scale * dscore * k[d];
      dk[d] += a->scale * dscore * q[d];
      dv[d] += p * dout[d];
    }
  }
}

void ref_attention_grad(struct engine *e, const struct attention_grad_args *g) {
  (void)e;
  engine_check_attention_grad(g);
  const struct attention_args *a = &g->forward;
  for (int64_t b = 0; b < a->B; b++)
    for (int64_t t = 0; t < a->T; t++)
      for (int64_t h = 0; h < a->H; h++)
        for (int64_t d = 0; d < a->D; d++) {
          ((double *)g->dq)[q_at(a, b, t, h) + d] = 0;
          ((double *)g->dk)[kv_at(a, b, t, h) + d] = 0;
          ((double *)g->dv)[kv_at(a, b, t, h) + d] = 0;
        }
  for (int64_t b = 0; b < a->B; b++)
    for (int64_t t = 0; t < a->T; t++)
      for (int64_t h = 0; h < a->H; h++)
        attend_grad(g, b, t, h);
}
