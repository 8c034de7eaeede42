/* How the structures of this very kernel are laid out: by its own BTF (Documentation/bpf/
 * btf.rst), parsed with libbpf. The bytes come from a stranger. Pure.
 *
 * libbpf checks the section's frame, not what types and names refer to, so each reference is
 * checked here. A header that it would turn round (the other byte order) or read unaligned does
 * not get there. Its messages, which it would print, are turned off.
 */
#ifndef KVMPROFS_MEMORY_KSTRUCTS_H
#define KVMPROFS_MEMORY_KSTRUCTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"

#define KSTRUCTS_BTF_MAX (32u << 20)
#define KSTRUCT_SIZE_MAX (16u << 10) /* of any structure that is read; struct module is 1.3 KB */
#define KSTRUCT_NONE	 UINT32_MAX  /* this kernel has no such member */

/* Offsets of members in their structure, and sizes, in bytes; KSTRUCT_NONE where there is none.
 * Filled by a table of names in kstructs.c. Each member that is there lies inside its structure,
 * and has the size that its reader takes it to have. */
struct kstructs {
	/* struct module: these all kernels have. */
	uint32_t module_size;
	uint32_t module_list, module_name, module_name_size, module_state, module_kallsyms,
		module_syms, module_num_syms, module_taints, module_init;
	/* to 6.3: core_layout.base, .size, init_layout.size */
	uint32_t module_core_base, module_core_size, module_init_size;
	/* 6.4 and newer: mem[], module_mem_count structs module_memory of module_mem_stride bytes;
	 * mem_base and mem_size are offsets in one. */
	uint32_t module_mem, module_mem_stride, module_mem_count, mem_base, mem_size;
	/* Only in kernels that can unload modules. */
	uint32_t module_refcnt, module_source_list, module_exit;
	uint32_t module_notes_attrs;

	uint32_t mod_kallsyms_size;
	uint32_t mod_kallsyms_symtab, mod_kallsyms_num_symtab, mod_kallsyms_strtab;
	uint32_t mod_kallsyms_typetab; /* 5.2 and newer; before, st_info or st_size hold the type */

	uint32_t module_use_size, module_use_source_list, module_use_source;

	uint32_t kernel_symbol_size, kernel_symbol_value, kernel_symbol_name;
	bool kernel_symbol_relative; /* value_offset, name_offset (PREL32): 32 bits, from where they
					are */

	/* struct module_notes_attrs: notes (count) to 6.13, then grp.bin_attrs, a list of
	 * pointers that ends with NULL; attrs is where the array of bin_attributes begins. */
	uint32_t notes_attrs_count, notes_attrs_bin_attrs, notes_attrs_list;
	uint32_t bin_attribute_size, bin_attribute_name, bin_attribute_length,
		bin_attribute_private;

	/* What the kernel lists behind modules: 5.7 and newer, all from 5.8. */
	uint32_t ftrace_ops_size, ftrace_ops_list, ftrace_ops_trampoline;
	uint32_t kprobe_insn_cache_pages;
	uint32_t kprobe_insn_page_size, kprobe_insn_page_list, kprobe_insn_page_insns;
	uint32_t bpf_ksym_size;
	uint32_t bpf_ksym_start, bpf_ksym_name, bpf_ksym_name_size, bpf_ksym_lnode;

	uint32_t latch_root_seq; /* in struct mod_tree_root: the sequence count of its tree */
	uint32_t ksym_name_size; /* KSYM_NAME_LEN: 128 to 6.0, then 512 */
};

/* 0, or negative errno and why: -EBADMSG: malformed or of another byte order; -ENOENT: the
 * structures of modules are not in it (why says which); -ENOMEM. Milliseconds. */
int kstructs_from_btf(const void *btf, size_t n, struct kstructs *ret, struct errmsg *why);

#endif
