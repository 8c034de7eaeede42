/* One guest that is traced: its threads' rings, and the readers of its lines. Owned by the
 * thread of trace.c.
 */
#ifndef KVMPROFS_TRACEGUEST_H
#define KVMPROFS_TRACEGUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/threadring.h"
#include "profiler/tracefs.h"
#include "symsrc/base/feed.h"

#define TRACEGUEST_THREADS_MAX 5000	   /* KVM_MAX_VCPUS and some */
#define TRACEGUEST_HELD_MAX    (16u << 20) /* bytes of events that wait to be sorted */

/* What all guests share. */
struct traceguest_shared {
	const char *proc;
	struct traceline *lines;
	struct ring_scratch *scratch;
	int epoll_fd;	/* rings are registered here, data.ptr being the threadring */
	size_t fds_max; /* descriptors that all of them may have open together */
};

struct traceguest;

/* Takes the events over. NULL when out of memory; they are then still the caller's. */
struct traceguest *traceguest_create(struct traceguest_shared *shared, uint64_t serial, pid_t pid,
				     struct tracefs_events *events);
/* Ends its streams: the readers get what they have room for. The events are stopped now, and closed
 * by a thread of its own. */
void traceguest_end(struct traceguest *g);

uint64_t traceguest_serial(const struct traceguest *g);
/* Takes the writing side of the feed over. */
void traceguest_add_reader(struct traceguest *g, struct feed *feed);
/* Drops those that have closed. Returns how many are left. */
size_t traceguest_reader_count(struct traceguest *g);

/* Other events from now on; takes them over. traceguest_follow_threads() starts them. */
void traceguest_set_events(struct traceguest *g, struct tracefs_events *events);

/* Looks for threads that have come. Those that cannot be traced are said in the streams, once each.
 * Negative errno when not even one can. */
int traceguest_follow_threads(struct traceguest *g);

/* Takes all that is in the rings, hands on what happened before the moment until_ns (since a
 * ring that was read before may hold something older than the rest), and drops the rings of
 * threads that have ended. */
void traceguest_drain(struct traceguest *g, uint64_t until_ns);

#endif
