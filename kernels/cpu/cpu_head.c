/* The output layer and its loss, for a chunk of rows at a time.
 *
 * The vocabulary is cut into segments (the items of the pool) and these into blocks of BLOCK words.
 * Pass 1 makes a block's logits (rows, words) and at once turns them into e^(logit - most of the
 * block's row), keeping per row the greatest logit and the sum. Between the passes the blocks'
 * sums make each row's loss. Pass 2 multiplies the block by what makes it grad_scale (softmax -
 * onehot), then by h for dw and by w for dh. Each e^x is computed once, and w and dw are read once
 * per chunk. Every segment sums its own dh, and these are added in order: the same bits always. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/engine_check.h"
#include "proto/base/claim.h"

enum {
  BLOCK = 1024,            /* words */
  CHUNK_VALUES = 16 << 20, /* of logits at most: 64 MiB */
  ROWS_MIN = 16,           /* … unless so many rows need more */
  SEGMENTS_PER_THREAD = 2,
  SEGMENT_MIN = 64,
  GRAIN = 48, /* words: as BLOCK */
};

struct layout {
  int64_t rows;                                    /* of a chunk */
  struct cpu_cut segments;                         /* of V */
  int64_t blocks_per_segment;                      /* at most */
  int64_t logits, most, sum, at_target, dh, count; /* where each part of scratch begins */
};

/* rows: of a chunk, or 0 to choose. */
static struct layout layout_of(const struct cpu *c, int64_t M, int64_t C, int64_t V, int64_t rows) {
  struct layout l = {.rows = rows};
  if (rows == 0) {
    const int64_t fit = cpu_most(CHUNK_VALUES / V, ROWS_MIN);
    l.rows = cpu_ceil_div(M, cpu_ceil_div(M, fit)); /* chunks of even size */
    l.rows = cpu_least(cpu_ceil_div(l.rows, ROWS_MIN) * ROWS_MIN, M);
  }
  l.segments = cpu_cut(V, (int64_t)c->head.thread_count * SEGMENTS_PER_THREAD, GRAIN, SEGMENT_MIN);
  l.blocks_per_segment = cpu_ceil_div(l.segments.size, BLOCK);
  const int64_t blocks = l.segments.pieces * l.blocks_per_segment;
  l.most = l.logits + l.rows * V;
  l.sum = l.most + blocks * l.rows;
  l.at_target = l.sum + blocks * l.rows;
  l.dh = l.at_target + l.rows;
  l.count = l.dh + l.segments.pieces * l.rows * C;
  return l;
}

int64_t cpu_head_scratch(const struct cpu *c, int64_t M, int64_t C, int64_t V) {
  return layout_of(c, M, C, V, 0).count;
}

struct head_job {
  struct cpu *cpu;
  const struct head_args *a;
  struct layout l;
  int64_t m0, rows; /* the chunk */
  bool dw_accumulate;
};

/* A block of words [v0, v1), its number among all, and its logits (rows, v1 - v0). */
struct block {
  int64_t v0, v1, index;
  float *logits;
};

static struct block block_of(const struct head_job *job, int64_t segment, int64_t i) {
  struct block b;
  const int64_t end = cpu_least((segment + 1) * job->l.segments.size, job->a->V);
  b.v0 = segment * job->l.segments.size + i * BLOCK;
  b.v1 = cpu_least(b.v0 + BLOCK, end);
  b.index = segment * job->l.blocks_per_segment + i;
  b.logits = job->cpu->scratch + job->l.logits + b.v0 * job->rows;
  return b;
}

static void exp_item(void *context, int64_t item, int thread) {
  const struct head_job *job = context;
  const struct head_args *a = job->a;
  float *scratch = job->cpu->scratch;
  const float *h = (const float *)a->h + job->m0 * a->C;
  for (int64_t i = 0; i < job->l.blocks_per_segment; i++) {
    const struct block b = block_of(job, item, i);
    const int64_t n = b.v1 - b.v0;
    float *most = scratch + job->l.most + b.index * job->rows;
    float *sum = scratch + job->l.sum + b.index * job->rows;
    if (n > 0)
      cpu_product_nt(job->cpu, thread, job->rows, n, a->C, h, a->C,
                     (const float *)a->w + b.v0 * a->C, a->C, false, b.logits, n);
    for (int64_t m = 0; m < job->rows; m++) {
      const int32_t target = a->targets[job->m0 + m];
      if (n > 0 && target >= b.v0 && target < b.v1)
        scratch[job->l.at_target + m] = b.logits[m * n + target - b.v0];
      most[m] = -INFINITY;
      sum[m] = 0;
      if (n > 0)
        sum[m] = job->cpu->isa->pointwise->row_exp(b.logits + m * n, n, &most[m]);
    }
  }
}

/* Loss of every row, and `most` of every block becomes its factor grad_scale e^(most - lse). */
static void finish_losses(const struct head_job *job) {
  const struct head_args *a = job->a;
  float *most = job->cpu->scratch + job->l.most;
  const float *sum = job->cpu->scratch + job->l.sum;
  const int64_t blocks = job->l.segments.pieces * job->l.blocks_per_segment;
  for (int64_t m = 0; m < job->rows; m++) {
    float top = -INFINITY;
    for (int64_t i = 0; i < blocks; i++)
      top = most[i * job->rows + m] > top ? most[i * job->rows + m] : top;
    double total = 0;
    for (int64_t i = 0; i < blocks; i++)
      if (sum[i * job->rows + m] != 0)
        total +=
            (double)sum[i * job->rows + m] * exp((double)most[i * job->rows + m] - (double)top);
    const double lse = (double)top + log(total);
    const bool counts = a->targets[job->m0 + m] >= 0;
    ((float *)a->loss)[job->m0 + m] =
        counts ? (float)(lse - (double)job->cpu->scratch[job->l.at_target + m]) : 0;
    for (int64_t i = 0; i < blocks; i++) {
      float *factor = &most[i * job->rows + m];
      *factor = counts ? (float)(a->grad_scale * exp((double)*factor - lse)) : 0;
    }
  }
}

static void grad_item(void *context, int64_t item, int thread) {
  const struct head_job *job = context;
  const struct head_args *a = job->a;
  const int64_t C = a->C;
  float *scratch = job->cpu->scratch;
  const float *h = (const float *)a->h + job->m0 * C;
  float *dh = scratch + job->l.dh + item * job->rows * C;
  for (int64_t i = 0; i < job->l.blocks_per_segment; i++) {
    const struct block b = block_of(job, item, i);
    const int64_t n = b.v1 - b.v0;
    if (n <= 0)
      return;
    const float *factor = scratch + job->l.most + b.index * job->rows;
    for (int64_t m = 0; m < job->rows; m++) {
      const int32_t target = a->targets[job->m0 + m];
      job->cpu->isa->pointwise->row_scale(b.logits + m * n, n, factor[m]);
      if (target >= b.v0 && target < b.v1)
        b.logits[m * n + target - b.v0] -= (float)a->grad_scale;
    }
    cpu_product_tn(job->cpu, thread, n, C, job->rows, b.logits, n, h, C, job->dw_accumulate,
                   (float *)a->dw + b.v0 * C, C);
    cpu_product_nn(job->cpu, thread, job->rows, C, n, b.logits, n, (const float *)a->w + b.v0 * C,
                   C, i > 0, dh, C);
  }
}

/* Add up the segments' dh for a few rows. */
enum { SUM_ROWS = 16 };
static void sum_item(void *context, int64_t item, int thread) {
  (void)thread;
  const struct head_job *job = context;
  const int64_t C = job->a->C;
  const int64_t m0 = item * SUM_ROWS;
  const int64_t n = (cpu_least(m0 + SUM_ROWS, job->rows) - m0) * C;
  job->cpu->isa->pointwise->column_sum((float *)job->a->dh + (job->m0 + m0) * C,
                                       job->cpu->scratch + job->l.dh + m0 * C,
                                       job->l.segments.pieces, job->rows * C, n, false);
}

void cpu_head(struct engine *e, const struct head_args *a) {
  engine_check_head(a);
  struct head_job job = {.cpu = cpu_of(e), .a = a};
  job.l = layout_of(job.cpu, a->M, a->C, a->V, 0);
  /* Scratch was made for the greatest V; a smaller one would choose longer chunks. */
  while (job.l.count > job.cpu->scratch_count && job.l.rows > 1)
    job.l = layout_of(job.cpu, a->M, a->C, a->V, job.l.rows / 2);
  CLAIM(job.l.count <= job.cpu->scratch_count);
  for (job.m0 = 0; job.m0 < a->M; job.m0 += job.l.rows) {
    job.rows = cpu_least(job.l.rows, a->M - job.m0);
    job.dw_accumulate = a->dw_accumulate || job.m0 > 0;
    io_pool_run(job.cpu->pool, job.l.segments.pieces, exp_item, &job);
    finish_losses(&job);
    if (!a->dh)
      continue;
    io_pool_run(job.cpu->pool, job.l.segments.pieces, grad_item, &job);
    io_pool_run(job.cpu->pool, cpu_ceil_div(job.rows, SUM_ROWS), sum_item, &job);
  }
}
