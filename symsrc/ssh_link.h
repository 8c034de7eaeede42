/* One ssh session for one command at a time: a thin skin over libssh that never waits without a
 * deadline and an ear for the cancel, and that says in one line what went wrong.
 *
 * libssh runs non-blocking throughout; waiting is done here, in poll(2). Two things in libssh
 * wait nevertheless, and are taken care of: it makes the socket blocking when it connects
 * (undone at once, else a guest that does not read could hold the thread in send(2)), and it
 * talks to ssh-agent synchronously (a small thread shuts that socket down when time is up).
 *
 * Used by one thread at a time.
 */
#ifndef KVMPROFS_SSH_LINK_H
#define KVMPROFS_SSH_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/source.h"
#include "symsrc/ssh_uri.h"

#define SSH_HELLO_SEC	15 /* until the connection stands and the guest has greeted */
#define SSH_KEX_SEC	20 /* then for the key exchange: emulated guests need seconds */
#define SSH_AUTH_SEC	20
#define SSH_EXEC_SEC	15
#define SSH_SILENCE_SEC 20	       /* without a byte of the answer */
#define SSH_STATUS_SEC	2	       /* for the exit status after the last byte */
#define SSH_ANSWERS	5	       /* of limits.answer_ms are the most for a phase */
#define SSH_WIRE_MAX	(128ull << 20) /* bytes received in one session, of whatever kind */
#define SSH_STDERR_MAX	160

struct ssh_link;

/* Connects, checks the host key, authenticates. guess: refuse this host itself. 0 and
 * *ret, or negative errno and why, of which: -EKEYREJECTED (host key unknown or changed),
 * -EACCES (no key is accepted), -ETIMEDOUT, -ECANCELED, -EPROTO. */
int ssh_link_open(const struct ssh_uri *uri, bool guess, const struct source_limits *limits,
		  struct ssh_link **ret, struct errmsg *why);

/* Makes a link whose command has ended ready for another one, under new limits. False: the guest
 * has closed it. */
bool ssh_link_reuse(struct ssh_link *l, const struct source_limits *limits);

/* Starts the command: once. 0, -EPERM when the guest refuses to, or as above. */
int ssh_link_exec(struct ssh_link *l, const char *command, struct errmsg *why);

/* Waits for bytes of its standard output. Their number, 0 at the end, or negative errno. */
ssize_t ssh_link_read(struct ssh_link *l, void *buf, size_t size, struct errmsg *why);

/* After the end: the command's exit status, or -1 when the guest did not send any in time. */
int ssh_link_status(struct ssh_link *l);

/* The beginning of what it said on standard error: one line, never NULL. */
const char *ssh_link_stderr(const struct ssh_link *l);

/* "ssh://root@host:port", as it came out of URI and configuration. */
const char *ssh_link_name(const struct ssh_link *l);

void ssh_link_close(struct ssh_link *l); /* accepts NULL */

#endif
