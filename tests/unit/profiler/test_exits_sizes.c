/* How much is counted: what every guest is sure of fits, whatever the others do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "profiler/exits/sizes.h"

static void test_everybody_has_a_place(void **state)
{
	static const unsigned cpus[] = {1, 2, 31, 32, 64, 128, 512, 8192, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(cpus) / sizeof(*cpus); i++) {
		struct exits_sizes s;

		exits_sizes_of(cpus[i], &s);
		for (int map = 0; map < EXITS_MAPS; map++) {
			const struct exits_limits *l = &s.limits[map];

			assert_true(l->sure >= 32);
			assert_true(s.processes >= 128);
			assert_true(l->most > l->sure && l->most < l->sure + l->pool);
			assert_true((uint64_t)s.processes * l->sure + l->pool < s.rows[map]);
		}
	}
}

/* Each vCPU has an entry, and each VMM one for its other threads. */
static void test_every_vcpu_has_an_entry(void **state)
{
	struct exits_sizes s;

	(void)state;
	exits_sizes_of(2, &s);
	assert_true(s.threads >= 100 * (8 + 1));
	exits_sizes_of(128, &s);
	assert_true(s.threads >= 100 * (128 + 1));
	exits_sizes_of(UINT32_MAX, &s);
	assert_true(s.threads >= 100 * (128 + 1) && s.threads < 1 << 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everybody_has_a_place),
		cmocka_unit_test(test_every_vcpu_has_an_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
