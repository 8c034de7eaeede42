/* Lists of CPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/cpus.h"

static size_t count_of(const char *text)
{
	struct cpus c;

	assert_int_equal(cpus_parse(text, &c), 0);
	return c.count;
}

static void test_lists(void **state)
{
	struct cpus c;

	(void)state;
	assert_int_equal(count_of("0\n"), 1);
	assert_int_equal(count_of("0-127\n"), 128);
	assert_int_equal(count_of("0-3,3,2-4"), 5);
	assert_int_equal(cpus_parse("0-1,63-64,8191\n", &c), 0);
	assert_int_equal(c.count, 5);
	assert_true(cpus_has(&c, 64) && cpus_has(&c, 8191) && cpus_has(&c, 0));
	assert_false(cpus_has(&c, 2) || cpus_has(&c, 65) || cpus_has(&c, 8192));
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {"",	"\n", "a",   "-1",  "1-",    "3-2",
					  "1,", ",1", "1 2", "0x1", "1-2-3", "1\n\n"};
	struct cpus c = {.count = 77};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cpus_parse(bad[i], &c), -EBADMSG);
	assert_int_equal(cpus_parse("8192", &c), -E2BIG);
	assert_int_equal(cpus_parse("0-99999999999999999999", &c), -E2BIG);
	assert_int_equal(c.count, 77);
}

static void test_this_machine(void **state)
{
	struct cpus c;

	(void)state;
	assert_int_equal(cpus_read(CPUS_ONLINE, &c), 0);
	assert_true(c.count >= 1);
	assert_int_equal(cpus_read("/nowhere", &c), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
