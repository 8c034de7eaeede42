/* A guest's RAM as the decoders see it: bytes at guest-physical addresses, behind two callbacks.
 *
 * Who implements the callbacks: vmmram.c over a VMM's address space, the tests over a dump or
 * over RAM that they forge. Who reads them: everything in symsrc/memory, which knows neither
 * processes nor descriptors.
 *
 * The guest runs meanwhile and may write what it likes at any time: what was read twice may
 * differ, and each count, length, address and link in it is a stranger's. All reading goes
 * through ram_read(), which keeps a budget: whatever a guest has its tables say, the walk ends.
 *
 * Used by one thread at a time.
 */
#ifndef KVMPROFS_MEMORY_RAM_H
#define KVMPROFS_MEMORY_RAM_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/source.h"

#define RAM_PAGE 4096u

/* What one fetch may read in all, and what a single read counts at least. */
#define RAM_BUDGET	((uint64_t)64 << 30)
#define RAM_READ_COST	512u
#define RAM_LIMITS_READ 1024 /* reads between two looks at deadline and cancel */

struct ram_extent {
	uint64_t gpa;
	uint64_t len; /* bytes, more than 0 */
};

struct ram_ops {
	/* Copies n bytes at gpa: all of them (0) or an error. Memory that the guest has never
	 * touched reads as zeros and is not allocated by it. -ENXIO: not all of it is RAM;
	 * -EBUSY: some of it is swapped out on the host and is left there; -ESRCH: the VMM has
	 * ended; -EIO and others. Never -EAGAIN, which stands for a guest that is not ready. */
	int (*read)(void *ctx, uint64_t gpa, void *buf, size_t n);
	/* The first stretch at or above gpa that holds something (is RAM, and not known to be
	 * untouched or swapped out). It may be shorter than what is really there, not longer
	 * than 16 MiB. 0, -ENOENT when there is none, or as read. */
	int (*next)(void *ctx, uint64_t gpa, struct ram_extent *ret);
	/* Where RAM lies in the guest's address space is not always known for sure: chooses
	 * one of the layouts that are possible, 0 being the likeliest (and the one at the
	 * beginning). -ENOENT: there are not that many. NULL: it is known. */
	int (*use_layout)(void *ctx, unsigned index);
};

struct ram {
	const struct ram_ops *ops;
	void *ctx;
	const struct source_limits *limits; /* NULL: none */
	uint64_t budget;		    /* bytes left */
	unsigned reads;
};

/* A RAM of which RAM_BUDGET may be read. ctx and limits must outlive it. */
void ram_init(struct ram *ram, const struct ram_ops *ops, void *ctx,
	      const struct source_limits *limits);

/* As ops->read; also -ETIMEDOUT and -ECANCELED by the limits, -EOVERFLOW when the budget is
 * spent, -ENXIO for a range that wraps. */
int ram_read(struct ram *ram, uint64_t gpa, void *buf, size_t n);
int ram_read_u64(struct ram *ram, uint64_t gpa, uint64_t *ret);
int ram_read_u32(struct ram *ram, uint64_t gpa, uint32_t *ret);

/* As ops->next, with the same limits. */
int ram_next(struct ram *ram, uint64_t gpa, struct ram_extent *ret);
int ram_use_layout(struct ram *ram, unsigned index);

/* Says in one line what a failed read means, for people; returns r. */
int ram_explain(int r, struct errmsg *why);

#endif
