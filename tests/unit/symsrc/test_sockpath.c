/* Paths of sockets as VMMs name them, also out of their own mount namespaces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/sockpath.h"
#include "tests/unit/lib/guestroot.h"

static char dir[32];

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_sock.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	guestroot_remove(dir);
	return 0;
}

struct place {
	char path[96];
};

static struct place below(const char *what)
{
	struct place p;

	snprintf(p.path, sizeof(p.path), "%s/%s", dir, what);
	return p;
}

static int listen_at(const char *what)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", below(what).path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* It gives up after SOCKPATH_WAIT_MS, in which a busy machine may not come to it. */
static int open_at_last(const char *path)
{
	int r = -EINPROGRESS;

	for (int i = 0; i < 100 && r == -EINPROGRESS; i++)
		r = sockpath_open(path);
	return r;
}

static void test_sockets_and_other_things(void **state)
{
	int listener = listen_at("q.sock");
	int fd = open_at_last(below("q.sock").path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	close(listener);
	assert_int_equal(mkfifo(below("fifo").path, 0600), 0);
	assert_int_equal(symlink("loop", below("loop").path), 0);
	assert_int_equal(open_at_last(below("fifo").path), -ECONNREFUSED);
	assert_int_equal(open_at_last(below("loop").path), -ELOOP);
	assert_int_equal(open_at_last(below("none").path), -ENOENT);
	assert_int_equal(open_at_last("/proc/0/root/q.sock"), -ENOENT);
	assert_int_equal(open_at_last(""), -ENOENT);
}

/* A process whose root is the directory "root". */
static pid_t start_in_root(void)
{
	int up[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(up), 0);
	pid = fork();
	if (pid == 0) {
		if (chroot(below("root").path) == 0 && write(up[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(up[1]);
	assert_int_equal(read(up[0], &byte, 1), 1);
	close(up[0]);
	return pid;
}

static int open_through(pid_t pid, const char *path)
{
	char all[128];

	snprintf(all, sizeof(all), "/proc/%d/root%s", (int)pid, path);
	return open_at_last(all);
}

/* Links in a VMM's namespace lead to places there, not here. */
static void test_links_of_another_namespace(void **state)
{
	int inside, outside, fd;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		print_message("needs root for chroot(2)\n");
		skip();
	}
	assert_int_equal(mkdir(below("root").path, 0755), 0);
	assert_int_equal(mkdir(below("root/run").path, 0755), 0);
	inside = listen_at("root/run/q.sock");
	outside = listen_at("host.sock");
	assert_int_equal(symlink("/run", below("root/var").path), 0);
	assert_int_equal(symlink(below("host.sock").path, below("root/evil").path), 0);
	assert_int_equal(symlink("../../../../../../..", below("root/up").path), 0);
	pid = start_in_root();
	fd = open_through(pid, "/var/q.sock");
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(open_through(pid, "/evil"), -ENOENT);
	fd = open_through(pid, "/up/run/q.sock");
	assert_true(fd >= 0);
	close(fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(inside);
	close(outside);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sockets_and_other_things, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_links_of_another_namespace, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
