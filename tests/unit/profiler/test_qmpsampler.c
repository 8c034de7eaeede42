/* The QMP sampler against a server that says what QEMU says, or does not; and against QEMU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "profiler/qmpsampler.h"
#include "symsrc/base/io.h"
#include "symsrc/qmp.h"
#include "tests/unit/lib/fakeqmp.h"
#include "tests/unit/lib/guestmaker.h"
#include "tests/unit/lib/tmptree.h"
#include "tests/unit/lib/wait.h"

static const struct tally_clock zero;

struct world {
	struct tmptree tree;
	char socket[128];
	struct guests *guests;
	struct totals totals;
	struct tallies *tallies;
	struct qmpsampler *sampler;
};

static void clock_of(void *ctx, struct tally_clock *ret)
{
	totals_clock(ctx, ret);
}

static atomic_uint ports_opened;

static void port_opened(void *ctx, uint64_t serial)
{
	assert_null(ctx);
	assert_int_equal(serial, 1);
	ports_opened++;
}

static void begin(struct world *w)
{
	struct qmpsampler_config config = {0};
	struct errmsg why;

	memset(w, 0, sizeof(*w));
	tmptree_init(&w->tree);
	snprintf(w->socket, sizeof(w->socket), "%s/qmp.sock", w->tree.path);
	w->guests = guests_create();
	totals_init(&w->totals);
	w->tallies = tallies_create(w->guests, clock_of, &w->totals);
	config.guests = w->guests;
	config.tallies = w->tallies;
	config.totals = &w->totals;
	config.port_opened = port_opened;
	assert_int_equal(qmpsampler_create(&config, &w->sampler, &why), 0);
	assert_int_equal(qmpsampler_start(w->sampler, &why), 0);
}

static void end(struct world *w)
{
	qmpsampler_stop(w->sampler);
	qmpsampler_destroy(w->sampler);
	tallies_destroy(w->tallies);
	totals_deinit(&w->totals);
	guests_destroy(w->guests);
	tmptree_deinit(&w->tree);
}

static struct tally *tally_of(struct world *w)
{
	const struct tally_set *set = tallies_acquire(w->tallies);
	struct tally *t = tally_get(tally_set_find(set, 1));

	tally_set_put(set);
	assert_non_null(t);
	return t;
}

/* Publishes the guest and says that it is to be sampled over QMP. */
static void add_guest(struct world *w)
{
	struct guest *g = guestmaker_create(1, 100, 2);
	struct tally *t;

	g->accel = GUEST_ACCEL_TCG;
	snprintf(g->state, sizeof(g->state), "running");
	snprintf(g->links.qmp_path, sizeof(g->links.qmp_path), "%s", w->socket);
	guestmaker_publish(w->guests, &g, 1);
	t = tally_of(w);
	tally_set_sampler(t, SAMPLER_KIND_QMP, "", clock_now_ns(), &zero);
	tally_put(t);
	io_wake(qmpsampler_wake_fd(w->sampler));
}

static struct tally_copy copy_of(struct world *w)
{
	struct tally *t = tally_of(w);
	struct tally_copy c;

	assert_int_equal(tally_copy(t, -1, false, &zero, &c), 0);
	tally_put(t);
	return c;
}

static uint64_t kernel_of(struct world *w)
{
	struct tally_copy c = copy_of(w);
	uint64_t n = 0;

	for (unsigned i = 0; i < c.epoch_count; i++)
		n += c.epochs[i].kernel;
	return n;
}

static void sleep_ms(int ms)
{
	poll(NULL, 0, ms);
}

/* Waits until the guest has so many kernel samples. */
static void wait_for(struct world *w, uint64_t kernel)
{
	wait_until(kernel_of(w) >= kernel);
}

/* Nobody asks this server anything for a while, how soon that may begin. */
static bool is_quiet(struct fakeqmp *f)
{
	unsigned commands = fakeqmp_commands(f);

	sleep_ms(1500);
	return fakeqmp_commands(f) == commands;
}

static atomic_bool paused; /* what query-status says */

/* CPU 0 in the kernel, CPU 1 halted. */
static char *qemu_answers(void *ctx, const char *command, const char *line)
{
	(void)ctx, (void)line;
	if (strcmp(command, "query-status") == 0)
		return strdup(paused ? "{\"running\": false, \"status\": \"paused\"}"
				     : "{\"running\": true, \"status\": \"running\"}");
	if (strcmp(command, "human-monitor-command") == 0)
		return strdup("\"\\r\\nCPU#0\\r\\nRIP=ffffffff81000100 RFL=2 CPL=0 HLT=0\\r\\n"
			      "CPU#1\\r\\nRIP=ffffffff81000200 RFL=2 CPL=0 HLT=1\\r\\n\"");
	return strdup("{}");
}

/* A guest that runs, of which so many samples have been counted. */
static struct fakeqmp *begin_sampled(struct world *w, uint64_t samples)
{
	struct fakeqmp *f;

	paused = false;
	begin(w);
	f = fakeqmp_start(w->socket, FAKEQMP_OK, qemu_answers, NULL);
	add_guest(w);
	wait_for(w, samples);
	return f;
}

static void test_counts(void **state)
{
	struct profiler_totals totals;
	struct fakeqmp *f;
	struct tally *t;
	struct world w;
	uint64_t start;
	double hz;

	(void)state;
	paused = false;
	begin(&w);
	f = fakeqmp_start(w.socket, FAKEQMP_OK, qemu_answers, NULL);
	start = clock_now_ns();
	add_guest(&w);
	wait_for(&w, 100);
	hz = 100 / ((double)(clock_now_ns() - start) / 1e9);
	print_message("%.0f requests a second\n", hz);
	assert_true(hz < 60); /* a modest rate; slower on a busy machine */
	t = tally_of(&w);
	assert_true(tally_vcpu(t, 0).kernel >= 100);
	assert_int_equal(tally_vcpu(t, 0).halted, 0);
	wait_until(tally_vcpu(t, 1).halted >= 100);
	assert_int_equal(tally_vcpu(t, 1).kernel, 0);
	tally_put(t);
	wait_until((totals_get(&w.totals, &totals), totals.qmp_samples >= 100));
	assert_int_equal(copy_of(&w).qmp_hz, QMPSAMPLER_HZ);
	wait_until(!copy_of(&w).note[0]);
	wait_until(fakeqmp_clients(f) >= 2); /* sessions are short */
	end(&w);
	fakeqmp_stop(f);
}

/* Some commands a second are no more than a look whether it still is so. */
static void assert_is_left_alone(struct fakeqmp *f)
{
	unsigned commands = fakeqmp_commands(f);
	uint64_t start = clock_now_ns();

	sleep_ms(1500);
	commands = fakeqmp_commands(f) - commands;
	assert_true(commands < 10 * ((clock_now_ns() - start) / NSEC_PER_SEC));
}

/* And since it is known as one that runs, discovery is told to ask again. */
static void test_paused_guest_is_left_alone(void **state)
{
	struct fakeqmp *f;
	struct world w;
	uint64_t serial = 0;

	(void)state;
	paused = true;
	begin(&w);
	f = fakeqmp_start(w.socket, FAKEQMP_OK, qemu_answers, NULL);
	add_guest(&w);
	wait_until(fakeqmp_commands(f) > 0);
	assert_is_left_alone(f);
	assert_int_equal(kernel_of(&w), 0);
	assert_true(guests_next_doubt(w.guests, &serial));
	assert_int_equal(serial, 1);
	paused = false;
	wait_for(&w, 10);
	while (guests_next_doubt(w.guests, &serial))
		continue;
	wait_for(&w, kernel_of(&w) + 100);
	assert_false(guests_next_doubt(w.guests, &serial)); /* all is as it is said to be */
	end(&w);
	fakeqmp_stop(f);
}

static void test_paused_profile_asks_nothing(void **state)
{
	struct fakeqmp *f;
	struct tally *t;
	struct world w;

	(void)state;
	f = begin_sampled(&w, 10);
	t = tally_of(&w);
	tally_pause(t, true, clock_now_ns(), &zero);
	sleep_ms(100);
	assert_is_left_alone(f);
	tally_pause(t, false, clock_now_ns(), &zero);
	tally_put(t);
	wait_for(&w, 30);
	end(&w);
	fakeqmp_stop(f);
}

static void test_reset_begins_an_epoch(void **state)
{
	const struct guest_set *set;
	struct fakeqmp *f;
	struct world w;

	(void)state;
	f = begin_sampled(&w, 10);
	fakeqmp_send(f, "{\"event\": \"RESET\", \"timestamp\": {\"seconds\": 1, "
			"\"microseconds\": 1}, \"data\": {\"guest\": true}}");
	wait_for(&w, 40);
	wait_until(copy_of(&w).epoch_count == 2 && copy_of(&w).epochs[1].kernel > 0);
	set = guests_acquire(w.guests);
	assert_int_equal(set->entries[0].epoch, 2);
	assert_string_equal(set->entries[0].epoch_reason, "QMP RESET");
	guest_set_put(set);
	end(&w);
	fakeqmp_stop(f);
}

/* Its agent comes back. */
static void test_port_is_opened(void **state)
{
	struct fakeqmp *f;
	struct world w;

	(void)state;
	ports_opened = 0;
	f = begin_sampled(&w, 5);
	fakeqmp_send(
		f, "{\"event\": \"VSERPORT_CHANGE\", \"data\": {\"open\": false, \"id\": \"c\"}}");
	fakeqmp_send(f, "{\"event\": \"VSERPORT_CHANGE\"}");
	fakeqmp_send(f, "{\"event\": \"VSERPORT_CHANGE\", \"data\": []}");
	fakeqmp_send(f,
		     "{\"event\": \"VSERPORT_CHANGE\", \"data\": {\"open\": true, \"id\": \"c\"}}");
	wait_until(ports_opened > 0);
	wait_for(&w, 20);
	assert_int_equal(ports_opened, 1);
	end(&w);
	fakeqmp_stop(f);
}

/* A guest that ends, and one that changes to perf: the connection goes. */
static void test_end_of_sampling(void **state)
{
	struct fakeqmp *f;
	struct tally *t;
	struct world w;

	(void)state;
	f = begin_sampled(&w, 5);
	t = tally_of(&w);
	tally_set_sampler(t, SAMPLER_KIND_PERF, "", clock_now_ns(), &zero);
	tally_put(t);
	io_wake(qmpsampler_wake_fd(w.sampler));
	try_until(is_quiet(f));
	t = tally_of(&w);
	tally_set_sampler(t, SAMPLER_KIND_QMP, "", clock_now_ns(), &zero);
	tally_put(t);
	io_wake(qmpsampler_wake_fd(w.sampler));
	wait_for(&w, 5);
	guestmaker_publish(w.guests, NULL, 0);
	try_until(is_quiet(f));
	end(&w);
	fakeqmp_stop(f);
}

/* Whatever the peer does, a note says it and another guest's samples go on. */
static void assert_note(enum fakeqmp_fault fault, const char *says)
{
	struct fakeqmp *f;
	struct world w;

	begin(&w);
	f = fakeqmp_start(w.socket, fault, qemu_answers, NULL);
	add_guest(&w);
	wait_until(copy_of(&w).note[0]);
	if (!strstr(copy_of(&w).note, says))
		fail_msg("the note is '%s', without '%s'", copy_of(&w).note, says);
	assert_int_equal(kernel_of(&w), 0);
	end(&w);
	fakeqmp_stop(f);
}

static void test_faults(void **state)
{
	(void)state;
	paused = false;
	assert_note(FAKEQMP_SILENT, "QMP monitor is busy");
	assert_note(FAKEQMP_MUTE, "QMP");
	assert_note(FAKEQMP_CLOSES, "QMP");
	assert_note(FAKEQMP_OTHER, "QMP");
	assert_note(FAKEQMP_HUGE, "QMP");
}

static char *not_x86(void *ctx, const char *command, const char *line)
{
	if (strcmp(command, "human-monitor-command") == 0)
		return strdup("\"CPU#0\\n PC=ffff800010011f6c X00=00\\n\"");
	return qemu_answers(ctx, command, line);
}

static void test_another_architecture(void **state)
{
	struct fakeqmp *f;
	struct world w;

	(void)state;
	paused = false;
	begin(&w);
	f = fakeqmp_start(w.socket, FAKEQMP_OK, not_x86, NULL);
	add_guest(&w);
	wait_until(strstr(copy_of(&w).note, "architecture"));
	end(&w);
	fakeqmp_stop(f);
}

static void test_no_socket(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	add_guest(&w);
	wait_until(strstr(copy_of(&w).note, "trying again"));
	end(&w);
}

static void test_rate(void **state)
{
	(void)state;
	assert_int_equal(qmpsampler_hz(0, 0), 50);
	assert_int_equal(qmpsampler_hz(1, 0), 50);
	assert_int_equal(qmpsampler_hz(32, 0), 50);
	assert_int_equal(qmpsampler_hz(128, 0), 12);
	assert_int_equal(qmpsampler_hz(4096, 0), 1);
	assert_int_equal(qmpsampler_hz(1, 997), 50);
	assert_int_equal(qmpsampler_hz(1, 7), 7);
	assert_int_equal(qmpsampler_hz(128, 20), 12);
}

/* In the child: becomes QEMU, which ends with this test, however that ends. */
static void become_qemu(const char *socket)
{
	char qmp[256];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", socket);
	execlp("qemu-system-x86_64", "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg",
	       "-nodefaults", "-display", "none", "-qmp", qmp, NULL);
	_exit(127);
}

/* 0 when there is no QEMU here. */
static pid_t start_qemu(const char *socket)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		become_qemu(socket);
	while (access(socket, F_OK) < 0) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return 0;
		sleep_ms(5);
	}
	return pid;
}

/* Another client of the same monitor is answered while the sampler goes on. */
static bool second_client_gets_its_turn(const char *socket)
{
	uint64_t start = clock_now_ns();
	struct errmsg why;
	struct qmp *q;

	/* Another test's discovery may stand in the queue, too, which is short. */
	wait_until(qmp_connect(socket, NULL, NULL, &q, &why) == 0);
	assert_int_equal(qmp_execute(q, "query-name", NULL, NULL, NULL), 0);
	assert_int_equal(qmp_wait_idle(q, start + PATIENCE_S * NSEC_PER_SEC), 0);
	print_message("the second client waited %llu ms\n",
		      (unsigned long long)((clock_now_ns() - start) / NSEC_PER_MSEC));
	qmp_destroy(q);
	return clock_now_ns() - start < 3 * NSEC_PER_SEC;
}

static uint64_t seen_of(struct tally *t)
{
	return tally_vcpu(t, 0).kernel + tally_vcpu(t, 0).halted;
}

static void test_real_qemu(void **state)
{
	struct tally *t;
	struct world w;
	uint64_t seen;
	pid_t qemu;

	(void)state;
	begin(&w);
	qemu = start_qemu(w.socket);
	if (qemu == 0) {
		print_message("skip: there is no qemu-system-x86_64\n");
		end(&w);
		skip();
	}
	add_guest(&w);
	t = tally_of(&w);
	wait_until(seen_of(t) >= 50);
	print_message("firmware: %llu running, %llu halted\n",
		      (unsigned long long)tally_vcpu(t, 0).kernel,
		      (unsigned long long)tally_vcpu(t, 0).halted);
	for (int i = 0; i < 3; i++)
		try_until(second_client_gets_its_turn(w.socket));
	seen = seen_of(t);
	wait_until(seen_of(t) > seen);
	tally_put(t);
	end(&w);
	kill(qemu, SIGKILL);
	waitpid(qemu, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_paused_guest_is_left_alone),
		cmocka_unit_test(test_paused_profile_asks_nothing),
		cmocka_unit_test(test_reset_begins_an_epoch),
		cmocka_unit_test(test_port_is_opened),
		cmocka_unit_test(test_end_of_sampling),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_another_architecture),
		cmocka_unit_test(test_no_socket),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_real_qemu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
