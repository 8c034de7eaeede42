#include "profiler/reader.h"

#include <errno.h>
#include <stdlib.h>

#include "profiler/record.h"

int reader_init(struct reader *r, struct tallies *tallies)
{
	*r = (struct reader){.tallies = tallies};
	r->scratch = malloc(sizeof(*r->scratch));
	if (!r->scratch)
		return -ENOMEM;
	r->set = tallies_acquire(tallies);
	return 0;
}

void reader_deinit(struct reader *r)
{
	tally_set_put(r->set);
	free(r->scratch);
}

void reader_refresh(struct reader *r)
{
	if (!tallies_changed(r->tallies, r->set))
		return;
	tally_set_put(r->set);
	r->set = tallies_acquire(r->tallies);
	if (r->on_set)
		r->on_set(r->ctx, r->set);
}

/* One round. The tally of the last sample stays locked until one of another guest comes, since
 * samples of one CPU come in runs. */
struct round {
	const struct tally_set *set;
	unsigned cpu;
	bool is_recorded; /* somebody reads what is filed */
	struct totals_delta *found;
	struct tally *locked;
	/* The thread of the last sample, and whose it is; at first that of exited ones, nobody's.
	 */
	uint32_t pid, tid;
	bool is_owned;
	struct task_owner owner;
};

static void lock_tally(struct round *round, struct tally *t) LOCK_ATTR(no_thread_safety_analysis)
{
	if (round->locked == t)
		return;
	if (round->locked)
		mutex_unlock(&round->locked->lock);
	round->locked = t;
	if (t)
		mutex_lock(&t->lock);
}

static bool is_guest(const struct sample *s)
{
	return s->mode == SAMPLE_GUEST_KERNEL || s->mode == SAMPLE_GUEST_USER;
}

static void count_mode(struct totals_delta *d, const struct sample *s)
{
	d->samples++;
	switch (s->mode) {
	case SAMPLE_GUEST_KERNEL: d->guest_kernel++; break;
	case SAMPLE_GUEST_USER: d->guest_user++; break;
	case SAMPLE_HOST_USER: d->host_user++; break;
	case SAMPLE_HOST_KERNEL:
		d->host_kernel += s->pid != 0;
		d->host_idle += s->pid == 0;
		break;
	case SAMPLE_OTHER: break;
	}
}

/* Whose the thread is; asked again only when it is another than the last one. */
static bool find_owner(struct round *round, const struct sample *s)
{
	if (s->tid != round->tid || s->pid != round->pid) {
		round->pid = s->pid;
		round->tid = s->tid;
		round->is_owned = tally_set_owner(round->set, s->pid, s->tid, &round->owner);
	}
	return round->is_owned;
}

/* Without a tally's lock, which is a leaf. */
static void hand_on(struct reader *r, struct round *round)
{
	lock_tally(round, NULL);
	livedata_add(r->livedata, r->batch, r->batch_count);
	r->batch_count = 0;
}

static void record_sample(struct reader *r, struct round *round, const struct sample *s)
{
	r->batch[r->batch_count++] = (struct livedata_sample){
		.serial = round->set->tallies[round->owner.guest]->serial,
		.ip = s->ip,
		.time = s->time,
		.pid = s->pid,
		.tid = s->tid,
		.cpu = round->cpu,
		.kernel = s->mode == SAMPLE_GUEST_KERNEL,
	};
	if (r->batch_count == LIVEDATA_BATCH)
		hand_on(r, round);
}

static void file_sample(struct reader *r, struct round *round, const struct sample *s)
	LOCK_ATTR(no_thread_safety_analysis)
{
	count_mode(round->found, s);
	if (!find_owner(round, s)) {
		round->found->stranger_guest += is_guest(s);
		return;
	}
	lock_tally(round, round->set->tallies[round->owner.guest]);
	if (with_lock__tally_sample(round->locked, s, round->owner.vcpu) && round->is_recorded)
		record_sample(r, round, s);
}

static void file_record(struct reader *r, struct round *round, const struct perf_event_header *h)
{
	struct record record;

	if (record_decode(h, &record) < 0)
		return;
	switch (record.kind) {
	case RECORD_SAMPLE: file_sample(r, round, &record.sample); break;
	case RECORD_LOST: round->found->lost += r->exact_lost ? 0 : record.lost; break;
	case RECORD_DROPPED: round->found->lost += record.lost; break;
	case RECORD_THROTTLE: round->found->throttled++; break;
	case RECORD_OTHER: break;
	}
}

void reader_drain(struct reader *r, struct ring *ring, unsigned cpu, struct totals_delta *found)
{
	struct round round = {.found = found,
			      .cpu = cpu,
			      .is_recorded = livedata_is_wanted(r->livedata),
			      .pid = UINT32_MAX,
			      .tid = UINT32_MAX};
	const struct perf_event_header *h;

	/* First the ring's end, then the guests: so the set knows every boot that had begun
	 * when the last of these samples was taken. */
	if (ring_begin(ring) > 0)
		reader_refresh(r);
	round.set = r->set;
	while ((h = ring_next(ring, r->scratch)))
		file_record(r, &round, h);
	lock_tally(&round, NULL);
	if (r->batch_count)
		hand_on(r, &round);
	ring_end(ring);
}
