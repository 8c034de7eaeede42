/* Symbols over a guest's serial port from our own program in the guest, the real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/guest-helper/protocol.h"
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
static void test_changes_are_pushed(void **state)
{
	static const char used[] = "ext4 8192 9 - Live 0xffffffffc0100000\n"
				   "jbd2 4096 1 ext4, Live 0xffffffffc0000000\n";
	struct pollfd p = {.events = POLLIN};
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
		TEST(test_it_starts_before_its_port),
		TEST(test_garbage),
		TEST(test_strange_requests),
		TEST(test_after_one_who_did_not_read),
		TEST(test_another_session),
		TEST(test_cancelled),
		TEST(test_killed_and_restarted),
		TEST(test_lost_bytes),
		TEST(test_changes_are_pushed),
		TEST(test_agents_port_is_told_apart),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
