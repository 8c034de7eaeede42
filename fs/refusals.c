#include "fs/refusals.h"

#include <stdlib.h>

#include "symsrc/base/lock.h"

struct refusal {
	uint64_t serial;
	struct errmsg why;
};

struct refusals {
	struct mutex lock;
	size_t count;	      /* lock */
	struct refusal *list; /* lock */
};

struct refusals *refusals_create(void)
{
	struct refusals *r = calloc(1, sizeof(*r));

	if (r)
		mutex_init(&r->lock);
	return r;
}

void refusals_destroy(struct refusals *r)
{
	if (!r)
		return;
	mutex_deinit(&r->lock);
	free(r->list);
	free(r);
}

static void with_lock__drop(struct refusals *r, const struct guest_set *set, uint64_t serial)
{
	size_t n = 0;

	for (size_t i = 0; i < r->count; i++) {
		if (r->list[i].serial != serial && guest_set_find_serial(set, r->list[i].serial))
			r->list[n++] = r->list[i];
	}
	r->count = n;
}

static void with_lock__add(struct refusals *r, uint64_t serial, const struct errmsg *why)
{
	struct refusal *list = reallocarray(r->list, r->count + 1, sizeof(*list));

	if (!list)
		return;
	r->list = list;
	list[r->count++] = (struct refusal){serial, *why};
}

void refusals_set(struct refusals *r, const struct guest_set *set, uint64_t serial,
		  const struct errmsg *why)
{
	mutex_lock(&r->lock);
	with_lock__drop(r, set, serial);
	if (why)
		with_lock__add(r, serial, why);
	mutex_unlock(&r->lock);
}

bool refusals_get(struct refusals *r, uint64_t serial, struct errmsg *ret)
{
	bool found = false;

	mutex_lock(&r->lock);
	for (size_t i = 0; i < r->count && !found; i++) {
		found = r->list[i].serial == serial;
		if (found)
			*ret = r->list[i].why;
	}
	mutex_unlock(&r->lock);
	return found;
}
