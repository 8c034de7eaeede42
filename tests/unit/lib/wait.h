/* Waiting for what is going to happen, however slow the machine is. */
#ifndef KVMPROFS_TESTS_WAIT_H
#define KVMPROFS_TESTS_WAIT_H

#include <poll.h>

#include "symsrc/base/clock.h"

/* So long that only what never happens takes longer, also on two busy cores under a sanitizer. */
#define PATIENCE_S 60

/* Evaluates the condition now and then until it holds; fails the test when it never does. */
#define wait_until(condition) wait_until__(condition, poll(NULL, 0, 5))

/* The same with a busy CPU meanwhile. */
#define spin_until(condition) wait_until__(condition, (void)0)

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
