#include "kernels/cpu/io_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "proto/base/claim.h"

/* About 50 µs of pauses: a pause is 40 to 140 cycles on the processors of the last ten years. */
enum { SPIN_COUNT = 2000 };

struct io_pool {
  int thread_count;
  int started; /* threads to join */
  pthread_t threads[THREAD_COUNT_MAX];

  /* The job. Written by the caller before `job` is raised, read by the threads after they saw it;
   * none is written again before every thread has lowered `busy`. */
  void (*work)(void *context, int64_t item, int thread);
  void *context;
  int64_t items;
  bool stop;

  _Alignas(64) _Atomic uint64_t job;
  _Alignas(64) _Atomic int64_t next; /* item that nobody has taken yet */
  _Alignas(64) _Atomic int busy;     /* threads, without the caller, that have not finished */

  /* Whoever goes to sleep counts itself first and looks again, whoever changes `job` or `busy`
   * looks at the count afterwards: one of the two always sees the other. */
  _Alignas(64) _Atomic int sleepers;
  _Atomic int caller_sleeps;
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
};

struct starter {
  struct io_pool *pool;
  int thread;
};

static void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__powerpc64__)
  __asm__ volatile("or 27,27,27");
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void take_items(struct io_pool *p, int thread) {
  for (;;) {
    int64_t item = atomic_fetch_add(&p->next, 1);
    if (item >= p->items)
      return;
    p->work(p->context, item, thread);
  }
}

static void wait_for_job(struct io_pool *p, uint64_t seen) {
  for (int i = 0; i < SPIN_COUNT; i++) {
    if (atomic_load(&p->job) != seen)
      return;
    pause_briefly();
  }
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->sleepers, 1);
  while (atomic_load(&p->job) == seen)
    pthread_cond_wait(&p->wake, &p->lock);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->lock);
}

static void *serve(void *argument) {
  struct starter s = *(struct starter *)argument;
  free(argument);
  struct io_pool *p = s.pool;
  for (uint64_t seen = 0;;) {
    wait_for_job(p, seen);
    seen++;
    if (p->stop)
      return NULL;
    take_items(p, s.thread);
    if (atomic_fetch_sub(&p->busy, 1) == 1 && atomic_load(&p->caller_sleeps)) {
      pthread_mutex_lock(&p->lock);
      pthread_cond_signal(&p->done);
      pthread_mutex_unlock(&p->lock);
    }
  }
}

static void raise_job(struct io_pool *p) {
  atomic_fetch_add(&p->job, 1);
  if (atomic_load(&p->sleepers) == 0)
    return;
  pthread_mutex_lock(&p->lock);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
}

void io_pool_run(struct io_pool *p, int64_t items,
                 void (*work)(void *context, int64_t item, int thread), void *context) {
  if (p->thread_count == 1 || items <= 1) {
    for (int64_t i = 0; i < items; i++)
      work(context, i, 0);
    return;
  }
  p->work = work;
  p->context = context;
  p->items = items;
  atomic_store(&p->next, 0);
  atomic_store(&p->busy, p->thread_count - 1);
  raise_job(p);
  take_items(p, 0);
  for (int i = 0; i < SPIN_COUNT; i++) {
    if (atomic_load(&p->busy) == 0)
      return;
    pause_briefly();
  }
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->caller_sleeps, 1);
  while (atomic_load(&p->busy) != 0)
    pthread_cond_wait(&p->done, &p->lock);
  atomic_store(&p->caller_sleeps, 0);
  pthread_mutex_unlock(&p->lock);
}

static int start_thread(struct io_pool *p, int thread) {
  struct starter *s = malloc(sizeof *s);
  if (!s)
    return -1;
  *s = (struct starter){.pool = p, .thread = thread};
  int error = pthread_create(&p->threads[thread], NULL, serve, s);
  if (error)
    free(s);
  else
    p->started++;
  return error;
}

enum status io_pool_open(int thread_count, struct io_pool **out, struct why *why) {
  CLAIM(thread_count >= 1);
  CLAIM(thread_count <= THREAD_COUNT_MAX);
  struct io_pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
  if (!p)
    return why_say(why, STATUS_NOMEM, "no memory for a pool of %d threads", thread_count);
  *p = (struct io_pool){.thread_count = thread_count};
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->done, NULL);
  for (int i = 1; i < thread_count; i++) {
    int error = start_thread(p, i);
    if (error) {
      io_pool_close(&p);
      if (error < 0)
        return why_say(why, STATUS_NOMEM, "no memory to start thread %d of %d", i, thread_count);
      return why_errno(why, error, "cannot start a worker thread; try fewer: thread", "pool");
    }
  }
  *out = p;
  return STATUS_OK;
}

void io_pool_close(struct io_pool **pool) {
  struct io_pool *p = *pool;
  if (!p)
    return;
  p->stop = true;
  raise_job(p);
  for (int i = 1; i <= p->started; i++)
    pthread_join(p->threads[i], NULL);
  pthread_cond_destroy(&p->done);
  pthread_cond_destroy(&p->wake);
  pthread_mutex_destroy(&p->lock);
  free(p);
  *pool = NULL;
}
