/* Symbols over a guest's serial port from our own program in the guest, the real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/fetch.h"
#include "symsrc/guest-helper/protocol.h"
#include "symsrc/serial_turn.h"
#include "symsrc/source.h"
#include "tests/unit/lib/fakeport.h"
#include "tests/unit/lib/guestroot.h"
#include "tests/unit/lib/realagent.h"
#include "tests/unit/lib/serialtry.h"
#include "tests/unit/lib/wait.h"

static char dir[32];
static char root[64], sock[64];
static pid_t guest;
static struct fakeport *port;

static int group_setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_guest.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(root, sizeof(root), "%s/root", dir);
	snprintf(sock, sizeof(sock), "%s/port", dir);
	guestroot_create(root);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	guestroot_remove(dir);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	port = fakeport_start(sock);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	realagent_stop(guest);
	guest = 0;
	fakeport_stop(port);
	return 0;
}

static void start(void)
{
	guest = realagent_start_own(fakeport_terminal(port), root);
}

/* ---- what works ----------------------------------------------------------------------------- */

static void test_whole_guest(void **state)
{
	struct attempt t;

	(void)state;
	start();
	try_init(&t, sock);
	for (int i = 0; i < 3; i++) {
		try_run(&t, GUEST_FILES_ALL);
		assert_whole_guest(&t);
	}
	try_deinit(&t);
}

static void test_byte_for_byte(void **state)
{
	(void)state;
	guest = realagent_start_own(fakeport_terminal(port), NULL);
	assert_this_machine(sock);
}

static void test_only_what_is_wanted(void **state)
{
	struct attempt t;

	(void)state;
	start();
	try_init(&t, sock);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_BOOT_ID) | GUEST_FILE_BIT(GUEST_FILE_MODULES));
	assert_worked(&t);
	assert_int_equal(t.got.begins, 2);
	collect_assert(&t.got, GUEST_FILE_BOOT_ID, 1, GUESTROOT_BOOT_ID "\n", 37);
	collect_assert(&t.got, GUEST_FILE_MODULES, 1, GUESTROOT_MODULES, strlen(GUESTROOT_MODULES));
	try_deinit(&t);
}

static void test_poor_guest(void **state)
{
	struct attempt t;

	(void)state;
	guestroot_set(root, "proc/modules", NULL, 0);
	guestroot_set(root, "sys/kernel/notes", NULL, 0);
	start();
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	guestroot_remove(root);
	guestroot_create(root);
	assert_worked(&t);
	assert_int_equal(t.got.times[GUEST_FILE_MODULES], 0);
	assert_int_equal(t.got.times[GUEST_FILE_KALLSYMS], 1);
	try_deinit(&t);
}

static void test_look(void **state)
{
	struct attempt t;

	(void)state;
	start();
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	assert_string_equal(t.how, "kvmprofs in the guest");
	assert_looks(&t, root);
	try_deinit(&t);
}

static void assert_kallsyms(struct attempt *t, const struct buf *now)
{
	guestroot_set(root, "proc/kallsyms", now->data, now->len);
	try_run(t, GUEST_FILES_ALL);
	assert_worked(t);
	collect_assert(&t->got, GUEST_FILE_KALLSYMS, 1, now->data, now->len);
}

/* The KiB that were sent, as source_how has them. */
static unsigned long sent_kib(const struct attempt *t)
{
	static const char begin[] = "kvmprofs in the guest, by what has changed: ";

	assert_int_equal(strncmp(t->how, begin, strlen(begin)), 0);
	return strtoul(t->how + strlen(begin), NULL, 10);
}

/* A module comes behind the kernel's symbols, as it does in a guest, and another one goes; what
 * comes over is that, and the host has all of it, byte for byte. */
static void test_only_what_has_changed(void **state)
{
	static const char ext4[] = "ffffffffc0100000 t ext4_open\t[ext4]\n";
	CLEANUP_BUF struct buf now;
	struct attempt t;
	size_t core;

	(void)state;
	buf_init(&now, 64 << 20);
	for (unsigned i = 0; i < 100000; i++)
		buf_printf(&now, "%016lx t function_number_%u\n", 0xffffffff81000000 + i * 64UL, i);
	core = now.len;
	buf_append(&now, ext4, strlen(ext4));
	start();
	try_init(&t, sock);
	assert_kallsyms(&t, &now);
	assert_string_equal(t.how, "kvmprofs in the guest");
	t.had = blob_from_bytes(now.data, now.len);
	assert_kallsyms(&t, &now);
	assert_true(sent_kib(&t) < 4);

	now.len = core;
	for (unsigned i = 0; i < 200; i++)
		buf_printf(&now, "ffffffffc02%05x t msr_%u\t[msr]\n", i * 64, i);
	buf_append(&now, ext4, strlen(ext4));
	assert_kallsyms(&t, &now);
	assert_in_range(sent_kib(&t), 4, 16);
	now.len = core;
	assert_kallsyms(&t, &now);
	assert_true(sent_kib(&t) < 4);
	now.len = core - 7; /* and that is no whole line */
	assert_kallsyms(&t, &now);
	assert_true(sent_kib(&t) < 64);
	now.len = 0; /* hides itself */
	assert_kallsyms(&t, &now);
	blob_put(t.had);
	try_deinit(&t);
	guestroot_set(root, "proc/kallsyms", NULL, 0);
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_worked(&t);
	assert_int_equal(t.got.times[GUEST_FILE_KALLSYMS], 0);
	try_deinit(&t);
	guestroot_remove(root);
	guestroot_create(root);
}

/* ---- lib/modules ---------------------------------------------------------------------------- */

#define RELEASE "6.1.0-test"
#define KO	"0123456789 of a module\n"

static void put(const char *path, const char *text)
{
	char full[300], *slash;
	int n = snprintf(full, sizeof(full), "%s/%s", root, path);

	assert_in_range(n, 1, sizeof(full) - 1);
	for (slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	guestroot_set(root, path, text, strlen(text));
}

static void put_link(const char *to, const char *path)
{
	char full[300];

	snprintf(full, sizeof(full), "%s/usr/lib/modules/" RELEASE "/%s", root, path);
	assert_int_equal(symlink(to, full), 0);
}

/* With all that may stand on a guest's disk. */
static void put_modules(void)
{
	char full[300];

	put("usr/lib/modules/" RELEASE "/kernel/fs/ext4/ext4.ko", KO);
	put("usr/lib/modules/" RELEASE "/kernel/empty.ko", "");
	put("usr/lib/modules/" RELEASE "/modules.dep", "kernel/fs/ext4/ext4.ko:\n");
	put("usr/lib/modules/" RELEASE "/source/not.ko", KO);
	put("usr/lib/modules/" RELEASE "/weak/here.ko", KO);
	put("usr/lib/modules/" RELEASE "/weak/two words.ko", KO);
	put("usr/lib/modules/other/extra/far.ko", KO KO);
	put("usr/lib/secret.ko", "secret");
	put("secret.ko", "secret");
	snprintf(full, sizeof(full), "%s/lib", root);
	assert_int_equal(symlink("usr/lib", full), 0);
	put_link("/lib/modules/other/extra/far.ko", "weak/absolute.ko");
	put_link("../kernel/./fs/../fs/ext4/ext4.ko", "weak/relative.ko");
	put_link("relative.ko", "weak/link.ko");
	put_link("../../other/extra/far.ko", "weak/far.ko");
	put_link("../../../secret.ko", "weak/out.ko");
	put_link("../../../../../secret.ko", "weak/further.ko");
	put_link("/secret.ko", "weak/root.ko");
	put_link("/lib/modules/../secret.ko", "weak/dots.ko");
	put_link("/proc/self/environ", "weak/magic.ko");
	put_link("..", "weak/circle");
	put_link("loop.ko", "weak/loop.ko");
	put_link("nowhere.ko", "weak/nowhere.ko");
	snprintf(full, sizeof(full), "%s/usr/lib/modules/" RELEASE "/weak/pipe.ko", root);
	assert_int_equal(mkfifo(full, 0600), 0);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "path size" of each file, sorted. */
static void tree_text(const struct modtree *t, struct buf *b)
{
	char path[MODTREE_PATH_MAX], *lines[64];
	size_t n = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (t->entries[i].dir)
			continue;
		assert_int_equal(modtree_path(t, t->entries[i].key, path, sizeof(path)), 0);
		assert_true(n < 64 && asprintf(&lines[n], "%s %llu\n", path,
					       (unsigned long long)t->entries[i].size) > 0);
		n++;
	}
	qsort(lines, n, sizeof(lines[0]), compare_lines);
	for (size_t i = 0; i < n; i++) {
		buf_append_str(b, lines[i]);
		free(lines[i]);
	}
}

/* A file of the tree, as the guest has it now. */
static int read_one(struct fetch_files *f, const struct modtree *t, const char *path,
		    const char *text)
{
	struct source_limits limits = {.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC,
				       .cancel_fd = -1};
	char at[MODTREE_PATH_MAX];
	struct blob *blob = NULL;
	int r = -ENODATA;

	for (size_t i = 0; i < t->count; i++) {
		if (t->entries[i].dir || modtree_path(t, t->entries[i].key, at, sizeof(at)) < 0 ||
		    strcmp(at, path) != 0)
			continue;
		r = fetch_files_read(f, t, t->entries[i].key, &limits, &blob, NULL);
	}
	if (blob)
		assert_string_equal(blob->data, text);
	blob_put(blob);
	return r;
}

static void test_modules(void **state)
{
	static const char expected[] = "kernel/empty.ko 0\n"
				       "kernel/fs/ext4/ext4.ko 23\n"
				       "modules.dep 24\n"
				       "weak/absolute.ko 46\n"
				       "weak/far.ko 46\n"
				       "weak/here.ko 23\n"
				       "weak/link.ko 23\n"
				       "weak/relative.ko 23\n";
	struct source_limits limits = {.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC,
				       .cancel_fd = -1};
	const struct source_target target = {.pid = 1};
	const struct modtree *t = NULL;
	CLEANUP_BUF struct buf text;
	struct errmsg why = {0};
	struct fetch_files *f;
	char uri[200];

	(void)state;
	buf_init(&text, 1 << 20);
	put_modules();
	start();
	snprintf(uri, sizeof(uri), "virtio-serial:%s?modules=yes", sock);
	assert_true(source_wants_modules(uri));
	assert_int_equal(fetch_files_open(uri, &target, &f, &why), 0);
	assert_int_equal(fetch_files_list(f, "other-release", &limits, &t, &why), -ENOENT);
	assert_int_equal(fetch_files_list(f, RELEASE, &limits, &t, &why), 0);
	tree_text(t, &text);
	assert_string_equal(text.data, expected);
	assert_int_equal(read_one(f, t, "kernel/fs/ext4/ext4.ko", KO), 0);
	assert_int_equal(read_one(f, t, "weak/link.ko", KO), 0);
	assert_int_equal(read_one(f, t, "weak/absolute.ko", KO KO), 0);
	assert_int_equal(read_one(f, t, "kernel/empty.ko", ""), 0);
	put("usr/lib/modules/" RELEASE "/weak/here.ko", KO KO);
	assert_int_equal(read_one(f, t, "weak/here.ko", ""), -ESTALE);
	modtree_put(t);
	fetch_files_close(f);
	guestroot_remove(root);
	guestroot_create(root);
}

/* Whatever a host asks for: nothing that is not below lib/modules, and no pipe. */
static void test_no_other_files(void **state)
{
	static const char *const bad[] = {
		"read " RELEASE " ../../secret.ko\n",
		"read .. secret.ko\n",
		"read " RELEASE " weak//here.ko\n",
		"read " RELEASE " /etc/passwd\n",
		"read " RELEASE "\n",
		"read " RELEASE " \n",
		"read\n",
		"list ..\n",
		"list a/b\n",
		"list\n",
		"list .\n",
		"read " RELEASE " weak/here.ko/\n",
	};
	static const char *const out[] = {"weak/out.ko",	   "weak/further.ko",
					  "weak/root.ko",	   "weak/dots.ko",
					  "weak/magic.ko",	   "weak/pipe.ko",
					  "weak/loop.ko",	   "weak/circle",
					  "weak/circle/secret.ko", "weak"};
	char line[200];
	int fd;

	(void)state;
	put_modules();
	start();
	fd = other_client(sock);
	say(fd, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":16909061}}\n");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		say(fd, bad[i]);
		hear_without(fd, "name", "secret");
	}
	for (size_t i = 0; i < ARRAY_SIZE(out); i++) {
		snprintf(line, sizeof(line), "read " RELEASE " %s\n", out[i]);
		say(fd, line);
		poll(NULL, 0, 20); /* time to answer it; nothing but a state comes */
	}
	say(fd, "read " RELEASE " weak/here.ko\n");
	hear_without(fd, KO, "secret");
	close(fd);
	guestroot_remove(root);
	guestroot_create(root);
}

/* ---- what happens to it --------------------------------------------------------------------- */

static void test_it_starts_before_its_port(void **state)
{
	char path[80];
	struct attempt t;

	(void)state;
	snprintf(path, sizeof(path), "%s/later", dir);
	guest = realagent_start_own(path, root);
	try_init(&t, sock);
	t.limits.answer_ms = 200;
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ETIMEDOUT, "nobody answers");
	t.limits.answer_ms = PATIENCE_S * 1000;
	assert_int_equal(symlink(fakeport_terminal(port), path), 0);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	try_deinit(&t);
}

static void test_garbage(void **state)
{
	static const char *const garbage[] = {
		"get ../../etc/passwd kallsyms\n",
		"\xff\xff\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":",
		"{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":0}}\n",
		"{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":99999999999999999999}}"
		"\n",
		"{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":-7}}\nstate\n",
		"have \nhave 0\nhave 00112233445566778 0011223344556677 x 001122334455667G\nget\n",
		"\n\n\n\nget\n"
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
		"012345678901234567890123456789012345678901234567890123456789012345678901234567890"
		"1",
	};
	struct attempt t;

	(void)state;
	start();
	try_init(&t, sock);
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		int fd = other_client(sock);

		say(fd, garbage[i]);
		wait_until(fakeport_clients(port) == 2 * i + 1);
		poll(NULL, 0, 10);
		close(fd);
		try_run(&t, GUEST_FILES_ALL);
		assert_whole_guest(&t);
		serial_ear_destroy(take_ptr(t.ear)); /* makes room for the other */
	}
	try_deinit(&t);
}

/* In a session: what is no request, and names that are not in the list. */
static void test_strange_requests(void **state)
{
	int fd;

	(void)state;
	start();
	fd = other_client(sock);
	say(fd, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":16909061}}\n");
	say(fd, "get ../../etc/passwd\n");
	hear(fd, "there is no file of that name");
	say(fd, "get /proc/kallsyms\n");
	hear(fd, "there is no file of that name");
	say(fd, "put kallsyms\n");
	hear(fd, "that is no request");
	for (int i = 0; i < PORT_LINE_MAX; i++) /* too long: none of it counts */
		say(fd, "x");
	say(fd, "state\n");
	poll(NULL, 0, 100); /* time to answer it */
	say(fd, "put\n");
	hear_without(fd, "that is no request", GUESTROOT_BOOT_ID);
	say(fd, "get   version  \n");
	hear(fd, GUESTROOT_VERSION);
	close(fd);
}

/* Somebody who asks for all and does not read it: the next one is served all the same. */
static void test_after_one_who_did_not_read(void **state)
{
	struct attempt t;
	int fd;

	(void)state;
	start();
	for (int i = 0; i < 5; i++) {
		fd = other_client(sock);
		say(fd,
		    "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":16909061}}\n"
		    "get kallsyms modules\n");
		hear(fd, "_text");
		close(fd);
		try_init(&t, sock);
		try_run(&t, GUEST_FILES_ALL);
		assert_whole_guest(&t);
		try_deinit(&t);
	}
}

/* A new session does not wait for the end of the answer of the one before. */
static void test_another_session(void **state)
{
	int fd;

	(void)state;
	guest = realagent_start_own(fakeport_terminal(port), NULL);
	fd = other_client(sock);
	say(fd, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":16909061}}\n"
		"get kallsyms kallsyms kallsyms kallsyms kallsyms kallsyms\n");
	hear(fd, "\1\2\3\5");
	say(fd, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":16909062}}\n");
	assert_true(hear(fd, PORT_MAGIC "\1\2\3\6") < 2 << 20);
	close(fd);
}

static void test_cancelled(void **state)
{
	struct stopper s = {.wake = io_wake_create(), .after = 1 << 20};
	struct attempt t;

	(void)state;
	guest = realagent_start_own(fakeport_terminal(port), NULL);
	try_init(&t, sock);
	t.limits.cancel_fd = s.wake;
	t.sink = stopper_sink(&s);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ECANCELED, "cancelled");
	t.limits.cancel_fd = -1;
	t.sink = collect_sink(&t.got);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_KALLSYMS));
	assert_worked(&t);
	try_deinit(&t);
	close(s.wake);
}

static void test_killed_and_restarted(void **state)
{
	struct stopper s = {.after = 1 << 20, .victim = &guest};
	struct attempt t;

	(void)state;
	guest = realagent_start_own(fakeport_terminal(port), NULL);
	try_init(&t, sock);
	t.limits.answer_ms = 1500;
	t.sink = stopper_sink(&s);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ETIMEDOUT, "kvmprofs in the guest fell silent");
	start();
	t.limits.answer_ms = PATIENCE_S * 1000;
	t.sink = collect_sink(&t.got);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	try_deinit(&t);
}

static void test_lost_bytes(void **state)
{
	struct attempt t;

	(void)state;
	start();
	try_init(&t, sock);
	fakeport_lose(port, 50000, 100);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EBADMSG, "bytes were lost");
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	try_deinit(&t);
}

/* Modules come and go while a host listens: it is told within seconds, and not of use counts. */
/* What else happens to devices, as on a busy machine; without root there is none. */
static pid_t start_other_events(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int fd = open("/sys/class/mem/null/uevent", O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "change", 6) < 0)
			_exit(0);
		close(fd);
		usleep(200 * 1000);
	}
}

static void test_changes_are_pushed(void **state)
{
	static const char used[] = "ext4 8192 9 - Live 0xffffffffc0100000\n"
				   "jbd2 4096 1 ext4, Live 0xffffffffc0000000\n";
	struct pollfd p = {.events = POLLIN};
	pid_t others = start_other_events();
	char chunk[512];

	(void)state;
	start();
	p.fd = other_client(sock);
	say(p.fd, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":16909061}}\n"
		  "get modules\n");
	hear(p.fd, "jbd2 4096 1 ext4, Live 0xffffffffc0000000\n");
	while (poll(&p, 1, 1000) > 0) /* the rest of the answer */
		assert_true(read(p.fd, chunk, sizeof(chunk)) > 0);
	guestroot_set(root, "proc/modules", used, strlen(used));
	assert_int_equal(poll(&p, 1, 4500), 0);
	guestroot_set(root, "proc/modules", used, strlen(used) / 2);
	hear(p.fd, GUESTROOT_BOOT_ID);
	guestroot_set(root, "proc/modules", GUESTROOT_MODULES, strlen(GUESTROOT_MODULES));
	close(p.fd);
	kill(others, SIGKILL);
	assert_int_equal(waitpid(others, NULL, 0), others);
}

static bool hears(const struct attempt *t)
{
	return serial_ear_is_readable(t->ear) && serial_ear_has_heard(t->ear);
}

/* After a fetch and after a look the host hears of the next change, and of nothing before. */
static void test_host_listens(void **state)
{
	static const char ext4[] = "ext4 8192 1 - Live 0xffffffffc0100000\n";
	struct attempt t;

	(void)state;
	start();
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	assert_non_null(t.ear);
	assert_false(serial_ear_is_readable(t.ear));
	guestroot_set(root, "proc/modules", ext4, strlen(ext4));
	wait_until(hears(&t));
	try_run(&t, 0);
	assert_int_equal(t.result, SOURCE_CHANGED);
	assert_non_null(t.ear);
	assert_false(serial_ear_is_readable(t.ear));
	guestroot_set(root, "proc/modules", GUESTROOT_MODULES, strlen(GUESTROOT_MODULES));
	wait_until(hears(&t));
	try_deinit(&t);
}

static void *leave_later(void *arg)
{
	const int *fd = arg;

	poll(NULL, 0, 1500);
	close(*fd);
	return NULL;
}

/* Where it is known to be our own port, who is there can only be another kvmprofs, which listens
 * and will make room: it is worth waiting for, and then not listened at in turn. */
static void test_two_hosts(void **state)
{
	int other = other_client(sock);
	struct attempt t;
	pthread_t thread;

	(void)state;
	start();
	try_init(&t, sock);
	snprintf(t.target.links.port_path, sizeof(t.target.links.port_path), "%s", sock);
	assert_int_equal(pthread_create(&thread, NULL, leave_later, &other), 0);
	try_run(&t, GUEST_FILES_ALL);
	pthread_join(thread, NULL);
	assert_whole_guest(&t);
	assert_null(t.ear);
	try_run(&t, 0);
	assert_int_equal(t.result, SOURCE_SAME);
	assert_non_null(t.ear);
	try_deinit(&t);
}

/* The same scheme, and nobody said which program it is. */
static void test_agents_port_is_told_apart(void **state)
{
	char path[80];
	struct realagent_config config = {.dir = dir, .path = path};
	struct attempt t;

	(void)state;
	if (!realagent_program()) {
		print_message("skip: there is no qemu-ga here: tests/install-deps gets it\n");
		skip();
	}
	snprintf(path, sizeof(path), "%s/agent", dir);
	guest = realagent_start(&config);
	try_init(&t, path);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_VERSION));
	assert_worked(&t);
	try_deinit(&t);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_whole_guest),
		TEST(test_byte_for_byte),
		TEST(test_only_what_is_wanted),
		TEST(test_poor_guest),
		TEST(test_look),
		TEST(test_only_what_has_changed),
		TEST(test_modules),
		TEST(test_no_other_files),
		TEST(test_it_starts_before_its_port),
		TEST(test_garbage),
		TEST(test_strange_requests),
		TEST(test_after_one_who_did_not_read),
		TEST(test_another_session),
		TEST(test_cancelled),
		TEST(test_killed_and_restarted),
		TEST(test_lost_bytes),
		TEST(test_changes_are_pushed),
		TEST(test_host_listens),
		TEST(test_two_hosts),
		TEST(test_agents_port_is_told_apart),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
