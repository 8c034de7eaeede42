/* What ls says of a guest's modules, by whatever ls and in whatever chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/lslist.h"

/* GNU coreutils 9.1 */
#define GNU                                                   \
	"-rw-r--r-- 1 0 0 27 May  4  2024 modules.dep\n"      \
	"\n"                                                  \
	"kernel:\n"                                           \
	"total 4\n"                                           \
	"drwxr-xr-x 2 0 0 4096 Nov 28 10:20 fs\n"             \
	"?????????? ? ? ? ?            ? broken.ko\n"         \
	"\n"                                                  \
	"kernel/fs:\n"                                        \
	"total 12\n"                                          \
	"-rw-r--r--+ 1 0 0 12345 Nov 28 10:20 ext4.ko\n"      \
	"crw------- 1 0 0 10, 130 Nov 28 10:20 watchdog.ko\n" \
	"prw------- 1 0 0 0 Nov 28 10:20 pipe.ko\n"           \
	"lrwxrwxrwx 1 0 0 7 Nov 28 10:20 link.ko -> ext4.ko\n"
/* busybox 1.35: wide columns */
#define BUSYBOX                                                                  \
	"-rw-r--r--    1 0        0               27 May  4  2024 modules.dep\n" \
	"\n"                                                                     \
	"kernel:\n"                                                              \
	"drwxr-xr-x    2 0        0             4096 Nov 28 10:20 fs\n"          \
	"\n"                                                                     \
	"kernel/fs:\n"                                                           \
	"-rw-r--r--    1 0        0            12345 Nov 28 10:20 ext4.ko\n"
/* toybox 0.8: a date of two words */
#define TOYBOX                                               \
	"-rw-r--r-- 1 0 0 27 2024-05-04 00:00 modules.dep\n" \
	"\nkernel:\ntotal 4\n"                               \
	"drwxr-xr-x 2 0 0 4096 2026-11-28 10:20 fs\n"        \
	"\nkernel/fs:\ntotal 12\n"                           \
	"-rw-r--r-- 1 0 0 12345 2026-11-28 10:20 ext4.ko\n"

static const struct modtree *parse(const char *text, size_t n, size_t chunk, int expect)
{
	static struct lslist l;
	struct modtree_builder *b = NULL;
	const struct modtree *t = NULL;
	int r = 0;

	assert_int_equal(modtree_builder_create("6.1.0", &b), 0);
	lslist_init(&l, b);
	for (size_t at = 0; r == 0 && at < n; at += chunk)
		r = lslist_feed(&l, text + at, n - at < chunk ? n - at : chunk);
	assert_int_equal(r, expect);
	if (r == 0)
		assert_int_equal(modtree_builder_finish(b, &t), 0);
	modtree_builder_destroy(b);
	return t;
}

static const struct modtree_entry *walk(const struct modtree *t, const char *path)
{
	const struct modtree_entry *e = NULL;
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "lib/modules/6.1.0/%s", path);
	for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
		e = modtree_child(t, e ? e->key : MODTREE_ROOT, p);
		if (!e)
			return NULL;
	}
	return e;
}

static void test_every_ls(void **state)
{
	static const char *const texts[] = {GNU, BUSYBOX, TOYBOX};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		for (size_t chunk = 1; chunk < 70; chunk += 4) {
			const struct modtree *t = parse(texts[i], strlen(texts[i]), chunk, 0);

			assert_int_equal(t->file_count, 2);
			assert_int_equal(walk(t, "kernel/fs/ext4.ko")->size, 12345);
			assert_int_equal(walk(t, "modules.dep")->size, 27);
			assert_true(walk(t, "kernel/fs")->dir);
			modtree_put(t);
		}
	}
}

/* The stamp changes with the size and with the date, and with nothing else. */
static void test_stamps(void **state)
{
	static const char *const lines[] = {
		"-rw-r--r-- 1 0 0 27 May  4  2024 a\n", "-rw-rw-r-- 2 5 0 27 May  4  2024 a\n",
		"-rw-r--r-- 1 0 0 28 May  4  2024 a\n", "-rw-r--r-- 1 0 0 27 May  5  2024 a\n"};
	uint64_t stamp[4];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		const struct modtree *t = parse(lines[i], strlen(lines[i]), 1000, 0);

		stamp[i] = walk(t, "a")->stamp;
		modtree_put(t);
	}
	assert_true(stamp[0] == stamp[1]);
	assert_true(stamp[0] != stamp[2]);
	assert_true(stamp[0] != stamp[3]);
}

static void test_nonsense(void **state)
{
	static const char text[] =
		"-rw-r--r-- 1 0 0 27 May  4  2024 two words.ko\n"
		"-rw-r--r-- 1 0 0 -27 May  4  2024 negative.ko\n"
		"-rw-r--r-- 1 0 0 99999999999999999999999 May  4  2024 large.ko\n"
		"-rw-r--r-- 1 0 0 27 May  4  2024 ../../etc/passwd\n"
		"-rw-r--r-- 1 0 0 27 May  4  2024 \x1b[31m.ko\n"
		"\n../..:\n"
		"-rw-r--r-- 1 0 0 27 May  4  2024 outside.ko\n"
		"\n/etc:\n"
		"-rw-r--r-- 1 0 0 27 May  4  2024 shadow\n"
		"-\n:\n::\n- - - - - - - -\n"
		"ls: cannot access 'x': No such file or directory\n"
		"\nkernel:\n"
		"-rw-r--r-- 1 0 0 27 May  4  2024 good.ko\n";
	const struct modtree *t = parse(text, sizeof(text) - 1, 7, 0);
	const struct modtree_entry *e = walk(t, "kernel/good.ko");

	(void)state;
	assert_non_null(e);
	assert_int_equal(e->size, 27);
	for (size_t i = 0; i < t->count; i++) {
		const char *name = modtree_name(t, &t->entries[i]);

		assert_true(modtree_name_is_valid(name, strlen(name)));
	}
	assert_null(walk(t, "outside.ko"));
	assert_null(walk(t, "shadow"));
	modtree_put(t);
}

/* What is too long is passed over, whole; a NUL ends no name. */
static void test_lines(void **state)
{
	static char text[3 * LSLIST_LINE_MAX];
	const struct modtree *t;
	size_t n;

	(void)state;
	memset(text, 'x', 2 * LSLIST_LINE_MAX);
	memcpy(text, "-rw-r--r-- 1 0 0 27 May  4  2024 ", 33);
	n = 2 * LSLIST_LINE_MAX;
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\n-rw-r--r-- 1 0 0 2 May  4  2024 ok\n");
	memcpy(text + n, "-rw-r--r-- 1 0 0 2 May  4  2024 a\0b\n", 36);
	t = parse(text, n + 36, 100, 0);
	assert_int_equal(t->file_count, 1);
	assert_non_null(walk(t, "ok"));
	modtree_put(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_ls),
		cmocka_unit_test(test_stamps),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
