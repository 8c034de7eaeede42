/* A TCP connection to a host by name, within a deadline and cancellable. */
#ifndef KVMPROFS_SSH_DIAL_H
#define KVMPROFS_SSH_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"

#define SSH_RESOLVERS_MAX 32 /* names that are being looked up at a time, all guests together */

struct ssh_dial {
	const char *host; /* name or numeric address */
	uint16_t port;
	bool not_self; /* refuse the addresses of this machine itself */
	uint64_t deadline_ns;
	int cancel_fd; /* or -1 */
};

/* Tries the host's addresses in turn. *ret_fd is connected, non-blocking, close-on-exec and
 * without Nagle's delay. -ETIMEDOUT, -ECANCELED, -EHOSTUNREACH for a name that does not resolve,
 * -ELOOP for this machine itself, or what connect(2) says. */
int ssh_dial(const struct ssh_dial *d, int *ret_fd, struct errmsg *why);

/* Waits until fd has events (poll(2)), for at most until deadline_ns. Returns 1, 0 when the
 * time is over, -ECANCELED. fd may be -1: only the time and the cancel count. */
int ssh_wait_fd(int fd, short events, uint64_t deadline_ns, int cancel_fd);

/* Waits for the outcome of a connect(2) that is under way. 0, -ETIMEDOUT, -ECANCELED, or what it
 * says. */
int ssh_wait_connected(int fd, uint64_t deadline_ns, int cancel_fd);

#endif
