/* What the programs have counted for one guest up to a moment, as it stands in their maps, and
 * what comes of it: rows with names. Plain data; the second half is pure. */
#ifndef KVMPROFS_EXITS_RAW_H
#define KVMPROFS_EXITS_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "profiler/exits/abi.h"
#include "profiler/exits/plan.h"
#include "profiler/exits/snapshot.h"

struct exits_raw_thread {
	uint32_t tid; /* its number, also when another process has it by now */
	struct exits_thread t;
};

struct exits_raw_row {
	struct exits_key key;
	struct exits_row row;
};

struct exits_raw {
	uint64_t taken_ns;	/* clock_now_ns(), which is the programs' clock too */
	struct exits_lost lost; /* since the engine runs */
	uint64_t kernel_irqs;	/* interrupts by the kernel's own threads, for whatever guest */
	size_t thread_count;
	struct exits_raw_thread *threads;
	size_t row_count;
	struct exits_raw_row *rows;
};
void exits_raw_deinit(struct exits_raw *raw);

/* That thread as it was then; NULL: it was not there. */
const struct exits_thread *exits_raw_find(const struct exits_raw *raw, uint32_t tid,
					  uint64_t began);

/* How many interrupts that entry counts: of the events that inject some. */
uint64_t exits_raw_irqs(const struct exits_thread *t, const struct exits_fields *fields);

static inline uint32_t exits_number_of(const struct exits_thread *t)
{
	return t->tid ? t->tid : t->had_tid;
}

/* Appends; -ENOMEM. */
int exits_raw_add_thread(struct exits_raw *raw, uint32_t tid, const struct exits_thread *t);
int exits_raw_add_row(struct exits_raw *raw, const struct exits_key *key,
		      const struct exits_row *row);

/* Of each vCPU, the thread was read before the rows: so an exit that was under way then, and
 * counts, is known to be in its row already when it ended meanwhile. What has been counted since
 * `before` (NULL: all of it), of one vCPU's thread or of all (tid 0). The least and longest time
 * since then are known exactly when they are new records, else from the histogram. Fills what comes
 * from counts; *ret is to be zero or exits_deinit()ed. -ENOMEM. */
int exits_raw_show(const struct exits_raw *raw, const struct exits_raw *before, uint32_t tid,
		   const struct exits_plan *plan, struct exits *ret);

#endif
