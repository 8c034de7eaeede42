/* A connection to what answers behind a serial port of a guest: the unix socket of the VMM's
 * character device. It carries bytes and knows no protocol.
 *
 * Such a socket serves one client. The next one can connect and send, and is then kept waiting
 * without a word (QEMU's chardev/char-socket.c; listen(2)'s queue), so every wait has an end.
 */
#ifndef KVMPROFS_SERIAL_LINK_H
#define KVMPROFS_SERIAL_LINK_H

#include <stdint.h>
#include <sys/types.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/source.h"

#define SERIAL_HELLO_SEC   3   /* for the first answer, unless limits.answer_ms says otherwise */
#define SERIAL_SILENCE_SEC 15  /* in the middle of an answer; not more than... */
#define SERIAL_ANSWERS	   5   /* ...so many of limits.answer_ms */
#define SERIAL_GRACE_MS	   200 /* for tidying up in the guest after an error or a cancel */

struct serial_link {
	int fd; /* -1: none */
	struct source_limits limits;
};

/* path may be longer than sun_path. 0, or negative errno and why: -EBUSY when others are queueing
 * there, or what connect(2) says. */
int serial_link_open(const char *path, const struct source_limits *limits, struct serial_link *ret,
		     struct errmsg *why);
void serial_link_close(struct serial_link *l); /* also a closed one */

/* Sends all. 0, -ECANCELED, -ETIMEDOUT, -ECONNRESET. */
int serial_link_send(struct serial_link *l, const void *bytes, size_t n, struct errmsg *why);

/* Receives at most size bytes, 1 at least. -ECANCELED, -ETIMEDOUT at the deadline, -ECONNRESET at
 * the end of the stream; at until_ns (clock_now_ns()) -ETIME, which the caller explains. */
ssize_t serial_link_recv(struct serial_link *l, void *buf, size_t size, uint64_t until_ns,
			 struct errmsg *why);

/* When the first answer should be here, and when a silence that begins now is too long. */
uint64_t serial_link_hello_ns(const struct serial_link *l);
uint64_t serial_link_silence_ns(const struct serial_link *l);

/* From now on neither a cancel nor the deadline ends a wait, but SERIAL_GRACE_MS do. */
void serial_link_grace(struct serial_link *l);

/* Whether the VMM has not even accepted the connection: it is serving somebody else. False when
 * that cannot be told. */
bool serial_link_is_queued(const struct serial_link *l);

#endif
