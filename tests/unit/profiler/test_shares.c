/* What a guest had of the host's samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/shares.h"

static struct profiler_shares shares(struct tally_copy copy, bool perf_running)
{
	struct shares_host host = {.perf_running = perf_running,
				   .freq = 1000,
				   .cpus = 4,
				   .elapsed_ns = 10 * NSEC_PER_SEC};
	struct profiler_shares s;

	copy.qmp_hz = copy.qmp_hz ? copy.qmp_hz : 50;
	copy.epoch_count = 2;
	shares_make(&copy, &host, &s);
	return s;
}

static void test_perf(void **state)
{
	struct tally_copy copy = {.sampler = SAMPLER_KIND_PERF,
				  .host_kernel = 1000,
				  .host_user = 500,
				  .elapsed.samples = 40000,
				  .epochs = {{.kernel = 2000, .user = 3000}, {.kernel = 100}}};
	struct profiler_shares s = shares(copy, true);

	(void)state;
	assert_int_equal(s.host_kernel, 1000);
	assert_int_equal(s.host_user, 500);
	assert_int_equal(s.guest_kernel, 2100);
	assert_int_equal(s.guest_user, 3000);
	assert_int_equal(s.total, 40000);
}

/* TCG: 10 s of one busy CPU, of which perf saw 9 s in the VMM's own code and 1 s in the kernel;
 * the registers showed the guest's kernel in 300 of 400 cases: 8 s of it was the guest. */
static void test_qmp_is_made_comparable(void **state)
{
	struct tally_copy copy = {.sampler = SAMPLER_KIND_QMP,
				  .host_kernel = 1000,
				  .host_user = 9000,
				  .elapsed.samples = 40000,
				  .epochs = {{.kernel = 300, .user = 100}}};
	struct profiler_shares s = shares(copy, true);

	(void)state;
	assert_int_equal(s.guest_kernel, 6000);
	assert_int_equal(s.guest_user, 2000);
	assert_int_equal(s.host_user, 1000);
	assert_int_equal(s.host_kernel, 1000);
	assert_int_equal(s.total, 40000);
}

/* Nested KVM: the guest's time is in the host's kernel; and never more than the VMM had. */
static void test_qmp_takes_no_more_than_there_is(void **state)
{
	struct tally_copy copy = {.sampler = SAMPLER_KIND_QMP,
				  .host_kernel = 3000,
				  .host_user = 100,
				  .elapsed.samples = 40000,
				  .epochs = {{.kernel = 500}}};
	struct profiler_shares s = shares(copy, true);

	(void)state;
	assert_int_equal(s.guest_kernel, 3100);
	assert_int_equal(s.host_user, 0);
	assert_int_equal(s.host_kernel, 0);
}

static void test_qmp_alone(void **state)
{
	struct tally_copy copy = {.sampler = SAMPLER_KIND_QMP,
				  .epochs = {{.kernel = 250, .user = 250}}};
	struct profiler_shares s = shares(copy, false);

	(void)state;
	assert_int_equal(s.guest_kernel, 250);
	assert_int_equal(s.total, 2000); /* 4 CPUs, 10 s, 50 Hz */
}

static void test_never_more_than_all(void **state)
{
	struct tally_copy copy = {
		.sampler = SAMPLER_KIND_PERF, .elapsed.samples = 10, .epochs = {{.kernel = 20}}};

	(void)state;
	assert_int_equal(shares(copy, true).total, 20);
}

/* What the registers of TCG guests showed is in the headline, and nothing is counted twice. */
static void test_moving_to_the_host(void **state)
{
	struct profiler_shares guest = {.host_user = 5, .guest_kernel = 30, .guest_user = 10};
	struct profiler_shares host = {.host_user = 35, .host_kernel = 20, .total = 100};

	(void)state;
	shares_move(&guest, &host);
	assert_int_equal(host.guest_kernel, 30);
	assert_int_equal(host.guest_user, 10);
	assert_int_equal(host.host_user, 0);
	assert_int_equal(host.host_kernel, 15);
	assert_int_equal(host.total, 100);
}

/* Without perf the host's shares are not known, and stay so. */
static void test_nothing_to_move(void **state)
{
	struct profiler_shares guest = {.guest_kernel = 30, .total = 60};
	struct profiler_shares host = {0};

	(void)state;
	shares_move(&guest, &host);
	assert_int_equal(host.guest_kernel, 0);
	assert_int_equal(host.host_kernel, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moving_to_the_host),
		cmocka_unit_test(test_nothing_to_move),
		cmocka_unit_test(test_perf),
		cmocka_unit_test(test_qmp_is_made_comparable),
		cmocka_unit_test(test_qmp_takes_no_more_than_there_is),
		cmocka_unit_test(test_qmp_alone),
		cmocka_unit_test(test_never_more_than_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
