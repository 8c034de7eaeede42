/* Names of events, against a made-up sysfs and tracefs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <linux/perf_event.h>

#include "profiler/event.h"
#include "tests/unit/lib/tmptree.h"

static struct tmptree tree;
static char sys[128];
static char tracefs[128];

static int set_up(void **state)
{
	(void)state;
	tmptree_init(&tree);
	snprintf(sys, sizeof(sys), "%s/sys", tree.path);
	snprintf(tracefs, sizeof(tracefs), "%s/tracing", tree.path);
#define PMU "sys/bus/event_source/devices/"
	tmptree_put(&tree, PMU "cpu/type", "4\n");
	tmptree_put(&tree, PMU "cpu/format/event", "config:0-7,32-35\n");
	tmptree_put(&tree, PMU "cpu/format/umask", "config:8-15\n");
	tmptree_put(&tree, PMU "cpu/format/inv", "config:23\n");
	tmptree_put(&tree, PMU "cpu/format/ldlat", "config1:0-15\n");
	tmptree_put(&tree, PMU "cpu/events/mem-loads", "event=0xcd,umask=0x1,ldlat=3\n");
	tmptree_put(&tree, PMU "msr/type", "9\n");
	tmptree_put(&tree, PMU "msr/format/event", "config:0-63\n");
	tmptree_put(&tree, PMU "msr/events/tsc", "event=0x00\n");
	tmptree_put(&tree, PMU "odd/type", "11\n");
	tmptree_put(&tree, PMU "odd/format/x", "config9:0-1\n");
	tmptree_put(&tree, "tracing/events/sched/sched_switch/id", "316\n");
	tmptree_put(&tree, "tracing/outside/id", "5\n");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tmptree_deinit(&tree);
	return 0;
}

static struct event parse(const char *spec)
{
	const struct event_roots roots = {sys, tracefs};
	struct errmsg why = {0};
	struct event e;

	if (event_parse(spec, &roots, &e, &why) < 0)
		fail_msg("%s: %s", spec, why.text);
	assert_string_equal(e.name, spec);
	return e;
}

static void assert_event(const char *spec, uint32_t type, uint64_t config, bool core_pmu)
{
	struct event e = parse(spec);

	assert_int_equal(e.type, type);
	assert_int_equal(e.config, config);
	assert_int_equal(e.core_pmu, core_pmu);
}

static void test_generic(void **state)
{
	(void)state;
	assert_event("cycles", PERF_TYPE_HARDWARE, 0, true);
	assert_event("cpu-cycles", PERF_TYPE_HARDWARE, 0, true);
	assert_event("instructions", PERF_TYPE_HARDWARE, 1, true);
	assert_event("branch-misses", PERF_TYPE_HARDWARE, 5, true);
	assert_event("cpu-clock", PERF_TYPE_SOFTWARE, 0, false);
	assert_event("task-clock", PERF_TYPE_SOFTWARE, 1, false);
	assert_event("L1-dcache-load-misses", PERF_TYPE_HW_CACHE, 0x10000, true);
	assert_event("dTLB-stores", PERF_TYPE_HW_CACHE, 0x103, true);
	assert_event("node-prefetch-misses", PERF_TYPE_HW_CACHE, 0x10206, true);
}

static void test_raw(void **state)
{
	(void)state;
	assert_event("r1a8", PERF_TYPE_RAW, 0x1a8, true);
	assert_event("rffffffffffffffff", PERF_TYPE_RAW, UINT64_MAX, true);
}

static void test_tracepoint(void **state)
{
	(void)state;
	assert_event("sched:sched_switch", PERF_TYPE_TRACEPOINT, 316, false);
}

static void test_pmu(void **state)
{
	(void)state;
	assert_event("cpu/event=0x3c,umask=0x1/", 4, 0x13c, true);
	assert_event("cpu/event=0x1c4/", 4, 0x1000000c4, true);
	assert_event("cpu/umask=2,inv,event=1/", 4, 0x800201, true);
	assert_event("cpu/config=0x5,config1=7/", 4, 5, true);
	assert_int_equal(parse("cpu/config=0x5,config1=7/").config1, 7);
	assert_event("msr/tsc/", 9, 0, false);
	assert_event("cpu/mem-loads/", 4, 0x1cd, true);
	assert_int_equal(parse("cpu/mem-loads,ldlat=30/").config1, 30);
	assert_event("mem-loads", 4, 0x1cd, true);
	assert_int_equal(parse("mem-loads").config1, 3);
}

/* One line that names the event, and what to do. */
static void test_refused(void **state)
{
	static const char *const bad[] = {"",
					  "cycels",
					  "r",
					  "r12345678901234567",
					  "rxyz",
					  "sched:nothing",
					  ":",
					  "a:b:c",
					  "..:outside",
					  "sched:../../x",
					  "cpu/",
					  "/x/",
					  "cpu//x",
					  "cpu/event=1",
					  "cpu/nosuch=1/",
					  "cpu/event=zz/",
					  "nopmu/x=1/",
					  "odd/x=1/",
					  "cpu/event=/",
					  "cpu/event=0x100000/",
					  "../cpu/x/",
					  "cpu/../type/",
					  "L1-dcache-",
					  "cpu/inv=2/",
					  "\033[31mred",
					  "dTLB-load-missesx"};
	const struct event_roots roots = {sys, tracefs};
	struct event e = {.type = 77};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct errmsg why = {0};

		if (event_parse(bad[i], &roots, &e, &why) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(why.code, -EINVAL);
		assert_non_null(strstr(why.text, i == 24 ? "red" : bad[i]));
		assert_null(strchr(why.text, '\033'));
		assert_null(strchr(why.text, '\n'));
	}
	assert_int_equal(e.type, 77);
}

static void test_hints(void **state)
{
	const struct event_roots roots = {sys, tracefs};
	struct errmsg why;
	struct event e;

	(void)state;
	event_parse("cycels", &roots, &e, &why);
	assert_non_null(strstr(why.text, "perf list"));
	event_parse("cycles:u", &roots, &e, &why);
	assert_non_null(strstr(why.text, "modifiers"));
}

static void test_formats(void **state)
{
	struct event e = {0};

	(void)state;
	assert_int_equal(event_apply_format("config:0-63", UINT64_MAX, &e), 0);
	assert_int_equal(e.config, UINT64_MAX);
	assert_int_equal(event_apply_format("config:4-7", 0, &e), 0);
	assert_int_equal(e.config, 0xffffffffffffff0f);
	assert_int_equal(event_apply_format("config2:63", 1, &e), 0);
	assert_int_equal(e.config2, 1ULL << 63);
	assert_int_equal(event_apply_format("config1:0,2,4", 7, &e), 0);
	assert_int_equal(e.config1, 0x15);
	assert_int_equal(event_apply_format("config1:0-3", 16, &e), -ERANGE);
	assert_int_equal(event_apply_format("config1:64", 1, &e), -EBADMSG);
	assert_int_equal(event_apply_format("config1:3-1", 1, &e), -EBADMSG);
	assert_int_equal(event_apply_format("config1:", 1, &e), -EBADMSG);
	assert_int_equal(event_apply_format("config1:1,", 1, &e), -EBADMSG);
	assert_int_equal(event_apply_format("config1:-1", 1, &e), -EBADMSG);
	assert_int_equal(event_apply_format("config3:1", 1, &e), -EBADMSG);
	assert_int_equal(e.config1, 0x15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generic),	   cmocka_unit_test(test_raw),
		cmocka_unit_test(test_tracepoint), cmocka_unit_test(test_pmu),
		cmocka_unit_test(test_refused),	   cmocka_unit_test(test_hints),
		cmocka_unit_test(test_formats),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
