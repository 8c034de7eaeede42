/* Live streams of guests' kvm:* tracepoints, as text.
 *
 * One thread for all guests. Events are open only while somebody reads: on each thread of the
 * VMM, since attached to a thread they cost no other guest anything, and threads that come later
 * (vCPUs that are plugged in, workers) are found within a second. The lines of a guest are in
 * the order of their times, made once and given to each reader's own queue (symsrc/base/feed.h).
 * What a reader is too slow for, or what the kernel had no room for, is counted in the stream:
 *
 *	# 1234 events lost: this reader is too slow
 *	# 12 events lost: the kernel's buffer was full
 */
#ifndef KVMPROFS_TRACE_H
#define KVMPROFS_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/base/feed.h"
#include "symsrc/guest.h"

#define TRACE_SUBSYSTEM	  "kvm"
#define TRACE_TICK_NS	  (100 * NSEC_PER_MSEC) /* the longest that an event is held back */
#define TRACE_FEED_BYTES  (1u << 20)		/* of a reader's queue: some 10,000 lines */
#define TRACE_READERS_MAX 64			/* of all guests */

struct trace_config {
	const char *proc; /* "/proc" */
	struct guests *guests;
};

struct trace;

int trace_create(const struct trace_config *config, struct trace **ret, struct errmsg *why);
int trace_start(struct trace *t, struct errmsg *why);
void trace_stop(struct trace *t);    /* ends all streams, joins; harmless when it does not run */
void trace_destroy(struct trace *t); /* accepts NULL */

/* A new reader of that guest's events from now on, or of one line that says why there are none;
 * its queue's reading side is the caller's. wake_fd: see feed_create(). Any thread; does not
 * wait. 0, -ESRCH when there is no such guest, -EMFILE past TRACE_READERS_MAX, -ENOMEM. */
int trace_open(struct trace *t, uint64_t serial, int wake_fd, struct feed **ret);

/* Which events the guest's readers, present and coming, get: names with or without "kvm:", or
 * patterns (fnmatch(3)), between blanks; none: all. Any thread; reads tracefs. 0, -ESRCH; -EINVAL
 * and why when one of them matches no event; -EOPNOTSUPP without KVM; what tracefs_root_open() and
 * tracefs_list() say. */
int trace_select(struct trace *t, uint64_t serial, const char *words, size_t n, struct errmsg *why);
/* Appends the names of the events that were chosen, each after a blank; nothing: all of them. Any
 * thread. */
void trace_selected(struct trace *t, uint64_t serial, struct buf *out);
/* Whether trace_select() would take that; changes nothing. */
int trace_check(struct trace *t, uint64_t serial, const char *words, size_t n, struct errmsg *why);

#endif
