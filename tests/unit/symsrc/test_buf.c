/* The growing buffer: its maximum holds, its errors stick, a NUL always follows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "symsrc/base/buf.h"

static void test_empty_is_a_string(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_string_equal(b.data, "");
	assert_int_equal(b.cap, 0);
	buf_clear(&b);
	buf_deinit(&b);
	assert_string_equal(b.data, "");
}

static void test_appends_add_up(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_int_equal(buf_append(&b, "ab", 2), 0);
	assert_int_equal(buf_append_str(&b, "cd"), 0);
	assert_int_equal(buf_append_char(&b, 'e'), 0);
	assert_int_equal(buf_printf(&b, "%d-%s", 12, "f"), 0);
	assert_int_equal(buf_append(&b, NULL, 0), 0);
	assert_string_equal(b.data, "abcde12-f");
	assert_int_equal(b.len, 9);
	buf_deinit(&b);
	assert_int_equal(b.max, 1000);
}

static void test_grows_far(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(buf_append(&b, &(char){(char)('a' + i % 26)}, 1), 0);
	assert_int_equal(b.len, 100000);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(b.data[i], 'a' + i % 26);
	assert_int_equal(b.data[b.len], '\0');
	assert_true(b.cap <= b.max + 1);
	buf_deinit(&b);
}

/* Full to the last byte is right; one more is not, and changes nothing. */
static void test_maximum(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4);
	assert_int_equal(buf_append(&b, "abcd", 4), 0);
	assert_int_equal(buf_append_char(&b, 'e'), -EFBIG);
	assert_string_equal(b.data, "abcd");
	assert_int_equal(b.err, -EFBIG);
	buf_deinit(&b);
}

static void test_all_or_nothing_and_sticky(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 5);
	buf_append_str(&b, "abc");
	assert_int_equal(buf_append_str(&b, "def"), -EFBIG);
	assert_string_equal(b.data, "abc");
	assert_int_equal(buf_append_char(&b, 'd'), -EFBIG);
	assert_int_equal(buf_printf(&b, "d"), -EFBIG);
	assert_null(buf_reserve(&b, 1));
	assert_string_equal(b.data, "abc");
	buf_clear(&b);
	assert_int_equal(b.err, 0);
	assert_int_equal(buf_append_str(&b, "fghij"), 0);
	assert_string_equal(b.data, "fghij");
	buf_deinit(&b);
}

static void test_nothing_fits_into_zero(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	assert_int_equal(buf_append(&b, "", 0), 0);
	assert_int_equal(buf_append_char(&b, 'x'), -EFBIG);
	assert_string_equal(b.data, "");
	buf_deinit(&b);
}

/* A size that would overflow the arithmetic is too big, not small. */
static void test_huge_sizes(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, SIZE_MAX);
	assert_true(b.max < SIZE_MAX / 2);
	buf_append_str(&b, "abc");
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_int_equal(b.err, -EFBIG);
	buf_clear(&b);
	assert_null(buf_reserve(&b, SIZE_MAX - 2));
	assert_string_equal(b.data, "");
	buf_deinit(&b);
}

static void test_reserve_and_commit(void **state)
{
	struct buf b;
	char *to;

	(void)state;
	buf_init(&b, 100);
	to = buf_reserve(&b, 50);
	assert_non_null(to);
	assert_string_equal(b.data, ""); /* also before anything was committed */
	memcpy(to, "hello!!!", 8);
	buf_commit(&b, 5);
	assert_string_equal(b.data, "hello");
	assert_non_null(buf_reserve(&b, 95));
	buf_commit(&b, 0);
	assert_null(buf_reserve(&b, 96));
	buf_deinit(&b);
}

static void test_steal(void **state)
{
	struct buf b;
	size_t len = 77;
	char *stolen;

	(void)state;
	buf_init(&b, 100);
	stolen = buf_steal(&b, &len); /* of nothing: still memory to be freed */
	assert_non_null(stolen);
	assert_int_equal(len, 0);
	free(stolen);
	buf_append_str(&b, "take");
	stolen = buf_steal(&b, &len);
	assert_string_equal(stolen, "take");
	assert_int_equal(len, 4);
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_append_str(&b, "again"), 0);
	assert_string_equal(stolen, "take");
	free(stolen);
	buf_deinit(&b);
}

static void test_steal_refuses_after_error(void **state)
{
	struct buf b;
	size_t len = 77;

	(void)state;
	buf_init(&b, 2);
	buf_append_str(&b, "ab");
	buf_append_str(&b, "c");
	assert_null(buf_steal(&b, &len));
	assert_int_equal(len, 77);
	assert_string_equal(b.data, "ab");
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_is_a_string),
		cmocka_unit_test(test_appends_add_up),
		cmocka_unit_test(test_grows_far),
		cmocka_unit_test(test_maximum),
		cmocka_unit_test(test_all_or_nothing_and_sticky),
		cmocka_unit_test(test_nothing_fits_into_zero),
		cmocka_unit_test(test_huge_sizes),
		cmocka_unit_test(test_reserve_and_commit),
		cmocka_unit_test(test_steal),
		cmocka_unit_test(test_steal_refuses_after_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
