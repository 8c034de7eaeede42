/* Counts joined with names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/resolve.h"
#include "tests/unit/lib/gone.h"
#include "tests/unit/lib/textsymbols.h"

#define KERNEL 0xffffffff81000000ULL

static struct symbols *boot(uint64_t base)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "0000000000000000 A fixed_percpu_data\n0000000000001000 A cpu_tss_rw\n"
		 "%llx T _text\n%llx T hot\n%llx t cold\n%llx t twin\n%llx t twin\n%llx T _etext\n"
		 "ffffffffc0001000 t ext4_read\t[ext4]\nffffffffc0002000 t cold\t[ext4]\n",
		 (long long)base, (long long)base + 0x100, (long long)base + 0x200,
		 (long long)base + 0x300, (long long)base + 0x400, (long long)base + 0x500);
	return textsymbols_make(text);
}

static struct profile resolved(struct tally_copy *copy, const struct symbols *a,
			       const struct symbols *b)
{
	const struct symbols *symbols[SYMSRC_EPOCHS_KEPT] = {a, b};
	struct profile p = {0};

	assert_int_equal(resolve(copy, symbols, &p), 0);
	return p;
}

static void drop(struct profile *p)
{
	profile_deinit(p);
}

static void assert_row(const struct profile *p, size_t i, uint64_t samples, char type,
		       const char *symbol, const char *object)
{
	assert_true(i < p->row_count);
	assert_string_equal(p->rows[i].symbol, symbol);
	assert_string_equal(p->rows[i].object, object);
	assert_int_equal(p->rows[i].samples, samples);
	assert_int_equal(p->rows[i].type, type);
}

static void test_rows(void **state)
{
	struct counts_entry e[] = {
		{KERNEL + 0x100, 5, 0},	    {KERNEL + 0x1ff, 2, 0},	{KERNEL + 0x180, 3, 1},
		{KERNEL + 0x300, 1, 0},	    {KERNEL + 0x410, 1, 0},	{KERNEL + 0x200, 2, 0},
		{0xffffffffc0001004, 4, 0}, {0xffffffffc0002004, 2, 0},
	};
	struct tally_copy copy = {
		.epoch_count = 1,
		.epochs = {{.epoch = 1, .kernel = 20, .user = 6, .entries = e, .entry_count = 8}}};
	struct symbols *s = boot(KERNEL);
	struct profile p = resolved(&copy, s, NULL);

	(void)state;
	assert_int_equal(p.row_count, 6);
	assert_row(&p, 0, 10, 'g', "hot", PROFILE_OBJECT_KERNEL);
	assert_row(&p, 1, 6, 'u', PROFILE_SYMBOL_USER, PROFILE_SYMBOL_USER);
	assert_row(&p, 2, 4, 'g', "ext4_read", "[ext4]");
	assert_row(&p, 3, 2, 'g', "cold", PROFILE_OBJECT_KERNEL);
	assert_row(&p, 4, 2, 'g', "twin", PROFILE_OBJECT_KERNEL);
	assert_row(&p, 5, 2, 'g', "cold", "[ext4]");
	assert_int_equal(p.rows[0].address, KERNEL + 0x100);
	assert_int_equal(p.rows[1].address, 0);
	assert_int_equal(p.rows[2].address, 0xffffffffc0001000);
	assert_int_equal(p.samples, 26);
	assert_int_equal(p.guest_kernel, 20);
	assert_int_equal(p.unresolved, 0);
	drop(&p);
	symbols_put(s);
}

/* A copy is of some moment; the symbols know of all modules that have gone until now. Whoever was
 * at an address when it was sampled has the sample, under one name with what it has elsewhere. */
static void test_modules_that_have_gone(void **state)
{
	static const char rmd[] = "ffffffffc0001000 t transform\t[rmd160]\n";
	static const char msr[] = "ffffffffc0001000 t msr_exit\t[msr]\n";
	static const char both[] = "ffffffff81000000 T _text\nffffffffc0001000 t open\t[msr2]\n"
				   "ffffffffc0009000 t transform\t[rmd160]\n";
	const struct retired *r = gone_after(gone_after(NULL, rmd, msr), msr, both);
	const uint64_t at = 0xffffffffc0001010;
	struct counts_entry then[] = {{at, 7, 0}};
	struct counts_entry later[] = {{retired_move(r, 0, at), 7, 0}, {at, 3, 0}};
	struct counts_entry now[] = {{retired_move(r, 0, at), 7, 0},
				     {retired_move(r, 1, at), 3, 0},
				     {at, 2, 0},
				     {0xffffffffc0009000, 1, 0}};
	struct tally_copy copy = {.epoch_count = 1};
	struct symbols *s = textsymbols_make(both);
	struct profile p;

	(void)state;
	s->retired = r;
	copy.epochs[0] = (struct tally_epoch_copy){.entries = then, .entry_count = 1};
	p = resolved(&copy, s, NULL);
	assert_int_equal(p.row_count, 1);
	assert_row(&p, 0, 7, 'g', "transform", "[rmd160]");
	drop(&p);
	copy.epochs[0] =
		(struct tally_epoch_copy){.retired = 1, .entries = later, .entry_count = 2};
	p = resolved(&copy, s, NULL);
	assert_int_equal(p.row_count, 2);
	assert_row(&p, 0, 7, 'g', "transform", "[rmd160]");
	assert_row(&p, 1, 3, 'g', "msr_exit", "[msr]");
	drop(&p);
	copy.epochs[0] = (struct tally_epoch_copy){.retired = 2, .entries = now, .entry_count = 4};
	p = resolved(&copy, s, NULL);
	assert_int_equal(p.row_count, 3);
	assert_row(&p, 0, 8, 'g', "transform", "[rmd160]");
	assert_int_equal(p.rows[0].address, 0xffffffffc0009000);
	assert_row(&p, 1, 3, 'g', "msr_exit", "[msr]");
	assert_int_equal(p.rows[1].address, 0xffffffffc0001000);
	assert_row(&p, 2, 2, 'g', "open", "[msr2]");
	assert_int_equal(p.unresolved, 0);
	drop(&p);
	/* Without the symbols: where it was. */
	p = resolved(&copy, NULL, NULL);
	assert_int_equal(p.unresolved, 13);
	assert_row(&p, 0, 12, 'g', "0xffffffffc0001010", PROFILE_OBJECT_UNKNOWN);
	assert_int_equal(p.contradictory, 0);
	drop(&p);
	symbols_put(s);
}

/* Many rows of few counts, with names that differ early, late, or not at all in 16 bytes. */
static void test_order_of_many(void **state)
{
	enum { SYMBOLS = 3000, ADDRESSES = 4000 };
	static char text[SYMBOLS * 80];
	static struct counts_entry e[ADDRESSES];
	struct tally_copy copy = {
		.epoch_count = 1,
		.epochs = {{.epoch = 1, .user = 2, .entries = e, .entry_count = ADDRESSES}}};
	struct symbols *s;
	struct profile p;
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < SYMBOLS; i++)
		n += (size_t)sprintf(text + n, "%llx t %s%u\n", (long long)KERNEL + 0x100 * i,
				     i % 3 ? "x" : "a_name_of_more_than_16_", i * 7919 % SYMBOLS);
	for (unsigned i = 0; i < ADDRESSES; i++) { /* the last thousand have no name */
		e[i] = (struct counts_entry){KERNEL + 0x100 * (i < SYMBOLS ? i : 1000000 + i),
					     1 + i % 3, 0};
		copy.epochs[0].kernel += 1 + i % 3;
	}
	s = textsymbols_make(text);
	p = resolved(&copy, s, NULL);
	assert_int_equal(p.row_count, ADDRESSES + 1);
	for (size_t i = 1; i < p.row_count; i++) {
		const struct profile_row *a = &p.rows[i - 1], *b = &p.rows[i];

		assert_true(a->samples > b->samples ||
			    (a->samples == b->samples && a->address < b->address));
	}
	drop(&p);
	symbols_put(s);
}

/* The rows that `top` needs: strings of their own, and nothing is missing from the sums. */
static void test_shortened(void **state)
{
	struct counts_entry e[] = {{KERNEL + 0x100, 5, 0},
				   {KERNEL + 0x200, 3, 0},
				   {0xffffffffc0001004, 4, 0},
				   {0xffffffffa0000000, 7, 0},
				   {0xffffffffa0000008, 1, 0}};
	struct tally_copy copy = {
		.epoch_count = 1,
		.epochs = {{.epoch = 1, .kernel = 20, .user = 2, .entries = e, .entry_count = 5}}};
	struct symbols *s = boot(KERNEL);
	struct profile p = resolved(&copy, s, NULL);

	(void)state;
	symbols_put(s);
	assert_int_equal(profile_shorten(&p, 2), 0);
	assert_int_equal(p.row_count, 3);
	assert_row(&p, 0, 5, 'g', "hot", PROFILE_OBJECT_KERNEL);
	assert_row(&p, 1, 4, 'g', "ext4_read", "[ext4]");
	assert_row(&p, 2, 8, 'g', PROFILE_OBJECT_UNKNOWN, PROFILE_OBJECT_UNKNOWN);
	assert_int_equal(p.samples, 22);
	assert_int_equal(profile_shorten(&p, 100), 0);
	assert_int_equal(p.row_count, 3);
	assert_row(&p, 2, 8, 'g', PROFILE_OBJECT_UNKNOWN, PROFILE_OBJECT_UNKNOWN);
	assert_int_equal(profile_shorten(&p, 0), 0);
	assert_int_equal(p.row_count, 1);
	drop(&p);
}

/* Two boots with the kernel elsewhere: each with its own table, one row for both. */
static void test_boots_are_merged_by_name(void **state)
{
	struct counts_entry first[] = {{KERNEL + 0x100, 1, 0}};
	struct counts_entry second[] = {{KERNEL + 0x5000100, 2, 0}, {KERNEL + 0x100, 4, 0}};
	struct tally_copy copy = {
		.epoch_count = 2,
		.epochs = {{1, 0, 1, 0, 0, 0, first, 1}, {2, 0, 6, 0, 0, 0, second, 2}}};
	struct symbols *a = boot(KERNEL);
	struct symbols *b = boot(KERNEL + 0x5000000);
	struct profile p = resolved(&copy, a, b);

	(void)state;
	assert_int_equal(p.row_count, 2);
	assert_row(&p, 0, 4, 'g', "0xffffffff81000100", PROFILE_OBJECT_UNKNOWN);
	assert_row(&p, 1, 3, 'g', "hot", PROFILE_OBJECT_KERNEL);
	/* as the boot that runs has it */
	assert_int_equal(p.rows[1].address, KERNEL + 0x5000100);
	assert_int_equal(p.unresolved, 4);
	assert_int_equal(p.epochs, 2);
	drop(&p);
	symbols_put(a);
	symbols_put(b);
}

static void test_without_symbols(void **state)
{
	struct counts_entry e[] = {{KERNEL + 0x200, 1, 0},
				   {KERNEL + 0x100, 1, 0},
				   {KERNEL + 0x100, 1, 3},
				   {KERNEL, 1, 0}};
	struct tally_copy copy = {.epoch_count = 1, .epochs = {{1, 0, 4, 0, 0, 9, e, 4}}};
	struct profile p = resolved(&copy, NULL, NULL);

	(void)state;
	assert_int_equal(p.row_count, 3);
	assert_row(&p, 0, 2, 'g', "0xffffffff81000100", PROFILE_OBJECT_UNKNOWN);
	assert_row(&p, 1, 1, 'g', "0xffffffff81000000", PROFILE_OBJECT_UNKNOWN);
	assert_row(&p, 2, 1, 'g', "0xffffffff81000200", PROFILE_OBJECT_UNKNOWN);
	assert_int_equal(p.unresolved, 4);
	assert_int_equal(p.table_full, 9);
	drop(&p);
}

/* kallsyms holds low addresses (x86's per-CPU symbols); they are never the name of code. */
static void test_low_addresses_have_no_name(void **state)
{
	struct counts_entry e[] = {{0x1004, 3, 0}, {0xfe05b, 1, 0}, {KERNEL + 0x100, 1, 0}};
	struct tally_copy copy = {.epoch_count = 1, .epochs = {{1, 0, 5, 2, 1, 0, e, 3}}};
	struct symbols *s = boot(KERNEL);
	struct profile p = resolved(&copy, s, NULL);

	(void)state;
	assert_row(&p, 0, 3, 'g', "0x0000000000001004", PROFILE_OBJECT_UNKNOWN);
	assert_int_equal(p.unresolved, 4);
	assert_int_equal(p.contradictory, 5);
	drop(&p);
	symbols_put(s);
}

static void test_kernel_of_32_bits(void **state)
{
	struct counts_entry e[] = {{0xc1000104, 3, 0}, {0x8048000, 1, 0}};
	struct tally_copy copy = {.epoch_count = 1, .epochs = {{1, 0, 4, 0, 0, 0, e, 2}}};
	struct symbols *s =
		textsymbols_make("c1000000 T _text\nc1000100 T hot\nc1000200 T _etext\n");
	struct profile p = resolved(&copy, s, NULL);

	(void)state;
	assert_row(&p, 0, 3, 'g', "hot", PROFILE_OBJECT_KERNEL);
	assert_int_equal(p.unresolved, 1);
	assert_int_equal(p.contradictory, 1);
	drop(&p);
	symbols_put(s);
}

static void test_nothing(void **state)
{
	struct tally_copy copy = {.epoch_count = 1, .epochs = {{.epoch = 1}}};
	struct profile p = resolved(&copy, NULL, NULL);

	(void)state;
	assert_int_equal(p.row_count, 0);
	drop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_modules_that_have_gone),
		cmocka_unit_test(test_order_of_many),
		cmocka_unit_test(test_shortened),
		cmocka_unit_test(test_boots_are_merged_by_name),
		cmocka_unit_test(test_without_symbols),
		cmocka_unit_test(test_low_addresses_have_no_name),
		cmocka_unit_test(test_kernel_of_32_bits),
		cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
