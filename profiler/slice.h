/* Of which samples of a guest something tells: of which time, and of which vCPUs. All zero is
 * everything since the mount or the last reset, of all vCPUs. */
#ifndef KVMPROFS_SLICE_H
#define KVMPROFS_SLICE_H

#include <stdbool.h>
#include <stdint.h>

/* The times. Any number from SLICE_SNAPSHOT on is the id of a snapshot; none is used twice. */
#define SLICE_ALL      0
#define SLICE_RECENT   1 /* the last 10 s */
#define SLICE_SNAPSHOT 2

struct slice {
	uint32_t time;
	uint32_t vcpu; /* index + 1; 0: all */
};

static inline bool slice_equal(const struct slice *a, const struct slice *b)
{
	return a->time == b->time && a->vcpu == b->vcpu;
}

/* The index of its vCPU, or -1 for all. */
static inline int slice_vcpu(const struct slice *s)
{
	return (int)s->vcpu - 1;
}

#endif
