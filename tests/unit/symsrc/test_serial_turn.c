/* Turns at a socket, and ears. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/io.h"
#include "symsrc/serial_turn.h"
#include "tests/unit/lib/wait.h"

#define PATH "/run/a"

static struct source_limits long_limits(int cancel_fd)
{
	return (struct source_limits){.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC,
				      .cancel_fd = cancel_fd};
}

static void begin(struct serial_turn *t, const char *path)
{
	const struct source_limits limits = long_limits(-1);

	assert_int_equal(serial_turn_begin(t, path, &limits, NULL), 0);
}

struct waiter {
	pthread_t thread;
	int cancel_fd;
	atomic_int result; /* 1: it waits */
	struct errmsg why;
};

static void *wait_for_turn(void *arg)
{
	struct waiter *w = arg;
	const struct source_limits limits = long_limits(w->cancel_fd);
	struct serial_turn t;
	int r = serial_turn_begin(&t, PATH, &limits, &w->why);

	if (r == 0)
		serial_turn_end(&t);
	w->result = r;
	return NULL;
}

static void waiter_start(struct waiter *w)
{
	*w = (struct waiter){.cancel_fd = io_wake_create(), .result = 1};
	assert_int_equal(pthread_create(&w->thread, NULL, wait_for_turn, w), 0);
}

static void waiter_end(struct waiter *w, int result)
{
	pthread_join(w->thread, NULL);
	close(w->cancel_fd);
	assert_int_equal(w->result, result);
}

static void test_one_after_the_other(void **state)
{
	struct waiter w[8];
	struct serial_turn mine, other;

	(void)state;
	begin(&mine, PATH);
	for (size_t i = 0; i < 8; i++)
		waiter_start(&w[i]);
	begin(&other, "/run/b"); /* which is nobody's business */
	serial_turn_end(&other);
	poll(NULL, 0, 50);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(w[i].result, 1);
	serial_turn_end(&mine);
	for (size_t i = 0; i < 8; i++)
		waiter_end(&w[i], 0);
	begin(&mine, PATH);
	serial_turn_end(&mine);
	serial_turn_end(&mine); /* once more does no harm */
}

static void test_cancel_and_deadline(void **state)
{
	struct source_limits limits = {.deadline_ns = clock_now_ns() + NSEC_PER_MSEC,
				       .cancel_fd = -1};
	struct serial_turn mine, late;
	struct errmsg why = {0};
	struct waiter cancelled, last;

	(void)state;
	begin(&mine, PATH);
	waiter_start(&cancelled);
	waiter_start(&last);
	assert_int_equal(serial_turn_begin(&late, PATH, &limits, &why), -ETIMEDOUT);
	serial_turn_end(&late);
	io_wake(cancelled.cancel_fd);
	waiter_end(&cancelled, -ECANCELED);
	assert_int_equal(last.result, 1);
	serial_turn_end(&mine);
	waiter_end(&last, 0);
}

static struct serial_ear *listen_at(const char *path, int *ret_guest)
{
	struct serial_ear *e;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	e = serial_ear_create(path, fds[0]);
	assert_non_null(e);
	*ret_guest = fds[1];
	return e;
}

/* It hears news; whoever begins a turn ends it, which is none; so does the guest's VMM. */
static void test_ears(void **state)
{
	struct serial_ear *a, *b;
	int guest_a, guest_b;
	struct serial_turn t;
	char c;

	(void)state;
	a = listen_at(PATH, &guest_a);
	b = listen_at("/run/b", &guest_b);
	assert_false(serial_ear_is_readable(a) || serial_ear_has_heard(a));
	assert_int_equal(write(guest_a, "x", 1), 1);
	assert_true(serial_ear_is_readable(a) && serial_ear_has_heard(a));
	assert_true(serial_ear_has_heard(a)); /* it still does */
	serial_ear_destroy(a);
	close(guest_a);

	a = listen_at(PATH, &guest_a);
	begin(&t, PATH);
	assert_true(serial_ear_is_readable(a));
	assert_false(serial_ear_has_heard(a));
	assert_int_equal(read(guest_a, &c, 1), 0); /* the VMM sees that it has gone */
	serial_turn_end(&t);
	assert_false(serial_ear_is_readable(b));
	close(guest_b);
	assert_true(serial_ear_is_readable(b));
	assert_false(serial_ear_has_heard(b));
	serial_ear_destroy(a);
	serial_ear_destroy(b);
	serial_ear_destroy(NULL);
	close(guest_a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_after_the_other),
		cmocka_unit_test(test_cancel_and_deadline),
		cmocka_unit_test(test_ears),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
