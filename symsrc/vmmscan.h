/* Looks at processes through /proc, and at KVM's own list of VMs in debugfs: which of them are
 * VMMs, and what these two tell of their guests. Reads only, keeps nothing but the roots, and
 * never waits for anybody.
 *
 * Formats: proc(5); <debugfs>/kvm/PID-FD/vcpuN/{pid,tsc-offset} by virt/kvm/kvm_main.c,
 * kvm_create_vm_debugfs(), and arch/x86/kvm/debugfs.c. PID there is the task that made the VM,
 * which may be any thread of the VMM, and FD the VM's descriptor at that time.
 */
#ifndef KVMPROFS_VMMSCAN_H
#define KVMPROFS_VMMSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/guest.h"
#include "symsrc/vmmargs.h"

#define VMM_FDS_MAX \
	8192 /* descriptors of a process that are looked at; its VM is among the first */

struct vmmscan {
	char proc[256];	 /* "/proc", or a made-up one in tests */
	char kvm[256];	 /* "<debugfs>/kvm" */
	int proc_fd;	 /* O_PATH */
	char mnt_ns[64]; /* this process's own, to compare; empty: not known */
	char net_ns[64];
	char pid_ns[64];
};

/* 0, -ENAMETOOLONG, or why proc_root cannot be opened. */
int vmmscan_init(struct vmmscan *s, const char *proc_root, const char *debugfs_root);
void vmmscan_deinit(struct vmmscan *s);

/* -- lists -------------------------------------------------------------------------------- */

/* Calls fn for every process (not for its other threads). 0 or negative errno. */
int vmmscan_processes(const struct vmmscan *s, void (*fn)(void *ctx, pid_t pid), void *ctx);

/* The pid that was given out last; unchanged means that no task has been made since. */
int vmmscan_last_pid(const struct vmmscan *s, pid_t *ret);

/* A VM in debugfs: the directory "pid-fd". */
struct vmm_dir {
	pid_t pid; /* 0: none */
	int fd;
};

/* Calls fn for every VM that KVM lists. 0; -ENOENT or -EACCES when debugfs cannot be read or
 * KVM is not there. */
int vmmscan_vms(const struct vmmscan *s, void (*fn)(void *ctx, struct vmm_dir dir), void *ctx);

/* The process that a task belongs to; 0 when there is no such task. */
pid_t vmmscan_tgid(const struct vmmscan *s, pid_t task);

/* -- one process -------------------------------------------------------------------------- */

/* Start time in clock ticks since boot, and parent. -ESRCH when it is gone (or a zombie). */
struct vmm_stat {
	uint64_t start;
	pid_t ppid;
	unsigned threads;
};
int vmmscan_stat(const struct vmmscan *s, pid_t pid, struct vmm_stat *ret);

/* True when its executable is a QEMU system emulator: one readlink(2). */
bool vmmscan_is_qemu(const struct vmmscan *s, pid_t pid);

/* True when descriptor fd of the process is a VM. */
bool vmmscan_holds_vm(const struct vmmscan *s, pid_t pid, int fd);

enum vmm_kind {
	VMM_NONE,    /* no guest, and will not become one without another exec(2) or open(2) */
	VMM_SUSPECT, /* a QEMU whose machine is not there yet: look again */
	VMM_GUEST
};

/* All that /proc and debugfs tell of a VMM. */
struct vmm_facts {
	enum guest_accel accel;
	struct vmm_stat stat;
	int vm_fd;	    /* -1 under TCG */
	struct vmm_dir dir; /* its VM in debugfs; pid 0: not found */
	struct vmm_args args;
};

/* Judges a process. dir: its VM as vmmscan_vms() told, or pid 0: then its descriptors are
 * searched, which takes a readlink(2) for each. ret is filled for VMM_GUEST only. */
enum vmm_kind vmmscan_look(const struct vmmscan *s, pid_t pid, struct vmm_dir dir,
			   struct vmm_facts *ret);

/* How many vCPUs KVM lists for the VM, plus 2: its directory's link count, one stat(2). 0 when
 * there is no such directory. A change means hotplug. */
unsigned vmmscan_dir_links(const struct vmmscan *s, struct vmm_dir dir);

/* The vCPUs by index: from debugfs, else from the names that threads give themselves. *ret is
 * to be freed. The number of them; 0 (and *ret NULL) when none is known. A vCPU that has not
 * run yet has no thread and is left out. */
size_t vmmscan_vcpus(const struct vmmscan *s, pid_t pid, struct vmm_dir dir,
		     struct guest_vcpu **ret);

/* Replaces the thread ids of n vCPUs, as the VMM's own pid namespace has them, by the host's.
 * What is no thread of the process is left out. Returns how many are left, by index. Each thread
 * is looked at once at most, however many vCPUs the VMM claims to have. */
size_t vmmscan_host_tids(const struct vmmscan *s, pid_t pid, struct guest_vcpu *vcpus, size_t n);

/* Where this process can connect to the socket. False when it cannot be told. */
bool vmmscan_socket_path(const struct vmmscan *s, pid_t pid, const struct vmm_socket *sock,
			 char *dst, size_t size);

/* True when its network is this process's too, so that forwarded ports can be reached. */
bool vmmscan_shares_network(const struct vmmscan *s, pid_t pid);

/* How far the TSC of the VM's first vCPU is from the host's, in cycles. QEMU sets the TSC anew
 * at a machine reset (to 1, since its commit 5286c3662294 of 2022; KVM would take a 0 for a
 * wish to keep it in step), which shows here as a jump by the uptime. -ENOENT when there is no
 * such vCPU yet, or another architecture. Opened each time: these files cannot be read twice
 * (simple_attr_open() makes them unseekable). */
int vmmscan_tsc_offset(const struct vmmscan *s, struct vmm_dir dir, int64_t *ret);

/* True once the VM's first vCPU has run. */
bool vmmscan_has_run(const struct vmmscan *s, struct vmm_dir dir);

/* -- the kernel's messages ---------------------------------------------------------------- */

/* True for a uevent that KVM sends when a VM comes or goes (kvm_uevent_notify_change());
 * *ret_pid is then the task that made it. n bytes as received; a stranger may have sent them. */
bool vmmscan_parse_uevent(const char *bytes, size_t n, pid_t *ret_pid);

/* The index of the vCPU that a thread with that name (comm, proc_pid_comm(5)) runs; -1: none. Pure.
 */
long vmmscan_vcpu_of_comm(const char *comm);

#endif
