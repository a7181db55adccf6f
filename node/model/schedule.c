#include "node/model/schedule.h"

#include <math.h>

#include "proto/base/limits.h"

enum status schedule_check(const struct schedule *s, struct why *why) {
  if (!(s->lr > 0 && s->lr <= 1))
    return why_say(why, STATUS_RANGE, "lr is %g; it must be above 0 and at most 1", s->lr);
  if (!(s->lr_min >= 0 && s->lr_min <= s->lr))
    return why_say(why, STATUS_RANGE, "lr_min is %g; it must be from 0 to lr, %g", s->lr_min,
                   s->lr);
  if (s->tokens_total < 1 || s->tokens_total > TOKENS_TOTAL_MAX)
    return why_say(why, STATUS_RANGE, "the tokens in total are %llu; they must be 1 to %llu",
                   (unsigned long long)s->tokens_total, (unsigned long long)TOKENS_TOTAL_MAX);
  if (s->warmup_tokens >= s->tokens_total)
    return why_say(why, STATUS_RANGE, "warmup is %llu tokens; it must end before the run, %llu",
                   (unsigned long long)s->warmup_tokens, (unsigned long long)s->tokens_total);
  return STATUS_OK;
}

double schedule_lr(const struct schedule *s, uint64_t tokens) {
  if (tokens < s->warmup_tokens)
    return s->lr * ((double)tokens / (double)s->warmup_tokens);
  if (tokens >= s->tokens_total)
    return s->lr_min;
  double done = (double)(tokens - s->warmup_tokens) / (double)(s->tokens_total - s->warmup_tokens);
  return s->lr_min + (s->lr - s->lr_min) * 0.5 * (1 + cos(3.14159265358979323846 * done));
}
