#include "profiler/exits/steady.h"

#include <stdbool.h>
#include <stddef.h>

#define TRIES 1000

typedef uint64_t __attribute__((may_alias)) word;

static uint64_t look_at(const word *at)
{
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

/* Word by word: a CPU's own instruction for long copies need not read in any order, nor before what
 * is read after it. */
static void copy(void *to, const void *from, size_t size)
{
	const word *in = from;
	word *out = to;

	for (size_t i = 0; i < size / sizeof(*in); i++)
		out[i] = look_at(&in[i]);
}

static bool same_access(const struct exits_thread *a, const struct exits_thread *b)
{
	return __atomic_load_n(&a->access_kind, __ATOMIC_ACQUIRE) == b->access_kind &&
	       look_at(&a->access_what) == b->access_what &&
	       __atomic_load_n(&a->access_more, __ATOMIC_ACQUIRE) == b->access_more;
}

bool exits_steady_thread(const struct exits_thread *from, struct exits_thread *to)
{
	for (int i = 0; i < TRIES; i++) {
		uint64_t settled = look_at(&from->settled);

		copy(to, from, sizeof(*to));
		if (look_at(&from->since) == settled && same_access(from, to))
			return true;
	}
	return false;
}

bool exits_steady_row(const struct exits_row *from, struct exits_row *to)
{
	for (int i = 0; i < TRIES; i++) {
		uint64_t ended = look_at(&from->ended);

		copy(to, from, sizeof(*to));
		if (look_at(&from->begun) == ended)
			return true;
	}
	return false;
}
