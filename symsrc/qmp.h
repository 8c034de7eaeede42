/* A client of the QEMU Machine Protocol on one unix socket (QEMU, docs/interop/qmp-spec.rst).
 * It speaks the protocol and knows nothing of guests.
 *
 *	qmp_connect() -> qmp_execute() ... -> poll(qmp_fd(), qmp_events()) -> qmp_process() ...
 *
 * Nothing here blocks and there are no timers: the owner polls, and gives up when it has waited
 * long enough. That is needed, since a QMP socket serves one client: QEMU lets the next one
 * connect, and then never says a word to it. Nothing is sent before the greeting has come, so
 * that connecting to a socket of something else does no harm.
 *
 * The peer is a stranger: bounded are the bytes and the values of one message, the depth of its
 * JSON, the messages a second, and what one qmp_process() reads. An error of the connection is
 * for good: destroy it and connect again.
 *
 * A struct qmp belongs to one thread at a time; several of them share nothing.
 */
#ifndef KVMPROFS_QMP_H
#define KVMPROFS_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/base/errmsg.h"

#define QMP_MESSAGE_MAX	     (4u << 20)	  /* bytes of one reply or event */
#define QMP_VALUES_MAX	     (256u << 10) /* values in one; bounds what its JSON takes in memory */
#define QMP_DEPTH_MAX	     32
#define QMP_PENDING_MAX	     32	  /* commands without their reply */
#define QMP_MESSAGES_PER_SEC 5000 /* a peer that sends more is cut off */

struct json_object;
struct qmp;

/* The end of one command. value lives until the callback returns, longer by json_object_get().
 *	code 0		 value is what "return" held; never NULL
 *	code -EREMOTEIO	 the VMM refused; text is its description (unescaped, a stranger's)
 *	else		 the connection is broken, text says how; no reply will come
 */
struct qmp_reply {
	int code;
	const char *text;
	struct json_object *value;
};

/* Called by qmp_process(). May call qmp_execute(), but not qmp_process() or qmp_destroy(). */
typedef void qmp_reply_fn(void *ctx, const struct qmp_reply *reply);

/* Likewise, for an event: its name ("RESET") and its data, which is NULL when there is none. */
typedef void qmp_event_fn(void *ctx, const char *event, struct json_object *data);

/* Connects to the unix socket at path, which may be longer than sun_path can hold. on_event may
 * be NULL. 0, or negative errno and why: -EAGAIN when its queue is full (somebody else is
 * connected), -ENOENT, -ECONNREFUSED (nobody listens any more), -EACCES, ... Does not block. */
int qmp_connect(const char *path, qmp_event_fn *on_event, void *ctx, struct qmp **ret,
		struct errmsg *why);

/* The same over a connected stream socket, which it takes over (also when it fails). */
int qmp_attach(int fd, qmp_event_fn *on_event, void *ctx, struct qmp **ret, struct errmsg *why);

/* Closes the connection. Replies that are still to come are forgotten: no callback is called.
 * Accepts NULL. */
void qmp_destroy(struct qmp *q);

/* What to poll for. POLLIN always, POLLOUT while there is something to send. The values are
 * poll(2)'s and epoll(7)'s alike. The descriptor stays the same until qmp_destroy(). */
int qmp_fd(const struct qmp *q);
short qmp_events(const struct qmp *q);

/* To be called when poll says so (early calls do no harm): sends and receives what is possible
 * without waiting, and calls the callbacks. Reads a bounded amount; poll tells whether there is
 * more. 0, or the connection's negative errno, after all pending commands were ended with it:
 * -ECONNRESET when the peer closed, -EBADMSG for what is not QMP, -EMSGSIZE for a message past
 * its maximum, -EOVERFLOW for too many of them. */
int qmp_process(struct qmp *q);

/* Why the connection is broken; code 0 while it is not. */
const struct errmsg *qmp_error(const struct qmp *q);

/* True once greeting and negotiation are over, so that commands go out. */
bool qmp_is_ready(const struct qmp *q);

/* Commands without their reply, including those that wait for the greeting. */
size_t qmp_pending(const struct qmp *q);

/* Queues a command; it is sent by qmp_process(), in order. arguments may be NULL and is taken
 * over in any case. fn (may be NULL) is called exactly once unless q is destroyed before. 0,
 * -ENOBUFS when QMP_PENDING_MAX wait already or an argument is too long, -ENOMEM, or the
 * connection's error; fn is then not called. */
int qmp_execute(struct qmp *q, const char *command, struct json_object *arguments, qmp_reply_fn *fn,
		void *ctx);

/* "human-monitor-command" with this line; the reply's value is one string. */
int qmp_execute_hmp(struct qmp *q, const char *line, qmp_reply_fn *fn, void *ctx);

/* For threads that have nothing else to do, tests and tools: polls and processes until no command
 * is pending (0), an error, or the moment deadline_ns of clock_now_ns() (-ETIMEDOUT). Blocks. */
int qmp_wait_idle(struct qmp *q, uint64_t deadline_ns);

#endif
