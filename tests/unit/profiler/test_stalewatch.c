/* Samples that stop having names: told once, and ever more rarely while it does not help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "profiler/stalewatch.h"
#include "symsrc/base/clock.h"

#define SEC NSEC_PER_SEC
#define ALL STALEWATCH_SAMPLES

/* A whole batch, of which so many have names. True when it is told. */
static bool batch(struct stalewatch *w, uint32_t epoch, unsigned known, uint64_t now_ns)
{
	stalewatch_is_full(w, epoch);
	for (unsigned i = 0; i < ALL; i++) {
		assert_false(stalewatch_is_full(w, epoch));
		stalewatch_add(w, 0xffffffff81000000 + i);
	}
	stalewatch_add(w, 1); /* no room */
	assert_true(stalewatch_is_full(w, epoch));
	assert_true(w->ips[0] == 0xffffffff81000000 && w->ips[ALL - 1] != 1);
	return stalewatch_judge(w, known, now_ns);
}

static void test_suddenly(void **state)
{
	struct stalewatch w = {0};

	(void)state;
	assert_false(batch(&w, 1, 0, 0)); /* they never had any */
	assert_false(batch(&w, 1, ALL, SEC));
	assert_false(batch(&w, 1, ALL / 2, SEC)); /* a module that is not known yet, say */
	assert_true(batch(&w, 1, 1, 2 * SEC));
	assert_false(batch(&w, 1, 0, 3 * SEC)); /* it is being fetched */
	assert_false(batch(&w, 1, ALL, 4 * SEC));
	assert_false(batch(&w, 1, 0, 5 * SEC)); /* too soon after the last one */
	assert_true(batch(&w, 1, 0, 18 * SEC));
}

/* What helps nothing is not done again and again. */
static void test_in_vain(void **state)
{
	struct stalewatch w = {0};
	unsigned alarms = 0;

	(void)state;
	batch(&w, 1, ALL, 0);
	for (uint64_t s = 1; s < 24 * 3600; s++)
		alarms += batch(&w, 1, 0, s * SEC);
	assert_in_range(alarms, 20, 40);
}

/* Samples of the boot before say nothing about the symbols of this one. */
static void test_another_boot(void **state)
{
	struct stalewatch w = {0};

	(void)state;
	batch(&w, 1, ALL, 0);
	for (unsigned i = 0; i < ALL; i++)
		stalewatch_add(&w, i);
	assert_false(stalewatch_is_full(&w, 2));
	assert_true(batch(&w, 2, 0, SEC));
	for (unsigned i = 0; i < ALL; i++)
		stalewatch_add(&w, i);
	stalewatch_drop(&w);
	assert_false(stalewatch_is_full(&w, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suddenly),
		cmocka_unit_test(test_in_vain),
		cmocka_unit_test(test_another_boot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
