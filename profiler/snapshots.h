/* The snapshots of one guest: its counts at moments that somebody chose, by name. Counts, not
 * text, so that symbols which come later name them too. A snapshot never changes, and is
 * reference-counted, since a reader may still copy it when it is forgotten.
 *
 * Any thread; the lock is a leaf, held over a few comparisons.
 */
#ifndef KVMPROFS_SNAPSHOTS_H
#define KVMPROFS_SNAPSHOTS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/tally.h"
#include "symsrc/base/lock.h"

#define SNAPSHOTS_MAX 16 /* of one guest */

struct snapshot {
	atomic_uint refs;
	uint32_t id; /* a slice's time; never used twice */
	char name[PROFILER_SNAPSHOT_NAME_MAX];
	struct profile header; /* all but what comes of names; no rows */
	struct tally_copy copy;
	struct exits *exits; /* NULL: there were none to be had */
	size_t bytes;	     /* what it takes of the budget */
	struct tally_memory *memory;
};

/* Takes over *copy and exits (may be NULL), in any case. The memory must outlive the snapshot.
 * NULL: there is no room, or no memory. */
struct snapshot *snapshot_create(const char *name, const struct profile *header,
				 struct tally_copy *copy, struct exits *exits,
				 struct tally_memory *memory);
void snapshot_put(struct snapshot *s); /* accepts NULL */

struct snapshots {
	struct mutex lock;
	size_t count;			      /* lock */
	struct snapshot *list[SNAPSHOTS_MAX]; /* lock; the oldest first */
};

void snapshots_init(struct snapshots *s);
void snapshots_deinit(struct snapshots *s);

/* 0 when a snapshot of this name may be added, -ENAMETOOLONG, -EINVAL for what
 * is no name, -EEXIST, -ENOSPC. */
int snapshots_check(struct snapshots *s, const char *name);
/* With a reference of its own. 0, or as snapshots_check(). */
int snapshots_add(struct snapshots *s, struct snapshot *snapshot);
int snapshots_remove(struct snapshots *s, const char *name);	  /* -ENOENT */
struct snapshot *snapshots_get(struct snapshots *s, uint32_t id); /* a reference, or NULL */
size_t snapshots_list(struct snapshots *s, struct profiler_snapshot to[SNAPSHOTS_MAX]);

#endif
