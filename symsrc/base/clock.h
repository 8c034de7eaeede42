/* Time: nanoseconds of CLOCK_MONOTONIC everywhere; the wall clock is only ever shown. */
#ifndef KVMPROFS_BASE_CLOCK_H
#define KVMPROFS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_USEC 1000ULL

static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* What is left until the moment deadline_ns, in milliseconds rounded up, for poll(2); 0 once
 * it has passed, at most one hour. */
static inline int clock_left_ms(uint64_t deadline_ns)
{
	uint64_t now = clock_now_ns();
	uint64_t left = deadline_ns > now ? deadline_ns - now : 0;

	if (left > 3600 * NSEC_PER_SEC)
		left = 3600 * NSEC_PER_SEC;
	return (int)((left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

#endif
