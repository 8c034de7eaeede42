/* Streams: each read is answered exactly once, whatever happens at the same time, and poll tells
 * when there is something. libfuse's side is this test's: what it is asked is kept here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fs/stream.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/thread.h"
#include "tests/unit/lib/wait.h"

#define FEED_MAX 1000

/* ---- libfuse ----------------------------------------------------------------------------- */

struct fuse_req {
	struct mutex lock;
	fuse_interrupt_func_t func; /* lock */
	void *data;		    /* lock */
	atomic_bool interrupted;
	int err;	/* before answers */
	size_t n;	/* likewise */
	char bytes[16]; /* likewise: the first ones */
	atomic_int answers;
};

struct fuse_pollhandle {
	atomic_int told, destroyed;
};

static int answer(fuse_req_t req, int err, const char *bytes, size_t n)
{
	req->err = err;
	req->n = n;
	if (n)
		memcpy(req->bytes, bytes, n < sizeof(req->bytes) ? n : sizeof(req->bytes));
	atomic_fetch_add(&req->answers, 1);
	return 0;
}

int fuse_reply_err(fuse_req_t req, int err)
{
	return answer(req, err, NULL, 0);
}

int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	return answer(req, 0, buf, size);
}

/* As libfuse does: who was interrupted already is told at once. */
void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data)
{
	mutex_lock(&req->lock);
	req->func = func;
	req->data = data;
	if (atomic_load(&req->interrupted))
		func(req, data);
	mutex_unlock(&req->lock);
}

int fuse_req_interrupted(fuse_req_t req)
{
	/* A request that is answered is freed. */
	assert_int_equal(atomic_load(&req->answers), 0);
	return atomic_load(&req->interrupted);
}

int fuse_lowlevel_notify_poll(struct fuse_pollhandle *ph)
{
	/* One that is destroyed already is free memory: no test expects so many. */
	atomic_fetch_add(&ph->told, atomic_load(&ph->destroyed) ? 100 : 1);
	return 0;
}

void fuse_pollhandle_destroy(struct fuse_pollhandle *ph)
{
	atomic_fetch_add(&ph->destroyed, 1);
}

static void interrupt(struct fuse_req *req)
{
	mutex_lock(&req->lock);
	atomic_store(&req->interrupted, true);
	if (req->func)
		req->func(req, req->data);
	mutex_unlock(&req->lock);
}

static bool is_answered(struct fuse_req *req)
{
	return atomic_load(&req->answers) > 0;
}

/* The request was, once, answered by these bytes; all of them are shorter than what it keeps. */
static void assert_got(struct fuse_req *req, const char *text)
{
	wait_until(is_answered(req));
	assert_int_equal(req->answers, 1);
	assert_int_equal(req->err, 0);
	assert_int_equal(req->n, strlen(text));
	assert_memory_equal(req->bytes, text, req->n);
}

static void assert_refused(struct fuse_req *req, int err)
{
	wait_until(is_answered(req));
	assert_int_equal(req->answers, 1);
	assert_int_equal(req->err, err);
}

/* ---- what is tested ---------------------------------------------------------------------- */

static struct streams *streams;
static atomic_bool there_are_news;
static atomic_int asked_for_news;

static bool has_news(void *ctx, const struct place *p, uint64_t made_ns)
{
	(void)ctx, (void)p, (void)made_ns;
	atomic_fetch_add(&asked_for_news, 1);
	return atomic_load(&there_are_news);
}

static int setup(void **state)
{
	struct errmsg why;

	(void)state;
	atomic_store(&there_are_news, false);
	atomic_store(&asked_for_news, 0);
	return streams_create(has_news, NULL, &streams, &why) < 0 ||
	       streams_start(streams, &why) < 0;
}

static int teardown(void **state)
{
	(void)state;
	streams_destroy(streams);
	return 0;
}

static struct stream *open_one(struct feed **ret)
{
	struct stream *stream;

	*ret = feed_create(FEED_MAX, streams_wake_fd(streams));
	assert_non_null(*ret);
	stream = streams_open(streams, *ret);
	assert_non_null(stream);
	return stream;
}

static void write_text(struct feed *feed, const char *text)
{
	assert_int_equal(feed_write(feed, text, strlen(text)), 0);
}

static void start_read(struct stream *stream, struct fuse_req *req, size_t size, bool nonblock)
{
	memset(req, 0, sizeof(*req));
	mutex_init(&req->lock);
	streams_read(streams, stream, req, size, nonblock);
}

static void test_read_at_once(void **state)
{
	struct fuse_req req;
	struct feed *feed;
	struct stream *stream = open_one(&feed);

	(void)state;
	start_read(stream, &req, 4096, true);
	assert_refused(&req, EAGAIN);
	write_text(feed, "a line\nanother\n");
	start_read(stream, &req, 3, false);
	assert_got(&req, "a l");
	start_read(stream, &req, 4096, true);
	assert_got(&req, "ine\nanother\n");
	streams_release(streams, stream);
	feed_put(feed);
}

/* However much a reader asks for, and however much there is. */
static void test_piece_max(void **state)
{
	static char much[2 * STREAM_PIECE_MAX];
	struct feed *feed = feed_create(sizeof(much), streams_wake_fd(streams));
	struct stream *stream = streams_open(streams, feed);
	struct fuse_req req;

	(void)state;
	assert_int_equal(feed_write(feed, much, sizeof(much)), 0);
	for (int i = 0; i < 2; i++) {
		start_read(stream, &req, SIZE_MAX, true);
		assert_int_equal(req.n, STREAM_PIECE_MAX);
	}
	start_read(stream, &req, SIZE_MAX, true);
	assert_refused(&req, EAGAIN);
	streams_release(streams, stream);
	feed_put(feed);
}

/* The reads of one open wait in the order of their coming, and another one's are not answered. */
static void test_several_readers(void **state)
{
	struct feed *feeds[3];
	struct stream *opened[3];
	struct fuse_req reqs[3], second;

	(void)state;
	for (int i = 0; i < 3; i++) {
		opened[i] = open_one(&feeds[i]);
		start_read(opened[i], &reqs[i], 4, false);
	}
	start_read(opened[2], &second, 100, false);
	write_text(feeds[2], "of the third");
	assert_got(&reqs[2], "of t");
	assert_got(&second, "he third");
	write_text(feeds[0], "1st");
	assert_got(&reqs[0], "1st");
	assert_false(is_answered(&reqs[1]));
	feed_end(feeds[1]);
	assert_got(&reqs[1], "");
	for (int i = 0; i < 3; i++) {
		streams_release(streams, opened[i]);
		feed_put(feeds[i]);
	}
}

/* What a reader does not fetch is kept up to the feed's size, and keeps nobody else waiting. */
static void test_slow_reader(void **state)
{
	struct feed *slow_feed, *feed;
	struct stream *slow = open_one(&slow_feed), *stream = open_one(&feed);
	struct fuse_req req;
	size_t wrote = 0;

	(void)state;
	while (feed_write(slow_feed, "ten bytes\n", 10) == 0)
		wrote += 10;
	assert_int_equal(wrote, FEED_MAX);
	for (int i = 0; i < 20; i++) {
		start_read(stream, &req, 100, false);
		write_text(feed, "quick");
		assert_got(&req, "quick");
	}
	for (; wrote; wrote -= 10) {
		start_read(slow, &req, 10, true);
		assert_got(&req, "ten bytes\n");
	}
	write_text(slow_feed, "goes on");
	start_read(slow, &req, 10, true);
	assert_got(&req, "goes on");
	streams_release(streams, slow);
	streams_release(streams, stream);
	feed_put(slow_feed);
	feed_put(feed);
}

/* What was written before the end is read before it, and the end again and again. */
static void test_end(void **state)
{
	struct fuse_req req;
	struct feed *feed;
	struct stream *stream = open_one(&feed);

	(void)state;
	write_text(feed, "last");
	feed_end(feed);
	start_read(stream, &req, 100, false);
	assert_got(&req, "last");
	for (int i = 0; i < 2; i++) {
		start_read(stream, &req, 100, i == 0);
		assert_got(&req, "");
	}
	assert_int_equal(streams_poll(streams, stream, NULL), POLLIN | POLLRDNORM);
	streams_release(streams, stream);
	feed_put(feed);
}

static void test_interrupted(void **state)
{
	struct fuse_req req = {.answers = 0}, other;
	struct feed *feed;
	struct stream *stream = open_one(&feed);

	(void)state;
	start_read(stream, &req, 100, false);
	start_read(stream, &other, 100, false);
	interrupt(&req);
	assert_refused(&req, EINTR);
	write_text(feed, "text");
	assert_got(&other, "text");
	interrupt(&other); /* too late */
	assert_int_equal(other.answers, 1);
	/* The signal came before the read was parked. */
	memset(&req, 0, sizeof(req));
	mutex_init(&req.lock);
	interrupt(&req);
	streams_read(streams, stream, &req, 100, false);
	assert_refused(&req, EINTR);
	streams_release(streams, stream);
	feed_put(feed);
}

static void *write_one(void *arg)
{
	feed_write(arg, "text", 4);
	return NULL;
}

/* A signal and bytes at the same time: one of them answers. */
static void test_interrupted_and_written(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		struct fuse_req req;
		struct feed *feed;
		struct stream *stream = open_one(&feed);
		pthread_t writer;

		start_read(stream, &req, 100, false);
		assert_int_equal(thread_start(&writer, "writer", write_one, feed), 0);
		interrupt(&req);
		pthread_join(writer, NULL);
		wait_until(is_answered(&req));
		if (req.err)
			assert_refused(&req, EINTR);
		else
			assert_got(&req, "text");
		streams_release(streams, stream);
		feed_put(feed);
	}
}

/* An unmount: all that wait are answered, and nobody waits any more. */
static void test_stop(void **state)
{
	struct fuse_req reqs[3];
	struct feed *feed;
	struct stream *stream = open_one(&feed);

	(void)state;
	for (int i = 0; i < 2; i++)
		start_read(stream, &reqs[i], 100, false);
	streams_stop(streams);
	start_read(stream, &reqs[2], 100, false);
	for (int i = 0; i < 3; i++)
		assert_refused(&reqs[i], ENODEV);
	streams_stop(streams);
	/* It is still open: who writes hears of its end. */
	assert_false(feed_is_closed(feed));
	streams_destroy(take_ptr(streams));
	assert_true(feed_is_closed(feed));
	assert_int_equal(feed_write(feed, "x", 1), -EPIPE);
	feed_put(feed);
}

static void test_too_many_reads(void **state)
{
	struct fuse_req *reqs = calloc(STREAM_READS_MAX + 1, sizeof(*reqs));
	struct feed *feed;
	struct stream *stream = open_one(&feed);

	(void)state;
	assert_non_null(reqs);
	for (size_t i = 0; i <= STREAM_READS_MAX; i++)
		start_read(stream, &reqs[i], 1, false);
	assert_refused(&reqs[STREAM_READS_MAX], EAGAIN);
	write_text(feed, "ab");
	assert_got(&reqs[0], "a");
	assert_got(&reqs[1], "b");
	assert_false(is_answered(&reqs[2]));
	/* There is room again. */
	start_read(stream, &reqs[0], 1, false);
	streams_stop(streams);
	assert_refused(&reqs[0], ENODEV);
	for (size_t i = 2; i < STREAM_READS_MAX; i++)
		assert_refused(&reqs[i], ENODEV);
	streams_release(streams, stream);
	feed_put(feed);
	free(reqs);
}

/* ---- poll -------------------------------------------------------------------------------- */

static void test_poll(void **state)
{
	struct fuse_pollhandle replaced = {0}, told = {0}, released = {0};
	struct fuse_req req;
	struct feed *feed;
	struct stream *stream = open_one(&feed);

	(void)state;
	assert_int_equal(streams_poll(streams, stream, &replaced), 0);
	assert_int_equal(streams_poll(streams, stream, &told), 0);
	assert_int_equal(replaced.destroyed, 1);
	write_text(feed, "text");
	wait_until(atomic_load(&told.destroyed));
	assert_int_equal(told.told, 1);
	assert_int_equal(streams_poll(streams, stream, NULL), POLLIN | POLLRDNORM);
	start_read(stream, &req, 100, true);
	assert_got(&req, "text");
	assert_int_equal(streams_poll(streams, stream, &released), 0);
	streams_release(streams, stream);
	assert_int_equal(released.told, 0);
	assert_int_equal(released.destroyed, 1);
	assert_int_equal(replaced.told, 0);
	assert_int_equal(told.destroyed, 1);
	feed_put(feed);
}

/* The end is something to read, too. */
static void test_poll_of_end(void **state)
{
	struct fuse_pollhandle ends = {0};
	struct feed *feed;
	struct stream *stream = open_one(&feed);

	(void)state;
	assert_int_equal(streams_poll(streams, stream, &ends), 0);
	feed_end(feed);
	wait_until(atomic_load(&ends.destroyed));
	assert_int_equal(ends.told, 1);
	streams_release(streams, stream);
	feed_put(feed);
}

#define TEXT_EVENTS (POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM)

/* A young text is not even looked at; one of an age is told of when it has become another. */
static void test_poll_of_text(void **state)
{
	struct fuse_pollhandle young_handle = {0}, handle = {0};
	struct place place = {.node = 0};
	uint64_t now = clock_now_ns();
	struct stream *young = streams_open_text(streams, &place, now + 3600 * NSEC_PER_SEC);
	struct stream *old = streams_open_text(streams, &place, now - TEXT_AGE_NS);

	(void)state;
	assert_non_null(young);
	assert_non_null(old);
	assert_int_equal(streams_poll(streams, young, &young_handle), TEXT_EVENTS);
	assert_int_equal(asked_for_news, 0);
	assert_int_equal(streams_poll(streams, old, &handle), TEXT_EVENTS);
	assert_int_equal(handle.told, 0);
	atomic_store(&there_are_news, true);
	wait_until(atomic_load(&handle.destroyed));
	assert_int_equal(handle.told, 1);
	assert_int_equal(streams_poll(streams, old, NULL), TEXT_EVENTS | POLLPRI);
	assert_int_equal(streams_poll(streams, young, NULL), TEXT_EVENTS);
	streams_release(streams, old);
	streams_release(streams, young);
	assert_int_equal(young_handle.told, 0);
	assert_int_equal(young_handle.destroyed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_piece_max, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_readers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupted_and_written, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_poll, setup, teardown),
		cmocka_unit_test_setup_teardown(test_poll_of_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_poll_of_text, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
