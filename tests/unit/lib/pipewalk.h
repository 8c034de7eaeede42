/* Reads what was written as perf.data in pipe format: record by record, as
 * tools/perf/Documentation/perf.data-file-format.txt has it, and without the writer's own structs.
 */
#ifndef KVMPROFS_TESTS_PIPEWALK_H
#define KVMPROFS_TESTS_PIPEWALK_H

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipewalk {
	const uint8_t *at, *end;
};

/* Behind the pipe's header, which is asserted to be there. */
struct pipewalk pipewalk_begin(const void *bytes, size_t n);
/* One without a header. */
struct pipewalk pipewalk_records(const void *bytes, size_t n);

/* The next record, asserted to be whole and aligned; NULL at the end. */
const struct perf_event_header *pipewalk_next(struct pipewalk *w);
/* The next one of that type; NULL: there is none any more. */
const struct perf_event_header *pipewalk_find(struct pipewalk *w, uint32_t type);
size_t pipewalk_count(struct pipewalk w, uint32_t type);

/* A number in it, so many bytes behind its beginning; from its end when negative. */
uint64_t pipewalk_u64(const struct perf_event_header *h, int at);
uint32_t pipewalk_u32(const struct perf_event_header *h, int at);
const char *pipewalk_text(const struct perf_event_header *h, int at);

/* The number of samples, and the sum of what PERF_RECORD_LOST say. */
uint64_t pipewalk_samples(struct pipewalk w);
uint64_t pipewalk_lost(struct pipewalk w);

#endif
