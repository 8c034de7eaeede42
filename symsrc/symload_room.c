/* What all guests' symbols may take together. Guests decide how large theirs are, up to some 200 MB
 * each; the host decides how many guests there are. So there is a share for each, and whoever
 * takes most, far beyond any kernel there is, does without when the sum is too much. */
#include <errno.h>

#include "symsrc/base/clock.h"
#include "symsrc/symload_impl.h"

#define MIB (1u << 20)

struct room {
	size_t sum;
	struct kept *old;     /* the oldest of an earlier boot, or NULL */
	struct load *largest; /* by its current symbols, or NULL */
	size_t largest_size;
};

static void with_lock__count(struct load *l, struct kept *k, struct room *room)
{
	size_t size = symbols_size(k->symbols);

	room->sum += size;
	if (k->epoch == l->epoch && size > room->largest_size) {
		room->largest = l;
		room->largest_size = size;
	}
	if (k->epoch != l->epoch &&
	    (!room->old || k->symbols->fetched_ns < room->old->symbols->fetched_ns))
		room->old = k;
}

/* Of all but the current ones of the guest of this serial (0: of all). */
static struct room with_lock__sum_up(const struct symload *sl, uint64_t but)
{
	struct room room = {0};

	for (size_t i = 0; i < sl->count; i++) {
		struct load *l = sl->loads[i];

		for (size_t e = 0; e < SYMSRC_EPOCHS_KEPT; e++) {
			struct kept *k = &l->kept[e];

			if (k->symbols && !(l->serial == but && k->epoch == l->epoch))
				with_lock__count(l, k, &room);
		}
	}
	return room;
}

static void with_lock__forget(struct kept *k)
{
	symbols_put(k->symbols);
	*k = (struct kept){0};
}

/* Earlier boots' symbols only serve to look back. A guest that boots again and again, or many
 * that have, must not fill the memory with them. */
void with_lock__limit_memory(const struct symload *sl)
{
	struct room room;

	for (;;) {
		room = with_lock__sum_up(sl, 0);
		if (room.sum <= sl->kept_max || !room.old)
			return;
		with_lock__forget(room.old);
	}
}

static size_t with_lock__total_max(const struct symload *sl)
{
	if (sl->total_max)
		return sl->total_max;
	return SYMLOAD_KEPT_MAX + sl->count * (size_t)SYMLOAD_KEPT_GUEST;
}

static int explain(size_t size, size_t max, struct errmsg *why)
{
	return errmsg_set(
		why, -ENOBUFS,
		"symbols of %zu MiB, while no guest has more and all guests' may take %zu "
		"MiB together: refused",
		size / MIB, max / MIB);
}

void with_lock__forget_current(struct load *l)
{
	for (size_t e = 0; e < SYMSRC_EPOCHS_KEPT; e++) {
		if (l->kept[e].symbols && l->kept[e].epoch == l->epoch)
			with_lock__forget(&l->kept[e]);
	}
}

static void with_lock__evict(const struct room *room, size_t max)
{
	struct load *l = room->largest;

	with_lock__forget_current(l);
	explain(room->largest_size, max, &l->error);
	with_lock__schedule(l, clock_now_ns() + SYMLOAD_NO_ROOM_SEC * NSEC_PER_SEC, true);
}

int with_lock__make_room(const struct symload *sl, struct load *l, const struct symbols *symbols,
			 struct errmsg *why)
{
	size_t max = with_lock__total_max(sl), size = symbols_size(symbols);
	struct room room;

	for (;;) {
		room = with_lock__sum_up(sl, l->serial);
		if (room.sum + size <= max)
			return 0;
		if (room.old)
			with_lock__forget(room.old);
		else if (room.largest && room.largest_size > size)
			with_lock__evict(&room, max);
		else
			break;
	}
	with_lock__forget_current(l);
	return explain(size, max, why);
}
