#include "tests/unit/lib/fakeport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"

struct fakeport {
	char *path;
	char terminal[64];
	int listener, client, master, slave;
	int stop_fd;
	atomic_uint clients;
	atomic_uint lose_after, lose;
	pthread_t thread;
};

/* Sends all, however long it takes; false when the other side is gone or the test is over. */
static bool pass_on(struct fakeport *f, int fd, const char *p, size_t n)
{
	while (n > 0) {
		struct pollfd w[] = {{.fd = fd, .events = POLLOUT},
				     {.fd = f->stop_fd, .events = POLLIN},
				     {.fd = f->client, .events = 0}};
		ssize_t done;

		poll(w, 3, -1);
		if (w[1].revents || w[2].revents & (POLLHUP | POLLERR))
			return false;
		done = write(fd, p, n);
		if (done < 0 && errno != EAGAIN)
			return false;
		p += done > 0 ? done : 0;
		n -= done > 0 ? (size_t)done : 0;
	}
	return true;
}

static size_t lose_some(struct fakeport *f, char *p, size_t n)
{
	unsigned after = atomic_load(&f->lose_after), lose = atomic_load(&f->lose);

	if (lose == 0)
		return n;
	if (after >= n) {
		atomic_store(&f->lose_after, after - (unsigned)n);
		return n;
	}
	if (lose > n - after)
		lose = (unsigned)(n - after);
	memmove(p + after, p + after + lose, n - after - lose);
	atomic_store(&f->lose, 0);
	return n - lose;
}

static void drop_client(struct fakeport *f)
{
	close(f->client);
	f->client = -1;
}

static void relay(struct fakeport *f, int from, int to)
{
	char chunk[16384];
	ssize_t n = read(from, chunk, sizeof(chunk));

	if (n > 0 && from == f->master)
		n = (ssize_t)lose_some(f, chunk, (size_t)n);
	if ((n == 0 && from == f->client) || (n < 0 && errno != EAGAIN && errno != EIO) ||
	    (n > 0 && !pass_on(f, to, chunk, (size_t)n)))
		drop_client(f);
}

static void *run(void *arg)
{
	struct fakeport *f = arg;

	for (;;) {
		struct pollfd p[] = {{.fd = f->stop_fd, .events = POLLIN},
				     {.fd = f->client < 0 ? f->listener : -1, .events = POLLIN},
				     {.fd = f->client, .events = POLLIN},
				     {.fd = f->client < 0 ? -1 : f->master, .events = POLLIN}};

		poll(p, 4, -1);
		if (p[0].revents)
			return NULL;
		if (p[1].revents) {
			f->client = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
			atomic_fetch_add(&f->clients, 1);
		}
		if (p[2].revents)
			relay(f, f->client, f->master);
		else if (p[3].revents)
			relay(f, f->master, f->client);
	}
}

static int listen_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(strlen(path) < sizeof(sa.sun_path));
	memcpy(sa.sun_path, path, strlen(path) + 1);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void open_terminal(struct fakeport *f)
{
	struct termios t;

	f->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	assert_true(f->master >= 0);
	assert_int_equal(grantpt(f->master), 0);
	assert_int_equal(unlockpt(f->master), 0);
	assert_int_equal(ptsname_r(f->master, f->terminal, sizeof(f->terminal)), 0);
	/* Kept open: the master would see an end whenever the guest closes its side. */
	f->slave = open(f->terminal, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(f->slave >= 0);
	assert_int_equal(tcgetattr(f->slave, &t), 0);
	cfmakeraw(&t);
	assert_int_equal(tcsetattr(f->slave, TCSANOW, &t), 0);
}

struct fakeport *fakeport_start(const char *path)
{
	struct fakeport *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	signal(SIGPIPE, SIG_IGN);
	f->path = strdup(path);
	f->client = -1;
	f->listener = listen_at(path);
	f->stop_fd = io_wake_create();
	open_terminal(f);
	assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
	return f;
}

void fakeport_stop(struct fakeport *f)
{
	if (!f)
		return;
	io_wake(f->stop_fd);
	pthread_join(f->thread, NULL);
	if (f->client >= 0)
		close(f->client);
	close(f->listener);
	close(f->master);
	close(f->slave);
	close(f->stop_fd);
	unlink(f->path);
	free(f->path);
	free(f);
}

const char *fakeport_terminal(const struct fakeport *f)
{
	return f->terminal;
}

unsigned fakeport_clients(struct fakeport *f)
{
	return atomic_load(&f->clients);
}

void fakeport_lose(struct fakeport *f, unsigned after, unsigned count)
{
	atomic_store(&f->lose_after, after);
	atomic_store(&f->lose, count);
}
