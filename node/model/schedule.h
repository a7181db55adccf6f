/* schedule: the learning rate as a function of trained tokens and nothing else.
 *
 *   struct schedule s = {.lr = 1e-3, .lr_min = 1e-4, .warmup_tokens = 3e6, .tokens_total = 3e8};
 *   TRY(schedule_check(&s, &why));
 *   adam.lr = schedule_lr(&s, tokens_before + tokens_of_this_step);
 *
 * Linear from 0 to lr over the warmup, then half a cosine down to lr_min at tokens_total, then
 * lr_min: equation 5 of Loshchilov and Hutter, "SGDR" (ICLR 2017) without restarts, as in the
 * LLaMA and GPT-NeoX recipes. Count the step's own tokens in, so that the first step is not made
 * at rate 0. Pure. */
#ifndef CARAVAN_SCHEDULE_H
#define CARAVAN_SCHEDULE_H

#include <stdint.h>

#include "proto/base/status.h"

struct schedule {
  double lr, lr_min; /* 0 <= lr_min <= lr */
  uint64_t warmup_tokens;
  uint64_t tokens_total; /* above warmup_tokens */
};

/* RANGE, with the field's name and value. */
CHECKED enum status schedule_check(const struct schedule *s, struct why *why);
double schedule_lr(const struct schedule *s, uint64_t tokens);

#endif
