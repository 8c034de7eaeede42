/* Finds the guests of this host, and notices when they come, change, reboot and end: one
 * thread, which publishes into a registry (struct guests).
 *
 * How, and what it costs:
 *  - Twice a second it asks what is new: the last pid that was given out (one read; only pids
 *    after the last one that was seen are looked at, and again for some seconds, since a
 *    process may exec(2) later), KVM's list of VMs in debugfs, and each guest's TSC offset,
 *    which moves when the machine is reset.
 *  - KVM's uevents make that happen at once, pidfds tell when a VMM ends.
 *  - What slips through (an exec(2) in an old process, a kernel without debugfs) is found by
 *    looking at all processes, as often as that stays below a thousandth of a CPU.
 *  - QMP sessions run beside all that, many at once, and delay nothing.
 */
#ifndef KVMPROFS_DISCOVER_H
#define KVMPROFS_DISCOVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"

#define DISCOVER_TICK_MS      500
#define DISCOVER_SESSIONS_MAX 32 /* QMP sessions at once; the others wait */

struct discover_config {
	const char *proc_root;	  /* "/proc"; uevents are listened for with this one only */
	const char *debugfs_root; /* "/sys/kernel/debug" */
	const pid_t *only;	  /* only these VMMs; only_count 0: all */
	size_t only_count;
	unsigned tick_ms; /* 0: DISCOVER_TICK_MS */
};

struct discover;

/* Copies the config; gs must outlive it. Starts nothing. 0 or negative errno and why. */
int discover_create(const struct discover_config *config, struct guests *gs, struct discover **ret,
		    struct errmsg *why);
/* Starts the thread ("kp-discover"); all signals are blocked in it. */
int discover_start(struct discover *d, struct errmsg *why);
/* Returns once the guests of the first look are published, or after a second: a process that is
 * stuck in the kernel may keep whoever looks at it. After discover_start(). */
void discover_await_first_look(const struct discover *d);
/* Wakes and joins it. The guests stay published. Does nothing when it does not run. */
void discover_stop(struct discover *d);
void discover_destroy(struct discover *d); /* accepts NULL; after discover_stop() */

/* Counts since the start, for `status`. From any thread. */
struct discover_stats {
	uint64_t ticks;
	uint64_t looks;	 /* processes that were looked at closely */
	uint64_t sweeps; /* times that all processes were looked at */
	uint64_t publications;
	uint64_t sessions; /* QMP sessions that were begun */
	uint64_t failed_sessions;
	uint64_t cpu_ns; /* CPU time of the thread */
};
void discover_stats(const struct discover *d, struct discover_stats *ret);

#endif
