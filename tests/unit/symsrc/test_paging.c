/* Page tables of x86-64, as kernels make them and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/memory/image.h"
#include "symsrc/memory/paging.h"
#include "tests/unit/lib/fakeram.h"

#define SIZE   (16u << 20)
#define MODULE 0xffffffffc0201000ULL
#define TEXT   0xffffffff81000000ULL
#define FAR5   0xff11000000000000ULL /* canonical with 5 levels only */

static struct fakeram f;
static struct paging p;
static uint64_t root;

static int setup(void **state)
{
	(void)state;
	fakeram_init(&f, SIZE);
	root = fakeram_table(&f);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fakeram_deinit(&f);
	return 0;
}

static void map(unsigned levels, uint64_t va, uint64_t pa, unsigned shift)
{
	fakeram_map(&f, root, levels, va, pa, shift);
	paging_init(&p, &f.ram, root, levels);
}

static void assert_at(uint64_t va, uint64_t pa, uint64_t left)
{
	uint64_t got_pa = 1, got_left = 1;

	assert_int_equal(paging_translate(&p, va, &got_pa, &got_left), 0);
	assert_int_equal(got_pa, pa);
	assert_int_equal(got_left, left);
}

static void assert_fails(uint64_t va, int error)
{
	uint64_t pa = 1, left = 1, v = 1;

	assert_int_equal(paging_translate(&p, va, &pa, &left), error);
	assert_int_equal(paging_read_u64(&p, va, &v), error);
	assert_true(pa == 1 && left == 1 && v == 1);
}

static void test_page_sizes(void **state)
{
	(void)state;
	for (unsigned levels = 4; levels <= 5; levels++) {
		root = fakeram_table(&f);
		map(levels, MODULE, 0x5000, 12);
		map(levels, TEXT, 0x200000, 21);
		map(levels, 0xffff888000000000ULL, 0, 30);
		assert_at(MODULE + 0x123, 0x5123, RAM_PAGE - 0x123);
		assert_at(TEXT + 0x12345, 0x212345, 0x200000 - 0x12345);
		assert_at(0xffff888000000000ULL + 0x345678, 0x345678, 0x40000000 - 0x345678);
		assert_fails(MODULE + RAM_PAGE, -EFAULT);
		assert_fails(TEXT - 1, -EFAULT);
	}
}

static void test_canonical(void **state)
{
	(void)state;
	map(5, FAR5, 0x5000, 12);
	assert_at(FAR5, 0x5000, RAM_PAGE);
	assert_fails(FAR5 & 0x00ffffffffffffffULL, -EFAULT);
	map(4, MODULE, 0x5000, 12);
	assert_fails(MODULE & 0x0000ffffffffffffULL, -EFAULT);
	assert_fails(MODULE & 0x7fffffffffffffffULL, -EFAULT);
}

/* Of a kernel that was found without its page table. */
static void test_no_table(void **state)
{
	(void)state;
	fakeram_put_u64(&f, 8 * 511, PAGING_PRESENT);
	paging_init(&p, &f.ram, 0, 0);
	assert_fails(UINT64_MAX - 7, -EFAULT);
}

/* No-execute, protection keys, the global bit, PAT at bit 7 and at bit 12. */
static void test_flags_come_off(void **state)
{
	(void)state;
	map(4, MODULE, 0xfff0000000005000ULL | 0x1e0, 12);
	assert_at(MODULE, 0x5000, RAM_PAGE);
	map(4, TEXT, 0x8000000000201000ULL | 0x100, 21);
	assert_at(TEXT, 0x200000, 0x200000);
}

static void test_reads_across_pages(void **state)
{
	char bytes[3 * RAM_PAGE];

	(void)state;
	map(4, MODULE, 0x5000, 12);
	map(4, MODULE + RAM_PAGE, 0x6000, 12); /* in one piece with the first */
	map(4, MODULE + 2 * RAM_PAGE, 0x3000, 12);
	memset(f.bytes + 0x5000, 'a', RAM_PAGE);
	memset(f.bytes + 0x6000, 'b', RAM_PAGE);
	memset(f.bytes + 0x3000, 'c', RAM_PAGE);
	assert_int_equal(paging_read(&p, MODULE + 1, bytes, sizeof(bytes) - 1), 0);
	assert_int_equal(bytes[RAM_PAGE - 2], 'a');
	assert_int_equal(bytes[RAM_PAGE - 1], 'b');
	assert_int_equal(bytes[2 * RAM_PAGE - 2], 'b');
	assert_int_equal(bytes[2 * RAM_PAGE - 1], 'c');
	assert_int_equal(bytes[3 * RAM_PAGE - 2], 'c');
	assert_int_equal(paging_read(&p, MODULE + 1, bytes, sizeof(bytes)), -EFAULT);
	assert_int_equal(paging_read(&p, UINT64_MAX - 7, bytes, 16), -EFAULT);
	assert_int_equal(paging_read(&p, MODULE, bytes, 0), 0);
}

/* A page costs one read when its neighbour is known, and none when it is known itself; after
 * paging_init() all is looked up again. */
static void test_remembers(void **state)
{
	uint64_t v;
	unsigned before;

	(void)state;
	map(4, MODULE, 0x5000, 12);
	map(4, MODULE + RAM_PAGE, 0x7000, 12);
	fakeram_put_u64(&f, 0x8000, 8);
	assert_int_equal(paging_read_u64(&p, MODULE, &v), 0);
	before = f.reads;
	assert_int_equal(paging_read_u64(&p, MODULE + RAM_PAGE, &v), 0);
	assert_int_equal(f.reads, before + 2);
	assert_int_equal(paging_read_u64(&p, MODULE, &v), 0);
	assert_int_equal(f.reads, before + 3);
	map(4, MODULE, 0x8000, 12);
	assert_int_equal(paging_read_u64(&p, MODULE, &v), 0);
	assert_int_equal(v, 8);
}

/* Offset in a large page, through the memory of single pages. */
static void test_large_pages_are_read(void **state)
{
	uint32_t v;

	(void)state;
	map(4, TEXT, 0x200000, 21);
	fakeram_put_u64(&f, 0x2ffffc, 0x0123456789abcdefULL);
	for (unsigned again = 0; again < 2; again++) {
		assert_int_equal(paging_read_u32(&p, TEXT + 0xffffc, &v), 0);
		assert_int_equal(v, 0x89abcdef);
		assert_int_equal(paging_read_u32(&p, TEXT + 0x100000, &v), 0);
		assert_int_equal(v, 0x01234567);
	}
}

static void test_strings(void **state)
{
	char s[16];

	(void)state;
	map(4, MODULE, 0x5000, 12);
	map(4, MODULE + RAM_PAGE, 0x3000, 12);
	fakeram_put(&f, 0x5ffa, "across", 6);
	fakeram_put(&f, 0x3000, "_pages", 7);
	assert_int_equal(paging_read_str(&p, MODULE + 0xffa, s, sizeof(s)), 0);
	assert_string_equal(s, "across_pages");
	assert_int_equal(paging_read_str(&p, MODULE + 0xffa, s, 13), 0);
	assert_int_equal(paging_read_str(&p, MODULE + 0xffa, s, 12), -ENAMETOOLONG);
	assert_int_equal(paging_read_str(&p, MODULE, s, 0), -ENAMETOOLONG);
	/* The page behind is not mapped, and need not be. */
	fakeram_put(&f, 0x3ffd, "ab", 3);
	assert_int_equal(paging_read_str(&p, MODULE + 0x1ffd, s, sizeof(s)), 0);
	assert_string_equal(s, "ab");
	f.bytes[0x3fff] = 'c';
	assert_int_equal(paging_read_str(&p, MODULE + 0x1ffd, s, sizeof(s)), -EFAULT);
}

/* A table that is its own entry ends like any other walk; one outside RAM is told. */
static void test_forged(void **state)
{
	uint64_t pa, left;
	unsigned before = f.reads;

	(void)state;
	for (unsigned i = 0; i < 512; i++)
		fakeram_put_u64(&f, root + 8 * i, root | 3);
	paging_init(&p, &f.ram, root, 5);
	assert_int_equal(paging_translate(&p, FAR5 + 0x10, &pa, &left), 0);
	assert_int_equal(pa, root + 0x10);
	assert_int_equal(f.reads, before + 5);
	fakeram_put_u64(&f, root + 8 * 511, 0x000f00000000f000ULL | 3);
	paging_init(&p, &f.ram, root, 4);
	assert_fails(TEXT, -ENXIO);
}

static void test_directory(void **state)
{
	uint64_t pa, v;

	(void)state;
	map(5, TEXT, 0x200000, 21);
	assert_int_equal(paging_find_directory(&p, TEXT, &pa), 0);
	assert_int_equal(ram_read_u64(&f.ram, pa + 8 * (0x1000000 >> 21), &v), 0);
	assert_int_equal(v & PAGING_ADDRESS, 0x200000);
	map(5, 0xffff888000000000ULL, 0, 30);
	assert_int_equal(paging_find_directory(&p, 0xffff888000000000ULL, &pa), -EFAULT);
	assert_int_equal(paging_find_directory(&p, 0x1000, &pa), -EFAULT);
}

/* ---- the image ------------------------------------------------------------------------------ */

/* Large pages in the middle, small ones at an edge, a hole, and something else behind it. */
static void test_image(void **state)
{
	struct kernel_image image;
	uint64_t v;

	(void)state;
	for (unsigned levels = 4; levels <= 5; levels++) {
		root = fakeram_table(&f);
		map(levels, TEXT, 0x400000, 21);
		map(levels, TEXT + 0x200000, 0x600000, 12);
		map(levels, TEXT + 0x203000, 0x603000, 12);
		map(levels, TEXT + 0x204000, 0x1000, 12);
		map(levels, TEXT + 0x600000, 0x800000, 21);
		assert_int_equal(image_find(&f.ram, root, levels, &image), 0);
		assert_int_equal(image.va, TEXT);
		assert_int_equal(image.pa, 0x400000);
		assert_int_equal(image.size, 0x204000);
		assert_int_equal(image.root, root);
		assert_int_equal(image.levels, levels);
	}
	fakeram_put_u64(&f, 0x603ff8, 77);
	assert_int_equal(image_read(&f.ram, &image, TEXT + 0x203ff8, &v, 8), 0);
	assert_int_equal(v, 77);
	assert_int_equal(image_read(&f.ram, &image, TEXT + 0x203ff9, &v, 8), -EFAULT);
	assert_int_equal(image_read(&f.ram, &image, TEXT - 1, &v, 8), -EFAULT);
	assert_int_equal(image_pa(&image, TEXT + 5), 0x400005);
	assert_int_equal(image_pa(&image, TEXT + 0x204000), 0);
	assert_int_equal(image_pa(&image, TEXT - 1), 0);
}

static void test_no_image(void **state)
{
	struct kernel_image image;

	(void)state;
	assert_int_equal(image_find(&f.ram, root, 4, &image), -ENOENT);
	map(4, TEXT, 0x400000, 12);
	assert_int_equal(image_find(&f.ram, root, 4, &image), -ENOENT); /* too small */
	map(4, IMAGE_VA_START + 0x1000, 0x401000, 12);
	map(4, IMAGE_VA_START + 0x200000, 0x600000, 21);
	assert_int_equal(image_find(&f.ram, root, 4, &image), -ENOENT); /* not aligned */
	assert_int_equal(image_find(&f.ram, f.size, 4, &image), -ENXIO);
}

/* All there is leads everywhere: ends after the tables that one gigabyte has, in 512 MiB. */
static void test_image_is_bounded(void **state)
{
	struct kernel_image image;
	uint64_t table = fakeram_table(&f);

	(void)state;
	for (unsigned i = 0; i < 512; i++) {
		fakeram_put_u64(&f, root + 8 * i, table | 3);
		fakeram_put_u64(&f, table + 8 * i, table | 3);
	}
	f.reads = 0;
	assert_int_equal(image_find(&f.ram, root, 4, &image), -ENOENT);
	assert_true(f.reads <= 516);
	root = fakeram_table(&f);
	for (uint64_t va = IMAGE_VA_START; va < IMAGE_VA_END; va += 0x200000)
		map(5, va, va - IMAGE_VA_START, 21);
	assert_int_equal(image_find(&f.ram, root, 5, &image), 0);
	assert_int_equal(image.size, IMAGE_SIZE_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_page_sizes),
		TEST(test_canonical),
		TEST(test_no_table),
		TEST(test_flags_come_off),
		TEST(test_reads_across_pages),
		TEST(test_remembers),
		TEST(test_large_pages_are_read),
		TEST(test_strings),
		TEST(test_forged),
		TEST(test_directory),
		TEST(test_image),
		TEST(test_no_image),
		TEST(test_image_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
