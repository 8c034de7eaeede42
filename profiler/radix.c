#include "profiler/radix.h"

#define DIGIT_BITS 11
#define DIGIT_SIZE (1u << DIGIT_BITS)

static size_t digit_of(uint64_t key, unsigned shift)
{
	return key >> shift & (DIGIT_SIZE - 1);
}

static void sort_by_digit(const struct radix_item *from, struct radix_item *to, size_t n,
			  unsigned shift)
{
	uint32_t place[DIGIT_SIZE] = {0}, next = 0;

	for (size_t i = 0; i < n; i++)
		place[digit_of(from[i].key, shift)]++;
	for (size_t d = 0; d < DIGIT_SIZE; d++) {
		uint32_t count = place[d];

		place[d] = next;
		next += count;
	}
	for (size_t i = 0; i < n; i++)
		to[place[digit_of(from[i].key, shift)]++] = from[i];
}

struct radix_item *radix_sort(struct radix_item *items, struct radix_item *room, size_t n)
{
	uint64_t differ = 0;

	for (size_t i = 1; i < n; i++)
		differ |= items[i].key ^ items[0].key;
	for (unsigned shift = 0; shift < 64; shift += DIGIT_BITS) {
		struct radix_item *from = items;

		if (digit_of(differ, shift) == 0)
			continue;
		sort_by_digit(items, room, n, shift);
		items = room;
		room = from;
	}
	return items;
}
