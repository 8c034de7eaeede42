/* The mapping of a perf event's ring buffer. Owned by one thread at a time. */
#ifndef KVMPROFS_RINGMAP_H
#define KVMPROFS_RINGMAP_H

#include <stddef.h>

#include "profiler/ring.h"

struct ringmap {
	void *map; /* NULL: not mapped */
	size_t size;
};

/* Maps a ring of `bytes` (a power of 2), or of less where the kernel grants no more. 0 or negative
 * errno: -EPERM at the limit of locked memory (kernel.perf_event_mlock_kb, RLIMIT_MEMLOCK). */
int ringmap_open(struct ringmap *m, int fd, size_t bytes);
void ringmap_close(struct ringmap *m); /* harmless when it is not mapped */

/* Sets the reader up for what is mapped. */
void ringmap_init_ring(const struct ringmap *m, struct ring *r);

#endif
