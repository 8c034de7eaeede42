/* The tree of a guest's module files: what may stand in it, how it is found, its limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/modtree.h"

static const struct modtree *finish(struct modtree_builder *b)
{
	const struct modtree *t = NULL;

	assert_int_equal(modtree_builder_finish(b, &t), 0);
	modtree_builder_destroy(b);
	return t;
}

static struct modtree_builder *begin(void)
{
	struct modtree_builder *b = NULL;

	assert_int_equal(modtree_builder_create("6.1.0-test", &b), 0);
	return b;
}

/* "lib/modules": its entry, or NULL */
static const struct modtree_entry *walk(const struct modtree *t, const char *path)
{
	const struct modtree_entry *e = NULL;
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
		e = modtree_child(t, e ? e->key : MODTREE_ROOT, p);
		if (!e)
			return NULL;
	}
	return e;
}

static void test_walk(void **state)
{
	struct modtree_builder *b = begin();
	const struct modtree_entry *e;
	const struct modtree *t;
	char path[64];
	size_t n;

	(void)state;
	assert_int_equal(modtree_add_file(b, "kernel/fs", "ext4.ko", 1234, 5), 0);
	assert_int_equal(modtree_add_dir(b, "kernel", "fs"), 0);
	assert_int_equal(modtree_add_dir(b, "", "kernel"), 0);
	assert_int_equal(modtree_add_file(b, "", "modules.dep", 0, 6), 0);
	t = finish(b);
	e = walk(t, "lib/modules/6.1.0-test/kernel/fs/ext4.ko");
	assert_non_null(e);
	assert_false(e->dir);
	assert_int_equal(e->size, 1234);
	assert_int_equal(e->stamp, 5);
	assert_ptr_equal(modtree_find(t, e->key), e);
	assert_int_equal(modtree_path(t, e->key, path, sizeof(path)), 0);
	assert_string_equal(path, "kernel/fs/ext4.ko");
	assert_int_equal(modtree_path(t, e->key, path, 17), -ENAMETOOLONG);
	assert_int_equal(modtree_path(t, e->parent, path, sizeof(path)), -ENOENT);
	e = walk(t, "lib/modules/6.1.0-test");
	assert_true(e->dir);
	e = modtree_children(t, e->key, &n);
	assert_int_equal(n, 2);
	assert_string_equal(modtree_name(t, &e[0]), "kernel");
	assert_string_equal(modtree_name(t, &e[1]), "modules.dep");
	assert_int_equal(t->file_count, 2);
	assert_null(walk(t, "lib/modules/6.1.0-test/kernel/fs/ext4"));
	assert_null(modtree_find(t, 12345));
	modtree_put(t);
}

/* Keys are the same in the next tree: what the kernel knows goes on. */
static void test_same_keys(void **state)
{
	struct modtree_builder *b = begin();
	const struct modtree *one, *two;
	uint64_t key;

	(void)state;
	assert_int_equal(modtree_add_file(b, "", "a", 1, 1), 0);
	one = finish(b);
	b = begin();
	assert_int_equal(modtree_add_file(b, "", "a", 2, 2), 0);
	assert_int_equal(modtree_add_file(b, "", "b", 2, 2), 0);
	two = finish(b);
	key = walk(one, "lib/modules/6.1.0-test/a")->key;
	assert_int_equal(modtree_find(two, key)->size, 2);
	modtree_put(one);
	modtree_put(two);
}

static void test_names_that_may_not(void **state)
{
	static const char *const bad[] = {"",	  ".",	     "..",   "a/b",	  "a b",
					  "a\nb", "\x1b[2J", "'",    "$(reboot)", "-n",
					  "a;b",  "a\\b",    "\xff", "*",	  "a\"b"};
	struct modtree_builder *b = begin(), *none = NULL;
	const struct modtree *t;
	char is_long[300];

	(void)state;
	memset(is_long, 'x', sizeof(is_long) - 1);
	is_long[sizeof(is_long) - 1] = '\0';
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(modtree_add_file(b, "", bad[i], 1, 1), 0);
		assert_int_equal(modtree_add_dir(b, "", bad[i]), 0);
		if (*bad[i]) {
			assert_int_equal(modtree_builder_create(bad[i], &none), -EINVAL);
			if (strcmp(bad[i], "a/b") != 0)
				assert_int_equal(modtree_add_file(b, bad[i], "x", 1, 1), 0);
		}
	}
	assert_int_equal(modtree_add_file(b, "", is_long, 1, 1), 0);
	assert_int_equal(modtree_add_file(b, "kernel/../../..", "passwd", 1, 1), 0);
	assert_int_equal(modtree_add_file(b, "/etc", "passwd", 1, 1), 0);
	assert_int_equal(modtree_builder_create("", &none), -EINVAL);
	t = finish(b);
	assert_int_equal(t->count, 3); /* lib, modules, the release */
	modtree_put(t);
}

/* The same name twice, as a file and as a directory: there is one of them. */
static void test_doubles(void **state)
{
	struct modtree_builder *b = begin();
	const struct modtree *t;
	size_t n;

	(void)state;
	assert_int_equal(modtree_add_file(b, "", "a", 1, 1), 0);
	assert_int_equal(modtree_add_dir(b, "", "a"), 0);
	assert_int_equal(modtree_add_file(b, "", "a", 3, 3), 0);
	assert_int_equal(modtree_add_file(b, "nowhere", "lost", 3, 3), 0);
	t = finish(b);
	modtree_children(t, walk(t, "lib/modules/6.1.0-test")->key, &n);
	assert_int_equal(n, 1);
	assert_null(walk(t, "lib/modules/6.1.0-test/nowhere"));
	modtree_put(t);
}

static void test_limits(void **state)
{
	struct modtree_builder *b = begin();
	char path[256] = "d", name[32];
	const struct modtree *t;
	int r = 0;

	(void)state;
	for (unsigned i = 1; i < MODTREE_DEPTH + 5; i++)
		strcat(path, "/d");
	assert_int_equal(modtree_add_file(b, path, "deep", 1, 1), 0); /* left out */
	for (unsigned i = 0; r == 0 && i < MODTREE_MOST + 1; i++) {
		snprintf(name, sizeof(name), "m%u.ko", i);
		r = modtree_add_file(b, "", name, i, i);
	}
	assert_int_equal(r, -EFBIG);
	t = finish(b);
	assert_int_equal(t->count, MODTREE_MOST);
	modtree_put(t);

	/* Long names use up their room before. */
	b = begin();
	memset(path, 'x', 250);
	for (unsigned i = r = 0; r == 0 && i < MODTREE_MOST; i++) {
		snprintf(path + 240, 12, "%u", i);
		r = modtree_add_file(b, "", path, i, i);
	}
	assert_int_equal(r, -EFBIG);
	modtree_builder_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_same_keys),
		cmocka_unit_test(test_names_that_may_not),
		cmocka_unit_test(test_doubles),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
