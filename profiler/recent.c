#include "profiler/recent.h"

#include <stdlib.h>
#include <string.h>

struct recent_block {
	struct recent_block *next; /* newer */
	uint64_t newest_ns;	   /* of its samples */
	size_t used;
	struct recent_sample samples[RECENT_BLOCK_SAMPLES];
};

_Static_assert(sizeof(struct recent_block) <= 4096, "a block is a page at most");

void recent_init(struct recent *r, struct counts_budget *budget, uint64_t now_ns)
{
	*r = (struct recent){.budget = budget, .since_ns = now_ns};
}

static void drop_oldest(struct recent *r)
{
	struct recent_block *b = r->oldest;

	r->oldest = b->next;
	if (!r->oldest)
		r->newest = NULL;
	r->count -= b->used;
	counts_budget_return(r->budget, sizeof(*b));
	free(b);
}

void recent_clear(struct recent *r, uint64_t now_ns)
{
	while (r->oldest)
		drop_oldest(r);
	recent_init(r, r->budget, now_ns);
}

void recent_expire(struct recent *r, uint64_t now_ns)
{
	while (r->oldest && r->oldest->newest_ns + RECENT_NS < now_ns)
		drop_oldest(r);
}

static bool add_block(struct recent *r)
{
	struct recent_block *b;

	if (!counts_budget_take(r->budget, sizeof(*b)))
		return false;
	b = malloc(sizeof(*b));
	if (!b) {
		counts_budget_return(r->budget, sizeof(*b));
		return false;
	}
	b->next = NULL;
	b->newest_ns = 0;
	b->used = 0;
	if (r->newest)
		r->newest->next = b;
	else
		r->oldest = b;
	r->newest = b;
	return true;
}

static void refuse(struct recent *r, uint64_t time_ns)
{
	r->refused = recent_refused(r, time_ns) + 1;
	if (time_ns > r->refuse_ns)
		r->refuse_ns = time_ns;
}

void recent_add(struct recent *r, uint64_t ip, unsigned vcpu, bool user, uint32_t epoch,
		uint64_t time_ns)
{
	struct recent_block *b;

	recent_expire(r, time_ns);
	if ((!r->newest || r->newest->used == RECENT_BLOCK_SAMPLES) && !add_block(r)) {
		refuse(r, time_ns);
		return;
	}
	b = r->newest;
	b->samples[b->used++] = (struct recent_sample){
		.ip = ip,
		.ms = time_ns / NSEC_PER_MSEC & ((1ULL << 39) - 1),
		.vcpu = vcpu & 0xffff,
		.user = user,
		.epoch = epoch & 0xff,
	};
	if (time_ns > b->newest_ns)
		b->newest_ns = time_ns;
	r->count++;
}

void recent_retire(struct recent *r, uint32_t epoch, const struct retired *retired, uint32_t since)
{
	for (struct recent_block *b = r->oldest; b; b = b->next) {
		for (size_t i = 0; i < b->used; i++) {
			struct recent_sample *s = &b->samples[i];

			if (!s->user && s->epoch == (epoch & 0xff))
				s->ip = retired_move(retired, since, s->ip);
		}
	}
}

void recent_copy(const struct recent *r, struct recent_sample *to)
{
	for (const struct recent_block *b = r->oldest; b; b = b->next) {
		memcpy(to, b->samples, b->used * sizeof(*to));
		to += b->used;
	}
}

uint64_t recent_start_ns(const struct recent *r, uint64_t now_ns)
{
	uint64_t start = now_ns > RECENT_NS ? now_ns - RECENT_NS : 0;

	return start > r->since_ns ? start : r->since_ns;
}

uint64_t recent_refused(const struct recent *r, uint64_t now_ns)
{
	return r->refuse_ns + RECENT_NS < now_ns ? 0 : r->refused;
}
