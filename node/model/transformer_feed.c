/* Generation: tokens are fed one after another, keys and values of those before stay in a cache. */
#include "node/model/transformer_inside.h"
#include "proto/base/claim.h"

void transformer_rewind(struct transformer *t) {
  t->fed = 0;
}

/* The part of the cache that belongs to a layer. */
static void *layer_cache(const struct transformer *t, int64_t index) {
  size_t values = (size_t)(t->options.T * layout_cache_channels(&t->arch));
  return (char *)t->cache + (size_t)index * values * transformer_value_bytes(t);
}

enum status transformer_feed(struct transformer *t, const int32_t *tokens, int64_t count,
                             float *logits, struct why *why) {
  CLAIM(t->cache);
  if (count < 1)
    return why_say(why, STATUS_RANGE, "%lld tokens to feed; there must be at least one",
                   (long long)count);
  if (count > t->options.T - t->fed)
    return why_say(why, STATUS_FULL, "%lld tokens after %lld; the model sees at most %lld",
                   (long long)count, (long long)t->fed, (long long)t->options.T);
  TRY(transformer_check_tokens(t, tokens, count, false, why));
  int32_t *ids = transformer_buffer(t, LAYOUT_TOKENS);
  char *x = transformer_buffer(t, LAYOUT_X);
  t->e->ops->upload_i32(t->e, ids, tokens, count);
  t->e->ops->embed(t->e, x, t->at.embed, ids, count, t->arch.C, t->arch.V);
  for (int64_t i = 0; i < t->arch.L; i++) {
    struct layer l = transformer_layer(t, i, 1, count, false);
    l.cache = layer_cache(t, i);
    l.position = t->fed;
    layer_forward(&l, LAYER_ALL);
  }
  if (logits) {
    size_t row_bytes = (size_t)t->arch.C * transformer_value_bytes(t);
    transformer_final_norm(t, x + (size_t)(count - 1) * row_bytes, 1);
    transformer_head_logits(t, 0, 1, logits);
  }
  TRY(engine_sync(t->e, why));
  t->fed += count;
  return STATUS_OK;
}
