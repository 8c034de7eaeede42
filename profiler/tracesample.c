#include "profiler/tracesample.h"

#include <errno.h>

struct raw_trace_sample {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t time;
	uint32_t cpu, reserved;
	uint32_t size;
	uint8_t raw[];
} __attribute__((packed));

int trace_sample_decode(const struct perf_event_header *h, struct trace_sample *ret)
{
	const struct raw_trace_sample *raw = (const struct raw_trace_sample *)h;

	if (h->size < sizeof(*raw) || raw->size > h->size - sizeof(*raw))
		return -EBADMSG;
	*ret = (struct trace_sample){
		.time = raw->time,
		.pid = raw->pid,
		.tid = raw->tid,
		.cpu = raw->cpu,
		.size = raw->size,
		.raw = raw->raw,
	};
	return 0;
}
