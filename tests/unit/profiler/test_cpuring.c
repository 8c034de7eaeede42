/* One CPU's ring of the real kernel: what is not read in time is lost, and said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <poll.h>

#include "profiler/cpuring.h"
#include "profiler/cpus.h"
#include "profiler/record.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/burner.h"
#include "tests/unit/lib/wait.h"

static unsigned first_cpu(void)
{
	struct cpus online;
	unsigned cpu = 0;

	assert_int_equal(cpus_read(CPUS_ONLINE, &online), 0);
	while (!cpus_has(&online, cpu))
		cpu++;
	return cpu;
}

static int burn(void **state)
{
	*state = burner_start(first_cpu());
	return 0;
}

static int stop_burning(void **state)
{
	burner_stop(*state);
	return 0;
}

static void begin(struct cpuring *c, struct perf_plan *plan, unsigned freq)
{
	struct errmsg why;
	unsigned cpu = first_cpu();

	if (perf_plan_make(&perf_world_real, "cpu-clock", freq, cpu, plan, &why) < 0) {
		print_message("skip: %s\n", why.text);
		skip();
	}
	assert_int_equal(cpuring_open(c, &perf_world_real, plan, cpu, &why), 0);
	assert_int_equal(cpuring_start(c, plan, &why), 0);
}

/* Reads all that is in the ring; returns the samples until now. */
static uint64_t drain(struct cpuring *c, uint64_t *samples, uint64_t *lost)
{
	static struct ring_scratch scratch;
	const struct perf_event_header *h;
	struct record r;

	ring_begin(&c->ring);
	while ((h = ring_next(&c->ring, &scratch))) {
		assert_int_equal(record_decode(h, &r), 0);
		*samples += r.kind == RECORD_SAMPLE;
		*lost += r.kind == RECORD_LOST ? r.lost : 0;
	}
	ring_end(&c->ring);
	return *samples;
}

/* Beside a ring that nobody reads there is one of the same event that somebody does. */
static void test_nobody_reads(void **state)
{
	uint64_t start = clock_now_ns();
	uint64_t beside = 0;
	uint64_t unread = 0;
	uint64_t samples = 0;
	uint64_t records = 0;
	uint64_t exact = 0;
	struct perf_plan plan;
	struct cpuring other;
	struct cpuring c;
	double expected;
	bool dead;

	(void)state;
	begin(&other, &plan, 10000);
	begin(&c, &plan, 10000);
	/* 0.8 s fill it. */
	wait_until(drain(&other, &beside, &unread) > 2 * CPURING_BYTES / 32);
	drain(&c, &samples, &records);
	exact = cpuring_new_lost(&c, &plan, &dead);
	drain(&other, &beside, &unread);
	beside += cpuring_new_lost(&other, &plan, &dead);
	expected = (double)(clock_now_ns() - start) / 1e9 * 10000;
	assert_false(dead);
	assert_true(samples > 0 && samples <= CPURING_BYTES / 32);
	if (!plan.exact_lost) {
		print_message("skip: this kernel has no PERF_FORMAT_LOST\n");
		cpuring_close(&c);
		cpuring_close(&other);
		skip();
	}
	print_message("%llu read, %llu lost, of %.0f, beside %llu; %llu in LOST records\n",
		      (unsigned long long)samples, (unsigned long long)exact, expected,
		      (unsigned long long)beside, (unsigned long long)records);
	assert_true(exact > 0);
	assert_true(records <= exact);
	assert_true((double)(samples + exact) <= expected * 1.02);
	assert_true((double)(samples + exact) >= (double)beside * 0.8);
	/* What is lost is told once. */
	drain(&c, &samples, &records);
	assert_true(cpuring_new_lost(&c, &plan, &dead) < exact);
	cpuring_close(&c);
	cpuring_close(&other);
}

static void test_it_wakes_us(void **state)
{
	struct perf_plan plan;
	struct cpuring c;
	struct pollfd p;

	(void)state;
	begin(&c, &plan, 10000);
	p = (struct pollfd){.fd = c.fd, .events = POLLIN};
	/* Half of 256 KB is there after 0.4 s. */
	assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
	assert_int_equal(p.revents, POLLIN);
	assert_true(ring_begin(&c.ring) >= CPURING_BYTES / 2);
	cpuring_close(&c);
}

/* An event that stands still, as that of a CPU that went offline does. */
static void test_dead_event(void **state)
{
	struct perf_plan plan;
	struct errmsg why;
	struct cpuring c;
	unsigned cpu = first_cpu();
	bool dead = false;
	int readings = 0;

	(void)state;
	if (perf_plan_make(&perf_world_real, "cpu-clock", 100, cpu, &plan, &why) < 0) {
		print_message("skip: %s\n", why.text);
		skip();
	}
	assert_int_equal(cpuring_open(&c, &perf_world_real, &plan, cpu, &why), 0);
	for (; !dead && readings < 10; readings++)
		cpuring_new_lost(&c, &plan, &dead); /* it was never started */
	assert_true(dead);
	assert_true(readings > 1);
	cpuring_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nobody_reads, burn, stop_burning),
		cmocka_unit_test_setup_teardown(test_it_wakes_us, burn, stop_burning),
		cmocka_unit_test(test_dead_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
