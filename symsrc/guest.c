#include "symsrc/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/log.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"

/* Two locks, so that readers never wait for a set being built: `writer` is held by whoever
 * makes the next set out of the current one, `lock` for looking at or swapping the pointer.
 * Order: writer, then lock. */
struct guests {
	struct mutex writer;
	struct mutex lock;
	struct guest_set *current; /* lock; changed only with writer held as well */
	_Atomic uint64_t generation;
	int subscribers[GUESTS_SUBSCRIBERS_MAX]; /* lock */
	size_t subscriber_count;		 /* lock */
	uint64_t doubts[GUESTS_DOUBTS_MAX];	 /* lock; serials */
	size_t doubt_count;			 /* lock */
};

const char *guest_accel_name(enum guest_accel accel)
{
	switch (accel) {
	case GUEST_ACCEL_KVM: return "kvm";
	case GUEST_ACCEL_TCG: return "tcg";
	case GUEST_ACCEL_UNKNOWN: break;
	}
	return "unknown";
}

struct guest *guest_create(void)
{
	struct guest *g = calloc(1, sizeof(*g));

	if (g)
		atomic_init(&g->refs, 1);
	return g;
}

static bool same_parts(const struct guest_ram *a, const struct guest_ram *b)
{
	for (size_t i = 0; i < a->part_count; i++) {
		if (a->parts[i].bytes != b->parts[i].bytes || a->parts[i].made != b->parts[i].made)
			return false;
	}
	return true;
}

bool guest_ram_equals(const struct guest_ram *a, const struct guest_ram *b)
{
	return a->machine == b->machine && a->encryption == b->encryption &&
	       a->below_4g_max == b->below_4g_max && a->base_bytes == b->base_bytes &&
	       a->part_count == b->part_count && a->block_count == b->block_count &&
	       same_parts(a, b) &&
	       memcmp(a->blocks, b->blocks, a->block_count * sizeof(a->blocks[0])) == 0;
}

bool guest_links_equal(const struct guest_links *a, const struct guest_links *b)
{
	return a->ssh_port == b->ssh_port && a->vsock_cid == b->vsock_cid &&
	       strcmp(a->ssh_host, b->ssh_host) == 0 && strcmp(a->qmp_path, b->qmp_path) == 0 &&
	       strcmp(a->agent_path, b->agent_path) == 0 && strcmp(a->port_path, b->port_path) == 0;
}

const struct guest *guest_get(const struct guest *g)
{
	if (g)
		atomic_fetch_add_explicit(&((struct guest *)g)->refs, 1, memory_order_relaxed);
	return g;
}

void guest_put(const struct guest *cg)
{
	struct guest *g = (struct guest *)cg;

	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(g->vcpus);
	free(g);
}

static struct guest_set *set_create(size_t count)
{
	struct guest_set *set = calloc(1, sizeof(*set) + count * sizeof(set->entries[0]));

	if (!set)
		return NULL;
	atomic_init(&set->refs, 1);
	set->count = count;
	return set;
}

const struct guest_set *guest_set_get(const struct guest_set *set)
{
	atomic_fetch_add_explicit(&((struct guest_set *)set)->refs, 1, memory_order_relaxed);
	return set;
}

void guest_set_put(const struct guest_set *cset)
{
	struct guest_set *set = (struct guest_set *)cset;

	if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < set->count; i++)
		guest_put(set->entries[i].guest);
	free(set);
}

static int compare_pid(const void *a, const void *b)
{
	const struct guest_entry *x = a;
	const struct guest_entry *y = b;

	return (x->guest->pid > y->guest->pid) - (x->guest->pid < y->guest->pid);
}

const struct guest_entry *guest_set_find_pid(const struct guest_set *set, pid_t pid)
{
	size_t from = 0;
	size_t to = set->count;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (set->entries[mid].guest->pid == pid)
			return &set->entries[mid];
		if (set->entries[mid].guest->pid < pid)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}

const struct guest_entry *guest_set_find_serial(const struct guest_set *set, uint64_t serial)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->entries[i].guest->serial == serial)
			return &set->entries[i];
	}
	return NULL;
}

struct guests *guests_create(void)
{
	struct guests *gs = calloc(1, sizeof(*gs));

	if (!gs)
		return NULL;
	gs->current = set_create(0);
	if (!gs->current) {
		free(gs);
		return NULL;
	}
	atomic_init(&gs->generation, 0);
	mutex_init(&gs->writer);
	mutex_init(&gs->lock);
	return gs;
}

void guests_destroy(struct guests *gs)
{
	if (!gs)
		return;
	guest_set_put(gs->current);
	mutex_deinit(&gs->lock);
	mutex_deinit(&gs->writer);
	free(gs);
}

const struct guest_set *guests_acquire(struct guests *gs)
{
	const struct guest_set *set;

	mutex_lock(&gs->lock);
	set = guest_set_get(gs->current);
	mutex_unlock(&gs->lock);
	return set;
}

uint64_t guests_generation(const struct guests *gs)
{
	return atomic_load_explicit(&gs->generation, memory_order_acquire);
}

/* Publishes the set, which takes over the caller's reference. The old one is put after the
 * lock is released: the last reference frees. */
static void with_writer__publish(struct guests *gs, struct guest_set *set)
{
	struct guest_set *old = gs->current;

	set->generation = old->generation + 1;
	mutex_lock(&gs->lock);
	gs->current = set;
	atomic_store_explicit(&gs->generation, set->generation, memory_order_release);
	for (size_t i = 0; i < gs->subscriber_count; i++)
		io_wake(gs->subscribers[i]);
	mutex_unlock(&gs->lock);
	guest_set_put(old);
}

static void start_epoch(struct guest_entry *e, uint32_t epoch, const char *reason)
{
	e->epoch = epoch;
	e->epoch_start_ns = clock_now_ns();
	snprintf(e->epoch_reason, sizeof(e->epoch_reason), "%s", reason);
}

/* The entry for g in the set that follows old: its epoch goes on, or begins. */
static void fill_entry(struct guest_entry *e, const struct guest *g, const struct guest_set *old)
{
	const struct guest_entry *before = guest_set_find_pid(old, g->pid);

	if (before && before->guest->serial == g->serial)
		*e = *before;
	else
		start_epoch(e, 1, "first seen");
	e->guest = guest_get(g);
}

int guests_publish(struct guests *gs, const struct guest *const *list, size_t count)
{
	struct guest_set *set = set_create(count);

	if (!set)
		return -ENOMEM;
	mutex_lock(&gs->writer);
	for (size_t i = 0; i < count; i++)
		fill_entry(&set->entries[i], list[i], gs->current);
	qsort(set->entries, count, sizeof(set->entries[0]), compare_pid);
	with_writer__publish(gs, set);
	mutex_unlock(&gs->writer);
	return 0;
}

static struct guest_set *set_copy(const struct guest_set *from)
{
	struct guest_set *set = set_create(from->count);

	if (!set)
		return NULL;
	memcpy(set->entries, from->entries, from->count * sizeof(set->entries[0]));
	for (size_t i = 0; i < set->count; i++)
		guest_get(set->entries[i].guest);
	return set;
}

static int with_writer__new_epoch(struct guests *gs, uint64_t serial, uint32_t seen_epoch,
				  const char *reason)
{
	const struct guest_entry *now = guest_set_find_serial(gs->current, serial);
	struct guest_set *set;

	if (!now)
		return -ESRCH;
	if (now->epoch != seen_epoch)
		return 0;
	set = set_copy(gs->current);
	if (!set)
		return -ENOMEM;
	log_info("guest %d: boot %u: %s", (int)now->guest->pid, seen_epoch + 1, reason);
	start_epoch(&set->entries[now - gs->current->entries], seen_epoch + 1, reason);
	with_writer__publish(gs, set);
	return 0;
}

int guests_new_epoch(struct guests *gs, uint64_t serial, uint32_t seen_epoch, const char *reason)
{
	int r;

	mutex_lock(&gs->writer);
	r = with_writer__new_epoch(gs, serial, seen_epoch, reason);
	mutex_unlock(&gs->writer);
	return r;
}

static bool with_lock__is_doubted(const struct guests *gs, uint64_t serial)
{
	for (size_t i = 0; i < gs->doubt_count; i++) {
		if (gs->doubts[i] == serial)
			return true;
	}
	return false;
}

void guests_doubt(struct guests *gs, uint64_t serial)
{
	mutex_lock(&gs->lock);
	if (gs->doubt_count < GUESTS_DOUBTS_MAX && !with_lock__is_doubted(gs, serial))
		gs->doubts[gs->doubt_count++] = serial;
	mutex_unlock(&gs->lock);
}

bool guests_next_doubt(struct guests *gs, uint64_t *ret_serial)
{
	bool found;

	mutex_lock(&gs->lock);
	found = gs->doubt_count > 0;
	if (found)
		*ret_serial = gs->doubts[--gs->doubt_count];
	mutex_unlock(&gs->lock);
	return found;
}

int guests_subscribe(struct guests *gs, int wake_fd)
{
	int r = -ENOSPC;

	mutex_lock(&gs->lock);
	if (gs->subscriber_count < GUESTS_SUBSCRIBERS_MAX) {
		gs->subscribers[gs->subscriber_count++] = wake_fd;
		r = 0;
	}
	mutex_unlock(&gs->lock);
	return r;
}

void guests_unsubscribe(struct guests *gs, int wake_fd)
{
	mutex_lock(&gs->lock);
	for (size_t i = 0; i < gs->subscriber_count; i++) {
		if (gs->subscribers[i] != wake_fd)
			continue;
		gs->subscribers[i] = gs->subscribers[--gs->subscriber_count];
		break;
	}
	mutex_unlock(&gs->lock);
}
