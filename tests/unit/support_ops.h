/* support_ops: run one op on every engine of this machine and compare with the reference.
 *
 *   static void run_add(struct ops_run *r, const void *params) {
 *     const int64_t *count = params;
 *     float *a = ops_input(r, *count, 1), *b = ops_input(r, *count, 1);
 *     void *out = ops_output(r, "out", *count);
 *     r->e->ops->add(r->e, out, a, b, *count);
 *   }
 *   ops_agree("add", run_add, &count, &shapes);     // fails the cmocka test that calls it
 *
 * The function is called once on the reference and twice on every other engine: what it registers
 * must be near the reference's and the same bits both times. Inputs are the same on every engine:
 * drawn from a fixed stream, rounded to the narrowest type that takes part. Outputs begin as NaN,
 * every tensor has guards on both sides that must still be there afterwards, and every third tensor
 * only is 64-byte aligned. A new engine is a line in ops_engines_open. */
#ifndef CARAVAN_SUPPORT_OPS_H
#define CARAVAN_SUPPORT_OPS_H

#include "kernels/engine.h"
#include "proto/base/prng.h"

enum { OPS_ENGINES_MAX = 24, OPS_TENSORS_MAX = 32, OPS_LABEL_BYTES = 64 };

struct ops_tensor {
  const char *name; /* NULL: an input, not compared */
  void *block, *at; /* with guards, without */
  enum dtype type;
  int64_t count, guard;
  double loose, floor; /* as the run's when it was made */
  double *result;
};

struct ops_run {
  struct engine *e;
  struct prng random;
  /* For the outputs made from now on: a factor of the tolerance where the op's condition is bad
   * (starts at 1), and a difference that does not matter (starts at 0). */
  double loose, floor;
  bool poisoned; /* an input is not finite: only where the reference is not finite is compared */
  struct ops_tensor tensors[OPS_TENSORS_MAX];
  int count;
};

/* Open the engines: reference first. A machine without some engine has a shorter list. */
void ops_engines_open(void);
void ops_engines_close(void);
int ops_engine_count(void); /* without the reference */

void ops_agree(const char *name, void (*run)(struct ops_run *r, const void *params),
               const void *params, const struct shapes *most);
/* The same on one engine only (the last), for what takes long or much memory. */
void ops_agree_once(const char *name, void (*run)(struct ops_run *r, const void *params),
                    const void *params, const struct shapes *most);

/* Tensors of the engine's dtype (…_stat_…: its stat type), released when the run ends. */
void *ops_input(struct ops_run *r, int64_t count, double scale); /* N(0, scale²) */
void *ops_input_values(struct ops_run *r, const double *values, int64_t count);
void *ops_output(struct ops_run *r, const char *name, int64_t count); /* NaN before */
void *ops_output_from(struct ops_run *r, const char *name, int64_t count, double scale);
/* `=` or `+=`: NaN before, or random values. */
void *ops_output_maybe(struct ops_run *r, const char *name, int64_t count, bool accumulate);
void *ops_stat_output(struct ops_run *r, const char *name, int64_t count);
void *ops_stat_values(struct ops_run *r, const char *name, const double *values, int64_t count);
/* The tensor is compared under this name; for what was made as an input. */
void ops_register(struct ops_run *r, const void *at, const char *name);
void ops_poison(struct ops_run *r, const void *at, int64_t index, double with); /* NaN, ±∞ */
void *ops_at(const struct ops_run *r, void *at, int64_t elements); /* in dtype elements */
/* In [low, high). */
int32_t *ops_tokens(struct ops_run *r, int64_t count, int32_t low, int32_t high);

#endif
