/* Files of /lib/modules: listed by themselves, fetched when they are asked for, never stale, and
 * gone with the guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/modfiles.h"
#include "tests/unit/lib/guestroot.h"

#define PATIENCE_NS (60 * NSEC_PER_SEC)
#define KO	    "lib/modules/6.1.0-test/kernel/a.ko"

struct fixture {
	char dir[64], root[80], uri[160];
	struct source_rule rule;
	struct guests *guests;
	struct symload *sl;
	struct modfiles *m;
	int wake_fd;
};

static void publish(struct fixture *f, size_t count)
{
	struct guest *g = guest_create();

	g->serial = 1;
	g->pid = 100;
	snprintf(g->name, sizeof(g->name), "vm");
	assert_int_equal(guests_publish(f->guests, &(const struct guest *){g}, count), 0);
	guest_put(g);
}

static void make_modules(struct fixture *f, const char *content)
{
	static const char *const dirs[] = {"lib", "lib/modules", "lib/modules/6.1.0-test",
					   "lib/modules/6.1.0-test/kernel"};
	char path[256];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", f->root, dirs[i]);
		mkdir(path, 0755);
	}
	guestroot_set(f->root, KO, content, strlen(content));
}

static void start(struct fixture *f, const char *query, size_t cache_max)
{
	struct symload_config load = {.rules = &f->rule, .rule_count = 1};
	struct modfiles_config config = {.cache_max = cache_max, .gap_ms = 1};

	snprintf(f->uri, sizeof(f->uri), "dir:%s%s", f->root, query);
	f->rule = (struct source_rule){(char *)"*", f->uri};
	f->guests = guests_create();
	assert_int_equal(symload_create(&load, f->guests, &f->sl), 0);
	config.rules = symload_rules(f->sl, &config.rule_count);
	assert_int_equal(modfiles_create(&config, f->guests, f->sl, &f->m), 0);
	assert_int_equal(symload_subscribe(f->sl, f->wake_fd), 0);
	assert_int_equal(symload_start(f->sl, NULL), 0);
	assert_int_equal(modfiles_start(f->m, NULL), 0);
	publish(f, 1);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/test_modfiles.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->root, sizeof(f->root), "%s/root", f->dir);
	guestroot_create(f->root);
	make_modules(f, "first");
	f->wake_fd = io_wake_create();
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	modfiles_stop(f->m);
	symload_stop(f->sl);
	modfiles_destroy(f->m);
	symload_destroy(f->sl);
	guests_destroy(f->guests);
	close(f->wake_fd);
	guestroot_remove(f->dir);
	free(f);
	return 0;
}

/* Waits for the next news. */
static void await(struct fixture *f, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = f->wake_fd, .events = POLLIN};

	assert_true(clock_now_ns() < deadline_ns);
	poll(&p, 1, 1000);
	io_wake_clear(f->wake_fd);
}

static const struct modtree *await_tree(struct fixture *f)
{
	uint64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
	const struct modtree *t;

	while (!(t = modfiles_tree(f->m, 1)))
		await(f, deadline_ns);
	return t;
}

static struct modtree_entry entry_of(const struct modtree *t, const char *path)
{
	const struct modtree_entry *e = NULL;
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
		e = modtree_child(t, e ? e->key : MODTREE_ROOT, p);
		assert_non_null(e);
	}
	assert_non_null(e);
	return *e;
}

static int await_content(struct fixture *f, const struct modtree_entry *e, struct blob **ret)
{
	uint64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
	int r;

	while ((r = modfiles_content(f->m, 1, e->key, e->stamp, ret)) == -EINPROGRESS)
		await(f, deadline_ns);
	return r;
}

static void test_list_and_read(void **state)
{
	struct fixture *f = *state;
	struct symsrc_status status = {0};
	const struct modtree *t;
	struct modtree_entry e;
	struct blob *content = NULL;

	start(f, "?modules=yes", 0);
	t = await_tree(f);
	e = entry_of(t, KO);
	assert_int_equal(e.size, 5);
	assert_int_equal(await_content(f, &e, &content), 0);
	assert_string_equal(content->data, "first");
	blob_put(content);
	modfiles_status(f->m, 1, &status);
	assert_true(status.modules_wanted && status.modules_listed);
	assert_int_equal(status.modules_files, 1);
	assert_int_equal(modfiles_content(f->m, 1, e.key, e.stamp + 1, &content), -ESTALE);
	assert_int_equal(modfiles_content(f->m, 1, e.parent, 0, &content), -ESTALE);
	assert_int_equal(modfiles_content(f->m, 2, e.key, e.stamp, &content), -ENOENT);
	modtree_put(t);
}

/* It is another one than was listed: refused, and listed anew. */
static void test_changed_since(void **state)
{
	struct fixture *f = *state;
	const struct modtree *t, *before;
	uint64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
	struct modtree_entry e;
	struct blob *content = NULL;
	int r;

	start(f, "?modules=yes", 0);
	before = await_tree(f);
	t = modtree_get(before);
	e = entry_of(t, KO);
	make_modules(f, "another");
	r = await_content(f, &e, &content);
	assert_true(r == -EIO || r == -ESTALE); /* the latter when it was listed meanwhile */
	while (modtree_put(t), (t = modfiles_tree(f->m, 1)) == before)
		await(f, deadline_ns);
	modtree_put(before);
	e = entry_of(t, KO);
	assert_int_equal(e.size, 7);
	assert_int_equal(await_content(f, &e, &content), 0);
	assert_string_equal(content->data, "another");
	blob_put(content);
	modtree_put(t);
}

/* Without room in the cache everybody who asks waits for a fetch of their own; nobody for ever. */
static void test_small_cache(void **state)
{
	struct fixture *f = *state;
	const struct modtree *t;
	struct modtree_entry e;
	struct blob *content = NULL;

	guestroot_set(f->root, "lib/modules/6.1.0-test/kernel/b.ko", "second", 6);
	start(f, "?modules=yes", 8);
	t = await_tree(f);
	for (unsigned i = 0; i < 6; i++) {
		e = entry_of(t, i % 2 ? KO : "lib/modules/6.1.0-test/kernel/b.ko");
		assert_int_equal(await_content(f, &e, &content), 0);
		assert_int_equal(content->size, e.size);
		blob_put(content);
	}
	modtree_put(t);
}

/* Another boot: what was listed is not of it. */
static void test_reboot_and_end(void **state)
{
	struct fixture *f = *state;
	uint64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
	const struct modtree *t, *old;
	struct blob *content = NULL;
	struct modtree_entry e;

	start(f, "?modules=yes", 0);
	old = await_tree(f);
	e = entry_of(old, KO);
	assert_int_equal(await_content(f, &e, &content), 0);
	guestroot_set(f->root, "proc/version", "Linux version 6.2.0 (a@b)\n", 26);
	assert_int_equal(guests_new_epoch(f->guests, 1, 1, "test"), 0);
	while ((t = modfiles_tree(f->m, 1))) {
		modtree_put(t);
		await(f, deadline_ns);
	}
	assert_string_equal(content->data, "first");
	blob_put(content);
	publish(f, 0);
	while (modfiles_content(f->m, 1, e.key, e.stamp, &content) != -ENOENT)
		await(f, deadline_ns);
	modtree_put(old);
}

static void test_not_asked_for(void **state)
{
	struct fixture *f = *state;
	uint64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
	struct symsrc_status status = {0};

	start(f, "", 0);
	while (symload_status(f->sl, 1, &status), status.state != SYMSRC_READY)
		await(f, deadline_ns);
	modfiles_status(f->m, 1, &status);
	assert_false(status.modules_wanted);
	assert_null(modfiles_tree(f->m, 1));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_list_and_read),  TEST(test_changed_since), TEST(test_small_cache),
		TEST(test_reboot_and_end), TEST(test_not_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
