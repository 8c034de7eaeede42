#include <stdlib.h>
#include <string.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/symload_impl.h"

/* ---- one guest ---------------------------------------------------------------------------- */

const struct symbols *load_symbols(const struct load *l, uint32_t epoch)
{
	for (size_t i = 0; i < SYMSRC_EPOCHS_KEPT; i++) {
		if (l->kept[i].symbols && l->kept[i].epoch == epoch)
			return l->kept[i].symbols;
	}
	return NULL;
}

void load_keep(struct load *l, uint32_t epoch, const struct symbols *symbols)
{
	struct kept *first = &l->kept[0], *last = &l->kept[SYMSRC_EPOCHS_KEPT - 1];

	if (first->symbols && first->epoch == epoch) {
		symbols_put(first->symbols);
	} else {
		symbols_put(last->symbols);
		memmove(first + 1, first, sizeof(*first) * (SYMSRC_EPOCHS_KEPT - 1));
	}
	*first = (struct kept){epoch, symbols};
}

void load_free(struct load *l)
{
	for (size_t i = 0; i < SYMSRC_EPOCHS_KEPT; i++)
		symbols_put(l->kept[i].symbols);
	retired_put(l->retired);
	load_drop_sampled(l);
	load_ram_deinit(&l->ram);
	serial_ear_destroy(l->ear);
	guest_put(l->guest);
	free(l);
}

/* ---- the table; the lock is held ---------------------------------------------------------- */

static size_t with_lock__position(const struct symload *sl, uint64_t serial)
{
	size_t lo = 0, hi = sl->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (sl->loads[mid]->serial < serial)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct load *with_lock__find(const struct symload *sl, uint64_t serial)
{
	size_t at = with_lock__position(sl, serial);

	return at < sl->count && sl->loads[at]->serial == serial ? sl->loads[at] : NULL;
}

void with_lock__wake_subscribers(const struct symload *sl)
{
	for (size_t i = 0; i < SUBSCRIBERS_MAX; i++) {
		if (sl->subscribers[i] >= 0)
			io_wake(sl->subscribers[i]);
	}
}

static struct load *with_lock__insert(struct symload *sl, uint64_t serial)
{
	size_t at = with_lock__position(sl, serial);
	struct load *l;

	if (sl->count == sl->cap) {
		size_t cap = sl->cap ? 2 * sl->cap : 16;
		struct load **more = realloc(sl->loads, cap * sizeof(void *));

		if (!more)
			return NULL;
		sl->loads = more;
		sl->cap = cap;
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->serial = serial;
	memmove(&sl->loads[at + 1], &sl->loads[at], (sl->count - at) * sizeof(void *));
	sl->loads[at] = l;
	sl->count++;
	return l;
}

void with_lock__schedule(struct load *l, uint64_t when_ns, bool whole)
{
	l->next_ns = load_when_affordable(l, when_ns);
	l->whole |= whole;
}

static void with_lock__cancel(const struct load *l)
{
	if (l->by)
		io_wake(l->by->cancel_fd);
}

/* Takes over what discovery knows now. True when it may be reached in another way than before:
 * its name is often known later than its process. */
static bool with_lock__take_guest(const struct symload *sl, struct load *l, const struct guest *g)
{
	const char *uri = symload_uri_for(sl->rules, sl->rule_count, g);
	const struct guest *old = l->guest;
	bool moved = !old || strcmp(l->uri, uri) != 0;

	if (old && !load_symbols(l, l->epoch))
		moved |= strcmp(old->name, g->name) != 0 ||
			 !guest_links_equal(&old->links, &g->links);
	if (old && !load_symbols(l, l->epoch) && !l->by)
		moved |= !symload_ram_facts_same(old, g);
	l->guest = guest_get(g);
	l->uri = uri;
	guest_put(old);
	return moved;
}

/* What is known of the boot that is over, so that its remains are not taken for the next. */
static void with_lock__bury(struct load *l)
{
	l->thorough_ns = 0;
	l->unmarked = !l->mark.len && l->epoch > 1;
	if (!l->mark.len)
		return;
	l->dead = l->mark;
	l->mark.len = 0;
	l->thorough_ns = clock_now_ns() + SYMLOAD_REMAINS_SEC * NSEC_PER_SEC;
}

/* The guest's entry in the new set. */
static void with_lock__update(struct symload *sl, struct load *l, const struct guest_entry *e)
{
	bool boot = l->epoch != e->epoch;
	bool other = l->guest != e->guest;

	if (other && with_lock__take_guest(sl, l, e->guest)) {
		l->moves++;
		with_lock__cancel(l);
		with_lock__schedule(l, clock_now_ns(), true);
	}
	if (!boot)
		return;
	l->epoch = e->epoch;
	l->epoch_start_ns = e->epoch_start_ns;
	l->attempts = 0;
	l->looks = 0;
	l->failures = 0;
	l->said = NOTHING_SAID;
	l->error = (struct errmsg){0};
	l->misfit = false;
	load_drop_sampled(l);
	retired_put(l->retired);
	l->retired = NULL;
	with_lock__bury(l);
	with_lock__cancel(l); /* what it fetches is from the boot before */
	with_lock__schedule(l, clock_now_ns(), true);
}

static void with_lock__drop(struct symload *sl, size_t at)
{
	struct load *l = sl->loads[at];

	sl->count--;
	memmove(&sl->loads[at], &sl->loads[at + 1], (sl->count - at) * sizeof(void *));
	l->gone = true;
	if (l->by)
		with_lock__cancel(l);
	else
		load_free(l);
}

static void with_lock__sync(struct symload *sl, const struct guest_set *set)
{
	if (set->generation <= sl->generation)
		return; /* known, or somebody brought a newer one */
	sl->generation = set->generation;
	for (size_t i = sl->count; i-- > 0;) {
		if (!guest_set_find_serial(set, sl->loads[i]->serial))
			with_lock__drop(sl, i);
	}
	for (size_t i = 0; i < set->count; i++) {
		const struct guest_entry *e = &set->entries[i];
		struct load *l = with_lock__find(sl, e->guest->serial);

		if (!l)
			l = with_lock__insert(sl, e->guest->serial);
		if (!l) {
			log_error("symbols: out of memory: a guest gets none");
			continue;
		}
		with_lock__update(sl, l, e);
	}
	with_lock__wake_subscribers(sl);
}

/* Takes the newest set of guests, if it is new. */
void symload_sync_guests(struct symload *sl)
{
	const struct guest_set *set = guests_acquire(sl->gs);

	mutex_lock(&sl->lock);
	with_lock__sync(sl, set);
	mutex_unlock(&sl->lock);
	guest_set_put(set);
}

/* ---- scheduling --------------------------------------------------------------------------- */

static unsigned slow_max(const struct symload *sl)
{
	return sl->fetcher_count > 1 ? sl->fetcher_count / 2 : 1;
}

static bool with_lock__may_run(const struct symload *sl, const struct load *l)
{
	return !l->by && l->next_ns != NEVER &&
	       (!load_is_patient(l) || sl->slow_running < slow_max(sl));
}

/* The one that waits longest among those that may run, due or not. */
struct load *with_lock__first(const struct symload *sl)
{
	struct load *first = NULL;

	for (size_t i = 0; i < sl->count; i++) {
		struct load *l = sl->loads[i];

		if (with_lock__may_run(sl, l) && (!first || l->next_ns < first->next_ns))
			first = l;
	}
	return first;
}
