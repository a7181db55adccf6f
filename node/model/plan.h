/* plan: whether a model fits, said before anything is taken, and what would fit if it does not.
 *
 *   if (plan_fit(engine, &arch, &options, free_bytes, &plan, &why) == STATUS_NOMEM)
 *     fprintf(stderr, "%s\n", why.text);
 *     → needs 5.2 GB and 4.0 GB are there; it would fit with recompute layer (3.7 GB)
 *
 * plan_make is in transformer.h. Pure. */
#ifndef CARAVAN_PLAN_H
#define CARAVAN_PLAN_H

#include "node/model/transformer.h"

enum { PLAN_TEXT_BYTES_MAX = 256 };

const char *plan_recompute_name(enum transformer_recompute r); /* "none", "cheap", "layer" */

/* plan_make, and whether its total is at most `bytes`. NOMEM: no; *out is filled all the same, and
 * why says what would fit: more recomputing, a smaller micro-batch, or a smaller preset. */
CHECKED enum status plan_fit(const struct engine *e, const struct arch *a,
                             const struct transformer_options *o, size_t bytes, struct plan *out,
                             struct why *why);

/* One line: "1.13 GB: weights 282 MB, gradients 282 MB, …". out: PLAN_TEXT_BYTES_MAX. */
const char *plan_text(const struct plan *p, char *out);

#endif
