/* Lines of /proc/modules, right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/modules.h"

static struct {
	struct module_line lines[16];
	size_t count;
	int answer; /* of the callback */
} seen;

static int see(void *ctx, const struct module_line *m)
{
	assert_ptr_equal(ctx, &seen);
	assert_true(seen.count < ARRAY_SIZE(seen.lines));
	seen.lines[seen.count++] = *m;
	return seen.answer;
}

/* From memory that ends where the text does, for the sanitizer. */
static int parse_n(const char *text, size_t n, struct errmsg *why)
{
	CLEANUP_FREE char *copy = malloc(n + !n);

	memcpy(copy, text, n);
	memset(&seen, 0, sizeof(seen));
	return modules_parse(copy, n, see, &seen, why);
}

static int parse(const char *text, struct errmsg *why)
{
	return parse_n(text, strlen(text), why);
}

static void test_real_lines(void **state)
{
	static const struct {
		const char *line, *name;
		uint64_t size, base;
	} good[] = {
		{"ext4 1015808 1 - Live 0xffffffffc0a8e000\n", "ext4", 1015808, 0xffffffffc0a8e000},
		{"jbd2 167936 1 ext4, Live 0xffffffffc0a4c000\n", "jbd2", 167936,
		 0xffffffffc0a4c000},
		{"crc16 16384 2 bluetooth,ext4, Live 0xffffffffc0123000 (OE)\n", "crc16", 16384,
		 0xffffffffc0123000},
		{"nvidia 39051264 0 - Loading 0xffffffffc1000000 (POE+)\n", "nvidia", 39051264,
		 0xffffffffc1000000},
		{"gone 4096 -1 - Unloading 0xffffffffc1000000 (-)\n", "gone", 4096,
		 0xffffffffc1000000},
		{"perm 4096 0 [permanent], Live 0x0000000000000000\n", "perm", 4096, 0},
		{"fixed 4096 - - Live 0xbf000000\n", "fixed", 4096, 0xbf000000},
		{"8021q 45056 0 - Live 0xffffffffc0111000\n", "8021q", 45056, 0xffffffffc0111000},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct errmsg why = {0};

		if (parse(good[i].line, &why) != 0)
			fail_msg("%s", why.text);
		assert_int_equal(seen.count, 1);
		assert_string_equal(seen.lines[0].name, good[i].name);
		assert_true(seen.lines[0].size == good[i].size);
		assert_true(seen.lines[0].base == good[i].base);
	}
}

static void test_several_and_none(void **state)
{
	(void)state;
	assert_int_equal(parse("a 1 0 - Live 0x1000\nb 2 0 - Live 0x2000\n", NULL), 0);
	assert_int_equal(seen.count, 2);
	assert_string_equal(seen.lines[1].name, "b");
	assert_int_equal(parse("", NULL), 0);
	assert_int_equal(seen.count, 0);
}

static void test_callback_ends_it(void **state)
{
	const char text[] = "a 1 0 - Live 0x1000\nb 2 0 - Live 0x2000\n";

	(void)state;
	memset(&seen, 0, sizeof(seen));
	seen.answer = -E2BIG;
	assert_int_equal(modules_parse(text, strlen(text), see, &seen, NULL), -E2BIG);
	assert_int_equal(seen.count, 1);
}

static void test_nasty_lines(void **state)
{
	static const struct {
		const char *line;
		size_t len;
		const char *why;
	} bad[] = {
		{"\n", 0, "no module name"},
		{" a 1 0 - Live 0x1000\n", 0, "no module name"},
		{"../etc 1 0 - Live 0x1000\n", 0, "no module name"},
		{"a/b 1 0 - Live 0x1000\n", 0, "no module name"},
		{"a\033 1 0 - Live 0x1000\n", 0, "no module name"},
		{"a\0b 1 0 - Live 0x1000\n", 22, "no module name"},
		{"a\n", 0, "no size"},
		{"a  1 0 - Live 0x1000\n", 0, "no size"},
		{"a x 0 - Live 0x1000\n", 0, "no size"},
		{"a 99999999999999999999 0 - Live 0x1000\n", 0, "no size"},
		{"a 1\n", 0, "no use count"},
		{"a 1 x - Live 0x1000\n", 0, "no use count"},
		{"a 1 0\n", 0, "no list of users"},
		{"a 1 0 - Dead 0x1000\n", 0, "no state"},
		{"a 1 0 - Live\n", 0, "no address"},
		{"a 1 0 - Live 1000\n", 0, "no address"},
		{"a 1 0 - Live 0x\n", 0, "no address"},
		{"a 1 0 - Live 0x0x1000\n", 0, "no address"},
		{"a 1 0 - Live 0x11112222333344445\n", 0, "no address"},
		{"a 1 0 - Live 0x1000 OE\n", 0, "more than a module"},
		{"a 1 0 - Live 0x1000 (OE) x\n", 0, "more than a module"},
		{"a 1 0 - Live 0x1000 (OE) \n", 0, NULL},
		{"a 1 0 - Live 0x1000", 0, "cut off"},
		{"a", 0, "cut off"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[256] = "good 1 0 - Live 0x1000\n";
		size_t good = strlen(text), n = bad[i].len ? bad[i].len : strlen(bad[i].line);
		struct errmsg why = {0};

		memcpy(text + good, bad[i].line, n);
		int r = parse_n(text, good + n, &why);
		if (!bad[i].why) {
			assert_int_equal(r, 0);
			continue;
		}
		if (r != -EBADMSG || !strstr(why.text, bad[i].why) ||
		    !strstr(why.text, "/proc/modules line 2: "))
			fail_msg("line %zu: %d: %s", i, r, why.text);
		assert_int_equal(seen.count, 1);
	}
}

/* With and without a newline at its far end. */
static void test_endless_line(void **state)
{
	size_t n = 3 << 20;
	CLEANUP_FREE char *text = malloc(n);
	struct errmsg why;

	(void)state;
	memset(text, 'a', n);
	assert_int_equal(modules_parse(text, n, see, &seen, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "longer than any line can be"));
	text[n - 1] = '\n';
	assert_int_equal(modules_parse(text, n, see, &seen, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "longer than any line can be"));
}

static int is_valid(const char *name)
{
	return module_name_is_valid(name, strlen(name));
}

static void test_names(void **state)
{
	char name[MODULE_NAME_MAX + 1];

	(void)state;
	assert_true(is_valid("ext4") && is_valid("snd-hda") && is_valid("a.b") &&
		    is_valid("8021q"));
	assert_true(is_valid("__builtin__ftrace"));
	assert_false(is_valid("") || is_valid(".") || is_valid("..") || is_valid(".a"));
	assert_false(is_valid("a/b") || is_valid("a b") || is_valid("a\n") || is_valid("a\xe4"));
	assert_false(module_name_is_valid("a\0b", 3));
	memset(name, 'a', sizeof(name));
	assert_true(module_name_is_valid(name, MODULE_NAME_MAX - 1));
	assert_false(module_name_is_valid(name, MODULE_NAME_MAX));
}

static int same(const char *a, const char *b)
{
	return modules_same(a, strlen(a), b, strlen(b));
}

static void test_same(void **state)
{
	(void)state;
	assert_true(same("", ""));
	assert_true(same("a 1 0 - Live 0x1000\n", "a 1 7 b,c, Live 0x1000 (E)\n"));
	assert_true(same("a 1 0 - Loading 0x1000\n", "a 1 0 - Live 0x1000\n"));
	assert_false(same("a 1 0 - Live 0x1000\n", "a 1 0 - Live 0x2000\n"));
	assert_false(same("a 1 0 - Live 0x1000\n", "a 2 0 - Live 0x1000\n"));
	assert_false(same("a 1 0 - Live 0x1000\n", "b 1 0 - Live 0x1000\n"));
	assert_false(same("a 1 0 - Live 0x1000\n", ""));
	assert_false(same("", "a 1 0 - Live 0x1000\n"));
	assert_false(same("a 1 0 - Live 0x1000\n", "a 1 0 - Live 0x1000\nb 1 0 - Live 0x2000\n"));
	assert_false(same("junk\n", "junk\n"));
	assert_false(same("a 1 0 - Live 0x1000\n", "a 1 0 - Live 0x1000"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_lines),
		cmocka_unit_test(test_several_and_none),
		cmocka_unit_test(test_callback_ends_it),
		cmocka_unit_test(test_nasty_lines),
		cmocka_unit_test(test_endless_line),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
