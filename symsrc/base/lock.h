/* Mutex and condition variable that clang's thread analysis understands, and a condition wait
 * that counts on CLOCK_MONOTONIC, so that a set wall clock wakes nobody.
 *
 * clang checks the annotations in `make lint`; gcc ignores them. A struct member cannot name
 * its sibling in C, so the lock of a field stands in a comment beside the field, and a
 * function that needs a lock held is called with_lock__... and says so.
 */
#ifndef KVMPROFS_BASE_LOCK_H
#define KVMPROFS_BASE_LOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "symsrc/base/clock.h"

#if defined(__clang__)
#define LOCK_ATTR(x) __attribute__((x))
#else
#define LOCK_ATTR(x)
#endif

struct LOCK_ATTR(capability("mutex")) mutex {
	pthread_mutex_t m;
};

struct cond {
	pthread_cond_t c;
};

static inline void mutex_init(struct mutex *l)
{
	pthread_mutex_init(&l->m, NULL);
}

static inline void mutex_deinit(struct mutex *l)
{
	pthread_mutex_destroy(&l->m);
}

static inline void mutex_lock(struct mutex *l) LOCK_ATTR(acquire_capability(*l))
	LOCK_ATTR(no_thread_safety_analysis)
{
	pthread_mutex_lock(&l->m);
}

static inline void mutex_unlock(struct mutex *l) LOCK_ATTR(release_capability(*l))
	LOCK_ATTR(no_thread_safety_analysis)
{
	pthread_mutex_unlock(&l->m);
}

static inline void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->c, &attr);
	pthread_condattr_destroy(&attr);
}

static inline void cond_deinit(struct cond *c)
{
	pthread_cond_destroy(&c->c);
}

static inline void cond_wait(struct cond *c, struct mutex *l) LOCK_ATTR(requires_capability(*l))
{
	pthread_cond_wait(&c->c, &l->m);
}

/* Returns 0, or ETIMEDOUT once deadline_ns (clock_now_ns()) has passed. Wakes early for no
 * reason like any condition wait: use it in a loop that looks at the condition. */
static inline int cond_wait_until(struct cond *c, struct mutex *l, uint64_t deadline_ns)
	LOCK_ATTR(requires_capability(*l))
{
	struct timespec ts = {.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
			      .tv_nsec = (long)(deadline_ns % NSEC_PER_SEC)};

	return pthread_cond_timedwait(&c->c, &l->m, &ts);
}

static inline void cond_signal(struct cond *c)
{
	pthread_cond_signal(&c->c);
}

static inline void cond_broadcast(struct cond *c)
{
	pthread_cond_broadcast(&c->c);
}

#endif
