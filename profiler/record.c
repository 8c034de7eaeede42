#include "profiler/record.h"

#include <errno.h>
#include <string.h>

/* PERF_RECORD_SAMPLE with RECORD_SAMPLE_TYPE. */
struct raw_sample {
	struct perf_event_header header;
	uint64_t ip;
	uint32_t pid;
	uint32_t tid;
	uint64_t time;
};

struct raw_lost {
	struct perf_event_header header;
	uint64_t id;
	uint64_t lost;
};

/* Samples that the hardware dropped; without an id. */
struct raw_lost_samples {
	struct perf_event_header header;
	uint64_t lost;
};

enum sample_mode sample_mode_of(uint16_t misc)
{
	switch (misc & PERF_RECORD_MISC_CPUMODE_MASK) {
	case PERF_RECORD_MISC_KERNEL: return SAMPLE_HOST_KERNEL;
	case PERF_RECORD_MISC_USER: return SAMPLE_HOST_USER;
	case PERF_RECORD_MISC_GUEST_KERNEL: return SAMPLE_GUEST_KERNEL;
	case PERF_RECORD_MISC_GUEST_USER: return SAMPLE_GUEST_USER;
	default: return SAMPLE_OTHER;
	}
}

static int decode_sample(const struct perf_event_header *h, struct record *ret)
{
	const struct raw_sample *raw = (const struct raw_sample *)h;

	if (h->size < sizeof(*raw))
		return -EBADMSG;
	ret->kind = RECORD_SAMPLE;
	ret->sample = (struct sample){
		.ip = raw->ip,
		.time = raw->time,
		.pid = raw->pid,
		.tid = raw->tid,
		.mode = sample_mode_of(h->misc),
	};
	return 0;
}

static int decode_lost(const struct perf_event_header *h, struct record *ret)
{
	const struct raw_lost *raw = (const struct raw_lost *)h;

	if (h->size < sizeof(*raw))
		return -EBADMSG;
	ret->kind = RECORD_LOST;
	ret->lost = raw->lost;
	return 0;
}

static int decode_lost_samples(const struct perf_event_header *h, struct record *ret)
{
	const struct raw_lost_samples *raw = (const struct raw_lost_samples *)h;

	if (h->size < sizeof(*raw))
		return -EBADMSG;
	ret->kind = RECORD_DROPPED;
	ret->lost = raw->lost;
	return 0;
}

int record_decode(const struct perf_event_header *h, struct record *ret)
{
	switch (h->type) {
	case PERF_RECORD_SAMPLE: return decode_sample(h, ret);
	case PERF_RECORD_LOST: return decode_lost(h, ret);
	case PERF_RECORD_LOST_SAMPLES: return decode_lost_samples(h, ret);
	case PERF_RECORD_THROTTLE: ret->kind = RECORD_THROTTLE; return 0;
	default: ret->kind = RECORD_OTHER; return 0;
	}
}
