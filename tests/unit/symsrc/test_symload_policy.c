/* How often the loader may turn to a guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/symload_impl.h"

/* What a guest that boots, or changes, really costs delays nothing. */
static void test_what_is_urgent_is_at_once(void **state)
{
	uint64_t now = clock_now_ns();
	struct load l = {0};

	(void)state;
	for (int i = 0; i < 10; i++)
		load_charge(&l, NSEC_PER_SEC);
	with_lock__schedule(&l, now, true);
	assert_int_equal(l.next_ns, now);
	with_lock__schedule(&l, NEVER, true);
	assert_int_equal(l.next_ns, NEVER);
}

/* One that resets itself all the time, or is never ready, must not keep a CPU busy. */
static void test_a_guest_that_wants_too_much_waits(void **state)
{
	uint64_t began = clock_now_ns();
	uint64_t cpu_ns = 200 * NSEC_PER_SEC;
	struct load l = {0};

	(void)state;
	for (int i = 0; i < 200; i++)
		load_charge(&l, NSEC_PER_SEC);
	with_lock__schedule(&l, began, true);
	assert_true(l.next_ns - began >=
		    SYMLOAD_CPU_SHARE * (cpu_ns - SYMLOAD_CPU_CREDIT_SEC * NSEC_PER_SEC));
	assert_true(l.next_ns - began < SYMLOAD_CPU_SHARE * cpu_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_urgent_is_at_once),
		cmocka_unit_test(test_a_guest_that_wants_too_much_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
