/* Decoder of a tracepoint's sample in a perf ring (perf_event_open(2), "PERF_RECORD_SAMPLE" with
 * TRACE_SAMPLE_TYPE): when, where, who, and the event's own bytes, which tracefs' format file of
 * the event describes. Pure.
 */
#ifndef KVMPROFS_TRACESAMPLE_H
#define KVMPROFS_TRACESAMPLE_H

#include <linux/perf_event.h>
#include <stdint.h>

#define TRACE_SAMPLE_TYPE (PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU | PERF_SAMPLE_RAW)

struct trace_sample {
	uint64_t time; /* clock_now_ns() */
	uint32_t pid, tid;
	uint32_t cpu;
	uint32_t size;	 /* of raw */
	const void *raw; /* in the record */
};

/* h: header.size bytes that can be read, of type PERF_RECORD_SAMPLE. 0, or -EBADMSG when its
 * parts do not fit into it. */
int trace_sample_decode(const struct perf_event_header *h, struct trace_sample *ret);

#endif
