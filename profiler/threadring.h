/* Tracepoints of one thread, all of which write into one ring: its events come in order and
 * nobody else pays for them, since the kernel attaches them to the thread alone. Owned by one
 * thread at a time.
 */
#ifndef KVMPROFS_THREADRING_H
#define KVMPROFS_THREADRING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "profiler/ringmap.h"
#include "profiler/tracefs.h"
#include "profiler/traceline.h"

#define THREADRING_BYTES (512u << 10) /* some 5,000 events; a power of 2 */

struct threadring {
	pid_t tid;
	char comm[TRACE_COMM_MAX]; /* need not end with a NUL */
	bool hung_up;		   /* the thread has ended */
	size_t count;
	int *fds; /* one for each event; the first one has the ring */
	struct ringmap map;
	struct ring ring;
};

/* Opens and starts the events on that thread. 0 or negative errno: -ESRCH when it has ended,
 * -EMFILE, -EACCES, ... */
int threadring_open(struct threadring *t, pid_t tid, const struct tracefs_events *events);

/* What poll(2) sees as POLLIN when half of the ring is full, as POLLHUP when the thread ends. */
static inline int threadring_fd(const struct threadring *t)
{
	return t->fds[0];
}

/* Stops the events at once. Closing the last descriptor of a tracepoint takes the kernel tens of
 * milliseconds (kernel/trace/trace_event_perf.c, perf_trace_event_unreg() waits for all CPUs),
 * and a guest that is traced has ninety of them: so that is another step, for a thread that has
 * the time. */
void threadring_stop(struct threadring *t);
void threadring_close(struct threadring *t);

#endif
