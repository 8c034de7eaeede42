#include "tests/unit/lib/modulemaker.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "tests/unit/lib/modulelayouts.h"

#define NONE KSTRUCT_NONE

/* No cmocka: a fuzzer uses this, too. */
static void must(bool ok)
{
	if (!ok)
		abort();
}

/* ---- BTF ---- */

struct types {
	struct btf *btf;
	int u8, u32, u64, ptr, list, chars;
};

static void add_member(struct types *t, const char *name, int type, uint32_t offset)
{
	if (offset != NONE)
		must(btf__add_field(t->btf, name, type, offset * 8, 0) == 0);
}

static int add_struct(struct types *t, const char *name, uint32_t size)
{
	int id = btf__add_struct(t->btf, name, size);

	must(id > 0);
	return id;
}

static int add_array(struct types *t, int of, uint32_t n)
{
	return btf__add_array(t->btf, t->u32, of, n);
}

static void add_basics(struct types *t)
{
	t->u8 = btf__add_int(t->btf, "char", 1, 0);
	t->u32 = btf__add_int(t->btf, "unsigned int", 4, 0);
	t->u64 = btf__add_int(t->btf, "long unsigned int", 8, 0);
	t->ptr = btf__add_ptr(t->btf, 0);
	t->list = add_struct(t, "list_head", 16);
	add_member(t, "next", t->ptr, 0);
	add_member(t, "prev", t->ptr, 8);
}

/* struct module's `taints` and `init` lie in members without a name. */
static int add_anonymous(struct types *t)
{
	int inner = btf__add_union(t->btf, NULL, 16), outer;

	add_member(t, "other", t->u64, 0);
	add_member(t, "taints", t->u64, 0);
	outer = btf__add_struct(t->btf, NULL, 16);
	add_member(t, NULL, inner, 0);
	return outer;
}

/* core_layout of the old ones, mem[] of the new. */
static int add_memory(struct types *t, const struct kstructs *s)
{
	bool old = s->module_mem == NONE;
	int id = add_struct(t, old ? "module_layout" : "module_memory",
			    old ? 40 : s->module_mem_stride);

	add_member(t, "base", t->ptr, old ? 0 : s->mem_base);
	add_member(t, "size", t->u32,
		   old ? s->module_core_size - s->module_core_base : s->mem_size);
	return old ? id : add_array(t, id, s->module_mem_count);
}

static void add_module(struct types *t, const struct kstructs *s)
{
	int anonymous = add_anonymous(t), memory = add_memory(t, s);
	int name = add_array(t, t->u8, s->module_name_size);
	int counter = add_struct(t, "atomic_t", 4), state;

	add_member(t, "counter", t->u32, 0);
	state = btf__add_enum(t->btf, "module_state", 4);
	add_struct(t, "module", s->module_size);
	add_member(t, "state", state, s->module_state);
	add_member(t, "list", t->list, s->module_list);
	add_member(t, "name", name, s->module_name);
	add_member(t, "kallsyms", t->ptr, s->module_kallsyms);
	add_member(t, "syms", t->ptr, s->module_syms);
	add_member(t, "num_syms", t->u32, s->module_num_syms);
	add_member(t, NULL, anonymous, s->module_taints);
	add_member(t, "init", t->ptr, s->module_init);
	add_member(t, "core_layout", memory, s->module_core_base);
	if (s->module_core_base != NONE)
		add_member(t, "init_layout", memory,
			   s->module_init_size - (s->module_core_size - s->module_core_base));
	add_member(t, "mem", memory, s->module_mem);
	add_member(t, "refcnt", counter, s->module_refcnt);
	add_member(t, "source_list", t->list, s->module_source_list);
	add_member(t, "exit", t->ptr, s->module_exit);
	add_member(t, "notes_attrs", t->ptr, s->module_notes_attrs);
}

static void add_kallsyms(struct types *t, const struct kstructs *s)
{
	add_struct(t, "mod_kallsyms", s->mod_kallsyms_size);
	add_member(t, "symtab", t->ptr, s->mod_kallsyms_symtab);
	add_member(t, "num_symtab", t->u32, s->mod_kallsyms_num_symtab);
	add_member(t, "strtab", t->ptr, s->mod_kallsyms_strtab);
	add_member(t, "typetab", t->ptr, s->mod_kallsyms_typetab);
	add_struct(t, "kernel_symbol", s->kernel_symbol_size);
	if (s->kernel_symbol_relative) {
		add_member(t, "value_offset", t->u32, s->kernel_symbol_value);
		add_member(t, "name_offset", t->u32, s->kernel_symbol_name);
	} else {
		add_member(t, "value", t->u64, s->kernel_symbol_value);
		add_member(t, "name", t->ptr, s->kernel_symbol_name);
	}
}

static void add_use(struct types *t, const struct kstructs *s)
{
	if (s->module_use_size == NONE)
		return;
	add_struct(t, "module_use", s->module_use_size);
	add_member(t, "source_list", t->list, s->module_use_source_list);
	add_member(t, "source", t->ptr, s->module_use_source);
}

static void add_notes(struct types *t, const struct kstructs *s)
{
	int attr, bin, list, group;

	if (s->bin_attribute_size == NONE)
		return;
	attr = add_struct(t, "attribute", 8);
	add_member(t, "name", t->ptr, 0);
	bin = add_struct(t, "bin_attribute", s->bin_attribute_size);
	add_member(t, "attr", attr, s->bin_attribute_name);
	add_member(t, "size", t->u64, s->bin_attribute_length);
	add_member(t, "private", t->ptr, s->bin_attribute_private);
	list = add_array(t, bin, 0);
	group = add_struct(t, "attribute_group", 16);
	add_member(t, "bin_attrs", t->ptr, 8);
	add_struct(t, "module_notes_attrs", s->notes_attrs_list);
	add_member(t, "notes", t->u32, s->notes_attrs_count);
	if (s->notes_attrs_bin_attrs != NONE)
		add_member(t, "grp", group, s->notes_attrs_bin_attrs - 8);
	add_member(t, "attrs", list, s->notes_attrs_list);
}

static void add_bpf(struct types *t, const struct kstructs *s)
{
	int name;

	if (s->bpf_ksym_size == NONE)
		return;
	name = add_array(t, t->u8, s->bpf_ksym_name_size);
	add_struct(t, "bpf_ksym", s->bpf_ksym_size);
	add_member(t, "start", t->u64, s->bpf_ksym_start);
	add_member(t, "name", name, s->bpf_ksym_name);
	add_member(t, "lnode", t->list, s->bpf_ksym_lnode);
	name = add_array(t, t->u8, s->ksym_name_size);
	add_struct(t, "kallsym_iter", s->ksym_name_size + 16);
	add_member(t, "name", name, 13);
}

static void add_tracers(struct types *t, const struct kstructs *s)
{
	if (s->ftrace_ops_size == NONE)
		return;
	add_struct(t, "ftrace_ops", s->ftrace_ops_size);
	add_member(t, "trampoline", t->u64, s->ftrace_ops_trampoline);
	add_member(t, "list", t->list, s->ftrace_ops_list);
	add_struct(t, "kprobe_insn_cache", 80);
	add_member(t, "pages", t->list, s->kprobe_insn_cache_pages);
	add_struct(t, "kprobe_insn_page", s->kprobe_insn_page_size);
	add_member(t, "list", t->list, s->kprobe_insn_page_list);
	add_member(t, "insns", t->ptr, s->kprobe_insn_page_insns);
}

/* The sequence is in a seqcount_t, in new kernels in a seqcount_latch_t around that. */
static void add_tree(struct types *t, const struct kstructs *s)
{
	int seq, latch, root;

	if (s->latch_root_seq == NONE)
		return;
	seq = add_struct(t, "seqcount", 4);
	add_member(t, "sequence", t->u32, 0);
	seq = btf__add_typedef(t->btf, "seqcount_t", seq);
	latch = btf__add_struct(t->btf, NULL, 4);
	add_member(t, "seqcount", seq, 0);
	latch = btf__add_typedef(t->btf, "seqcount_latch_t", latch);
	root = add_struct(t, "latch_tree_root", 24);
	add_member(t, "seq", s->module_mem == NONE ? seq : latch, 0);
	add_struct(t, "mod_tree_root", 48);
	add_member(t, "root", root, s->latch_root_seq);
}

void *modulemaker_btf(const struct kstructs *s, size_t *ret_len)
{
	struct types t = {.btf = btf__new_empty()};
	const void *raw;
	uint32_t n;
	void *copy;

	must(t.btf != NULL);
	add_basics(&t);
	btf__add_fwd(t.btf, "module", BTF_FWD_STRUCT);
	add_module(&t, s);
	add_kallsyms(&t, s);
	add_use(&t, s);
	add_notes(&t, s);
	add_bpf(&t, s);
	add_tracers(&t, s);
	add_tree(&t, s);
	raw = btf__raw_data(t.btf, &n);
	must(raw != NULL);
	copy = malloc(n);
	must(copy != NULL);
	memcpy(copy, raw, n);
	btf__free(t.btf);
	*ret_len = n;
	return copy;
}

/* ---- memory ---- */

void *modulemaker_at(const struct modulemaker *mm, uint64_t va)
{
	must(va >= mm->va && va - mm->va < mm->size);
	return mm->mem + (va - mm->va);
}

uint64_t modulemaker_u64(const struct modulemaker *mm, uint64_t va)
{
	uint64_t v;

	memcpy(&v, modulemaker_at(mm, va), sizeof(v));
	return v;
}

void modulemaker_put_u64(const struct modulemaker *mm, uint64_t va, uint64_t value)
{
	memcpy(modulemaker_at(mm, va), &value, sizeof(value));
}

void modulemaker_put_u32(const struct modulemaker *mm, uint64_t va, uint32_t value)
{
	memcpy(modulemaker_at(mm, va), &value, sizeof(value));
}

uint64_t modulemaker_alloc(struct modulemaker *mm, size_t n)
{
	uint64_t va = mm->va + mm->used;

	must(n <= mm->size - mm->used);
	mm->used += (n + 15) / 16 * 16;
	return va;
}

static uint64_t put_bytes(struct modulemaker *mm, const void *bytes, size_t n)
{
	uint64_t va = modulemaker_alloc(mm, n);

	memcpy(modulemaker_at(mm, va), bytes, n);
	return va;
}

uint64_t modulemaker_string(struct modulemaker *mm, const char *s)
{
	return put_bytes(mm, s, strlen(s) + 1);
}

void modulemaker_list_init(const struct modulemaker *mm, uint64_t head)
{
	modulemaker_put_u64(mm, head, head);
	modulemaker_put_u64(mm, head + 8, head);
}

void modulemaker_list_add_tail(const struct modulemaker *mm, uint64_t head, uint64_t entry)
{
	uint64_t last = modulemaker_u64(mm, head + 8);

	modulemaker_put_u64(mm, entry, head);
	modulemaker_put_u64(mm, entry + 8, last);
	modulemaker_put_u64(mm, last, entry);
	modulemaker_put_u64(mm, head + 8, entry);
}

/* The tree's sequence counts twice per change, as raw_write_seqcount_latch() does. */
static void count_change(const struct modulemaker *mm)
{
	uint64_t seq = mm->roots.va[KMODULES_ROOT_MOD_TREE];
	uint32_t v;

	if (mm->s->latch_root_seq == NONE)
		return;
	seq += mm->s->latch_root_seq;
	memcpy(&v, modulemaker_at(mm, seq), sizeof(v));
	modulemaker_put_u32(mm, seq, v + 2);
}

/* The list of a kprobe_insn_cache. */
static uint64_t pages_of(const struct modulemaker *mm, enum kmodules_root cache)
{
	return mm->roots.va[cache] + mm->s->kprobe_insn_cache_pages;
}

void modulemaker_init(struct modulemaker *mm, const struct kstructs *s, void *mem, size_t size,
		      uint64_t va)
{
	*mm = (struct modulemaker){.s = s, .mem = mem, .va = va, .size = size, .used = 64};
	for (int i = 0; i < KMODULES_ROOT_COUNT; i++)
		mm->roots.va[i] = modulemaker_alloc(mm, 64);
	modulemaker_list_init(mm, mm->roots.va[KMODULES_ROOT_MODULES]);
	modulemaker_list_init(mm, mm->roots.va[KMODULES_ROOT_BPF_KALLSYMS]);
	modulemaker_put_u32(mm, mm->roots.va[KMODULES_ROOT_BPF_JIT_KALLSYMS], 1);
	modulemaker_list_init(mm, mm->roots.va[KMODULES_ROOT_FTRACE_TRAMPOLINES]);
	if (s->kprobe_insn_cache_pages == NONE)
		return;
	modulemaker_list_init(mm, pages_of(mm, KMODULES_ROOT_KPROBE_SLOTS));
	modulemaker_list_init(mm, pages_of(mm, KMODULES_ROOT_KPROBE_OPT_SLOTS));
}

/* Symbols, types and names behind each other, as layout_symtab() does it; the struct mod_kallsyms
 * is part of struct module unless the module is being loaded. */
static uint64_t put_kallsyms(struct modulemaker *mm, const struct modulemaker_module *m,
			     uint64_t module)
{
	const struct kstructs *s = mm->s;
	uint64_t va = m->state == 1 ? modulemaker_alloc(mm, s->mod_kallsyms_size)
				    : module + (s->module_size - s->mod_kallsyms_size) / 16 * 16;
	uint64_t symtab = modulemaker_alloc(mm, (m->count + 1) * sizeof(Elf64_Sym)), strtab;
	uint64_t typetab = modulemaker_alloc(mm, m->count + 1);
	size_t len = 1;

	for (size_t i = 0; i < m->count; i++)
		len += strlen(m->symbols[i].name) + 1;
	strtab = modulemaker_alloc(mm, len);
	len = 1;
	for (size_t i = 0; i < m->count; i++) {
		const struct modulemaker_symbol *sym = &m->symbols[i];
		Elf64_Sym elf = {.st_name = *sym->name ? (uint32_t)len : 0, .st_value = sym->value};

		if (s->mod_kallsyms_typetab == NONE)
			elf.st_info = (unsigned char)sym->type;
		memcpy(modulemaker_at(mm, symtab + (i + 1) * sizeof(elf)), &elf, sizeof(elf));
		memcpy(modulemaker_at(mm, typetab + i + 1), &sym->type, 1);
		strcpy(modulemaker_at(mm, strtab + len), sym->name);
		len += strlen(sym->name) + 1;
	}
	modulemaker_put_u64(mm, va + s->mod_kallsyms_symtab, symtab);
	modulemaker_put_u32(mm, va + s->mod_kallsyms_num_symtab, (uint32_t)m->count + 1);
	modulemaker_put_u64(mm, va + s->mod_kallsyms_strtab, strtab);
	if (s->mod_kallsyms_typetab != NONE)
		modulemaker_put_u64(mm, va + s->mod_kallsyms_typetab, typetab);
	return va;
}

static void put_export(struct modulemaker *mm, uint64_t va, uint64_t value, uint64_t name)
{
	const struct kstructs *s = mm->s;
	uint64_t value_va = va + s->kernel_symbol_value, name_va = va + s->kernel_symbol_name;

	if (s->kernel_symbol_relative) {
		modulemaker_put_u32(mm, value_va, (uint32_t)(value - value_va));
		modulemaker_put_u32(mm, name_va, (uint32_t)(name - name_va));
	} else {
		modulemaker_put_u64(mm, value_va, value);
		modulemaker_put_u64(mm, name_va, name);
	}
}

static void put_exports(struct modulemaker *mm, const struct modulemaker_module *m, uint64_t module)
{
	uint32_t n = 0;
	uint64_t va;

	for (size_t i = 0; i < m->count; i++)
		n += m->symbols[i].exported;
	if (n == 0)
		return;
	va = modulemaker_alloc(mm, n * mm->s->kernel_symbol_size);
	modulemaker_put_u64(mm, module + mm->s->module_syms, va);
	modulemaker_put_u32(mm, module + mm->s->module_num_syms, n);
	for (size_t i = 0; i < m->count; i++) {
		if (!m->symbols[i].exported)
			continue;
		put_export(mm, va, m->symbols[i].value, modulemaker_string(mm, m->symbols[i].name));
		va += mm->s->kernel_symbol_size;
	}
}

static void put_attribute(struct modulemaker *mm, uint64_t va, const char *name, const void *bytes,
			  size_t n)
{
	modulemaker_put_u64(mm, va + mm->s->bin_attribute_name, modulemaker_string(mm, name));
	modulemaker_put_u64(mm, va + mm->s->bin_attribute_length, n);
	modulemaker_put_u64(mm, va + mm->s->bin_attribute_private, put_bytes(mm, bytes, n));
}

/* Two sections of notes; the build-id's, if any, is the second. */
static uint64_t put_notes(struct modulemaker *mm, const struct modulemaker_module *m)
{
	const struct kstructs *s = mm->s;
	uint32_t n = m->note_len > 0 ? 2 : 1;
	uint64_t va = modulemaker_alloc(mm, s->notes_attrs_list + 2 * s->bin_attribute_size), list;

	put_attribute(mm, va + s->notes_attrs_list, ".note.Linux", "not this", 8);
	if (n == 2)
		put_attribute(mm, va + s->notes_attrs_list + s->bin_attribute_size,
			      ".note.gnu.build-id", m->note, m->note_len);
	if (s->notes_attrs_count != NONE) {
		modulemaker_put_u32(mm, va + s->notes_attrs_count, n);
		return va;
	}
	list = modulemaker_alloc(mm, 24);
	for (uint32_t i = 0; i < n; i++)
		modulemaker_put_u64(mm, list + 8 * i,
				    va + s->notes_attrs_list + i * s->bin_attribute_size);
	modulemaker_put_u64(mm, va + s->notes_attrs_bin_attrs, list);
	return va;
}

/* A third of it in init_layout or mem[6]. */
static void put_sizes(struct modulemaker *mm, const struct modulemaker_module *m, uint64_t va)
{
	const struct kstructs *s = mm->s;
	uint32_t third = m->size / 3;
	uint64_t last = va + s->module_mem + 6 * s->module_mem_stride;

	if (s->module_mem == NONE) {
		modulemaker_put_u64(mm, va + s->module_core_base, m->base);
		modulemaker_put_u32(mm, va + s->module_core_size, m->size - third);
		modulemaker_put_u32(mm, va + s->module_init_size, third);
	} else {
		modulemaker_put_u64(mm, va + s->module_mem + s->mem_base, m->base);
		modulemaker_put_u32(mm, va + s->module_mem + s->mem_size, m->size - third);
		modulemaker_put_u32(mm, last + s->mem_size, third);
	}
}

static void put_unload(struct modulemaker *mm, const struct modulemaker_module *m, uint64_t va)
{
	const struct kstructs *s = mm->s;

	if (s->module_refcnt == NONE)
		return;
	modulemaker_put_u32(mm, va + s->module_refcnt, m->use_count + 1);
	modulemaker_list_init(mm, va + s->module_source_list);
	modulemaker_put_u64(mm, va + s->module_exit, m->permanent ? 0 : m->base + 16);
}

uint64_t modulemaker_add(struct modulemaker *mm, const struct modulemaker_module *m)
{
	const struct kstructs *s = mm->s;
	uint64_t va = modulemaker_alloc(mm, s->module_size);

	strcpy(modulemaker_at(mm, va + s->module_name), m->name);
	modulemaker_put_u32(mm, va + s->module_state, m->state);
	modulemaker_put_u64(mm, va + s->module_taints, m->taints);
	modulemaker_put_u64(mm, va + s->module_init, m->base);
	modulemaker_put_u64(mm, va + s->module_kallsyms, put_kallsyms(mm, m, va));
	put_exports(mm, m, va);
	put_sizes(mm, m, va);
	put_unload(mm, m, va);
	if (s->module_notes_attrs != NONE)
		modulemaker_put_u64(mm, va + s->module_notes_attrs, put_notes(mm, m));
	modulemaker_list_add_tail(mm, mm->roots.va[KMODULES_ROOT_MODULES], va + s->module_list);
	count_change(mm);
	return va;
}

void modulemaker_remove(struct modulemaker *mm, uint64_t module)
{
	uint64_t entry = module + mm->s->module_list;
	uint64_t next = modulemaker_u64(mm, entry), prev = modulemaker_u64(mm, entry + 8);

	modulemaker_put_u64(mm, prev, next);
	modulemaker_put_u64(mm, next + 8, prev);
	count_change(mm);
}

uint64_t modulemaker_use(struct modulemaker *mm, uint64_t module, uint64_t user)
{
	uint64_t va = modulemaker_alloc(mm, mm->s->module_use_size);

	modulemaker_put_u64(mm, va + mm->s->module_use_source, user);
	modulemaker_list_add_tail(mm, module + mm->s->module_source_list,
				  va + mm->s->module_use_source_list);
	return va;
}

uint64_t modulemaker_add_bpf(struct modulemaker *mm, const char *name, uint64_t start)
{
	uint64_t va = modulemaker_alloc(mm, mm->s->bpf_ksym_size);

	must(strlen(name) < mm->s->bpf_ksym_name_size);
	modulemaker_put_u64(mm, va + mm->s->bpf_ksym_start, start);
	strcpy(modulemaker_at(mm, va + mm->s->bpf_ksym_name), name);
	modulemaker_list_add_tail(mm, mm->roots.va[KMODULES_ROOT_BPF_KALLSYMS],
				  va + mm->s->bpf_ksym_lnode);
	return va;
}

uint64_t modulemaker_add_trampoline(struct modulemaker *mm, uint64_t start)
{
	uint64_t va = modulemaker_alloc(mm, mm->s->ftrace_ops_size);

	modulemaker_put_u64(mm, va + mm->s->ftrace_ops_trampoline, start);
	modulemaker_list_add_tail(mm, mm->roots.va[KMODULES_ROOT_FTRACE_TRAMPOLINES],
				  va + mm->s->ftrace_ops_list);
	return va;
}

uint64_t modulemaker_add_kprobes(struct modulemaker *mm, enum kmodules_root cache, uint64_t start)
{
	uint64_t va = modulemaker_alloc(mm, mm->s->kprobe_insn_page_size);

	modulemaker_put_u64(mm, va + mm->s->kprobe_insn_page_insns, start);
	modulemaker_list_add_tail(mm, pages_of(mm, cache), va + mm->s->kprobe_insn_page_list);
	return va;
}
