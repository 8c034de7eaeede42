#include "profiler/exits/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

void exits_deinit(struct exits *e)
{
	for (int kind = 0; kind < EXITS_KINDS; kind++)
		free(e->lists[kind].lines);
	free(e->events);
	*e = (struct exits){0};
}

void exits_not_kept(struct exits *e)
{
	exits_deinit(e);
	snprintf(e->note, sizeof(e->note),
		 "no VM exits here: they are counted since the mount or the last reset alone");
}

void exits_free(struct exits *e)
{
	if (!e)
		return;
	exits_deinit(e);
	free(e);
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
