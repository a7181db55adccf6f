/* engine_check: what every implementation may take for granted about the arguments of an op.
 *
 *   static void cpu_linear(struct engine *e, const struct linear_args *a) {
 *     engine_check_linear(a);
 *     …
 *
 * Shapes are the duty of the model code, so a wrong one is a CLAIM that stops the process before
 * memory is overrun. Each call costs a few comparisons; the values of tensors, and engine memory,
 * are never read. */
#ifndef CARAVAN_ENGINE_CHECK_H
#define CARAVAN_ENGINE_CHECK_H

#include "kernels/engine.h"

void engine_check_linear(const struct linear_args *a);
void engine_check_linear_grad(const struct linear_grad_args *a);
void engine_check_norm(const struct norm_args *a);
void engine_check_norm_grad(const struct norm_grad_args *a);
void engine_check_rope(const struct rope_args *a);
void engine_check_attention(const struct attention_args *a);
void engine_check_attention_grad(const struct attention_grad_args *a);
void engine_check_head(const struct head_args *a);
void engine_check_adamw(const struct adamw_args *a);

#endif
