#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/engine_check.h"
#include "proto/base/claim.h"

enum { VALUES_PER_ITEM = 1 << 15 }; /* four arrays: half a megabyte */

struct adamw_job {
  struct cpu *cpu;
  const struct adamw_args *a;
  struct isa_adamw numbers;
};

static void adamw_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct adamw_job *job = context;
  const struct adamw_args *a = job->a;
  const int64_t at = item * VALUES_PER_ITEM;
  job->cpu->isa->pointwise->adamw(&job->numbers, (float *)a->p + at, (const float *)a->g + at,
                                  (float *)a->m + at, (float *)a->v + at,
                                  cpu_least(VALUES_PER_ITEM, a->count - at));
}

void cpu_adamw(struct engine *e, const struct adamw_args *a) {
  engine_check_adamw(a);
  CLAIM(!a->master);
  struct adamw_job job = {.cpu = cpu_of(e), .a = a};
  job.numbers = (struct isa_adamw){
      .beta1 = (float)a->beta1,
      .rest1 = (float)(1 - a->beta1),
      .beta2 = (float)a->beta2,
      .rest2 = (float)(1 - a->beta2),
      .eps = (float)a->eps,
      .grad_scale = (float)a->grad_scale,
      .rate = (float)(a->lr / (1 - pow(a->beta1, (double)a->step))),
      .variance = (float)(1 / (1 - pow(a->beta2, (double)a->step))),
      .keep = (float)(1 - a->lr * a->decay),
  };
  io_pool_run(job.cpu->pool, cpu_ceil_div(a->count, VALUES_PER_ITEM), adamw_item, &job);
}
