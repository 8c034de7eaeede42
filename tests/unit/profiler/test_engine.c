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
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "profiler/cpuring.h"
#include "profiler/cpus.h"
#include "profiler/engine.h"
#include "profiler/record.h"
#include "symsrc/base/io.h"
#include "tests/unit/lib/burner.h"
#include "tests/unit/lib/guestmaker.h"
#include "tests/unit/lib/tmptree.h"
#include "tests/unit/lib/wait.h"

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

static struct profiler_totals totals_of(struct world *w)
{
	struct profiler_totals t;

	totals_get(&w->totals, &t);
	return t;
}

/* CPUs that are never idle, so that there is something to be sampled on them. */
struct burners {
	struct burner *on[CPUS_MAX];
};

static int burn_all_cpus(void **state)
{
	struct burners *b = calloc(1, sizeof(*b));
	struct cpus online;

	if (!b || cpus_read(CPUS_ONLINE, &online) < 0)
		return -1;
	for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++)
		b->on[cpu] = cpus_has(&online, cpu) ? burner_start(cpu) : NULL;
	*state = b;
	return 0;
}

static int stop_burning(void **state)
{
	struct burners *b = *state;

	for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++)
		burner_stop(b->on[cpu]);
	free(b);
	return 0;
}

static struct tally_copy copy_of(struct world *w, uint64_t serial)
{
	const struct tally_set *set = tallies_acquire(w->tallies);
	struct tally_clock now;
	struct tally_copy c;

	totals_clock(&w->totals, &now);
	assert_int_equal(tally_copy(tally_set_find(set, serial), -1, false, &now, &c), 0);
	tally_set_put(set);
	return c;
}

static uint64_t host_user_of(struct world *w, uint64_t serial)
{
	return copy_of(w, serial).host_user;
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
	spin_until(totals_of(&w).samples > 300 && host_user_of(&w, 1) > 20);
	t = totals_of(&w);
	assert_true(t.perf_running);
	assert_string_equal(t.event, "cpu-clock");
	assert_true(t.cpus >= 1);
	assert_int_equal(t.samples, t.host_kernel + t.host_user + t.host_idle + t.guest_samples);
	set = tallies_acquire(w.tallies);
	assert_int_equal(tally_copy(tally_set_find(set, 1), -1, false,
				    &(struct tally_clock){t.samples, t.lost}, &c),
			 0);
	print_message("%u CPUs, %llu samples, %llu lost, %llu of this process\n", t.cpus,
		      (unsigned long long)t.samples, (unsigned long long)t.lost,
		      (unsigned long long)(c.host_user + c.host_kernel));
	assert_int_equal(c.sampler, SAMPLER_KIND_PERF);
	tally_set_put(set);
	end(&w);
}

/* The engine's event a second time, on all CPUs, read by the test itself: what the kernel counts.
 */
struct reference {
	struct perf_plan plan;
	struct cpus online;
	struct cpuring *rings; /* one for each CPU that is online */
	uint64_t counted;
};

static void reference_start(struct reference *r, unsigned freq)
{
	struct errmsg why;
	size_t n = 0;

	memset(r, 0, sizeof(*r));
	if (perf_plan_make(&perf_world_real, "cpu-clock", freq, 0, &r->plan, &why) < 0) {
		print_message("skip: %s\n", why.text);
		skip();
	}
	assert_int_equal(cpus_read(CPUS_ONLINE, &r->online), 0);
	r->rings = calloc(r->online.count, sizeof(*r->rings));
	assert_non_null(r->rings);
	for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
		if (!cpus_has(&r->online, cpu))
			continue;
		assert_int_equal(cpuring_open(&r->rings[n], &perf_world_real, &r->plan, cpu, &why),
				 0);
		assert_int_equal(cpuring_start(&r->rings[n++], &r->plan, &why), 0);
	}
}

static void reference_count(struct reference *r, struct cpuring *c)
{
	static struct ring_scratch scratch;
	const struct perf_event_header *h;
	struct record record;
	bool dead;

	ring_begin(&c->ring);
	while ((h = ring_next(&c->ring, &scratch))) {
		if (record_decode(h, &record) < 0)
			continue;
		r->counted += record.kind == RECORD_SAMPLE;
		r->counted += record.kind == RECORD_LOST && !r->plan.exact_lost ? record.lost : 0;
	}
	ring_end(&c->ring);
	r->counted += cpuring_new_lost(c, &r->plan, &dead);
}

/* All until now. */
static double reference_read(struct reference *r)
{
	for (size_t i = 0; i < r->online.count; i++)
		reference_count(r, &r->rings[i]);
	return (double)r->counted;
}

static void reference_stop(struct reference *r)
{
	for (size_t i = 0; i < r->online.count; i++)
		cpuring_close(&r->rings[i]);
	free(r->rings);
}

static double read_or_lost(struct world *w)
{
	struct profiler_totals t = totals_of(w);

	return (double)(t.samples + t.lost);
}

/* What was read and what was lost together is what the kernel counted: at a rate that the clock
 * can hardly keep, with a reader that is held up. */
static void test_samples_and_lost_add_up(void **state)
{
	struct reference reference;
	struct profiler_totals t;
	uint64_t start = clock_now_ns();
	double expected;
	struct world w;

	(void)state;
	reference_start(&reference, 10000);
	begin_real(&w, 10000);
	spin_until(clock_now_ns() - start > 2 * NSEC_PER_SEC);
	/* Up to a quarter of a second is still in the rings, of what was lost a second. */
	wait_until(read_or_lost(&w) > 0.8 * reference_read(&reference));
	engine_stop(w.engine);
	t = totals_of(&w);
	expected = (double)(clock_now_ns() - start) / 1e9 * 10000 * t.cpus;
	print_message("%llu samples + %llu lost of %.0f, beside %.0f; %llu throttled\n",
		      (unsigned long long)t.samples, (unsigned long long)t.lost, expected,
		      reference_read(&reference), (unsigned long long)t.throttled);
	assert_true(t.samples > 0);
	assert_true(read_or_lost(&w) < expected * 1.02);
	assert_true(read_or_lost(&w) < reference_read(&reference) * 1.25);
	end(&w);
	reference_stop(&reference);
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
		uint64_t end_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
		bool ok = engine_start(w.engine, &w.why) == 0;

		while (ok && totals_of(&w).samples <= 50 && clock_now_ns() < end_ns)
			spin_ms(5);
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
	spin_until(totals_of(&w).samples > 1000);
	end(&w);
}

/* Waits until there are that many rings. */
static void wait_for_cpus(struct world *w, unsigned cpus)
{
	wait_until(totals_of(w).cpus == cpus);
}

/* Waits for so many more samples. */
static void wait_for_more(struct world *w, uint64_t more)
{
	uint64_t samples = totals_of(w).samples;

	wait_until(totals_of(w).samples > samples + more);
}

static void come_and_go(struct world *w, struct tmptree *tree)
{
	assert_int_equal(engine_start(w->engine, &w->why), 0);
	wait_for_cpus(w, 1);
	wait_for_more(w, 300);
	tmptree_put(tree, "online", "0-1\n");
	wait_for_cpus(w, 2);
	tmptree_put(tree, "online", "1\n");
	wait_for_cpus(w, 1);
	assert_true(totals_of(w).samples > 300);
	wait_for_more(w, 300);			   /* of the CPU that came later */
	tmptree_put(tree, "online", "0-1,4000\n"); /* one that cannot be opened */
	wait_for_cpus(w, 2);
	assert_true(totals_of(w).perf_running);
}

/* CPUs that come and go, as the list says; what was counted stays. */
static void test_cpus_come_and_go(void **state)
{
	struct burners *burners = *state;
	struct perf_world perf = perf_world_real;
	struct tmptree tree;
	char path[128];
	struct world w;

	if (!burners->on[0] || !burners->on[1]) {
		print_message("skip: we may not run on CPUs 0 and 1, if there are two\n");
		skip();
	}
	tmptree_init(&tree);
	tmptree_put(&tree, "online", "0\n");
	snprintf(path, sizeof(path), "%s/online", tree.path);
	perf.cpus_online = path;
	if (begin(&w, SAMPLER_PERF, "cpu-clock", 997, &perf) < 0) {
		print_message("skip: %s\n", w.why.text);
		end(&w);
		tmptree_deinit(&tree);
		skip();
	}
	come_and_go(&w, &tree);
	end(&w);
	tmptree_deinit(&tree);
}

/* A hardware event, for which the clock stands in. */
static int open_hardware(const struct perf_event_attr *attr, unsigned cpu)
{
	struct perf_event_attr clock = *attr;

	clock.type = PERF_TYPE_SOFTWARE;
	clock.config = PERF_COUNT_SW_CPU_CLOCK;
	return perf_world_real.open(&clock, cpu);
}

/* KVM is loaded with a mediated vPMU while cycles are sampled: VMs must be able to start. */
static void assert_counters_are_yielded(const char *event, bool runs_on)
{
	struct perf_world perf = perf_world_real;
	struct tmptree tree;
	struct world w;

	tmptree_init(&tree);
	perf.roots.sys = tree.path;
	perf.open = open_hardware;
	if (begin(&w, SAMPLER_AUTO, event, 997, &perf) < 0) {
		print_message("skip: %s\n", w.why.text);
		end(&w);
		tmptree_deinit(&tree);
		skip();
	}
	assert_int_equal(engine_start(w.engine, &w.why), 0);
	assert_string_equal(totals_of(&w).event, "cycles");
	tmptree_put(&tree, "module/kvm_amd/parameters/enable_mediated_pmu", "Y\n");
	wait_until(strcmp(totals_of(&w).event, "cycles") != 0 || !totals_of(&w).perf_running);
	assert_int_equal(totals_of(&w).perf_running, runs_on);
	if (runs_on) {
		assert_string_equal(totals_of(&w).event, "cpu-clock");
		assert_non_null(strstr(totals_of(&w).event_reason, "kvm_amd.enable_mediated_pmu"));
	} else {
		assert_int_equal(totals_of(&w).cpus, 0);
		assert_non_null(strstr(totals_of(&w).perf_error, "kvm_amd.enable_mediated_pmu"));
	}
	end(&w);
	tmptree_deinit(&tree);
}

static void test_counters_are_yielded(void **state)
{
	(void)state;
	assert_counters_are_yielded("auto", true);
	assert_counters_are_yielded("cycles", false);
}

static void wait_for_sampler(struct world *w, uint64_t serial, enum sampler_kind kind)
{
	wait_until(copy_of(w, serial).sampler == kind);
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
	wait_for_sampler(&w, 1, SAMPLER_KIND_QMP);
	wait_until(copy_of(&w, 2).note[0]); /* it is the next one's turn */
	assert_int_equal(copy_of(&w, 2).sampler, SAMPLER_KIND_NONE);
	assert_non_null(strstr(copy_of(&w, 2).note, "no QMP socket"));
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

#define SPINNERS 8 /* so many that they get their share on a busy machine */

struct spinners {
	pthread_t threads[SPINNERS];
	atomic_int tids[SPINNERS];
	atomic_uint started;
	atomic_bool stop;
};

static void *spin_on(void *arg)
{
	struct spinners *s = arg;

	atomic_store(&s->tids[atomic_fetch_add(&s->started, 1)], gettid());
	while (!atomic_load(&s->stop))
		continue;
	return NULL;
}

/* The threads become the guest's vCPUs. */
static void start_spinners(struct spinners *s, struct guest *g)
{
	memset(s, 0, sizeof(*s));
	for (int i = 0; i < SPINNERS; i++)
		assert_int_equal(pthread_create(&s->threads[i], NULL, spin_on, s), 0);
	for (int i = 0; i < SPINNERS; i++) {
		while (atomic_load(&s->tids[i]) == 0)
			poll(NULL, 0, 1);
		g->vcpus[i].tid = atomic_load(&s->tids[i]);
	}
}

static void stop_spinners(struct spinners *s)
{
	atomic_store(&s->stop, true);
	for (int i = 0; i < SPINNERS; i++)
		pthread_join(s->threads[i], NULL);
}

/* A guest whose vCPUs are busy, of which perf shows nothing: over to QMP. */
static void test_a_blind_host_is_noticed(void **state)
{
	struct guest *g = guestmaker_create(1, getpid(), SPINNERS);
	struct spinners spinners;
	struct tally_copy c;
	struct world w;

	(void)state;
	snprintf(g->links.qmp_path, sizeof(g->links.qmp_path), "/x");
	if (begin(&w, SAMPLER_AUTO, "cpu-clock", 997, &perf_world_real) < 0) {
		print_message("skip: %s\n", w.why.text);
		guest_put(g);
		end(&w);
		skip();
	}
	start_spinners(&spinners, g);
	assert_int_equal(engine_start(w.engine, &w.why), 0);
	guestmaker_publish(w.guests, &g, 1);
	wait_for_sampler(&w, 1, SAMPLER_KIND_QMP);
	stop_spinners(&spinners);
	c = copy_of(&w, 1);
	assert_non_null(strstr(c.note, "perf yields no samples of this guest"));
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_samples_are_counted),
		cmocka_unit_test_setup_teardown(test_samples_and_lost_add_up, burn_all_cpus,
						stop_burning),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test_setup_teardown(test_cpus_come_and_go, burn_all_cpus, stop_burning),
		cmocka_unit_test(test_counters_are_yielded),
		cmocka_unit_test(test_starts_after_a_fork),
		cmocka_unit_test(test_a_host_without_perf),
		cmocka_unit_test(test_what_the_user_got_wrong),
		cmocka_unit_test(test_a_blind_host_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
