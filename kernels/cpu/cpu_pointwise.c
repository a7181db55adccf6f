#include <string.h>

#include "kernels/cpu/cpu.h"
#include "proto/base/claim.h"

enum {
  VALUES_PER_ITEM = 1 << 16, /* of flat arrays: 256 KiB, a millisecond's tenth of memory traffic */
  ROWS_PER_ITEM = 32,
  SUM_PARTS = 256, /* of sum_squares, for any number of threads */
  LINE = 16,       /* values of a cache line */
};

struct flat_job {
  struct cpu *cpu;
  float *out;
  const float *a, *b;
  int64_t count;
  enum activation activation;
};

static void activate_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct flat_job *job = context;
  const int64_t at = item * VALUES_PER_ITEM;
  job->cpu->isa->pointwise->row_activate(job->out + at, job->a + at, job->b ? job->b + at : NULL,
                                         cpu_least(VALUES_PER_ITEM, job->count - at),
                                         job->activation);
}

static void run_flat(struct cpu *c, struct flat_job *job,
                     void (*item)(void *context, int64_t item, int thread)) {
  io_pool_run(c->pool, cpu_ceil_div(job->count, VALUES_PER_ITEM), item, job);
}

void cpu_activate(struct engine *e, void *out, const void *pre, int64_t count, enum activation a) {
  struct flat_job job = {cpu_of(e), out, pre, NULL, count, a};
  run_flat(job.cpu, &job, activate_item);
}

void cpu_add(struct engine *e, void *out, const void *a, const void *b, int64_t count) {
  struct flat_job job = {cpu_of(e), out, a, b, count, ACTIVATION_NONE};
  run_flat(job.cpu, &job, activate_item);
}

struct bytes_job {
  char *to;
  const char *from; /* NULL: zeros */
  size_t bytes;
};

enum { BYTES_PER_ITEM = VALUES_PER_ITEM * 4 };

static void bytes_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct bytes_job *job = context;
  const size_t at = (size_t)item * BYTES_PER_ITEM;
  const size_t n = job->bytes - at < BYTES_PER_ITEM ? job->bytes - at : BYTES_PER_ITEM;
  if (job->from)
    memcpy(job->to + at, job->from + at, n);
  else
    memset(job->to + at, 0, n);
}

void cpu_zero(struct engine *e, void *x, size_t bytes) {
  struct bytes_job job = {.to = x, .bytes = bytes};
  io_pool_run(cpu_of(e)->pool, cpu_ceil_div((int64_t)bytes, BYTES_PER_ITEM), bytes_item, &job);
}

void cpu_copy(struct engine *e, void *to, const void *from, size_t bytes) {
  struct bytes_job job = {.to = to, .from = from, .bytes = bytes};
  io_pool_run(cpu_of(e)->pool, cpu_ceil_div((int64_t)bytes, BYTES_PER_ITEM), bytes_item, &job);
}

struct embed_job {
  float *to;
  const float *from;
  const int32_t *tokens;
  int64_t M, C, V, width;
};

static void embed_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct embed_job *job = context;
  const int64_t end = cpu_least((item + 1) * ROWS_PER_ITEM, job->M);
  for (int64_t m = item * ROWS_PER_ITEM; m < end; m++) {
    CLAIM(job->tokens[m] >= 0);
    CLAIM(job->tokens[m] < job->V);
    memcpy(job->to + m * job->C, job->from + job->tokens[m] * job->C,
           (size_t)job->C * sizeof(float));
  }
}

void cpu_embed(struct engine *e, void *out, const void *table, const int32_t *tokens, int64_t M,
               int64_t C, int64_t V) {
  struct embed_job job = {.to = out, .from = table, .tokens = tokens, .M = M, .C = C, .V = V};
  io_pool_run(cpu_of(e)->pool, cpu_ceil_div(M, ROWS_PER_ITEM), embed_item, &job);
}

/* Each item adds its own columns of all rows, in row order: no two items meet, and no token needs
 * to be sorted to anywhere. */
static void embed_grad_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct embed_job *job = context;
  const int64_t c0 = item * job->width;
  const int64_t n = cpu_least(job->width, job->C - c0);
  for (int64_t m = 0; m < job->M; m++) {
    CLAIM(job->tokens[m] >= 0);
    CLAIM(job->tokens[m] < job->V);
    float *to = job->to + job->tokens[m] * job->C + c0;
    const float *from = job->from + m * job->C + c0;
    for (int64_t i = 0; i < n; i++)
      to[i] += from[i];
  }
}

void cpu_embed_grad(struct engine *e, void *dtable, const void *dout, const int32_t *tokens,
                    int64_t M, int64_t C, int64_t V, bool accumulate) {
  if (!accumulate)
    cpu_zero(e, dtable, (size_t)(V * C) * sizeof(float));
  const struct cpu_cut cut = cpu_cut(C, e->thread_count, LINE, LINE);
  struct embed_job job = {dtable, dout, tokens, M, C, V, cut.size};
  io_pool_run(cpu_of(e)->pool, cut.pieces, embed_grad_item, &job);
}

struct swiglu_job {
  struct cpu *cpu;
  float *out;
  const float *dout; /* NULL in the forward pass */
  const float *gate_up;
  int64_t M, F;
};

static void swiglu_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct swiglu_job *job = context;
  const struct isa_pointwise *vector = job->cpu->isa->pointwise;
  const int64_t F = job->F;
  const int64_t end = cpu_least((item + 1) * ROWS_PER_ITEM, job->M);
  for (int64_t m = item * ROWS_PER_ITEM; m < end; m++) {
    const float *gate = job->gate_up + m * 2 * F;
    float *dgate = job->out + m * 2 * F;
    if (job->dout)
      vector->swiglu_grad(dgate, dgate + F, job->dout + m * F, gate, gate + F, F);
    else
      vector->swiglu(job->out + m * F, gate, gate + F, F);
  }
}

void cpu_swiglu(struct engine *e, void *out, const void *gate_up, int64_t M, int64_t F) {
  struct swiglu_job job = {cpu_of(e), out, NULL, gate_up, M, F};
  io_pool_run(job.cpu->pool, cpu_ceil_div(M, ROWS_PER_ITEM), swiglu_item, &job);
}

void cpu_swiglu_grad(struct engine *e, void *dgate_up, const void *dout, const void *gate_up,
                     int64_t M, int64_t F) {
  struct swiglu_job job = {cpu_of(e), dgate_up, dout, gate_up, M, F};
  io_pool_run(job.cpu->pool, cpu_ceil_div(M, ROWS_PER_ITEM), swiglu_item, &job);
}

struct sum_job {
  struct cpu *cpu;
  const float *x;
  struct cpu_cut cut;
  int64_t count;
  double *sums;
};

int64_t cpu_sum_squares_scratch(void) {
  return 2 * SUM_PARTS; /* doubles, counted as f32 */
}

static void sum_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct sum_job *job = context;
  const int64_t at = item * job->cut.size;
  job->sums[item] =
      job->cpu->isa->pointwise->sum_squares(job->x + at, cpu_least(job->cut.size, job->count - at));
}

double cpu_sum_squares(struct engine *e, const void *x, int64_t count) {
  struct sum_job job = {.cpu = cpu_of(e), .x = x, .count = count};
  CLAIM(job.cpu->scratch_count >= cpu_sum_squares_scratch());
  job.cut = cpu_cut(count, SUM_PARTS, LINE, VALUES_PER_ITEM / 4);
  job.sums = (double *)(void *)job.cpu->scratch;
  io_pool_run(job.cpu->pool, job.cut.pieces, sum_item, &job);
  double sum = 0;
  for (int64_t i = 0; i < job.cut.pieces; i++)
    sum += job.sums[i];
  return sum;
}
