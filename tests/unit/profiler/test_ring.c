/* The ring's reader: records come out as they went in, wherever they wrap, and nothing that
 * may stand in the ring makes it loop or read outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/ring.h"
#include "tests/unit/lib/ringmaker.h"

#define SIZE 4096

static struct ring_scratch scratch;

static void begin(struct ringmaker *m, struct ring *r, uint64_t at)
{
	ringmaker_init(m, SIZE, at);
	ring_init(r, m->page, m->data, SIZE);
}

/* Reads a round; asserts that it is n samples with ips from first on. */
static void assert_round(struct ring *r, uint64_t first, size_t n)
{
	const struct perf_event_header *h;
	uint64_t ip;
	size_t i = 0;

	ring_begin(r);
	for (; (h = ring_next(r, &scratch)); i++) {
		assert_int_equal(h->type, PERF_RECORD_SAMPLE);
		memcpy(&ip, h + 1, sizeof(ip));
		assert_int_equal(ip, first + i);
	}
	ring_end(r);
	assert_int_equal(i, n);
}

/* Every offset, each crossing the ring's end somewhere else; also where the counters wrap. */
static void test_wraps_at_every_offset(void **state)
{
	static const uint64_t bases[] = {0, UINT64_MAX - SIZE + 1};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		for (uint64_t off = 0; off < SIZE; off += 8) {
			struct ringmaker m;
			struct ring r;

			begin(&m, &r, bases[b] + off);
			for (uint64_t i = 0; i < SIZE / 32; i++)
				ringmaker_sample(&m, 0, i, 1, 1, 1);
			assert_round(&r, 0, SIZE / 32);
			ringmaker_sample(&m, 0, 7, 1, 1, 1);
			assert_round(&r, 7, 1);
			assert_int_equal(m.page->data_tail, m.page->data_head);
			assert_int_equal(r.malformed, 0);
			ringmaker_deinit(&m);
		}
	}
}

static void test_empty(void **state)
{
	struct ringmaker m;
	struct ring r;

	(void)state;
	begin(&m, &r, 40);
	assert_int_equal(ring_begin(&r), 0);
	assert_null(ring_next(&r, &scratch));
	ring_end(&r);
	assert_int_equal(m.page->data_tail, 40);
	ringmaker_deinit(&m);
}

/* What is written during a round is of the next one. */
static void test_rounds(void **state)
{
	struct ringmaker m;
	struct ring r;

	(void)state;
	begin(&m, &r, 0);
	ringmaker_sample(&m, 0, 1, 1, 1, 1);
	assert_int_equal(ring_begin(&r), 32);
	ringmaker_sample(&m, 0, 2, 1, 1, 1);
	assert_non_null(ring_next(&r, &scratch));
	assert_null(ring_next(&r, &scratch));
	assert_int_equal(m.page->data_tail, 0);
	ring_end(&r);
	assert_int_equal(m.page->data_tail, 32);
	assert_round(&r, 2, 1);
	ringmaker_deinit(&m);
}

/* What is put back, or not read at all, comes again in the next round, also when it wraps. */
static void test_put_back(void **state)
{
	(void)state;
	for (size_t offset = 0; offset < SIZE; offset += 8) {
		const struct perf_event_header *h;
		struct ringmaker m;
		struct ring r;

		begin(&m, &r, offset);
		ringmaker_sample(&m, 0, 1, 1, 1, 1);
		ringmaker_sample(&m, 0, 2, 1, 1, 1);
		ringmaker_sample(&m, 0, 3, 1, 1, 1);
		ring_begin(&r);
		assert_non_null(ring_next(&r, &scratch));
		h = ring_next(&r, &scratch);
		assert_non_null(h);
		ring_put_back(&r, h);
		ring_end(&r);
		assert_int_equal(m.page->data_tail, offset + 32);
		assert_round(&r, 2, 2);
		ringmaker_deinit(&m);
	}
}

/* A record of this size after one good sample: the good one comes, then the round ends. */
static void assert_broken(uint16_t size, size_t written)
{
	struct perf_event_header h = {PERF_RECORD_SAMPLE, 0, size};
	uint8_t zeros[SIZE] = {0};
	struct ringmaker m;
	struct ring r;

	begin(&m, &r, 96);
	ringmaker_sample(&m, 0, 5, 1, 1, 1);
	ringmaker_put(&m, &h, sizeof(h));
	ringmaker_put(&m, zeros, written - sizeof(h));
	assert_round(&r, 5, 1);
	assert_int_equal(r.malformed, 1);
	assert_int_equal(m.page->data_tail, m.page->data_head);
	ringmaker_sample(&m, 0, 6, 1, 1, 1);
	assert_round(&r, 6, 1);
	ringmaker_deinit(&m);
}

static void test_malformed_sizes(void **state)
{
	(void)state;
	assert_broken(0, 32);	  /* would never move on */
	assert_broken(7, 32);	  /* shorter than its own header */
	assert_broken(12, 32);	  /* not a multiple of 8 */
	assert_broken(40, 32);	  /* ends behind the head */
	assert_broken(65528, 32); /* far behind it */
}

/* The kernel moves its head by multiples of 8. */
static void test_head_between_records(void **state)
{
	struct ringmaker m;
	struct ring r;

	(void)state;
	begin(&m, &r, 96);
	ringmaker_sample(&m, 0, 5, 1, 1, 1);
	ringmaker_put(&m, "abcd", 4);
	assert_round(&r, 0, 0);
	assert_int_equal(r.malformed, 1);
	assert_int_equal(m.page->data_tail, m.page->data_head);
	ringmaker_deinit(&m);
}

static void test_head_out_of_reach(void **state)
{
	struct ringmaker m;
	struct ring r;

	(void)state;
	begin(&m, &r, 0);
	m.page->data_head = SIZE + 8;
	assert_int_equal(ring_begin(&r), 0);
	assert_null(ring_next(&r, &scratch));
	ring_end(&r);
	assert_int_equal(m.page->data_tail, SIZE + 8);
	assert_int_equal(r.malformed, 1);
	ringmaker_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wraps_at_every_offset),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_rounds),
		cmocka_unit_test(test_put_back),
		cmocka_unit_test(test_malformed_sizes),
		cmocka_unit_test(test_head_between_records),
		cmocka_unit_test(test_head_out_of_reach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
