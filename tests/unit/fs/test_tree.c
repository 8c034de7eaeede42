/* The table of nodes: lookup and listing agree, guests come and go, names are unique. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <stdio.h>

#include "fs/tree.h"
#include "symsrc/base/cleanup.h"

struct fixture {
	struct guests *guests;
	struct tree_view view;
};

static const struct guest *guest(uint64_t serial, pid_t pid, const char *name)
{
	struct guest *g = guest_create();

	assert_non_null(g);
	g->serial = serial;
	g->pid = pid;
	snprintf(g->name, sizeof(g->name), "%s", name);
	return g;
}

static void publish(struct fixture *f, const struct guest **list, size_t n)
{
	assert_int_equal(guests_publish(f->guests, list, n), 0);
	for (size_t i = 0; i < n; i++)
		guest_put(list[i]);
	guest_set_put(f->view.guests);
	f->view.guests = guests_acquire(f->guests);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->guests = guests_create();
	publish(f,
		(const struct guest *[]){guest(3, 300, "db"), guest(1, 100, "web"),
					 guest(2, 200, "web")},
		3);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	guest_set_put(f->view.guests);
	guests_destroy(f->guests);
	free(f);
	return 0;
}

static const struct place root = {.node = NODE_ROOT};

/* "100/proc/kallsyms" */
static int walk(const struct fixture *f, const char *path, struct place *ret)
{
	char copy[256], *save = NULL;
	struct place at = root;
	int r = 0;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *p = strtok_r(copy, "/", &save); p && r == 0; p = strtok_r(NULL, "/", &save)) {
		struct place dir = at;

		r = tree_lookup(&f->view, &dir, p, &at);
	}
	if (r == 0)
		*ret = at;
	return r;
}

static void test_paths(void **state)
{
	struct place p;

	assert_int_equal(walk(*state, "status", &p), 0);
	assert_int_equal(p.node, NODE_STATUS);
	assert_int_equal(p.serial, 0);
	assert_int_equal(walk(*state, "200/profile", &p), 0);
	assert_int_equal(p.node, NODE_PROFILE);
	assert_int_equal(p.serial, 2);
	assert_int_equal(walk(*state, "300/sys/kernel/notes", &p), 0);
	assert_int_equal(p.node, NODE_SYS_KERNEL_NOTES);
	assert_int_equal(p.serial, 3);
}

static void test_what_is_not_there(void **state)
{
	static const char *const paths[] = {"400",
					    "0100",
					    "100x",
					    "+100",
					    " 100",
					    "99999999999999999999",
					    "kallsyms",
					    "100/notes",
					    "100/status",
					    "by-name/nobody",
					    "100/sys/module/ext4",
					    "",
					    "by-name/web.100"};
	struct place p;

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (*paths[i])
			assert_int_equal(walk(*state, paths[i], &p), -ENOENT);
	}
	assert_int_equal(tree_lookup(&((struct fixture *)*state)->view, &root, "", &p), -ENOENT);
}

/* What stands in vcpu/N/ and its like. */
#define SLICE_FILES                                                                          \
	"profile profile.folded profile.json profile.pb.gz flamegraph.svg exits exits.json " \
	"events "

static void assert_names(const struct fixture *f, const struct place *dir, const char *want)
{
	char got[1024] = "";
	struct tree_list l;

	assert_int_equal(tree_list(&f->view, dir, &l), 0);
	for (size_t i = 0; i < l.count; i++) {
		strcat(got, l.entries[i].name);
		strcat(got, " ");
	}
	tree_list_free(&l);
	assert_string_equal(got, want);
}

static void test_guests_are_listed_by_pid(void **state)
{
	assert_names(*state, &root, "status top utilization metrics record by-name 100 200 300 ");
}

static void test_a_name_that_two_have(void **state)
{
	struct place p;

	assert_int_equal(walk(*state, "by-name", &p), 0);
	assert_names(*state, &p, "web web.200 db ");
	assert_int_equal(walk(*state, "by-name/web", &p), 0);
	assert_int_equal(p.serial, 1);
	assert_int_equal(walk(*state, "by-name/web.200", &p), 0);
	assert_int_equal(p.serial, 2);
}

/* A guest that is really called like the way out of another one. */
static void test_a_name_that_is_in_the_way(void **state)
{
	struct fixture *f = *state;
	struct place by_name = {.node = NODE_BY_NAME};

	publish(f,
		(const struct guest *[]){guest(1, 1, "a"), guest(2, 2, "a.3"), guest(3, 3, "a"),
					 guest(4, 4, "a.3"), guest(5, 5, "a.3.3")},
		5);
	assert_names(f, &by_name, "a a.3 a.3.2 a.3.4 a.3.3 ");
}

/* Somebody calls guests as the names of another one would be made, as often as we try. */
static void test_names_cannot_be_taken_from_others(void **state)
{
	static const char *const evil[] = {"web", "web.9", "web.9.2", "web.9.9", "web.9.9.9"};
	const struct guest *list[ARRAY_SIZE(evil) + 1];
	struct place by_name = {.node = NODE_BY_NAME}, p;
	struct fixture *f = *state;
	struct tree_list l;

	for (size_t i = 0; i < ARRAY_SIZE(evil); i++)
		list[i] = guest(i + 1, (pid_t)(i < 4 ? i + 1 : i + 10), evil[i]);
	list[ARRAY_SIZE(evil)] = guest(99, 9, "web");
	publish(f, list, ARRAY_SIZE(list));
	assert_int_equal(tree_list(&f->view, &by_name, &l), 0);
	for (size_t i = 0; i < l.count; i++) {
		assert_int_equal(tree_lookup(&f->view, &by_name, l.entries[i].name, &p), 0);
		assert_true(place_equal(&p, &l.entries[i].place));
	}
	tree_list_free(&l);
}

static void test_odd_names_are_components(void **state)
{
	struct fixture *f = *state;
	struct place by_name = {.node = NODE_BY_NAME}, p;
	struct tree_list l;

	publish(f,
		(const struct guest *[]){guest(1, 1, "../etc"), guest(2, 2, ".."), guest(3, 3, ""),
					 guest(4, 4, "a\nb"), guest(5, 5, "")},
		5);
	assert_int_equal(tree_list(&f->view, &by_name, &l), 0);
	assert_int_equal(l.count, 5);
	for (size_t i = 0; i < l.count; i++) {
		assert_null(strchr(l.entries[i].name, '/'));
		assert_null(strchr(l.entries[i].name, '\n'));
		assert_true(l.entries[i].name[0] && strcmp(l.entries[i].name, "..") != 0);
		assert_int_equal(tree_lookup(&f->view, &by_name, l.entries[i].name, &p), 0);
		assert_true(place_equal(&p, &l.entries[i].place));
	}
	tree_list_free(&l);
}

static void test_the_longest_names_differ(void **state)
{
	struct fixture *f = *state;
	struct place by_name = {.node = NODE_BY_NAME};
	char name[GUEST_NAME_MAX];
	struct tree_list l;

	memset(name, '\n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	publish(f,
		(const struct guest *[]){guest(1, 2000000000, name), guest(2, 2000000001, name),
					 guest(3, 2000000002, name)},
		3);
	assert_int_equal(tree_list(&f->view, &by_name, &l), 0);
	assert_string_not_equal(l.entries[0].name, l.entries[1].name);
	assert_string_not_equal(l.entries[1].name, l.entries[2].name);
	assert_true(strlen(l.entries[2].name) <= 255);
	tree_list_free(&l);
}

/* Whatever a directory lists can be looked up in it, is the same place, and has an inode number
 * of its own. */
static void check_dir(const struct fixture *f, const struct place *dir, uint64_t *inos, size_t *n)
{
	struct tree_list l;

	assert_int_equal(tree_list(&f->view, dir, &l), 0);
	for (size_t i = 0; i < l.count; i++) {
		const struct tree_entry *e = &l.entries[i];
		struct place found;

		assert_int_equal(tree_lookup(&f->view, dir, e->name, &found), 0);
		assert_true(place_equal(&found, &e->place));
		for (size_t k = 0; k < *n; k++)
			assert_true(inos[k] != place_ino(&found));
		inos[(*n)++] = place_ino(&found);
		if (tree_node(found.node)->class == CLASS_DIR)
			check_dir(f, &found, inos, n);
	}
	tree_list_free(&l);
}

static void test_all_that_is_listed_is_found(void **state)
{
	struct symbols_module modules[] = {{.name = "ext4"}, {.name = "dm_mod"}};
	struct symbols symbols = {.module_count = 2, .module_list = modules};
	struct fixture *f = *state;
	uint64_t inos[1000] = {place_ino(&root)};
	size_t n = 1;

	assert_int_equal(inos[0], 1);
	f->view.symbols = &symbols;
	check_dir(f, &root, inos, &n);
	/* The root and what is in it; then for each guest a link, its directory, 17 files and
	 * control, 9 directories, the 8 files of recent/, 4 files for perf, and 3 nodes of each of
	 * 2 modules. */
	assert_int_equal(n, 1 + 6 + 3 * (1 + 1 + 18 + 9 + 8 + 4 + 6));
}

/* As in the guest: a kernel without BTF has no such file, and tar meets none that it cannot
 * read. */
static void test_btf_is_there_when_the_guest_has_it(void **state)
{
	struct symbols with = {.btf = blob_from_bytes("btf", 3)}, without = {0};
	struct place dir = {.node = NODE_SYS_KERNEL_BTF, .serial = 1}, p;
	struct fixture *f = *state;

	f->view.symbols = &with;
	assert_names(f, &dir, "vmlinux ");
	assert_int_equal(walk(f, "100/sys/kernel/btf/vmlinux", &p), 0);
	assert_int_equal(p.node, NODE_SYS_KERNEL_BTF_VMLINUX);
	f->view.symbols = &without;
	assert_names(f, &dir, "");
	assert_int_equal(walk(f, "100/sys/kernel/btf/vmlinux", &p), -ENOENT);
	f->view.symbols = NULL;
	assert_int_equal(walk(f, "100/sys/kernel/btf/vmlinux", &p), -ENOENT);
	assert_true(tree_needs_symbols(NODE_SYS_KERNEL_BTF));
	blob_put(with.btf);
}

static void test_a_guest_that_is_gone(void **state)
{
	struct fixture *f = *state;
	struct place dir = {.node = NODE_GUEST, .serial = 2}, p;
	struct tree_list l;

	publish(f, (const struct guest *[]){guest(4, 200, "web")}, 1);
	assert_int_equal(tree_lookup(&f->view, &dir, "info", &p), -ENOENT);
	assert_int_equal(tree_list(&f->view, &dir, &l), -ENOENT);
	/* Its pid is used again: another place, another inode. */
	assert_int_equal(walk(f, "200", &p), 0);
	assert_false(place_equal(&p, &dir));
	assert_true(place_ino(&p) != place_ino(&dir));
}

/* A guest with vCPUs 0 and 12. */
static void publish_with_vcpus(struct fixture *f)
{
	struct guest *g = (struct guest *)guest(7, 700, "big");

	g->vcpus = calloc(2, sizeof(*g->vcpus));
	g->vcpus[1].index = 12;
	g->vcpu_count = 2;
	publish(f, (const struct guest *[]){g}, 1);
}

static void test_recent_has_the_files_of_samples(void **state)
{
	struct place p, all;

	assert_int_equal(walk(*state, "100/recent", &p), 0);
	assert_names(*state, &p, SLICE_FILES);
	assert_int_equal(walk(*state, "100/recent/profile", &p), 0);
	assert_int_equal(p.slice.time, SLICE_RECENT);
	assert_int_equal(walk(*state, "100/profile", &all), 0);
	assert_int_equal(all.slice.time, SLICE_ALL);
	assert_int_equal(walk(*state, "100/recent/recent", &p), -ENOENT);
}

static void test_snapshots(void **state)
{
	struct profiler_snapshot list[] = {{.id = 9, .name = "before"}, {.id = 7, .name = "a b"}};
	struct fixture *f = *state;
	struct place dir, diff, p, q;

	f->view.snapshots = list;
	f->view.snapshot_count = 2;
	assert_int_equal(walk(f, "100/snapshots", &dir), 0);
	assert_true(tree_needs_snapshots(&dir));
	assert_names(f, &dir, "before a b ");
	assert_int_equal(walk(f, "100/diff", &diff), 0);
	assert_names(f, &diff, "before a b ");
	assert_int_equal(walk(f, "100/diff/before", &p), 0);
	assert_int_equal(p.slice.time, 9);
	assert_int_equal(walk(f, "100/snapshots/before", &p), 0);
	assert_names(f, &p, SLICE_FILES);
	assert_true(tree_needs_snapshots(&p));
	assert_int_equal(walk(f, "100/snapshots/a b/profile", &q), 0);
	assert_int_equal(q.slice.time, 7);
	assert_int_equal(walk(f, "100/snapshots/nobody", &q), -ENOENT);
	/* rmdir: what stands in it is gone with it. */
	f->view.snapshots = &list[1];
	f->view.snapshot_count = 1;
	assert_false(tree_exists(&f->view, &p));
	assert_int_equal(tree_lookup(&f->view, &p, "profile", &q), -ENOENT);
	assert_int_equal(walk(f, "100/snapshots/a b/profile", &q), 0);
	f->view.snapshots = NULL;
	f->view.snapshot_count = 0;
}

static void test_each_vcpu_has_the_files_of_samples(void **state)
{
	static const char *const none[] = {"700/vcpu/1", "700/vcpu/012", "700/vcpu/12/info",
					   "700/vcpu/12/vcpu", "700/vcpu/12/control"};
	struct fixture *f = *state;
	struct place p, q;

	publish_with_vcpus(f);
	assert_int_equal(walk(f, "700/vcpu", &p), 0);
	assert_names(f, &p, "0 12 ");
	assert_int_equal(walk(f, "700/vcpu/12", &p), 0);
	assert_names(f, &p, SLICE_FILES);
	assert_int_equal(walk(f, "700/vcpu/12/profile", &p), 0);
	assert_int_equal(p.node, NODE_PROFILE);
	assert_int_equal(slice_vcpu(&p.slice), 12);
	assert_int_equal(walk(f, "700/vcpu/0/profile", &q), 0);
	assert_false(place_equal(&p, &q));
	assert_true(place_hash(&p) != place_hash(&q));
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		assert_int_equal(walk(f, none[i], &p), -ENOENT);
}

/* lib/ is there where its files are, and only of this guest; no name leads out of it. */
static void test_files(void **state)
{
	struct fixture *f = *state;
	struct place guest_dir = {.node = NODE_GUEST, .serial = 1}, dir, file, unused;
	struct modtree_builder *b = NULL;
	struct tree_list l;

	assert_true(tree_needs_files(NODE_GUEST));
	assert_int_equal(walk(f, "100/lib", &dir), -ENOENT);
	assert_int_equal(modtree_builder_create("6.1.0", &b), 0);
	assert_int_equal(modtree_add_dir(b, "", "kernel"), 0);
	assert_int_equal(modtree_add_file(b, "kernel", "a.ko", 10, 1), 0);
	assert_int_equal(modtree_add_file(b, "kernel", "b.ko", 10, 1), 0);
	assert_int_equal(modtree_builder_finish(b, &f->view.files), 0);
	modtree_builder_destroy(b);
	assert_int_equal(walk(f, "100/lib/modules/6.1.0/kernel", &dir), 0);
	assert_int_equal(dir.node, NODE_FILES_DIR);
	assert_true(tree_needs_files(dir.node));
	assert_int_equal(walk(f, "100/lib/modules/6.1.0/kernel/a.ko", &file), 0);
	assert_int_equal(file.node, NODE_FILES_FILE);
	assert_int_equal(tree_node(file.node)->class, CLASS_GUEST_FILE);
	assert_int_equal(tree_list(&f->view, &dir, &l), 0);
	assert_int_equal(l.count, 2);
	assert_string_equal(l.entries[0].name, "a.ko");
	assert_true(place_equal(&l.entries[0].place, &file));
	assert_false(place_equal(&l.entries[1].place, &file));
	assert_true(place_ino(&l.entries[0].place) != place_ino(&l.entries[1].place));
	assert_true(place_hash(&l.entries[0].place) != place_hash(&l.entries[1].place));
	tree_list_free(&l);
	/* The guest's other entries are as before, and none of them is in lib. */
	assert_int_equal(tree_lookup(&f->view, &guest_dir, "info", &unused), 0);
	assert_int_equal(tree_lookup(&f->view, &dir, "info", &unused), -ENOENT);
	assert_int_equal(tree_lookup(&f->view, &dir, "..", &unused), -ENOENT);
	assert_int_equal(tree_lookup(&f->view, &file, "a.ko", &unused), -ENOENT);
	modtree_put(f->view.files);
	f->view.files = NULL;
	/* They went away while somebody stood in there. */
	assert_int_equal(tree_lookup(&f->view, &dir, "a.ko", &unused), -ENOENT);
	assert_int_equal(tree_list(&f->view, &dir, &l), 0);
	assert_int_equal(l.count, 0);
	tree_list_free(&l);
}

/* Files that carry addresses are for root alone; nobody but root controls. */
static void test_permissions(void **state)
{
	static const enum node_id secret[] = {NODE_KALLSYMS,	     NODE_MODULES,
					      NODE_PROFILE,	     NODE_PROC_KALLSYMS,
					      NODE_PROC_MODULES,     NODE_PROC_VERSION,
					      NODE_SYS_KERNEL_NOTES, NODE_SYS_KERNEL_BTF_VMLINUX,
					      NODE_PROFILE_FOLDED,   NODE_PROFILE_JSON,
					      NODE_PROFILE_PPROF,    NODE_DIFF_FILE,
					      NODE_FLAMEGRAPH,	     NODE_FILES_FILE};

	(void)state;
	for (size_t i = 0; i < sizeof(secret) / sizeof(*secret); i++) {
		assert_int_equal(tree_node(secret[i])->mode, 0400);
		assert_true(tree_node(secret[i])->secret);
	}
	assert_int_equal(tree_node(NODE_CONTROL)->mode, 0600);
	assert_int_equal(tree_node(NODE_SNAPSHOTS)->mode, 0755);
	for (enum node_id id = 0; id < NODE_COUNT; id++) {
		if (tree_node(id)->class == CLASS_DIR && id != NODE_SNAPSHOTS)
			assert_int_equal(tree_node(id)->mode, 0555);
	}
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

/* Of a recording. */
static void test_the_default_guest(void **state)
{
	struct fixture *f = *state;
	struct place at;

	publish(f, (const struct guest *[]){guest(1, 100, "web"), guest(9, 0, "guest-0")}, 2);
	assert_int_equal(walk(f, "guest-0/profile", &at), 0);
	assert_int_equal(at.serial, 9);
	assert_int_equal(walk(f, "by-name/guest-0", &at), 0);
	assert_int_equal(walk(f, "0", &at), -ENOENT);
	publish(f, (const struct guest *[]){guest(1, 100, "web")}, 1);
	assert_int_equal(walk(f, "guest-0", &at), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_paths),
		TEST(test_what_is_not_there),
		TEST(test_guests_are_listed_by_pid),
		TEST(test_the_default_guest),
		TEST(test_a_name_that_two_have),
		TEST(test_a_name_that_is_in_the_way),
		TEST(test_names_cannot_be_taken_from_others),
		TEST(test_odd_names_are_components),
		TEST(test_the_longest_names_differ),
		TEST(test_all_that_is_listed_is_found),
		TEST(test_btf_is_there_when_the_guest_has_it),
		TEST(test_a_guest_that_is_gone),
		TEST(test_recent_has_the_files_of_samples),
		TEST(test_snapshots),
		TEST(test_each_vcpu_has_the_files_of_samples),
		TEST(test_files),
		TEST(test_permissions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
