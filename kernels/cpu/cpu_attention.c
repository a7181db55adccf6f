#include "kernels/cpu/cpu.h"
#include "kernels/engine_check.h"
#include "proto/base/claim.h"

enum {
  /* An item of the forward pass is so many query rows of one head. Each item turns the head's keys
   * around for itself, which costs about as much as four query rows. */
  QUERIES_PER_ITEM = 512,
  LINE = 16, /* values of a cache line: threads' scratch begins at multiples of it */
};

static int64_t per_thread(int64_t count) {
  return cpu_ceil_div(count, LINE) * LINE;
}

int64_t cpu_attention_scratch(const struct cpu *c, const struct shapes *most) {
  const struct isa_attention *vector = c->isa->attention;
  const int64_t S = cpu_most(most->S, most->T);
  return c->head.thread_count * per_thread(cpu_most(vector->forward_scratch(S, most->D),
                                                    vector->grad_scratch(S, most->D)));
}

struct attention_job {
  struct cpu *cpu;
  const struct attention_args *a;
  const struct attention_grad_args *grad; /* NULL in the forward pass */
  int64_t pieces;                         /* of the query rows of one head */
  int64_t scratch;                        /* of one thread */
};

static struct isa_attention_head head_of(const struct attention_args *a, int64_t b, int64_t h) {
  const int64_t hk = h / (a->H / a->HK);
  const int64_t kv = b * a->S * a->kv_row + hk * a->kv_head;
  return (struct isa_attention_head){
      .q = (const float *)a->q + b * a->T * a->q_row + h * a->q_head,
      .k = (const float *)a->k + kv,
      .v = (const float *)a->v + kv,
      .o = (float *)a->o + (b * a->T * a->H + h) * a->D,
      .lse = (float *)a->lse + (b * a->H + h) * a->T,
      .T = a->T,
      .S = a->S,
      .D = a->D,
      .q_row = a->q_row,
      .kv_row = a->kv_row,
      .o_row = a->H * a->D,
      .scale = (float)a->scale,
  };
}

static void forward_item(void *context, int64_t item, int thread) {
  const struct attention_job *job = context;
  const struct attention_args *a = job->a;
  const int64_t head = item / job->pieces;
  const int64_t begin = item % job->pieces * QUERIES_PER_ITEM;
  const struct isa_attention_head h = head_of(a, head / a->H, head % a->H);
  job->cpu->isa->attention->forward(&h, begin, cpu_least(begin + QUERIES_PER_ITEM, a->T),
                                    job->cpu->scratch + thread * job->scratch);
}

void cpu_attention(struct engine *e, const struct attention_args *a) {
  engine_check_attention(a);
  struct attention_job job = {.cpu = cpu_of(e), .a = a};
  job.pieces = cpu_ceil_div(a->T, QUERIES_PER_ITEM);
  job.scratch = per_thread(job.cpu->isa->attention->forward_scratch(a->S, a->D));
  CLAIM(job.scratch * e->thread_count <= job.cpu->scratch_count);
  io_pool_run(job.cpu->pool, a->B * a->H * job.pieces, forward_item, &job);
}

static void grad_item(void *context, int64_t item, int thread) {
  const struct attention_job *job = context;
  const struct attention_args *a = job->a;
  const int64_t group = a->H / a->HK;
  const int64_t b = item / a->HK;
  const int64_t hk = item % a->HK;
  struct isa_attention_head h = head_of(a, b, hk * group);
  h.dout = (const float *)job->grad->dout + (b * a->T * a->H + hk * group) * a->D;
  h.dq = (float *)job->grad->dq + b * a->T * a->q_row + hk * group * a->q_head;
  h.dk = (float *)job->grad->dk + b * a->S * a->kv_row + hk * a->kv_head;
  h.dv = (float *)job->grad->dv + b * a->S * a->kv_row + hk * a->kv_head;
  h.group = group;
  h.q_head = a->q_head;
  h.o_head = a->D;
  h.lse_head = a->T;
  job->cpu->isa->attention->grad(&h, job->cpu->scratch + thread * job->scratch);
}

void cpu_attention_grad(struct engine *e, const struct attention_grad_args *a) {
  engine_check_attention_grad(a);
  struct attention_job job = {.cpu = cpu_of(e), .a = &a->forward, .grad = a};
  job.scratch = per_thread(job.cpu->isa->attention->grad_scratch(a->forward.T, a->forward.D));
  CLAIM(job.scratch * e->thread_count <= job.cpu->scratch_count);
  io_pool_run(job.cpu->pool, a->forward.B * a->forward.HK, grad_item, &job);
}
