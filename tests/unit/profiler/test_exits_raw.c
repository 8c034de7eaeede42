/* What comes of the counts in the programs' maps: sums over vCPUs, differences, percentiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/exits/raw.h"

static struct exits_plan plan = {
	.fields = {.exit = 0}, .events = {"kvm_exit", "kvm_pio", "kvm_msr"}, .event_count = 3};
static struct exits_raw raw, before;
static struct exits shown;

static int setup(void **state)
{
	(void)state;
	raw = before = (struct exits_raw){.taken_ns = 1000};
	shown = (struct exits){0};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	exits_raw_deinit(&raw);
	exits_raw_deinit(&before);
	exits_deinit(&shown);
	return 0;
}

/* `count` accesses to a port, each of so many ns */
static struct exits_row row(uint64_t count, uint64_t ns)
{
	struct exits_row r = {.sums = {count, 0, count, count * ns, ns, ns}};

	r.buckets[63 - __builtin_clzll(ns)] = count;
	return r;
}

static void add_port(struct exits_raw *to, uint32_t tid, uint64_t port, uint64_t count, uint64_t ns)
{
	struct exits_key key = {.what = port, .more = 1, .kind = EXITS_PIO, .tgid = 7, .tid = tid};
	struct exits_row r = row(count, ns);

	assert_int_equal(exits_raw_add_row(to, &key, &r), 0);
}

static void show(const struct exits_raw *since, uint32_t tid)
{
	assert_int_equal(exits_raw_show(&raw, since, tid, &plan, &shown), 0);
}

static void test_vcpus_are_one_row(void **state)
{
	const struct exits_list *l = &shown.lists[EXITS_PIO];

	(void)state;
	add_port(&raw, 10, 0x80, 5, 100);
	add_port(&raw, 10, 0x70, 1, 100);
	add_port(&raw, 11, 0x80, 7, 3000);
	show(NULL, 0);
	assert_int_equal(l->count, 2);
	assert_string_equal(l->lines[0].name, "0x0080:W");
	assert_int_equal(l->lines[0].row.sums.count, 12);
	assert_int_equal(l->lines[0].row.sums.min, 100);
	assert_int_equal(l->lines[0].row.sums.max, 3000);
	assert_int_equal(l->lines[0].row.sums.total, 21500);
	assert_int_equal(l->lines[0].row.buckets[6], 5);
	assert_int_equal(l->lines[0].row.buckets[11], 7);
}

static void test_one_vcpu(void **state)
{
	(void)state;
	add_port(&raw, 10, 0x80, 5, 100);
	add_port(&raw, 11, 0x80, 7, 3000);
	show(NULL, 11);
	assert_int_equal(shown.lists[EXITS_PIO].count, 1);
	assert_int_equal(shown.lists[EXITS_PIO].lines[0].row.sums.count, 7);
}

static void test_since_a_reset(void **state)
{
	const struct exits_list *l = &shown.lists[EXITS_PIO];

	(void)state;
	add_port(&before, 10, 0x80, 5, 100);
	add_port(&before, 10, 0x70, 9, 100);
	add_port(&raw, 10, 0x70, 9, 100);
	add_port(&raw, 10, 0x80, 8, 100);
	/* Between two looks at the least and longest of all time only the histogram tells. */
	raw.rows[1].row.sums = (struct exits_sums){8, 2, 8, 3500, 1, 90000};
	raw.rows[1].row.buckets[6] = 5;
	raw.rows[1].row.buckets[9] = 3;
	before.rows[0].row.sums.min = 1;
	before.rows[0].row.sums.max = 90000;
	show(&before, 0);
	assert_int_equal(l->count, 1);
	assert_int_equal(l->lines[0].row.sums.count, 3);
	assert_int_equal(l->lines[0].row.sums.userspace, 2);
	assert_int_equal(l->lines[0].row.sums.total, 3000);
	assert_int_equal(l->lines[0].row.sums.min, 512);
	assert_int_equal(l->lines[0].row.sums.max, 1023);
}

static struct exits_thread vcpu(void)
{
	return (struct exits_thread){.tgid = 7,
				     .vcpu = 1,
				     .mode = EXITS_IN_GUEST,
				     .run = EXITS_RUNNING,
				     .since = 900,
				     .entered = 1,
				     .times = {[EXITS_IN_GUEST] = 500, [EXITS_HALTED] = 300}};
}

static void test_the_time_goes_on_until_now(void **state)
{
	struct exits_thread t = vcpu();

	(void)state;
	assert_int_equal(exits_raw_add_thread(&raw, 10, &t), 0);
	t.mode = EXITS_IN_KERNEL;
	t.run = EXITS_ASLEEP;
	assert_int_equal(exits_raw_add_thread(&raw, 11, &t), 0);
	t.run = EXITS_RUNNABLE;
	assert_int_equal(exits_raw_add_thread(&raw, 12, &t), 0);
	t.run = EXITS_GONE;
	assert_int_equal(exits_raw_add_thread(&raw, 13, &t), 0);
	show(NULL, 0);
	assert_int_equal(shown.threads, 4);
	assert_true(shown.entered);
	assert_int_equal(shown.times[EXITS_IN_GUEST], 4 * 500 + 100);
	assert_int_equal(shown.times[EXITS_HALTED], 4 * 300 + 100);
	assert_int_equal(shown.times[EXITS_WAITING], 100);
	assert_int_equal(shown.times[EXITS_IN_KERNEL], 0);
}

static void test_the_exit_under_way_counts(void **state)
{
	struct exits_thread t = vcpu();

	(void)state;
	t.in_exit = 1;
	t.reason = 0x78;
	t.isa = 2;
	t.exit_at = 800;
	t.events[0] = 1;
	assert_int_equal(exits_raw_add_thread(&raw, 10, &t), 0);
	show(NULL, 0);
	assert_int_equal(shown.exits, 1);
	assert_int_equal(shown.lists[EXITS_REASON].count, 1);
	assert_int_equal(shown.lists[EXITS_REASON].lines[0].row.sums.count, 1);
	assert_int_equal(shown.lists[EXITS_REASON].lines[0].row.sums.timed, 0);
	/* Not twice when it was under way at the reset, too. */
	exits_deinit(&shown);
	assert_int_equal(exits_raw_add_thread(&before, 10, &t), 0);
	show(&before, 0);
	assert_int_equal(shown.exits, 0);
	assert_int_equal(shown.lists[EXITS_REASON].count, 0);
}

/* Rows are read after threads. */
static void test_the_exit_that_ended_meanwhile(void **state)
{
	struct exits_thread t = vcpu();
	const struct exits_list *l = &shown.lists[EXITS_PIO];

	(void)state;
	t.in_exit = 1;
	t.exit_at = 800;
	t.access_kind = EXITS_PIO;
	t.access_what = 0x80;
	t.access_more = 1;
	assert_int_equal(exits_raw_add_thread(&raw, 10, &t), 0);
	add_port(&raw, 10, 0x80, 5, 100);
	add_port(&raw, 11, 0x80, 5, 100); /* another vCPU's */
	raw.rows[0].row.begun = 700;
	raw.rows[1].row.begun = 900;
	show(NULL, 0);
	assert_int_equal(l->lines[0].row.sums.count, 11);
	exits_deinit(&shown);
	raw.rows[0].row.begun = 800;
	show(NULL, 0);
	assert_int_equal(l->lines[0].row.sums.count, 10);
}

/* One that is under way is counted where it is going to be. */
static void test_the_exit_that_gets_no_row(void **state)
{
	struct exits_thread t = vcpu();
	const struct exits_list *l = &shown.lists[EXITS_PIO];

	(void)state;
	t.in_exit = 1;
	t.exit_at = 800;
	t.access_kind = EXITS_PIO;
	t.access_what = 0x90;
	t.other[EXITS_PIO] = (struct exits_sums){1000, 10, 0, 0, 0, 0};
	assert_int_equal(exits_raw_add_thread(&raw, 10, &t), 0);
	add_port(&raw, 10, 0x80, 5, 100);
	show(NULL, 0);
	assert_int_equal(l->count, 2);
	assert_string_equal(l->lines[0].name, "0x0080:W");
	assert_int_equal(l->lines[0].row.sums.count, 5);
	assert_int_equal(l->lines[1].row.sums.count, 1001);
}

static void test_what_had_no_row(void **state)
{
	struct exits_thread t = vcpu();
	const struct exits_list *l = &shown.lists[EXITS_PIO];

	(void)state;
	t.other[EXITS_PIO] = (struct exits_sums){1000, 10, 0, 0, 0, 0};
	assert_int_equal(exits_raw_add_thread(&raw, 10, &t), 0);
	add_port(&raw, 10, 0x80, 5, 100);
	show(NULL, 0);
	assert_int_equal(l->count, 2);
	assert_string_equal(l->lines[1].name, "[other]");
	assert_int_equal(l->lines[1].row.sums.count, 1000);
}

static void test_events_without_zeros(void **state)
{
	struct exits_thread t = vcpu(), iothread = {.tgid = 7};

	(void)state;
	t.events[0] = 3;
	t.events[2] = 5;
	iothread.events[2] = 2;
	assert_int_equal(exits_raw_add_thread(&raw, 10, &t), 0);
	assert_int_equal(exits_raw_add_thread(&raw, 7, &iothread), 0);
	show(NULL, 0);
	assert_int_equal(shown.event_count, 2);
	assert_string_equal(shown.events[0].name, "kvm_msr");
	assert_int_equal(shown.events[0].count, 7);
	assert_string_equal(shown.events[1].name, "kvm_exit");
	assert_int_equal(shown.threads, 1);
}

static void test_percentiles(void **state)
{
	struct exits_row r = {.sums = {100, 0, 100, 0, 70, 5000}};

	(void)state;
	r.buckets[6] = 90;  /* 64 to 127 ns */
	r.buckets[12] = 10; /* 4096 to 8191 ns */
	assert_in_range(exits_percentile(&r, 50), 64 + 34, 64 + 37);
	assert_int_equal(exits_percentile(&r, 90), 128);
	assert_int_equal(exits_percentile(&r, 99), 5000); /* never above the longest */
	assert_in_range(exits_percentile(&r, 1), 70, 70); /* never below the least */
	r = (struct exits_row){0};
	assert_int_equal(exits_percentile(&r, 50), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vcpus_are_one_row, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_vcpu, setup, teardown),
		cmocka_unit_test_setup_teardown(test_since_a_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_time_goes_on_until_now, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_exit_under_way_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_exit_that_ended_meanwhile, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_the_exit_that_gets_no_row, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_had_no_row, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events_without_zeros, setup, teardown),
		cmocka_unit_test_setup_teardown(test_percentiles, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
