/* Reads several rings at once, in the order of their records' times: a thread's events lie in the
 * rings of all CPUs that it ran on.
 *
 * What is read ends at a moment before the rings are looked at. What a thread did after that moment
 * may be seen in one ring while what it did before, on another CPU, has not yet been seen in that
 * one's; all that stays in the rings for the next time. Owned by one thread at a time.
 */
#ifndef KVMPROFS_RINGMERGE_H
#define KVMPROFS_RINGMERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/ring.h"

struct ringmerge_head {
	uint64_t time; /* of the ring's next record */
	struct ring *ring;
};

struct ringmerge {
	size_t room, count;
	struct ringmerge_head *heads; /* a heap, the earliest first */
	struct ring_scratch scratch;
};

struct ringmerge_ops {
	/* The time of a record. False: it is to be skipped; it is not shown again. */
	bool (*time)(void *ctx, struct ring *ring, const struct perf_event_header *h,
		     uint64_t *ret);
	void (*take)(void *ctx, const struct perf_event_header *h);
};

/* For that many rings; may be called again for more. -ENOMEM. */
int ringmerge_init(struct ringmerge *m, size_t rings);
void ringmerge_deinit(struct ringmerge *m); /* harmless when it is all zero */

/* Takes all records whose time is before that moment. rings: at most as many as there is room
 * for. */
void ringmerge_run(struct ringmerge *m, struct ring **rings, size_t count, uint64_t until,
		   const struct ringmerge_ops *ops, void *ctx);

#endif
