/* VMCOREINFO: what a Linux kernel notes about itself for crash dumps, as lines of NAME=VALUE
 * (kernel/vmcore_info.c, before 6.9 kernel/crash_core.c; Documentation/admin-guide/kdump/
 * vmcoreinfo.rst). Pure; the text comes from a stranger.
 *
 * CRASHTIME may be missing, all the rest depends on version and architecture; addresses are the
 * kernel's virtual ones with KASLR applied. */
#ifndef KVMPROFS_MEMORY_VMCOREINFO_H
#define KVMPROFS_MEMORY_VMCOREINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/notes.h"

#define VMCOREINFO_MAX 4096 /* bytes: VMCOREINFO_BYTES is a page */

struct vmcoreinfo {
	char release[128];	  /* OSRELEASE, printable */
	struct build_id build_id; /* BUILD-ID (5.9 and newer); len 0: none */
	bool has_phys_base;
	uint64_t phys_base;	/* NUMBER(phys_base): signed in the text, wraps here: physical =
				 * virtual - IMAGE_VA_START + phys_base */
	uint64_t kernel_offset; /* KERNELOFFSET: the slide of KASLR */
	bool l5;		/* NUMBER(pgtable_l5_enabled) is 1 */
	uint64_t stext, init_uts_ns;
	uint64_t root; /* virtual address of init_top_pgt or swapper_pg_dir */
	/* Of kallsyms, since 6.0; 0: not told. */
	uint64_t kallsyms_names, kallsyms_num_syms, kallsyms_token_table, kallsyms_token_index,
		kallsyms_offsets, kallsyms_relative_base;
};

/* text: n bytes at most, ended by a NUL or the end. 0; -EBADMSG unless it begins with OSRELEASE
 * and has SYMBOL(_stext). */
int vmcoreinfo_parse(const char *text, size_t n, struct vmcoreinfo *ret);

#endif
