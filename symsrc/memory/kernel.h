/* The kernel that runs in a guest, found and read in its RAM; and the mark by which it is
 * recognised later with a handful of reads.
 *
 * A reset leaves RAM as it was: the kernel of the boot before lies there in full until its
 * pages are used again, and must not be taken for the new one. kernel_read() is therefore told
 * which kernel is known to be dead.
 */
#ifndef KVMPROFS_MEMORY_KERNEL_H
#define KVMPROFS_MEMORY_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/memory/findkernel.h"
#include "symsrc/memory/image.h"
#include "symsrc/memory/kmodules.h"
#include "symsrc/memory/ram.h"
#include "symsrc/source.h"

/* Which boot of which kernel, and where to look whether it still is. Plain data. */
struct kernel_mark {
	struct kernel_image image;
	uint64_t trampoline;	   /* guest-physical; 0: found otherwise */
	uint64_t trampoline_entry; /* its last entry */
	unsigned layout;	   /* ram_use_layout() */
	uint64_t digest;	   /* of bytes that never change in one boot */
	uint64_t digest_va;	   /* where they are */
	uint64_t boot_id_va;	   /* sysctl_bootid; 0: not known */
	uint8_t boot_id[16];	   /* all zero: nobody has asked for it in the guest yet */
	uint64_t jiffies_va;	   /* jiffies_64; 0: not known */
	uint64_t jiffies;	   /* when it was last looked at */
	struct kmodules_mark modules;
};

struct kernel; /* belongs to one thread */

/* Finds the kernel and reads what its symbols are made of. dead: the mark of a boot that is
 * known to be over, or NULL. 0, or negative errno and why: -EAGAIN: not yet (in firmware or
 * boot loader, being unpacked, only the dead one is there); -ENOTSUP: not a 64-bit Linux;
 * -ENODATA: a Linux without kallsyms; -ENOENT: nothing known; or as ram_read(). */
int kernel_read(struct ram *ram, const struct kernel_mark *dead, struct kernel **ret,
		struct errmsg *why);
void kernel_destroy(struct kernel *k); /* accepts NULL */

/* False when there is no BTF: then core symbols are all there is; *why says so in a line. */
bool kernel_is_whole(const struct kernel *k, struct errmsg *why);

/* Delivers the wanted files (GUEST_FILE_BIT()s). 0, what the sink returned, or as
 * kernel_read(). */
int kernel_deliver(struct kernel *k, unsigned want, const struct source_sink *sink,
		   struct errmsg *why);

void kernel_get_mark(const struct kernel *k, struct kernel_mark *ret);

enum kernel_news {
	KERNEL_SAME,
	KERNEL_CHANGED, /* the same boot, but other modules: read again */
	KERNEL_REBOOTED /* another boot, or the kernel is not there any more */
};

/* Below a millisecond. Brings the mark's jiffies up to date. An enum kernel_news, or negative
 * errno as ram_read(). */
int kernel_look(struct ram *ram, struct kernel_mark *mark);

#endif
