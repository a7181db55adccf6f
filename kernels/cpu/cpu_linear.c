/* Linear layers. A product is cut by rows when there are enough of them, else by columns; what
 * comes before it (bias and residual, added by starting the sum there) and after it (activation) is
 * done by the same thread on the same part. */
#include "kernels/cpu/cpu.h"
#include "kernels/engine_check.h"
#include "proto/base/claim.h"

enum {
  /* Below this many rows an OpenBLAS call is more packing of the weights than arithmetic. */
  ROWS_MIN = 64,
  /* Of a column's part: what an item writes (200 KB) then stays in the second cache. */
  ROWS_MAX = 1024,
  ITEMS_PER_THREAD = 4,
  GRAIN = 16, /* rows or columns: a multiple of OpenBLAS' register block on every machine we know */
  PIECES_PER_THREAD = 4, /* so that a thread whose core was taken does not hold up the others */
  /* Values of a thread's spare block, for the one form that has nowhere else to put a product. */
  SPARE_ROWS = 64,
  SPARE_COLUMNS = 240,
};

struct cpu_cut cpu_cut(int64_t n, int64_t wanted, int64_t grain, int64_t size_min) {
  struct cpu_cut cut = {.size = cpu_most(cpu_ceil_div(n, wanted), size_min)};
  cut.size = cpu_ceil_div(cut.size, grain) * grain;
  cut.pieces = cpu_ceil_div(n, cut.size);
  return cut;
}

int64_t cpu_linear_scratch(const struct cpu *c) {
  return (int64_t)c->head.thread_count * SPARE_ROWS * SPARE_COLUMNS;
}

/* How a product to (M, N), whose left side has lda, is cut into items. Our own products take the
 * columns of one panel, so that each panel is packed once; OpenBLAS' take rows. */
static void cut_product(const struct cpu *c, int64_t M, int64_t N, int64_t lda, bool turned,
                        struct cpu_cut *rows, struct cpu_cut *columns) {
  const int64_t threads = c->head.thread_count;
  *rows = (struct cpu_cut){M, 1};
  if (cpu_product_is_own(c, M, lda, turned)) {
    const int64_t panel = c->isa->product->panel;
    *columns = (struct cpu_cut){panel, cpu_ceil_div(N, panel)};
    const int64_t wanted = cpu_most(cpu_ceil_div(threads * ITEMS_PER_THREAD, columns->pieces),
                                    cpu_ceil_div(M, ROWS_MAX));
    *rows = cpu_cut(M, wanted, GRAIN, ROWS_MIN);
  } else if (M >= ROWS_MIN * threads) {
    *rows = cpu_cut(M, threads * PIECES_PER_THREAD, GRAIN, ROWS_MIN);
    *columns = (struct cpu_cut){N, 1};
  } else {
    *columns = cpu_cut(N, threads * PIECES_PER_THREAD, GRAIN, ROWS_MIN);
  }
}

struct linear_job {
  struct cpu *cpu;
  const struct linear_args *a;
  struct cpu_cut rows, columns;
};

/* The part [m0, m1) by [n0, n1) of a linear layer. */
static void linear_part(const struct linear_job *job, int64_t m0, int64_t m1, int64_t n0,
                        int64_t n1, int thread) {
  const struct linear_args *a = job->a;
  const struct isa_pointwise *vector = job->cpu->isa->pointwise;
  const int64_t N = a->N;
  const int64_t n = n1 - n0;
  const float *x = (const float *)a->x + m0 * a->K;
  const float *w = (const float *)a->w + n0 * a->K;
  const float *bias = a->bias ? (const float *)a->bias + n0 : NULL;
  const float *add = a->add ? (const float *)a->add + m0 * N + n0 : NULL;
  float *out = (float *)a->out + m0 * N + n0;
  float *product = out;
  int64_t stride = N;
  if (a->pre) {
    product = (float *)a->pre + m0 * N + n0;
  } else if (a->activation != ACTIVATION_NONE && a->add) {
    product = job->cpu->scratch + (int64_t)thread * SPARE_ROWS * SPARE_COLUMNS;
    stride = SPARE_COLUMNS;
  }
  /* Starting the sum at bias (and residual, when nothing stands between) saves passes. */
  const bool direct = product == out && a->activation == ACTIVATION_NONE;
  const bool started = bias || (direct && add);
  for (int64_t m = 0; started && m < m1 - m0; m++)
    vector->row_start(product + m * stride, bias, direct && add ? add + m * N : NULL, n);
  cpu_product_nt(job->cpu, thread, m1 - m0, n, a->K, x, a->K, w, a->K, started, product, stride);
  for (int64_t m = 0; !direct && m < m1 - m0; m++)
    vector->row_activate(out + m * N, product + m * stride, add ? add + m * N : NULL, n,
                         a->activation);
}

static void linear_item(void *context, int64_t item, int thread) {
  const struct linear_job *job = context;
  const int64_t m0 = item / job->columns.pieces * job->rows.size;
  const int64_t n0 = item % job->columns.pieces * job->columns.size;
  const int64_t m1 = cpu_least(m0 + job->rows.size, job->a->M);
  const int64_t n1 = cpu_least(n0 + job->columns.size, job->a->N);
  linear_part(job, m0, m1, n0, n1, thread);
}

void cpu_linear(struct engine *e, const struct linear_args *a) {
  engine_check_linear(a);
  struct cpu *c = cpu_of(e);
  struct linear_job job = {.cpu = c, .a = a};
  if (a->activation != ACTIVATION_NONE && a->add && !a->pre) {
    CLAIM(cpu_linear_scratch(c) <= c->scratch_count);
    job.rows = (struct cpu_cut){SPARE_ROWS, cpu_ceil_div(a->M, SPARE_ROWS)};
    job.columns = (struct cpu_cut){SPARE_COLUMNS, cpu_ceil_div(a->N, SPARE_COLUMNS)};
  } else {
    cut_product(c, a->M, a->N, a->K, false, &job.rows, &job.columns);
  }
  io_pool_run(c->pool, job.rows.pieces * job.columns.pieces, linear_item, &job);
}

struct linear_grad_job {
  struct cpu *cpu;
  const struct linear_grad_args *a;
  struct cpu_cut dx_rows, dx_columns; /* of (M, K) */
  struct cpu_cut dw_rows, dw_columns; /* of (N, K) */
  struct cpu_cut db;                  /* of (N) */
  int64_t dx_items, dw_items;
};

static void dx_item(const struct linear_grad_job *job, int64_t item, int thread) {
  const struct linear_grad_args *a = job->a;
  const int64_t m0 = item / job->dx_columns.pieces * job->dx_rows.size;
  const int64_t k0 = item % job->dx_columns.pieces * job->dx_columns.size;
  const int64_t m1 = cpu_least(m0 + job->dx_rows.size, a->M);
  const int64_t k1 = cpu_least(k0 + job->dx_columns.size, a->K);
  float *dx = (float *)a->dx + m0 * a->K + k0;
  cpu_product_nn(job->cpu, thread, m1 - m0, k1 - k0, a->N, (const float *)a->dout + m0 * a->N, a->N,
                 (const float *)a->w + k0, a->K, a->dx_accumulate, dx, a->K);
  if (a->activation == ACTIVATION_NONE)
    return;
  const float *pre = (const float *)a->pre + m0 * a->K + k0;
  for (int64_t m = 0; m < m1 - m0; m++)
    job->cpu->isa->pointwise->row_activate_grad(dx + m * a->K, pre + m * a->K, k1 - k0,
                                                a->activation);
}

static void dw_item(const struct linear_grad_job *job, int64_t item, int thread) {
  const struct linear_grad_args *a = job->a;
  const int64_t n0 = item / job->dw_columns.pieces * job->dw_rows.size;
  const int64_t k0 = item % job->dw_columns.pieces * job->dw_columns.size;
  const int64_t n1 = cpu_least(n0 + job->dw_rows.size, a->N);
  const int64_t k1 = cpu_least(k0 + job->dw_columns.size, a->K);
  cpu_product_tn(job->cpu, thread, n1 - n0, k1 - k0, a->M, (const float *)a->dout + n0, a->N,
                 (const float *)a->x + k0, a->K, a->dw_accumulate, (float *)a->dw + n0 * a->K + k0,
                 a->K);
}

static void db_item(const struct linear_grad_job *job, int64_t item) {
  const struct linear_grad_args *a = job->a;
  const int64_t n0 = item * job->db.size;
  const int64_t n1 = cpu_least(n0 + job->db.size, a->N);
  job->cpu->isa->pointwise->column_sum((float *)a->db + n0, (const float *)a->dout + n0, a->M, a->N,
                                       n1 - n0, a->dw_accumulate);
}

static void linear_grad_item(void *context, int64_t item, int thread) {
  const struct linear_grad_job *job = context;
  if (item < job->dx_items)
    dx_item(job, item, thread);
  else if (item < job->dx_items + job->dw_items)
    dw_item(job, item - job->dx_items, thread);
  else
    db_item(job, item - job->dx_items - job->dw_items);
}

void cpu_linear_grad(struct engine *e, const struct linear_grad_args *a) {
  engine_check_linear_grad(a);
  struct cpu *c = cpu_of(e);
  struct linear_grad_job job = {.cpu = c, .a = a};
  if (a->dx) {
    cut_product(c, a->M, a->K, a->N, false, &job.dx_rows, &job.dx_columns);
    job.dx_items = job.dx_rows.pieces * job.dx_columns.pieces;
  }
  if (a->dw) {
    cut_product(c, a->N, a->K, a->N, true, &job.dw_rows, &job.dw_columns);
    job.dw_items = job.dw_rows.pieces * job.dw_columns.pieces;
  }
  if (a->db)
    job.db = cpu_cut(a->N, (int64_t)e->thread_count * PIECES_PER_THREAD, GRAIN, ROWS_MIN);
  io_pool_run(c->pool, job.dx_items + job.dw_items + job.db.pieces, linear_grad_item, &job);
}
