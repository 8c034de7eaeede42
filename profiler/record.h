/* Decoder of one perf record (perf_event_open(2), "struct perf_event_header" and below), for
 * events opened with RECORD_SAMPLE_TYPE and without sample_id_all. Pure. */
#ifndef KVMPROFS_RECORD_H
#define KVMPROFS_RECORD_H

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>

#define RECORD_SAMPLE_TYPE (PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME)

enum sample_mode {
	SAMPLE_HOST_KERNEL,
	SAMPLE_HOST_USER,
	SAMPLE_GUEST_KERNEL,
	SAMPLE_GUEST_USER,
	SAMPLE_OTHER, /* hypervisor, unknown */
};

struct sample {
	uint64_t ip;
	uint64_t time; /* clock_now_ns() */
	uint32_t pid;  /* 0: the idle task; 0xffffffff: one that has exited */
	uint32_t tid;
	enum sample_mode mode; /* by the misc bits alone */
};

enum record_kind {
	RECORD_SAMPLE,
	RECORD_LOST,	 /* the kernel had no room in the ring */
	RECORD_DROPPED,	 /* the hardware had none; not part of PERF_FORMAT_LOST */
	RECORD_THROTTLE, /* it slowed the event down */
	RECORD_OTHER,	 /* of no interest */
};

struct record {
	enum record_kind kind;
	struct sample sample; /* RECORD_SAMPLE */
	uint64_t lost;	      /* RECORD_LOST, RECORD_DROPPED */
};

/* h: header.size bytes that can be read. 0, or -EBADMSG for one that is too short for its
 * type; *ret is then untouched. */
int record_decode(const struct perf_event_header *h, struct record *ret);

/* The mode that the misc bits of a record tell. */
enum sample_mode sample_mode_of(uint16_t misc);

/* True for an address in the upper half, where 64-bit kernels live. */
static inline bool address_is_upper(uint64_t ip)
{
	return ip >> 63;
}

#endif
