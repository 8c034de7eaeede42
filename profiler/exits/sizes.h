/* How much may be counted, by the size of the host: of both engines. Pure. */
#ifndef KVMPROFS_EXITS_SIZES_H
#define KVMPROFS_EXITS_SIZES_H

#include <stdint.h>

#include "profiler/exits/abi.h"

struct exits_sizes {
	uint32_t threads;
	uint32_t processes;
	uint32_t rows[EXITS_MAPS];
	struct exits_limits limits[EXITS_MAPS];
};

/* cpus: of the host. What all processes are sure of and the pool fit into the rows, with an eighth
 * left over for those that add at the same moment. */
void exits_sizes_of(unsigned cpus, struct exits_sizes *ret);

#endif
