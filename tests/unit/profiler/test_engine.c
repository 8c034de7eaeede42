/* The engine with the real kernel's perf events: this machine is sampled, with cpu-clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/wait.h>
#include <unistd.h>

#include "profiler/engine.h"
#include "symsrc/base/io.h"
#include "tests/unit/lib/guestmaker.h"

struct world {
	struct guests *guests;
	struct totals totals;
	struct tallies *tallies;
	struct engine *engine;
	struct errmsg why;
};

static void clock_of(void *ctx, struct tally_clock *ret)
{
	totals_clock(ctx, ret);
}

static int begin(struct world *w, enum sampler_choice sampler, const char *event, unsigned freq,
		 const struct perf_world *perf)
{
	struct engine_config config = {
		.world = perf, .sampler = sampler, .event = event, .freq = freq, .qmp_wake_fd = -1};

	memset(w, 0, sizeof(*w));
	w->guests = guests_create();
	totals_init(&w->totals);
	w->tallies = tallies_create(w->guests, clock_of, &w->totals);
	config.guests = w->guests;
	config.tallies = w->tallies;
	config.totals = &w->totals;
	return engine_create(&config, &w->engine, &w->why);
}

static void end(struct world *w)
{
	if (w->engine)
		engine_stop(w->engine);
	engine_destroy(w->engine);
	tallies_destroy(w->tallies);
	totals_deinit(&w->totals);
	guests_destroy(w->guests);
}

/* Begins sampling with cpu-clock; skips the test where the kernel refuses. */
static void begin_real(struct world *w, unsigned freq)
{
	if (begin(w, SAMPLER_PERF, "cpu-clock", freq, &perf_world_real) < 0) {
		print_message("skip: %s\n", w->why.text);
		end(w);
		skip();
	}
	assert_int_equal(engine_start(w->engine, &w->why), 0);
}

static void spin(uint64_t ms)
{
	uint64_t until = clock_now_ns() + ms * NSEC_PER_MSEC;

	while (clock_now_ns() < until)
		continue;
}

static struct profiler_totals totals_of(struct world *w)
{
	struct profiler_totals t;

	totals_get(&w->totals, &t);
	return t;
}

/* A guest made up of this very process: its own samples are those of a VMM in the host. */
static void test_host_samples_are_counted(void **state)
{
	struct profiler_totals t;
	const struct tally_set *set;
	struct tally_copy c;
	struct world w;

	(void)state;
	begin_real(&w, 997);
	guestmaker_publish(w.guests, (struct guest *[]){guestmaker_create(1, getpid(), 0)}, 1);
	spin(1500);
	t = totals_of(&w);
	assert_true(t.perf_running);
	assert_string_equal(t.event, "cpu-clock");
	assert_true(t.cpus >= 1);
	assert_true(t.samples > 300);
	assert_int_equal(t.samples, t.host_kernel + t.host_user + t.host_idle + t.guest_samples);
	set = tallies_acquire(w.tallies);
	assert_int_equal(tally_copy(tally_set_find(set, 1), -1, false,
				    &(struct tally_clock){t.samples, t.lost}, &c),
			 0);
	print_message("%u CPUs, %llu samples, %llu lost, %llu of this process\n", t.cpus,
		      (unsigned long long)t.samples, (unsigned long long)t.lost,
		      (unsigned long long)(c.host_user + c.host_kernel));
	assert_true(c.host_user > 100);
	assert_int_equal(c.sampler, SAMPLER_KIND_PERF);
	tally_set_put(set);
	end(&w);
}

/* What was read and what was lost together is what the kernel counted: at a rate that the clock
 * can hardly keep, with a reader that is held up. */
static void test_samples_and_lost_add_up(void **state)
{
	struct perf_plan plan;
	struct errmsg why;
	struct profiler_totals t;
	uint64_t start;
	double expected;
	struct world w;

	(void)state;
	if (perf_plan_make(&perf_world_real, "cpu-clock", 10000, 0, &plan, &why) < 0) {
		print_message("skip: %s\n", why.text);
		skip();
	}
	begin_real(&w, 10000);
	start = clock_now_ns();
	spin(2000);
	engine_stop(w.engine);
	t = totals_of(&w);
	/* Each CPU's clock ticks all the time, also when it is idle. */
	expected = (double)(clock_now_ns() - start) / 1e9 * 10000 * t.cpus;
	print_message("%llu samples + %llu lost of %.0f, %llu throttled\n",
		      (unsigned long long)t.samples, (unsigned long long)t.lost, expected,
		      (unsigned long long)t.throttled);
	/* The last quarter of a second is still in the rings; a busy host delays clocks. */
	assert_true((double)(t.samples + t.lost) < expected * 1.02);
	assert_true((double)(t.samples + t.lost) > expected * (t.throttled ? 0.2 : 0.5));
	end(&w);
}

/* The daemon opens its events, forks, and starts them in the child: what the child samples
 * counts. (The kernel takes the mapping of a ring away from children.) */
static void test_starts_after_a_fork(void **state)
{
	struct world w;
	int status;
	pid_t child;

	(void)state;
	if (begin(&w, SAMPLER_PERF, "cpu-clock", 997, &perf_world_real) < 0) {
		print_message("skip: %s\n", w.why.text);
		end(&w);
		skip();
	}
	child = fork();
	if (child == 0) {
		bool ok = engine_start(w.engine, &w.why) == 0;

		spin(600);
		engine_stop(w.engine);
		_exit(ok && totals_of(&w).samples > 50 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	end(&w);
}

/* Everything at once: samples come in, guests come, boot and go, readers copy and reset. */
static void test_all_at_once(void **state)
{
	uint64_t until = clock_now_ns() + 1500 * NSEC_PER_MSEC;
	struct world w;

	(void)state;
	begin_real(&w, 10000);
	for (uint64_t serial = 1; clock_now_ns() < until; serial++) {
		struct guest *list[] = {
			guestmaker_create(serial / 50, getpid(), 2),
			guestmaker_create(serial + 100000, 1 + (pid_t)serial % 7, 1)};
		const struct tally_set *set;
		struct tally_clock now;
		struct tally_copy c;

		guestmaker_publish(w.guests, list, 2);
		guests_new_epoch(w.guests, serial / 50, (uint32_t)serial % 50, "test");
		set = tallies_acquire(w.tallies);
		assert_int_equal(set->guests->count, 2);
		totals_clock(&w.totals, &now);
		for (size_t i = 0; i < 2; i++) {
			assert_int_equal(tally_copy(set->tallies[i], -1, true, &now, &c), 0);
			tally_copy_deinit(&c);
			tally_pause(set->tallies[i], serial % 3 == 0, clock_now_ns(), &now);
		}
		if (serial % 10 == 0)
			tally_reset(set->tallies[0], clock_now_ns(), &now);
		tally_set_put(set);
	}
	assert_true(totals_of(&w).samples > 1000);
	end(&w);
}

static int open_refused(const struct perf_event_attr *attr, unsigned cpu)
{
	(void)attr, (void)cpu;
	return -EACCES;
}

/* What the host refuses is fatal only to those who want nothing else. */
static void test_a_host_without_perf(void **state)
{
	struct perf_world refuses = perf_world_real;
	struct guest *tcg = guestmaker_create(1, 100, 1);
	const struct tally_set *set;
	struct world w;

	(void)state;
	refuses.open = open_refused;
	tcg->accel = GUEST_ACCEL_TCG;
	snprintf(tcg->links.qmp_path, sizeof(tcg->links.qmp_path), "/x");
	assert_int_equal(begin(&w, SAMPLER_PERF, "auto", 997, &refuses), -EACCES);
	assert_non_null(strstr(w.why.text, "CAP_PERFMON"));
	end(&w);
	assert_int_equal(begin(&w, SAMPLER_AUTO, "cpu-clock", 997, &refuses), -EACCES);
	end(&w);
	assert_int_equal(begin(&w, SAMPLER_AUTO, "auto", 997, &refuses), 0);
	assert_int_equal(engine_start(w.engine, &w.why), 0);
	assert_false(totals_of(&w).perf_running);
	assert_non_null(strstr(totals_of(&w).perf_error, "CAP_PERFMON"));
	guestmaker_publish(w.guests, (struct guest *[]){tcg, guestmaker_create(2, 200, 1)}, 2);
	spin(100);
	set = tallies_acquire(w.tallies);
	assert_int_equal(tally_sampler(tally_set_find(set, 1)), SAMPLER_KIND_QMP);
	assert_int_equal(tally_sampler(tally_set_find(set, 2)), SAMPLER_KIND_NONE);
	tally_set_put(set);
	end(&w);
}

static void test_what_the_user_got_wrong(void **state)
{
	struct world w;

	(void)state;
	assert_int_equal(begin(&w, SAMPLER_AUTO, "nonsense", 997, &perf_world_real), -EINVAL);
	assert_non_null(strstr(w.why.text, "nonsense"));
	end(&w);
	assert_int_equal(begin(&w, SAMPLER_AUTO, "auto", 2000000000, &perf_world_real), -EINVAL);
	assert_non_null(strstr(w.why.text, "perf_event_max_sample_rate"));
	end(&w);
}

/* A guest whose vCPU (this thread) is busy, of which perf shows nothing: over to QMP. */
static void test_a_blind_host_is_noticed(void **state)
{
	struct guest *g = guestmaker_create(1, getpid(), 1);
	const struct tally_set *set;
	struct tally_copy c;
	struct world w;

	(void)state;
	g->vcpus[0].tid = getpid();
	snprintf(g->links.qmp_path, sizeof(g->links.qmp_path), "/x");
	if (begin(&w, SAMPLER_AUTO, "cpu-clock", 997, &perf_world_real) < 0) {
		print_message("skip: %s\n", w.why.text);
		guest_put(g);
		end(&w);
		skip();
	}
	assert_int_equal(engine_start(w.engine, &w.why), 0);
	guestmaker_publish(w.guests, &g, 1);
	set = NULL;
	for (int i = 0; i < 80; i++) {
		tally_set_put(set);
		spin(100);
		set = tallies_acquire(w.tallies);
		if (tally_sampler(tally_set_find(set, 1)) == SAMPLER_KIND_QMP)
			break;
	}
	assert_int_equal(
		tally_copy(tally_set_find(set, 1), -1, false, &(struct tally_clock){0}, &c), 0);
	assert_int_equal(c.sampler, SAMPLER_KIND_QMP);
	assert_non_null(strstr(c.note, "perf yields no samples of this guest"));
	tally_set_put(set);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_samples_are_counted),
		cmocka_unit_test(test_samples_and_lost_add_up),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_starts_after_a_fork),
		cmocka_unit_test(test_a_host_without_perf),
		cmocka_unit_test(test_what_the_user_got_wrong),
		cmocka_unit_test(test_a_blind_host_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
