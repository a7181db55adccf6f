#include "kernels/cpu/cpu.h"
#include "kernels/engine_check.h"
#include "proto/base/claim.h"

enum {
  ROWS_PER_ITEM = 32,
  /* The gradients of weights are summed in so many parts at most, each rows in order, and the parts
   * in order: the same bits for any number of threads. */
  PARTS_MAX = 64,
};

struct norm_job {
  struct cpu *cpu;
  const struct norm_args *a;
};

static void norm_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct norm_job *job = context;
  const struct norm_args *a = job->a;
  const int64_t end = cpu_least((item + 1) * ROWS_PER_ITEM, a->M);
  float *mean = a->kind == NORM_LAYER ? a->mean : NULL;
  for (int64_t m = item * ROWS_PER_ITEM; m < end; m++)
    job->cpu->isa->norm->row((float *)a->y + m * a->C, (const float *)a->x + m * a->C, a->w, a->b,
                             mean ? mean + m : NULL, (float *)a->rstd + m, a->C, (float)a->eps);
}

void cpu_norm(struct engine *e, const struct norm_args *a) {
  engine_check_norm(a);
  struct norm_job job = {.cpu = cpu_of(e), .a = a};
  io_pool_run(job.cpu->pool, cpu_ceil_div(a->M, ROWS_PER_ITEM), norm_item, &job);
}

struct norm_grad_job {
  struct cpu *cpu;
  const struct norm_grad_args *a;
  struct cpu_cut parts; /* of rows; each has 2 C values of scratch: dw, then db */
};

int64_t cpu_norm_scratch(int64_t M, int64_t C) {
  return 2 * C * cpu_cut(M, PARTS_MAX, 1, ROWS_PER_ITEM).pieces;
}

static void norm_grad_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct norm_grad_job *job = context;
  const struct norm_grad_args *a = job->a;
  const int64_t C = a->C;
  const int64_t end = cpu_least((item + 1) * job->parts.size, a->M);
  const float *mean = a->kind == NORM_LAYER ? a->mean : NULL;
  float *dw = job->cpu->scratch + item * 2 * C;
  job->cpu->isa->pointwise->row_start(dw, NULL, NULL, 2 * C);
  for (int64_t m = item * job->parts.size; m < end; m++)
    job->cpu->isa->norm->row_grad((float *)a->dx + m * C, dw, dw + C, (const float *)a->dy + m * C,
                                  (const float *)a->x + m * C, a->w, mean ? mean + m : NULL,
                                  ((const float *)a->rstd)[m], C, a->dx_accumulate);
}

void cpu_norm_grad(struct engine *e, const struct norm_grad_args *a) {
  engine_check_norm_grad(a);
  struct norm_grad_job job = {.cpu = cpu_of(e), .a = a};
  job.parts = cpu_cut(a->M, PARTS_MAX, 1, ROWS_PER_ITEM);
  CLAIM(cpu_norm_scratch(a->M, a->C) <= job.cpu->scratch_count);
  io_pool_run(job.cpu->pool, job.parts.pieces, norm_grad_item, &job);
  const struct isa_pointwise *vector = job.cpu->isa->pointwise;
  const float *parts = job.cpu->scratch;
  const int64_t C = a->C;
  vector->column_sum(a->dw, parts, job.parts.pieces, 2 * C, C, a->dw_accumulate);
  if (a->kind == NORM_LAYER)
    vector->column_sum(a->db, parts + C, job.parts.pieces, 2 * C, C, a->dw_accumulate);
}

struct rope_job {
  struct cpu *cpu;
  const struct rope_args *a;
};

static void rope_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct rope_job *job = context;
  const struct rope_args *a = job->a;
  const int64_t end = cpu_least((item + 1) * ROWS_PER_ITEM, a->B * a->T);
  for (int64_t m = item * ROWS_PER_ITEM; m < end; m++) {
    const float *angles = (const float *)a->table + (a->position + m % a->T) * a->R;
    job->cpu->isa->norm->rope_row((float *)a->x + m * a->row_stride, angles, a->heads,
                                  a->head_stride, a->R, a->inverse);
  }
}

void cpu_rope(struct engine *e, const struct rope_args *a) {
  engine_check_rope(a);
  CLAIM(a->R <= SHAPE_D_MAX);
  if (a->R == 0)
    return;
  struct rope_job job = {.cpu = cpu_of(e), .a = a};
  io_pool_run(job.cpu->pool, cpu_ceil_div(a->B * a->T, ROWS_PER_ITEM), rope_item, &job);
}
