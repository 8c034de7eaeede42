/* One record's bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/record.h"

static struct record decode(const void *bytes)
{
	struct record r = {0};

	assert_int_equal(record_decode(bytes, &r), 0);
	return r;
}

static struct record sample_with(uint16_t misc)
{
	uint64_t raw[4] = {0, 0xffffffff81000123, 77ULL << 32 | 55, 123456789};
	struct perf_event_header h = {PERF_RECORD_SAMPLE, misc, sizeof(raw)};

	memcpy(raw, &h, sizeof(h));
	return decode(raw);
}

static void test_sample(void **state)
{
	struct record r = sample_with(PERF_RECORD_MISC_GUEST_KERNEL);

	(void)state;
	assert_int_equal(r.kind, RECORD_SAMPLE);
	assert_int_equal(r.sample.ip, 0xffffffff81000123);
	assert_int_equal(r.sample.pid, 55);
	assert_int_equal(r.sample.tid, 77);
	assert_int_equal(r.sample.time, 123456789);
	assert_true(address_is_upper(r.sample.ip));
	assert_false(address_is_upper(0x7fffffffffff));
}

/* Of the misc bits only the mode counts: the others (exact IP, proc map timeout) come and go. */
static void test_modes(void **state)
{
	static const enum sample_mode modes[8] = {
		SAMPLE_OTHER,	     SAMPLE_HOST_KERNEL, SAMPLE_HOST_USER, SAMPLE_OTHER,
		SAMPLE_GUEST_KERNEL, SAMPLE_GUEST_USER,	 SAMPLE_OTHER,	   SAMPLE_OTHER};

	(void)state;
	for (uint16_t i = 0; i < 8; i++) {
		assert_int_equal(sample_with(i).sample.mode, modes[i]);
		assert_int_equal(sample_with((uint16_t)(i | 0xf000)).sample.mode, modes[i]);
	}
}

static void test_lost_and_throttled(void **state)
{
	uint64_t lost[3] = {0, 9, 1000};
	uint64_t dropped[2] = {0, 5};
	uint64_t throttle[4] = {0};
	struct perf_event_header h = {PERF_RECORD_LOST, 0, sizeof(lost)};

	(void)state;
	memcpy(lost, &h, sizeof(h));
	assert_int_equal(decode(lost).kind, RECORD_LOST);
	assert_int_equal(decode(lost).lost, 1000);
	h = (struct perf_event_header){PERF_RECORD_LOST_SAMPLES, 0, sizeof(dropped)};
	memcpy(dropped, &h, sizeof(h));
	assert_int_equal(decode(dropped).kind, RECORD_DROPPED);
	assert_int_equal(decode(dropped).lost, 5);
	h = (struct perf_event_header){PERF_RECORD_THROTTLE, 0, sizeof(throttle)};
	memcpy(throttle, &h, sizeof(h));
	assert_int_equal(decode(throttle).kind, RECORD_THROTTLE);
	h.type = PERF_RECORD_COMM;
	memcpy(throttle, &h, sizeof(h));
	assert_int_equal(decode(throttle).kind, RECORD_OTHER);
}

/* Exactly as many bytes as the size says, on the heap: a byte read behind them is seen. */
static void assert_too_short(uint32_t type, uint16_t size)
{
	struct perf_event_header h = {type, 0, size};
	struct perf_event_header *bytes = calloc(1, size);
	struct record r = {.lost = 7};

	assert_non_null(bytes);
	memcpy(bytes, &h, sizeof(h));
	assert_int_equal(record_decode(bytes, &r), -EBADMSG);
	assert_int_equal(r.lost, 7);
	free(bytes);
}

static void test_too_short(void **state)
{
	(void)state;
	for (uint16_t size = 8; size < 32; size = (uint16_t)(size + 8))
		assert_too_short(PERF_RECORD_SAMPLE, size);
	assert_too_short(PERF_RECORD_LOST, 16);
	assert_too_short(PERF_RECORD_LOST_SAMPLES, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_lost_and_throttled),
		cmocka_unit_test(test_too_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
