#include "profiler/shares.h"

/* What the registers showed, in samples of perf, but no more than perf saw of the VMM. */
static void take_out_of_host(const struct tally_copy *copy, const struct shares_host *host,
			     struct profiler_shares *s)
{
	uint64_t seen = s->guest_kernel + s->guest_user;
	uint64_t all = s->host_kernel + s->host_user;
	uint64_t guest = seen * host->freq / (copy->qmp_hz ? copy->qmp_hz : 1);
	uint64_t of_user;

	if (guest > all)
		guest = all;
	if (seen == 0)
		return;
	s->guest_kernel = guest * s->guest_kernel / seen;
	s->guest_user = guest - s->guest_kernel;
	/* TCG runs guests in the VMM's own code, KVM in the kernel. */
	of_user = guest < s->host_user ? guest : s->host_user;
	s->host_user -= of_user;
	s->host_kernel -= guest - of_user;
}

void shares_make(const struct tally_copy *copy, const struct shares_host *host,
		 struct profiler_shares *ret)
{
	struct profiler_shares s = {
		.host_kernel = copy->host_kernel,
		.host_user = copy->host_user,
		.total = copy->elapsed.samples,
		.lost = copy->elapsed.lost,
	};
	uint64_t own;

	for (unsigned i = 0; i < copy->epoch_count; i++) {
		s.guest_kernel += copy->epochs[i].kernel;
		s.guest_user += copy->epochs[i].user;
	}
	if (copy->sampler == SAMPLER_KIND_QMP && host->perf_running)
		take_out_of_host(copy, host, &s);
	else if (copy->sampler == SAMPLER_KIND_QMP)
		s.total = host->elapsed_ns / NSEC_PER_MSEC * copy->qmp_hz * host->cpus / 1000;
	/* The totals are added to after the tallies. */
	own = s.host_kernel + s.host_user + s.guest_kernel + s.guest_user;
	if (s.total < own)
		s.total = own;
	*ret = s;
}

void shares_move(const struct profiler_shares *guest, struct profiler_shares *host)
{
	uint64_t moved = guest->guest_kernel + guest->guest_user;
	uint64_t of_user = moved < host->host_user ? moved : host->host_user;

	if (moved > host->host_user + host->host_kernel)
		return; /* perf does not run: there is no host share to take it out of */
	host->host_user -= of_user;
	host->host_kernel -= moved - of_user;
	host->guest_kernel += guest->guest_kernel;
	host->guest_user += guest->guest_user;
}
