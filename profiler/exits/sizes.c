#include "profiler/exits/sizes.h"

#define THREADS_PER_CPU	    32
#define THREADS_LEAST	    1024
#define THREADS_MOST	    4096
#define THREADS_PER_GUEST   8
#define REASONS_PER_THREAD  8
#define ACCESSES_PER_THREAD 16

static uint32_t threads_wanted(unsigned cpus)
{
	uint32_t n = cpus < THREADS_MOST ? cpus * THREADS_PER_CPU : THREADS_MOST;

	if (n < THREADS_LEAST)
		return THREADS_LEAST;
	return n > THREADS_MOST ? THREADS_MOST : n;
}

void exits_sizes_of(unsigned cpus, struct exits_sizes *ret)
{
	uint32_t threads = threads_wanted(cpus);

	*ret = (struct exits_sizes){
		.threads = threads,
		.processes = threads / THREADS_PER_GUEST,
		.rows = {[EXITS_REASONS] = threads * REASONS_PER_THREAD,
			 [EXITS_ACCESSES] = threads * ACCESSES_PER_THREAD},
	};
	for (int i = 0; i < EXITS_MAPS; i++) {
		struct exits_limits *l = &ret->limits[i];

		l->sure = ret->rows[i] / 2 / ret->processes;
		l->pool = ret->rows[i] / 8 * 3;
		l->most = l->sure + l->pool / 2;
	}
}
