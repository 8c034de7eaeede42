/* Tracepoints, against a made-up tracefs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <stdio.h>
#include <cmocka.h>

#include "profiler/tracefs.h"
#include "tests/unit/lib/tmptree.h"

static struct tmptree tree;
static struct errmsg why;

static int setup(void **state)
{
	(void)state;
	tmptree_init(&tree);
	why = (struct errmsg){0};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tmptree_deinit(&tree);
	return 0;
}

static void test_events_by_name(void **state)
{
	struct tracefs_events e;

	(void)state;
	tmptree_put(&tree, "events/kvm/enable", "0\n");
	tmptree_put(&tree, "events/kvm/kvm_pio/id", "1842\n");
	tmptree_put(&tree, "events/kvm/kvm_exit/id", "1840\n");
	tmptree_put(&tree, "events/kvm/kvm_odd/id", "what\n");
	tmptree_put(&tree, "events/kvmmmu/fast_page_fault/id", "7\n");
	assert_int_equal(tracefs_list(tree.path, "kvm", &e, &why), 0);
	assert_int_equal(e.count, 2);
	assert_string_equal(e.list[0].name, "kvm_exit");
	assert_int_equal(e.list[0].id, 1840);
	assert_string_equal(e.list[1].name, "kvm_pio");
	assert_int_equal(e.list[1].id, 1842);
	tracefs_events_deinit(&e);
}

static void test_what_is_missing_is_said(void **state)
{
	struct tracefs_events e;

	(void)state;
	assert_int_equal(tracefs_list(tree.path, "kvm", &e, &why), -ENOENT);
	assert_non_null(strstr(why.text, "no tracefs"));
	tmptree_put(&tree, "events/sched/sched_switch/id", "1\n");
	assert_int_equal(tracefs_list(tree.path, "kvm", &e, &why), -ENOENT);
	assert_non_null(strstr(why.text, "no kvm tracepoints"));
	tmptree_put(&tree, "events/kvm/enable", "0\n");
	assert_int_equal(tracefs_list(tree.path, "kvm", &e, &why), -ENOENT);
	assert_non_null(strstr(why.text, "no kvm tracepoints"));
}

static void test_too_many(void **state)
{
	struct tracefs_events e;
	char name[64];

	(void)state;
	for (int i = 0; i <= TRACEFS_EVENTS_MAX; i++) {
		snprintf(name, sizeof(name), "events/kvm/e%d/id", i);
		tmptree_put(&tree, name, "1\n");
	}
	assert_int_equal(tracefs_list(tree.path, "kvm", &e, &why), -E2BIG);
}

static void test_format(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, TRACEFS_FORMAT_MAX);
	tmptree_put(&tree, "events/kvm/kvm_pio/format", "name: kvm_pio\n");
	assert_int_equal(tracefs_format(tree.path, "kvm", "kvm_pio", &b), 0);
	assert_string_equal(b.data, "name: kvm_pio\n");
	assert_int_equal(tracefs_format(tree.path, "kvm", "kvm_foo", &b), -ENOENT);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_events_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_missing_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_format, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
