#include "profiler/exits/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void exits_deinit(struct exits *e)
{
	for (int kind = 0; kind < EXITS_KINDS; kind++)
		free(e->lists[kind].lines);
	free(e->events);
	*e = (struct exits){0};
}

void exits_free(struct exits *e)
{
	if (!e)
		return;
	exits_deinit(e);
	free(e);
}

/* n bytes of memory with what is at `from`; NULL when out of memory. */
static void *copy_of(const void *from, size_t n)
{
	void *to = malloc(n + 1);

	if (to && n)
		memcpy(to, from, n);
	return to;
}

struct exits *exits_dup(const struct exits *e)
{
	struct exits *to = copy_of(e, sizeof(*e));
	bool done;

	if (!to)
		return NULL;
	to->events = copy_of(e->events, e->event_count * sizeof(*e->events));
	done = to->events != NULL;
	for (int kind = 0; kind < EXITS_KINDS; kind++) {
		const struct exits_list *l = &e->lists[kind];

		to->lists[kind].lines = copy_of(l->lines, l->count * sizeof(*l->lines));
		done = done && to->lists[kind].lines;
	}
	if (done)
		return to;
	exits_free(to);
	return NULL;
}

size_t exits_bytes(const struct exits *e)
{
	size_t bytes = sizeof(*e) + e->event_count * sizeof(*e->events);

	for (int kind = 0; kind < EXITS_KINDS; kind++)
		bytes += e->lists[kind].count * sizeof(*e->lists[kind].lines);
	return bytes;
}

static uint64_t within(uint64_t v, const struct exits_sums *s)
{
	if (v < s->min)
		return s->min;
	return v > s->max ? s->max : v;
}

/* Where in bucket i the nth of its `count` times lies, if they are spread evenly. */
static uint64_t inside(int i, uint64_t nth, uint64_t count)
{
	uint64_t from = i ? 1ULL << i : 0;
	uint64_t width = i ? 1ULL << i : 2;

	return from + (uint64_t)((double)width * (double)nth / (double)count);
}

uint64_t exits_percentile(const struct exits_row *row, unsigned hundredths)
{
	uint64_t all = 0, below = 0, rank;

	for (int i = 0; i < EXITS_BUCKETS; i++)
		all += row->buckets[i];
	if (all == 0)
		return 0;
	rank = (uint64_t)((double)all * hundredths / 100.0);
	if (rank == 0)
		rank = 1;
	for (int i = 0; i < EXITS_BUCKETS; i++) {
		uint64_t n = row->buckets[i];

		if (n && below + n >= rank)
			return within(inside(i, rank - below, n), &row->sums);
		below += n;
	}
	return row->sums.max;
}
