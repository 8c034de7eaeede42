/* Opening a tracepoint whose events go into a ring as tracesample.h reads them. */
#ifndef KVMPROFS_TRACEEVENT_H
#define KVMPROFS_TRACEEVENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of one thread (cpu -1) or of one CPU (tid -1). */
struct trace_event {
	uint32_t id; /* tracefs' */
	pid_t tid;
	int cpu;
	int leader; /* of its group; -1: none */
	bool disabled;
	uint64_t read_format; /* PERF_FORMAT_... */
};

/* A descriptor (close-on-exec), which is readable once half of its ring is full; or what
 * perf_event_open(2) says, negative. Any thread. */
int trace_event_open(const struct trace_event *e);

#endif
