/* The layout of a kernel's structures, by BTF: right numbers from good bytes, a reason from bad
 * ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/btf.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/kstructs.h"
#include "tests/unit/lib/modulemaker.h"

static uint32_t word(const struct kstructs *s, size_t offset)
{
	uint32_t v;

	memcpy(&v, (const char *)s + offset, sizeof(v));
	return v;
}

/* All but the bool are words. */
static void assert_same(const struct kstructs *a, const struct kstructs *b)
{
	const size_t flag = offsetof(struct kstructs, kernel_symbol_relative);

	assert_int_equal(a->kernel_symbol_relative, b->kernel_symbol_relative);
	for (size_t at = 0; at < sizeof(*a); at += 4) {
		if (at != flag && word(a, at) != word(b, at))
			fail_msg("word %zu: %u instead of %u", at / 4, word(a, at), word(b, at));
	}
}

static void test_layouts(void **state)
{
	(void)state;
	for (int i = 0; i < MODULEMAKER_LAYOUTS; i++) {
		size_t n;
		CLEANUP_FREE void *btf = modulemaker_btf(&modulemaker_layouts[i], &n);
		struct kstructs s;
		struct errmsg why = {0};

		assert_int_equal(kstructs_from_btf(btf, n, &s, &why), 0);
		assert_int_equal(why.code, 0);
		assert_same(&s, &modulemaker_layouts[i]);
	}
}

/* Wherever it ends, from memory that ends there, too. */
static void test_truncated(void **state)
{
	size_t n;
	CLEANUP_FREE char *btf = modulemaker_btf(&modulemaker_layouts[MODULEMAKER_OLD], &n);

	(void)state;
	for (size_t cut = 0; cut < n; cut++) {
		CLEANUP_FREE char *copy = malloc(cut + !cut);
		struct kstructs s = {.module_size = 77};
		struct errmsg why = {0};

		assert_non_null(copy);
		memcpy(copy, btf, cut);
		assert_int_equal(kstructs_from_btf(copy, cut, &s, &why), -EBADMSG);
		assert_int_equal(why.code, -EBADMSG);
		assert_int_equal(s.module_size, 77);
	}
}

static void test_foreign_header(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} edits[] = {
		{0, 0xeb}, /* the first half of the magic of the other byte order */
		{2, 2},	   /* version */
		{4, 20},   /* header shorter than it is */
		{4, 26},   /* types not aligned */
		{7, 0x80}, /* header longer than all */
		{8, 1},	   /* types not aligned */
		{15, 0x80}, {19, 0x80}, {23, 0x80},
	};
	size_t n;
	CLEANUP_FREE uint8_t *btf = modulemaker_btf(&modulemaker_layouts[MODULEMAKER_NEW], &n);
	struct kstructs s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
		uint8_t was = btf[edits[i].at];

		btf[edits[i].at] = edits[i].value;
		assert_int_equal(kstructs_from_btf(btf, n, &s, NULL), -EBADMSG);
		btf[edits[i].at] = was;
	}
	assert_int_equal(kstructs_from_btf(btf, n, &s, NULL), 0);
}

/* Every byte wrong once: whatever comes of it, offsets stay inside. */
static void test_damaged(void **state)
{
	size_t n;
	CLEANUP_FREE uint8_t *btf = modulemaker_btf(&modulemaker_layouts[MODULEMAKER_NEW], &n);

	(void)state;
	for (size_t i = 0; i < 8 * n; i++) {
		struct kstructs s;
		int r;

		btf[i / 8] ^= (uint8_t)(1u << i % 8);
		r = kstructs_from_btf(btf, n, &s, NULL);
		btf[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_true(r == 0 || r == -EBADMSG || r == -ENOENT);
		if (r < 0)
			continue;
		assert_true(s.module_size <= KSTRUCT_SIZE_MAX);
		assert_true(s.module_list + 16 <= s.module_size);
		assert_true(s.module_name + s.module_name_size <= s.module_size);
		if (s.module_mem != KSTRUCT_NONE)
			assert_true(s.module_mem + s.module_mem_count * s.module_mem_stride <=
				    s.module_size);
	}
}

/* Which is missing is said. */
static void test_missing(void **state)
{
	struct kstructs s = modulemaker_layouts[MODULEMAKER_OLD], found;
	struct errmsg why = {0};
	size_t n;
	CLEANUP_FREE void *without_strtab = NULL;
	CLEANUP_FREE void *without_memory = NULL;

	(void)state;
	s.mod_kallsyms_strtab = KSTRUCT_NONE;
	without_strtab = modulemaker_btf(&s, &n);
	assert_int_equal(kstructs_from_btf(without_strtab, n, &found, &why), -ENOENT);
	assert_non_null(strstr(why.text, "struct mod_kallsyms.strtab"));

	s = modulemaker_layouts[MODULEMAKER_OLD];
	s.module_core_base = KSTRUCT_NONE;
	without_memory = modulemaker_btf(&s, &n);
	assert_int_equal(kstructs_from_btf(without_memory, n, &found, &why), -ENOENT);
	assert_non_null(strstr(why.text, "struct module.mem"));
}

/* A kernel that cannot list users does without all that belongs to it. */
static void test_half_of_unload(void **state)
{
	struct kstructs s = modulemaker_layouts[MODULEMAKER_OLD], found;
	CLEANUP_FREE void *btf = NULL;
	size_t n;

	(void)state;
	s.module_use_source = KSTRUCT_NONE;
	btf = modulemaker_btf(&s, &n);
	assert_int_equal(kstructs_from_btf(btf, n, &found, NULL), 0);
	assert_true(found.module_source_list == KSTRUCT_NONE);
}

static int parse(struct btf *b, struct kstructs *ret, struct errmsg *why)
{
	uint32_t n;
	const void *raw = btf__raw_data(b, &n);
	int r;

	assert_non_null(raw);
	r = kstructs_from_btf(raw, n, ret, why);
	btf__free(b);
	return r;
}

static struct btf *begin_btf(int *ret_u32)
{
	struct btf *b = btf__new_empty();

	assert_non_null(b);
	*ret_u32 = btf__add_int(b, "unsigned int", 4, 0);
	btf__add_struct(b, "mod_kallsyms", 32);
	btf__add_struct(b, "kernel_symbol", 12);
	return b;
}

/* Members without a name that hold each other: no end, no stack. */
static void test_anonymous_without_end(void **state)
{
	struct kstructs s;
	struct errmsg why = {0};
	struct btf *b;
	int u32;

	(void)state;
	b = begin_btf(&u32);
	btf__add_struct(b, "module", 64);
	for (int i = 0; i < 1000; i++)
		btf__add_field(b, NULL, 5, 0, 0);
	btf__add_struct(b, NULL, 64); /* type 5 */
	for (int i = 0; i < 1000; i++)
		btf__add_field(b, NULL, 5, 0, 0);
	assert_int_equal(parse(b, &s, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "without end"));
}

static void assert_no_list(struct btf *b)
{
	struct kstructs s;
	struct errmsg why = {0};

	assert_int_equal(parse(b, &s, &why), -ENOENT);
	assert_non_null(strstr(why.text, "struct module.list"));
}

/* The member is there, but not as its reader takes it to be. */
static void test_unfit_members(void **state)
{
	struct btf *b;
	int u32, list, alias;

	(void)state;
	b = begin_btf(&u32);
	btf__add_struct(b, "module", 64);
	btf__add_field(b, "list", u32, 0, 0); /* of 4 bytes */
	assert_no_list(b);

	b = begin_btf(&u32);
	list = btf__add_struct(b, "list_head", 16);
	btf__add_struct(b, "module", 64);
	btf__add_field(b, "list", list, 56 * 8, 0); /* reaches out of it */
	assert_no_list(b);

	b = begin_btf(&u32);
	alias = btf__add_typedef(b, "loop", 5);
	btf__add_typedef(b, "loop", alias);
	btf__add_struct(b, "module", 64);
	btf__add_field(b, "list", alias, 0, 0); /* typedefs of each other */
	assert_no_list(b);

	b = begin_btf(&u32);
	btf__add_struct(b, "module", 64);
	btf__add_field(b, "list", 0, 0, 0); /* void */
	assert_no_list(b);
}

static void test_too_large(void **state)
{
	struct kstructs s;
	struct errmsg why = {0};
	struct btf *b;
	int u32;

	(void)state;
	b = begin_btf(&u32);
	btf__add_struct(b, "module", KSTRUCT_SIZE_MAX + 1);
	assert_int_equal(parse(b, &s, &why), -ENOENT);
	assert_non_null(strstr(why.text, "struct module as"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_foreign_header),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_half_of_unload),
		cmocka_unit_test(test_anonymous_without_end),
		cmocka_unit_test(test_unfit_members),
		cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
