/* A connection to a port of a guest by AF_VSOCK (vsock(7)), within a deadline and cancellable. */
#ifndef KVMPROFS_VSOCK_DIAL_H
#define KVMPROFS_VSOCK_DIAL_H

#include <stdint.h>

#include "symsrc/base/errmsg.h"

struct vsock_dial {
	uint32_t cid; /* of the guest; 1: this machine itself (VMADDR_CID_LOCAL) */
	uint16_t port;
	uint64_t deadline_ns;
	int cancel_fd; /* or -1 */
};

/* *ret_fd is connected, non-blocking and close-on-exec. Blocks until then. -ENODEV: no guest has
 * this CID, or this host has no way to guests; -ECONNREFUSED: nothing listens there in the guest;
 * -ETIMEDOUT, -ECANCELED, or what socket(2) and connect(2) say; why says it in a line. Asks nobody
 * where the host has no way to guests: on a host that is a guest itself, the kernel would send
 * it to that one's own host. Any thread. */
int vsock_dial(const struct vsock_dial *d, int *ret_fd, struct errmsg *why);

#endif
