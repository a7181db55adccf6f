#include "node/train/curve.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct point {
  double x, y; /* tokens, nats */
};

/* A line of the picture. `stride` neighbours are averaged into a point; `gathered` are waiting. */
struct line {
  char name[NAME_BYTES_MAX];
  size_t count;
  uint64_t stride, gathered;
  struct point sum;
  double last; /* value seen last, for the legend */
  struct point points[CURVE_POINT_MAX];
};

struct curve {
  char name[NAME_BYTES_MAX];
  char unit[16];
  struct line train;
  size_t slice_count;
  struct line *slices[SLICE_COUNT_MAX];
};

enum { WIDTH = 760, HEIGHT = 400, LEFT = 58, RIGHT = 20, TOP = 44, BOTTOM = 46 };
#define LOSS_MAX 1e6 /* beyond this it is not a loss, and the axes would be useless */

enum status curve_open(struct curve **out, struct why *why) {
  struct curve *c = calloc(1, sizeof *c);
  if (!c)
    return why_say(why, STATUS_NOMEM, "no memory for a curve");
  c->train.stride = 1;
  memcpy(c->unit, "token", 6);
  *out = c;
  return STATUS_OK;
}

void curve_close(struct curve **c) {
  for (size_t i = 0; *c && i < (*c)->slice_count; i++)
    free((*c)->slices[i]);
  free(*c);
  *c = NULL;
}

static void halve(struct line *l) {
  for (size_t i = 0; i < l->count / 2; i++) {
    l->points[i].x = (l->points[2 * i].x + l->points[2 * i + 1].x) / 2;
    l->points[i].y = (l->points[2 * i].y + l->points[2 * i + 1].y) / 2;
  }
  l->count /= 2;
  l->stride *= 2;
}

static void add_point(struct line *l, double x, double y) {
  while (l->count && l->points[l->count - 1].x >= x)
    l->count--;
  if (!(fabs(y) < LOSS_MAX)) /* NaN too */
    return;
  l->last = y;
  l->sum.x += x;
  l->sum.y += y;
  if (++l->gathered < l->stride)
    return;
  if (l->count == CURVE_POINT_MAX)
    halve(l);
  double n = (double)l->gathered;
  l->points[l->count++] = (struct point){l->sum.x / n, l->sum.y / n};
  l->gathered = 0;
  l->sum = (struct point){0, 0};
}

static struct line *slice_line(struct curve *c, const char *name) {
  for (size_t i = 0; i < c->slice_count; i++)
    if (!strcmp(c->slices[i]->name, name))
      return c->slices[i];
  struct line *l = c->slice_count < SLICE_COUNT_MAX ? calloc(1, sizeof *l) : NULL;
  if (!l)
    return NULL;
  l->stride = 1;
  memcpy(l->name, name, strlen(name) + 1);
  c->slices[c->slice_count++] = l;
  return l;
}

void curve_take(void *curve, const struct metric *m) {
  struct curve *c = curve;
  struct line *l;
  switch (m->kind) {
    case METRIC_START:
      memcpy(c->name, m->name, sizeof c->name);
      memcpy(c->unit, m->unit, sizeof c->unit);
      break;
    case METRIC_STEP: add_point(&c->train, (double)m->tokens, m->loss); break;
    case METRIC_VALIDATION:
      l = slice_line(c, m->name);
      if (l)
        add_point(l, (double)m->tokens, m->loss);
      break;
    case METRIC_CHECKPOINT: break;
  }
}

/* The text of the picture, growing. */
struct page {
  char *at;
  size_t used, room;
  bool failed;
};

static bool page_room(struct page *p, size_t more) {
  if (p->room - p->used > more)
    return true;
  size_t room = p->room * 2 + more + 4096;
  char *at = p->failed ? NULL : realloc(p->at, room);
  if (!at) {
    p->failed = true;
    return false;
  }
  p->at = at;
  p->room = room;
  return true;
}

__attribute__((format(printf, 2, 3))) static void page_add(struct page *p, const char *format,
                                                           ...) {
  va_list args;
  if (!page_room(p, 1024))
    return;
  va_start(args, format);
  int wrote = vsnprintf(p->at + p->used, p->room - p->used, format, args);
  va_end(args);
  if (wrote > 0 && (size_t)wrote < p->room - p->used)
    p->used += (size_t)wrote;
}

static void page_text(struct page *p, const char *text) {
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '<' || c == '>' || c == '&' || c == '"')
      page_add(p, "&#%d;", c);
    else if (c >= 0x20 && c != 0x7f)
      page_add(p, "%c", c);
  }
}

/* Where values stand on the paper. */
struct frame {
  double x_most, y_least, y_most;
  double y_step;
};

static double paper_x(const struct frame *f, double x) {
  return LEFT + (WIDTH - LEFT - RIGHT) * x / f->x_most;
}

static double paper_y(const struct frame *f, double y) {
  double clipped = y > f->y_most ? f->y_most : y < f->y_least ? f->y_least : y;
  return TOP + (HEIGHT - TOP - BOTTOM) * (f->y_most - clipped) / (f->y_most - f->y_least);
}

/* 1, 2 or 5 times a power of ten, so that about `count` of them make up `span`. */
static double round_step(double span, int count) {
  double rough = span / count;
  double power = pow(10, floor(log10(rough)));
  double lead = rough / power;
  return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

static void widen(const struct line *l, struct frame *f) {
  for (size_t i = 0; i < l->count; i++) {
    f->y_least = fmin(f->y_least, l->points[i].y);
    f->y_most = fmax(f->y_most, l->points[i].y);
    f->x_most = fmax(f->x_most, l->points[i].x);
  }
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a;
  double y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* The first steps fall so far that the rest would be flat: what lies more than six times as far
 * above the lowest loss as the median does is left out at the top. */
static double top_of(const struct line *l, double least, double most) {
  static const double reach = 6;
  double *sorted = malloc(l->count * sizeof *sorted);
  if (!sorted)
    return most;
  for (size_t i = 0; i < l->count; i++)
    sorted[i] = l->points[i].y;
  qsort(sorted, l->count, sizeof *sorted, ascending);
  double top = least + reach * (sorted[l->count / 2] - least);
  free(sorted);
  return fmin(most, top);
}

static struct frame frame_of(const struct curve *c) {
  struct frame f = {.x_most = 1, .y_least = INFINITY, .y_most = -INFINITY};
  widen(&c->train, &f);
  for (size_t i = 0; i < c->slice_count; i++)
    widen(c->slices[i], &f);
  f.y_most = top_of(&c->train, f.y_least, f.y_most);
  if (f.y_most - f.y_least < 1e-3) {
    f.y_most += 0.5;
    f.y_least -= 0.5;
  }
  f.y_step = round_step(f.y_most - f.y_least, 6);
  f.y_least = floor(f.y_least / f.y_step) * f.y_step;
  f.y_most = ceil(f.y_most / f.y_step) * f.y_step;
  return f;
}

static void draw_head(struct page *p, const struct curve *c, const char *title) {
  page_add(p,
           "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
           "height=\"%d\" role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n"
           "<title>",
           WIDTH, HEIGHT, WIDTH, HEIGHT);
  page_text(p, title ? title : c->name);
  page_add(p,
           "</title>\n<style>\n"
           "text { fill: #768390 } .title { font-size: 15px; font-weight: 600 }\n"
           ".grid { stroke: #8b949e; stroke-opacity: 0.25 } path { fill: none }\n"
           "@media (prefers-color-scheme: light) {\n"
           "  text { fill: #57606a } .title { fill: #1f2328 }\n}\n"
           "@media (prefers-color-scheme: dark) {\n"
           "  text { fill: #9198a1 } .title { fill: #f0f6fc }\n}\n</style>\n");
  page_add(p, "<text class=\"title\" x=\"%d\" y=\"24\">", LEFT);
  page_text(p, title ? title : c->name);
  page_add(p, "</text>\n");
}

static const char *count_text(double count, char out[32]) {
  static const char *const units[] = {"", " k", " M", " G", " T", " P"};
  int unit = 0;
  while (count >= 1000 && unit < 5) {
    count /= 1000;
    unit++;
  }
  snprintf(out, 32, "%.3g%s", count, units[unit]);
  return out;
}

static void draw_axes(struct page *p, const struct curve *c, const struct frame *f) {
  char text[32];
  int rows = (int)((f->y_most - f->y_least) / f->y_step + 0.5);
  for (int i = 0; i <= rows; i++) {
    double value = f->y_least + i * f->y_step;
    double y = paper_y(f, value);
    page_add(p, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
             WIDTH - RIGHT, y, y);
    page_add(p, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT - 8, y + 4,
             fabs(value) < 1e-12 ? 0 : value);
  }
  double x_step = round_step(f->x_most, 6);
  for (double x = 0; x <= f->x_most * 1.0001; x += x_step)
    page_add(p, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", paper_x(f, x),
             HEIGHT - BOTTOM + 18, count_text(x, text));
  page_add(p, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">trained ", (LEFT + WIDTH - RIGHT) / 2,
           HEIGHT - 8);
  page_text(p, c->unit);
  page_add(p,
           "s</text>\n<text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">"
           "loss, nats per ",
           (TOP + HEIGHT - BOTTOM) / 2);
  page_text(p, c->unit);
  page_add(p, "</text>\n");
}

/* The mean around a point: over the same number of points before and after, so that it does not
 * lag; fewer near both ends. */
static double mean_around(const struct line *l, size_t at, size_t reach) {
  size_t after = l->count - 1 - at;
  size_t half = at / 2 < reach ? at / 2 : reach;
  half = half < after ? half : after;
  double sum = 0;
  for (size_t i = at - half; i <= at + half; i++)
    sum += l->points[i].y;
  return sum / (double)(2 * half + 1);
}

static void draw_line(struct page *p, const struct frame *f, const struct line *l,
                      const char *style, size_t reach) {
  bool begun = false;
  page_add(p, "<path %s d=\"", style);
  for (size_t i = 0; i < l->count; i++) {
    double y = mean_around(l, i, reach);
    if (!begun && y > f->y_most && i + 1 < l->count)
      continue;
    page_add(p, "%s%.1f %.1f", begun ? "L" : "M", paper_x(f, l->points[i].x), paper_y(f, y));
    begun = true;
  }
  page_add(p, "\"/>\n");
}

/* Middle tones that hold on white and on black. */
static const char *const colours[] = {"#e8743b", "#19a979", "#bf399e",
                                      "#945ecf", "#13a4b4", "#b5842f"};
enum { COLOUR_COUNT = sizeof colours / sizeof colours[0] };
static const char train_colour[] = "#4c8bf5";

static void draw_legend(struct page *p, int row, const char *colour, const char *name,
                        const char *what, double value) {
  int y = TOP + 16 + 18 * row;
  page_add(p, "<circle cx=\"%d\" cy=\"%d\" r=\"4\" fill=\"%s\"/>", WIDTH - RIGHT - 210, y - 4,
           colour);
  page_add(p, "<text x=\"%d\" y=\"%d\">", WIDTH - RIGHT - 200, y);
  page_text(p, what);
  page_text(p, name);
  page_add(p, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.3f</text>\n", WIDTH - RIGHT - 4,
           y, value);
}

static void draw_slice(struct page *p, const struct frame *f, const struct line *l, size_t index) {
  char style[96];
  const char *colour = colours[index % COLOUR_COUNT];
  snprintf(style, sizeof style, "stroke=\"%s\" stroke-width=\"2\"", colour);
  draw_line(p, f, l, style, 0);
  for (size_t i = 0; l->count <= 64 && i < l->count; i++)
    page_add(p, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
             paper_x(f, l->points[i].x), paper_y(f, l->points[i].y), colour);
  if (index < 12)
    draw_legend(p, (int)index + 1, colour, l->name, "validation: ", l->last);
}

static size_t smoothing(const struct line *l) {
  return l->count / 40 + 1;
}

/* The mean of the last points, as many as a smoothed one is made of. */
static double smooth_end(const struct line *l) {
  size_t count = 2 * smoothing(l) + 1;
  double sum = 0;
  count = count < l->count ? count : l->count;
  for (size_t i = l->count - count; i < l->count; i++)
    sum += l->points[i].y;
  return sum / (double)count;
}

enum status curve_draw(const struct curve *c, const char *title, char **svg, size_t *svg_bytes,
                       struct why *why) {
  if (c->train.count == 0)
    return why_say(why, STATUS_MISSING, "no training step to draw yet");
  struct page p = {0};
  struct frame f = frame_of(c);
  draw_head(&p, c, title);
  draw_axes(&p, c, &f);
  draw_line(&p, &f, &c->train, "stroke=\"#4c8bf5\" stroke-opacity=\"0.3\"", 0);
  draw_line(&p, &f, &c->train, "stroke=\"#4c8bf5\" stroke-width=\"2\"", smoothing(&c->train));
  draw_legend(&p, 0, train_colour, "training, smoothed", "", smooth_end(&c->train));
  for (size_t i = 0; i < c->slice_count; i++)
    draw_slice(&p, &f, c->slices[i], i);
  page_add(&p, "</svg>\n");
  if (p.failed) {
    free(p.at);
    return why_say(why, STATUS_NOMEM, "no memory for the picture of the curve");
  }
  *svg = p.at;
  *svg_bytes = p.used;
  return STATUS_OK;
}
