#include "symsrc/ssh_dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/thread.h"
#include "symsrc/ssh_uri.h"

int ssh_wait_fd(int fd, short events, uint64_t deadline_ns, int cancel_fd)
{
	struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = cancel_fd, .events = POLLIN}};
	int n;

	/* poll(2) leaves out entries with a negative descriptor. */
	do
		n = poll(p, 2, clock_left_ms(deadline_ns));
	while (n < 0 && errno == EINTR);
	if (p[1].revents)
		return -ECANCELED;
	return n > 0;
}

/* ---- names -------------------------------------------------------------------------------
 *
 * getaddrinfo() can take a minute and cannot be interrupted. So a thread of its own does it,
 * and whoever waits may leave early: the last of the two frees the lookup. The threads are
 * bounded in number, and end by themselves when the resolver gives up. */

struct lookup {
	atomic_int refs;
	char host[SSH_HOST_MAX];
	char port[8];
	int done_fd;
	/* Of getaddrinfo(); valid once done_fd is readable. list is written before result. */
	atomic_int result;
	struct addrinfo *list;
};

static atomic_int lookups;

static void lookup_put(struct lookup *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	if (l->list)
		freeaddrinfo(l->list);
	close_keep_errno(l->done_fd);
	free(l);
}

static void *lookup_main(void *arg)
{
	static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
					      .ai_flags = AI_NUMERICSERV};
	struct lookup *l = arg;

	atomic_store(&l->result, getaddrinfo(l->host, l->port, &hints, &l->list));
	io_wake(l->done_fd);
	lookup_put(l);
	atomic_fetch_sub(&lookups, 1);
	return NULL;
}

static struct lookup *lookup_create(const struct ssh_dial *d)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	atomic_init(&l->refs, 1);
	snprintf(l->host, sizeof(l->host), "%s", d->host);
	snprintf(l->port, sizeof(l->port), "%u", d->port);
	l->done_fd = io_wake_create();
	if (l->done_fd < 0) {
		free(l);
		return NULL;
	}
	return l;
}

static int lookup_start(struct lookup *l)
{
	int r;

	if (atomic_fetch_add(&lookups, 1) >= SSH_RESOLVERS_MAX) {
		atomic_fetch_sub(&lookups, 1);
		return -EAGAIN;
	}
	atomic_fetch_add(&l->refs, 1);
	r = thread_start_detached(lookup_main, l);
	if (r < 0) {
		lookup_put(l);
		atomic_fetch_sub(&lookups, 1);
	}
	return r;
}

static int lookup_wait(struct lookup *l, const struct ssh_dial *d, struct errmsg *why)
{
	int result, r = lookup_start(l);

	if (r < 0)
		return errmsg_set(why, r, "too many host names are being looked up");
	r = ssh_wait_fd(l->done_fd, POLLIN, d->deadline_ns, d->cancel_fd);
	if (r < 0)
		return errmsg_set(why, r, "cancelled");
	if (r == 0)
		return errmsg_set(why, -ETIMEDOUT, "the name is still being looked up");
	result = atomic_load(&l->result);
	if (result != 0)
		return errmsg_set(why, -EHOSTUNREACH, "the name does not resolve: %s",
				  gai_strerror(result));
	return 0;
}

/* ---- connecting --------------------------------------------------------------------------- */

static bool is_loopback(const struct addrinfo *a)
{
	const struct sockaddr_in6 *in6 = (const void *)a->ai_addr;
	const struct sockaddr_in *in = (const void *)a->ai_addr;

	if (a->ai_family == AF_INET)
		return (ntohl(in->sin_addr.s_addr) >> 24) == 127 || in->sin_addr.s_addr == 0;
	return a->ai_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr));
}

/* Both ends have one address: a connection to this machine itself, by whatever name. */
static bool is_own_address(int fd)
{
	struct sockaddr_storage here = {0}, there = {0};
	socklen_t here_len = sizeof(here), there_len = sizeof(there);
	const struct sockaddr_in *a = (const void *)&here, *b = (const void *)&there;
	const struct sockaddr_in6 *a6 = (const void *)&here, *b6 = (const void *)&there;

	if (getsockname(fd, (struct sockaddr *)&here, &here_len) < 0 ||
	    getpeername(fd, (struct sockaddr *)&there, &there_len) < 0)
		return false;
	if (here.ss_family == AF_INET)
		return a->sin_addr.s_addr == b->sin_addr.s_addr;
	return here.ss_family == AF_INET6 && IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
}

int ssh_wait_connected(int fd, uint64_t deadline_ns, int cancel_fd)
{
	int err = 0;
	socklen_t len = sizeof(err);
	int r = ssh_wait_fd(fd, POLLOUT, deadline_ns, cancel_fd);

	if (r <= 0)
		return r < 0 ? r : -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

static int connect_to(const struct addrinfo *a, const struct ssh_dial *d)
{
	CLEANUP_FD int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, r = 0;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0)
		r = errno == EINPROGRESS ? ssh_wait_connected(fd, d->deadline_ns, d->cancel_fd)
					 : -errno;
	if (r == 0 && d->not_self && is_own_address(fd))
		r = -ELOOP;
	return r < 0 ? r : take_fd(&fd);
}

/* An address that nobody answers on must not use up the time of those after it. */
static struct ssh_dial with_share(const struct ssh_dial *d, size_t addresses_left)
{
	struct ssh_dial share = *d;
	uint64_t now = clock_now_ns();

	if (d->deadline_ns > now)
		share.deadline_ns = now + (d->deadline_ns - now) / addresses_left;
	return share;
}

static int connect_any(const struct addrinfo *list, const struct ssh_dial *d, int *ret_fd,
		       struct errmsg *why)
{
	int r = -EHOSTUNREACH;
	size_t left = 0;

	for (const struct addrinfo *a = list; a; a = a->ai_next)
		left++;
	for (const struct addrinfo *a = list; a && r != -ECANCELED; a = a->ai_next) {
		const struct ssh_dial share = with_share(d, left--);

		r = d->not_self && is_loopback(a) ? -ELOOP : connect_to(a, &share);
		if (r == -ELOOP)
			return errmsg_set(why, r, "the name means this host itself");
		if (r >= 0) {
			*ret_fd = r;
			return 0;
		}
	}
	if (r == -ETIMEDOUT)
		return errmsg_set(why, r, "no answer to the TCP connection");
	return errmsg_set(why, r, "%s", r == -ECANCELED ? "cancelled" : strerrordesc_np(-r));
}

static int dial_name(const struct ssh_dial *d, int *ret_fd, struct errmsg *why)
{
	struct lookup *l = lookup_create(d);
	int r;

	if (!l)
		return -ENOMEM;
	r = lookup_wait(l, d, why);
	if (r == 0)
		r = connect_any(l->list, d, ret_fd, why);
	lookup_put(l);
	return r;
}

int ssh_dial(const struct ssh_dial *d, int *ret_fd, struct errmsg *why)
{
	static const struct addrinfo numeric = {.ai_socktype = SOCK_STREAM,
						.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	char port[8];
	int r;

	snprintf(port, sizeof(port), "%u", d->port);
	if (getaddrinfo(d->host, port, &numeric, &list) != 0)
		return dial_name(d, ret_fd, why);
	r = connect_any(list, d, ret_fd, why);
	freeaddrinfo(list);
	return r;
}
