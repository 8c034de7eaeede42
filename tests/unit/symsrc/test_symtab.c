/* The symbol table: which name an address gets, and which addresses get none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/symtab.h"

#define K 0xffffffff81000000ULL /* where a kernel begins */
#define M 0xffffffffc0000000ULL /* and its modules */

struct line {
	uint64_t addr;
	char type;
	const char *name, *object; /* object NULL: the kernel */
};

/* The names one after the other, as if they were a file. */
static char arena[1 << 16];
static size_t arena_len;

static uint32_t in_arena(const char *s)
{
	size_t off = arena_len;

	arena_len += strlen(s);
	assert_true(arena_len < sizeof(arena));
	memcpy(arena + off, s, strlen(s));
	return (uint32_t)off;
}

static void add_lines(struct symtab_builder *b, const struct line *lines, size_t n)
{
	arena_len = 0;
	for (const struct line *l = lines; l < lines + n; l++) {
		uint32_t name = in_arena(l->name), object = l->object ? in_arena(l->object) : 0;

		assert_int_equal(symtab_builder_add(b, l->addr, l->type, name,
						    (uint16_t)strlen(l->name), object,
						    l->object ? (uint16_t)strlen(l->object) : 0),
				 0);
	}
}

static struct symtab *finish(struct symtab_builder *b)
{
	struct symtab *t = NULL;

	assert_int_equal(symtab_builder_finish(b, arena, arena_len, &t), 0);
	symtab_builder_destroy(b);
	assert_non_null(t);
	return t;
}

static struct symtab *table(const struct line *lines, size_t n)
{
	struct symtab_builder *b = symtab_builder_create();

	assert_non_null(b);
	add_lines(b, lines, n);
	return finish(b);
}

#define TABLE(...)                                \
	table((const struct line[]){__VA_ARGS__}, \
	      sizeof((const struct line[]){__VA_ARGS__}) / sizeof(struct line))

/* expected: "name", "name[object]", or NULL when nothing covers addr. */
static void assert_at_(const struct symtab *t, uint64_t addr, const char *expected, int line)
{
	char found[256] = "nothing";
	struct symtab_hit h;

	if (symtab_find(t, addr, &h)) {
		assert_true(h.start <= addr);
		snprintf(found, sizeof(found), "%.*s%s%.*s%s", h.name_len, h.name,
			 h.object ? "[" : "", h.object_len, h.object ? h.object : "",
			 h.object ? "]" : "");
	}
	if (strcmp(found, expected ? expected : "nothing") != 0)
		fail_msg("line %d: at %#lx: %s, not %s", line, (unsigned long)addr, found,
			 expected ? expected : "nothing");
}
#define assert_at(t, addr, expected) assert_at_(t, addr, expected, __LINE__)

static void test_empty(void **state)
{
	struct symtab *t = table(NULL, 0);
	uint64_t addr = 4711;

	(void)state;
	assert_int_equal(symtab_count(t), 0);
	assert_at(t, 0, NULL);
	assert_at(t, K, NULL);
	assert_at(t, UINT64_MAX, NULL);
	assert_false(symtab_find_name(t, "_text", &addr));
	assert_int_equal(addr, 4711);
	symtab_destroy(t);
	symtab_destroy(NULL);
}

static void test_next_symbol_ends_the_one_before(void **state)
{
	struct symtab *t =
		TABLE({K, 'T', "a", NULL}, {K + 16, 't', "b", NULL}, {K + 32, 'T', "c", NULL});
	struct symtab_hit h;

	(void)state;
	assert_int_equal(symtab_count(t), 3);
	assert_at(t, K - 1, NULL);
	assert_at(t, K, "a");
	assert_at(t, K + 15, "a");
	assert_at(t, K + 16, "b");
	assert_at(t, K + 32, "c");
	assert_true(symtab_find(t, K + 20, &h));
	assert_true(h.start == K + 16);
	assert_int_equal(h.type, 't');
	assert_null(h.object);
	symtab_destroy(t);
}

/* As perf guesses: to the end of the page behind it. */
static void test_last_symbol_of_the_kernel(void **state)
{
	struct symtab *t = TABLE({K, 'T', "a", NULL}, {K + 0x10, 'T', "b", NULL});

	(void)state;
	assert_at(t, K + 0x1fff, "b");
	assert_at(t, K + 0x2000, NULL);
	assert_at(t, UINT64_MAX, NULL);
	symtab_destroy(t);
}

static void test_end_markers(void **state)
{
	struct symtab *t = TABLE({K, 'T', "a", NULL}, {K + 0x100, 'T', "_etext", NULL},
				 {K + 0x800, 'R', "r", NULL}, {K + 0x900, 'B', "_end", NULL});
	uint64_t addr = 0;

	(void)state;
	assert_int_equal(symtab_count(t), 2);
	assert_at(t, K + 0xff, "a");
	assert_at(t, K + 0x100, NULL);
	assert_at(t, K + 0x7ff, NULL);
	assert_at(t, K + 0x8ff, "r");
	assert_at(t, K + 0x900, NULL);
	assert_true(symtab_find_name(t, "_end", &addr));
	assert_true(addr == K + 0x900);
	symtab_destroy(t);
}

/* A marker does not hide what begins where it stands; nor does a module's "_end" mark. */
static void test_end_markers_give_way(void **state)
{
	struct symtab *t = TABLE({K, 'T', "a", NULL}, {K + 0x100, 'T', "_etext", NULL},
				 {K + 0x100, 't', "__start_of_more", NULL}, {M, 'd', "_end", "m"});

	(void)state;
	assert_at(t, K + 0x101, "__start_of_more");
	assert_at(t, M, "_end[m]");
	symtab_destroy(t);
}

static void test_gap_between_objects(void **state)
{
	struct symtab *t = TABLE({K, 'T', "a", NULL}, {M, 't', "init", "ext4"},
				 {M + 0x10000, 't', "init", "xfs"}, {M + 0x10010, 't', "x", "xfs"});

	(void)state;
	assert_at(t, K + 0x1000, NULL);
	assert_at(t, M - 1, NULL);
	assert_at(t, M + 0xfff, "init[ext4]");
	assert_at(t, M + 0x1000, NULL);
	assert_at(t, M + 0xffff, NULL);
	assert_at(t, M + 0x10000, "init[xfs]");
	assert_at(t, M + 0x10010, "x[xfs]");
	assert_at(t, M + 0x12000, NULL);
	symtab_destroy(t);
}

static void test_bounds_of_a_module(void **state)
{
	struct symtab_builder *b = symtab_builder_create();
	const struct line lines[] = {{M, 't', "long_one", "ext4"},
				     {M + 0x80000, 't', "y", "xfs"},
				     {M + 0x100000, 'd', "elsewhere", "xfs"}};

	(void)state;
	add_lines(b, lines, 3);
	assert_int_equal(symtab_builder_add_module(b, "ext4", M, 0x5000), 0);
	assert_int_equal(symtab_builder_add_module(b, "xfs", M + 0x80000, 0x100), 0);
	assert_int_equal(symtab_builder_add_module(b, "no_symbols", M + 0x90000, 0x100), 0);
	struct symtab *t = finish(b);
	assert_at(t, M + 0x4fff, "long_one[ext4]");
	assert_at(t, M + 0x5000, NULL);
	assert_at(t, M + 0x80001, "y[xfs]");
	assert_at(t, M + 0x100fff, "elsewhere[xfs]"); /* outside its bounds: the page */
	assert_at(t, M + 0x101000, NULL);
	symtab_destroy(t);
}

/* Bounds never reach over another object, nor over the end of the address space. */
static void test_wrong_bounds(void **state)
{
	struct symtab_builder *b = symtab_builder_create();
	const struct line lines[] = {
		{M, 't', "x", "a"}, {M + 0x100, 't', "y", "b"}, {UINT64_MAX - 0x10, 't', "z", "c"}};

	(void)state;
	add_lines(b, lines, 3);
	assert_int_equal(symtab_builder_add_module(b, "a", M, 0x100000), 0);
	assert_int_equal(symtab_builder_add_module(b, "b", M + 0x100, UINT64_MAX), 0);
	struct symtab *t = finish(b);
	assert_at(t, M + 0xff, "x[a]");
	assert_at(t, M + 0x100, "y[b]");
	assert_at(t, UINT64_MAX - 0x11, "y[b]");
	assert_at(t, UINT64_MAX, "z[c]");
	symtab_destroy(t);
}

/* Objects that are no modules, between two parts of the kernel. */
static void test_bpf_and_trampolines(void **state)
{
	struct symtab *t =
		TABLE({K, 'T', "a", NULL}, {K + 0x3000, 't', "bpf_prog_6deef7357e7b4530", "bpf"},
		      {K + 0x5000, 't', "ftrace_trampoline", "__builtin__ftrace"},
		      {K + 0x7000, 'T', "b", NULL});

	(void)state;
	assert_at(t, K + 0x2fff, NULL);
	assert_at(t, K + 0x3010, "bpf_prog_6deef7357e7b4530[bpf]");
	assert_at(t, K + 0x5010, "ftrace_trampoline[__builtin__ftrace]");
	assert_at(t, K + 0x6000, NULL);
	assert_at(t, K + 0x7000, "b");
	symtab_destroy(t);
}

static void test_what_covers_nothing(void **state)
{
	struct symtab *t =
		TABLE({0, 'A', "fixed_percpu_data", NULL}, {0x1000, 'A', "cpu_tss", NULL},
		      {0x2000, 'd', "percpu_of_module", "kvm"}, {K, 'T', "f", NULL},
		      {K + 4, 't', "$x", NULL}, {K + 8, 't', ".Ltmp0", NULL},
		      {K + 12, 'a', "abs", NULL}, {K + 16, 'U', "undefined", NULL},
		      {K + 20, 'N', "debug", NULL}, {M, 't', "g", "kvm"});
	uint64_t addr = 4711;

	(void)state;
	assert_int_equal(symtab_count(t), 2);
	assert_at(t, 0, NULL);
	assert_at(t, 0x1800, NULL);
	assert_at(t, 0x2000, NULL);
	assert_at(t, 0x7fff00000000, NULL);
	assert_at(t, K - 1, NULL);
	assert_at(t, K + 24, "f");
	assert_at(t, M, "g[kvm]");
	assert_true(symtab_find_name(t, "fixed_percpu_data", &addr));
	assert_int_equal(addr, 0);
	assert_true(symtab_find_name(t, "cpu_tss", &addr));
	assert_int_equal(addr, 0x1000);
	assert_false(symtab_find_name(t, "percpu_of_module", &addr));
	symtab_destroy(t);
}

/* s390 and 32 bit kernels live low; a page at 0 is nobody's all the same. */
static void test_low_kernel(void **state)
{
	struct symtab *t = TABLE({0, 'T', "hidden", NULL}, {0x10, 'd', "offset", NULL},
				 {0x100000, 'T', "_text", NULL}, {0x100040, 't', "f", NULL});

	(void)state;
	assert_int_equal(symtab_count(t), 2);
	assert_at(t, 0x10, NULL);
	assert_at(t, 0x100000, "_text");
	assert_at(t, 0x100041, "f");
	symtab_destroy(t);
}

/* No function is 64 MB long: what lies that far behind a symbol is not part of it. */
static void test_far_symbols_of_one_object(void **state)
{
	struct symtab *t = TABLE({K, 'T', "a", NULL}, {K + (64 << 20), 'T', "b", NULL},
				 {K + (129ULL << 20), 'T', "c", NULL});

	(void)state;
	assert_at(t, K + (63 << 20), "a");
	assert_at(t, K + (64 << 20) + 0xfff, "b");
	assert_at(t, K + (128ULL << 20), NULL);
	assert_at(t, K + (129ULL << 20), "c");
	symtab_destroy(t);
}

/* Two at one address: expected is found there, both are found by name. */
static void assert_one_of(struct line first, struct line second, const char *expected)
{
	struct symtab *t = TABLE(first, second);
	uint64_t addr = 0;

	assert_int_equal(symtab_count(t), 1);
	assert_at(t, K + 1, expected);
	assert_true(symtab_find_name(t, first.name, &addr) && addr == K);
	assert_true(symtab_find_name(t, second.name, &addr) && addr == K);
	symtab_destroy(t);
}

static void test_one_symbol_an_address(void **state)
{
	static const struct {
		struct line better, worse;
	} pairs[] = {
		{{K, 'T', "f", NULL}, {K, 't', "f_local", NULL}},	/* global before local */
		{{K, 't', "f", NULL}, {K, 'W', "f_weak_one", NULL}},	/* local before weak */
		{{K, 'T', "f", NULL}, {K, 'W', "f_weak", NULL}},	/* global before weak */
		{{K, 'T', "f", NULL}, {K, 'T', "__f_long", NULL}},	/* fewer underscores */
		{{K, 'T', "memcpy", NULL}, {K, 'W', "__memcpy", NULL}}, /* both */
		{{K, 'T', "longer", NULL}, {K, 'T', "long", NULL}},	/* the longer name */
		{{K, 't', "f", NULL}, {K, 'R', "r_longer", NULL}},	/* what perf knows */
		{{K, 'T', "__x64_sys_getpid", NULL}, {K, 'T', "__ia32_sys_getpid", NULL}},
		{{K, 'T', "__ia32_sys_getpid", NULL}, {K, 't', "__do_sys_getpid", NULL}},
		{{K, 'T', "sys_read", NULL}, {K, 'T', "SyS_read", NULL}},
		{{K, 'T', "compat_sys_read", NULL}, {K, 'T', "compat_SyS_read", NULL}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_one_of(pairs[i].better, pairs[i].worse, pairs[i].better.name);
		assert_one_of(pairs[i].worse, pairs[i].better, pairs[i].better.name);
	}
}

/* Nothing tells them apart: the first in the file, also when the file has to be sorted. */
static void test_ties_go_by_file_order(void **state)
{
	struct symtab *t = TABLE({K + 16, 'T', "c", NULL}, {K, 'T', "xx", NULL},
				 {K, 'T', "aa", NULL}, {K, 'T', "mm", NULL});

	(void)state;
	assert_at(t, K, "xx");
	assert_at(t, K + 16, "c");
	symtab_destroy(t);
}

static void test_unsorted_modules(void **state)
{
	struct symtab *t = TABLE({K, 'T', "a", NULL}, {M + 0x10000, 't', "n2", "new"},
				 {M + 0x10100, 't', "n3", "new"}, {M + 0x10050, 'd', "n1", "new"},
				 {M, 't', "o1", "old"}, {M + 0x20, 't', "o2", "old"});

	(void)state;
	assert_int_equal(symtab_count(t), 6);
	assert_at(t, M + 0x1f, "o1[old]");
	assert_at(t, M + 0x20, "o2[old]");
	assert_at(t, M + 0x1004f, "n2[new]");
	assert_at(t, M + 0x10050, "n1[new]");
	assert_at(t, M + 0x10100, "n3[new]");
	symtab_destroy(t);
}

/* The same text makes the same table wherever in the arena the names stand. */
static void test_objects_are_told_by_name(void **state)
{
	struct symtab *t = TABLE({M, 't', "a", "kvm"}, {M + 0x10, 't', "b", "kvm_intel"},
				 {M + 0x20, 't', "c", "kvm"}, {M + 0x30, 't', "d", "kv"},
				 {M + 0x40000, 't', "e", "kvm"});

	(void)state;
	assert_at(t, M + 0xf, "a[kvm]");
	assert_at(t, M + 0x1f, "b[kvm_intel]");
	assert_at(t, M + 0x2f, "c[kvm]");
	assert_at(t, M + 0x3f, "d[kv]");
	assert_at(t, M + 0x40000, "e[kvm]");
	symtab_destroy(t);
}

static void test_bad_offsets(void **state)
{
	static const struct {
		uint32_t name_off;
		uint16_t name_len;
		uint32_t object_off;
		uint16_t object_len;
		char type;
	} bad[] = {
		{9, 2, 0, 0, 't'},
		{UINT32_MAX, 1, 0, 0, 't'},
		{0, 1, 10, 1, 't'},
		{0, 1, UINT32_MAX, UINT16_MAX, 't'},
		{0, SYMTAB_NAME_MAX + 1, 0, 0, 't'},
		{0, 1, 0, 0, (char)0xe4},
	};

	(void)state;
	memset(arena, 'x', sizeof(arena));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct symtab_builder *b = symtab_builder_create();
		struct symtab *t = (struct symtab *)arena;

		symtab_builder_add(b, K, bad[i].type, bad[i].name_off, bad[i].name_len,
				   bad[i].object_off, bad[i].object_len);
		assert_int_equal(symtab_builder_finish(b, arena, i == 4 ? 1000 : 10, &t), -EINVAL);
		assert_ptr_equal(t, arena);
		symtab_builder_destroy(b);
	}
}

static void test_too_many(void **state)
{
	struct symtab_builder *b = symtab_builder_create();
	struct symtab *t;

	(void)state;
	for (uint32_t i = 0; i < SYMTAB_SYMBOLS_MAX; i++)
		symtab_builder_add(b, K + i, 't', 0, 1, 0, 0);
	assert_int_equal(symtab_builder_add(b, K, 't', 0, 1, 0, 0), -E2BIG);
	assert_int_equal(symtab_builder_finish(b, "x", 1, &t), 0);
	assert_int_equal(symtab_count(t), SYMTAB_SYMBOLS_MAX);
	symtab_destroy(t);
	/* It is empty again. */
	assert_int_equal(symtab_builder_finish(b, "x", 1, &t), 0);
	assert_int_equal(symtab_count(t), 0);
	symtab_destroy(t);
	symtab_builder_destroy(b);
}

/* Names of four letters, all different. */
static void test_too_many_objects(void **state)
{
	struct symtab_builder *b = symtab_builder_create();
	char *names = malloc(4 * SYMTAB_OBJECTS_MAX + 1);
	struct symtab *t;

	(void)state;
	for (uint32_t i = 0; i < SYMTAB_OBJECTS_MAX; i++) {
		snprintf(names + (size_t)4 * i, 5, "%04x", (i * 7919) & 0xffff);
		symtab_builder_add(b, M + i, 't', 0, 1, 4 * i, 4);
	}
	assert_int_equal(symtab_builder_finish(b, names, (size_t)4 * SYMTAB_OBJECTS_MAX, &t),
			 -E2BIG);
	for (uint32_t i = 1; i < SYMTAB_OBJECTS_MAX; i++)
		symtab_builder_add(b, M + i, 't', 0, 1, 4 * i, 4);
	assert_int_equal(symtab_builder_finish(b, names, (size_t)4 * SYMTAB_OBJECTS_MAX, &t), 0);
	for (uint32_t i = 1; i < SYMTAB_OBJECTS_MAX; i++) {
		struct symtab_hit h;

		assert_true(symtab_find(t, M + i, &h));
		assert_memory_equal(h.object, names + (size_t)4 * i, 4);
	}
	symtab_destroy(t);
	symtab_builder_destroy(b);
	free(names);
}

/* ---- beside a search that cannot be wrong ------------------------------------------------------
 */

struct model {
	uint64_t addr;
	unsigned object, id;
};

#define MODEL_MAX 300

/* The definition, as the header gives it: the highest address not above addr, the first of
 * that address in the file; to the next one of the same object, else to the guessed end. */
static int model_find(const struct model *m, size_t n, uint64_t addr)
{
	const struct model *best = NULL, *next = NULL;
	uint64_t end;

	for (size_t i = 0; i < n; i++) {
		if (m[i].addr <= addr && (!best || m[i].addr > best->addr))
			best = &m[i];
		if (m[i].addr > addr && (!next || m[i].addr < next->addr))
			next = &m[i];
	}
	if (!best)
		return -1;
	if (next && next->object == best->object && next->addr - best->addr <= 64 << 20)
		return (int)best->id;
	end = (best->addr + 8191) / 4096 * 4096;
	return addr < end ? (int)best->id : -1;
}

static struct symtab *random_table(struct model *m, size_t n, uint64_t spread)
{
	struct symtab_builder *b = symtab_builder_create();

	arena_len = 0;
	in_arena("object0object1object2object3");
	for (size_t i = 0; i < n; i++) {
		char name[16];
		uint64_t r = (uint64_t)random() << 31 | (uint64_t)random();

		snprintf(name, sizeof(name), "s%04zu", i);
		m[i] = (struct model){K + r % spread, (unsigned)random() % 4, (unsigned)i};
		symtab_builder_add(b, m[i].addr, 't', in_arena(name), 5, 7 * m[i].object,
				   m[i].object ? 7 : 0);
	}
	return finish(b);
}

static void assert_like_model(const struct symtab *t, const struct model *m, size_t n,
			      uint64_t addr)
{
	int expected = model_find(m, n, addr), found = -1;
	struct symtab_hit h;

	if (symtab_find(t, addr, &h))
		found = atoi((char[]){h.name[1], h.name[2], h.name[3], h.name[4], 0});
	if (found != expected)
		fail_msg("%zu symbols, at %#lx: %d, not %d", n, (unsigned long)addr, found,
			 expected);
	if (found >= 0)
		assert_true(h.start == m[found].addr &&
			    (h.object != NULL) == (m[found].object != 0));
}

/* In ascending order, by steps small and large, the cursor finds what a search does. */
static void assert_cursor(const struct symtab *t, uint64_t spread)
{
	uint64_t addr = 0;
	size_t cursor = 0;

	for (int i = 0; i < 200; i++) {
		struct symtab_hit by_search = {0}, by_cursor = {0};
		bool found = symtab_find(t, addr, &by_search);

		assert_int_equal(symtab_find_next(t, addr, &cursor, &by_cursor), found);
		assert_true(by_cursor.start == by_search.start && by_cursor.name == by_search.name);
		assert_int_equal(by_cursor.name_len, by_search.name_len);
		addr = i == 0 ? K
			      : addr + (uint64_t)random() %
						(random() % 9 ? spread / 64 + 1 : spread);
	}
	assert_false(symtab_find_next(t, UINT64_MAX, &cursor, &(struct symtab_hit){0}));
}

static void test_random_tables(void **state)
{
	static const uint64_t spreads[] = {20, 400, 20000, 1 << 20, 1ULL << 30};
	struct model m[MODEL_MAX];

	(void)state;
	srandom(20240607);
	for (int round = 0; round < 400; round++) {
		size_t n = (size_t)random() % (round % 4 ? 12 : MODEL_MAX);
		uint64_t spread = spreads[round % 5];
		struct symtab *t = random_table(m, n, spread);

		for (size_t i = 0; i < n; i++) {
			for (int d = -1; d <= 1; d++)
				assert_like_model(t, m, n, m[i].addr + (uint64_t)d);
			assert_like_model(t, m, n, (m[i].addr + 8191) / 4096 * 4096);
			assert_like_model(t, m, n, (m[i].addr + 8191) / 4096 * 4096 - 1);
		}
		for (int i = 0; i < 300; i++)
			assert_like_model(t, m, n, K + (uint64_t)random() % (spread + spread / 8));
		assert_cursor(t, spread);
		symtab_destroy(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_next_symbol_ends_the_one_before),
		cmocka_unit_test(test_last_symbol_of_the_kernel),
		cmocka_unit_test(test_end_markers),
		cmocka_unit_test(test_end_markers_give_way),
		cmocka_unit_test(test_gap_between_objects),
		cmocka_unit_test(test_bounds_of_a_module),
		cmocka_unit_test(test_wrong_bounds),
		cmocka_unit_test(test_bpf_and_trampolines),
		cmocka_unit_test(test_what_covers_nothing),
		cmocka_unit_test(test_low_kernel),
		cmocka_unit_test(test_far_symbols_of_one_object),
		cmocka_unit_test(test_one_symbol_an_address),
		cmocka_unit_test(test_ties_go_by_file_order),
		cmocka_unit_test(test_unsorted_modules),
		cmocka_unit_test(test_objects_are_told_by_name),
		cmocka_unit_test(test_bad_offsets),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_too_many_objects),
		cmocka_unit_test(test_random_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
