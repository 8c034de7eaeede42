/* CPU time out of /proc/PID/stat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <unistd.h>

#include "profiler/cputime.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/wait.h"

static void test_parse(void **state)
{
	uint64_t ns = 7;

	(void)state;
	assert_int_equal(cputime_parse("1 (a) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14", 100, &ns), 0);
	assert_int_equal(ns, 3 * NSEC_PER_SEC);
	assert_int_equal(cputime_parse("1 (x) 9 (y) S 1 2 3 4 5 6 7 8 9 10 1 0 13", 100, &ns), 0);
	assert_int_equal(ns, 10 * NSEC_PER_MSEC);
	assert_int_equal(cputime_parse("", 100, &ns), -EBADMSG);
	assert_int_equal(cputime_parse("1 (a) S 1 2 3", 100, &ns), -EBADMSG);
	assert_int_equal(cputime_parse("1 (a) S 1 2 3 4 5 6 7 8 9 10 x 50", 100, &ns), -EBADMSG);
	assert_int_equal(ns, 10 * NSEC_PER_MSEC);
}

static void test_own(void **state)
{
	struct guest_vcpu self = {.tid = getpid()};
	struct guest g = {.pid = getpid(), .vcpu_count = 1, .vcpus = &self};
	uint64_t all;
	uint64_t vcpus = 0;

	(void)state;
	spin_until(cputime_of_vcpus(&g, &vcpus) == 0 && vcpus > 0);
	assert_int_equal(cputime_of_process(getpid(), &all), 0);
	assert_true(all >= vcpus);
	assert_true(cputime_of_process(0x3fffffff, &all) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
