#include "symsrc/serial_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/sockpath.h"
#include "symsrc/source_impl.h"

#define SOCKETS_TEXT_MAX (16u << 20) /* of /proc/net/unix */

int serial_link_open(const char *path, const struct source_limits *limits, struct serial_link *ret,
		     struct errmsg *why)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return errmsg_set(why, -errno, "cannot make a socket: %m");
	r = sockpath_connect(fd, path);
	if (r == -EAGAIN)
		return errmsg_set(
			why, -EBUSY,
			"is in use by somebody else (libvirt?), and others are waiting: it "
			"serves one client at a time");
	if (r < 0)
		return errmsg_set(why, r, "cannot connect: %s", strerrordesc_np(-r));
	*ret = (struct serial_link){.fd = take_fd(&fd), .limits = *limits};
	return 0;
}

void serial_link_close(struct serial_link *l)
{
	close_keep_errno(l->fd);
	l->fd = -1;
}

/* Waits for the events, at most until until_ns. */
static int wait_for(const struct serial_link *l, short events, uint64_t until_ns,
		    struct errmsg *why)
{
	uint64_t end = until_ns < l->limits.deadline_ns ? until_ns : l->limits.deadline_ns;
	struct pollfd p[] = {{.fd = l->fd, .events = events},
			     {.fd = l->limits.cancel_fd, .events = POLLIN}};
	int r = source_check_limits(&l->limits, why);

	if (r < 0)
		return r;
	if (clock_now_ns() >= until_ns)
		return -ETIME;
	if (poll(p, 2, clock_left_ms(end)) < 0 && errno != EINTR)
		return errmsg_set(why, -errno, "poll: %m");
	return 0;
}

static int closed(struct errmsg *why)
{
	return errmsg_set(why, -ECONNRESET, "the VMM or the agent closed the connection");
}

int serial_link_send(struct serial_link *l, const void *bytes, size_t n, struct errmsg *why)
{
	uint64_t until_ns = serial_link_silence_ns(l);
	const char *p = bytes;
	int r = 0;

	while (n > 0 && r == 0) {
		ssize_t sent = send(l->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return closed(why);
		if (sent < 0)
			r = wait_for(l, POLLOUT, until_ns, why);
		p += sent > 0 ? sent : 0;
		n -= sent > 0 ? (size_t)sent : 0;
	}
	if (r == -ETIME)
		return errmsg_set(why, -ETIMEDOUT, "takes nothing: no agent runs in the guest");
	return r;
}

ssize_t serial_link_recv(struct serial_link *l, void *buf, size_t size, uint64_t until_ns,
			 struct errmsg *why)
{
	int r = source_check_limits(&l->limits, why); /* also while there is always something */

	while (r == 0) {
		ssize_t n = recv(l->fd, buf, size, MSG_DONTWAIT);

		if (n > 0)
			return n;
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return closed(why);
		r = wait_for(l, POLLIN, until_ns, why);
	}
	return r;
}

uint64_t serial_link_hello_ns(const struct serial_link *l)
{
	uint64_t ns = l->limits.answer_ms ? l->limits.answer_ms * NSEC_PER_MSEC
					  : SERIAL_HELLO_SEC * NSEC_PER_SEC;

	return clock_now_ns() + ns;
}

uint64_t serial_link_silence_ns(const struct serial_link *l)
{
	uint64_t ns = SERIAL_SILENCE_SEC * NSEC_PER_SEC;
	uint64_t short_ns = (uint64_t)SERIAL_ANSWERS * l->limits.answer_ms * NSEC_PER_MSEC;

	return clock_now_ns() + (short_ns && short_ns < ns ? short_ns : ns);
}

void serial_link_grace(struct serial_link *l)
{
	l->limits.cancel_fd = -1;
	l->limits.deadline_ns = clock_now_ns() + SERIAL_GRACE_MS * NSEC_PER_MSEC;
}

/* A line of /proc/net/unix: "Num: RefCount Protocol Flags Type St Inode Path". A connection that
 * nobody has accepted yet stands there under the listener's path and in state 02
 * (net/unix/af_unix.c, unix_seq_show(): SS_CONNECTING); ours is the only one. */
static bool is_queued_at(const char *line, size_t n, const char *path)
{
	size_t len = strlen(path);
	unsigned state;

	if (n <= len || memcmp(line + n - len, path, len) != 0 || line[n - len - 1] != ' ')
		return false;
	return sscanf(line, "%*s %*s %*s %*s %*s %x", &state) == 1 && state == 2; // NOLINT
}

bool serial_link_is_queued(const struct serial_link *l)
{
	struct sockaddr_un peer = {0};
	socklen_t len = sizeof(peer) - 1;
	CLEANUP_BUF struct buf b;
	const char *end;

	buf_init(&b, SOCKETS_TEXT_MAX);
	if (getpeername(l->fd, (struct sockaddr *)&peer, &len) < 0 || !peer.sun_path[0])
		return false;
	if (io_read_file(AT_FDCWD, "/proc/net/unix", &b) < 0)
		return false;
	for (const char *line = b.data; (end = strchr(line, '\n')); line = end + 1) {
		if (is_queued_at(line, (size_t)(end - line), peer.sun_path))
			return true;
	}
	return false;
}
