/* Memory by the megabyte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/bulk.h"

#define MIB ((size_t)1 << 20)

static void check(size_t first, size_t second)
{
	struct bulk b;
	char *one, *two;

	assert_int_equal(bulk_init(&b, bulk_room(first) + bulk_room(second)), 0);
	one = bulk_take(&b, first);
	two = bulk_take(&b, second);
	assert_true(two >= one + first);
	assert_int_equal((uintptr_t)one % 16, 0);
	assert_int_equal((uintptr_t)two % 16, 0);
	for (size_t i = 0; i < first; i += 4096)
		assert_int_equal(one[i], 0);
	memset(one, 1, first); /* both to their ends: sanitizers and the kernel look */
	memset(two, 2, second);
	bulk_deinit(&b);
	assert_null(b.memory);
	bulk_deinit(&b);
}

static void test_sizes(void **state)
{
	(void)state;
	check(0, 0);
	check(1, 3);
	check(MIB, MIB - 16);
	check(MIB, MIB);
	check(MIB + 5, MIB + 7);
	check(4 * MIB, 2 * MIB);
	check(5 * MIB + 1, 1);
}

static void test_too_much(void **state)
{
	struct bulk b;

	(void)state;
	assert_int_equal(bulk_init(&b, (size_t)1 << 62), -ENOMEM);
	assert_null(b.memory);
	bulk_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
