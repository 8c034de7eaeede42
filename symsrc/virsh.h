/* qemu-guest-agent where libvirt holds its only connection: `virsh qemu-agent-command`, one process
 * for each command. No shell is between us and it; its output is bounded, its time too, and it is
 * killed and reaped whatever happens. It is found by PATH.
 *
 * The domain goes by its UUID, which never looks like an option. A VMM that anybody has started may
 * call itself by another one's UUID: libvirt's own are told by the files in which it keeps
 * their pids, where nobody but root writes.
 */
#ifndef KVMPROFS_VIRSH_H
#define KVMPROFS_VIRSH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/source.h"

#define VIRSH_OUTPUT_MAX (4u << 20) /* of one command; libvirt carries no more in one answer */
#define VIRSH_UUID_LEN	 36
#define VIRSH_NONE	 (-ENOPKG) /* there is no way by virsh; nobody was asked */

struct virsh {
	char uuid[VIRSH_UUID_LEN + 1];
};

/* Where libvirt keeps NAME.pid of each domain that runs; a test has another folder. */
extern const char *virsh_run_dir;

/* For this guest. 0, or VIRSH_NONE and why: it is none of libvirt's, or its UUID is not known. */
int virsh_init(struct virsh *v, const struct source_target *target, struct errmsg *why);

/* Takes a part of the answer. A negative return ends the command with that error. */
typedef int virsh_take_fn(void *ctx, const char *bytes, size_t n, struct errmsg *why);

/* Has the guest's agent run this command (a line of JSON), and hands on the line that it answers.
 * Blocks until the process has ended, at most until until_ns (clock_now_ns()) and the limits say.
 * 0; -EREMOTEIO and its description when the agent refused; VIRSH_NONE when there is no virsh;
 * -ETIMEDOUT, -ECANCELED; -EIO for all else that virsh complains of; what take() returned. */
int virsh_agent_command(const struct virsh *v, const char *line, const struct source_limits *limits,
			uint64_t until_ns, virsh_take_fn *take, void *ctx, struct errmsg *why);

#endif
