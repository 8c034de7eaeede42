#include "profiler/ringmerge.h"

#include <errno.h>
#include <stdlib.h>

#define GIVE_BACK 64 /* records, after which their space is given back */

struct run {
	struct ringmerge *m;
	uint64_t until;
	const struct ringmerge_ops *ops;
	void *ctx;
};

int ringmerge_init(struct ringmerge *m, size_t rings)
{
	struct ringmerge_head *heads = reallocarray(m->heads, rings + 1, sizeof(*heads));

	if (!heads)
		return -ENOMEM;
	m->heads = heads;
	m->room = rings;
	return 0;
}

void ringmerge_deinit(struct ringmerge *m)
{
	free(m->heads);
	m->heads = NULL;
	m->room = m->count = 0;
}

/* The time of the ring's next record, which stays there. False: there is none before the end. */
static bool peek(const struct run *run, struct ring *ring, uint64_t *ret)
{
	const struct perf_event_header *h;

	while ((h = ring_next(ring, &run->m->scratch))) {
		if (!run->ops->time(run->ctx, ring, h, ret))
			continue;
		ring_put_back(ring, h);
		return *ret < run->until;
	}
	return false;
}

/* Moves the head at i, whose time may have grown, to where it belongs. */
static void sift_down(struct ringmerge *m, size_t i)
{
	struct ringmerge_head moving = m->heads[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= m->count)
			break;
		if (child + 1 < m->count && m->heads[child + 1].time < m->heads[child].time)
			child++;
		if (moving.time <= m->heads[child].time)
			break;
		m->heads[i] = m->heads[child];
		i = child;
	}
	m->heads[i] = moving;
}

static void take_first(const struct run *run)
{
	struct ringmerge *m = run->m;
	struct ringmerge_head *first = &m->heads[0];

	run->ops->take(run->ctx, ring_next(first->ring, &m->scratch));
	if (!peek(run, first->ring, &first->time))
		*first = m->heads[--m->count];
	if (m->count)
		sift_down(m, 0);
}

void ringmerge_run(struct ringmerge *m, struct ring **rings, size_t count, uint64_t until,
		   const struct ringmerge_ops *ops, void *ctx)
{
	struct run run = {m, until, ops, ctx};
	unsigned taken = 0;

	m->count = 0;
	for (size_t i = 0; i < count && i < m->room; i++) {
		struct ringmerge_head *h = &m->heads[m->count];

		h->ring = rings[i];
		ring_begin(h->ring);
		if (peek(&run, h->ring, &h->time))
			m->count++;
	}
	for (size_t i = m->count / 2; i > 0; i--)
		sift_down(m, i - 1);
	while (m->count) {
		struct ring *ring = m->heads[0].ring;

		take_first(&run);
		if (++taken % GIVE_BACK == 0)
			ring_end(ring);
	}
	for (size_t i = 0; i < count && i < m->room; i++)
		ring_end(rings[i]);
}
