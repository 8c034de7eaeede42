#include "symsrc/vsock_dial.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/ssh_dial.h"

/* There once the module is: /dev/vhost-vsock may be a node that only waits for it. */
#define VHOST_VSOCK "/sys/class/misc/vhost-vsock"

static bool has_guests(void)
{
	return access(VHOST_VSOCK, F_OK) == 0;
}

/* The kernel's own patience is two seconds, which an emulated guest may need. */
static void set_patience(int fd, const struct vsock_dial *d)
{
	int ms = clock_left_ms(d->deadline_ns) + 1;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000L};

	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv, sizeof(tv));
}

static int connect_to(const struct vsock_dial *d, int *ret_fd)
{
	struct sockaddr_vm svm = {.svm_family = AF_VSOCK, .svm_cid = d->cid, .svm_port = d->port};
	CLEANUP_FD int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = 0;

	if (fd < 0)
		return -errno;
	set_patience(fd, d);
	if (connect(fd, (struct sockaddr *)&svm, sizeof(svm)) < 0)
		r = errno == EINPROGRESS ? ssh_wait_connected(fd, d->deadline_ns, d->cancel_fd)
					 : -errno;
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static int explain(const struct vsock_dial *d, int code, struct errmsg *why)
{
	switch (code) {
	case -EAFNOSUPPORT:
		return errmsg_set(why, code, "this host's kernel has no AF_VSOCK: modprobe vsock");
	case -ENODEV:
	case -EADDRNOTAVAIL: return errmsg_set(why, -ENODEV, "no guest has this CID");
	case -ECONNRESET:
	case -ECONNREFUSED:
		return errmsg_set(why, -ECONNREFUSED,
				  "refused: nothing in the guest listens on its vsock port %u, as "
				  "systemd 256 and newer do for sshd",
				  d->port);
	case -ETIMEDOUT: return errmsg_set(why, code, "no answer to the vsock connection");
	case -ECANCELED: return errmsg_set(why, code, "cancelled");
	default: return errmsg_set(why, code, "%s", strerrordesc_np(-code));
	}
}

int vsock_dial(const struct vsock_dial *d, int *ret_fd, struct errmsg *why)
{
	int r;

	if (d->cid != VMADDR_CID_LOCAL && !has_guests())
		return errmsg_set(why, -ENODEV,
				  "this host has no vsock to guests: modprobe vhost_vsock (QEMU "
				  "does it when a guest has such a device)");
	r = connect_to(d, ret_fd);
	return r < 0 ? explain(d, r, why) : 0;
}
