/* One optimizer step of a transformer: the norm of the whole gradient, then AdamW. */
#include <math.h>

#include "node/model/transformer_inside.h"
#include "proto/base/claim.h"

/* As torch.nn.utils.clip_grad_norm_ has it: clip / (norm + 1e-6) where that is below 1. */
static double clip_scale(double norm, double clip) {
  double scale = clip / (norm + 1e-6);
  return clip > 0 && scale < 1 ? scale : 1;
}

enum status transformer_update(struct transformer *t, const struct transformer_adam *adam,
                               double *grad_norm, struct why *why) {
  CLAIM(t->options.training);
  double norm = sqrt(t->e->ops->sum_squares(t->e, t->gradients, t->params->values));
  if (!isfinite(norm))
    return why_say(why, STATUS_REFUSED,
                   "the gradient of step %lld is not finite (norm %g): nothing was changed; a "
                   "lower learning rate or more warmup may help",
                   (long long)t->step + 1, norm);
  size_t bytes = transformer_value_bytes(t), stat = dtype_bytes(t->e->stat);
  for (size_t i = 0; i < t->run_count; i++) {
    const struct transformer_run *r = &t->runs[i];
    size_t at = (size_t)r->offset;
    t->e->ops->adamw(t->e,
                     &(struct adamw_args){.p = (char *)t->weights + at * bytes,
                                          .g = (const char *)t->gradients + at * bytes,
                                          .m = (char *)t->m + at * stat,
                                          .v = (char *)t->v + at * stat,
                                          .master = t->master ? (float *)t->master + at : NULL,
                                          .count = r->count,
                                          .step = t->step + 1,
                                          .lr = adam->lr,
                                          .beta1 = adam->beta1,
                                          .beta2 = adam->beta2,
                                          .eps = adam->eps,
                                          .decay = r->decay ? adam->decay : 0,
                                          .grad_scale = clip_scale(norm, adam->clip)});
  }
  TRY(engine_sync(t->e, why));
  t->step++;
  *grad_norm = norm;
  return STATUS_OK;
}
