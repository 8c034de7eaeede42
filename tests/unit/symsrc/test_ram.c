/* Reading a guest's RAM ends: by budget, by deadline, by order, whatever is in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/memory/ram.h"
#include "symsrc/memory/ramscan.h"
#include "tests/unit/lib/fakeram.h"

static struct fakeram f;

static int setup(void **state)
{
	(void)state;
	fakeram_init(&f, 1u << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fakeram_deinit(&f);
	return 0;
}

static void test_reads(void **state)
{
	uint64_t v64 = 1;
	uint32_t v32 = 1;

	(void)state;
	fakeram_put_u64(&f, 0x1234, 0x1122334455667788ULL);
	assert_int_equal(ram_read_u64(&f.ram, 0x1234, &v64), 0);
	assert_int_equal(v64, 0x1122334455667788ULL);
	assert_int_equal(ram_read_u32(&f.ram, 0x1234, &v32), 0);
	assert_int_equal(v32, 0x55667788);
	assert_int_equal(ram_read_u64(&f.ram, f.size - 4, &v64), -ENXIO);
	assert_int_equal(ram_read_u64(&f.ram, UINT64_MAX - 3, &v64), -ENXIO);
	assert_int_equal(v64, 0x1122334455667788ULL);
}

static int read_anything(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	(void)ctx;
	(void)gpa;
	memset(buf, 0, n);
	return 0;
}

static void test_wraps(void **state)
{
	const struct ram_ops ops = {.read = read_anything};
	struct ram ram;
	uint64_t v;

	(void)state;
	ram_init(&ram, &ops, NULL, NULL);
	assert_int_equal(ram_read_u64(&ram, UINT64_MAX - 8, &v), 0);
	assert_int_equal(ram_read_u64(&ram, UINT64_MAX - 3, &v), -ENXIO);
}

static void test_budget(void **state)
{
	uint64_t v;
	char page[RAM_PAGE];

	(void)state;
	f.ram.budget = 3 * RAM_READ_COST;
	assert_int_equal(ram_read_u64(&f.ram, 0, &v), 0);
	assert_int_equal(ram_read_u64(&f.ram, 0, &v), 0);
	assert_int_equal(ram_read(&f.ram, 0, page, sizeof(page)), -EOVERFLOW);
	assert_int_equal(ram_read_u64(&f.ram, 0, &v), 0);
	assert_int_equal(ram_read_u64(&f.ram, 0, &v), -EOVERFLOW);
	assert_int_equal(f.reads, 3);
}

static void test_deadline(void **state)
{
	struct source_limits limits = {.deadline_ns = clock_now_ns() + NSEC_PER_MSEC,
				       .cancel_fd = -1};
	uint64_t v, n = 0;
	int r = 0;

	(void)state;
	f.ram.limits = &limits;
	while (r == 0 && n++ < UINT64_C(1) << 30)
		r = ram_read_u64(&f.ram, 0, &v);
	assert_int_equal(r, -ETIMEDOUT);
}

static void test_cancel(void **state)
{
	int fd = io_wake_create();
	struct source_limits limits = {.deadline_ns = UINT64_MAX, .cancel_fd = fd};
	uint64_t v;
	int r = 0;

	(void)state;
	assert_true(fd >= 0);
	f.ram.limits = &limits;
	assert_int_equal(ram_read_u64(&f.ram, 0, &v), 0);
	io_wake(fd);
	for (unsigned i = 0; r == 0 && i <= RAM_LIMITS_READ; i++)
		r = ram_read_u64(&f.ram, 0, &v);
	assert_int_equal(r, -ECANCELED);
	close(fd);
}

/* ---- from stretch to stretch ---------------------------------------------------------------- */

static struct ram_extent made;

static int made_next(void *ctx, uint64_t gpa, struct ram_extent *ret)
{
	(void)ctx;
	(void)gpa;
	*ret = made;
	return 0;
}

static int next_of(uint64_t gpa, uint64_t made_gpa, uint64_t made_len)
{
	const struct ram_ops ops = {.next = made_next};
	struct ram ram;
	struct ram_extent e = {7, 7};
	int r;

	made = (struct ram_extent){made_gpa, made_len};
	ram_init(&ram, &ops, NULL, NULL);
	r = ram_next(&ram, gpa, &e);
	assert_int_equal(e.gpa, r == 0 ? made_gpa : 7);
	return r;
}

static void test_next_gets_on(void **state)
{
	(void)state;
	assert_int_equal(next_of(0x1000, 0x1000, 0x1000), 0);
	assert_int_equal(next_of(0x1000, 0x5000, 1), 0);
	assert_int_equal(next_of(0x1000, 0x0, 0x9000), -EIO);
	assert_int_equal(next_of(0x1000, 0x1000, 0), -EIO);
	assert_int_equal(next_of(0x1000, 0x2000, UINT64_MAX - 0x1000), -EIO);
}

static void test_layouts(void **state)
{
	(void)state;
	assert_int_equal(ram_use_layout(&f.ram, 0), 0);
	assert_int_equal(ram_use_layout(&f.ram, 1), -ENOENT);
}

/* ---- one pass over all of it ---------------------------------------------------------------- */

struct seen {
	uint64_t bytes, next;
	int stop; /* what the callback returns */
};

static int see(void *ctx, uint64_t gpa, const uint64_t *words, size_t n)
{
	struct seen *s = ctx;

	assert_true(gpa >= s->next && n <= RAMSCAN_CHUNK && n % RAM_PAGE == 0);
	assert_int_equal(words[0], gpa);
	s->next = gpa + n;
	s->bytes += n;
	return s->stop;
}

static void test_scan(void **state)
{
	struct seen s = {0};

	(void)state;
	for (uint64_t gpa = 0; gpa < f.size; gpa += RAM_PAGE)
		fakeram_put_u64(&f, gpa, gpa);
	assert_int_equal(ramscan(&f.ram, UINT64_MAX, see, &s), 0);
	assert_int_equal(s.bytes, f.size);
	/* A hole, one page that is gone when it is read, and less than all. */
	f.hole_from = 0x21000;
	f.hole_to = 0x93000;
	f.bad_from = 0x5000;
	f.bad_to = 0x5001;
	f.bad_error = -EBUSY;
	s = (struct seen){0};
	assert_int_equal(ramscan(&f.ram, UINT64_MAX, see, &s), 0);
	assert_int_equal(s.bytes, f.size - 0x72000 - RAM_PAGE);
	s = (struct seen){0};
	assert_int_equal(ramscan(&f.ram, 0x23456, see, &s), 0);
	assert_int_equal(s.bytes, 0x22000);
}

static void test_scan_ends(void **state)
{
	struct seen s = {.stop = -7};

	(void)state;
	assert_int_equal(ramscan(&f.ram, UINT64_MAX, see, &s), -7);
	f.bad_to = 1;
	f.bad_error = -ESRCH;
	assert_int_equal(ramscan(&f.ram, UINT64_MAX, see, &s), -ESRCH);
}

static void test_explain(void **state)
{
	static const int errors[] = {-ENXIO,  -EBUSY, -EAGAIN, -ESRCH,	-ETIMEDOUT, -ECANCELED,
				     -EFAULT, -EPERM, -EACCES, -ENOMEM, -EOVERFLOW, -EIO};
	struct errmsg why;

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		memset(&why, 0, sizeof(why));
		assert_int_equal(ram_explain(errors[i], &why), errors[i]);
		assert_int_equal(why.code, errors[i]);
		assert_non_null(strstr(why.text, "memory"));
		assert_null(strchr(why.text, '\n'));
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reads),    TEST(test_wraps),	TEST(test_budget),
		TEST(test_deadline), TEST(test_cancel), TEST(test_next_gets_on),
		TEST(test_layouts),  TEST(test_scan),	TEST(test_scan_ends),
		TEST(test_explain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
