/* Records of several rings, in the order of their times, up to a moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "profiler/ringmerge.h"
#include "tests/unit/lib/ringmaker.h"

#define RINGS 5
#define SIZE  4096
#define TAKEN 2000

static struct ringmaker makers[RINGS];
static struct ring rings[RINGS];
static struct ring *list[RINGS];
static struct ringmerge merge;
static uint64_t taken[TAKEN], lost;
static size_t taken_count;

static int setup(void **state)
{
	(void)state;
	for (int i = 0; i < RINGS; i++) {
		ringmaker_init(&makers[i], SIZE, (uint64_t)i * 1000 * 8);
		ring_init(&rings[i], makers[i].page, makers[i].data, SIZE);
		list[i] = &rings[i];
	}
	taken_count = 0;
	lost = 0;
	return ringmerge_init(&merge, RINGS);
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < RINGS; i++)
		ringmaker_deinit(&makers[i]);
	ringmerge_deinit(&merge);
	return 0;
}

/* Of ringmaker_sample(): IP, pid and tid, time. */
static bool time_of(void *ctx, struct ring *ring, const struct perf_event_header *h, uint64_t *ret)
{
	(void)ctx;
	(void)ring;
	if (h->type != PERF_RECORD_SAMPLE) {
		lost++;
		return false;
	}
	memcpy(ret, (const char *)(h + 1) + 16, sizeof(*ret));
	return true;
}

static void take(void *ctx, const struct perf_event_header *h)
{
	(void)ctx;
	assert_true(taken_count < TAKEN);
	memcpy(&taken[taken_count++], (const char *)(h + 1) + 16, sizeof(uint64_t));
}

static void run(uint64_t until)
{
	static const struct ringmerge_ops ops = {time_of, take};

	ringmerge_run(&merge, list, RINGS, until, &ops, NULL);
}

static void happens(int ring, uint64_t time)
{
	ringmaker_sample(&makers[ring], 0, 1, 2, 3, time);
}

static void assert_taken(size_t count, uint64_t first)
{
	assert_int_equal(taken_count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(taken[i], first + i);
	taken_count = 0;
}

static void test_in_order(void **state)
{
	uint64_t time = 1;
	unsigned seed = 1;

	(void)state;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 90; i++) {
			seed = seed * 1103515245 + 12345;
			happens((int)(seed >> 16) % (round % 2 ? 2 : RINGS), time++);
		}
		run(UINT64_MAX);
		assert_taken(90, time - 90);
	}
	for (int i = 0; i < RINGS; i++)
		assert_int_equal(makers[i].page->data_tail, makers[i].page->data_head);
}

/* What is not before the moment stays, and comes before what is seen later. */
static void test_up_to_a_moment(void **state)
{
	(void)state;
	happens(0, 10);
	happens(0, 13);
	happens(1, 11);
	run(13);
	assert_taken(2, 10);
	assert_true(makers[0].page->data_tail < makers[0].page->data_head);
	happens(2, 12);
	happens(2, 14);
	run(14);
	assert_taken(2, 12);
	run(15);
	assert_taken(1, 14);
	run(UINT64_MAX);
	assert_taken(0, 0);
}

/* Others than samples are seen once each. */
static void test_records_without_a_time(void **state)
{
	(void)state;
	ringmaker_lost(&makers[3], 5);
	happens(3, 10);
	ringmaker_lost(&makers[3], 5);
	happens(4, 11);
	run(11);
	assert_taken(1, 10);
	assert_int_equal(lost, 2);
	run(12);
	assert_taken(1, 11);
	assert_int_equal(lost, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_in_order),
		TEST(test_up_to_a_moment),
		TEST(test_records_without_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
