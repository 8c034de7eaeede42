#include "profiler/counts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "profiler/secret.h"

#define SLOTS_FIRST 512
#define HUGE_PAGE   (2u << 20) /* on x86-64 */
#define AHEAD	    16	       /* entries whose places are on their way out of memory */

void counts_init(struct counts *c, struct counts_budget *budget, uint64_t seed)
{
	*c = (struct counts){.budget = budget, .seed = seed, .most = COUNTS_ENTRIES_MAX};
}

void counts_init_weighted(struct counts *c, struct counts_budget *budget, uint64_t seed,
			  size_t most)
{
	*c = (struct counts){.budget = budget, .seed = seed, .most = most, .weighted = true};
}

/* What so many slots take. */
static size_t bytes_of(const struct counts *c, size_t slots)
{
	return slots * (sizeof(c->slots[0]) + (c->weighted ? sizeof(c->weights[0]) : 0));
}

bool counts_budget_take(struct counts_budget *b, size_t bytes)
{
	size_t left = atomic_load_explicit(&b->left, memory_order_relaxed);

	do {
		if (left < bytes)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&b->left, &left, left - bytes, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void counts_budget_return(struct counts_budget *b, size_t bytes)
{
	atomic_fetch_add_explicit(&b->left, bytes, memory_order_relaxed);
}

void counts_deinit(struct counts *c)
{
	counts_budget_return(c->budget, bytes_of(c, c->slot_count));
	free(c->slots);
	free(c->weights);
	c->slots = NULL;
	c->weights = NULL;
	c->slot_count = c->used = 0;
}

static uint64_t hash(const struct counts *c, uint64_t ip, unsigned vcpu)
{
	return secret_mix(ip, c->seed, (uint64_t)vcpu << 17);
}

/* The slot of the key, or the free one where it belongs. There always is a free one. */
static struct counts_entry *find(const struct counts *c, uint64_t ip, unsigned vcpu)
{
	size_t mask = c->slot_count - 1;
	size_t i = hash(c, ip, vcpu) & mask;

	while (c->slots[i].count && (c->slots[i].ip != ip || c->slots[i].vcpu != vcpu))
		i = (i + 1) & mask;
	return &c->slots[i];
}

void counts_prefetch(const struct counts *c, uint64_t ip, unsigned vcpu)
{
	size_t i;

	if (!c->slot_count)
		return;
	i = hash(c, ip, vcpu) & (c->slot_count - 1);
	__builtin_prefetch(&c->slots[i]);
	if (c->weights)
		__builtin_prefetch(&c->weights[i]);
}

/* Zeros. Samples hit a table all over: where a recording's is large, looking up where its small
 * pages lie would take longer than the rest. A live guest's takes 4 MiB at most, and whoever
 * samples is not to wait until there are large ones. */
static void *allocate_zeros(const struct counts *c, size_t n, size_t size)
{
	void *to;

	if (!c->weighted || n * size < HUGE_PAGE)
		return calloc(n, size);
	to = aligned_alloc(HUGE_PAGE, n * size);
	if (!to)
		return NULL;
	madvise(to, n * size, MADV_HUGEPAGE);
	return memset(to, 0, n * size);
}

/* slot_count of them. */
static bool allocate_slots(struct counts *c)
{
	c->slots = allocate_zeros(c, c->slot_count, sizeof(c->slots[0]));
	c->weights = c->weighted ? allocate_zeros(c, c->slot_count, sizeof(c->weights[0])) : NULL;
	if (c->slots && (c->weights || !c->weighted))
		return true;
	free(c->slots);
	free(c->weights);
	return false;
}

static bool allocate(struct counts *c)
{
	if (!counts_budget_take(c->budget, bytes_of(c, c->slot_count)))
		return false;
	if (allocate_slots(c))
		return true;
	counts_budget_return(c->budget, bytes_of(c, c->slot_count));
	return false;
}

/* Into a table without entries that has room for all. */
static void move_all(const struct counts *from, struct counts *to)
{
	for (size_t i = 0; i < from->slot_count; i++) {
		const struct counts_entry *e = &from->slots[i];
		struct counts_entry *at;

		if (i + AHEAD < from->slot_count && e[AHEAD].count)
			counts_prefetch(to, e[AHEAD].ip, e[AHEAD].vcpu);
		if (!e->count)
			continue;
		at = find(to, e->ip, e->vcpu);
		*at = *e;
		if (from->weights && to->weights)
			to->weights[at - to->slots] = from->weights[i];
	}
}

static bool grow(struct counts *c)
{
	struct counts bigger = *c;

	bigger.slot_count = c->slot_count ? 2 * c->slot_count : SLOTS_FIRST;
	if (bigger.slot_count > 2 * c->most || !allocate(&bigger))
		return false;
	move_all(c, &bigger);
	counts_deinit(c);
	*c = bigger;
	return true;
}

/* Makes room for one more entry: three quarters of the slots are used at most. */
static bool make_room(struct counts *c)
{
	if (c->used >= c->most)
		return false;
	return c->used < c->slot_count / 4 * 3 || grow(c);
}

/* The key's entry, perhaps a new one without a count; NULL when there is no room for it. */
static struct counts_entry *entry_of(struct counts *c, uint64_t ip, unsigned vcpu)
{
	struct counts_entry *e = c->slot_count ? find(c, ip, vcpu) : NULL;

	if (e && e->count)
		return e;
	if (!make_room(c))
		return NULL;
	e = find(c, ip, vcpu);
	*e = (struct counts_entry){.ip = ip, .vcpu = vcpu & 0xffff};
	c->used++;
	return e;
}

bool counts_add(struct counts *c, uint64_t ip, unsigned vcpu)
{
	struct counts_entry *e = entry_of(c, ip, vcpu);

	if (e)
		e->count++;
	return e != NULL;
}

bool counts_add_weighted(struct counts *c, uint64_t ip, unsigned vcpu, uint64_t n, uint64_t weight)
{
	struct counts_entry *e = entry_of(c, ip, vcpu);

	if (!e)
		return false;
	e->count = (e->count + n) & ((1ULL << 48) - 1);
	c->weights[e - c->slots] += weight;
	return true;
}

static bool any_moves(const struct counts *c, const struct retired *r, uint32_t since)
{
	for (size_t i = 0; i < c->slot_count; i++) {
		const struct counts_entry *e = &c->slots[i];

		if (e->count && retired_move(r, since, e->ip) != e->ip)
			return true;
	}
	return false;
}

/* The old slots go at once: the budget need not know of two. */
bool counts_retire(struct counts *c, const struct retired *r, uint32_t since)
{
	struct counts to = *c;

	if (!any_moves(c, r, since))
		return true;
	to.slots = calloc(c->slot_count, sizeof(c->slots[0]));
	if (!to.slots)
		return false;
	to.used = 0;
	for (size_t i = 0; i < c->slot_count; i++) {
		struct counts_entry e = c->slots[i], *at;

		if (!e.count)
			continue;
		e.ip = retired_move(r, since, e.ip);
		at = find(&to, e.ip, e.vcpu);
		to.used += !at->count;
		e.count = (e.count + at->count) & ((1ULL << 48) - 1);
		*at = e;
	}
	free(c->slots);
	*c = to;
	return true;
}

/* The old slots go at once: the budget need not know of two. */
void counts_renumber(struct counts *c, const uint16_t *numbers)
{
	for (size_t i = 0; i < c->slot_count; i++) {
		if (c->slots[i].count)
			c->slots[i].vcpu = numbers[c->slots[i].vcpu];
	}
}

size_t counts_copy(const struct counts *c, struct counts_entry *to, uint64_t *weights)
{
	size_t n = 0;

	for (size_t i = 0; n < c->used; i++) {
		to[n] = c->slots[i]; /* without a branch: a free slot is overwritten */
		if (weights)
			weights[n] = c->weights[i];
		n += c->slots[i].count != 0;
	}
	return n;
}
