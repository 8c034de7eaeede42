#include "profiler/exits/numbers.h"

#include <stdbool.h>
#include <stdlib.h>

#include "symsrc/base/cleanup.h"

static void change(uint32_t *number, uint32_t from, uint32_t to)
{
	__atomic_compare_exchange_n(number, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* A thread's place by the low bits of its number, for all that there are. */
static void list_places(uint32_t *places, const struct exits_thread_place *threads, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		uint32_t tid = threads[i].t.tid;

		if (tid)
			places[tid % EXITS_NUMBERS] = i;
	}
}

void exits_numbers_renew(uint32_t *numbers, const struct exits_thread_place *threads,
			 uint32_t thread_count, const struct exits_gone *gone, size_t gone_count)
{
	CLEANUP_FREE uint32_t *others = calloc(EXITS_NUMBERS, sizeof(*others));

	if (!others)
		return;
	list_places(others, threads, thread_count);
	for (size_t i = 0; i < gone_count; i++) {
		uint32_t low = gone[i].tid % EXITS_NUMBERS;

		change(&numbers[low], gone[i].place, others[low]);
	}
	/* Those that have come meanwhile. */
	list_places(others, threads, thread_count);
	for (size_t i = 0; i < gone_count; i++) {
		uint32_t low = gone[i].tid % EXITS_NUMBERS;

		change(&numbers[low], 0, others[low]);
	}
}
