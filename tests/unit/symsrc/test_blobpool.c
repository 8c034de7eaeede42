/* Equal blobs once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/blobpool.h"

#define THREADS 4
#define TURNS	5000

static struct blob *new_blob(const char *text)
{
	struct blob *b = blob_from_bytes(text, strlen(text));

	assert_non_null(b);
	return b;
}

static void test_equal_ones_are_one(void **state)
{
	struct blobpool *pool = blobpool_create();
	struct blob *a, *b, *c;

	(void)state;
	a = blobpool_share(pool, new_blob("btf of 6.1"));
	b = blobpool_share(pool, new_blob("btf of 6.1"));
	c = blobpool_share(pool, new_blob("btf of 6.2"));
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_string_equal(b->data, "btf of 6.1");
	assert_string_equal(c->data, "btf of 6.2");
	assert_int_equal(blobpool_count(pool), 2);
	assert_null(blobpool_share(pool, NULL));
	blob_put(a);
	assert_string_equal(b->data, "btf of 6.1");
	blob_put(b);
	blob_put(c);
	blobpool_destroy(pool);
}

/* It holds on to nothing. */
static void test_the_last_reference_ends_it(void **state)
{
	struct blobpool *pool = blobpool_create();
	struct blob *a = blobpool_share(pool, new_blob("once"));

	(void)state;
	a = blobpool_share(pool, a); /* it is there already: nothing happens */
	blob_put(a);
	assert_int_equal(blobpool_count(pool), 0);
	a = blobpool_share(pool, new_blob("once"));
	assert_int_equal(blobpool_count(pool), 1);
	blob_put(a);
	blobpool_destroy(pool);
}

static void test_a_blob_outlives_the_owner(void **state)
{
	struct blobpool *pool = blobpool_create();
	struct blob *a = blobpool_share(pool, new_blob("still open in a reader"));

	(void)state;
	blobpool_destroy(pool);
	assert_string_equal(a->data, "still open in a reader");
	blob_put(a);
}

static void *come_and_go(void *arg)
{
	for (int i = 0; i < TURNS; i++) {
		struct blob *b = blobpool_share(arg, blob_from_bytes("same", 4));

		if (memcmp(b->data, "same", 4) != 0)
			return arg;
		blob_put(b);
	}
	return NULL;
}

static void test_from_many_threads(void **state)
{
	struct blobpool *pool = blobpool_create();
	pthread_t threads[THREADS];
	void *bad;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, come_and_go, pool);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	assert_int_equal(blobpool_count(pool), 0);
	blobpool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_ones_are_one),
		cmocka_unit_test(test_the_last_reference_ends_it),
		cmocka_unit_test(test_a_blob_outlives_the_owner),
		cmocka_unit_test(test_from_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
