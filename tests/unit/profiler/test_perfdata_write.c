/* perf.data in pipe format, read back by what its documentation says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/utsname.h>
#include <cmocka.h>

#include "profiler/perfdata/write.h"
#include "symsrc/base/cleanup.h"
#include "tests/unit/lib/pipewalk.h"

#define HEADER_ATTR    64
#define BUILD_ID       67
#define FINISHED_ROUND 68
#define EVENT_UPDATE   78
#define HEADER_FEATURE 80

/* What each record of the kernel's types ends with. */
#define SAMPLE_ID_TIME (-24)
#define SAMPLE_ID_ID   (-8)

static struct pipewalk walk(const struct buf *b)
{
	assert_int_equal(b->err, 0);
	return pipewalk_records(b->data, b->len);
}

static void test_an_event(void **state)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .freq = 1, .sample_freq = 997};
	const struct perf_event_header *h;
	CLEANUP_BUF struct buf b;
	struct pipewalk w;

	(void)state;
	buf_init(&b, 4096);
	perfdata_write_begin(&b);
	perfdata_write_event(&b, &attr, 7, "cpu-clock");
	w = pipewalk_begin(b.data, b.len);
	h = pipewalk_next(&w);
	assert_int_equal(h->type, HEADER_ATTR);
	assert_int_equal(h->size, 8 + sizeof(attr) + 8);
	memcpy(&attr, h + 1, sizeof(attr));
	assert_int_equal(attr.size, sizeof(attr));
	assert_int_equal(attr.sample_type, PERFDATA_SAMPLE_TYPE);
	assert_true(attr.sample_id_all);
	assert_int_equal(attr.sample_freq, 997);
	assert_int_equal(pipewalk_u64(h, -8), 7);
	h = pipewalk_next(&w);
	assert_int_equal(h->type, EVENT_UPDATE);
	assert_int_equal(pipewalk_u64(h, 8), 2);
	assert_int_equal(pipewalk_u64(h, 16), 7);
	assert_string_equal(pipewalk_text(h, 24), "cpu-clock");
	assert_null(pipewalk_next(&w));
}

/* perf_event_open(2), "PERF_RECORD_SAMPLE": the parts are in the order of the list there. */
static void test_a_sample(void **state)
{
	const struct perfdata_sample s = {.id = 7,
					  .ip = 0xffffffff81234567,
					  .time = 1234567890123,
					  .period = 1003009,
					  .pid = 4242,
					  .tid = 4243,
					  .cpu = 3,
					  .misc = PERF_RECORD_MISC_GUEST_KERNEL};
	uint64_t bytes[PERFDATA_SAMPLE_SIZE / 8];
	const struct perf_event_header *h = (const void *)bytes;

	(void)state;
	perfdata_put_sample(&s, (uint8_t *)bytes);
	assert_int_equal(h->type, PERF_RECORD_SAMPLE);
	assert_int_equal(h->misc, PERF_RECORD_MISC_GUEST_KERNEL);
	assert_int_equal(h->size, PERFDATA_SAMPLE_SIZE);
	assert_int_equal(pipewalk_u64(h, 8), 7);
	assert_int_equal(pipewalk_u64(h, 16), 0xffffffff81234567);
	assert_int_equal(pipewalk_u32(h, 24), 4242);
	assert_int_equal(pipewalk_u32(h, 28), 4243);
	assert_int_equal(pipewalk_u64(h, 32), 1234567890123);
	assert_int_equal(pipewalk_u64(h, 40), 3);
	assert_int_equal(pipewalk_u64(h, 48), 1003009);
}

static void test_who_and_where(void **state)
{
	const struct perfdata_task task = {.pid = 4242, .tid = 4243, .time = 99};
	const struct perfdata_mmap map = {.misc = PERF_RECORD_MISC_GUEST_KERNEL,
					  .pid = 4242,
					  .time = 98,
					  .start = 0xffffffff81000000,
					  .size = 0x1000,
					  .reference = 0xffffffff81000000,
					  .name = "[guest.kernel.kallsyms.4242]_text"};
	const struct perf_event_header *h;
	CLEANUP_BUF struct buf b;
	struct pipewalk w;

	(void)state;
	buf_init(&b, 4096);
	perfdata_write_comm(&b, &task, PERF_RECORD_MISC_GUEST_USER, "web");
	perfdata_write_mmap(&b, &map);
	w = walk(&b);
	h = pipewalk_next(&w);
	assert_int_equal(h->type, PERF_RECORD_COMM);
	assert_int_equal(h->misc, PERF_RECORD_MISC_GUEST_USER);
	assert_int_equal(pipewalk_u32(h, 8), 4242);
	assert_int_equal(pipewalk_u32(h, 12), 4243);
	assert_string_equal(pipewalk_text(h, 16), "web");
	assert_int_equal(pipewalk_u64(h, SAMPLE_ID_TIME), 99);
	h = pipewalk_next(&w);
	assert_int_equal(h->type, PERF_RECORD_MMAP);
	assert_int_equal(pipewalk_u32(h, 8), 4242);
	assert_int_equal(pipewalk_u64(h, 16), 0xffffffff81000000);
	assert_int_equal(pipewalk_u64(h, 24), 0x1000);
	assert_int_equal(pipewalk_u64(h, 32), 0xffffffff81000000);
	assert_string_equal(pipewalk_text(h, 40), map.name);
	assert_int_equal(pipewalk_u64(h, SAMPLE_ID_TIME), 98);
	assert_null(pipewalk_next(&w));
}

static void test_build_ids(void **state)
{
	const uint8_t id[20] = {1, 2, 3, [19] = 20};
	const struct perf_event_header *h;
	CLEANUP_BUF struct buf b;
	struct pipewalk w;

	(void)state;
	buf_init(&b, 4096);
	perfdata_write_guest_build_id(&b, 4242, id, sizeof(id), "[ext4]");
	perfdata_write_guest_build_id(&b, 4242, id, 16, "[jbd2]");
	perfdata_write_guest_build_id(&b, 4242, NULL, 0, "[guest.kernel.kallsyms.4242]");
	w = walk(&b);
	h = pipewalk_next(&w);
	assert_int_equal(h->type, BUILD_ID);
	assert_int_equal(h->misc, PERF_RECORD_MISC_GUEST_KERNEL | 1 << 15);
	assert_int_equal(pipewalk_u32(h, 8), 4242);
	assert_memory_equal((const uint8_t *)h + 12, id, sizeof(id));
	assert_int_equal(((const uint8_t *)h)[32], 20);
	assert_string_equal(pipewalk_text(h, 36), "[ext4]");
	h = pipewalk_next(&w);
	assert_int_equal(((const uint8_t *)h)[32], 16);
	assert_int_equal(((const uint8_t *)h)[31], 0);
	h = pipewalk_next(&w);
	assert_int_equal(((const uint8_t *)h)[32], 0);
	assert_null(pipewalk_next(&w));
}

static void test_what_was_lost(void **state)
{
	const struct perf_event_header *h;
	CLEANUP_BUF struct buf b;
	struct pipewalk w;

	(void)state;
	buf_init(&b, 4096);
	perfdata_write_lost(&b, 7, 55, 1000);
	perfdata_write_lost_samples(&b, 8, 56, 2000);
	perfdata_write_round(&b);
	w = walk(&b);
	h = pipewalk_next(&w);
	assert_int_equal(h->type, PERF_RECORD_LOST);
	assert_int_equal(pipewalk_u64(h, 8), 7);
	assert_int_equal(pipewalk_u64(h, 16), 1000);
	assert_int_equal(pipewalk_u64(h, SAMPLE_ID_TIME), 55);
	assert_int_equal(pipewalk_u64(h, SAMPLE_ID_ID), 7);
	h = pipewalk_next(&w);
	assert_int_equal(h->type, PERF_RECORD_LOST_SAMPLES);
	assert_int_equal(pipewalk_u64(h, 8), 2000);
	assert_int_equal(pipewalk_u64(h, SAMPLE_ID_ID), 8);
	h = pipewalk_next(&w);
	assert_int_equal(h->type, FINISHED_ROUND);
	assert_int_equal(h->size, 8);
}

static void test_the_host(void **state)
{
	const struct perf_event_header *h;
	struct utsname host;
	CLEANUP_BUF struct buf b;
	bool has_arch = false;
	struct pipewalk w;

	(void)state;
	uname(&host);
	buf_init(&b, 4096);
	perfdata_write_host(&b, "kvmprofs 1", CLOCK_MONOTONIC);
	w = walk(&b);
	while ((h = pipewalk_find(&w, HEADER_FEATURE))) {
		if (pipewalk_u64(h, 8) != 6) /* HEADER_ARCH */
			continue;
		assert_int_equal(pipewalk_u32(h, 16) % 64, 0);
		assert_string_equal(pipewalk_text(h, 20), host.machine);
		has_arch = true;
	}
	assert_true(has_arch);
}

/* A name of any length, and a buffer of any size: what is there is whole records. */
static void test_all_is_bounded(void **state)
{
	const struct perfdata_task task = {.pid = 1, .tid = 1};
	char name[1000];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (size_t max = 0; max < 700; max++) {
		CLEANUP_BUF struct buf b;
		struct pipewalk w;
		size_t n = 0;

		buf_init(&b, max);
		perfdata_write_comm(&b, &task, PERF_RECORD_MISC_USER, name);
		perfdata_write_comm(&b, &task, PERF_RECORD_MISC_USER, name);
		w = pipewalk_records(b.data, b.len);
		while (pipewalk_next(&w))
			n++;
		assert_int_equal(n, max / (16 + PERFDATA_NAME_MAX + 32) > 2
					    ? 2
					    : max / (16 + PERFDATA_NAME_MAX + 32));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_event),       cmocka_unit_test(test_a_sample),
		cmocka_unit_test(test_who_and_where),  cmocka_unit_test(test_build_ids),
		cmocka_unit_test(test_what_was_lost),  cmocka_unit_test(test_the_host),
		cmocka_unit_test(test_all_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
