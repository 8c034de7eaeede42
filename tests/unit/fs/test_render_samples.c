/* The files that hold samples: profile, top, utilization, vcpus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "fs/render.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/madeprofile.h"

static struct guest web = {.serial = 1, .pid = 4242, .name = "web1"};
static struct guest odd = {.serial = 2, .pid = 5000, .name = "evil\n# guest: x"};

static struct profile_row rows[] = {
	{600, 'g', "clear_page_erms", PROFILE_OBJECT_KERNEL, 0xffffffff81002000, 0, false},
	{200, 'u', PROFILE_SYMBOL_USER, "[user]", 0, 0, false},
	{150, 'g', "ext4_readpage", "[ext4]", 0xffffffffc0001000, 0, false},
	{50, 'g', "0xffffffff81001234", PROFILE_OBJECT_UNKNOWN, 0xffffffff81001234, 0, true},
};

static struct profile made(void)
{
	struct profile p = made_profile(rows, ARRAY_SIZE(rows));

	p.lost = 3;
	return p;
}

static void test_profile(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	assert_int_equal(render_profile(&web, &p, &made_when, &b), 0);
	assert_string_equal(b.data, "# guest: web1 (pid 4242)\n"
				    "# sampler: perf\n"
				    "# event: cycles\n"
				    "# frequency: 997 Hz\n"
				    "# since: 2026-11-21T19:24:44Z for 10.000 s\n"
				    "# samples: 1000\n"
				    "# guest kernel: 80.00% (800)\n"
				    "# guest user: 20.00% (200)\n"
				    "# unresolved: 5.00% (50)\n"
				    "# lost: 3\n"
				    "# OVERHEAD SAMPLES TYPE SYMBOL OBJECT\n"
				    " 60.00%      600 [g] clear_page_erms [guest.kernel.kallsyms]\n"
				    " 20.00%      200 [u] [guest.user] [user]\n"
				    " 15.00%      150 [g] ext4_readpage [ext4]\n"
				    "  5.00%       50 [g] 0xffffffff81001234 [unknown]\n");
	buf_deinit(&b);
}

/* What is missing from the rows is said in the file that it is missing from. */
static void test_profile_says_what_is_missing(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	p.table_full = 7;
	p.forgotten = 8;
	p.contradictory = 9;
	p.epochs = 2;
	p.paused = true;
	strcpy(p.sampler_note, "perf yields no samples of this guest");
	buf_init(&b, 10000);
	render_profile(&web, &p, &made_when, &b);
	assert_non_null(strstr(b.data, "# without a row, the table was full: 7\n"));
	assert_non_null(strstr(b.data, "# of boots too long ago: 8\n"));
	assert_non_null(strstr(b.data, "# contradictory, counted by the sample's own bits: 9\n"));
	assert_non_null(strstr(b.data, "10.000 s (paused now), 2 boots\n"));
	assert_non_null(strstr(b.data, "perf (perf yields no samples of this guest)\n"));
	buf_deinit(&b);
}

/* What rows are shares of is the weight then. */
static void test_profile_of_a_recording(void **state)
{
	struct profile_row row = {5, 'g', "f", PROFILE_OBJECT_KERNEL, 0, 300, false};
	struct profile p = made();
	struct profiler_shares host = {.total = 1000};
	struct render_profile of_web = {&web, &p};
	struct buf b;

	(void)state;
	p.sampler = SAMPLER_KIND_RECORDING;
	p.weight = 4000;
	p.freq = 0;
	p.rows = &row;
	p.row_count = 1;
	buf_init(&b, 10000);
	render_profile(&web, &p, &made_when, &b);
	assert_non_null(strstr(b.data, "# sampler: recording\n"));
	assert_non_null(strstr(b.data, "# frequency: by events, not by time\n"));
	assert_non_null(strstr(b.data, "# overhead: of 4000 events, those of all samples"));
	assert_non_null(strstr(b.data, "\n  7.50%        5 [g] f [guest.kernel.kallsyms]\n"));
	buf_clear(&b);
	render_top(&host, &of_web, 1, &made_when, &b);
	assert_non_null(
		strstr(b.data, "\n  7.50%        5 [g] f [guest.kernel.kallsyms] 4242 web1\n"));
	buf_deinit(&b);
}

static void test_recent_of_a_recording(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	p.sampler = SAMPLER_KIND_RECORDING;
	p.slice.time = SLICE_RECENT;
	strcpy(p.sampler_note, "no last 10 s: it is over");
	buf_init(&b, 10000);
	render_profile(&web, &p, &made_when, &b);
	assert_string_equal(b.data, "# no last 10 s: it is over\n");
	buf_deinit(&b);
}

static size_t lines_without_hash(const char *text)
{
	size_t n = 0;

	for (const char *at = text; *at; at += strcspn(at, "\n") + 1)
		n += *at != '#';
	return n;
}

static void test_a_name_cannot_forge_a_line(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	p.row_count = 0;
	buf_init(&b, 10000);
	render_profile(&odd, &p, &made_when, &b);
	assert_non_null(strstr(b.data, "# guest: evil\\x0a# guest: x (pid 5000)\n"));
	assert_int_equal(lines_without_hash(b.data), 0);
	buf_deinit(&b);
}

static void test_an_empty_profile(void **state)
{
	struct profile p = {.sampler = SAMPLER_KIND_NONE};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	assert_int_equal(render_profile(&web, &p, &made_when, &b), 0);
	assert_non_null(strstr(b.data, "# sampler: none\n"));
	assert_non_null(strstr(b.data, "# guest kernel: 0.00% (0)\n"));
	assert_int_equal(lines_without_hash(b.data), 0);
	buf_deinit(&b);
}

static void test_too_much_is_an_error(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	buf_init(&b, 300);
	assert_int_equal(render_profile(&web, &p, &made_when, &b), -EFBIG);
	buf_deinit(&b);
}

static void test_top(void **state)
{
	struct profile p = made(), q = made();
	struct render_profile list[] = {{&web, &p}, {&odd, &q}};
	struct profiler_shares host = {.host_kernel = 10,
				       .host_user = 20,
				       .guest_kernel = 500,
				       .guest_user = 250,
				       .total = 1000,
				       .lost = 7};
	struct profile_row other[] = {{3000, 'g', "copy_page", PROFILE_OBJECT_KERNEL, 0, 0, false}};
	struct buf b;

	(void)state;
	q.rows = other;
	q.row_count = 1;
	q.samples = 3000;
	buf_init(&b, 10000);
	assert_int_equal(render_top(&host, list, 2, &made_when, &b), 0);
	assert_string_equal(
		b.data,
		"# host kernel 1.00%, host user 2.00%, guest kernel 50.00%, guest user 25.00% "
		"of 1000 samples at 2026-11-21T19:24:54Z\n"
		"# lost: 7\n"
		"# guests: 2\n"
		"# OVERHEAD SAMPLES TYPE SYMBOL OBJECT PID NAME\n"
		" 75.00%     3000 [g] copy_page [guest.kernel.kallsyms] 5000 evil\\x0a# guest: x\n"
		" 15.00%      600 [g] clear_page_erms [guest.kernel.kallsyms] 4242 web1\n"
		"  5.00%      200 [u] [guest.user] [user] 4242 web1\n"
		"  3.75%      150 [g] ext4_readpage [ext4] 4242 web1\n"
		"  1.25%       50 [g] [unknown] [unknown] 4242 web1\n");
	buf_deinit(&b);
}

/* It may be read by everybody, so that no address may get into it. */
static void test_top_shows_no_address(void **state)
{
	static struct profile_row many[500];
	struct profile p = {.samples = 500, .rows = many, .row_count = ARRAY_SIZE(many)};
	struct render_profile list[] = {{&web, &p}};
	struct profiler_shares host = {0};
	struct buf b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct profile_row){
			1, 'g', "0xffffffff81001234", PROFILE_OBJECT_UNKNOWN, 0, 0, true};
	buf_init(&b, 10000);
	assert_int_equal(render_top(&host, list, 1, &made_when, &b), 0);
	assert_null(strstr(b.data, "0x"));
	assert_non_null(strstr(b.data, "100.00%      500 [g] [unknown] [unknown] 4242 web1\n"));
	buf_deinit(&b);
}

/* Zeros would look as if they had been measured. */
static void test_without_perf(void **state)
{
	struct profiler_shares host = {.total = 100, .no_perf = true};
	struct profile p = {.paused = true};
	struct render_profile profiles[] = {{&web, &p}};
	struct render_share list[] = {
		{&web, {.guest_user = 4, .total = 8, .no_perf = true}, .paused = true},
		{&odd, {.no_perf = true}, .paused = false}};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	render_top(&host, profiles, 1, &made_when, &b);
	assert_memory_equal(b.data, "# host kernel -, host user -, ", 30);
	assert_null(strstr(b.data, "0.00%"));
	assert_null(strstr(b.data, "# lost"));
	assert_non_null(strstr(b.data, "\n# paused: 4242 web1\n"));
	buf_clear(&b);
	render_utilization(&host, list, 2, &b);
	assert_string_equal(b.data,
			    "# -: not measured, perf does not run; status says why\n"
			    "# paused: 4242 web1\n"
			    "#  SYS     US GUEST_SYS GUEST_US     PID NAME\n"
			    "      -      -         -        -       0 [host]\n"
			    "      -      -      0.00    50.00    4242 web1\n"
			    "      -      -         -        -    5000 evil\\x0a# guest: x\n");
	buf_deinit(&b);
}

static void test_top_of_nothing(void **state)
{
	struct profiler_shares host = {0};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	assert_int_equal(render_top(&host, NULL, 0, &made_when, &b), 0);
	assert_non_null(strstr(b.data, "# guests: 0\n"));
	assert_int_equal(lines_without_hash(b.data), 0);
	buf_deinit(&b);
}

static void test_utilization(void **state)
{
	struct profiler_shares host = {.host_kernel = 3, .guest_kernel = 1, .total = 8};
	struct render_share list[] = {{&web, {.guest_user = 4, .host_user = 8, .total = 8}, false},
				      {&odd, {0}, false}};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	assert_int_equal(render_utilization(&host, list, 2, &b), 0);
	assert_string_equal(b.data,
			    "#  SYS     US GUEST_SYS GUEST_US     PID NAME\n"
			    "  37.50   0.00     12.50     0.00       0 [host]\n"
			    "   0.00 100.00      0.00    50.00    4242 web1\n"
			    "   0.00   0.00      0.00     0.00    5000 evil\\x0a# guest: x\n");
	buf_clear(&b);
	render_utilization(NULL, list, 1, &b);
	assert_int_equal(lines_without_hash(b.data), 1);
	assert_null(strstr(b.data, "lost"));
	buf_clear(&b);
	host.lost = 9;
	render_utilization(&host, list, 1, &b);
	assert_non_null(strstr(b.data, "# lost: 9\n"));
	buf_clear(&b);
	list[0].shares.lost = 5;
	render_utilization(NULL, list, 1, &b);
	assert_non_null(strstr(b.data, "# lost: 5\n"));
	buf_deinit(&b);
}

static void test_vcpus(void **state)
{
	struct profiler_vcpu v[] = {{.index = 0, .tid = 77, .kernel = 5, .user = 6},
				    {.index = 1, .tid = 78}};
	struct render_thread t[] = {{.cpu = 3, .state = 'R'}, {.cpu = -1}};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	assert_int_equal(render_vcpus(v, t, 2, false, &b), 0);
	assert_string_equal(b.data, "# INDEX TID CPU STATE SAMPLES EXITS\n"
				    "    0      77    3     R       11     -\n"
				    "    1      78    -     -        0     -\n");
	buf_clear(&b);
	render_vcpus(v, t, 2, true, &b);
	assert_non_null(strstr(b.data, "# paused: "));
	assert_null(strstr(b.data, "# missing"));
	buf_clear(&b);
	v[0].unnumbered = v[1].unnumbered = true;
	render_vcpus(v, t, 2, false, &b);
	assert_non_null(strstr(b.data, "# missing: which thread is which vCPU, "));
	assert_non_null(strstr(b.data, "# INDEX TID CPU STATE SAMPLES EXITS\n"
				       "    -      77    3     R        -     -\n"));
	buf_clear(&b);
	render_vcpus(v, t, 0, false, &b);
	assert_non_null(strstr(b.data, "# missing: the vCPUs, and vcpu/: "));
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_profile),
		cmocka_unit_test(test_profile_of_a_recording),
		cmocka_unit_test(test_recent_of_a_recording),
		cmocka_unit_test(test_profile_says_what_is_missing),
		cmocka_unit_test(test_a_name_cannot_forge_a_line),
		cmocka_unit_test(test_an_empty_profile),
		cmocka_unit_test(test_too_much_is_an_error),
		cmocka_unit_test(test_top),
		cmocka_unit_test(test_top_shows_no_address),
		cmocka_unit_test(test_top_of_nothing),
		cmocka_unit_test(test_without_perf),
		cmocka_unit_test(test_utilization),
		cmocka_unit_test(test_vcpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
