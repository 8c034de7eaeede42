/* KVM's own counters of a process's VMs, which debugfs has as one file each:
 * <debugfs>/kvm/TASK-FD/NAME, a decimal number (virt/kvm/kvm_main.c, kvm_create_vm_debugfs()).
 * TASK is the thread that made the VM. A counter there is already the sum over the VM's vCPUs.
 * Reads files, keeps nothing, bounded; any thread.
 */
#ifndef KVMPROFS_KVMSTATS_H
#define KVMPROFS_KVMSTATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/base/errmsg.h"

#define KVMSTATS_MAX	  256 /* x86 has 63 in Linux 6.18 */
#define KVMSTATS_VMS_MAX  64  /* of one process */
#define KVMSTATS_NAME_MAX 48

struct kvmstat {
	char name[KVMSTATS_NAME_MAX];
	uint64_t value;
};

struct kvmstats {
	uint64_t taken_ns; /* clock_now_ns() */
	size_t vms;	   /* that the values are sums of */
	size_t refused;	   /* counters that the kernel does not let us read */
	size_t count;
	struct kvmstat list[KVMSTATS_MAX]; /* by name */
};

/* Adds the text of a counter's file to the counter of that name, which is made if it is new. Pure.
 * False for what is none: a name that is no lower case word, a text that is no number, a
 * histogram ("..._hist"), of which debugfs shows no more than the first bucket; or when there
 * are too many. */
bool kvmstats_add(struct kvmstats *s, const char *name, const char *text);

/* The same for a value. */
bool kvmstats_add_value(struct kvmstats *s, const char *name, uint64_t value);

bool kvmstats_has(const struct kvmstats *s, const char *name);
/* The value, or 0 when there is none of that name. */
uint64_t kvmstats_value(const struct kvmstats *s, const char *name);

/* debugfs: "/sys/kernel/debug"; proc: "/proc". 0, or negative errno and why: -ENOENT, -EACCES when
 * debugfs cannot be read, -ENODATA when KVM lists no VM of that process there. */
int kvmstats_read(const char *debugfs, const char *proc, pid_t pid, struct kvmstats *ret,
		  struct errmsg *why);

#endif
