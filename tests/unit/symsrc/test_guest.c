/* The registry of guests: what readers see while discovery publishes. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/io.h"
#include "symsrc/guest.h"

static const struct guest *make(uint64_t serial, pid_t pid)
{
	struct guest *g = guest_create();

	assert_non_null(g);
	g->serial = serial;
	g->pid = pid;
	return g;
}

static void publish_three(struct guests *gs)
{
	const struct guest *list[] = {make(1, 30), make(2, 10), make(3, 20)};

	assert_int_equal(guests_publish(gs, list, 3), 0);
	for (int i = 0; i < 3; i++)
		guest_put(list[i]);
}

static void test_starts_empty(void **state)
{
	struct guests *gs = guests_create();
	const struct guest_set *set = guests_acquire(gs);

	(void)state;
	assert_int_equal(set->count, 0);
	assert_null(guest_set_find_pid(set, 1));
	assert_null(guest_set_find_serial(set, 1));
	guest_set_put(set);
	guests_destroy(gs);
}

static void test_sorted_and_found(void **state)
{
	struct guests *gs = guests_create();
	const struct guest_set *set;

	(void)state;
	publish_three(gs);
	set = guests_acquire(gs);
	assert_int_equal(set->count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(set->entries[i].guest->pid, 10 * (i + 1));
		assert_int_equal(set->entries[i].epoch, 1);
		assert_string_equal(set->entries[i].epoch_reason, "first seen");
	}
	assert_int_equal(guest_set_find_pid(set, 30)->guest->serial, 1);
	assert_int_equal(guest_set_find_serial(set, 3)->guest->pid, 20);
	assert_null(guest_set_find_pid(set, 25));
	guest_set_put(set);
	guests_destroy(gs);
}

static void test_held_set_outlives_all(void **state)
{
	struct guests *gs = guests_create();
	const struct guest_set *set;

	(void)state;
	publish_three(gs);
	set = guests_acquire(gs);
	assert_int_equal(guests_publish(gs, NULL, 0), 0);
	guests_destroy(gs);
	assert_int_equal(set->count, 3);
	assert_int_equal(set->entries[0].guest->serial, 2);
	guest_set_put(set);
}

static uint32_t epoch_of(struct guests *gs, uint64_t serial)
{
	const struct guest_set *set = guests_acquire(gs);
	const struct guest_entry *e = guest_set_find_serial(set, serial);
	uint32_t epoch = e ? e->epoch : 0;

	guest_set_put(set);
	return epoch;
}

static void test_new_epoch_only_once(void **state)
{
	struct guests *gs = guests_create();
	uint64_t generation;

	(void)state;
	publish_three(gs);
	generation = guests_generation(gs);
	assert_int_equal(guests_new_epoch(gs, 2, 1, "QMP RESET"), 0);
	assert_int_equal(epoch_of(gs, 2), 2);
	assert_int_equal(epoch_of(gs, 1), 1);
	assert_int_equal(guests_generation(gs), generation + 1);
	/* The second who noticed the same reboot changes nothing. */
	assert_int_equal(guests_new_epoch(gs, 2, 1, "boot id"), 0);
	assert_int_equal(epoch_of(gs, 2), 2);
	assert_int_equal(guests_generation(gs), generation + 1);
	assert_int_equal(guests_new_epoch(gs, 99, 1, "x"), -ESRCH);
	guests_destroy(gs);
}

static void test_epoch_survives_publish_but_not_the_instance(void **state)
{
	struct guests *gs = guests_create();
	const struct guest *again[] = {make(1, 30), make(7, 10)};
	const struct guest_set *set;

	(void)state;
	publish_three(gs);
	assert_int_equal(guests_new_epoch(gs, 1, 1, "QMP RESET"), 0);
	assert_int_equal(guests_new_epoch(gs, 2, 1, "QMP RESET"), 0);
	assert_int_equal(guests_publish(gs, again, 2), 0);
	assert_int_equal(epoch_of(gs, 1), 2);
	/* pid 10 was reused: another instance, which has not rebooted yet. */
	assert_int_equal(epoch_of(gs, 7), 1);
	assert_int_equal(epoch_of(gs, 2), 0);
	set = guests_acquire(gs);
	assert_string_equal(guest_set_find_pid(set, 30)->epoch_reason, "QMP RESET");
	guest_set_put(set);
	guest_put(again[0]);
	guest_put(again[1]);
	guests_destroy(gs);
}

static int is_awake(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n = poll(&p, 1, 0);

	io_wake_clear(fd);
	return n;
}

static void test_subscribers_are_woken(void **state)
{
	struct guests *gs = guests_create();
	int fds[GUESTS_SUBSCRIBERS_MAX + 1];

	(void)state;
	for (int i = 0; i <= GUESTS_SUBSCRIBERS_MAX; i++) {
		fds[i] = io_wake_create();
		assert_int_equal(guests_subscribe(gs, fds[i]),
				 i < GUESTS_SUBSCRIBERS_MAX ? 0 : -ENOSPC);
	}
	publish_three(gs);
	assert_int_equal(is_awake(fds[0]), 1);
	assert_int_equal(is_awake(fds[0]), 0);
	assert_int_equal(guests_new_epoch(gs, 1, 1, "x"), 0);
	assert_int_equal(is_awake(fds[0]), 1);
	guests_unsubscribe(gs, fds[0]);
	publish_three(gs);
	assert_int_equal(is_awake(fds[0]), 0);
	assert_int_equal(is_awake(fds[1]), 1);
	assert_int_equal(guests_subscribe(gs, fds[0]), 0);
	for (int i = 0; i <= GUESTS_SUBSCRIBERS_MAX; i++)
		close(fds[i]);
	guests_destroy(gs);
}

static void test_doubts_are_taken_once(void **state)
{
	struct guests *gs = guests_create();
	uint64_t serial = 0;

	(void)state;
	assert_false(guests_next_doubt(gs, &serial));
	guests_doubt(gs, 7);
	assert_true(guests_next_doubt(gs, &serial));
	assert_int_equal(serial, 7);
	assert_false(guests_next_doubt(gs, &serial));
	for (unsigned i = 0; i < 2 * (GUESTS_DOUBTS_MAX + 1); i++)
		guests_doubt(gs, 1 + i / 2);
	for (int i = 0; i < GUESTS_DOUBTS_MAX; i++)
		assert_true(guests_next_doubt(gs, &serial));
	assert_false(guests_next_doubt(gs, &serial));
	guests_destroy(gs);
}

static void *read_many(void *arg)
{
	struct guests *gs = arg;
	uint64_t last = 0;

	for (int i = 0; i < 20000; i++) {
		const struct guest_set *set = guests_acquire(gs);

		assert_true(set->generation >= last);
		last = set->generation;
		assert_true(guests_generation(gs) >= last);
		for (size_t k = 0; k < set->count; k++)
			assert_true(set->entries[k].guest->pid > 0);
		guest_set_put(set);
	}
	return NULL;
}

static void *reboot_many(void *arg)
{
	for (int i = 0; i < 5000; i++)
		guests_new_epoch(arg, 1, epoch_of(arg, 1), "again");
	return NULL;
}

static void test_threads(void **state)
{
	struct guests *gs = guests_create();
	pthread_t t[4];

	(void)state;
	publish_three(gs);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, i < 2 ? read_many : reboot_many, gs);
	for (int i = 0; i < 5000; i++)
		publish_three(gs);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	/* Epochs never get lost between two writers: each success is in the count. */
	assert_true(epoch_of(gs, 1) > 5000);
	guests_destroy(gs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts_empty),
		cmocka_unit_test(test_sorted_and_found),
		cmocka_unit_test(test_held_set_outlives_all),
		cmocka_unit_test(test_new_epoch_only_once),
		cmocka_unit_test(test_epoch_survives_publish_but_not_the_instance),
		cmocka_unit_test(test_subscribers_are_woken),
		cmocka_unit_test(test_doubts_are_taken_once),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
