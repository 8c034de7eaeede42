/* The kernel that runs in a guest, found and read in its RAM; and the mark by which it is
 * recognised later with a handful of reads.
 *
 * Which one runs? A reset leaves RAM as it was: the kernel of the boot before lies there in full
 * until its pages are used again, its table of CPU start-up below 1 MiB too, and so may the ones
 * of earlier boots. Read without care, a guest that has just been reset would get the symbols of
 * the boot before. What tells them apart:
 *
 *  birth	Values that a kernel draws once a boot and then keeps: boot_id, the key that hides
 *		pointers, the base of the direct mapping. All zero until they are drawn. Another
 *		value, or zeros where there was one, is another boot.
 *  clock	jiffies: starts at the same value in each boot and then advances, also in an idle
 *		guest (every few seconds at least). A clock that goes back is another boot, or an
 *		earlier moment of the same (a snapshot was loaded) where the births of it are; one
 *		that advances is alive; one that stands still says nothing yet.
 *
 * Whoever knows that a boot is over (a reset that the VMM told of, say) hands its mark as dead.
 * A kernel that is found with the same image, the same bytes in it and the same birth is taken
 * for that one, unless its clock proves otherwise: the first kernel_read() notes what the clock
 * says after the boot's end, and from the next one on a clock that has advanced since, by no more
 * than time has passed, belongs to a kernel that runs: the news of its end was a false alarm. So
 * does one that leaps ahead and advances from there: a snapshot was loaded. A clock that says a
 * time shortly after its start, and earlier than before, is that of the same kernel booted once
 * more at the same addresses (nokaslr). Other values are what firmware or a boot loader wrote over
 * the remains.
 *
 * Where nothing is known of the boot that is over (source_limits.remains), only a kernel whose
 * clock advances within KERNEL_ALIVE_MS is believed: one that boots is busy.
 *
 * Where several kernels are found and none is known to be dead, the one whose clock advances is
 * taken; where none does within KERNEL_ALIVE_MS, the first in the order of findkernel.h.
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

#define KERNEL_ALIVE_MS 60 /* to see which of several clocks advances */
#define KERNEL_CLOCKLESS_NS                                                  \
	(60 * UINT64_C(1000000000)) /* then a kernel without one is believed \
				     */

#define KERNEL_TRAMPOLINES 8 /* that are remembered: one of a boot that left its own behind */

/* A value that is drawn once a boot. */
#define KERNEL_BIRTHS	 3
#define KERNEL_BIRTH_MAX 16
struct kernel_birth {
	uint64_t va; /* 0: this kernel does not have it */
	uint8_t bytes[KERNEL_BIRTH_MAX];
};

/* Which boot of which kernel, and where to look whether it still is. Plain data. */
struct kernel_mark {
	struct kernel_image image;
	unsigned layout;			  /* ram_use_layout() */
	uint64_t trampoline;			  /* guest-physical; 0: found otherwise */
	uint64_t trampoline_entry;		  /* its last entry, without flags */
	uint32_t trampolines[KERNEL_TRAMPOLINES]; /* digests of all that there were; 0: none */
	uint32_t digest; /* of linux_banner and the notes, which never change */
	uint64_t banner_va;
	uint64_t notes_va;
	uint32_t notes_len;
	struct kernel_birth births[KERNEL_BIRTHS];
	uint64_t jiffies_va; /* jiffies_64; 0: not known */
	uint64_t jiffies;    /* when it was last looked at: */
	uint64_t looked_ns;  /* clock_now_ns() */
	bool over;	     /* of a dead one: jiffies is from after its end */
	uint64_t leapt;	     /* likewise: where its clock leapt to later; 0: it did not */
	uint64_t leapt_ns;   /* when that was seen */
	struct kmodules_mark modules;
};

struct kernel; /* belongs to one thread */

/* Finds the kernel and reads what its symbols are made of.
 *
 * dead: the mark of a boot that is known to be over, or NULL; what is learnt of it is noted in
 * it, for the next call. quick: look for trampolines only, which takes a millisecond where there
 * is none; without, all RAM that is in use may be read.
 *
 * 0, or negative errno and why: -EAGAIN: not yet (in firmware or boot loader, only the dead one
 * is there, nothing found by the quick way, rebooted meanwhile); -ENOTSUP: not a 64-bit Linux;
 * -ENODATA: a Linux without kallsyms; -EBADMSG: one whose tables do not fit together (it is being
 * unpacked, or of a kind that is not known here); -ENOENT: nothing known; -EBUSY: swapped out; or
 * as ram_read(). */
int kernel_read(struct ram *ram, struct kernel_mark *dead, bool quick, struct kernel **ret,
		struct errmsg *why);
void kernel_destroy(struct kernel *k); /* accepts NULL */

/* False when core symbols are all there is, for want of BTF; *why says so in a line. */
bool kernel_is_whole(const struct kernel *k, struct errmsg *why);

/* How it was found and decoded, in a few words: "trampoline; 6.4+, place-relative; 7 anchors". */
void kernel_describe(const struct kernel *k, char *dst, size_t size);

/* Delivers the wanted files (GUEST_FILE_BIT()s), then makes sure that they are all of one boot.
 * 0, what the sink returned, -EAGAIN when it rebooted meanwhile, or as kernel_read(). */
int kernel_deliver(struct kernel *k, unsigned want, const struct source_sink *sink,
		   struct errmsg *why);

void kernel_get_mark(const struct kernel *k, struct kernel_mark *ret);

/* Where its _text runs, and the build-id that it carries: 0, -ENOENT when it has none that can be
 * found, or as image_read(). */
uint64_t kernel_text(const struct kernel *k);
int kernel_build_id(const struct kernel *k, struct build_id *ret);

/* The part of kallsyms that kernel_deliver() takes from the modules, into the file that the sink
 * has begun. 0 or what the sink returned. */
int kernel_put_module_symbols(const struct kernel *k, const struct source_sink *sink);

enum kernel_news {
	KERNEL_SAME,
	KERNEL_CHANGED, /* the same boot, but other modules, or an earlier moment: read again */
	KERNEL_REBOOTED /* another boot, or the kernel is not there any more */
};

/* Well below a millisecond: about ten small reads, and some hundreds where the clock stands
 * still. Brings the mark's clock up to date, and notes births that have come, unless it rebooted.
 * An enum kernel_news, or negative errno as ram_read(). */
int kernel_look(struct ram *ram, struct kernel_mark *mark);

#endif
