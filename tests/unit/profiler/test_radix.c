/* Sorting by numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "profiler/radix.h"

#define MOST 5000

static struct radix_item items[MOST], room[MOST];

/* Keys that differ in those bits alone; the values tell the order that they had. */
static void check(size_t n, uint64_t base, uint64_t differ)
{
	const struct radix_item *sorted;
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t key =
			(uint64_t)random() << 40 ^ (uint64_t)random() << 20 ^ (uint64_t)random();

		items[i] = (struct radix_item){base | (key & differ), i};
		sum += items[i].key;
	}
	sorted = radix_sort(items, room, n);
	for (size_t i = 1; i < n; i++)
		assert_true(sorted[i - 1].key < sorted[i].key ||
			    (sorted[i - 1].key == sorted[i].key &&
			     sorted[i - 1].value < sorted[i].value));
	for (size_t i = 0; i < n; i++)
		sum -= sorted[i].key;
	assert_true(sum == 0);
}

static void test_sorts_and_is_stable(void **state)
{
	static const uint64_t differ[] = {
		0, 1, 0x7ff, 0x800, 0xff000000, 0x1ffffffULL, 1ULL << 63, UINT64_MAX};

	(void)state;
	srandom(1);
	for (size_t i = 0; i < sizeof(differ) / sizeof(differ[0]); i++) {
		for (size_t n = 0; n < 20; n++)
			check(n, 0xffffffff81000000ULL & ~differ[i], differ[i]);
		check(MOST, 0, differ[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sorts_and_is_stable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
