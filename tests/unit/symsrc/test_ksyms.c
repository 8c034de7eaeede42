/* The kernel's own symbols, out of forged RAM: in each layout that there has been, and in the
 * ways in which it can be wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/memory/ksyms.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/kernelmaker.h"

static int read_way(struct kernelmaker *km, enum kernel_way way, struct kernel_candidate *c,
		    struct ksyms **ret, struct errmsg *why)
{
	struct ram ram;

	ram_init(&ram, &kernelmaker_ops, km, NULL);
	*c = kernelmaker_candidate(km, way);
	return ksyms_read(&ram, c, ret, why);
}

static void assert_text(const struct ksyms *k, const struct kernelmaker *km)
{
	struct collect c;
	struct source_sink sink;

	collect_init(&c);
	sink = collect_sink(&c);
	sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL);
	assert_int_equal(ksyms_deliver(k, &sink), 0);
	assert_int_equal(ksyms_count(k), km->count);
	collect_assert(&c, GUEST_FILE_KALLSYMS, 1, km->kallsyms, km->kallsyms_len);
	collect_deinit(&c);
}

static void assert_image(const struct kernel_image *image, const struct kernelmaker *km)
{
	assert_int_equal(image->va, km->o.text_va);
	assert_int_equal(image->pa, km->o.text_pa);
	assert_int_equal(image->size, KERNELMAKER_END);
	assert_int_equal(image->root, km->root);
	assert_int_equal(image->levels, km->o.levels);
}

static void assert_reads_by(struct kernelmaker *km, enum kernel_way way)
{
	struct errmsg why = {0};
	struct kernel_candidate c;
	struct ksyms *k = NULL;
	int r = read_way(km, way, &c, &k, &why);

	if (r < 0)
		fail_msg("%s, way %d: %s", km->o.release, (int)way, why.text);
	assert_text(k, km);
	assert_image(&c.image, km);
	assert_true(ksyms_anchors(k) >= KSYMS_ANCHORS_MIN);
	ksyms_destroy(k);
}

/* By each way. */
static void assert_reads(const struct kernelmaker_options *o)
{
	struct kernelmaker *km = kernelmaker_create(o);

	assert_reads_by(km, KERNEL_BY_TRAMPOLINE);
	assert_reads_by(km, KERNEL_BY_VMCOREINFO);
	assert_reads_by(km, KERNEL_BY_SIGNATURE);
	kernelmaker_destroy(km);
}

/* Fails the test unless it is refused with this error. Returns what it says, to be freed. */
static char *assert_refused(struct kernelmaker *km, enum kernel_way way, int error)
{
	struct errmsg why = {0};
	struct kernel_candidate c;
	struct ksyms *k = NULL;
	int r = read_way(km, way, &c, &k, &why);

	if (r != error)
		fail_msg("returned %d, not %d: %s", r, error, why.text);
	assert_null(k);
	assert_int_equal(why.code, error);
	assert_true(why.text[0] != '\0');
	return strdup(why.text);
}

static void assert_refused_for(struct kernelmaker *km, enum kernel_way way, int error,
			       const char *words)
{
	char *text = assert_refused(km, way, error);

	if (!strstr(text, words))
		fail_msg("\"%s\" does not say \"%s\"", text, words);
	free(text);
}

/* ---- what there has been ----------------------------------------------------------------------
 */

static const struct {
	unsigned major, minor;
} versions[] = {{4, 4}, {4, 9}, {4, 19}, {4, 20}, {5, 10}, {5, 15}, {6, 0}, {6, 1},
		{6, 2}, {6, 4}, {6, 12}, {6, 15}, {6, 19}, {7, 0},  {7, 3}};
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

static void each_version_by_each_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < VERSIONS; i++) {
		struct kernelmaker_options o =
			kernelmaker_like(versions[i].major, versions[i].minor);

		assert_reads(&o);
	}
}

static void page_tables_with_5_levels(void **state)
{
	(void)state;
	for (size_t i = 0; i < VERSIONS; i++) {
		struct kernelmaker_options o =
			kernelmaker_like(versions[i].major, versions[i].minor);

		o.levels = 5;
		o.tokens = 30;
		assert_reads(&o);
	}
}

/* Without KASLR, at the ends of where it may be, and above 4 GiB. */
static void anywhere(void **state)
{
	static const struct {
		uint64_t va, pa;
	} places[] = {
		{0xffffffff81000000, 0x1000000},
		{0xffffffff80000000, 0x200000},
		{0xffffffff81000000, 0x1fc0000000},
		{0xffffffffbfa00000, 0x140000000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		for (unsigned minor = 10; minor <= 15; minor += 5) {
			struct kernelmaker_options o = kernelmaker_like(minor == 10 ? 5 : 7, minor);

			o.text_va = places[i].va;
			o.text_pa = places[i].pa;
			o.tokens = 30;
			assert_reads(&o);
		}
	}
}

/* Distributions take single changes of these tables into older kernels. */
static void any_mixture(void **state)
{
	struct kernelmaker_options o;

	(void)state;
	for (unsigned i = 0; i < 2 * 4 * 4 * 2 * 2; i++) {
		o = kernelmaker_like(6, 1);
		o.order = i % 2 ? KERNELMAKER_BEHIND : KERNELMAKER_BEFORE;
		o.meaning = (enum kernelmaker_meaning)(i / 2 % 4);
		o.seqs = (enum kernelmaker_seqs)(i / 8 % 4);
		o.align = i / 32 % 2 ? 4 : 8;
		o.marker_bytes = i / 64 % 2 ? 4 : 8;
		o.fillers = 900;
		o.tokens = 30;
		o.own_symbols = i % 2;
		/* 4 came with what is place-relative, long after markers of 8 bytes. */
		if (o.align == 4 && (o.meaning != KERNELMAKER_PLACE || o.marker_bytes == 8))
			continue;
		snprintf(o.release, sizeof(o.release), "mixture.%u", i);
		assert_reads(&o);
	}
}

static void long_names(void **state)
{
	static const struct {
		bool wide;
		unsigned letters;
	} cases[] = {{true, 511}, {true, 126},	{true, 127},  {true, 128},
		     {true, 300}, {false, 126}, {false, 127}, {false, 250}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kernelmaker_options o = kernelmaker_like(6, 12);

		o.wide = cases[i].wide;
		o.longest = cases[i].letters;
		assert_reads(&o);
	}
}

/* The last block of names and its marker: 256 and one more, and one less. */
static void around_a_block(void **state)
{
	(void)state;
	for (unsigned fillers = 1500; fillers < 1500 + 260; fillers += 1) {
		struct kernelmaker_options o = kernelmaker_like(fillers % 2 ? 6 : 7, 4);

		if (fillers > 1510 && fillers % 16 != 3)
			continue;
		o.fillers = fillers;
		o.tokens = 30;
		assert_reads(&o);
	}
}

static void finds_names(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(7, 2);
	static const char *const names[] = {"init_uts_ns", "no_such_name", "_text",
					    "init_uts_ns", "modules",	   ""};
	struct kernelmaker *km = kernelmaker_create(&o);
	struct kernel_candidate c;
	struct ksyms *k = NULL;
	uint64_t at[6];

	(void)state;
	assert_int_equal(read_way(km, KERNEL_BY_TRAMPOLINE, &c, &k, NULL), 0);
	ksyms_find_many(k, names, 6, at);
	assert_int_equal(at[0], o.text_va + KERNELMAKER_UTS);
	assert_int_equal(at[1], 0);
	assert_int_equal(at[2], o.text_va);
	assert_int_equal(at[3], at[0]);
	assert_int_equal(at[4], o.text_va + KERNELMAKER_VARS);
	assert_int_equal(at[5], 0);
	assert_int_equal(ksyms_find(k, "linux_banner"), o.text_va + KERNELMAKER_BANNER);
	assert_int_equal(ksyms_find(k, "linux_banne"), 0);
	ksyms_destroy(k);
	kernelmaker_destroy(km);
}

/* Of several symbols with one name, the first. */
static void finds_the_first(void **state)
{
	static const struct kernelmaker_symbol twins[] = {{"twin", 't', 0x1f0000},
							  {"twin", 't', 0x1f0100}};
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct kernel_candidate c;
	struct kernelmaker *km;
	struct ksyms *k = NULL;

	(void)state;
	o.extra = twins;
	o.extras = 2;
	km = kernelmaker_create(&o);
	assert_int_equal(read_way(km, KERNEL_BY_TRAMPOLINE, &c, &k, NULL), 0);
	assert_int_equal(ksyms_find(k, "twin"), o.text_va + 0x1f0000);
	ksyms_destroy(k);
	kernelmaker_destroy(km);
}

/* ---- the sink ----------------------------------------------------------------------------------
 */

struct counting {
	size_t bytes, largest;
	int fail_after;
};

static int count(void *ctx, const void *bytes, size_t n)
{
	struct counting *c = ctx;

	(void)bytes;
	c->bytes += n;
	c->largest = n > c->largest ? n : c->largest;
	return c->fail_after-- == 0 ? -ENOSPC : 0;
}

static void delivers_in_chunks(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct counting n = {.fail_after = -1};
	const struct source_sink sink = {NULL, count, &n};
	struct kernel_candidate c;
	struct kernelmaker *km;
	struct ksyms *k = NULL;

	(void)state;
	o.fillers = 4000;
	km = kernelmaker_create(&o);
	assert_int_equal(read_way(km, KERNEL_BY_TRAMPOLINE, &c, &k, NULL), 0);
	assert_int_equal(ksyms_deliver(k, &sink), 0);
	assert_int_equal(n.bytes, km->kallsyms_len);
	assert_true(n.largest <= 64 << 10);
	n.fail_after = 1;
	assert_int_equal(ksyms_deliver(k, &sink), -ENOSPC);
	ksyms_destroy(k);
	kernelmaker_destroy(km);
}

/* ---- what must not be believed ------------------------------------------------------------------
 */

/* Where they should be is something else, and the table 4 bytes on: all but the anchors fits. */
static void shifted_addresses(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct kernelmaker_options o = kernelmaker_like(i < 3 ? 6 : 7, i < 3 ? 12 : 0);
		struct kernelmaker *km;

		o.meaning = i == 0   ? KERNELMAKER_PERCPU
			    : i == 1 ? KERNELMAKER_RELATIVE
			    : i == 2 ? KERNELMAKER_ABSOLUTE
				     : KERNELMAKER_PLACE;
		o.own_symbols = false;
		o.junk = o.meaning == KERNELMAKER_ABSOLUTE ? 8 : 4;
		if (i == 3)
			o.junk = 12;
		km = kernelmaker_create(&o);
		free(assert_refused(km, KERNEL_BY_TRAMPOLINE, -EBADMSG));
		free(assert_refused(km, KERNEL_BY_SIGNATURE, -EBADMSG));
		kernelmaker_destroy(km);
	}
}

/* Without CONFIG_KALLSYMS_ALL: the image must be known, and what kallsyms has beside symbols tells
 * whether it is in place. */
static void functions_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < VERSIONS; i++) {
		struct kernelmaker_options o =
			kernelmaker_like(versions[i].major, versions[i].minor);
		struct kernelmaker *km;
		struct kernel_candidate c;
		struct ksyms *k = NULL;

		o.data_symbols = false;
		o.tokens = 30;
		km = kernelmaker_create(&o);
		free(assert_refused(km, KERNEL_BY_SIGNATURE, -EBADMSG));
		if (o.meaning == KERNELMAKER_ABSOLUTE) {
			assert_refused_for(km, KERNEL_BY_TRAMPOLINE, -EBADMSG, "too little");
		} else {
			assert_int_equal(read_way(km, KERNEL_BY_TRAMPOLINE, &c, &k, NULL), 0);
			assert_text(k, km);
			assert_int_equal(c.image.root, km->o.trampoline);
			ksyms_destroy(k);
		}
		kernelmaker_destroy(km);
	}
}

/* Nor is then a table in the wrong place believed, wherever 8 bytes end. */
static void functions_alone_shifted(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 24; i++) {
		struct kernelmaker_options o = kernelmaker_like(i % 2 ? 6 : 7, 12);
		struct kernelmaker *km;
		struct kernel_candidate c;
		struct ksyms *k = NULL;

		o.data_symbols = false;
		o.fillers = 900 + i;
		o.tokens = 30;
		km = kernelmaker_create(&o);
		assert_int_equal(read_way(km, KERNEL_BY_TRAMPOLINE, &c, &k, NULL), 0);
		assert_text(k, km);
		ksyms_destroy(k);
		kernelmaker_destroy(km);
		o.junk = i % 2 ? 4 : 12;
		km = kernelmaker_create(&o);
		free(assert_refused(km, KERNEL_BY_TRAMPOLINE, -EBADMSG));
		kernelmaker_destroy(km);
	}
}

/* CONFIG_RANDSTRUCT moves the name: then it is no anchor, but no contradiction either. */
static void a_name_elsewhere(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);

	(void)state;
	o.uts_offset = 64;
	assert_reads(&o);
}

static void anchors_that_disagree(void **state)
{
	static const struct {
		uint32_t offset;
		const char *words;
	} wrong[] = {{KERNELMAKER_BANNER + 3, "linux_banner"},
		     {KERNELMAKER_UTS + 4, "init_uts_ns"},
		     {KERNELMAKER_PGT + 0xff8, "page table"}};
	struct kernelmaker_options o = kernelmaker_like(6, 18);

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct kernelmaker *km = kernelmaker_create(&o);
		uint8_t *byte = kernelmaker_at(km, wrong[i].offset);

		*byte ^= 0x41;
		assert_refused_for(km, KERNEL_BY_TRAMPOLINE, -EBADMSG, wrong[i].words);
		free(assert_refused(km, KERNEL_BY_SIGNATURE, -EBADMSG));
		kernelmaker_destroy(km);
	}
}

static void another_image(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(7, 2);
	struct kernelmaker *km = kernelmaker_create(&o);
	struct kernel_candidate c = kernelmaker_candidate(km, KERNEL_BY_TRAMPOLINE);
	struct errmsg why = {0};
	struct ksyms *k = NULL;
	struct ram ram;

	(void)state;
	c.image.va -= 0x200000;
	ram_init(&ram, &kernelmaker_ops, km, NULL);
	assert_int_equal(ksyms_read(&ram, &c, &k, &why), -EBADMSG);
	assert_null(k);
	kernelmaker_destroy(km);
}

static void vmcoreinfo_that_disagrees(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct kernelmaker *km = kernelmaker_create(&o);
	struct kernel_candidate good = kernelmaker_candidate(km, KERNEL_BY_VMCOREINFO);

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct kernel_candidate c = good;
		uint64_t *const wrong[] = {&c.info.stext,
					   &c.info.init_uts_ns,
					   &c.info.root,
					   &c.info.kallsyms_names,
					   &c.info.kallsyms_num_syms,
					   &c.info.kallsyms_token_index,
					   &c.info.kallsyms_offsets,
					   &c.info.kallsyms_relative_base};
		struct errmsg why = {0};
		struct ksyms *k = NULL;
		struct ram ram;

		*wrong[i] += 8;
		ram_init(&ram, &kernelmaker_ops, km, NULL);
		assert_int_equal(ksyms_read(&ram, &c, &k, &why), -EBADMSG);
		assert_non_null(strstr(why.text, "VMCOREINFO"));
	}
	kernelmaker_destroy(km);
}

/* A line of text must stay one. */
static void names_that_none_has(void **state)
{
	static const struct kernelmaker_symbol bad[] = {
		{"evil\nffffffff81000000 T name", 't', 0x1f0000},
		{"two words", 't', 0x1f0000},
		{"\x1b[31m", 't', 0x1f0000},
		{"caf\xc3\xa9", 't', 0x1f0000},
		{"", 't', 0x1f0000},
		{"digit", '1', 0x1f0000},
		{"blank", ' ', 0x1f0000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kernelmaker_options o = kernelmaker_like(6, 12);
		struct kernelmaker *km;

		o.extra = &bad[i];
		o.extras = 1;
		km = kernelmaker_create(&o);
		free(assert_refused(km, KERNEL_BY_TRAMPOLINE, -EBADMSG));
		kernelmaker_destroy(km);
	}
}

/* Names may be nearly anything else. */
static void odd_names(void **state)
{
	static const struct kernelmaker_symbol odd[] = {
		{"_RNvNtCs1234_4core3fmt9Formatter$LT$T$GT$", 'T', 0x1f0000},
		{"__pi_.L~!@#%^&*()[]{}<>?/,;:'\"|\\`=+-", 'W', 0x1f0100},
		{"x", '?', 0x1f0200},
	};
	struct kernelmaker_options o = kernelmaker_like(7, 0);

	(void)state;
	o.extra = odd;
	o.extras = 3;
	assert_reads(&o);
}

static void no_tables(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct kernelmaker *km = kernelmaker_create(&o);

	(void)state;
	memset(kernelmaker_at(km, KERNELMAKER_TABLES), 0,
	       (size_t)(km->tables_end - km->o.text_pa - KERNELMAKER_TABLES));
	assert_refused_for(km, KERNEL_BY_TRAMPOLINE, -ENOENT, "CONFIG_KALLSYMS");
	free(assert_refused(km, KERNEL_BY_SIGNATURE, -ENOENT));
	kernelmaker_destroy(km);
}

/* Each table with a byte that is not right. */
static void damaged_tables(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct kernelmaker *km = kernelmaker_create(&o);
	const uint64_t at[] = {km->num_syms + 1,     km->num_syms + 3,	    km->names,
			       km->markers + 4,	     km->markers + 1,	    km->markers + 12,
			       km->token_index + 40, km->token_index + 511, km->offsets + 2003,
			       km->relative_base + 3};

	(void)state;
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		uint8_t *byte = kernelmaker_ram(km, at[i]), was = *byte;
		struct errmsg why = {0};
		struct kernel_candidate c;
		struct ksyms *k = NULL;

		*byte ^= 0x41;
		if (read_way(km, KERNEL_BY_TRAMPOLINE, &c, &k, &why) == 0)
			fail_msg("%zu was accepted", i);
		assert_true(why.code == -ENOENT || why.code == -EBADMSG);
		*byte = was;
	}
	kernelmaker_destroy(km);
}

/* One more and one less than there are. */
static void a_wrong_count(void **state)
{
	(void)state;
	for (unsigned major = 6; major <= 7; major++) {
		struct kernelmaker_options o = kernelmaker_like(major, 4);
		struct kernelmaker *km = kernelmaker_create(&o);
		uint8_t *count = kernelmaker_ram(km, km->num_syms);

		assert_true(*count > 0 && *count < 255);
		*count += 1;
		free(assert_refused(km, KERNEL_BY_TRAMPOLINE, -EBADMSG));
		*count -= 2;
		free(assert_refused(km, KERNEL_BY_TRAMPOLINE, -EBADMSG));
		kernelmaker_destroy(km);
	}
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static int swapped_out(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	uint64_t page = *(const uint64_t *)ctx & ~0xfffull;

	(void)buf;
	return gpa < page + RAM_PAGE && gpa + n > page ? -EBUSY : 0;
}

static void swapped_out_pages(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(5, 10);
	struct kernelmaker *km = kernelmaker_create(&o);
	const uint64_t needed[] = {km->names,
				   km->names + 8000,
				   km->markers,
				   km->token_table,
				   km->token_index,
				   km->offsets,
				   km->offsets + 4096,
				   km->o.text_pa + KERNELMAKER_BANNER,
				   km->o.text_pa + KERNELMAKER_PGT};
	/* Where wrong guesses look, too: behind the tokens, in the row below. */
	const uint64_t others[] = {km->o.text_pa, km->o.text_pa + KERNELMAKER_BTF,
				   km->o.text_pa + KERNELMAKER_DATA, km->tables_end + 4096,
				   km->offsets - 8192};
	struct kernel_candidate c;
	struct ksyms *k = NULL;
	uint64_t page;

	(void)state;
	km->on_read = swapped_out;
	km->on_read_ctx = &page;
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		page = needed[i];
		free(assert_refused(km, KERNEL_BY_TRAMPOLINE, -EBUSY));
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		page = others[i];
		assert_int_equal(read_way(km, KERNEL_BY_TRAMPOLINE, &c, &k, NULL), 0);
		ksyms_destroy(k);
		k = NULL;
		assert_int_equal(read_way(km, KERNEL_BY_SIGNATURE, &c, &k, NULL), 0);
		ksyms_destroy(k);
		k = NULL;
	}
	kernelmaker_destroy(km);
}

static void errors_of_reading(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct kernelmaker *km = kernelmaker_create(&o);
	const struct source_limits late = {.deadline_ns = 1, .cancel_fd = -1};
	struct kernel_candidate c = kernelmaker_candidate(km, KERNEL_BY_TRAMPOLINE);
	struct errmsg why = {0};
	struct ksyms *k = NULL;
	struct ram ram;

	(void)state;
	ram_init(&ram, &kernelmaker_ops, km, &late);
	assert_int_equal(ksyms_read(&ram, &c, &k, &why), -ETIMEDOUT);
	assert_int_equal(why.code, -ETIMEDOUT);
	ram_init(&ram, &kernelmaker_ops, km, NULL);
	ram.budget = 1 << 20;
	assert_int_equal(ksyms_read(&ram, &c, &k, &why), -EOVERFLOW);
	assert_null(k);
	kernelmaker_destroy(km);
}

/* RAM that is all token tables costs a bounded number of reads. */
static void nothing_but_token_tables(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct kernelmaker *km = kernelmaker_create(&o);
	size_t n = (size_t)(km->token_index + 512 - km->token_table);
	uint8_t *table = malloc(n);
	struct kernel_candidate c = kernelmaker_candidate(km, KERNEL_BY_TRAMPOLINE);
	struct errmsg why = {0};
	struct ksyms *k = NULL;
	struct ram ram;

	(void)state;
	assert_non_null(table);
	memcpy(table, kernelmaker_ram(km, km->token_table), n);
	for (uint32_t at = 0; at + n < KERNELMAKER_PGT; at += ((uint32_t)n + 7) & ~7u)
		memcpy(kernelmaker_at(km, at), table, n);
	ram_init(&ram, &kernelmaker_ops, km, NULL);
	assert_int_equal(ksyms_read(&ram, &c, &k, &why), -EBADMSG);
	assert_true(RAM_BUDGET - ram.budget < (uint64_t)2 << 30);
	free(table);
	kernelmaker_destroy(km);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_version_by_each_way),
		cmocka_unit_test(page_tables_with_5_levels),
		cmocka_unit_test(anywhere),
		cmocka_unit_test(any_mixture),
		cmocka_unit_test(long_names),
		cmocka_unit_test(around_a_block),
		cmocka_unit_test(finds_names),
		cmocka_unit_test(finds_the_first),
		cmocka_unit_test(delivers_in_chunks),
		cmocka_unit_test(shifted_addresses),
		cmocka_unit_test(functions_alone),
		cmocka_unit_test(functions_alone_shifted),
		cmocka_unit_test(a_name_elsewhere),
		cmocka_unit_test(anchors_that_disagree),
		cmocka_unit_test(another_image),
		cmocka_unit_test(vmcoreinfo_that_disagrees),
		cmocka_unit_test(names_that_none_has),
		cmocka_unit_test(odd_names),
		cmocka_unit_test(no_tables),
		cmocka_unit_test(damaged_tables),
		cmocka_unit_test(a_wrong_count),
		cmocka_unit_test(swapped_out_pages),
		cmocka_unit_test(errors_of_reading),
		cmocka_unit_test(nothing_but_token_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
