/* The tables of VM exits in this process, and the counting of events into them: what the programs
 * in the kernel do, made of the same C (counting.h). Owned by one thread at a time, which waits for
 * nothing but a file of /proc when a thread of the kernel is seen for the first time. */
#ifndef KVMPROFS_EXITS_TABLES_H
#define KVMPROFS_EXITS_TABLES_H

#include "profiler/exits/hash.h"
#include "profiler/exits/sizes.h"
#include "profiler/exits/source.h"
#include "profiler/tracesample.h"

struct exits_tables {
	struct exits_constants constants;
	struct exits_hash threads, processes, rows[EXITS_MAPS];
	struct exits_hash
		kernel_threads; /* tid: the process that it works for, as native.c knows */
	uint32_t pools[EXITS_MAPS];
	uint32_t without_number; /* threads that another process has the number of, ever */
	uint64_t lost;		 /* events for which there was no room */
	const char *proc;
	struct trace_sample now; /* the event that is counted */
};

/* proc: "/proc", kept. -ENOMEM. */
int exits_tables_init(struct exits_tables *t, const struct exits_fields *fields,
		      const struct exits_sizes *sizes, const char *proc);
void exits_tables_deinit(struct exits_tables *t); /* harmless when it is all zero */

/* What counts one tracepoint. */
struct exits_counting {
	int (*run)(void *event); /* NULL: it is only counted */
	int32_t index;		 /* then in exits_thread.events */
};
/* The function of that name, as struct exits_hook has it. -ENOENT. */
int exits_counting_find(const char *program, struct exits_counting *ret);

/* Counts one event. Those of one thread are to come in their order. */
void exits_tables_count(struct exits_tables *t, const struct exits_counting *counting,
			const struct trace_sample *sample);

/* As of struct exits_source_ops; read leaves the moment and what was lost to the caller. */
int exits_tables_read(const struct exits_tables *t, uint32_t tgid, struct exits_raw *ret);
int exits_tables_read_thread(const struct exits_tables *t, uint32_t tid, struct exits_thread *ret);
int exits_tables_lasts(const struct exits_tables *t, exits_last_fn *fn, void *ctx);
void exits_tables_forget(struct exits_tables *t, exits_keep_fn *keep, void *ctx);

#endif
