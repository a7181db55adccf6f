#include <math.h>

#include "kernels/ref/ref.h"
#include "proto/base/claim.h"

static const double pi = 3.14159265358979323846;

double ref_activation(enum activation a, double x) {
  switch (a) {
    case ACTIVATION_NONE: return x;
    case ACTIVATION_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACTIVATION_GELU_TANH:
      return 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
  }
  CLAIM(!"an activation of the list");
  return 0;
}

double ref_activation_slope(enum activation a, double x) {
  switch (a) {
    case ACTIVATION_NONE: return 1;
    case ACTIVATION_GELU:
      return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-0.5 * x * x) / sqrt(2 * pi);
    case ACTIVATION_GELU_TANH: {
      double t = tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x));
      double inner_slope = sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x);
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner_slope;
    }
  }
  CLAIM(!"an activation of the list");
  return 0;
}

void ref_activate(struct engine *e, void *out, const void *pre, int64_t count, enum activation a) {
  (void)e;
  for (int64_t i = 0; i < count; i++)
    ((double *)out)[i] = ref_activation(a, ((const double *)pre)[i]);
}

static double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

void ref_swiglu(struct engine *e, void *out, const void *gate_up, int64_t M, int64_t F) {
  (void)e;
  for (int64_t m = 0; m < M; m++) {
    const double *gate = (const double *)gate_up + m * 2 * F, *up = gate + F;
    for (int64_t f = 0; f < F; f++)
      ((double *)out)[m * F + f] = gate[f] * sigmoid(gate[f]) * up[f];
  }
}

/* silu'(g) = σ(g) (1 + g (1 - σ(g))). Each pair is read before it is written, so that dgate_up may
 * be gate_up. */
void ref_swiglu_grad(struct engine *e, void *dgate_up, const void *dout, const void *gate_up,
                     int64_t M, int64_t F) {
  (void)e;
  for (int64_t m = 0; m < M; m++) {
    const double *gate_row = (const double *)gate_up + m * 2 * F, *up_row = gate_row + F;
    double *dgate = (double *)dgate_up + m * 2 * F, *dup = dgate + F;
    for (int64_t f = 0; f < F; f++) {
      double gate = gate_row[f], up = up_row[f], s = sigmoid(gate);
      double d = ((const double *)dout)[m * F + f];
      dgate[f] = d * up * s * (1 + gate * (1 - s));
      dup[f] = d * gate * s;
    }
  }
}

void ref_add(struct engine *e, void *out, const void *a, const void *b, int64_t count) {
  (void)e;
  for (int64_t i = 0; i < count; i++)
    ((double *)out)[i] = ((const double *)a)[i] + ((const double *)b)[i];
}
