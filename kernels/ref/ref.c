#include "kernels/ref/ref.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/claim.h"

static void ref_zero(struct engine *e, void *x, size_t bytes) {
  (void)e;
  memset(x, 0, bytes);
}

static void ref_copy(struct engine *e, void *to, const void *from, size_t bytes) {
  (void)e;
  memcpy(to, from, bytes);
}

static void ref_upload(struct engine *e, void *to, enum dtype to_type, const double *from,
                       int64_t count) {
  (void)e;
  CLAIM(to_type == DTYPE_F64);
  memcpy(to, from, (size_t)count * sizeof(double));
}

static void ref_download(struct engine *e, double *to, const void *from, enum dtype from_type,
                         int64_t count) {
  (void)e;
  CLAIM(from_type == DTYPE_F64);
  memcpy(to, from, (size_t)count * sizeof(double));
}

static void ref_upload_f32(struct engine *e, void *to, enum dtype to_type, const float *from,
                           int64_t count) {
  (void)e;
  CLAIM(to_type == DTYPE_F64);
  for (int64_t i = 0; i < count; i++)
    ((double *)to)[i] = (double)from[i];
}

static void ref_download_f32(struct engine *e, float *to, const void *from, enum dtype from_type,
                             int64_t count) {
  (void)e;
  CLAIM(from_type == DTYPE_F64);
  for (int64_t i = 0; i < count; i++)
    to[i] = (float)((const double *)from)[i];
}

static void ref_upload_i32(struct engine *e, int32_t *to, const int32_t *from, int64_t count) {
  (void)e;
  memcpy(to, from, (size_t)count * sizeof *to);
}

static enum status ref_alloc(struct engine *e, size_t bytes, void **out) {
  (void)e;
  size_t whole = (bytes / 64 + 1) * 64;
  void *p = aligned_alloc(64, whole);
  if (!p)
    return STATUS_NOMEM;
  *out = p;
  return STATUS_OK;
}

static void ref_release(struct engine *e, void *p, size_t bytes) {
  (void)e;
  (void)bytes;
  free(p);
}

static int64_t ref_scratch_count(const struct shapes *most) {
  return most->S > most->V ? most->S : most->V;
}

static size_t ref_scratch_bytes(const struct engine *e, const struct shapes *most) {
  (void)e;
  return (size_t)ref_scratch_count(most) * sizeof(double);
}

static enum status ref_reserve(struct engine *e, const struct shapes *most, struct why *why) {
  struct ref *ref = (struct ref *)e;
  int64_t count = ref_scratch_count(most);
  if (count <= ref->scratch_count)
    return STATUS_OK;
  double *scratch = calloc((size_t)count, sizeof *scratch);
  if (!scratch)
    return why_say(why, STATUS_NOMEM, "no memory for %lld bytes of scratch",
                   (long long)count * (long long)sizeof *scratch);
  free(ref->scratch);
  ref->scratch = scratch;
  ref->scratch_count = count;
  return STATUS_OK;
}

double *ref_scratch(struct engine *e, int64_t count) {
  struct ref *ref = (struct ref *)e;
  CLAIM(count <= ref->scratch_count);
  return ref->scratch;
}

static enum status ref_sync(struct engine *e, struct why *why) {
  (void)e;
  (void)why;
  return STATUS_OK;
}

static void ref_close(struct engine *e) {
  struct ref *ref = (struct ref *)e;
  free(ref->scratch);
  free(ref);
}

static const struct engine_ops ref_ops = {
    .name = "ref",
    .linear = ref_linear,
    .linear_grad = ref_linear_grad,
    .norm = ref_norm,
    .norm_grad = ref_norm_grad,
    .rope = ref_rope,
    .attention = ref_attention,
    .attention_grad = ref_attention_grad,
    .head = ref_head,
    .adamw = ref_adamw,
    .embed = ref_embed,
    .embed_grad = ref_embed_grad,
    .activate = ref_activate,
    .swiglu = ref_swiglu,
    .swiglu_grad = ref_swiglu_grad,
    .add = ref_add,
    .zero = ref_zero,
    .copy = ref_copy,
    .sum_squares = ref_sum_squares,
    .upload = ref_upload,
    .download = ref_download,
    .upload_f32 = ref_upload_f32,
    .download_f32 = ref_download_f32,
    .upload_i32 = ref_upload_i32,
    .alloc = ref_alloc,
    .release = ref_release,
    .scratch_bytes = ref_scratch_bytes,
    .reserve = ref_reserve,
    .sync = ref_sync,
    .close = ref_close,
};

enum status engine_ref_open(struct engine **out, struct why *why) {
  struct ref *ref = calloc(1, sizeof *ref);
  if (!ref)
    return why_say(why, STATUS_NOMEM, "no memory for the reference engine");
  ref->head = (struct engine){&ref_ops, DTYPE_F64, DTYPE_F64, 1};
  *out = &ref->head;
  return STATUS_OK;
}
