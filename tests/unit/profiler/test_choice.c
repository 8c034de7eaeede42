/* How a guest is sampled, and when that changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/choice.h"
#include "symsrc/base/clock.h"

static struct choice_facts kvm_guest(void)
{
	return (struct choice_facts){.asked = SAMPLER_AUTO,
				     .perf_running = true,
				     .perf_error = "",
				     .freq = 1000,
				     .accel = GUEST_ACCEL_KVM,
				     .has_qmp = true};
}

static enum sampler_kind decide(const struct choice *c, struct choice_facts f, const char *note)
{
	char got[160];
	enum sampler_kind kind = choice_decide(c, &f, got);

	if (note[0] ? !strstr(got, note) : got[0] != '\0')
		fail_msg("the note is '%s', without '%s'", got, note);
	return kind;
}

static void window(struct choice *c, uint64_t cpu_ms, uint64_t samples)
{
	struct choice_facts f = kvm_guest();
	struct choice_window w = {.length_ns = CHOICE_WINDOW_NS,
				  .cpu_ns = cpu_ms * NSEC_PER_MSEC,
				  .guest_samples = samples};

	choice_observe(c, &f, &w);
}

static void test_auto(void **state)
{
	struct choice c = {0};
	struct choice_facts f = kvm_guest();

	(void)state;
	assert_int_equal(decide(&c, f, ""), SAMPLER_KIND_PERF);
	f.accel = GUEST_ACCEL_UNKNOWN;
	assert_int_equal(decide(&c, f, ""), SAMPLER_KIND_PERF);
	f.accel = GUEST_ACCEL_TCG;
	assert_int_equal(decide(&c, f, "TCG"), SAMPLER_KIND_QMP);
	f.has_qmp = false;
	assert_int_equal(decide(&c, f, "no QMP socket"), SAMPLER_KIND_NONE);
	f = kvm_guest();
	f.perf_running = false;
	f.perf_error = "kernel.perf_event_paranoid is 3";
	assert_int_equal(decide(&c, f, "perf_event_paranoid is 3"), SAMPLER_KIND_QMP);
}

static void test_forced(void **state)
{
	struct choice blind = {.perf_blind = true};
	struct choice_facts f = kvm_guest();

	(void)state;
	f.asked = SAMPLER_PERF;
	assert_int_equal(decide(&blind, f, ""), SAMPLER_KIND_PERF);
	f.accel = GUEST_ACCEL_TCG;
	assert_int_equal(decide(&blind, f, "cannot see"), SAMPLER_KIND_PERF);
	f = kvm_guest();
	f.asked = SAMPLER_QMP;
	assert_int_equal(decide(&blind, f, ""), SAMPLER_KIND_QMP);
	f.has_qmp = false;
	assert_int_equal(decide(&blind, f, "no QMP socket"), SAMPLER_KIND_NONE);
}

/* Busy, and nothing seen: to QMP. Seen again: back. */
static void test_blind_and_back(void **state)
{
	struct choice c = {0};
	struct choice_facts f = kvm_guest();

	(void)state;
	window(&c, 1500, 0);
	assert_int_equal(decide(&c, f, "perf yields no samples of this guest"), SAMPLER_KIND_QMP);
	f.has_qmp = false; /* what perf has is all there is, and that is said */
	assert_int_equal(decide(&c, f, "no QMP socket"), SAMPLER_KIND_PERF);
	assert_int_equal(decide(&c, f, "hardly any samples"), SAMPLER_KIND_PERF);
	window(&c, 1500, 30); /* strays are no reason to go back */
	assert_true(c.perf_blind);
	window(&c, 100, 90); /* nor is a window in which it did next to nothing */
	assert_true(c.perf_blind);
	window(&c, 1500, 1400);
	assert_false(c.perf_blind);
}

static void test_not_blind(void **state)
{
	struct choice c = {0};

	(void)state;
	window(&c, 0, 0);
	window(&c, 200, 0); /* 13 % */
	assert_false(c.perf_blind);
	window(&c, 1500, 100); /* a guest that exits all the time */
	assert_false(c.perf_blind);
	window(&c, 1500, 20);
	assert_false(c.perf_blind);
	window(&c, 6000, 20); /* four vCPUs: the same number is nothing */
	assert_true(c.perf_blind);
}

/* A few samples a second: that there are none in a while is chance. */
static void test_low_frequency(void **state)
{
	struct choice c = {0};
	struct choice_facts f = kvm_guest();
	struct choice_window w = {.length_ns = CHOICE_WINDOW_NS, .cpu_ns = CHOICE_WINDOW_NS};

	(void)state;
	f.freq = 5;
	choice_observe(&c, &f, &w);
	assert_false(c.perf_blind);
	assert_int_equal(choice_window_ns(997), CHOICE_WINDOW_NS);
	w.length_ns = w.cpu_ns = choice_window_ns(5);
	choice_observe(&c, &f, &w);
	assert_true(c.perf_blind);
	assert_true(choice_perf_sees(&f, w.length_ns, 1, 3));
	w.guest_samples = 3;
	choice_observe(&c, &f, &w);
	assert_false(c.perf_blind);
}

static void test_what_is_looked_at(void **state)
{
	struct choice_facts f = kvm_guest();

	(void)state;
	assert_true(choice_is_open(&f));
	f.asked = SAMPLER_PERF;
	assert_false(choice_is_open(&f));
	f = kvm_guest();
	f.accel = GUEST_ACCEL_TCG;
	assert_false(choice_is_open(&f));
	f = kvm_guest();
	assert_true(choice_perf_sees(&f, CHOICE_WINDOW_NS, 1, 75));
	assert_false(choice_perf_sees(&f, CHOICE_WINDOW_NS, 1, 74));
	assert_false(choice_perf_sees(&f, CHOICE_WINDOW_NS, 4, 75));
	assert_false(choice_perf_sees(&f, CHOICE_WINDOW_NS, 0, 0));
	assert_true(choice_is_busy(CHOICE_WINDOW_NS, 300 * NSEC_PER_MSEC));
	assert_false(choice_is_busy(CHOICE_WINDOW_NS, 299 * NSEC_PER_MSEC));
}

static void test_state(void **state)
{
	(void)state;
	assert_false(choice_doubts_state("running", true, 700));
	assert_true(choice_doubts_state("running", true, 0));	/* busy, then nothing at all */
	assert_false(choice_doubts_state("running", false, 0)); /* idle */
	assert_true(choice_doubts_state("paused", false, 1));
	assert_false(choice_doubts_state("paused", false, 0));
	assert_false(choice_doubts_state("", true, 0)); /* nobody said anything */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_auto),	       cmocka_unit_test(test_forced),
		cmocka_unit_test(test_blind_and_back), cmocka_unit_test(test_not_blind),
		cmocka_unit_test(test_low_frequency),  cmocka_unit_test(test_what_is_looked_at),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
