/* io_pool: a few threads that do one job together, many thousand times a second.
 *
 *   TRY(io_pool_open(2, &pool, &why));
 *   io_pool_run(pool, items, work, &context);   // work(&context, item, thread) for every item
 *   io_pool_close(&pool);
 *
 * The caller works too, as thread 0. Items are handed out in order to whoever is free, so a core
 * that something else has taken slows the job by its own share only. What an item computes must
 * not depend on which thread has it (the thread number is for picking scratch memory), and then the
 * result is the same every time.
 *
 * Between jobs a thread spins for some ten microseconds, which is how far apart the jobs of a
 * training step are, and then sleeps. io_pool_run does not allocate. One caller at a time. */
#ifndef CARAVAN_IO_POOL_H
#define CARAVAN_IO_POOL_H

#include <stdint.h>

#include "proto/base/limits.h"
#include "proto/base/status.h"

struct io_pool;

/* thread_count: 1 … THREAD_COUNT_MAX, the caller included. NOMEM, SYSTEM: no thread to be had. */
CHECKED enum status io_pool_open(int thread_count, struct io_pool **out, struct why *why);
void io_pool_run(struct io_pool *p, int64_t items,
                 void (*work)(void *context, int64_t item, int thread), void *context);
void io_pool_close(struct io_pool **p); /* nulls *p; *p may be NULL */

#endif
