#include "profiler/exits/sizes.h"

#define THREADS_PER_CPU 128 /* a hundred guests with as many vCPUs as the host has CPUs */
#define THREADS_LEAST	1024
#define THREADS_MOST	16384
/* Rows are for fewer, since most vCPUs of so many have little to count. */
#define BUSY_PER_CPU	    32
#define BUSY_MOST	    4096
#define THREADS_PER_GUEST   8
#define REASONS_PER_THREAD  8
#define ACCESSES_PER_THREAD 16

static uint32_t wanted(unsigned cpus, uint32_t per_cpu, uint32_t most)
{
	uint32_t n = cpus < most ? cpus * per_cpu : most;

	if (n < THREADS_LEAST)
		return THREADS_LEAST;
	return n > most ? most : n;
}

void exits_sizes_of(unsigned cpus, struct exits_sizes *ret)
{
	uint32_t busy = wanted(cpus, BUSY_PER_CPU, BUSY_MOST);

	*ret = (struct exits_sizes){
		.threads = wanted(cpus, THREADS_PER_CPU, THREADS_MOST),
		.processes = busy / THREADS_PER_GUEST,
		.rows = {[EXITS_REASONS] = busy * REASONS_PER_THREAD,
			 [EXITS_ACCESSES] = busy * ACCESSES_PER_THREAD},
	};
	for (int i = 0; i < EXITS_MAPS; i++) {
		struct exits_limits *l = &ret->limits[i];

		l->sure = ret->rows[i] / 2 / ret->processes;
		l->pool = ret->rows[i] / 8 * 3;
		l->most = l->sure + l->pool / 2;
	}
}
