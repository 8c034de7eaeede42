/* Reads perf.data, the file and the pipe format, of either byte order, compressed or not, from its
 * beginning to its end in one go: in memory that does not grow with it. The bytes are a
 * stranger's; what they say is in profiler/perfdata/format.h.
 *
 * Where the recording breaks off (perf was killed, the disk was full) what is whole before that
 * counts, and the facts say so.
 */
#ifndef KVMPROFS_PERFDATA_READ_H
#define KVMPROFS_PERFDATA_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/base/errmsg.h"

struct perfdata_bytes {
	/* Up to n bytes from that offset on, as pread(2) does: their number, 0 at the end, or
	 * negative errno. Unless it is seekable, each offset is where the call before has ended. */
	ssize_t (*read)(void *ctx, uint64_t offset, void *to, size_t n);
	void *ctx;
	bool seekable;
};

struct perfdata_record {
	uint32_t type;
	uint16_t misc;
	uint16_t size;	      /* of bytes, header included; at least the header's */
	bool swapped;	      /* its numbers are of the other byte order */
	const uint8_t *bytes; /* valid during the call, at any alignment */
};

/* Who is told what stands there. A negative errno ends the reading with it. */
struct perfdata_handler {
	/* An event: size bytes of perf_event_attr, id_bytes / 8 ids. */
	int (*attr)(void *ctx, const uint8_t *attr, size_t size, const uint8_t *ids,
		    size_t id_bytes, bool swapped);
	/* PERFDATA_FEATURE_*, as in a file; in a file before the records. */
	int (*feature)(void *ctx, unsigned feature, const uint8_t *bytes, size_t n, bool swapped);
	/* All records but those that carry the above, or other records. */
	int (*record)(void *ctx, const struct perfdata_record *r);
	/* So many bytes have been read; called every some 100 KiB. */
	int (*progress)(void *ctx, uint64_t bytes);
	void *ctx;
};

enum perfdata_end {
	PERFDATA_WHOLE,
	PERFDATA_UNFINISHED, /* perf did not get to write what it writes last */
	PERFDATA_CUT,	     /* in the middle of a record */
	PERFDATA_CUT_BEHIND, /* behind the last one: in the names of events, the build-ids, ... */
	PERFDATA_DAMAGED,
};

struct perfdata_facts {
	bool pipe; /* else a file */
	bool swapped;
	bool compressed;
	enum perfdata_end end;
	uint64_t read; /* bytes up to there */
	char why[96];  /* PERFDATA_DAMAGED: what is wrong there */
};

/* 0 when there was a recording, up to where *ret says. Else negative errno and why: -ENODATA for
 * nothing at all, -EBADMSG for what is no perf.data, -ESPIPE for a file that comes by a pipe,
 * what a function above returned. */
int perfdata_read(const struct perfdata_bytes *bytes, const struct perfdata_handler *handler,
		  struct perfdata_facts *ret, struct errmsg *why);

#endif
