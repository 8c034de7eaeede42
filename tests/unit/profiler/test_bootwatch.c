/* Boot code where a kernel should run: told once a phase. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/bootwatch.h"

/* One look after so many more samples, low of them at low addresses. True when it is told. */
static bool look_in(uint32_t epoch, struct bootwatch *w, uint32_t samples, uint32_t low)
{
	bool is_new;

	w->samples += samples;
	w->low_kernel += low;
	is_new = bootwatch_is_new(w, epoch);
	bootwatch_next(w, is_new);
	return is_new;
}

static bool look(struct bootwatch *w, uint32_t samples, uint32_t low)
{
	return look_in(1, w, samples, low);
}

static void test_phases(void **state)
{
	struct bootwatch w = {0};

	(void)state;
	assert_false(look(&w, 250, 3));
	assert_true(look(&w, 250, 250));
	assert_false(look(&w, 250, 250));
	assert_false(look(&w, 10, 0)); /* too few to say that it is over */
	assert_false(look(&w, 250, 250));
	assert_false(look(&w, 250, 0)); /* the kernel runs */
	assert_true(look(&w, 250, 240));
}

static void test_no_phase(void **state)
{
	struct bootwatch w = {0};

	(void)state;
	assert_false(look(&w, 100, 80));
	assert_true(look(&w, 100, 81));
}

/* At a low rate some looks are needed; a sample every few seconds never tells anything. */
static void test_few_samples(void **state)
{
	struct bootwatch w = {0};

	(void)state;
	assert_false(look(&w, 19, 19));
	assert_true(look(&w, 1, 1));
	w = (struct bootwatch){0};
	for (int i = 0; i < 100; i++)
		assert_false(look(&w, 2, 2));
}

/* Somebody else is faster, and the symbols come before the samples are looked at. */
static void test_a_boot_that_others_notice(void **state)
{
	struct bootwatch w = {0};

	(void)state;
	assert_false(look_in(1, &w, 250, 0));
	assert_false(look_in(1, &w, 15, 15));
	assert_false(look_in(2, &w, 250, 250));
	assert_false(look_in(2, &w, 250, 250));
	assert_false(look_in(2, &w, 250, 0)); /* its kernel runs */
	assert_true(look_in(2, &w, 250, 250));
	assert_false(look_in(3, &w, 250, 250)); /* as was told */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_phases),
		cmocka_unit_test(test_no_phase),
		cmocka_unit_test(test_few_samples),
		cmocka_unit_test(test_a_boot_that_others_notice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
