/* The daemon's own numbers, which both samplers add to. One lock, held for a copy or a few
 * additions; it is a leaf. */
#ifndef KVMPROFS_TOTALS_H
#define KVMPROFS_TOTALS_H

#include <stdint.h>

#include "profiler/profiler.h"
#include "profiler/tally.h"
#include "symsrc/base/lock.h"

/* What one round of reading found. */
struct totals_delta {
	uint64_t samples, guest_kernel, guest_user, qmp;
	uint64_t host_kernel, host_user, host_idle;
	uint64_t stranger_guest;
	uint64_t lost, throttled;
};

#define TOTALS_SECONDS 16

struct totals {
	struct mutex lock;
	struct profiler_totals door;	   /* lock */
	uint64_t guest_kernel, guest_user; /* lock; by perf */
	uint64_t news_ns;		   /* lock: when samples were added last */
	/* lock: what was lost in each of the last seconds, and which that was */
	struct totals_second {
		uint64_t second, lost;
	} lost[TOTALS_SECONDS];
};

void totals_init(struct totals *t);
void totals_deinit(struct totals *t);
void totals_add(struct totals *t, const struct totals_delta *d);
void totals_get(struct totals *t, struct profiler_totals *ret);
uint64_t totals_news_ns(struct totals *t);
void totals_clock(struct totals *t, struct tally_clock *ret);
/* What was lost since then, up to TOTALS_SECONDS - 1 ago; to a second. */
uint64_t totals_lost_since(struct totals *t, uint64_t since_ns);

/* Whether perf runs and with what; error: why not, or "". */
void totals_set_perf(struct totals *t, const char *event, const char *reason, unsigned freq,
		     bool exact_lost, unsigned cpus, const char *error);

#endif
