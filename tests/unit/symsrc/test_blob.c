/* Immutable bytes with a reference count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/blob.h"

static void test_takes_the_buffer_over(void **state)
{
	struct blob *blob;
	struct buf b;
	(void)state;
	buf_init(&b, 1 << 20);
	for (int i = 0; i < 50000; i++)
		buf_append_str(&b, "0123456789");
	blob = blob_from_buf(&b);
	assert_non_null(blob);
	assert_int_equal(blob->size, 500000);
	assert_memory_equal(blob->data + 499990, "0123456789", 10);
	assert_int_equal(blob->data[blob->size], '\0');
	assert_int_equal(b.len, 0);
	blob_put(blob);
	buf_deinit(&b);
}

static void test_refuses_a_broken_buffer(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 2);
	buf_append_str(&b, "ab");
	buf_append_str(&b, "c");
	assert_null(blob_from_buf(&b));
	assert_string_equal(b.data, "ab");
	buf_deinit(&b);
}

static void test_copies_any_bytes(void **state)
{
	struct blob *blob = blob_from_bytes("a\0b", 3), *none = blob_from_bytes(NULL, 0);

	(void)state;
	assert_int_equal(blob->size, 3);
	assert_memory_equal(blob->data, "a\0b", 4);
	assert_int_equal(none->size, 0);
	assert_string_equal(none->data, "");
	blob_put(blob);
	blob_put(none);
}

static void test_null_is_accepted(void **state)
{
	(void)state;
	assert_null(blob_get(NULL));
	blob_put(NULL);
}

static void *get_and_put(void *arg)
{
	for (int i = 0; i < 10000; i++)
		blob_put(blob_get(arg));
	blob_put(arg);
	return NULL;
}

/* For the sanitizers: whoever puts last frees, once. */
static void test_threads(void **state)
{
	struct blob *blob = blob_from_bytes("x", 1);
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_put, blob_get(blob)), 0);
	blob_put(blob);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_takes_the_buffer_over),
		cmocka_unit_test(test_refuses_a_broken_buffer),
		cmocka_unit_test(test_copies_any_bytes),
		cmocka_unit_test(test_null_is_accepted),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
