/* A group of real tracepoints on one CPU: what it loses is counted, to the last event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "profiler/cpugroup.h"
#include "profiler/tracefsroot.h"
#include "profiler/tracefs.h"
#include "profiler/tracesample.h"

#define CALLS 300

static uint32_t ids[2]; /* of system calls that nobody else makes */
static struct ring_scratch scratch;

static int find_ids(void **state)
{
	struct tracefs_root root;
	struct tracefs_events e = {0};

	(void)state;
	if (tracefs_root_open(&root, NULL) < 0)
		return 0;
	if (tracefs_list(root.path, "syscalls", &e, NULL) == 0) {
		for (size_t i = 0; i < e.count; i++) {
			if (strcmp(e.list[i].name, "sys_enter_sched_rr_get_interval") == 0)
				ids[0] = e.list[i].id;
			if (strcmp(e.list[i].name, "sys_enter_sched_get_priority_max") == 0)
				ids[1] = e.list[i].id;
		}
		tracefs_events_deinit(&e);
	}
	tracefs_root_close(&root);
	return 0;
}

/* On this CPU from now on; whether the events can be had. */
static bool open_group(struct cpugroup *g)
{
	unsigned cpu;
	cpu_set_t set;
	int r;

	if (!ids[0] || !ids[1])
		return false;
	assert_int_equal(getcpu(&cpu, NULL), 0);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
	r = cpugroup_open(g, cpu, ids, 2, (size_t)sysconf(_SC_PAGESIZE));
	if (r == -EPERM || r == -EACCES || r == -ENOENT)
		return false;
	assert_int_equal(r, 0);
	return true;
}

static void make_events(int calls)
{
	struct timespec ts;

	for (int i = 0; i < calls; i++) {
		sched_rr_get_interval(0, &ts);
		sched_get_priority_max(SCHED_FIFO);
	}
}

/* How many events are in the ring; they have one of the ids. */
static uint64_t take(struct cpugroup *g)
{
	const struct perf_event_header *h;
	struct trace_sample s;
	uint64_t n = 0;
	uint16_t id;

	ring_begin(&g->ring);
	while ((h = ring_next(&g->ring, &scratch))) {
		if (h->type != PERF_RECORD_SAMPLE)
			continue;
		assert_int_equal(trace_sample_decode(h, &s), 0);
		assert_int_equal(s.tid, gettid());
		memcpy(&id, s.raw, sizeof(id));
		assert_true(id == ids[0] || id == ids[1]);
		n++;
	}
	ring_end(&g->ring);
	return n;
}

static void test_lost_is_exact(void **state)
{
	struct cpugroup g;
	uint64_t n;

	(void)state;
	if (!open_group(&g) || !g.exact_lost)
		skip();
	make_events(CALLS);
	n = take(&g);
	assert_true(n > 0 && n < 2 * CALLS);
	assert_true(cpugroup_check(&g));
	assert_int_equal(n + g.lost, 2 * CALLS);
	make_events(3);
	assert_int_equal(take(&g), 6);
	assert_true(cpugroup_check(&g));
	assert_int_equal(n + g.lost, 2 * CALLS);
	cpugroup_close(&g);
}

static void test_no_such_event(void **state)
{
	struct cpugroup g;
	uint32_t none = UINT32_MAX;

	(void)state;
	assert_true(cpugroup_open(&g, 0, &none, 1, 4096) < 0);
	cpugroup_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_is_exact),
		cmocka_unit_test(test_no_such_event),
	};

	return cmocka_run_group_tests(tests, find_ids, NULL);
}
