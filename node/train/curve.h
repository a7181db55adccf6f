/* curve: the losses of a run as a picture, SVG, readable on light and dark backgrounds.
 *
 *   struct curve *c;
 *   TRY(curve_open(&c, &why));
 *   TRY(metrics_read(path, curve_take, c, &bad, &why));
 *   TRY(curve_draw(c, NULL, &svg, &svg_bytes, &why));         // free(svg)
 *   curve_close(&c);
 *
 * Training loss faint as it was and firm as it is on average, validation loss of each slice, over
 * trained tokens, in nats per token (or per byte, where a token is one). Memory does not grow with
 * the run: past CURVE_POINT_MAX points neighbours are averaged. When steps repeat (a run resumed
 * further back), the later ones count. Pure. */
#ifndef CARAVAN_CURVE_H
#define CARAVAN_CURVE_H

#include "node/train/metrics.h"
#include "proto/base/status.h"

enum { CURVE_POINT_MAX = 2048 }; /* of each line; even */

struct curve;

CHECKED enum status curve_open(struct curve **out, struct why *why); /* NOMEM */
void curve_close(struct curve **c);                                  /* nulls *c */
/* Add a metric; the shape that metrics_read wants. Slices past SLICE_COUNT_MAX are not drawn. */
void curve_take(void *curve, const struct metric *m);
/* The picture; the caller frees *svg. title NULL: the run's name. MISSING: no step yet. NOMEM. */
CHECKED enum status curve_draw(const struct curve *c, const char *title, char **svg,
                               size_t *svg_bytes, struct why *why);

#endif
