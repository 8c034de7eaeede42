/* The cache of contents never holds more than it may, and what is in use longest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <cmocka.h>

#include "symsrc/filecache.h"

static void put(struct filecache *c, uint64_t serial, uint64_t file, size_t size)
{
	const struct filecache_key key = {serial, file, 1};
	char *bytes = calloc(1, size + 1);
	struct blob *blob = blob_from_bytes(bytes, size);

	assert_non_null(blob);
	filecache_put(c, &key, blob);
	blob_put(blob);
	free(bytes);
}

static bool has(struct filecache *c, uint64_t serial, uint64_t file, uint64_t stamp)
{
	const struct filecache_key key = {serial, file, stamp};
	struct blob *blob = filecache_get(c, &key);

	blob_put(blob);
	return blob != NULL;
}

static void test_bytes(void **state)
{
	struct filecache *c = filecache_create(1000);
	const struct filecache_key two = {1, 2, 1};
	struct blob *held;

	(void)state;
	put(c, 1, 1, 400);
	put(c, 1, 2, 400);
	assert_true(has(c, 1, 1, 1)); /* now the newer one */
	held = filecache_get(c, &two);
	assert_true(has(c, 1, 1, 1));
	put(c, 1, 3, 400);
	assert_int_equal(filecache_size(c), 800);
	assert_false(has(c, 1, 2, 1));
	assert_true(has(c, 1, 1, 1));
	assert_int_equal(held->size, 400); /* who reads it still does */
	blob_put(held);
	put(c, 1, 4, 1001); /* never fits, and costs nobody its place */
	assert_int_equal(filecache_size(c), 800);
	put(c, 1, 5, 1000);
	assert_int_equal(filecache_size(c), 1000);
	assert_false(has(c, 1, 1, 1));
	filecache_destroy(c);
}

static void test_keys(void **state)
{
	struct filecache *c = filecache_create(1000);

	(void)state;
	put(c, 1, 7, 10);
	put(c, 1, 7, 20); /* replaces */
	put(c, 2, 7, 30);
	assert_int_equal(filecache_size(c), 50);
	assert_false(has(c, 1, 7, 2));
	assert_false(has(c, 3, 7, 1));
	filecache_drop_guest(c, 1);
	assert_false(has(c, 1, 7, 1));
	assert_true(has(c, 2, 7, 1));
	assert_int_equal(filecache_size(c), 30);
	filecache_destroy(c);
}

/* Empty ones cost room, too. */
static void test_number(void **state)
{
	struct filecache *c = filecache_create(1000);

	(void)state;
	for (unsigned i = 0; i <= FILECACHE_MOST; i++)
		put(c, 1, i, 0);
	assert_false(has(c, 1, 0, 1));
	assert_true(has(c, 1, 1, 1));
	assert_true(has(c, 1, FILECACHE_MOST, 1));
	filecache_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
