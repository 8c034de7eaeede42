/* A guest's RAM in the address space of its VMM: which mappings it is, at which guest-physical
 * addresses, and reading it without the VMM's or the guest's help or notice.
 *
 * Two halves. Opening needs privilege (PTRACE_MODE_ATTACH: CAP_SYS_PTRACE, Yama below 3, no
 * LSM against it) and stays with what holds it; what comes out is plain data and descriptors,
 * which could be sent over a socket. Reading needs these alone, and reaches nothing but the
 * RAM of this one guest: every address is checked against its blocks.
 *
 * Reading never makes the VMM allocate: private memory that was never touched has no page
 * (/proc/PID/pagemap) and reads as zeros here; shared memory (memfd, files, hugetlbfs) is read
 * through its file, holes by SEEK_DATA; what is swapped out stays there (-EBUSY). The guest is
 * not stopped.
 *
 * Which mapping: proc(5), /proc/PID/maps, by size against the VM's memory, in the order in which
 * QEMU's machines (hw/i386/pc.c, pc_piix.c, pc_q35.c, microvm.c), Firecracker, cloud-hypervisor
 * and kvmtool lay it out; where the VMM has told (struct guest_ram) by that.
 */
#ifndef KVMPROFS_VMMRAM_H
#define KVMPROFS_VMMRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"
#include "symsrc/memory/ram.h"

#define VMMRAM_BLOCKS_MAX  64
#define VMMRAM_LAYOUTS_MAX 8
#define VMMRAM_MAPS_MAX	   (8u << 20) /* bytes of /proc/PID/maps that are read */

/* Immutable but for its count of references; any thread may read. Holds three descriptors, and one
 * for each file that RAM is made of: a memfd's memory stays as long as it is open here, so that
 * it should not be kept when the VMM has ended. */
struct vmmram;

/* proc_root: "/proc", or a made-up one in tests. 0, or negative errno and why in one line, with
 * what to do: -EACCES, -EPERM: not permitted (capability, Yama, LSM: which is said); -ENOTSUP:
 * encrypted (struct guest_ram), or not x86-64; -ESRCH: the VMM has ended; -ENOENT: no mapping
 * that fits. */
int vmmram_open(const char *proc_root, const struct guest *g, struct vmmram **ret,
		struct errmsg *why);
struct vmmram *vmmram_get(struct vmmram *v);
void vmmram_put(struct vmmram *v); /* accepts NULL */

/* True while the mappings are as they were when it was opened: false after hot-plug, and the
 * caller opens anew. Reads /proc/PID/maps: about a millisecond. */
bool vmmram_is_current(const struct vmmram *v);

/* One thread's way of reading it. */
struct vmmram_reader {
	struct vmmram *ram; /* not owned */
	unsigned layout;
	unsigned reads;
	bool host_has_swapped; /* when it was last asked */
};
void vmmram_reader_init(struct vmmram_reader *r, struct vmmram *v);
extern const struct ram_ops vmmram_ops; /* ctx: struct vmmram_reader */

#endif
