/* Where is the kernel? By its trampoline, by VMCOREINFO, by kallsyms' token table; and not where
 * somebody only wants it to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/memory/findkernel.h"
#include "symsrc/memory/paging.h"
#include "tests/unit/lib/fakeram.h"

#define SIZE	   (32u << 20)
#define TEXT	   0xffffffffa9400000ULL
#define TEXT_PA	   0x800000u
#define IMAGE_SIZE 0x600000u
#define TRAMPOLINE 0x9c000u
#define TOP_PGT	   (TEXT_PA + 0x500000) /* init_top_pgt in the image */
#define HUGE	   0x200000u

static struct fakeram f;
static struct kernel_candidate list[KERNEL_CANDIDATES_MAX];
static struct ram_sights sights;

static int setup(void **state)
{
	(void)state;
	fakeram_init(&f, SIZE);
	memset(list, 0, sizeof(list));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fakeram_deinit(&f);
	return 0;
}

static void map_image(uint64_t root, unsigned levels, uint64_t va, uint64_t pa)
{
	for (uint64_t i = 0; i < IMAGE_SIZE; i += HUGE)
		fakeram_map(&f, root, levels, va + i, pa + i, 21);
}

/* As setup_real_mode(): the kernel's top entry, and the first MiB where it is. */
static void make_trampoline(uint64_t page, uint64_t top_pgt, unsigned levels)
{
	fakeram_put_u64(&f, page + 8 * 511, fakeram_get_u64(&f, top_pgt + 8 * 511));
	fakeram_map(&f, page, levels, 0, 0, 21);
}

static void make_kernel(unsigned levels)
{
	map_image(TOP_PGT, levels, TEXT, TEXT_PA);
	make_trampoline(TRAMPOLINE, TOP_PGT, levels);
}

static int by_trampoline(void)
{
	return find_by_trampoline(&f.ram, list, KERNEL_CANDIDATES_MAX);
}

static void assert_image(const struct kernel_candidate *c, uint64_t root, unsigned levels)
{
	assert_int_equal(c->image.va, TEXT);
	assert_int_equal(c->image.pa, TEXT_PA);
	assert_int_equal(c->image.size, IMAGE_SIZE);
	assert_int_equal(c->image.root, root);
	assert_int_equal(c->image.levels, levels);
}

/* ---- the trampoline ------------------------------------------------------------------------- */

static void test_trampoline(void **state)
{
	(void)state;
	make_kernel(4);
	assert_int_equal(by_trampoline(), 1);
	assert_int_equal(list[0].way, KERNEL_BY_TRAMPOLINE);
	assert_int_equal(list[0].trampoline, TRAMPOLINE);
	assert_true(list[0].maps_itself);
	assert_image(&list[0], TRAMPOLINE, 4);
	/* Cheap: a read for each page of low memory, and a few tables. */
	assert_true(f.reads < 200);
	/* And less where most of it was never used. */
	f.hole_to = TRAMPOLINE;
	f.reads = 0;
	assert_int_equal(by_trampoline(), 1);
	assert_true(f.reads < 40);
}

static void test_trampoline_with_5_levels(void **state)
{
	(void)state;
	make_kernel(5);
	assert_int_equal(by_trampoline(), 1);
	assert_image(&list[0], TRAMPOLINE, 5);
}

/* A process's table has the same entry: it is the same kernel, and the trampoline is what stays. */
static void test_processes_in_low_memory(void **state)
{
	uint64_t entry;

	(void)state;
	make_kernel(4);
	entry = fakeram_get_u64(&f, TRAMPOLINE + 8 * 511);
	fakeram_put_u64(&f, 0x5000 + 8 * 511, entry);
	fakeram_put_u64(&f, 0x9d000 + 8 * 511, entry);
	assert_int_equal(by_trampoline(), 1);
	assert_int_equal(list[0].trampoline, TRAMPOLINE);
	/* Without a trampoline it does as well. */
	fakeram_put_u64(&f, TRAMPOLINE + 8 * 511, 0);
	assert_int_equal(by_trampoline(), 1);
	assert_int_equal(list[0].trampoline, 0x5000);
	assert_false(list[0].maps_itself);
	assert_image(&list[0], 0x5000, 4);
}

/* Page table isolation: the other half of a process's tables has little of the kernel. The dead
 * kernel's trampoline lies there, too. */
static void test_best_comes_first(void **state)
{
	uint64_t dead = fakeram_table(&f);

	(void)state;
	fakeram_map(&f, 0x3000, 4, TEXT, TEXT_PA, 21);
	map_image(TOP_PGT, 4, TEXT, TEXT_PA);
	fakeram_put_u64(&f, 0x5000 + 8 * 511, fakeram_get_u64(&f, TOP_PGT + 8 * 511));
	assert_int_equal(by_trampoline(), 1);
	assert_image(&list[0], 0x5000, 4);
	map_image(dead, 4, TEXT + 0x4000000, 0x200000);
	fakeram_map(&f, dead, 4, TEXT + 0x4000000 + IMAGE_SIZE, 0x200000 + IMAGE_SIZE, 21);
	fakeram_put_u64(&f, 0x4000 + 8 * 511, fakeram_get_u64(&f, dead + 8 * 511));
	make_kernel(4);
	assert_int_equal(by_trampoline(), 2);
	assert_image(&list[0], TRAMPOLINE, 4);
	assert_int_equal(list[1].image.va, TEXT + 0x4000000);
	assert_int_equal(find_by_trampoline(&f.ram, list, 1), 1);
	assert_image(&list[0], TRAMPOLINE, 4);
	assert_int_equal(find_by_trampoline(&f.ram, list, 0), 0);
}

static void test_what_is_no_trampoline(void **state)
{
	static const uint64_t entries[] = {
		0,
		TOP_PGT,	       /* not present */
		TOP_PGT | 1,	       /* not writable */
		TOP_PGT | 0x83,	       /* a large page */
		0x0010000000800003ULL, /* bits that nobody sets */
		0x0000700000000003ULL, /* no RAM */
		0x20000 | 3,	       /* low memory */
		(SIZE - 0x1000) | 3,   /* an empty table */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		fakeram_put_u64(&f, TRAMPOLINE + 8 * 511, entries[i]);
		assert_int_equal(by_trampoline(), 0);
	}
	make_kernel(4);
	f.bytes[TRAMPOLINE + 8 * 511 + 7] |= 0x80; /* no-execute: no table of the kernel */
	assert_int_equal(by_trampoline(), 0);
}

static void test_out_of_reach(void **state)
{
	(void)state;
	make_kernel(4);
	f.bad_from = TRAMPOLINE;
	f.bad_to = TRAMPOLINE + 0x1000;
	f.bad_error = -EBUSY;
	assert_int_equal(by_trampoline(), 0);
	f.bad_error = -ESRCH;
	assert_int_equal(by_trampoline(), -ESRCH);
	f.bad_error = 0;
	f.ram.budget = 20 * RAM_READ_COST;
	assert_int_equal(by_trampoline(), -EOVERFLOW);
}

/* All of low memory leads to tables that lead everywhere: it ends, and after what a scan of a
 * small guest costs. */
static void test_forged_low_memory(void **state)
{
	uint64_t table = 0x400000, small = 0x401000;

	(void)state;
	for (uint64_t i = 0; i < 512; i++) {
		fakeram_put_u64(&f, table + 8 * i, table | 3);
		fakeram_put_u64(&f, small + 8 * i, (TEXT_PA + i * RAM_PAGE) | 3);
	}
	for (uint64_t gpa = 0x1000; gpa < 0xa0000; gpa += 8)
		fakeram_put_u64(&f, gpa, table | 3);
	assert_true(by_trampoline() >= 0);
	assert_true(RAM_BUDGET - f.ram.budget < 300u << 20);
}

/* ---- VMCOREINFO ----------------------------------------------------------------------------- */

static size_t info_text(char *text, size_t size, uint64_t stext, uint64_t pa, const char *more)
{
	return (size_t)snprintf(text, size,
				"OSRELEASE=6.1.0\nSYMBOL(_stext)=%llx\nSYMBOL(init_top_pgt)=%llx\n"
				"NUMBER(phys_base)=%lld\n%s",
				(unsigned long long)stext,
				(unsigned long long)(stext + TOP_PGT - TEXT_PA),
				(long long)(pa - (stext - IMAGE_VA_START)), more);
}

static void put_info(uint64_t gpa, uint64_t stext, uint64_t pa, const char *more)
{
	char text[512];

	fakeram_put(&f, gpa, text, info_text(text, sizeof(text), stext, pa, more));
}

static void put_note(uint64_t gpa, uint64_t stext, uint64_t pa)
{
	const uint32_t head[3] = {11, 300, 0};

	fakeram_put(&f, gpa, head, sizeof(head));
	fakeram_put(&f, gpa + 12, "VMCOREINFO", 11);
	put_info(gpa + 24, stext, pa, "");
}

static int by_scan(void)
{
	return find_by_scan(&f.ram, UINT64_MAX, list, KERNEL_CANDIDATES_MAX, &sights);
}

/* Twice, as in real ones. */
static void test_vmcoreinfo(void **state)
{
	(void)state;
	map_image(TOP_PGT, 4, TEXT, TEXT_PA);
	put_info(0x201000, TEXT, TEXT_PA, "");
	put_note(0x207000, TEXT, TEXT_PA);
	assert_int_equal(by_scan(), 1);
	assert_int_equal(list[0].way, KERNEL_BY_VMCOREINFO);
	assert_true(list[0].has_info);
	assert_string_equal(list[0].info.release, "6.1.0");
	assert_image(&list[0], TOP_PGT, 4);
}

static void test_vmcoreinfo_in_a_note(void **state)
{
	(void)state;
	map_image(TOP_PGT, 4, TEXT, TEXT_PA);
	put_note(0x207000, TEXT, TEXT_PA);
	assert_int_equal(by_scan(), 1);
	assert_image(&list[0], TOP_PGT, 4);
}

static void test_vmcoreinfo_with_5_levels(void **state)
{
	(void)state;
	map_image(TOP_PGT, 5, TEXT, TEXT_PA);
	put_note(0x207000, TEXT, TEXT_PA);
	assert_int_equal(by_scan(), 0);
	put_info(0x208000, TEXT, TEXT_PA, "NUMBER(pgtable_l5_enabled)=1\n");
	assert_int_equal(by_scan(), 1);
	assert_image(&list[0], TOP_PGT, 5);
}

/* A dead kernel's, the one of a guest in this guest, one in a file, one with another's tables. */
static void test_vmcoreinfo_of_others(void **state)
{
	(void)state;
	map_image(TOP_PGT, 4, TEXT, TEXT_PA);
	put_info(0x201000, TEXT + 0x2000000, 0x1400000, "");
	put_info(0x202000, TEXT + 0x2000000, TEXT_PA, "");
	put_info(0x203000, TEXT, 0x7000000000ULL, "");
	put_info(0x206000, TEXT + 0x200000, TEXT_PA, "");
	put_info(0x204123, TEXT, TEXT_PA, "");
	put_info(0x205000, 0xffff800010000000ULL, TEXT_PA, "");
	assert_int_equal(by_scan(), 0);
	assert_int_equal(sights.seen, 0);
}

static void test_vmcoreinfo_of_a_32bit_kernel(void **state)
{
	struct errmsg why;

	(void)state;
	fakeram_put(&f, 0x201000, "OSRELEASE=6.1.0-686\nSYMBOL(_stext)=c1000000\n", 44);
	assert_int_equal(by_scan(), 0);
	assert_int_equal(explain_sights(&sights, &why), -ENOTSUP);
	assert_non_null(strstr(why.text, "32-bit"));
	assert_non_null(strstr(why.text, "6.1.0-686"));
}

/* ---- the token table ------------------------------------------------------------------------ */

/* 256 tokens with their digits where they belong, and the index. Returns where the digits are. */
static uint64_t put_tokens(uint64_t gpa, unsigned align)
{
	char text[2048];
	uint16_t index[256];
	size_t n = 0;

	for (unsigned i = 0; i < 256; i++) {
		index[i] = (uint16_t)n;
		if (i >= '0' && i <= '9')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%c", (char)i) + 1;
		else if (i == 'q') /* no name has it */
			text[n++] = '\0';
		else
			n += (size_t)snprintf(text + n, sizeof(text) - n, "t%u", i) + 1;
	}
	fakeram_put(&f, gpa, text, n);
	fakeram_put(&f, (gpa + n + align - 1) / align * align, index, sizeof(index));
	return gpa + index['0'];
}

/* At each place that a row of digits can have towards what a scan looks at. */
static void test_tokens(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 32; i++) {
		uint64_t gpa = 0x300ff0 + i;

		memset(f.bytes, 0, f.size);
		put_tokens(gpa, i % 2 ? 4 : 8);
		assert_int_equal(by_scan(), 1);
		assert_int_equal(list[0].way, KERNEL_BY_SIGNATURE);
		assert_int_equal(list[0].token_table, gpa);
		assert_int_equal(list[0].image.va, 0);
		assert_true(list[0].image.pa <= gpa);
		assert_true(list[0].image.pa + list[0].image.size > gpa + 2048);
	}
}

/* Across the edges of pages and of what is read at once. */
static void test_tokens_across_edges(void **state)
{
	uint64_t edge = 4u << 20, digits = put_tokens(edge, 8) - edge;

	(void)state;
	for (unsigned i = 0; i <= 20; i++) {
		memset(f.bytes, 0, f.size);
		assert_int_equal(put_tokens(edge - digits - i, 8), edge - i);
		assert_int_equal(by_scan(), 1);
		assert_int_equal(list[0].token_table, edge - digits - i);
	}
}

static void test_tokens_that_are_none(void **state)
{
	uint64_t gpa = 0x300000, digits;

	(void)state;
	digits = put_tokens(gpa, 8);
	fakeram_put(&f, digits + 19, "x", 1); /* not the ten digits */
	assert_int_equal(by_scan(), 0);
	memset(f.bytes, 0, f.size);
	put_tokens(gpa, 8);
	fakeram_put(&f, digits + 30, "", 1); /* a string more: the index does not agree */
	assert_int_equal(by_scan(), 0);
	memset(f.bytes, 0, f.size);
	fakeram_put(&f, f.size - 20, "0\0001\0002\0003\0004\0005\0006\0007\0008\0009", 20);
	assert_int_equal(by_scan(), 0);
}

/* Nothing but digits: each costs a look, but not for ever. */
static void test_forged_digits(void **state)
{
	(void)state;
	for (uint64_t gpa = 0; gpa + 20 <= f.size; gpa += 20)
		fakeram_put(&f, gpa, "0\0001\0002\0003\0004\0005\0006\0007\0008\0009", 20);
	assert_int_equal(by_scan(), 0);
	assert_true(RAM_BUDGET - f.ram.budget < 256u << 20);
}

static void test_more_than_fit(void **state)
{
	(void)state;
	map_image(TOP_PGT, 4, TEXT, TEXT_PA);
	put_info(0x201000, TEXT, TEXT_PA, "");
	for (uint64_t i = 0; i < KERNEL_CANDIDATES_MAX + 5; i++)
		put_tokens(0x1000000 + i * 0x1000, 8);
	assert_int_equal(by_scan(), KERNEL_CANDIDATES_MAX);
	assert_int_equal(list[0].way, KERNEL_BY_VMCOREINFO);
	assert_int_equal(list[1].token_table, 0x1000000);
	assert_int_equal(find_by_scan(&f.ram, UINT64_MAX, list, 1, &sights), 1);
	assert_int_equal(list[0].way, KERNEL_BY_VMCOREINFO);
}

/* As many VMCOREINFOs as there are pages, each with page tables that are long to read. */
static void test_forged_vmcoreinfos(void **state)
{
	uint64_t table = 0x1000000;

	(void)state;
	for (uint64_t i = 0; i < 512; i++)
		fakeram_put_u64(&f, table + 8 * i, table | 3);
	for (uint64_t gpa = 0x100000; gpa < 0x1000000; gpa += RAM_PAGE) {
		uint64_t stext = IMAGE_VA_START + gpa;

		put_info(gpa, stext, table - (TOP_PGT - TEXT_PA), "");
	}
	assert_int_equal(by_scan(), 0);
	assert_true(RAM_BUDGET - f.ram.budget < 400u << 20);
}

static void test_scan_fails(void **state)
{
	(void)state;
	f.bad_to = f.size;
	f.bad_error = -ESRCH;
	assert_int_equal(by_scan(), -ESRCH);
	f.bad_error = 0;
	f.ram.budget = 20 * RAM_READ_COST;
	assert_int_equal(by_scan(), -EOVERFLOW);
}

/* Half of what may be read in all is left for what comes of it. */
static void test_scan_leaves_budget(void **state)
{
	(void)state;
	map_image(TOP_PGT, 4, TEXT, TEXT_PA);
	put_info(0x201000, TEXT, TEXT_PA, "");
	f.ram.budget = SIZE;
	assert_int_equal(by_scan(), 1);
	assert_true(f.ram.budget > SIZE / 3);
}

static void test_scan_stops(void **state)
{
	(void)state;
	put_tokens(0x1000000, 8);
	assert_int_equal(find_by_scan(&f.ram, 0x1000000, list, KERNEL_CANDIDATES_MAX, &sights), 0);
	assert_int_equal(find_by_scan(&f.ram, 0x1001000, list, KERNEL_CANDIDATES_MAX, &sights), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_trampoline),
		TEST(test_trampoline_with_5_levels),
		TEST(test_processes_in_low_memory),
		TEST(test_best_comes_first),
		TEST(test_what_is_no_trampoline),
		TEST(test_out_of_reach),
		TEST(test_forged_low_memory),
		TEST(test_vmcoreinfo),
		TEST(test_vmcoreinfo_in_a_note),
		TEST(test_vmcoreinfo_with_5_levels),
		TEST(test_vmcoreinfo_of_others),
		TEST(test_vmcoreinfo_of_a_32bit_kernel),
		TEST(test_tokens),
		TEST(test_tokens_across_edges),
		TEST(test_tokens_that_are_none),
		TEST(test_forged_digits),
		TEST(test_more_than_fit),
		TEST(test_forged_vmcoreinfos),
		TEST(test_scan_fails),
		TEST(test_scan_stops),
		TEST(test_scan_leaves_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
