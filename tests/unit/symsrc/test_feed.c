/* The queue of a stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/feed.h"
#include "symsrc/base/io.h"
#include "symsrc/base/thread.h"

static int wake_fd;
static struct feed *feed;

static int setup(void **state)
{
	(void)state;
	wake_fd = io_wake_create();
	feed = feed_create(10000, wake_fd);
	return wake_fd < 0 || !feed;
}

static int teardown(void **state)
{
	(void)state;
	feed_put(feed);
	feed_put(feed);
	close(wake_fd);
	return 0;
}

/* Whether it was woken since the last question. */
static bool woken(void)
{
	struct pollfd p = {.fd = wake_fd, .events = POLLIN};
	bool yes = poll(&p, 1, 0) == 1;

	io_wake_clear(wake_fd);
	return yes;
}

static void test_what_goes_in_comes_out(void **state)
{
	char got[16];

	(void)state;
	assert_int_equal(feed_read(feed, got, sizeof(got)), -EAGAIN);
	assert_false(feed_is_ready(feed));
	assert_int_equal(feed_write(feed, "hello ", 6), 0);
	assert_true(woken());
	assert_int_equal(feed_write(feed, "world", 5), 0);
	assert_false(woken());
	assert_true(feed_is_ready(feed));
	assert_int_equal(feed_read(feed, got, 8), 8);
	assert_memory_equal(got, "hello wo", 8);
	assert_int_equal(feed_read(feed, got, sizeof(got)), 3);
	assert_memory_equal(got, "rld", 3);
	assert_int_equal(feed_read(feed, got, sizeof(got)), -EAGAIN);
}

static void test_whole_or_not_at_all(void **state)
{
	char piece[3000], got[10000];

	(void)state;
	memset(piece, 'x', sizeof(piece));
	for (int i = 0; i < 3; i++)
		assert_int_equal(feed_write(feed, piece, sizeof(piece)), 0);
	assert_int_equal(feed_room(feed), 1000);
	assert_int_equal(feed_write(feed, piece, sizeof(piece)), -ENOBUFS);
	assert_int_equal(feed_write(feed, piece, 1000), 0);
	assert_int_equal(feed_room(feed), 0);
	assert_int_equal(feed_read(feed, got, sizeof(got)), sizeof(got));
}

static void test_around_the_end(void **state)
{
	uint8_t in = 0, out = 0;

	(void)state;
	for (int round = 0; round < 2000; round++) {
		uint8_t piece[333], got[333];

		for (size_t i = 0; i < sizeof(piece); i++)
			piece[i] = in++;
		assert_int_equal(feed_write(feed, piece, sizeof(piece)), 0);
		if (round % 7 == 0)
			continue;
		for (ssize_t n = feed_read(feed, got, sizeof(got)), i = 0; i < n; i++)
			assert_int_equal(got[i], out++);
		while (feed_room(feed) < 5000)
			for (ssize_t n = feed_read(feed, got, 100), i = 0; i < n; i++)
				assert_int_equal(got[i], out++);
	}
}

static void test_the_writers_end(void **state)
{
	char got[16];

	(void)state;
	assert_int_equal(feed_write(feed, "last", 4), 0);
	assert_true(woken());
	feed_end(feed);
	assert_true(woken());
	assert_int_equal(feed_write(feed, "more", 4), -EPIPE);
	assert_int_equal(feed_read(feed, got, sizeof(got)), 4);
	assert_true(feed_is_ready(feed));
	assert_int_equal(feed_read(feed, got, sizeof(got)), 0);
}

static void test_the_readers_end(void **state)
{
	(void)state;
	assert_int_equal(feed_write(feed, "lost", 4), 0);
	feed_close(feed);
	assert_true(feed_is_closed(feed));
	assert_int_equal(feed_write(feed, "more", 4), -EPIPE);
	assert_int_equal(feed_room(feed), 0);
	io_wake_clear(wake_fd);
	feed_end(feed);
	assert_false(woken());
}

#define MANY 200000

static void *write_many(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < MANY;)
		i += feed_write(feed, &i, sizeof(i)) == 0;
	feed_end(feed);
	return NULL;
}

static void test_two_threads(void **state)
{
	uint32_t want = 0, got[64];
	pthread_t writer;
	ssize_t n;

	(void)state;
	assert_int_equal(thread_start(&writer, "writer", write_many, NULL), 0);
	while ((n = feed_read(feed, got, sizeof(got))) != 0) {
		struct pollfd p = {.fd = wake_fd, .events = POLLIN};

		if (n == -EAGAIN) {
			assert_int_equal(poll(&p, 1, 60000), 1);
			io_wake_clear(wake_fd);
		}
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(*got); i++)
			assert_int_equal(got[i], want++);
	}
	assert_int_equal(want, MANY);
	pthread_join(writer, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_goes_in_comes_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whole_or_not_at_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_around_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_writers_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_readers_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
