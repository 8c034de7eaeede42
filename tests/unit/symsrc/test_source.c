/* Source URIs, and the sources that read folders and files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/fetch.h"
#include "symsrc/source.h"
#include "symsrc/ssh_uri.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/guestroot.h"

static char dir[32], root[64];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_source.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(root, sizeof(root), "%s/root", dir);
	guestroot_create(root);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guestroot_remove(dir);
	return 0;
}

/* ---- URIs ---------------------------------------------------------------------------------- */

static void test_good_uris(void **state)
{
	static const char *const good[] = {
		"auto",
		"auto?identity=/root/.ssh/kvm&known_hosts=/etc/kvm_hosts",
		"ssh://guest",
		"ssh://guest/",
		"ssh://root@10.0.0.5:2222",
		"ssh://[fe80::1%eth0]:22",
		"ssh://a.b-c_d.example?config=yes",
		"ssh://guest?identity=/a%20b",
		"virtio-serial:/run/guest.sock",
		"dir:/mnt/guest",
		"dir:/mnt/guest?modules=no",
		"dir:/mnt/why?",
		"kallsyms:/tmp/k",
		"kallsyms:/tmp/k,modules:/tmp/m",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct errmsg why = {0};

		if (source_check_uri(good[i], &why) != 0)
			fail_msg("%s: %s", good[i], why.text);
	}
}

static const char *const bad_uris[] = {
	"",
	"sh://guest",
	"automatic",
	"auto:",
	"auto?x=1",
	"auto?identity",
	"auto?identity=",
	"auto?identity=%zz",
	"auto?identity=%00",
	"auto?identity=%2",
	"ssh://",
	"ssh://-oProxyCommand=id",
	"ssh://-l@guest",
	"ssh://-guest",
	"ssh://@guest",
	"ssh://root@",
	"ssh://a b",
	"ssh://a;b",
	"ssh://$(id)",
	"ssh://a\nb",
	"ssh://guest:",
	"ssh://guest:0",
	"ssh://guest:65536",
	"ssh://guest:22x",
	"ssh://guest:22:22",
	"ssh://[::1",
	"ssh://[guest]",
	"ssh://::1",
	"ssh://12345",
	"ssh://guest/path",
	"ssh://guest?proxy=1",
	"vsock:",
	"vsock:0",
	"vsock:2",
	"vsock:4294967295",
	"vsock:3:",
	"vsock:3:0",
	"vsock:3:65536",
	"vsock:3/",
	"vsock:@3",
	"vsock://3",
	"vsock:guest",
	"vsock:3?port=1",
	"virtio-serial:",
	"virtio-serial:relative",
	"virtio-serial:/run/a?modules=maybe",
	"dir:/mnt/guest?modules=",
	"dir:",
	"dir:relative",
	"kallsyms:",
	"kallsyms:relative",
	"kallsyms:/k,modules:relative",
	"auto?identity=relative",
	"ssh://guest?known_hosts=relative",
	"ssh://guest?config=relative",
	"kallsyms:,modules:/m",
	"kallsyms:/k,modules:",
	"vmlinux:relative",
	"vmlinux:/v,slide:",
};

static void test_bad_uris(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_uris); i++) {
		struct errmsg why = {0};
		int r = source_check_uri(bad_uris[i], &why);

		if (r != -EINVAL || !why.text[0] || strchr(why.text, '\n'))
			fail_msg("\"%s\" gives %d \"%s\"", bad_uris[i], r, why.text);
	}
}

static void test_long_uri(void **state)
{
	char uri[SOURCE_URI_MAX + 10];

	(void)state;
	memset(uri, 'a', sizeof(uri));
	memcpy(uri, "dir:/", 5);
	uri[sizeof(uri) - 1] = '\0';
	assert_int_equal(source_check_uri(uri, NULL), -EINVAL);
	uri[SOURCE_URI_MAX - 1] = '\0';
	assert_int_equal(source_check_uri(uri, NULL), 0);
}

static void assert_parsed(const char *uri, const char *user, const char *host, unsigned port,
			  const char *shown)
{
	struct ssh_uri u;
	char show[SSH_SHOW_MAX];

	assert_int_equal(ssh_uri_parse(uri, &u, NULL), 0);
	assert_string_equal(u.user, user);
	assert_string_equal(u.host, host);
	assert_int_equal(u.port, port);
	ssh_uri_show(&u, show, sizeof(show));
	assert_string_equal(show, shown);
}

static void test_parts(void **state)
{
	struct ssh_uri u;

	(void)state;
	assert_parsed("ssh://h", "", "h", 0, "ssh://h");
	assert_parsed("ssh://a@h:22", "a", "h", 22, "ssh://a@h");
	assert_parsed("ssh://a@b@h:23", "a@b", "h", 23, "ssh://a@b@h:23");
	assert_parsed("ssh://root@[::1]:2201", "root", "::1", 2201, "ssh://root@[::1]:2201");
	assert_int_equal(
		ssh_uri_parse("ssh://h?identity=/a%26b&config=yes&known_hosts=/k", &u, NULL), 0);
	assert_string_equal(u.query.identity, "/a&b");
	assert_string_equal(u.query.config, "yes");
	assert_string_equal(u.query.known_hosts, "/k");
}

/* ---- reading ------------------------------------------------------------------------------- */

static int fetch(const char *uri, unsigned want, struct collect *c, struct errmsg *why)
{
	const struct source_limits limits = {.deadline_ns = clock_now_ns() + 10 * NSEC_PER_SEC,
					     .cancel_fd = -1};
	const struct source_target target = {.pid = 1};
	const struct source_sink sink = collect_sink(c);
	struct source *s;
	int r = source_create(uri, &target, &s, why);

	if (r < 0)
		return r;
	r = s->ops->fetch(s, want, &limits, &sink, why);
	source_destroy(s);
	return r;
}

/* fetch() of the folder. */
static int fetch_dir(struct collect *c, struct errmsg *why)
{
	char uri[128];

	snprintf(uri, sizeof(uri), "dir:%s", root);
	collect_init(c);
	return fetch(uri, GUEST_FILES_ALL, c, why);
}

static void test_dir(void **state)
{
	struct errmsg why = {0};
	struct collect c;
	size_t n;
	CLEANUP_FREE char *kallsyms = guestroot_kallsyms(&n);

	(void)state;
	if (fetch_dir(&c, &why) != 0)
		fail_msg("%s", why.text);
	collect_assert(&c, GUEST_FILE_KALLSYMS, 1, kallsyms, n);
	collect_assert(&c, GUEST_FILE_VERSION, 1, GUESTROOT_VERSION, strlen(GUESTROOT_VERSION));
	assert_int_equal(c.times[GUEST_FILE_MODULE_NOTE], 2);
	assert_int_equal(c.times[GUEST_FILE_MODULES], 2);
	collect_deinit(&c);
}

static void test_only_what_is_wanted(void **state)
{
	struct collect c;
	char uri[128];

	(void)state;
	snprintf(uri, sizeof(uri), "dir:%s", root);
	collect_init(&c);
	assert_int_equal(fetch(uri, GUEST_FILE_BIT(GUEST_FILE_BOOT_ID), &c, NULL), 0);
	assert_int_equal(c.begins, 1);
	collect_assert(&c, GUEST_FILE_BOOT_ID, 1, GUESTROOT_BOOT_ID "\n", 37);
	collect_deinit(&c);
}

/* Files of /proc say that they have 0 bytes. */
static void test_procfs(void **state)
{
	struct collect c;

	(void)state;
	collect_init(&c);
	assert_int_equal(fetch("dir:/", GUEST_FILE_BIT(GUEST_FILE_VERSION), &c, NULL), 0);
	assert_true(c.files[GUEST_FILE_VERSION].len > 0);
	collect_deinit(&c);
}

static void link_over(const char *path, const char *target)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	unlink(full);
	assert_int_equal(symlink(target, full), 0);
}

/* The guest made the folder: its links must not lead to the host's files. */
static void assert_link_refused(const char *path, const char *target)
{
	struct errmsg why = {0};
	struct collect c;
	int r;

	link_over(path, target);
	r = fetch_dir(&c, &why);
	if (r >= 0)
		fail_msg("%s -> %s was followed", path, target);
	assert_true(why.text[0] != '\0');
	collect_deinit(&c);
	guestroot_remove(root);
	guestroot_create(root);
}

static void test_links_stay_inside(void **state)
{
	struct collect c;

	(void)state;
	assert_link_refused("proc/version", "/etc/hostname");
	assert_link_refused("proc/version", "../../../../../../etc/hostname");
	assert_link_refused("proc/version", "/proc/self/environ");
	assert_link_refused("sys/module/ext4/notes/.note.gnu.build-id", "/etc/hostname");
	link_over("proc/version", "sys/kernel/random/boot_id"); /* inside: fine */
	assert_int_equal(fetch_dir(&c, NULL), 0);
	collect_assert(&c, GUEST_FILE_VERSION, 1, GUESTROOT_BOOT_ID "\n", 37);
	collect_deinit(&c);
}

static void test_special_files(void **state)
{
	struct errmsg why = {0};
	struct collect c;
	char path[128];
	char event[256];
	int watch;

	(void)state;
	snprintf(path, sizeof(path), "%s/proc/version", root);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0); /* would block for ever */
	watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	inotify_add_watch(watch, path, IN_OPEN);
	assert_int_equal(fetch_dir(&c, &why), -EINVAL);
	assert_non_null(strstr(why.text, "proc/version: not a regular file"));
	/* Not even opened: were it a device, that could already do something. */
	assert_true(read(watch, event, sizeof(event)) < 0);
	assert_int_equal(errno, EAGAIN);
	close(watch);
	collect_deinit(&c);
}

static void test_too_large(void **state)
{
	struct errmsg why = {0};
	struct collect c;
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/proc/modules", root);
	assert_int_equal(truncate(path, (off_t)guest_file_max(GUEST_FILE_MODULES) + 1), 0);
	assert_int_equal(fetch_dir(&c, &why), -EFBIG);
	assert_non_null(strstr(why.text, "above the limit"));
	collect_deinit(&c);
}

static void test_no_such_folder(void **state)
{
	struct errmsg why = {0};
	struct collect c;

	(void)state;
	collect_init(&c);
	assert_int_equal(fetch("dir:/nonexistent", GUEST_FILES_ALL, &c, &why), -ENOENT);
	assert_string_equal(why.text, "dir:/nonexistent: No such file or directory");
	collect_deinit(&c);
}

static void test_files(void **state)
{
	struct errmsg why = {0};
	struct collect c;
	char uri[256];
	size_t n;
	CLEANUP_FREE char *kallsyms = guestroot_kallsyms(&n);

	(void)state;
	collect_init(&c);
	snprintf(uri, sizeof(uri), "kallsyms:%s/proc/kallsyms,modules:%s/proc/modules", root, root);
	assert_int_equal(fetch(uri, GUEST_FILES_ALL, &c, NULL), 0);
	collect_assert(&c, GUEST_FILE_KALLSYMS, 1, kallsyms, n);
	collect_assert(&c, GUEST_FILE_MODULES, 1, GUESTROOT_MODULES, strlen(GUESTROOT_MODULES));
	/* What was named must be there. */
	snprintf(uri, sizeof(uri), "kallsyms:%s/proc/kallsyms,modules:/nonexistent", root);
	assert_int_equal(fetch(uri, GUEST_FILES_ALL, &c, &why), -ENOENT);
	assert_non_null(strstr(why.text, "/nonexistent: cannot be opened"));
	collect_deinit(&c);
}

static void test_limits(void **state)
{
	struct source_limits limits = {.deadline_ns = clock_now_ns() - 1, .cancel_fd = -1};
	const struct source_target target = {0};
	struct errmsg why = {0};
	struct collect c;
	struct source *s;
	char uri[128];

	(void)state;
	snprintf(uri, sizeof(uri), "dir:%s", root);
	collect_init(&c);
	const struct source_sink sink = collect_sink(&c);

	assert_int_equal(source_create(uri, &target, &s, NULL), 0);
	assert_int_equal(s->ops->fetch(s, GUEST_FILES_ALL, &limits, &sink, &why), -ETIMEDOUT);
	limits.deadline_ns = clock_now_ns() + NSEC_PER_SEC;
	limits.cancel_fd = io_wake_create();
	io_wake(limits.cancel_fd);
	assert_int_equal(s->ops->fetch(s, GUEST_FILES_ALL, &limits, &sink, &why), -ECANCELED);
	close(limits.cancel_fd);
	source_destroy(s);
	collect_deinit(&c);
}

/* ---- the seam ------------------------------------------------------------------------------ */

static void make_request(struct fetch_request *req)
{
	*req = (struct fetch_request){.limits = {.cancel_fd = -1}};
	req->limits.deadline_ns = clock_now_ns() + 10 * NSEC_PER_SEC;
	snprintf(req->uri, sizeof(req->uri), "dir:%s", root);
}

static void test_fetch_symbols(void **state)
{
	const struct symbols *s;
	struct fetch_request req;
	struct errmsg why = {0};

	(void)state;
	make_request(&req);
	assert_int_equal(fetch_symbols(&req, &s, &why), 0);
	assert_string_equal(s->used, req.uri);
	assert_true(s->fetched_ns > 0 && s->fetched_ns <= clock_now_ns());
	symbols_put(s);
	guestroot_set(root, "proc/kallsyms", "not kallsyms at all\n", 20);
	assert_int_equal(fetch_symbols(&req, &s, &why), -EBADMSG);
	assert_true(why.code == -EBADMSG && why.text[0]);
	guestroot_set(root, "proc/kallsyms", NULL, 0);
	assert_int_equal(fetch_symbols(&req, &s, &why), -ENOENT);
	assert_true(why.code == -ENOENT && why.text[0]);
}

static enum source_news look(struct fetch_request *req)
{
	enum source_news news = SOURCE_SAME;
	struct errmsg why;

	if (fetch_look(req, &news, &why) < 0)
		fail_msg("%s", why.text);
	return news;
}

/* What is fetched is marked by its own files, whatever the request's mark is of. */
static void test_fetch_marks_what_it_brings(void **state)
{
	static const char boot[] = "22222222-2222-3333-4444-555555555555\n";
	static const char more[] = GUESTROOT_MODULES "xfs 4096 0 - Live 0xffffffffc0200000\n";
	const struct symbols *s;
	struct fetch_request req;

	(void)state;
	make_request(&req);
	assert_int_equal(fetch_symbols(&req, &s, NULL), 0);
	req.mark = s->mark;
	symbols_put(s);
	guestroot_set(root, "proc/sys/kernel/random/boot_id", boot, sizeof(boot) - 1);
	guestroot_set(root, "proc/modules", more, sizeof(more) - 1);
	assert_int_equal(fetch_symbols(&req, &s, NULL), 0);
	req.mark = s->mark;
	symbols_put(s);
	assert_int_equal(look(&req), SOURCE_SAME);
}

/* Passes all on to what makes symbols of it; the guest boots as its kallsyms come. */
static int begin_and_boot(void *ctx, enum guest_file file, const char *module)
{
	static const char boot[] = "22222222-2222-3333-4444-555555555555\n";
	const struct source_sink to = symbols_builder_sink(ctx);

	if (file == GUEST_FILE_KALLSYMS)
		guestroot_set(root, "proc/sys/kernel/random/boot_id", boot, sizeof(boot) - 1);
	return to.begin(to.ctx, file, module);
}

/* Those of a guest that is mounted by its name, say: the next boot has the same. */
static void test_a_boot_while_a_folder_is_read(void **state)
{
	const struct source_limits limits = {.deadline_ns = UINT64_MAX, .cancel_fd = -1};
	struct symbols_builder *b = symbols_builder_create();
	const struct source_sink sink = {begin_and_boot, symbols_builder_sink(b).data, b};
	const struct source_target target = {.pid = 1};
	const struct symbols *s = NULL;
	char uri[128];
	struct source *dir_source;

	(void)state;
	snprintf(uri, sizeof(uri), "dir:%s", root);
	assert_int_equal(source_create(uri, &target, &dir_source, NULL), 0);
	assert_int_equal(dir_source->ops->fetch(dir_source, GUEST_FILES_ALL, &limits, &sink, NULL),
			 0);
	assert_int_equal(symbols_builder_finish(b, &s, NULL), -EAGAIN);
	symbols_builder_destroy(b);
	source_destroy(dir_source);
}

/* A source that has nothing but files is looked at by two of them. */
static void test_look_at_files(void **state)
{
	static const char boot[] = "22222222-2222-3333-4444-555555555555\n";
	const struct symbols *s;
	struct fetch_request req;

	(void)state;
	make_request(&req);
	assert_int_equal(fetch_symbols(&req, &s, NULL), 0);
	req.mark = s->mark;
	symbols_put(s);
	assert_int_equal(look(&req), SOURCE_SAME);
	guestroot_set(root, "proc/kallsyms", NULL, 0); /* is not even opened */
	assert_int_equal(look(&req), SOURCE_SAME);
	guestroot_set(root, "proc/sys/kernel/random/boot_id", boot, sizeof(boot) - 1);
	assert_int_equal(look(&req), SOURCE_REBOOTED);
	assert_int_equal(look(&req), SOURCE_SAME);
	guestroot_set(root, "proc/modules", NULL, 0);
	assert_int_equal(look(&req), SOURCE_CHANGED);
	guestroot_set(root, "proc/sys/kernel/random/boot_id", "a b\x1b[31m\n", 9);
	assert_int_equal(look(&req), SOURCE_CHANGED); /* none, and so not another one */
	assert_int_equal(look(&req), SOURCE_SAME);
	guestroot_set(root, "proc/modules", "a\x1b[31m\n", 7);
	assert_int_equal(fetch_look(&req, &(enum source_news){0}, NULL), -EBADMSG);
	req.mark.len = 1; /* somebody else's */
	guestroot_set(root, "proc/modules", GUESTROOT_MODULES, strlen(GUESTROOT_MODULES));
	assert_int_equal(look(&req), SOURCE_CHANGED);
}

/* What an attempt says of itself already is not said once more by why it failed. */
static void test_attempts(void **state)
{
	static const char *const ways[] = {"ssh://a", "ssh://a?modules=yes", "ssh://ab"};
	struct source_attempts tried = {0};
	struct errmsg why;

	(void)state;
	errmsg_set(&why, -ECONNREFUSED, "ssh://a: refused");
	for (size_t i = 0; i < 3; i++)
		source_attempts_add(&tried, ways[i], why.code, &why, 1);
	source_attempts_add(&tried, ways[0], 0, NULL, 1);
	assert_int_equal(tried.count, 4);
	assert_string_equal(tried.list[0].why.text, "refused");
	assert_string_equal(tried.list[1].way, ways[1]);
	assert_string_equal(tried.list[1].why.text, "refused");
	assert_string_equal(tried.list[2].why.text, "ssh://a: refused");
	assert_int_equal(tried.list[3].why.code, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_uris),
		cmocka_unit_test(test_bad_uris),
		cmocka_unit_test(test_long_uri),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_attempts),
		TEST(test_dir),
		TEST(test_only_what_is_wanted),
		TEST(test_procfs),
		TEST(test_links_stay_inside),
		TEST(test_special_files),
		TEST(test_too_large),
		TEST(test_no_such_folder),
		TEST(test_files),
		TEST(test_limits),
		TEST(test_fetch_symbols),
		TEST(test_fetch_marks_what_it_brings),
		TEST(test_a_boot_while_a_folder_is_read),
		TEST(test_look_at_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
