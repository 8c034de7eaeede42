/* The bounded table of counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/counts.h"
#include "tests/unit/lib/gone.h"

#define KERNEL 0xffffffff81000000ULL

static struct counts_budget budget;

static void begin(struct counts *c, size_t bytes)
{
	atomic_init(&budget.left, bytes);
	counts_init(c, &budget, 0x1234567890abcdef);
}

static uint64_t count_of(const struct counts *c, uint64_t ip, unsigned vcpu)
{
	struct counts_entry *all = malloc((c->used + 1) * sizeof(*all));
	size_t n = counts_copy(c, all, NULL);
	uint64_t count = 0;

	assert_int_equal(n, c->used);
	for (size_t i = 0; i < n; i++) {
		if (all[i].ip == ip && all[i].vcpu == vcpu)
			count += all[i].count;
	}
	free(all);
	return count;
}

static void test_counts_by_address_and_vcpu(void **state)
{
	struct counts c;

	(void)state;
	begin(&c, 1 << 20);
	assert_true(counts_add(&c, KERNEL, 0));
	assert_true(counts_add(&c, KERNEL, 0));
	assert_true(counts_add(&c, KERNEL, 1));
	assert_true(counts_add(&c, 0, 4096));
	assert_true(counts_add(&c, UINT64_MAX, 0));
	assert_int_equal(count_of(&c, KERNEL, 0), 2);
	assert_int_equal(count_of(&c, KERNEL, 1), 1);
	assert_int_equal(count_of(&c, 0, 4096), 1);
	assert_int_equal(count_of(&c, UINT64_MAX, 0), 1);
	assert_int_equal(c.used, 4);
	counts_deinit(&c);
	assert_int_equal(budget.left, 1 << 20);
}

/* Counts of addresses that others have now stand apart from what is counted there later. */
static void test_addresses_that_others_have_now(void **state)
{
	enum { MANY = 300 };
	const uint64_t module = 0xffffffffc0000000;
	const struct retired *r =
		gone_after(NULL, "ffffffff81000000 T _text\nffffffffc0000000 t f\t[a]\n",
			   "ffffffff81000000 T _text\nffffffffc0000000 t f\t[b]\n");
	struct counts c;

	(void)state;
	begin(&c, 1 << 20);
	assert_true(counts_retire(&c, r, 0)); /* an empty one */
	for (unsigned i = 0; i < 2 * MANY; i++) {
		assert_true(counts_add(&c, KERNEL + i % MANY, 0));
		assert_true(counts_add(&c, module + i % MANY, i % 2));
	}
	assert_true(counts_retire(&c, r, 1)); /* all of it is newer */
	assert_int_equal(count_of(&c, module + 1, 1), 2);
	assert_true(counts_retire(&c, r, 0));
	assert_int_equal(c.used, 2 * MANY);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(count_of(&c, KERNEL + i, 0), 2);
		assert_int_equal(count_of(&c, module + i, i % 2), 0);
		assert_int_equal(count_of(&c, retired_move(r, 0, module + i), i % 2), 2);
	}
	assert_true(counts_add(&c, module + 1, 1));
	assert_int_equal(count_of(&c, module + 1, 1), 1);
	counts_deinit(&c);
	assert_int_equal(budget.left, 1 << 20);
	retired_put(r);
}

/* One address on all vCPUs, twice: places in the table are shared, counts are not. */
static void test_many_vcpus(void **state)
{
	struct counts c;

	(void)state;
	begin(&c, 1 << 20);
	for (unsigned i = 0; i < 2 * 4096; i++)
		assert_true(counts_add(&c, KERNEL, i % 4096));
	assert_int_equal(c.used, 4096);
	for (unsigned i = 0; i < 4096; i += 64)
		assert_int_equal(count_of(&c, KERNEL, i), 2);
	counts_deinit(&c);
}

/* Full: old addresses are counted on, new ones are refused, nothing is evicted. */
static void test_maximum(void **state)
{
	struct counts c;

	(void)state;
	begin(&c, SIZE_MAX);
	for (uint64_t i = 0; i < COUNTS_ENTRIES_MAX; i++)
		assert_true(counts_add(&c, KERNEL + 16 * i, 0));
	assert_false(counts_add(&c, KERNEL - 1, 0));
	assert_false(counts_add(&c, KERNEL, 1));
	assert_true(counts_add(&c, KERNEL, 0));
	assert_int_equal(count_of(&c, KERNEL, 0), 2);
	assert_int_equal(count_of(&c, KERNEL + 16 * (COUNTS_ENTRIES_MAX - 1), 0), 1);
	assert_int_equal(c.used, COUNTS_ENTRIES_MAX);
	counts_deinit(&c);
}

/* The budget is shared: one guest's table cannot take what is not there. */
static void test_budget(void **state)
{
	struct counts a;
	struct counts b;
	uint64_t added = 0;

	(void)state;
	begin(&a, 100000);
	counts_init(&b, &budget, 1);
	while (counts_add(&a, KERNEL + added, 0))
		added++;
	assert_true(added > 1000 && added * 16 < 100000);
	assert_false(counts_add(&a, 1, 0));
	while (counts_add(&b, KERNEL + added, 0))
		added++;
	counts_deinit(&a);
	assert_true(counts_add(&b, KERNEL + added, 0));
	counts_deinit(&b);
	assert_int_equal(budget.left, 100000);
}

/* Of a recording: vCPUs get their numbers in the end, and weights go along. Large enough for all
 * sizes of pages. */
static void test_renumber(void **state)
{
	enum { MANY = 200000 };
	const uint16_t numbers[] = {2, 0, 1};
	static struct counts_entry entries[MANY];
	static uint64_t weights[MANY];
	struct counts c;

	(void)state;
	atomic_init(&budget.left, 1 << 30);
	counts_init_weighted(&c, &budget, 1, 1 << 20);
	counts_renumber(&c, numbers);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(counts_add_weighted(&c, KERNEL + i, i % 3, 1 + i % 7, i));
	counts_renumber(&c, numbers);
	assert_int_equal(counts_copy(&c, entries, weights), MANY);
	for (unsigned at = 0; at < MANY; at++) {
		unsigned i = (unsigned)(entries[at].ip - KERNEL);

		assert_int_equal(entries[at].vcpu, numbers[i % 3]);
		assert_int_equal(entries[at].count, 1 + i % 7);
		assert_int_equal(weights[at], i);
	}
	counts_deinit(&c);
	assert_int_equal(budget.left, 1 << 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_by_address_and_vcpu),
		cmocka_unit_test(test_addresses_that_others_have_now),
		cmocka_unit_test(test_many_vcpus),
		cmocka_unit_test(test_maximum),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_renumber),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
