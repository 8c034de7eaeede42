/* Makes recordings as perf does: file or pipe, of this byte order or the other one, plain or
 * compressed. For tests, which die where memory is short. */
#ifndef TESTS_PERFMAKER_H
#define TESTS_PERFMAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/perfdata/format.h"
#include "profiler/perfdata/read.h"
#include "symsrc/base/buf.h"

struct perfmaker {
	bool pipe;
	bool swapped;
	struct buf attrs;    /* of a file: elements, without their sections */
	struct buf ids;	     /* of a file, of all events */
	size_t id_counts[8]; /* of each event */
	size_t events;
	uint64_t sample_type; /* of all events */
	struct buf records;
	struct buf build_ids; /* of a file: its feature */
	struct buf out;
};

void perfmaker_init(struct perfmaker *m, bool pipe, bool swapped);
void perfmaker_deinit(struct perfmaker *m);

/* Events come before anything else. */
void perfmaker_event(struct perfmaker *m, uint32_t type, uint64_t config, uint64_t sample_type,
		     uint64_t rate, bool freq, const uint64_t *ids, size_t id_count);

void perfmaker_record(struct perfmaker *m, uint32_t type, uint16_t misc, const void *body,
		      size_t n);
struct perfmaker_sample {
	uint16_t misc;
	uint64_t ip, time, period, id;
	uint32_t pid, tid;
};
void perfmaker_sample(struct perfmaker *m, const struct perfmaker_sample *s);
void perfmaker_comm(struct perfmaker *m, uint32_t pid, uint32_t tid, const char *name);
void perfmaker_mmap(struct perfmaker *m, uint16_t misc, int32_t pid, uint64_t start, uint64_t len,
		    uint64_t pgoff, const char *name);
/* In a pipe a record, in a file a part of the feature. */
void perfmaker_build_id(struct perfmaker *m, int32_t pid, const uint8_t id[20], const char *name);

/* Puts all records so far into compressed ones of at most so many bytes. */
void perfmaker_compress(struct perfmaker *m, bool version2, size_t chunk);

/* The recording, in m->out. finished false: as perf leaves a file that is killed. */
void perfmaker_end(struct perfmaker *m, bool finished);

/* What perfdata_read() reads it by. step: bytes that one read gives at most; 0: as many as it asks
 * for. */
struct perfmaker_reading {
	const char *data;
	size_t size, step;
	size_t at; /* of a pipe */
};
struct perfdata_bytes perfmaker_bytes(struct perfmaker_reading *reading, bool seekable);

#endif
