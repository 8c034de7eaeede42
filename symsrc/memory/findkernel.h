/* Where is the kernel? By three ways that know nothing of each other:
 *
 *  trampoline  a page below 1 MiB that other CPUs start on: arch/x86/realmode/init.c,
 *              setup_real_mode(), copies the top entry of the kernel's page table to the end of
 *              trampoline_pgd. From there the page tables lead to the image: a few hundred reads.
 *              It belongs to the kernel that runs, also where RAM holds an earlier one's remains.
 *  vmcoreinfo  the text at the beginning of a page, or in a note; needs a scan of all RAM that
 *              is in use. Each copy is a candidate: those of dead kernels lie around, too.
 *  signature   the token table of kallsyms, which holds the ten digits in a row; likewise.
 *
 * None of them proves anything: whoever takes a candidate checks it by what kallsyms says
 * (symsrc/memory/kernel.h).
 */
#ifndef KVMPROFS_MEMORY_FINDKERNEL_H
#define KVMPROFS_MEMORY_FINDKERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/memory/image.h"
#include "symsrc/memory/ram.h"
#include "symsrc/memory/vmcoreinfo.h"

#define KERNEL_CANDIDATES_MAX 32

enum kernel_way { KERNEL_BY_TRAMPOLINE, KERNEL_BY_VMCOREINFO, KERNEL_BY_SIGNATURE };

struct kernel_candidate {
	enum kernel_way way;
	/* Trampoline, VMCOREINFO: as page tables have it; only VMCOREINFO's root is the kernel's
	 * own (image.h). Signature: pa and size only bound where the tables may be; va, root and
	 * levels are 0: what kallsyms decodes to tells them. */
	struct kernel_image image;
	uint64_t trampoline; /* trampoline: guest-physical address of that page */
	bool maps_itself;    /* trampoline: as a real one does, other top tables do not */
	bool has_info;	     /* vmcoreinfo: */
	struct vmcoreinfo info;
	uint64_t token_table; /* signature: guest-physical address; else 0 */
};

/* What else a scan came by, to say what the guest is doing when there is no kernel. */
enum ram_sight {
	SIGHT_LINUX = 1u << 0, /* "Linux version " as a kernel says it */
	SIGHT_LINUX_32BIT = 1u << 1,
	SIGHT_BOOT_LOADER = 1u << 2, /* GRUB, SYSLINUX, systemd-boot, iPXE */
	SIGHT_FIRMWARE = 1u << 3,    /* SeaBIOS, OVMF (EDK II) */
	SIGHT_WINDOWS = 1u << 4,
	SIGHT_BSD = 1u << 5,
	SIGHT_OTHER = 1u << 6,	 /* that certainly is no Linux: Memtest86+ */
	SIGHT_SWAPPED = 1u << 7, /* memory that every kernel uses is swapped out on the host */
};
#define SIGHT_KINDS 8

#define SIGHT_NAME_MAX 48

struct ram_sights {
	unsigned seen; /* of the above */
	/* By the number of its bit; printable: "FreeBSD 14.1-RELEASE", "GRUB", ... */
	char name[SIGHT_KINDS][SIGHT_NAME_MAX];
	uint64_t bytes; /* of pages that hold something */
	bool running;	/* a kernel is past its early boot: a VMCOREINFO or a trampoline fits */
};

/* The cheap way: trampolines. At most max; the number of them, or negative errno of a read that
 * failed for other reasons than the guest's state (-ESRCH, -ETIMEDOUT, ...). */
int find_by_trampoline(struct ram *ram, struct kernel_candidate *list, size_t max);

/* The thorough ways, in one pass over all that is in use: VMCOREINFO first, then signatures.
 * scanned_max: bytes after which to give up looking. Returns as above; sights is set in any case.
 */
int find_by_scan(struct ram *ram, uint64_t scanned_max, struct kernel_candidate *list, size_t max,
		 struct ram_sights *sights);

/* One line on why there is no kernel to be found, and negative errno: -EAGAIN: the guest is in
 * its firmware or boot loader, or its kernel is being unpacked, try later; -ENOTSUP: it runs
 * something that is not (64-bit) Linux; -ENODATA: Linux, but without symbols; -EBUSY: swapped out;
 * -ENOENT: nothing that is known. Pure. */
int explain_sights(const struct ram_sights *sights, struct errmsg *why);

#endif
