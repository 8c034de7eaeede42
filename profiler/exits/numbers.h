/* The programs' way to tell all other threads of the host from those that have an entry, without a
 * look into a hash map (exits.bpf.c, `numbers`), as seen from this process, which shares it with
 * them. */
#ifndef KVMPROFS_EXITS_NUMBERS_H
#define KVMPROFS_EXITS_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

#include "profiler/exits/abi.h"

/* A place, and the thread that it was of. */
struct exits_gone {
	uint32_t place, tid;
};

/* numbers: EXITS_NUMBERS of them. Those that stand for the `gone` ones alone become 0 again, and
 * those of threads that there are stay what they are or become another one's than 0: to be called
 * once no program runs any more that knows one of the gone ones, and before their places are used
 * again. Programs may run meanwhile, and add threads: one that does so just now and has the low
 * bits of one that is gone may be taken for a stranger for the time of its next event of the
 * scheduler. */
void exits_numbers_renew(uint32_t *numbers, const struct exits_thread_place *threads,
			 uint32_t thread_count, const struct exits_gone *gone, size_t gone_count);

#endif
