/* Tracepoints of one CPU, all of which write into one ring: every event of them on that CPU,
 * whoever runs. They are one group, so that one read(2) tells what was lost. Owned by one thread at
 * a time. */
#ifndef KVMPROFS_CPUGROUP_H
#define KVMPROFS_CPUGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/ringmap.h"

struct cpugroup {
	unsigned cpu;
	bool exact_lost; /* the kernel has PERF_FORMAT_LOST (since 6.0) */
	size_t count;
	int *fds; /* one for each tracepoint; the first one leads and has the ring */
	struct ringmap map;
	struct ring ring;
	uint64_t lost;	       /* samples that found no room; without exact_lost as records told */
	uint64_t time_enabled; /* as last read */
};

/* Opens and starts them. ids: of tracepoints, at least one; bytes: of the ring, a power of 2. 0 or
 * negative errno: -EPERM and -EACCES without CAP_PERFMON or in lockdown, -EMFILE, ... */
int cpugroup_open(struct cpugroup *g, unsigned cpu, const uint32_t *ids, size_t count,
		  size_t bytes);
void cpugroup_close(struct cpugroup *g); /* harmless when it is all zero */

/* What poll(2) sees as POLLIN when half of the ring is full. */
static inline int cpugroup_fd(const struct cpugroup *g)
{
	return g->fds[0];
}

/* Brings `lost` up to date, and says whether the events still count: they do not once their CPU
 * has been offline. To be asked again after a millisecond at least. It interrupts that CPU. */
bool cpugroup_check(struct cpugroup *g);

#endif
