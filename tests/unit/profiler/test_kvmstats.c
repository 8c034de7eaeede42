/* KVM's counters, against a made-up debugfs, and the readings that are kept of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <stdio.h>
#include <cmocka.h>

#include <json-c/json.h>

#include "profiler/kvmstats.h"
#include "profiler/qmpstats.h"
#include "profiler/statlog.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/tmptree.h"

static struct tmptree tree;
static struct errmsg why;
static struct kvmstats stats;

static int setup(void **state)
{
	(void)state;
	tmptree_init(&tree);
	memset(&stats, 0, sizeof(stats));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tmptree_deinit(&tree);
	return 0;
}

static int read_of(pid_t pid)
{
	return kvmstats_read(tree.path, tree.path, pid, &stats, &why);
}

static void test_what_is_a_counter(void **state)
{
	(void)state;
	assert_true(kvmstats_add(&stats, "exits", "12\n"));
	assert_true(kvmstats_add(&stats, "pages_4k", "18446744073709551615\n"));
	assert_false(kvmstats_add(&stats, "halt_wait_hist", "3\n"));
	assert_false(kvmstats_add(&stats, "exits", "-1\n"));
	assert_false(kvmstats_add(&stats, "exits", "many\n"));
	assert_false(kvmstats_add(&stats, "exits", ""));
	assert_false(kvmstats_add(&stats, "Exits\x1b", "1\n"));
	assert_false(kvmstats_add(&stats, "", "1\n"));
	assert_false(kvmstats_add(
		&stats, "a_name_that_is_much_longer_than_any_counter_of_kvm_has_it", "1\n"));
	assert_int_equal(stats.count, 2);
	assert_true(kvmstats_add(&stats, "exits", "30\n"));
	assert_int_equal(kvmstats_value(&stats, "exits"), 42);
	assert_int_equal(kvmstats_value(&stats, "nothing"), 0);
}

static void test_not_more_than_fit(void **state)
{
	char name[16];

	(void)state;
	for (int i = 0; i < KVMSTATS_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i * 7919 % KVMSTATS_MAX);
		assert_true(kvmstats_add(&stats, name, "1"));
	}
	assert_false(kvmstats_add(&stats, "one_more", "1"));
	assert_true(kvmstats_add(&stats, "n7", "1"));
	for (size_t i = 1; i < stats.count; i++)
		assert_true(strcmp(stats.list[i - 1].name, stats.list[i].name) < 0);
}

/* A process with two VMs, one of which another thread of it made, beside somebody else's. */
static void test_all_vms_of_the_process(void **state)
{
	(void)state;
	tmptree_put(&tree, "700/task/700/comm", "vmm\n");
	tmptree_put(&tree, "700/task/702/comm", "vmm\n");
	tmptree_put(&tree, "kvm/exits", "1000\n");
	tmptree_put(&tree, "kvm/700-11/exits", "10\n");
	tmptree_put(&tree, "kvm/700-11/io_exits", "3\n");
	tmptree_put(&tree, "kvm/700-11/vcpu0/pid", "701\n");
	tmptree_put(&tree, "kvm/702-12/exits", "5\n");
	tmptree_put(&tree, "kvm/7000-11/exits", "77\n");
	tmptree_put(&tree, "kvm/70-11/exits", "77\n");
	assert_int_equal(read_of(700), 0);
	assert_int_equal(stats.vms, 2);
	assert_int_equal(stats.count, 2);
	assert_int_equal(kvmstats_value(&stats, "exits"), 15);
	assert_int_equal(kvmstats_value(&stats, "io_exits"), 3);
}

static void test_what_is_missing_is_said(void **state)
{
	(void)state;
	assert_int_equal(read_of(700), -ENOENT);
	assert_non_null(strstr(why.text, "debugfs"));
	tmptree_put(&tree, "kvm/exits", "1000\n");
	assert_int_equal(read_of(700), -ENODATA);
	assert_non_null(strstr(why.text, "no VM of this process"));
}

/* -- over QMP ------------------------------------------------------------------------------ */

static int parse(const char *text)
{
	struct json_object *value = json_tokener_parse(text);
	int r = qmpstats_parse(value, &stats);

	json_object_put(value);
	return r;
}

static void test_vcpus_are_added_up(void **state)
{
	(void)state;
	assert_int_equal(
		parse("[{\"provider\":\"kvm\",\"stats\":[{\"name\":\"exits\",\"value\":12},"
		      "{\"name\":\"halt_wait_hist\",\"value\":[1,2]},"
		      "{\"name\":\"blocking\",\"value\":true}]},"
		      "{\"provider\":\"kvm\",\"stats\":[{\"name\":\"exits\",\"value\":30}]}]"),
		0);
	assert_int_equal(stats.count, 1);
	assert_int_equal(kvmstats_value(&stats, "exits"), 42);
}

static void test_what_is_no_answer(void **state)
{
	(void)state;
	assert_int_equal(parse("{\"stats\":[]}"), -EBADMSG);
	assert_int_equal(parse("7"), -EBADMSG);
	assert_int_equal(parse("[3,{},{\"stats\":7},{\"stats\":[{},4,{\"name\":5,\"value\":1},"
			       "{\"name\":\"a b\",\"value\":1},{\"name\":\"c\"}]}]"),
			 0);
	assert_int_equal(stats.count, 0);
}

/* -- readings ------------------------------------------------------------------------------ */

static struct statlog *statlog;
static struct guests *guests;
static const struct guest_set *set;

static void publish(uint64_t serial)
{
	struct guest *g = guest_create();

	guest_set_put(set);
	g->serial = serial;
	g->pid = (pid_t)serial;
	assert_int_equal(guests_publish(guests, (const struct guest *const *)&g, 1), 0);
	set = guests_acquire(guests);
	guest_put(g);
}

static int setup_log(void **state)
{
	(void)state;
	statlog = statlog_create();
	guests = guests_create();
	set = NULL;
	publish(1);
	return 0;
}

static int teardown_log(void **state)
{
	(void)state;
	guest_set_put(set);
	guests_destroy(guests);
	statlog_destroy(statlog);
	return 0;
}

/* The moment that a reading is compared with, in milliseconds; -1: none. */
static int before(uint64_t serial, uint64_t at_ms)
{
	static struct kvmstats now, ret;

	now.taken_ns = at_ms * NSEC_PER_MSEC;
	if (!statlog_add(statlog, set, serial, &now, &ret))
		return -1;
	return (int)(ret.taken_ns / NSEC_PER_MSEC);
}

static void test_what_a_reading_is_compared_with(void **state)
{
	(void)state;
	assert_int_equal(before(1, 10000), -1);
	assert_int_equal(before(1, 10500), -1);
	assert_int_equal(before(1, 11000), 10000);
	assert_int_equal(before(1, 11200), 10000);
	assert_int_equal(before(1, 12000), 11000);
	assert_int_equal(before(1, 12100), 11000);
	assert_int_equal(before(1, 99000), 12000);
}

static void test_a_guest_that_is_gone_is_forgotten(void **state)
{
	(void)state;
	assert_int_equal(before(1, 10000), -1);
	publish(2);
	assert_int_equal(before(2, 20000), -1);
	assert_int_equal(before(1, 20000), -1);
	assert_int_equal(before(2, 30000), 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_a_counter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_more_than_fit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_vms_of_the_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_missing_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vcpus_are_added_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_a_reading_is_compared_with, setup_log,
						teardown_log),
		cmocka_unit_test_setup_teardown(test_a_guest_that_is_gone_is_forgotten, setup_log,
						teardown_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
