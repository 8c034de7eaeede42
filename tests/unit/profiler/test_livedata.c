/* Live recordings: each reader gets its own stream, whole, with what it lost counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "profiler/livedata.h"
#include "profiler/perfdata/recording.h"
#include "profiler/perfdata/write.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "tests/unit/lib/guestmaker.h"
#include "tests/unit/lib/pipewalk.h"
#include "tests/unit/lib/wait.h"

#define HEADER_ATTR    64
#define BUILD_ID       67
#define FINISHED_ROUND 68
#define KERNEL	       0xffffffff81000000ULL

struct world {
	struct guests *guests;
	struct livedata *live;
	atomic_bool has_symbols;
	/* A reader, and what it has been given. */
	struct feed *feed;
	struct buf out;
};

static const struct symbols *make_symbols(void)
{
	static const char kallsyms[] = "ffffffff81000000 T _text\nffffffff82000000 T _end\n";
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	const struct symbols *s;

	assert_int_equal(sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL), 0);
	assert_int_equal(sink.data(sink.ctx, kallsyms, sizeof(kallsyms) - 1), 0);
	assert_int_equal(symbols_builder_finish(b, &s, NULL), 0);
	symbols_builder_destroy(b);
	return s;
}

static const struct symbols *symbols_of(void *ctx, uint64_t serial, uint32_t epoch)
{
	struct world *w = ctx;

	(void)serial;
	(void)epoch;
	return atomic_load(&w->has_symbols) ? make_symbols() : NULL;
}

static void publish(struct world *w, size_t count)
{
	struct guest *list[] = {guestmaker_create(1, 100, 2), guestmaker_create(2, 200, 1)};

	guestmaker_publish(w->guests, list, count);
	for (size_t i = count; i < 2; i++)
		guest_put(list[i]);
}

static void begin(struct world *w)
{
	const struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .freq = 1};
	struct livedata_config config = {
		.symbols_of = symbols_of, .ctx = w, .kallsyms = "/dev/null"};
	struct errmsg why;

	memset(w, 0, sizeof(*w));
	atomic_init(&w->has_symbols, true);
	w->guests = config.guests = guests_create();
	publish(w, 2);
	assert_int_equal(livedata_create(&config, &w->live, &why), 0);
	livedata_set_perf(w->live, &attr, "cpu-clock", 1000000);
	assert_int_equal(livedata_start(w->live, &why), 0);
	assert_false(livedata_is_wanted(w->live));
}

static void end(struct world *w)
{
	livedata_stop(w->live);
	livedata_destroy(w->live);
	guests_destroy(w->guests);
}

static struct feed *open_feed(struct world *w, uint64_t serial)
{
	struct feed *f;

	assert_int_equal(livedata_open(w->live, serial, false, -1, &f), 0);
	return f;
}

static void close_feed(struct feed *f)
{
	feed_close(f);
	feed_put(f);
}

static int set_up(void **state)
{
	static struct world w;

	begin(&w);
	buf_init(&w.out, 1 << 20);
	*state = &w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	if (w->feed)
		close_feed(w->feed);
	buf_deinit(&w->out);
	end(w);
	return 0;
}

/* Appends what is there. */
static void take(struct feed *f, struct buf *b)
{
	char piece[4096];
	ssize_t n;

	while ((n = feed_read(f, piece, sizeof(piece))) > 0)
		assert_int_equal(buf_append(b, piece, (size_t)n), 0);
}

static void add(struct world *w, uint64_t serial, size_t n, bool registers)
{
	for (size_t i = 0; i < n; i++) {
		const struct livedata_sample s = {.serial = serial,
						  .ip = KERNEL,
						  .time = clock_now_ns(),
						  .pid = (uint32_t)serial * 100,
						  .tid = (uint32_t)serial * 100 + 1,
						  .kernel = true,
						  .registers = registers};

		livedata_add(w->live, &s, 1);
	}
}

static size_t count_in(struct feed *f, struct buf *b, uint32_t type)
{
	take(f, b);
	return b->len ? pipewalk_count(pipewalk_begin(b->data, b->len), type) : 0;
}

/* Of what the reader has been given so far. */
static size_t count(struct world *w, uint32_t type)
{
	return count_in(w->feed, &w->out, type);
}

/* Takes what is there; false: there will be more. */
static bool has_ended(struct feed *f, struct buf *b)
{
	take(f, b);
	return feed_read(f, (char[1]){0}, 1) == 0;
}

static void test_each_reader_gets_its_own(void **state)
{
	CLEANUP_BUF struct buf one, all;
	struct feed *f_one, *f_all;
	struct world *w = *state;

	buf_init(&one, 1 << 20);
	buf_init(&all, 1 << 20);
	add(w, 1, 5, false); /* nobody reads yet */
	f_one = open_feed(w, 1);
	f_all = open_feed(w, 0);
	assert_true(livedata_is_wanted(w->live));
	add(w, 1, 10, false);
	add(w, 2, 20, false);
	wait_until(count_in(f_one, &one, PERF_RECORD_COMM) == 4);
	wait_until(count_in(f_all, &all, PERF_RECORD_COMM) == 7);
	assert_int_equal(count_in(f_one, &one, PERF_RECORD_SAMPLE), 10);
	assert_int_equal(count_in(f_all, &all, PERF_RECORD_SAMPLE), 30);
	assert_int_equal(count_in(f_one, &one, BUILD_ID), 1);
	assert_int_equal(count_in(f_all, &all, BUILD_ID), 2);
	assert_int_equal(count_in(f_one, &one, HEADER_ATTR), 1);
	close_feed(f_one);
	close_feed(f_all);
	wait_until(!livedata_is_wanted(w->live));
}

/* Registers and perf count differently: two events, each told before its first sample. */
static void test_events(void **state)
{
	const struct perf_event_header *h;
	bool told[8] = {false};
	struct pipewalk p;
	struct world *w = *state;

	w->feed = open_feed(w, 0);
	add(w, 1, 3, false);
	add(w, 2, 4, true);
	add(w, 1, 5, false);
	take(w->feed, &w->out);
	p = pipewalk_begin(w->out.data, w->out.len);
	while ((h = pipewalk_next(&p))) {
		if (h->type == HEADER_ATTR)
			told[pipewalk_u64(h, -8)] = true;
		if (h->type == PERF_RECORD_SAMPLE)
			assert_true(told[pipewalk_u64(h, 8)]);
	}
	assert_int_equal(pipewalk_samples(pipewalk_begin(w->out.data, w->out.len)), 12);
	assert_int_equal(pipewalk_count(pipewalk_begin(w->out.data, w->out.len), HEADER_ATTR), 2);
}

/* Nothing is lost without a trace, also with a reader that never reads until the end. */
static void test_a_slow_reader(void **state)
{
	const size_t fit = LIVEDATA_FEED_BYTES / PERFDATA_SAMPLE_SIZE;
	const size_t given = 3 * fit;
	CLEANUP_BUF struct buf quick, slow;
	struct feed *f_quick, *f_slow;
	struct pipewalk p;
	struct world *w = *state;

	buf_init(&quick, given * 64);
	buf_init(&slow, given * 64);
	f_quick = open_feed(w, 0);
	f_slow = open_feed(w, 1);
	for (size_t i = 0; i < given; i += 1000) {
		add(w, 1, given - i < 1000 ? given - i : 1000, false);
		take(f_quick, &quick);
		if (i > given / 2 && i < given / 2 + 2000)
			take(f_slow, &slow);
	}
	publish(w, 0);
	wait_until(has_ended(f_slow, &slow));
	take(f_quick, &quick);
	p = pipewalk_begin(quick.data, quick.len);
	assert_int_equal(pipewalk_samples(p), given);
	assert_int_equal(pipewalk_lost(p), 0);
	p = pipewalk_begin(slow.data, slow.len);
	assert_true(pipewalk_samples(p) > fit);
	assert_true(pipewalk_lost(p) > fit / 2);
	assert_int_equal(pipewalk_samples(p) + pipewalk_lost(p), given);
	assert_in_range(pipewalk_count(p, PERF_RECORD_LOST), 1, 4);
	close_feed(f_quick);
	close_feed(f_slow);
}

/* What the kernel could not write is nobody's in particular: all are told. */
static void test_what_the_kernel_lost(void **state)
{
	struct world *w = *state;

	w->feed = open_feed(w, 1);
	livedata_add_lost(w->live, 77);
	livedata_end_round(w->live);
	livedata_end_round(w->live);
	assert_int_equal(count(w, PERF_RECORD_LOST_SAMPLES), 1);
	assert_int_equal(count(w, PERF_RECORD_LOST), 0);
}

/* perf reads no further than an event that the stream has not told it of. */
static void test_lost_of_an_event_without_samples(void **state)
{
	const struct perf_event_header *h;
	struct pipewalk p;
	struct world *w = *state;

	assert_int_equal(livedata_open(w->live, 2, true, -1, &w->feed), 0);
	add(w, 2, 1, true);
	livedata_add_lost(w->live, 77);
	publish(w, 1);
	wait_until(has_ended(w->feed, &w->out));
	p = pipewalk_begin(w->out.data, w->out.len);
	assert_int_equal(pipewalk_count(p, HEADER_ATTR), 1);
	h = pipewalk_find(&p, PERF_RECORD_LOST_SAMPLES);
	assert_non_null(h);
	assert_int_equal(pipewalk_u64(h, 8), 77);
	assert_int_equal(pipewalk_u64(h, -8), 0);
}

/* Two events in turn are two events. */
static void test_events_in_turn(void **state)
{
	const struct perf_event_attr clock = {.type = PERF_TYPE_SOFTWARE, .freq = 1},
				     cycles = {.type = PERF_TYPE_HARDWARE, .freq = 1};
	struct world *w = *state;

	w->feed = open_feed(w, 1);
	for (int i = 0; i < 10; i++) {
		livedata_set_perf(w->live, i % 2 ? &clock : &cycles, i % 2 ? "cpu-clock" : "cycles",
				  1);
		add(w, 1, 1, false);
	}
	assert_int_equal(count(w, PERF_RECORD_SAMPLE), 10);
	assert_int_equal(count(w, HEADER_ATTR), 2);
}

static size_t rounds(struct world *w)
{
	livedata_end_round(w->live);
	return count(w, FINISHED_ROUND);
}

/* Names that are still on their way come before perf has worked up the first samples. */
static void test_rounds_wait_for_names(void **state)
{
	const struct perf_event_header *h;
	bool named = false;
	struct pipewalk p;
	struct world *w = *state;

	atomic_store(&w->has_symbols, false);
	w->feed = open_feed(w, 1);
	add(w, 1, 3, false);
	wait_until(count(w, PERF_RECORD_COMM) == 4);
	assert_int_equal(rounds(w), 0);
	atomic_store(&w->has_symbols, true);
	io_wake(livedata_wake_fd(w->live));
	wait_until(rounds(w) > 0);
	/* Nothing new: nothing to be worked up. */
	for (int i = 0; i < 5; i++)
		rounds(w);
	assert_int_equal(rounds(w), 2);
	p = pipewalk_begin(w->out.data, w->out.len);
	while ((h = pipewalk_next(&p)) && h->type != FINISHED_ROUND)
		named |= h->type == BUILD_ID;
	assert_true(named);
}

static void test_a_guest_that_comes_later(void **state)
{
	struct world *w = *state;

	publish(w, 1);
	w->feed = open_feed(w, 0);
	wait_until(count(w, BUILD_ID) == 1);
	publish(w, 2);
	wait_until(count(w, BUILD_ID) == 2);
	/* It boots anew. */
	guests_new_epoch(w->guests, 2, 1, "test");
	wait_until(count(w, BUILD_ID) == 3);
}

static void test_the_end_of_a_guest(void **state)
{
	struct feed *f_one, *f_all, *none;
	CLEANUP_BUF struct buf b;
	struct world *w = *state;

	buf_init(&b, 1 << 20);
	f_one = open_feed(w, 2);
	f_all = open_feed(w, 0);
	publish(w, 1);
	wait_until(has_ended(f_one, &b));
	take(f_all, &b);
	assert_int_equal(feed_read(f_all, (char[1]){0}, 1), -EAGAIN);
	assert_int_equal(livedata_open(w->live, 2, false, -1, &none), -ESRCH);
	livedata_stop(w->live);
	take(f_all, &b);
	assert_int_equal(feed_read(f_all, (char[1]){0}, 1), 0);
	assert_int_equal(livedata_open(w->live, 0, false, -1, &none), -ESRCH);
	close_feed(f_one);
	close_feed(f_all);
}

static void test_readers_are_bounded(void **state)
{
	struct feed *f[LIVEDATA_READERS_MAX], *none;
	struct world *w = *state;

	for (size_t i = 0; i < LIVEDATA_READERS_MAX; i++)
		f[i] = open_feed(w, i % 3);
	assert_int_equal(livedata_open(w->live, 0, false, -1, &none), -EMFILE);
	close_feed(f[0]);
	wait_until(livedata_open(w->live, 0, false, -1, &f[0]) == 0);
	for (size_t i = 0; i < LIVEDATA_READERS_MAX; i++)
		close_feed(f[i]);
	wait_until(!livedata_is_wanted(w->live));
}

static ssize_t read_buf(void *ctx, uint64_t offset, void *to, size_t n)
{
	const struct buf *b = ctx;
	size_t left = offset < b->len ? b->len - (size_t)offset : 0;

	n = n < left ? n : left;
	memcpy(to, b->data + offset, n);
	return (ssize_t)n;
}

/* What --input makes of a stream. */
static void read_again(struct buf *b, const char *event, struct recording **ret)
{
	const struct perfdata_bytes bytes = {.read = read_buf, .ctx = b};
	const struct recording_config config = {.path = "a stream", .event = event};

	assert_int_equal(recording_read_bytes(&config, &bytes, 0, ret, NULL), 0);
}

static void test_what_is_read_again(void **state)
{
	const struct recording_guest *g;
	struct recording *r;
	struct world *w = *state;

	w->feed = open_feed(w, 0);
	add(w, 1, 30, false);
	add(w, 2, 40, true);
	livedata_add_lost(w->live, 5);
	wait_until((livedata_end_round(w->live), count(w, BUILD_ID) == 2));
	read_again(&w->out, "cpu-clock", &r);
	assert_true(r->facts.pipe);
	assert_int_equal(r->facts.end, PERFDATA_WHOLE);
	assert_int_equal(r->guest_kernel, 30);
	assert_int_equal(r->lost, 5);
	assert_int_equal(r->strange, 0);
	g = recording_find(r, 100);
	assert_non_null(g);
	assert_string_equal(g->name, "g1");
	assert_int_equal(g->kernel, 30);
	assert_int_equal(recording_map_at(g, KERNEL)->symbol_at, KERNEL);
	recording_free(r);
	read_again(&w->out, "qmp-registers", &r);
	assert_int_equal(recording_find(r, 200)->kernel, 40);
	recording_free(r);
}

static void *sample_always(void *arg)
{
	struct world *w = arg;

	for (int i = 0; i < 300; i++) {
		add(w, 1 + (uint64_t)i % 2, 20, i % 3 == 0);
		livedata_end_round(w->live);
		livedata_add_lost(w->live, 1);
	}
	return NULL;
}

/* Readers come and go while two samplers write and guests boot; each stream is whole. */
static void test_all_at_once(void **state)
{
	pthread_t threads[2];
	struct world *w = *state;

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sample_always, w), 0);
	for (uint32_t i = 0; i < 60; i++) {
		CLEANUP_BUF struct buf b;
		struct feed *f;

		buf_init(&b, 16 << 20);
		wait_until(livedata_open(w->live, i % 3, i % 2, -1, &f) == 0);
		guests_new_epoch(w->guests, 1, i + 1, "test");
		take(f, &b);
		pipewalk_samples(pipewalk_begin(b.data, b.len));
		close_feed(f);
		livedata_set_perf(w->live, i % 2 ? NULL : &(struct perf_event_attr){.type = 1},
				  "cpu-clock", 1);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_each_reader_gets_its_own),
		TEST(test_events),
		TEST(test_a_slow_reader),
		TEST(test_what_the_kernel_lost),
		TEST(test_lost_of_an_event_without_samples),
		TEST(test_events_in_turn),
		TEST(test_rounds_wait_for_names),
		TEST(test_a_guest_that_comes_later),
		TEST(test_the_end_of_a_guest),
		TEST(test_readers_are_bounded),
		TEST(test_what_is_read_again),
		TEST(test_all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
