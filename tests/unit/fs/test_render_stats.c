/* The text of stats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "fs/render.h"
#include "symsrc/base/clock.h"

static struct guest guest = {.pid = 700, .name = "web\n1"};
static struct profiler_stats stats;
static struct buf out;
static const struct render_when when = {.now_ns = 10 * NSEC_PER_SEC};

static int setup(void **state)
{
	(void)state;
	stats = (struct profiler_stats){
		.debugfs = {.now = {.vms = 1, .taken_ns = 1}, .span_ns = 2 * NSEC_PER_SEC}};
	buf_init(&out, 65536);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_deinit(&out);
	return 0;
}

static void test_since_the_start(void **state)
{
	(void)state;
	kvmstats_add(&stats.debugfs.now, "io_exits", "3");
	kvmstats_add(&stats.debugfs.now, "exits", "1001");
	assert_int_equal(render_stats(&guest, &stats, &when, &out), 0);
	assert_string_equal(out.data, "# guest: web\\x0a1 (pid 700)\n"
				      "# NAME TOTAL PER_SECOND\n"
				      "# source: KVM's counters in debugfs, of 1 VM\n"
				      "# per second: over 2.000 s, since the guest was started\n"
				      "exits 1001 500.50\n"
				      "io_exits 3 1.50\n");
}

static void test_since_an_earlier_reading(void **state)
{
	(void)state;
	stats.debugfs.before.taken_ns = 1;
	kvmstats_add(&stats.debugfs.now, "exits", "1001");
	kvmstats_add(&stats.debugfs.before, "exits", "1000");
	kvmstats_add(&stats.debugfs.now, "pages_4k", "10");
	kvmstats_add(&stats.debugfs.before, "pages_4k", "13");
	kvmstats_add(&stats.debugfs.now, "halt_wait_ns", "18446744073709551615");
	assert_int_equal(render_stats(&guest, &stats, &when, &out), 0);
	assert_non_null(strstr(out.data, ", since an earlier reading\n"));
	assert_non_null(strstr(out.data, "\nexits 1001 0.50\n"));
	assert_non_null(strstr(out.data, "\npages_4k 10 -1.50\n"));
	assert_non_null(
		strstr(out.data, "\nhalt_wait_ns 18446744073709551615 9223372036854775807.50\n"));
}

static void test_lockdown(void **state)
{
	(void)state;
	stats.debugfs.now.refused = 46;
	assert_int_equal(render_stats(&guest, &stats, &when, &out), 0);
	assert_non_null(strstr(out.data, "\n# refused: 46 more; "));
}

/* What debugfs has is not shown twice. */
static void test_more_over_qmp(void **state)
{
	(void)state;
	stats.has_qmp = true;
	kvmstats_add(&stats.debugfs.now, "pages_4k", "7");
	assert_int_equal(render_stats(&guest, &stats, &when, &out), 0);
	assert_non_null(strstr(out.data, "# source: QMP query-stats, which is asked now"));
	buf_clear(&out);
	stats.qmp = (struct profiler_reading){.now.taken_ns = 9 * NSEC_PER_SEC,
					      .before.taken_ns = 4 * NSEC_PER_SEC,
					      .span_ns = 5 * NSEC_PER_SEC};
	kvmstats_add(&stats.qmp.now, "pages_4k", "6");
	kvmstats_add(&stats.qmp.now, "exits", "60");
	kvmstats_add(&stats.qmp.before, "exits", "50");
	assert_int_equal(render_stats(&guest, &stats, &when, &out), 0);
	assert_non_null(strstr(out.data, "\npages_4k 7 3.50\n"
					 "# source: QMP query-stats, 1.000 s ago\n"
					 "# per second: over 5.000 s, since an earlier reading\n"
					 "exits 60 2.00\n"));
	assert_null(strstr(out.data, "pages_4k 6"));
}

static void test_no_time_at_all(void **state)
{
	(void)state;
	stats.debugfs.span_ns = 0;
	kvmstats_add(&stats.debugfs.now, "exits", "7");
	assert_int_equal(render_stats(&guest, &stats, &when, &out), 0);
	assert_non_null(strstr(out.data, "\nexits 7 0.00\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_since_the_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_since_an_earlier_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lockdown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_over_qmp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_time_at_all, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
