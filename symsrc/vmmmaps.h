/* Which mappings of a VMM are its guest's RAM, and where the guest sees them. Pure: the text of
 * /proc/PID/maps (proc(5)) and what discovery knows in, a plan out.
 *
 * No VMM says which mapping it is, unless it is asked over QMP. It is told by its size, and where
 * it lies by the rules of the machine, which are few. What stays doubtful becomes several
 * layouts, the likeliest first; whoever reads the guest tries them and sees which makes sense.
 *
 * One block of RAM may be several lines in maps: madvise(2), mprotect(2) and KSM split mappings.
 * Neighbours that go on in the same file, or are both anonymous, count as one.
 *
 * Where the guest sees it, if it has more than fits below the devices at the end of the first
 * 4 GiB (`lowmem`: all RAM beyond that is seen from 4 GiB on):
 *	QEMU pc		hw/i386/pc_piix.c, pc_init1(): 3.5 GiB, or 3 GiB from 3.5 GiB of RAM on
 *	QEMU q35	hw/i386/pc_q35.c, pc_q35_init(): 2.75 GiB, or 2 GiB from 2.75 GiB of RAM on
 *	QEMU microvm	hw/i386/microvm.c, microvm_memory_init(): 3 GiB
 *	Firecracker	src/vmm/src/arch/x86_64: 3.25 GiB, newer ones 3 GiB
 *	cloud-hypervisor  arch/src/x86_64/layout.rs: 3 GiB
 *	kvmtool		x86/kvm.c: 3.25 GiB; its one mapping has the hole in it
 *	crosvm		x86_64/src/lib.rs: 3.25 GiB, newer ones 2 GiB
 * QEMU's pc and q35 on AMD let the upper part begin at 1 TiB where it would reach into what
 * HyperTransport reserves below that (hw/i386/pc.c, pc_set_amd_above_4g_mem_start()).
 */
#ifndef KVMPROFS_VMMMAPS_H
#define KVMPROFS_VMMMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/guest.h"
#include "symsrc/vmmram.h"

/* A stretch of the VMM's address space with one thing behind it. */
struct ram_block {
	uint64_t hva;
	uint64_t len;
	uint64_t offset; /* in the file */
	uint32_t major;	 /* of the file system's device */
	uint32_t minor;
	uint64_t inode; /* 0: private anonymous memory */
	bool shared;
	/* The line of maps that hva is in: the name of its link in /proc/PID/map_files. */
	uint64_t map_start, map_end;
};

struct ram_segment {
	uint64_t gpa;
	uint64_t len;
	uint64_t at; /* bytes into the block */
	size_t block;
};

/* By gpa, ascending; they do not overlap. */
struct ram_layout {
	size_t count;
	struct ram_segment segments[2 * VMMRAM_BLOCKS_MAX];
};

struct ram_plan {
	size_t block_count;
	struct ram_block blocks[VMMRAM_BLOCKS_MAX];
	size_t layout_count; /* at least 1 */
	struct ram_layout layouts[VMMRAM_LAYOUTS_MAX];
};

/* text: n bytes, followed by a NUL. 0, -ENOENT when no mapping fits, -EBADMSG for what is not
 * the text of a maps file, -ENOMEM. */
int vmmmaps_choose(const char *text, size_t n, const struct guest *g, struct ram_plan *ret);

bool ram_plan_equals(const struct ram_plan *a, const struct ram_plan *b);

/* Up to which address the guest sees its RAM below 4 GiB when a QEMU of this machine has
 * ram_bytes in all; at most ram_bytes. below_4g_max: -machine max-ram-below-4g, or 0. */
uint64_t vmmmaps_qemu_lowmem(enum guest_machine machine, uint64_t ram_bytes, uint64_t below_4g_max);

#endif
