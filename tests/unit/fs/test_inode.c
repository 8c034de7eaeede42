/* Generations: one inode for one text, freed when the kernel has forgotten it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>

#include "fs/inode.h"

static const struct place profile = {.node = NODE_PROFILE, .serial = 1};
static const struct place kallsyms = {.node = NODE_KALLSYMS, .serial = 1};

static int set_up(void **state)
{
	*state = inodes_create();
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	inodes_destroy(*state);
	return 0;
}

static uint64_t look_up(struct inodes *t, const struct place *p, const char *text, uint64_t at)
{
	struct blob *b = blob_from_bytes(text, strlen(text));
	struct inode_view v = {0};
	uint64_t id;

	assert_int_equal(inodes_lookup_content(t, p, b, at, &v), 0);
	assert_int_equal(v.content->size, strlen(text));
	assert_memory_equal(v.content->data, text, strlen(text));
	id = v.id;
	inode_view_put(&v);
	blob_put(b);
	return id;
}

static void assert_content(struct inodes *t, uint64_t id, const char *want)
{
	struct inode_view v = {0};

	assert_int_equal(inodes_get(t, id, &v), 0);
	assert_string_equal(v.content->data, want);
	inode_view_put(&v);
}

static void test_root_stays(void **state)
{
	struct inode_view v = {0};

	inodes_forget(*state, INODE_ROOT, 1000);
	assert_int_equal(inodes_get(*state, INODE_ROOT, &v), 0);
	assert_int_equal(v.place.node, NODE_ROOT);
	inode_view_put(&v);
}

static void test_another_text_is_another_inode(void **state)
{
	uint64_t a = look_up(*state, &profile, "one", 10);
	uint64_t b = look_up(*state, &profile, "two", 20);

	assert_true(a != b);
	/* A reader that has the first one open goes on reading it. */
	assert_content(*state, a, "one");
	assert_content(*state, b, "two");
	inodes_forget(*state, a, 1);
	assert_content(*state, b, "two");
	inodes_forget(*state, b, 1);
	assert_int_equal(inodes_count(*state), 1);
}

static void test_the_same_text_is_the_same_inode(void **state)
{
	uint64_t a = look_up(*state, &profile, "one", 10);

	assert_int_equal(look_up(*state, &profile, "one", 20), a);
	/* Two lookups are to be forgotten. */
	inodes_forget(*state, a, 1);
	assert_content(*state, a, "one");
	inodes_forget(*state, a, 1);
	assert_int_equal(inodes_count(*state), 1);
}

/* Two threads made a text at once; the one that is late must not win. */
static void test_an_older_text_does_not_replace_a_newer_one(void **state)
{
	uint64_t b = look_up(*state, &profile, "new", 20);
	struct blob *old = blob_from_bytes("old", 3);
	struct inode_view v = {0};

	assert_int_equal(inodes_lookup_content(*state, &profile, old, 10, &v), 0);
	assert_int_equal(v.id, b);
	assert_string_equal(v.content->data, "new");
	inode_view_put(&v);
	blob_put(old);
}

static void test_fresh(void **state)
{
	uint64_t a = look_up(*state, &profile, "one", 10);
	struct inode_view v = {0};

	assert_int_equal(inodes_lookup_fresh(*state, &profile, 9, &v), 0);
	assert_int_equal(v.id, a);
	inode_view_put(&v);
	assert_int_equal(inodes_lookup_fresh(*state, &profile, 10, &v), -ENOENT);
	assert_int_equal(inodes_lookup_fresh(*state, &kallsyms, 0, &v), -ENOENT);
}

/* To find the same text once more makes it fresh again. */
static void test_the_same_text_is_fresh_again(void **state)
{
	struct inode_view v = {0};

	look_up(*state, &profile, "one", 10);
	look_up(*state, &profile, "one", 30);
	assert_int_equal(inodes_lookup_fresh(*state, &profile, 20, &v), 0);
	inode_view_put(&v);
}

static void test_places_do_not_mix(void **state)
{
	struct place other = profile, module = {.node = NODE_SYS_MODULE_BUILD_ID, .serial = 1};
	struct place module2 = module;

	other.serial = 2;
	strcpy(module.module, "ext4");
	strcpy(module2.module, "dm_mod");
	assert_true(look_up(*state, &profile, "x", 1) != look_up(*state, &other, "x", 1));
	assert_true(look_up(*state, &module, "x", 1) != look_up(*state, &module2, "x", 1));
}

static void test_stable(void **state)
{
	const struct place dir = {.node = NODE_GUEST, .serial = 1};
	struct inode_view a = {0}, b = {0};

	assert_int_equal(inodes_lookup_stable(*state, &dir, &a), 0);
	assert_int_equal(inodes_lookup_stable(*state, &dir, &b), 0);
	assert_int_equal(a.id, b.id);
	assert_null(a.content);
	inodes_forget(*state, a.id, 2);
	assert_int_equal(inodes_get(*state, a.id, &a), -ENOENT);
	/* A number is never used twice. */
	assert_int_equal(inodes_lookup_stable(*state, &dir, &b), 0);
	assert_true(b.id != a.id);
}

static void test_placeholder(void **state)
{
	struct blob *text = blob_from_bytes("symbols", 7), *other = blob_from_bytes("other", 5);
	struct inode_view v = {0}, w = {0};

	assert_int_equal(inodes_lookup_placeholder(*state, &kallsyms, &v), 0);
	assert_null(v.content);
	assert_true(v.bound_late);
	assert_int_equal(inodes_lookup_placeholder(*state, &kallsyms, &w), 0);
	assert_int_equal(v.id, w.id);
	assert_int_equal(inodes_bind(*state, v.id, text), 0);
	assert_content(*state, v.id, "symbols");
	/* Its content never changes either. */
	assert_int_equal(inodes_bind(*state, v.id, other), 0);
	assert_content(*state, v.id, "symbols");
	/* From now on a proper inode, whose pages the kernel may keep. */
	assert_true(look_up(*state, &kallsyms, "symbols", 5) != v.id);
	/* A reboot: the next one waits anew. */
	assert_int_equal(inodes_lookup_placeholder(*state, &kallsyms, &w), 0);
	assert_true(w.id != v.id);
	assert_null(w.content);
	assert_int_equal(inodes_bind(*state, 12345, text), -ENOENT);
	blob_put(text);
	blob_put(other);
}

static void test_forgetting_too_much_is_harmless(void **state)
{
	uint64_t a = look_up(*state, &profile, "one", 10);

	inodes_forget(*state, a, 99);
	inodes_forget(*state, a, 1);
	inodes_forget(*state, 777, 1);
	assert_int_equal(inodes_count(*state), 1);
}

#define MANY 5000

static void test_many(void **state)
{
	static uint64_t ids[MANY];
	struct place p = {.node = NODE_INFO};
	char text[16];

	for (unsigned i = 0; i < MANY; i++) {
		p.serial = i + 1;
		snprintf(text, sizeof(text), "%u", i);
		ids[i] = look_up(*state, &p, text, 1);
	}
	assert_int_equal(inodes_count(*state), MANY + 1);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "%u", i);
		assert_content(*state, ids[i], text);
		inodes_forget(*state, ids[i], 1);
	}
	assert_int_equal(inodes_count(*state), 1);
}

static void *look_and_forget(void *arg)
{
	char text[32];

	for (unsigned i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "%u", i % 7);
		inodes_forget(arg, look_up(arg, &profile, text, UINT64_MAX), 1);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look_and_forget, *state), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(inodes_count(*state), 1);
}

/* A file of the guest's disk: one inode while it is the same, another one when it has changed. */
static void test_files(void **state)
{
	const struct place p = {.node = NODE_FILES_FILE, .serial = 1, .file = 7};
	struct inode_view a = {0}, b = {0};

	assert_int_equal(inodes_lookup_file(*state, &p, 100, 1, &a), 0);
	assert_int_equal(a.size, 100);
	assert_int_equal(inodes_lookup_file(*state, &p, 100, 1, &b), 0);
	assert_int_equal(a.id, b.id);
	assert_int_equal(inodes_lookup_file(*state, &p, 100, 2, &b), 0);
	assert_true(a.id != b.id);
	assert_int_equal(inodes_get(*state, a.id, &a), 0);
	assert_int_equal(a.stamp, 1);
	inodes_forget(*state, a.id, 2);
	inodes_forget(*state, b.id, 1);
	assert_int_equal(inodes_count(*state), 1);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_root_stays),
		TEST(test_another_text_is_another_inode),
		TEST(test_the_same_text_is_the_same_inode),
		TEST(test_an_older_text_does_not_replace_a_newer_one),
		TEST(test_fresh),
		TEST(test_the_same_text_is_fresh_again),
		TEST(test_places_do_not_mix),
		TEST(test_stable),
		TEST(test_placeholder),
		TEST(test_files),
		TEST(test_forgetting_too_much_is_harmless),
		TEST(test_many),
		TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
