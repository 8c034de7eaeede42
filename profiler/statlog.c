#include "profiler/statlog.h"

#include <stdlib.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/lock.h"

struct entry {
	uint64_t serial;
	struct kvmstats newest; /* no two of these are closer than STATLOG_SPAN_NS */
	struct kvmstats older;	/* taken_ns 0: none */
};

struct statlog {
	struct mutex lock;	/* a leaf */
	size_t count;		/* lock */
	struct entry **entries; /* lock */
};

struct statlog *statlog_create(void)
{
	struct statlog *l = calloc(1, sizeof(*l));

	if (l)
		mutex_init(&l->lock);
	return l;
}

void statlog_destroy(struct statlog *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->count; i++)
		free(l->entries[i]);
	free(l->entries);
	mutex_deinit(&l->lock);
	free(l);
}

static void with_lock__forget_gone(struct statlog *l, const struct guest_set *set)
{
	for (size_t i = l->count; i > 0; i--) {
		if (guest_set_find_serial(set, l->entries[i - 1]->serial))
			continue;
		free(l->entries[i - 1]);
		l->entries[i - 1] = l->entries[--l->count];
	}
}

static struct entry *with_lock__entry(struct statlog *l, uint64_t serial)
{
	struct entry **entries;
	struct entry *e;

	for (size_t i = 0; i < l->count; i++) {
		if (l->entries[i]->serial == serial)
			return l->entries[i];
	}
	entries = reallocarray(l->entries, l->count + 1, sizeof(*entries));
	if (!entries)
		return NULL;
	l->entries = entries;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->serial = serial;
	entries[l->count++] = e;
	return e;
}

static bool is_older(const struct kvmstats *s, const struct kvmstats *than)
{
	return s->taken_ns && s->taken_ns + STATLOG_SPAN_NS <= than->taken_ns;
}

static bool with_lock__add(struct entry *e, const struct kvmstats *now, struct kvmstats *ret)
{
	if (is_older(&e->newest, now)) {
		*ret = e->older = e->newest;
		e->newest = *now;
		return true;
	}
	if (!e->newest.taken_ns)
		e->newest = *now;
	if (!is_older(&e->older, now))
		return false;
	*ret = e->older;
	return true;
}

bool statlog_add(struct statlog *l, const struct guest_set *set, uint64_t serial,
		 const struct kvmstats *now, struct kvmstats *ret)
{
	struct entry *e;
	bool found;

	mutex_lock(&l->lock);
	with_lock__forget_gone(l, set);
	e = with_lock__entry(l, serial);
	found = e && with_lock__add(e, now, ret);
	mutex_unlock(&l->lock);
	return found;
}
