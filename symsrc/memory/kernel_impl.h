/* What the parts of kernel.h share; for symsrc/memory/kernel*.c alone.
 *
 *	kernel_pick.c	finding it: candidates, layouts, which of several
 *	kernel_mark.c	recognising it
 *	kernel.c	reading and delivering what it has
 */
#ifndef KVMPROFS_MEMORY_KERNEL_IMPL_H
#define KVMPROFS_MEMORY_KERNEL_IMPL_H

#include "symsrc/memory/kernel.h"
#include "symsrc/memory/ksyms.h"
#include "symsrc/memory/paging.h"

#define KERNEL_LAYOUTS_MAX 16 /* ram_use_layout() */

/* Where in the image things are: by kallsyms. */
enum kernel_symbol {
	KERNEL_LINUX_BANNER,
	KERNEL_START_NOTES,
	KERNEL_STOP_NOTES,
	KERNEL_START_BTF,
	KERNEL_STOP_BTF,
	KERNEL_START_ORC_IP,
	KERNEL_STOP_ORC_IP,
	KERNEL_START_ORC,
	KERNEL_STOP_ORC,
	KERNEL_JIFFIES,
	KERNEL_MAX_PFN,
	KERNEL_BOOT_ID,
	KERNEL_PTR_KEY,
	KERNEL_PAGE_OFFSET_BASE,
	KERNEL_FREE_MODULE,
	KERNEL_SYMBOL_COUNT
};

struct kernel {
	struct ram *ram;
	struct kernel_candidate candidate;
	struct ksyms *ksyms;
	uint64_t at[KERNEL_SYMBOL_COUNT]; /* 0: not there */
	struct kmodules_roots roots;
	struct kernel_mark mark;

	struct paging paging;
	char *btf; /* NULL: none */
	size_t btf_len;
	struct kmodules *modules; /* NULL: not to be had, or built without modules */
	struct errmsg partial;	  /* why core symbols are all there is; code 0: they are not */
};

/* ---- kernel_pick.c */

/* Finds the kernel and its kallsyms; its mark is made but for the modules. */
int kernel_pick(struct ram *ram, struct kernel_mark *dead, bool quick, struct kernel **ret,
		struct errmsg *why);

/* ---- kernel_mark.c */

/* Fills the mark of a kernel whose symbols are known. 0 or as image_read(). */
int kernel_make_mark(struct kernel *k);

/* Whether found is the boot that is over. Notes in dead what the clock says. */
bool kernel_is_dead(const struct kernel_mark *found, struct kernel_mark *dead);

/* The same of what lies where that one lay, by a few reads. False also when they do not tell. */
bool kernel_lies_dead(struct ram *ram, struct kernel_mark *dead);

/* Notes the trampolines that there are; list: what find_by_trampoline() found. */
void kernel_note_trampolines(struct kernel_mark *m, const struct kernel_candidate *list, size_t n);

#endif
