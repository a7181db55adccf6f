#include "kernels/engine_check.h"

#include "proto/base/claim.h"

void engine_check_linear(const struct linear_args *a) {
  CLAIM(a->M > 0 && a->N > 0 && a->K > 0);
  CLAIM(a->x && a->w && a->out);
  CLAIM(a->pre != a->out || !a->pre);
}

void engine_check_linear_grad(const struct linear_grad_args *a) {
  CLAIM(a->M > 0 && a->N > 0 && a->K > 0);
  CLAIM(a->dout);
  CLAIM(!a->dx || a->w);
  CLAIM(!a->dw || a->x);
  CLAIM(!a->dx || a->activation == ACTIVATION_NONE || a->pre);
  CLAIM(!a->dx || a->activation == ACTIVATION_NONE || !a->dx_accumulate);
}

void engine_check_norm(const struct norm_args *a) {
  CLAIM(a->M > 0 && a->C > 0);
  CLAIM(a->x && a->w && a->y && a->rstd);
  CLAIM(a->kind == NORM_RMS || (a->b && a->mean));
}

void engine_check_norm_grad(const struct norm_grad_args *a) {
  CLAIM(a->M > 0 && a->C > 0);
  CLAIM(a->dy && a->x && a->w && a->rstd);
  CLAIM(a->dx && a->dw);
  CLAIM(a->kind == NORM_RMS || (a->db && a->mean));
}

void engine_check_rope(const struct rope_args *a) {
  CLAIM(a->B > 0 && a->T > 0 && a->heads > 0);
  CLAIM(a->R >= 0 && a->R % 2 == 0);
  CLAIM(a->position >= 0);
  CLAIM(a->x && (a->table || a->R == 0));
  CLAIM(a->heads == 1 || a->head_stride >= a->R);
  CLAIM(a->row_stride >= (a->heads - 1) * a->head_stride + a->R);
}

void engine_check_attention(const struct attention_args *a) {
  CLAIM(a->B > 0 && a->T > 0 && a->S >= a->T);
  CLAIM(a->D > 0 && a->D <= SHAPE_D_MAX);
  CLAIM(a->HK > 0 && a->H >= a->HK && a->H % a->HK == 0);
  CLAIM(a->q && a->k && a->v && a->o && a->lse);
  CLAIM(a->H == 1 || a->q_head >= a->D);
  CLAIM(a->HK == 1 || a->kv_head >= a->D);
  CLAIM(a->q_row >= (a->H - 1) * a->q_head + a->D);
  CLAIM(a->kv_row >= (a->HK - 1) * a->kv_head + a->D);
}

void engine_check_attention_grad(const struct attention_grad_args *a) {
  engine_check_attention(&a->forward);
  CLAIM(a->forward.S == a->forward.T);
  CLAIM(a->dout && a->dq && a->dk && a->dv);
}

void engine_check_head(const struct head_args *a) {
  CLAIM(a->M > 0 && a->C > 0);
  CLAIM(a->V > 0 && a->V <= SHAPE_V_MAX);
  CLAIM(a->h && a->w && a->targets && a->loss);
  CLAIM(!a->dh == !a->dw);
}

void engine_check_adamw(const struct adamw_args *a) {
  CLAIM(a->count >= 0 && a->step >= 1);
  CLAIM(a->p && a->g && a->m && a->v);
}
