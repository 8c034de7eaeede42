/* Which event is opened on which kind of host, and what the user is told when none can be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/cpus.h"
#include "profiler/perfopen.h"
#include "profiler/record.h"
#include "tests/unit/lib/tmptree.h"

#include <fcntl.h>
#include <time.h>

static struct tmptree tree;
static struct perf_event_attr last;
static int hardware_says; /* errno of hardware events; 0: they open */
static int software_says;
static bool knows_lost;

/* The kernel. */
static int open_made_up(const struct perf_event_attr *attr, unsigned cpu)
{
	bool software = attr->type == PERF_TYPE_SOFTWARE;

	(void)cpu;
	last = *attr;
	if ((attr->read_format & PERF_FORMAT_LOST) && !knows_lost)
		return -EINVAL;
	if (software ? software_says : hardware_says)
		return -(software ? software_says : hardware_says);
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static char sys[128];
static char sysctl[128];
static struct perf_world world;

static int set_up(void **state)
{
	(void)state;
	tmptree_init(&tree);
	snprintf(sys, sizeof(sys), "%s/sys", tree.path);
	snprintf(sysctl, sizeof(sysctl), "%s/kernel", tree.path);
	tmptree_put(&tree, "kernel/perf_event_max_sample_rate", "100000\n");
	tmptree_put(&tree, "kernel/perf_event_paranoid", "3\n");
	world = (struct perf_world){{sys, sys}, sysctl, CPUS_ONLINE, open_made_up};
	hardware_says = software_says = 0;
	knows_lost = true;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tmptree_deinit(&tree);
	return 0;
}

static struct perf_plan plan(const char *spec)
{
	struct perf_plan p;
	struct errmsg why;

	if (perf_plan_make(&world, spec, 997, 0, &p, &why) < 0)
		fail_msg("%s: %s", spec, why.text);
	return p;
}

static void assert_refused(const char *spec, unsigned freq, int err, const char *says)
{
	struct perf_plan p;
	struct errmsg why = {0};

	assert_int_equal(perf_plan_make(&world, spec, freq, 0, &p, &why), err);
	if (!strstr(why.text, says))
		fail_msg("'%s' does not say '%s'", why.text, says);
}

static void test_auto_takes_cycles(void **state)
{
	struct perf_plan p = plan("auto");

	(void)state;
	assert_string_equal(p.event.name, "cycles");
	assert_true(p.reason[0]);
	assert_true(p.exact_lost);
}

static void test_auto_falls_back(void **state)
{
	struct perf_plan p;

	(void)state;
	hardware_says = ENOENT;
	p = plan("auto");
	assert_string_equal(p.event.name, "cpu-clock");
	assert_non_null(strstr(p.reason, "no hardware counters"));
	hardware_says = EOPNOTSUPP;
	p = plan("auto");
	assert_string_equal(p.event.name, "cpu-clock");
	assert_non_null(strstr(p.reason, "does not sample guests"));
}

/* It is not even tried: an event that is open for a moment can keep a VM from starting. */
static void test_mediated_vpmu(void **state)
{
	struct perf_plan p;

	(void)state;
	tmptree_put(&tree, "sys/module/kvm_amd/parameters/enable_mediated_pmu", "N\n");
	assert_string_equal(plan("auto").event.name, "cycles");
	tmptree_put(&tree, "sys/module/kvm_intel/parameters/enable_mediated_pmu", "Y\n");
	memset(&last, 0, sizeof(last));
	p = plan("auto");
	assert_string_equal(p.event.name, "cpu-clock");
	assert_non_null(strstr(p.reason, "kvm_intel.enable_mediated_pmu"));
	assert_int_equal(last.type, PERF_TYPE_SOFTWARE);
	assert_refused("instructions", 997, -EBUSY, "kvm_intel.enable_mediated_pmu");
	assert_int_equal(last.type, PERF_TYPE_SOFTWARE);
	assert_string_equal(plan("cpu-clock").event.name, "cpu-clock");
}

static void test_asked_for(void **state)
{
	struct perf_plan p = plan("instructions");

	(void)state;
	assert_string_equal(p.event.name, "instructions");
	assert_string_equal(p.reason, "");
	hardware_says = ENOENT;
	assert_refused("instructions", 997, -ENOENT, "no counter");
	assert_refused("nonsense", 997, -EINVAL, "nonsense");
}

static void test_attributes(void **state)
{
	(void)state;
	plan("cycles");
	assert_int_equal(last.sample_type, RECORD_SAMPLE_TYPE);
	assert_int_equal(last.sample_freq, 997);
	assert_true(last.freq && last.disabled && last.watermark && last.use_clockid);
	assert_int_equal(last.clockid, CLOCK_MONOTONIC);
	assert_false(last.exclude_guest || last.exclude_host || last.precise_ip || last.inherit ||
		     last.pinned || last.sample_id_all);
}

static void test_old_kernel(void **state)
{
	(void)state;
	knows_lost = false;
	assert_false(plan("cpu-clock").exact_lost);
	assert_false(last.read_format & PERF_FORMAT_LOST);
}

static void test_permission(void **state)
{
	(void)state;
	hardware_says = software_says = EACCES;
	assert_refused("auto", 997, -EACCES, "perf_event_paranoid is 3");
	assert_refused("cpu-clock", 997, -EACCES, "CAP_PERFMON");
	software_says = EPERM;
	assert_refused("auto", 997, -EPERM, "root");
	software_says = EMFILE;
	assert_refused("auto", 997, -EMFILE, "ulimit -n");
	software_says = EINVAL; /* what the kernel refuses is no fault of the user's */
	assert_refused("cpu-clock", 997, -EIO, "cpu-clock");
}

static void test_frequency(void **state)
{
	(void)state;
	assert_refused("auto", 0, -EINVAL, "at least 1");
	assert_refused("auto", 100001, -EINVAL, "kernel.perf_event_max_sample_rate");
	tmptree_put(&tree, "kernel/perf_event_max_sample_rate", "500\n");
	assert_refused("cpu-clock", 997, -EINVAL, "-F 500");
	/* Nobody has asked for 997, so that nobody can be told to ask for less. */
	assert_int_equal(perf_default_freq(&world), 500);
	tmptree_put(&tree, "kernel/perf_event_max_sample_rate", "100000\n");
	assert_int_equal(perf_default_freq(&world), 997);
}

/* Each CPU of a hybrid machine has the generic events in a PMU of its own. */
static void test_hybrid(void **state)
{
	struct perf_plan p;

	(void)state;
	tmptree_put(&tree, "sys/bus/event_source/devices/cpu_core/cpus", "0-3\n");
	tmptree_put(&tree, "sys/bus/event_source/devices/cpu_core/type", "4\n");
	tmptree_put(&tree, "sys/bus/event_source/devices/cpu_atom/cpus", "4-7\n");
	tmptree_put(&tree, "sys/bus/event_source/devices/cpu_atom/type", "10\n");
	p = plan("cycles");
	hardware_says = ENOENT;
	assert_int_equal(perf_plan_open(&world, &p, 5), -ENOENT);
	assert_int_equal(last.config, 10ULL << 32);
	assert_int_equal(perf_plan_open(&world, &p, 3), -ENOENT);
	assert_int_equal(last.config, 4ULL << 32);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_auto_takes_cycles), TEST(test_auto_falls_back), TEST(test_mediated_vpmu),
		TEST(test_asked_for),	      TEST(test_attributes),	  TEST(test_old_kernel),
		TEST(test_permission),	      TEST(test_frequency),	  TEST(test_hybrid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
