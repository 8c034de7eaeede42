/* What a guest had of the host's samples. Pure. */
#ifndef KVMPROFS_SHARES_H
#define KVMPROFS_SHARES_H

#include "profiler/profiler.h"
#include "profiler/tally.h"

struct shares_host {
	bool perf_running;
	unsigned freq;	     /* of perf */
	unsigned cpus;	     /* online */
	uint64_t elapsed_ns; /* since the copy's since_ns */
};

/* copy: without tables. The shares of a guest that is sampled over QMP are made comparable:
 * what its registers showed is scaled to perf's rate, and taken out of what perf saw of the VMM
 * in the same time, since there the guest ran. Without perf, total is the samples that all CPUs
 * would have had at the rate of the requests. */
void shares_make(const struct tally_copy *copy, const struct shares_host *host,
		 struct profiler_shares *ret);

/* Moves what a guest that is sampled over QMP had (made by shares_make()) from the host's own
 * share to the guests' share of the whole machine. */
void shares_move(const struct profiler_shares *guest, struct profiler_shares *host);

#endif
