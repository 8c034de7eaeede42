/* Writer of perf.data in pipe format (format.h): one record at a time into a buffer, which holds
 * whole records only, whatever its maximum is. Pure but for perfdata_write_host().
 *
 * A stream begins with perfdata_write_begin(), then has the attribute of each event before its
 * first sample. Every record of the kernel's types ends with what PERFDATA_SAMPLE_TYPE says
 * (attr.sample_id_all). A time of 0 means before everything else: perf does not sort such records
 * in (tools/perf/util/ordered-events.c, ordered_events__queue()).
 */
#ifndef KVMPROFS_PERFDATA_WRITE_H
#define KVMPROFS_PERFDATA_WRITE_H

#include <linux/perf_event.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "symsrc/base/buf.h"

/* IDENTIFIER, since events of different kinds are in one stream. */
#define PERFDATA_SAMPLE_TYPE                                                            \
	(PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | \
	 PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD)
#define PERFDATA_SAMPLE_SIZE 56
#define PERFDATA_LOST_MAX    64 /* no record of lost samples is longer */
#define PERFDATA_CPU_NONE    UINT32_MAX

#define PERFDATA_NAME_MAX 256 /* bytes of a name in a record, with the NUL; longer ones are cut */

void perfdata_write_begin(struct buf *b);

/* The event with that id: its attribute (whose sample_type and sample_id_all are set here) and its
 * name. */
void perfdata_write_event(struct buf *b, const struct perf_event_attr *attr, uint64_t id,
			  const char *name);

/* Features of the host that records: its name, kernel, architecture, CPUs, who wrote this
 * ("kvmprofs ..."), and the wall clock beside the samples' clock. After the first event, since some
 * of perf's tools read no further (tools/perf/builtin-evlist.c, process_header_feature()). */
void perfdata_write_host(struct buf *b, const char *version, clockid_t clock);

/* A process, or a thread of it, has that name; misc: PERF_RECORD_MISC_USER, or GUEST_USER for what
 * perf calls a guest's threads. */
struct perfdata_task {
	uint32_t pid, tid;
	uint64_t time;
};
void perfdata_write_comm(struct buf *b, const struct perfdata_task *task, uint16_t misc,
			 const char *name);

/* A kernel's or module's memory. pid: the VMM's for what is a guest's (misc
 * PERF_RECORD_MISC_GUEST_KERNEL), PERFDATA_HOST for the host's (misc PERF_RECORD_MISC_KERNEL).
 * reference: of a kernel, the address of the symbol whose name then is a part of name. */
#define PERFDATA_HOST UINT32_MAX
struct perfdata_mmap {
	uint16_t misc;
	uint32_t pid;
	uint64_t time;
	uint64_t start, size;
	uint64_t reference;
	const char *name;
};
void perfdata_write_mmap(struct buf *b, const struct perfdata_mmap *m);

/* One symbol of what is mapped there: of its beginning, whatever the address. */
struct perfdata_symbol {
	uint32_t pid;
	uint64_t time;
	uint64_t start;
	uint32_t size;
	const char *name;
};
void perfdata_write_guest_symbol(struct buf *b, const struct perfdata_symbol *s);

/* id_size 0: it is not known. */
void perfdata_write_guest_build_id(struct buf *b, uint32_t pid, const uint8_t *id, size_t id_size,
				   const char *name);

struct perfdata_sample {
	uint64_t id; /* of its event */
	uint64_t ip;
	uint64_t time;
	uint64_t period;
	uint32_t pid, tid;
	uint32_t cpu; /* of the host, or PERFDATA_CPU_NONE */
	uint16_t misc;
};
/* Exactly PERFDATA_SAMPLE_SIZE bytes. */
void perfdata_put_sample(const struct perfdata_sample *s, uint8_t to[static PERFDATA_SAMPLE_SIZE]);

/* Samples of that event that were lost up to that moment: on the way to the reader, or before (the
 * kernel could not write them), which perf counts apart. */
void perfdata_write_lost(struct buf *b, uint64_t id, uint64_t time, uint64_t lost);
void perfdata_write_lost_samples(struct buf *b, uint64_t id, uint64_t time, uint64_t lost);

/* What comes from here on is not older than anything before the last one of these: perf may sort
 * and work up to there. */
void perfdata_write_round(struct buf *b);

#endif
