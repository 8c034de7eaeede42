/* What counts VM exits: programs in the kernel (bpf.h), or this process out of perf's rings
 * (rings.h). Both fill the same tables; everything may be called from any thread. */
#ifndef KVMPROFS_EXITS_SOURCE_H
#define KVMPROFS_EXITS_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/exits/raw.h"

typedef int exits_last_fn(void *ctx, uint32_t tgid, uint64_t last_ns);
typedef bool exits_keep_fn(void *ctx, uint32_t tgid);

struct exits_source;

#define EXITS_EVERYBODY UINT32_MAX /* as a tgid: of all processes */
static inline bool exits_is_of(uint32_t tgid, uint32_t wanted)
{
	return tgid == wanted || wanted == EXITS_EVERYBODY;
}

struct exits_source_ops {
	const char *name; /* in the files: "bpf", "perf" */
	/* What has been counted for one process, or EXITS_EVERYBODY, up to now. 0, -ENOMEM, or what
	 * the kernel says. It takes as long as copying the tables. */
	int (*read)(struct exits_source *s, uint32_t tgid, struct exits_raw *ret);
	/* One thread's entry; -ENOENT. */
	int (*read_thread)(struct exits_source *s, uint32_t tid, struct exits_thread *ret);
	/* Calls fn with each vCPU's process and the moment when that vCPU last exited, was switched
	 * or the like. Negative: what fn returned, or the kernel. */
	int (*lasts)(struct exits_source *s, exits_last_fn *fn, void *ctx);
	/* Events that were not counted since it began. */
	void (*lost)(struct exits_source *s, struct exits_lost *ret);
	/* To be called now and then: forgets every process that `keep` does not want, which is
	 * called for each entry, and sees which CPUs there are. Entries that a thread which still
	 * runs makes again start at zero. */
	void (*look)(struct exits_source *s, exits_keep_fn *keep, void *ctx);
	/* Counts what waits: to be called when `fd` is readable. NULL where nothing waits. */
	void (*work)(struct exits_source *s);
	void (*free)(struct exits_source *s); /* ends the counting */
};

struct exits_source {
	const struct exits_source_ops *ops;
	int fd; /* the source's; -1: there is none to wait for */
};

#endif
