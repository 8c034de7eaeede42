/* Strangers' bytes: what is shown of them, and what is taken for a name or a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/base/text.h"

static void assert_escaped(const char *bytes, size_t n, const char *expected)
{
	char dst[256];

	size_t len = text_escape(dst, sizeof(dst), bytes, n);

	assert_string_equal(dst, expected);
	assert_int_equal(len, strlen(expected));
}

static void test_escape(void **state)
{
	(void)state;
	assert_escaped("plain text!", 11, "plain text!");
	assert_escaped("", 0, "");
	assert_escaped("a\nb\0c", 5, "a\\x0ab\\x00c");
	assert_escaped("\x1b[2J", 4, "\\x1b[2J");
	assert_escaped("back\\slash", 10, "back\\x5cslash");
	assert_escaped("\x7f\x80\xff", 3, "\\x7f\\x80\\xff");
}

/* Whatever the size: terminated, within it, and no escape cut in half. */
static void test_escape_is_never_cut(void **state)
{
	char dst[16];

	(void)state;
	for (size_t size = 1; size <= 12; size++) {
		memset(dst, 'Z', sizeof(dst));
		size_t len = text_escape(dst, size, "ab\n\nc", 5);

		assert_int_equal(len, strlen(dst));
		assert_true(len < size);
		assert_int_equal(dst[size], 'Z');
		assert_true(len <= 2 || len == 6 || len == 10 || len == 11);
	}
}

static void test_clean_changes_nothing_twice(void **state)
{
	char once[64], twice[64];
	size_t n = text_clean(once, sizeof(once), "a\n\\b\x1b", 5);

	(void)state;
	assert_string_equal(once, "a\\x0a\\b\\x1b");
	text_clean(twice, sizeof(twice), once, n);
	assert_string_equal(once, twice);
}

static void test_word(void **state)
{
	(void)state;
	assert_true(text_is_word("abc!~", 5));
	assert_false(text_is_word("a b", 3));
	assert_false(text_is_word("a\tb", 3));
	assert_false(text_is_word("a\0b", 3));
	assert_false(text_is_word("a\x7f", 2));
	assert_false(text_is_word("\xc3\xa4", 2));
	assert_true(text_is_word("", 0));
}

/* Each byte at each place of words of each length. */
static void test_words_of_each_length(void **state)
{
	char word[40];

	(void)state;
	for (size_t n = 1; n < sizeof(word); n++) {
		memset(word, 'x', sizeof(word));
		for (size_t at = 0; at < n; at++) {
			for (int c = 0; c < 256; c++) {
				word[at] = (char)c;
				assert_int_equal(text_is_word(word, n), c > 0x20 && c < 0x7f);
			}
			word[at] = 'x';
		}
		word[n] = ' '; /* is no part of it */
		assert_true(text_is_word(word, n));
	}
}

static void test_component(void **state)
{
	char long_name[257];

	(void)state;
	assert_true(text_is_component("a"));
	assert_true(text_is_component("...") && text_is_component(".hidden"));
	assert_false(text_is_component(""));
	assert_false(text_is_component("."));
	assert_false(text_is_component(".."));
	assert_false(text_is_component("a/b"));
	assert_false(text_is_component("a\nb"));
	memset(long_name, 'a', 256);
	long_name[256] = '\0';
	assert_false(text_is_component(long_name));
	long_name[255] = '\0';
	assert_true(text_is_component(long_name));
}

static void assert_component(const char *name, const char *expected)
{
	char dst[300];

	size_t len = text_to_component(dst, sizeof(dst), name);

	assert_string_equal(dst, expected);
	assert_int_equal(len, strlen(expected));
}

static void test_to_component(void **state)
{
	(void)state;
	assert_component("vm1", "vm1");
	assert_component("my vm", "my\\x20vm");
	assert_component("../../etc", "..\\x2f..\\x2fetc");
	assert_component("", "\\x");
	assert_component(".", "\\x2e");
	assert_component("..", "\\x2e.");
	assert_component("\\x", "\\x5cx");
}

/* Any bytes, any size: always something that a directory takes. */
static void test_to_component_always_is_one(void **state)
{
	static const char alphabet[] = ".. /a\\\n\xff";
	char name[301], dst[400];

	(void)state;
	srandom(1);
	for (int round = 0; round < 20000; round++) {
		size_t n = (size_t)random() % (round % 100 ? 6 : 300);
		size_t size = 8 + (size_t)random() % 300;

		for (size_t i = 0; i < n; i++)
			name[i] = alphabet[(size_t)random() % (sizeof(alphabet) - 1)];
		name[n] = '\0';
		size_t len = text_to_component(dst, size, name);

		assert_int_equal(len, strlen(dst));
		assert_true(len < size);
		if (!text_is_component(dst))
			fail_msg("%s", dst);
	}
}

static void assert_number(const char *s, int base, uint64_t expected)
{
	uint64_t n = 4711;

	assert_true(text_to_u64(s, base, UINT64_MAX, &n));
	assert_true(n == expected);
}

static void assert_no_number(const char *s, int base, uint64_t max)
{
	uint64_t n = 4711;

	assert_false(text_to_u64(s, base, max, &n));
	assert_int_equal(n, 4711);
}

static void test_numbers(void **state)
{
	(void)state;
	assert_number("0", 10, 0);
	assert_number("0018", 10, 18);
	assert_number("18446744073709551615", 10, UINT64_MAX);
	assert_number("fFffffff81000000", 16, 0xffffffff81000000);
	assert_no_number("18446744073709551616", 10, UINT64_MAX);
	assert_no_number("10000000000000000", 16, UINT64_MAX);
	assert_no_number("8", 10, 7);
	assert_no_number("", 10, UINT64_MAX);
	assert_no_number("-1", 10, UINT64_MAX);
	assert_no_number("+1", 10, UINT64_MAX);
	assert_no_number(" 1", 10, UINT64_MAX);
	assert_no_number("1 ", 10, UINT64_MAX);
	assert_no_number("1a", 10, UINT64_MAX);
	assert_no_number("0x10", 16, UINT64_MAX);
	assert_no_number("0x10", 10, UINT64_MAX);
	assert_no_number("g", 16, UINT64_MAX);
}

/* An error is one line, whatever is in it, and keeps the escapes it was given. */
static void test_errmsg(void **state)
{
	struct errmsg e = {0};
	char big[1000];

	(void)state;
	assert_int_equal(errmsg_set(&e, -EBADMSG, "line %d: %s", 3, "a\nb\x1b[0m\\x0a"), -EBADMSG);
	assert_int_equal(e.code, -EBADMSG);
	assert_string_equal(e.text, "line 3: a\\x0ab\\x1b[0m\\x0a");
	assert_int_equal(errmsg_set(&e, -EIO, "again: %s", e.text), -EIO);
	assert_string_equal(e.text, "again: line 3: a\\x0ab\\x1b[0m\\x0a");
	memset(big, '\n', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	errmsg_set(&e, -EIO, "%s", big);
	assert_true(strlen(e.text) < sizeof(e.text));
	assert_int_equal(errmsg_set(NULL, -EIO, "nobody listens"), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_is_never_cut),
		cmocka_unit_test(test_clean_changes_nothing_twice),
		cmocka_unit_test(test_word),
		cmocka_unit_test(test_words_of_each_length),
		cmocka_unit_test(test_component),
		cmocka_unit_test(test_to_component),
		cmocka_unit_test(test_to_component_always_is_one),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_errmsg),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
