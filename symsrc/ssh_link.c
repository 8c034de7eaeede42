#include "symsrc/ssh_link.h"

#include <errno.h>
#include <fcntl.h>
#include <libssh/server.h> /* ssh_set_message_callback() */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/text.h"
#include "symsrc/ssh_dial.h"
#include "symsrc/ssh_link_impl.h"
#include "symsrc/vsock_dial.h"

#define SSH_FD_MAX	0xffff /* libssh 0.10 keeps 16 bits of SSH_OPTIONS_FD */
#define LOOK_AGAIN_NSEC NSEC_PER_SEC

void ssh_link_phase(struct ssh_link *l, const char *what, unsigned sec)
{
	uint64_t ns = sec * NSEC_PER_SEC;
	uint64_t short_ns = (uint64_t)SSH_ANSWERS * l->limits.answer_ms * NSEC_PER_MSEC;

	l->phase = what;
	l->phase_ns = clock_now_ns() + (short_ns && short_ns < ns ? short_ns : ns);
}

/* It has said that it speaks ssh. Lines before that are allowed (RFC 4253, 4.2). */
static bool has_greeted(const struct ssh_link *l)
{
	return ssh_get_serverbanner(l->session) != NULL;
}

static uint64_t earliest(const struct ssh_link *l)
{
	uint64_t end = l->phase_ns;

	if (!has_greeted(l) && l->hello_ns < end)
		end = l->hello_ns;
	return l->limits.deadline_ns < end ? l->limits.deadline_ns : end;
}

static int timed_out(const struct ssh_link *l, struct errmsg *why)
{
	if (!has_greeted(l))
		return errmsg_set(why, -ETIMEDOUT, "connected, but no ssh server answers");
	if (clock_now_ns() >= l->limits.deadline_ns)
		return errmsg_set(why, -ETIMEDOUT, "too slow: %s was not over in time", l->phase);
	return errmsg_set(why, -ETIMEDOUT, "the guest fell silent during %s", l->phase);
}

int ssh_link_wait(struct ssh_link *l, struct errmsg *why)
{
	uint64_t end = earliest(l), now = clock_now_ns(), again = now + LOOK_AGAIN_NSEC;
	int flags = ssh_get_poll_flags(l->session);
	short events = POLLIN;
	int r;

	if (l->counter.in_bytes > SSH_WIRE_MAX)
		return errmsg_set(why, -EFBIG, "the guest sends more than %llu bytes",
				  SSH_WIRE_MAX);
	if (now >= end)
		return timed_out(l, why);
	if (flags & SSH_WRITE_PENDING)
		events |= POLLOUT;
	/* Now and then libssh is asked again without cause: it could hold something back. */
	r = ssh_wait_fd(ssh_get_fd(l->session), events, again < end ? again : end,
			l->limits.cancel_fd);
	return r < 0 ? errmsg_set(why, r, "cancelled") : 0;
}

int ssh_link_fail(const struct ssh_link *l, int code, struct errmsg *why)
{
	const char *text = ssh_get_error(l->session);
	bool closed = ssh_get_status(l->session) & (SSH_CLOSED | SSH_CLOSED_ERROR);

	if (closed && (!*text || strstr(text, "Socket error")))
		return errmsg_set(why, -ECONNRESET, "the guest closed the connection during %s",
				  l->phase);
	return errmsg_set(why, closed ? -ECONNRESET : code, "%s failed: %s", l->phase,
			  *text ? text : "no reason given");
}

/* ---- opening ------------------------------------------------------------------------------ */

static uint64_t hello_deadline(const struct source_limits *limits)
{
	uint64_t ns = limits->answer_ms ? limits->answer_ms * NSEC_PER_MSEC
					: SSH_HELLO_SEC * NSEC_PER_SEC;

	return clock_now_ns() + ns;
}

static int connect_guest(const struct ssh_link *l, bool guess, int *ret_fd, struct errmsg *why)
{
	uint64_t deadline_ns =
		l->hello_ns < l->limits.deadline_ns ? l->hello_ns : l->limits.deadline_ns;
	const struct vsock_dial vsock = {l->uri.cid, l->uri.port, deadline_ns, l->limits.cancel_fd};
	const struct ssh_dial tcp = {l->uri.host, l->uri.port, guess, deadline_ns,
				     l->limits.cancel_fd};

	return l->uri.cid ? vsock_dial(&vsock, ret_fd, why) : ssh_dial(&tcp, ret_fd, why);
}

static int dial(struct ssh_link *l, bool guess, struct errmsg *why)
{
	CLEANUP_FD int fd = -1;
	int r = connect_guest(l, guess, &fd, why);

	if (r < 0)
		return r;
	if (fd > SSH_FD_MAX)
		return errmsg_set(why, -EMFILE, "too many open files for libssh");
	if (ssh_options_set(l->session, SSH_OPTIONS_FD, &fd) < 0)
		return ssh_link_fail(l, -EINVAL, why);
	/* libssh's from now on: it closes the descriptor on errors and in ssh_free(). (Not in
	 * ssh_disconnect(), which is therefore never called.) */
	take_fd(&fd);
	return 0;
}

/* libssh has made it blocking on the way. */
static void make_nonblocking(ssh_session session)
{
	int fd = ssh_get_fd(session);

	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
}

static int shake_hands(struct ssh_link *l, struct errmsg *why)
{
	int rc, r;

	ssh_link_phase(l, "the key exchange", SSH_KEX_SEC);
	do {
		rc = ssh_connect(l->session);
		make_nonblocking(l->session);
		r = rc == SSH_AGAIN ? ssh_link_wait(l, why) : 0;
	} while (rc == SSH_AGAIN && r == 0);
	if (r < 0)
		return r;
	return rc == SSH_OK ? 0 : ssh_link_fail(l, -EPROTO, why);
}

static int open_session(struct ssh_link *l, bool guess, struct errmsg *why)
{
	int r = ssh_link_configure(l, why);

	if (r == 0)
		r = dial(l, guess, why);
	if (r == 0)
		r = shake_hands(l, why);
	if (r == 0)
		r = ssh_link_check_host(l, why);
	if (r == 0)
		r = ssh_link_authenticate(l, why);
	return r;
}

/* The guest asks for something: a channel of its own, a forwarded port. 1: refuse it. Without
 * this libssh would keep all such requests for later, which never comes. */
static int refuse_request(ssh_session session, ssh_message message, void *data)
{
	(void)session;
	(void)message;
	(void)data;
	return 1;
}

int ssh_link_open(const struct ssh_uri *uri, bool guess, const struct source_limits *limits,
		  struct ssh_link **ret, struct errmsg *why)
{
	struct ssh_link *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->uri = *uri;
	l->limits = *limits;
	l->hello_ns = hello_deadline(limits);
	l->session = ssh_new();
	if (!l->session) {
		free(l);
		return -ENOMEM;
	}
	ssh_set_blocking(l->session, 0);
	ssh_set_counters(l->session, &l->counter, NULL);
	ssh_set_message_callback(l->session, refuse_request, NULL);
	r = open_session(l, guess, why);
	if (r < 0) {
		ssh_link_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

void ssh_link_close(struct ssh_link *l)
{
	if (!l)
		return;
	ssh_free(l->session); /* its channels, too, and the socket */
	free(l);
}

bool ssh_link_reuse(struct ssh_link *l, const struct source_limits *limits)
{
	struct pollfd p = {.fd = ssh_get_fd(l->session), .events = POLLRDHUP};

	if (poll(&p, 1, 0) > 0 || !ssh_is_connected(l->session))
		return false;
	ssh_channel_free(l->channel);
	l->channel = NULL;
	l->limits = *limits;
	l->counter = (struct ssh_counter_struct){0};
	l->stderr_len = 0;
	memset(l->stderr_text, 0, sizeof(l->stderr_text));
	return true;
}

const char *ssh_link_name(const struct ssh_link *l)
{
	return l->name;
}

/* ---- the command -------------------------------------------------------------------------- */

static int open_channel(struct ssh_link *l, struct errmsg *why)
{
	int rc, r;

	l->channel = ssh_channel_new(l->session);
	if (!l->channel)
		return -ENOMEM;
	ssh_link_phase(l, "the opening of a channel", SSH_EXEC_SEC);
	do {
		rc = ssh_channel_open_session(l->channel);
		r = rc == SSH_AGAIN ? ssh_link_wait(l, why) : 0;
	} while (rc == SSH_AGAIN && r == 0);
	if (r < 0)
		return r;
	return rc == SSH_OK ? 0 : ssh_link_fail(l, -EPERM, why);
}

int ssh_link_exec(struct ssh_link *l, const char *command, struct errmsg *why)
{
	int rc, r = open_channel(l, why);

	if (r < 0)
		return r;
	ssh_link_phase(l, "the start of the command", SSH_EXEC_SEC);
	do {
		rc = ssh_channel_request_exec(l->channel, command);
		r = rc == SSH_AGAIN ? ssh_link_wait(l, why) : 0;
	} while (rc == SSH_AGAIN && r == 0);
	if (r < 0)
		return r;
	return rc == SSH_OK ? 0 : ssh_link_fail(l, -EPERM, why);
}

/* Standard error shares the channel's window: it must be read, too. */
static void drain_stderr(struct ssh_link *l)
{
	char chunk[1024];
	int n;

	while ((n = ssh_channel_read_nonblocking(l->channel, chunk, sizeof(chunk), 1)) > 0) {
		size_t room = sizeof(l->stderr_text) - 1 - l->stderr_len;
		size_t take = (size_t)n < room ? (size_t)n : room;

		memcpy(l->stderr_text + l->stderr_len, chunk, take);
		l->stderr_len += take;
		if (l->counter.in_bytes > SSH_WIRE_MAX)
			return;
	}
}

/* Bytes, 0 at the end, -EAGAIN when there is nothing yet. */
static ssize_t read_now(struct ssh_link *l, void *buf, size_t size, struct errmsg *why)
{
	int n = ssh_channel_read_nonblocking(l->channel, buf, (uint32_t)size, 0);

	if (n > 0)
		return n;
	if (n == SSH_EOF || (n == 0 && ssh_channel_is_eof(l->channel)))
		return 0;
	return n == 0 || n == SSH_AGAIN ? -EAGAIN : ssh_link_fail(l, -ECONNRESET, why);
}

ssize_t ssh_link_read(struct ssh_link *l, void *buf, size_t size, struct errmsg *why)
{
	ssize_t n;
	int r = 0;

	ssh_link_phase(l, "its answer", SSH_SILENCE_SEC);
	do {
		n = read_now(l, buf, size, why);
		if (n != -EAGAIN)
			return n;
		/* Looking for the one may take the other off the socket: look again. */
		drain_stderr(l);
		n = read_now(l, buf, size, why);
		if (n == -EAGAIN)
			r = ssh_link_wait(l, why);
	} while (n == -EAGAIN && r == 0);
	return r < 0 ? r : n;
}

int ssh_link_status(struct ssh_link *l)
{
	int status;

	drain_stderr(l);
	ssh_link_phase(l, "its end", SSH_STATUS_SEC);
	while ((status = ssh_channel_get_exit_status(l->channel)) < 0) {
		if (ssh_channel_is_closed(l->channel) || ssh_link_wait(l, NULL) < 0)
			return -1;
	}
	return status;
}

const char *ssh_link_stderr(const struct ssh_link *l)
{
	return l->stderr_text;
}
