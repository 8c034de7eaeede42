/* A guest's VM exits, counted by reason and by what they were about: what files are made from. */
#ifndef KVMPROFS_EXITS_SNAPSHOT_H
#define KVMPROFS_EXITS_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/exits/abi.h"

struct exits_line {
	char name[64];	      /* one printable word */
	struct exits_key key; /* what was counted; tid 0. kind EXITS_KINDS: [other] */
	struct exits_row row;
};

struct exits_list {
	size_t count;
	struct exits_line *lines; /* most frequent first; ties by name; [other] last */
};

struct exits_event {
	char name[64];
	uint64_t count;
};

/* Events that were not counted, of any guest. */
struct exits_lost {
	uint64_t rows;	   /* those that rows and times are made of */
	uint64_t others;   /* KVM's other ones, which are only counted */
	uint64_t switches; /* the scheduler's, which only the split of time needs */
};

struct exits {
	char note[352];	   /* why nothing is counted, one line; empty while it is */
	char engine[16];   /* "bpf" or "perf" */
	bool recent;	   /* of the last seconds alone */
	bool entered;	   /* kvm_entry was seen: without, there are no times */
	uint64_t since_ns; /* clock_now_ns() of the mount, discovery or reset; or where the window
			      begins */
	uint64_t taken_ns;
	struct exits_lost lost; /* in that time */
	uint64_t
		kernel_irqs; /* interrupts by the kernel's own threads, which do not say for whom */
	unsigned threads;    /* of vCPUs that were seen */
	uint64_t times[EXITS_TIMES]; /* ns, of all vCPUs together */
	uint64_t exits;
	struct exits_list lists[EXITS_KINDS];
	size_t event_count;
	struct exits_event *events; /* most frequent first; ties by name; none is 0 */
};
void exits_deinit(struct exits *e);
void exits_free(struct exits *e); /* accepts NULL */
/* A copy of its own, which goes to exits_free(). NULL when out of memory. */
struct exits *exits_dup(const struct exits *e);
size_t exits_bytes(const struct exits *e); /* what a copy takes */

/* The time, in ns, below which this many hundredths of the row's times lie: from the histogram,
 * evenly within a bucket, and never outside of min and max. 0 when no time is known. */
uint64_t exits_percentile(const struct exits_row *row, unsigned hundredths);

#endif
