/* How the structures of this very kernel are laid out: by its own BTF (Documentation/bpf/
 * btf.rst), parsed with libbpf. The bytes come from a stranger. Pure. */
#ifndef KVMPROFS_MEMORY_KSTRUCTS_H
#define KVMPROFS_MEMORY_KSTRUCTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"

#define KSTRUCTS_BTF_MAX (64u << 20)
#define KSTRUCT_NONE	 UINT32_MAX /* this kernel has no such member */

/* Offsets of members and sizes, in bytes; KSTRUCT_NONE where there is none. Filled by a table
 * of names in kstructs.c: "module.list", "module.mem[].base", ... Those that every kernel has
 * are checked to be there and to lie inside their structure; the owner of kmodules.c adds what
 * it needs. */
struct kstructs {
	uint32_t module_size;
	uint32_t module_list, module_name, module_state;
	uint32_t module_core_base, module_core_size;		  /* to 6.3: core_layout */
	uint32_t module_init_base, module_init_size;		  /* to 6.3: init_layout */
	uint32_t module_mem, module_mem_stride, module_mem_count; /* 6.4 and newer: mem[] */
	uint32_t module_mem_base, module_mem_size;		  /* in struct module_memory */
	uint32_t module_kallsyms; /* pointer to struct mod_kallsyms */
	uint32_t module_syms, module_num_syms;
	uint32_t module_refcnt, module_source_list, module_init, module_exit, module_taints;
	uint32_t module_notes_attrs;
	uint32_t mod_kallsyms_symtab, mod_kallsyms_num_symtab, mod_kallsyms_strtab,
		mod_kallsyms_typetab;
	uint32_t module_use_source_list, module_use_source;
	uint32_t kernel_symbol_size, kernel_symbol_value, kernel_symbol_name;
	bool kernel_symbol_relative; /* value_offset, name_offset (PREL32) */
	uint32_t notes_attrs_count, notes_attrs_list, bin_attribute_size, bin_attribute_name,
		bin_attribute_length, bin_attribute_private;
	uint32_t bpf_ksym_start, bpf_ksym_end, bpf_ksym_name, bpf_ksym_name_size, bpf_ksym_lnode,
		bpf_ksym_prog;
	uint32_t latch_root_seq; /* in struct mod_tree_root: the sequence count of its tree */
};

/* 0, or negative errno and why: -EBADMSG: malformed or of another byte order; -ENOENT: the
 * structures of modules are not in it (why says which). */
int kstructs_from_btf(const void *btf, size_t n, struct kstructs *ret, struct errmsg *why);

#endif
