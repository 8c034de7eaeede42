/* A perf ring in ordinary memory, and the kernel's part of writing to it. */
#ifndef KVMPROFS_TESTS_RINGMAKER_H
#define KVMPROFS_TESTS_RINGMAKER_H

#include <linux/perf_event.h>
#include <stddef.h>
#include <stdint.h>

struct ringmaker {
	struct perf_event_mmap_page *page;
	uint8_t *data;
	size_t size;
};

/* size: a power of 2. at: where head and tail begin, any number. */
void ringmaker_init(struct ringmaker *m, size_t size, uint64_t at);
void ringmaker_deinit(struct ringmaker *m);

/* Writes the bytes as they are and moves the head. What the reader has not taken is not looked
 * after. */
void ringmaker_put(struct ringmaker *m, const void *bytes, size_t n);

/* A sample of IP, TID and TIME. misc: PERF_RECORD_MISC_... */
void ringmaker_sample(struct ringmaker *m, uint16_t misc, uint64_t ip, uint32_t pid, uint32_t tid,
		      uint64_t time);
void ringmaker_lost(struct ringmaker *m, uint64_t lost);

#endif
