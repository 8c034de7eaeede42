#include "profiler/traceevent.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "profiler/tracesample.h"

/* wakeup_watermark 0 means half of the ring (kernel/events/ring_buffer.c, ring_buffer_init()). */
int trace_event_open(const struct trace_event *e)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_TRACEPOINT,
		.config = e->id,
		.sample_period = 1,
		.sample_type = TRACE_SAMPLE_TYPE,
		.read_format = e->read_format,
		.disabled = e->disabled,
		.watermark = 1,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
	};
	long fd = syscall(SYS_perf_event_open, &attr, e->tid, e->cpu, e->leader,
			  PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}
