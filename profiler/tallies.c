#include "profiler/tallies.h"

#include <stdlib.h>

#include "symsrc/base/log.h"

struct tally_task {
	uint64_t key; /* pid and tid; 0: free */
	uint32_t guest;
	uint32_t vcpu;
};

struct tallies {
	struct guests *guests;
	void (*clock_of)(void *ctx, struct tally_clock *ret);
	void *ctx;
	struct tally_memory memory;
	struct mutex lock;
	struct tally_set *current; /* lock */
};

/* tid 0 stands for the process itself. */
static uint64_t key_of(uint32_t pid, uint32_t tid)
{
	return (uint64_t)pid << 32 | tid;
}

static size_t slot_of(uint64_t key, size_t mask)
{
	return (size_t)((key * 0x9e3779b97f4a7c15ULL) >> 32) & mask;
}

static const struct tally_task *find_task(const struct tally_set *set, uint64_t key)
{
	size_t i = slot_of(key, set->task_mask);

	while (set->tasks[i].key && set->tasks[i].key != key)
		i = (i + 1) & set->task_mask;
	return &set->tasks[i];
}

bool tally_set_owner(const struct tally_set *set, uint32_t pid, uint32_t tid,
		     struct task_owner *ret)
{
	const struct tally_task *process = find_task(set, key_of(pid, 0));
	const struct tally_task *thread;

	if (!process->key || pid == 0)
		return false;
	thread = find_task(set, key_of(pid, tid));
	ret->guest = process->guest;
	ret->vcpu = thread->key ? thread->vcpu : VCPU_UNKNOWN;
	return true;
}

struct tally *tally_set_find(const struct tally_set *set, uint64_t serial)
{
	for (size_t i = 0; i < set->guests->count; i++) {
		if (set->tallies[i]->serial == serial)
			return set->tallies[i];
	}
	return NULL;
}

static void set_free(struct tally_set *set)
{
	for (size_t i = 0; set->tallies && i < set->guests->count; i++)
		tally_put(set->tallies[i]);
	guest_set_put(set->guests);
	free(set->tallies);
	free(set->tasks);
	free(set);
}

void tally_set_put(const struct tally_set *cset)
{
	struct tally_set *set = (struct tally_set *)cset;

	if (set && atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1)
		set_free(set);
}

static void insert_task(struct tally_set *set, uint64_t key, size_t guest, unsigned vcpu)
{
	struct tally_task *t = (struct tally_task *)find_task(set, key);

	if (!t->key)
		*t = (struct tally_task){key, (uint32_t)guest, vcpu};
}

/* Each process, and each vCPU thread under its own process: one VMM cannot claim another's. */
static int index_tasks(struct tally_set *set)
{
	const struct guest_set *gs = set->guests;
	size_t wanted = 1;
	size_t slots = 16;

	for (size_t i = 0; i < gs->count; i++)
		wanted += 1 + gs->entries[i].guest->vcpu_count;
	while (slots < 2 * wanted)
		slots *= 2;
	set->tasks = calloc(slots, sizeof(set->tasks[0]));
	if (!set->tasks)
		return -1;
	set->task_mask = slots - 1;
	for (size_t i = 0; i < gs->count; i++) {
		const struct guest *g = gs->entries[i].guest;

		insert_task(set, key_of((uint32_t)g->pid, 0), i, VCPU_UNKNOWN);
		for (size_t v = 0; v < g->vcpu_count; v++)
			insert_task(set, key_of((uint32_t)g->pid, (uint32_t)g->vcpus[v].tid), i,
				    g->vcpus[v].index < VCPU_UNKNOWN ? g->vcpus[v].index
								     : VCPU_UNKNOWN);
	}
	return 0;
}

/* The tally of a guest: the one from before, or a new one. NULL when out of memory. */
static struct tally *inherit(struct tallies *ts, const struct tally_set *old, const struct guest *g)
{
	const struct guest_entry *before = old ? guest_set_find_pid(old->guests, g->pid) : NULL;
	struct tally_clock now;

	if (before && before->guest->serial == g->serial)
		return tally_get(old->tallies[before - old->guests->entries]);
	ts->clock_of(ts->ctx, &now);
	return tally_create(g->serial, &ts->memory, &now);
}

static int fill_tallies(struct tallies *ts, const struct tally_set *old, struct tally_set *set)
{
	const struct guest_set *gs = set->guests;

	for (size_t i = 0; i < gs->count; i++) {
		set->tallies[i] = inherit(ts, old, gs->entries[i].guest);
		if (!set->tallies[i])
			return -1;
		tally_begin_epoch(set->tallies[i], gs->entries[i].epoch,
				  gs->entries[i].epoch_start_ns);
	}
	return 0;
}

/* Takes over the reference to guests. */
static struct tally_set *set_create(struct tallies *ts, const struct tally_set *old,
				    const struct guest_set *guests)
{
	struct tally_set *set = calloc(1, sizeof(*set));

	if (!set) {
		guest_set_put(guests);
		return NULL;
	}
	atomic_init(&set->refs, 1);
	set->guests = guests;
	set->tallies = calloc(guests->count + 1, sizeof(struct tally *));
	if (!set->tallies || fill_tallies(ts, old, set) < 0 || index_tasks(set) < 0) {
		set_free(set);
		return NULL;
	}
	return set;
}

struct tallies *tallies_create(struct guests *guests,
			       void (*clock_of)(void *ctx, struct tally_clock *ret), void *ctx)
{
	struct tallies *ts = calloc(1, sizeof(*ts));

	if (!ts)
		return NULL;
	ts->guests = guests;
	ts->clock_of = clock_of;
	ts->ctx = ctx;
	atomic_init(&ts->memory.tables.left, TALLIES_MEMORY_MAX);
	atomic_init(&ts->memory.recent.left, TALLIES_RECENT_MAX);
	atomic_init(&ts->memory.snapshots.left, TALLIES_SNAPSHOTS_MAX);
	mutex_init(&ts->lock);
	ts->current = set_create(ts, NULL, guests_acquire(guests));
	if (!ts->current) {
		mutex_deinit(&ts->lock);
		free(ts);
		return NULL;
	}
	return ts;
}

void tallies_destroy(struct tallies *ts)
{
	if (!ts)
		return;
	tally_set_put(ts->current);
	mutex_deinit(&ts->lock);
	free(ts);
}

struct tally_memory *tallies_memory(struct tallies *ts)
{
	return &ts->memory;
}

bool tallies_changed(const struct tallies *ts, const struct tally_set *set)
{
	return guests_generation(ts->guests) != set->guests->generation;
}

/* Returns the set that was replaced, to be put without the lock, or NULL. */
static const struct tally_set *with_lock__refresh(struct tallies *ts)
{
	struct tally_set *old = ts->current;
	struct tally_set *set = set_create(ts, old, guests_acquire(ts->guests));

	if (!set) {
		log_error("no memory to count the samples of guests that are new");
		return NULL;
	}
	ts->current = set;
	return old;
}

const struct tally_set *tallies_acquire(struct tallies *ts)
{
	const struct tally_set *old = NULL;
	struct tally_set *set;

	mutex_lock(&ts->lock);
	if (tallies_changed(ts, ts->current))
		old = with_lock__refresh(ts);
	set = ts->current;
	atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	mutex_unlock(&ts->lock);
	tally_set_put(old);
	return set;
}
