#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "proto/base/claim.h"
#include "proto/base/io_system.h"

enum { ALIGN = 64 };

static size_t rounded(size_t bytes) {
  return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static enum status take(struct engine *e, size_t bytes, void **out) {
  (void)e;
  if (bytes > SIZE_MAX / 2)
    return STATUS_NOMEM;
  void *p = aligned_alloc(ALIGN, rounded(bytes > 0 ? bytes : 1));
  if (!p)
    return STATUS_NOMEM;
  *out = p;
  return STATUS_OK;
}

static void release(struct engine *e, void *p, size_t bytes) {
  (void)e;
  (void)bytes;
  free(p);
}

static int64_t panel_values(const struct cpu *c) {
  return c->head.thread_count * cpu_product_scratch(c);
}

static size_t scratch_bytes(const struct engine *e, const struct shapes *most) {
  const struct cpu *c = (const struct cpu *)(const void *)e;
  const int64_t M = most->B * most->T;
  int64_t count = cpu_sum_squares_scratch();
  count = cpu_most(count, cpu_linear_scratch(c));
  count = cpu_most(count, cpu_norm_scratch(M, most->C));
  count = cpu_most(count, cpu_attention_scratch(c, most));
  count = cpu_most(count, cpu_head_scratch(c, M, most->C, most->V));
  return rounded((size_t)(panel_values(c) + count) * sizeof(float));
}

static enum status reserve(struct engine *e, const struct shapes *most, struct why *why) {
  struct cpu *c = cpu_of(e);
  const size_t bytes = scratch_bytes(e, most);
  const int64_t panels = panel_values(c);
  const int64_t count = (int64_t)(bytes / sizeof(float)) - panels;
  if (count <= c->scratch_count)
    return STATUS_OK;
  void *fresh;
  if (take(e, bytes, &fresh) != STATUS_OK) {
    char human[32];
    return why_say(why, STATUS_NOMEM,
                   "no memory for %s of scratch; a smaller micro-batch needs less",
                   io_human_bytes((double)bytes, human));
  }
  free(c->block);
  c->block = fresh;
  c->panels = fresh;
  c->scratch = c->block + panels;
  c->scratch_count = count;
  return STATUS_OK;
}

static enum status sync_nothing(struct engine *e, struct why *why) {
  (void)e;
  (void)why;
  return STATUS_OK;
}

static void close_cpu(struct engine *e) {
  struct cpu *c = cpu_of(e);
  io_pool_close(&c->pool);
  free(c->block);
  free(c);
}

/* Between the host and this engine there is no way to go: only types to convert. The engine's types
 * are f32 and, for what the caller keeps in f64, f64. */
static void upload(struct engine *e, void *to, enum dtype to_type, const double *from,
                   int64_t count) {
  (void)e;
  CLAIM(to_type == DTYPE_F32 || to_type == DTYPE_F64);
  for (int64_t i = 0; i < count; i++) {
    if (to_type == DTYPE_F32)
      ((float *)to)[i] = (float)from[i];
    else
      ((double *)to)[i] = from[i];
  }
}

static void download(struct engine *e, double *to, const void *from, enum dtype from_type,
                     int64_t count) {
  (void)e;
  CLAIM(from_type == DTYPE_F32 || from_type == DTYPE_F64);
  for (int64_t i = 0; i < count; i++)
    to[i] = from_type == DTYPE_F32 ? (double)((const float *)from)[i] : ((const double *)from)[i];
}

static void upload_f32(struct engine *e, void *to, enum dtype to_type, const float *from,
                       int64_t count) {
  CLAIM(to_type == DTYPE_F32 || to_type == DTYPE_F64);
  if (to_type == DTYPE_F32) {
    cpu_copy(e, to, from, (size_t)count * sizeof *from);
    return;
  }
  for (int64_t i = 0; i < count; i++)
    ((double *)to)[i] = (double)from[i];
}

static void download_f32(struct engine *e, float *to, const void *from, enum dtype from_type,
                         int64_t count) {
  CLAIM(from_type == DTYPE_F32 || from_type == DTYPE_F64);
  if (from_type == DTYPE_F32) {
    cpu_copy(e, to, from, (size_t)count * sizeof *to);
    return;
  }
  for (int64_t i = 0; i < count; i++)
    to[i] = (float)((const double *)from)[i];
}

static void upload_i32(struct engine *e, int32_t *to, const int32_t *from, int64_t count) {
  (void)e;
  memcpy(to, from, (size_t)count * sizeof *to);
}

static const struct engine_ops ops = {
    .name = "cpu",
    .linear = cpu_linear,
    .linear_grad = cpu_linear_grad,
    .norm = cpu_norm,
    .norm_grad = cpu_norm_grad,
    .rope = cpu_rope,
    .attention = cpu_attention,
    .attention_grad = cpu_attention_grad,
    .head = cpu_head,
    .adamw = cpu_adamw,
    .embed = cpu_embed,
    .embed_grad = cpu_embed_grad,
    .activate = cpu_activate,
    .swiglu = cpu_swiglu,
    .swiglu_grad = cpu_swiglu_grad,
    .add = cpu_add,
    .zero = cpu_zero,
    .copy = cpu_copy,
    .sum_squares = cpu_sum_squares,
    .upload = upload,
    .download = download,
    .upload_f32 = upload_f32,
    .download_f32 = download_f32,
    .upload_i32 = upload_i32,
    .alloc = take,
    .release = release,
    .scratch_bytes = scratch_bytes,
    .reserve = reserve,
    .sync = sync_nothing,
    .close = close_cpu,
};

enum status engine_cpu_open(const struct engine_cpu_options *options, struct engine **out,
                            struct why *why) {
  const int wanted = options->thread_count;
  if (wanted < 0 || wanted > THREAD_COUNT_MAX)
    return why_say(why, STATUS_RANGE,
                   "%d threads asked for; allowed are 1 to %d, or 0 for one per core", wanted,
                   THREAD_COUNT_MAX);
  const struct isa *isa = isa_find(options->isa);
  if (!isa)
    return why_say(why, STATUS_UNSUPPORTED,
                   "this machine has no \"%s\" instructions; there are base, avx2 and avx512",
                   options->isa);
  struct cpu *c = calloc(1, sizeof *c);
  if (!c)
    return why_say(why, STATUS_NOMEM, "no memory to open the CPU engine");
  const int cores = io_core_count();
  c->head.ops = &ops;
  c->head.dtype = DTYPE_F32;
  c->head.stat = DTYPE_F32;
  c->head.thread_count = wanted > 0 ? wanted : cores < THREAD_COUNT_MAX ? cores : THREAD_COUNT_MAX;
  c->isa = isa;
  enum status s = io_pool_open(c->head.thread_count, &c->pool, why);
  if (s != STATUS_OK) {
    free(c);
    return s;
  }
  cpu_product_open();
  *out = &c->head;
  return STATUS_OK;
}
