/* One CPU's event and its ring: opened before the daemon forks, mapped after it, since the
 * kernel takes the mapping away from a child (VM_DONTCOPY). Owned by one thread at a time.
 */
#ifndef KVMPROFS_CPURING_H
#define KVMPROFS_CPURING_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/perfopen.h"
#include "profiler/ringmap.h"

#define CPURING_BYTES (256u << 10) /* 8 s of samples at 1 kHz; a power of 2 */

struct cpuring {
	unsigned cpu;
	int fd;
	struct ringmap map;
	struct ring ring;
	bool hung_up;	       /* the event has ended */
	uint64_t lost;	       /* as last read */
	uint64_t time_enabled; /* likewise */
	unsigned stuck;	       /* readings for which time_enabled stood still */
};

/* Opens the event, disabled, and sees that it can be mapped. 0, or negative errno and why. */
int cpuring_open(struct cpuring *c, const struct perf_world *w, const struct perf_plan *plan,
		 unsigned cpu, struct errmsg *why);
/* Maps the ring, with fewer pages where the kernel grants no more, and starts the event. */
int cpuring_start(struct cpuring *c, const struct perf_plan *plan, struct errmsg *why);
/* Accepts one that was never opened if fd is -1. */
void cpuring_close(struct cpuring *c);

/* Asks the kernel how many records it could not write since the last call (0 when it cannot
 * tell). *ret_dead is set when the event has ended, as it does when its CPU goes offline. */
uint64_t cpuring_new_lost(struct cpuring *c, const struct perf_plan *plan, bool *ret_dead);

#endif
