/* The copies that recent/exits begins with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <cmocka.h>

#include "profiler/exits/window.h"

#define S NSEC_PER_SEC

/* Two processes, whose counts are the moment in seconds, and ten times that. */
static struct exits_raw copy_at(uint64_t ns, size_t more_rows)
{
	struct exits_raw raw = {.taken_ns = ns, .lost.rows = ns / S};

	for (uint32_t tgid = 1; tgid <= 2; tgid++) {
		struct exits_thread t = {.tgid = tgid, .vcpu = 1};
		struct exits_key key = {.tgid = tgid, .kind = EXITS_PIO, .tid = 10 * tgid};
		struct exits_row row = {.sums.count = ns / S * (tgid == 1 ? 1 : 10)};

		assert_int_equal(exits_raw_add_thread(&raw, 10 * tgid, &t), 0);
		assert_int_equal(exits_raw_add_row(&raw, &key, &row), 0);
	}
	for (size_t i = 0; i < more_rows; i++)
		exits_raw_add_row(&raw, &(struct exits_key){.tgid = 3, .what = i},
				  &(struct exits_row){0});
	return raw;
}

static void add(struct exits_window *w, uint64_t ns, uint64_t took_ns, size_t more_rows)
{
	struct exits_raw raw = copy_at(ns, more_rows);

	exits_window_add(w, &raw, took_ns);
	assert_null(raw.rows);
}

/* When the window of that process began; 0: there is none. */
static uint64_t begin(const struct exits_window *w, uint32_t tgid, uint64_t now)
{
	struct exits_raw raw;
	uint64_t ns;
	int r = exits_window_begin(w, tgid, now, &raw);

	if (r == -ENOENT)
		return 0;
	assert_int_equal(r, 0);
	assert_int_equal(raw.thread_count, 1);
	assert_int_equal(raw.row_count, 1);
	assert_int_equal(raw.threads[0].tid, 10 * tgid);
	assert_int_equal(raw.rows[0].key.tgid, tgid);
	assert_int_equal(raw.rows[0].row.sums.count, raw.taken_ns / S * (tgid == 1 ? 1 : 10));
	assert_int_equal(raw.lost.rows, raw.taken_ns / S);
	ns = raw.taken_ns;
	exits_raw_deinit(&raw);
	return ns;
}

static void test_ten_seconds_and_a_little(void **state)
{
	struct exits_window w = {0};
	uint64_t start = 100 * S;

	(void)state;
	assert_int_equal(begin(&w, 1, start), 0);
	for (uint64_t now = start; now < start + 60 * S; now += S / 4) {
		uint64_t from;

		if (now >= w.next_ns)
			add(&w, now, S / 1000, 0);
		from = begin(&w, 1 + now % 2, now);
		assert_true(from >= start);
		if (now < start + 10 * S)
			assert_int_equal(from, start);
		else
			assert_true(now - from >= 10 * S && now - from <= 12 * S + S / 4);
	}
	assert_int_equal(w.count, EXITS_WINDOW_COPIES);
	exits_window_deinit(&w);
}

/* As after a suspended machine. */
static void test_a_gap(void **state)
{
	struct exits_window w = {0};

	(void)state;
	for (uint64_t at = 100; at <= 110; at += 2)
		add(&w, at * S, 0, 0);
	assert_int_equal(begin(&w, 1, 500 * S), 110 * S);
	add(&w, 500 * S, 0, 0);
	assert_int_equal(begin(&w, 1, 501 * S), 110 * S);
	assert_int_equal(w.count, 2);
	exits_window_deinit(&w);
}

static void test_what_is_slow_comes_less_often(void **state)
{
	struct exits_window w = {0};

	(void)state;
	add(&w, 100 * S, S / 10, 0);
	assert_int_equal(w.next_ns, 120 * S);
	exits_window_deinit(&w);
}

static void test_what_is_large_comes_less_often(void **state)
{
	struct exits_window w = {0};
	size_t third = EXITS_WINDOW_BYTES / 3 / sizeof(struct exits_raw_row) - 100;

	(void)state;
	for (int i = 0; i < 5; i++)
		add(&w, (100 + (uint64_t)i * 5) * S, 0, third);
	assert_int_equal(w.count, 3);
	assert_int_equal(w.next_ns, 125 * S);
	assert_int_equal(begin(&w, 2, 125 * S), 115 * S);
	add(&w, 200 * S, 0, 2 * third); /* not even two of them */
	assert_int_equal(w.count, 0);
	assert_int_equal(begin(&w, 2, 200 * S), 0);
	assert_true(w.next_ns > 0);
	exits_window_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ten_seconds_and_a_little),
		cmocka_unit_test(test_a_gap),
		cmocka_unit_test(test_what_is_slow_comes_less_often),
		cmocka_unit_test(test_what_is_large_comes_less_often),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
