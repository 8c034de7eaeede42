#include "profiler/totals.h"

#include <stdio.h>

void totals_init(struct totals *t)
{
	*t = (struct totals){.door.since_ns = clock_now_ns()};
	mutex_init(&t->lock);
}

void totals_deinit(struct totals *t)
{
	mutex_deinit(&t->lock);
}

static void with_lock__note_lost(struct totals *t, uint64_t n, uint64_t now_ns)
{
	uint64_t second = now_ns / NSEC_PER_SEC;
	struct totals_second *s = &t->lost[second % TOTALS_SECONDS];

	if (s->second != second)
		*s = (struct totals_second){.second = second};
	s->lost += n;
}

uint64_t totals_lost_since(struct totals *t, uint64_t since_ns)
{
	uint64_t n = 0;

	mutex_lock(&t->lock);
	for (unsigned i = 0; i < TOTALS_SECONDS; i++) {
		if (t->lost[i].second >= since_ns / NSEC_PER_SEC)
			n += t->lost[i].lost;
	}
	mutex_unlock(&t->lock);
	return n;
}

void totals_add(struct totals *t, const struct totals_delta *d)
{
	mutex_lock(&t->lock);
	t->door.samples += d->samples;
	t->door.guest_samples += d->guest_kernel + d->guest_user;
	t->door.qmp_samples += d->qmp;
	t->door.lost += d->lost;
	if (d->lost)
		with_lock__note_lost(t, d->lost, clock_now_ns());
	t->door.throttled += d->throttled;
	t->door.host_kernel += d->host_kernel;
	t->door.host_user += d->host_user;
	t->door.host_idle += d->host_idle;
	t->door.stranger_guest += d->stranger_guest;
	t->guest_kernel += d->guest_kernel;
	t->guest_user += d->guest_user;
	if (d->samples || d->qmp)
		t->news_ns = clock_now_ns();
	mutex_unlock(&t->lock);
}

void totals_get(struct totals *t, struct profiler_totals *ret)
{
	mutex_lock(&t->lock);
	*ret = t->door;
	mutex_unlock(&t->lock);
}

uint64_t totals_news_ns(struct totals *t)
{
	uint64_t ns;

	mutex_lock(&t->lock);
	ns = t->news_ns;
	mutex_unlock(&t->lock);
	return ns;
}

void totals_clock(struct totals *t, struct tally_clock *ret)
{
	mutex_lock(&t->lock);
	ret->samples = t->door.samples;
	ret->lost = t->door.lost;
	mutex_unlock(&t->lock);
}

void totals_set_perf(struct totals *t, const char *event, const char *reason, unsigned freq,
		     bool exact_lost, unsigned cpus, const char *error)
{
	mutex_lock(&t->lock);
	t->door.perf_running = !error[0];
	snprintf(t->door.perf_error, sizeof(t->door.perf_error), "%s", error);
	snprintf(t->door.event, sizeof(t->door.event), "%s", event);
	snprintf(t->door.event_reason, sizeof(t->door.event_reason), "%s", reason);
	t->door.freq = freq;
	t->door.lost_exact = exact_lost;
	t->door.cpus = cpus;
	mutex_unlock(&t->lock);
}
