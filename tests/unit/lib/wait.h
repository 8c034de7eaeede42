/* Waiting for what is going to happen, however slow the machine is. */
#ifndef KVMPROFS_TESTS_WAIT_H
#define KVMPROFS_TESTS_WAIT_H

#include <poll.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"

/* So long that only what never happens takes longer, also on two busy cores under a sanitizer. */
#define PATIENCE_S 60

/* Evaluates the condition now and then until it holds; fails the test when it never does. */
#define wait_until(condition) wait_until__(condition, poll(NULL, 0, 5))

/* The same with a busy CPU meanwhile. */
#define spin_until(condition) wait_until__(condition, spin_ms(5))

static inline void spin_ms(uint64_t ms)
{
	uint64_t until = clock_now_ns() + ms * NSEC_PER_MSEC;

	while (clock_now_ns() < until)
		continue;
}

/* How often a promise of speed is tried: whatever is promised, a busy machine may keep everybody
 * waiting for a moment. Who breaks the promise does so each time. */
#define TRIES 5

/* Fails the test unless the condition holds once. */
#define try_until(condition)                                                             \
	do {                                                                             \
		int tries__ = TRIES;                                                     \
		while (!(condition)) {                                                   \
			if (--tries__ == 0)                                              \
				fail_msg("not once in %d tries: %s", TRIES, #condition); \
		}                                                                        \
	} while (0)

/* Sanitizers make all slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 4
#else
#define SLOWER 1
#endif

/* The CPU time of this thread: what others do beside it does not count. */
static inline uint64_t cpu_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

#define wait_until__(condition, meanwhile)                                               \
	do {                                                                             \
		uint64_t end__ = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;             \
		while (!(condition)) {                                                   \
			if (clock_now_ns() > end__)                                      \
				fail_msg("not within %d s: %s", PATIENCE_S, #condition); \
			meanwhile;                                                       \
		}                                                                        \
	} while (0)

#endif
