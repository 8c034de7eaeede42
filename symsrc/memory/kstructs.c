#include "symsrc/memory/kstructs.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

#define STEPS_MAX   (1u << 20) /* members looked at in all: anonymous ones may nest without end */
#define DEPTH_MAX   8	       /* of anonymous members in each other */
#define ALIASES_MAX 32	       /* typedefs and qualifiers in a row */
#define POINTER	    8
#define LIST_HEAD   16

enum struct_id {
	MODULE,
	MODULE_MEMORY,
	MOD_KALLSYMS,
	MODULE_USE,
	KERNEL_SYMBOL,
	MODULE_NOTES_ATTRS,
	BIN_ATTRIBUTE,
	BPF_KSYM,
	FTRACE_OPS,
	KPROBE_INSN_CACHE,
	KPROBE_INSN_PAGE,
	MOD_TREE_ROOT,
	KALLSYM_ITER,
	STRUCT_COUNT
};

static const char *const struct_names[STRUCT_COUNT] = {
	[MODULE] = "module",
	[MODULE_MEMORY] = "module_memory",
	[MOD_KALLSYMS] = "mod_kallsyms",
	[MODULE_USE] = "module_use",
	[KERNEL_SYMBOL] = "kernel_symbol",
	[MODULE_NOTES_ATTRS] = "module_notes_attrs",
	[BIN_ATTRIBUTE] = "bin_attribute",
	[BPF_KSYM] = "bpf_ksym",
	[FTRACE_OPS] = "ftrace_ops",
	[KPROBE_INSN_CACHE] = "kprobe_insn_cache",
	[KPROBE_INSN_PAGE] = "kprobe_insn_page",
	[MOD_TREE_ROOT] = "mod_tree_root",
	[KALLSYM_ITER] = "kallsym_iter",
};

#define FIELD(name) offsetof(struct kstructs, name)
#define NO_FIELD    SIZE_MAX

/* Whose size goes where. */
static const struct wanted_size {
	size_t field;
	enum struct_id of;
	bool must;
} wanted_sizes[] = {
	{FIELD(module_size), MODULE, true},
	{FIELD(mod_kallsyms_size), MOD_KALLSYMS, true},
	{FIELD(module_use_size), MODULE_USE, false},
	{FIELD(kernel_symbol_size), KERNEL_SYMBOL, true},
	{FIELD(bin_attribute_size), BIN_ATTRIBUTE, false},
	{FIELD(bpf_ksym_size), BPF_KSYM, false},
	{FIELD(ftrace_ops_size), FTRACE_OPS, false},
	{FIELD(kprobe_insn_page_size), KPROBE_INSN_PAGE, false},
};

/* Which member's offset goes where. Of several for one field the first that is there counts. */
static const struct wanted_member {
	const char *path;
	size_t field;
	enum struct_id of;
	uint32_t bytes; /* that it must have */
	bool must;
} wanted_members[] = {
	{"list", FIELD(module_list), MODULE, LIST_HEAD, true},
	{"state", FIELD(module_state), MODULE, 4, true},
	{"kallsyms", FIELD(module_kallsyms), MODULE, POINTER, true},
	{"syms", FIELD(module_syms), MODULE, POINTER, true},
	{"num_syms", FIELD(module_num_syms), MODULE, 4, true},
	{"taints", FIELD(module_taints), MODULE, 8, true},
	{"init", FIELD(module_init), MODULE, POINTER, true},
	{"core_layout.base", FIELD(module_core_base), MODULE, POINTER, false},
	{"core_layout.size", FIELD(module_core_size), MODULE, 4, false},
	{"init_layout.size", FIELD(module_init_size), MODULE, 4, false},
	{"refcnt", FIELD(module_refcnt), MODULE, 4, false},
	{"source_list", FIELD(module_source_list), MODULE, LIST_HEAD, false},
	{"exit", FIELD(module_exit), MODULE, POINTER, false},
	{"notes_attrs", FIELD(module_notes_attrs), MODULE, POINTER, false},
	{"base", FIELD(mem_base), MODULE_MEMORY, POINTER, false},
	{"size", FIELD(mem_size), MODULE_MEMORY, 4, false},
	{"symtab", FIELD(mod_kallsyms_symtab), MOD_KALLSYMS, POINTER, true},
	{"num_symtab", FIELD(mod_kallsyms_num_symtab), MOD_KALLSYMS, 4, true},
	{"strtab", FIELD(mod_kallsyms_strtab), MOD_KALLSYMS, POINTER, true},
	{"typetab", FIELD(mod_kallsyms_typetab), MOD_KALLSYMS, POINTER, false},
	{"source_list", FIELD(module_use_source_list), MODULE_USE, LIST_HEAD, false},
	{"source", FIELD(module_use_source), MODULE_USE, POINTER, false},
	{"value_offset", FIELD(kernel_symbol_value), KERNEL_SYMBOL, 4, false},
	{"name_offset", FIELD(kernel_symbol_name), KERNEL_SYMBOL, 4, false},
	{"value", FIELD(kernel_symbol_value), KERNEL_SYMBOL, 8, true},
	{"name", FIELD(kernel_symbol_name), KERNEL_SYMBOL, POINTER, true},
	{"notes", FIELD(notes_attrs_count), MODULE_NOTES_ATTRS, 4, false},
	{"grp.bin_attrs", FIELD(notes_attrs_bin_attrs), MODULE_NOTES_ATTRS, POINTER, false},
	{"attr.name", FIELD(bin_attribute_name), BIN_ATTRIBUTE, POINTER, false},
	{"size", FIELD(bin_attribute_length), BIN_ATTRIBUTE, 8, false},
	{"private", FIELD(bin_attribute_private), BIN_ATTRIBUTE, POINTER, false},
	{"start", FIELD(bpf_ksym_start), BPF_KSYM, 8, false},
	{"lnode", FIELD(bpf_ksym_lnode), BPF_KSYM, LIST_HEAD, false},
	{"list", FIELD(ftrace_ops_list), FTRACE_OPS, LIST_HEAD, false},
	{"trampoline", FIELD(ftrace_ops_trampoline), FTRACE_OPS, 8, false},
	{"pages", FIELD(kprobe_insn_cache_pages), KPROBE_INSN_CACHE, LIST_HEAD, false},
	{"list", FIELD(kprobe_insn_page_list), KPROBE_INSN_PAGE, LIST_HEAD, false},
	{"insns", FIELD(kprobe_insn_page_insns), KPROBE_INSN_PAGE, POINTER, false},
	{"root.seq.seqcount.sequence", FIELD(latch_root_seq), MOD_TREE_ROOT, 4, false},
	{"root.seq.sequence", FIELD(latch_root_seq), MOD_TREE_ROOT, 4, false}, /* to 5.9 */
};

/* Arrays: offset, number of elements, size of one. */
static const struct wanted_array {
	const char *path;
	size_t field, count_field, stride_field;
	enum struct_id of;
	bool must;
} wanted_arrays[] = {
	{"name", FIELD(module_name), FIELD(module_name_size), NO_FIELD, MODULE, true},
	{"mem", FIELD(module_mem), FIELD(module_mem_count), FIELD(module_mem_stride), MODULE,
	 false},
	{"attrs", FIELD(notes_attrs_list), NO_FIELD, NO_FIELD, MODULE_NOTES_ATTRS, false},
	{"name", FIELD(bpf_ksym_name), FIELD(bpf_ksym_name_size), NO_FIELD, BPF_KSYM, false},
	{"name", NO_FIELD, FIELD(ksym_name_size), NO_FIELD, KALLSYM_ITER, false},
};

struct reader {
	const struct btf *btf;
	uint32_t structs[STRUCT_COUNT]; /* type ids; 0: there is none */
	uint32_t steps;			/* left */
	struct kstructs *to;
};

/* A member that was found: bytes from the beginning of the structure it was looked for in. */
struct member {
	uint64_t offset;
	uint32_t type;
};

static void set_field(struct reader *r, size_t field, uint32_t value)
{
	if (field != NO_FIELD)
		memcpy((char *)r->to + field, &value, sizeof(value));
}

static uint32_t get_field(const struct reader *r, size_t field)
{
	uint32_t value;

	memcpy(&value, (const char *)r->to + field, sizeof(value));
	return value;
}

/* The type behind typedefs and qualifiers; NULL when there is none. */
static const struct btf_type *real_type(const struct reader *r, uint32_t id)
{
	for (unsigned i = 0; i < ALIASES_MAX; i++) {
		const struct btf_type *t = btf__type_by_id(r->btf, id);

		if (!t || id == 0)
			return NULL;
		if (!btf_is_mod(t) && !btf_is_typedef(t) && !btf_is_type_tag(t))
			return t;
		id = t->type;
	}
	return NULL;
}

/* Bytes of a type that is no array; 0 when it has no size. */
static uint64_t plain_size(const struct btf_type *t)
{
	if (btf_is_ptr(t))
		return POINTER;
	if (btf_is_int(t) || btf_is_composite(t) || btf_is_any_enum(t))
		return t->size;
	return 0;
}

static bool is_named(const struct reader *r, uint32_t name_off, const char *name, size_t n)
{
	const char *s = btf__name_by_offset(r->btf, name_off);

	return s && strncmp(s, name, n) == 0 && s[n] == '\0';
}

/* Below, -ENOENT: there is none. -EBADMSG: it has no end. */
static int find_member(struct reader *r, uint32_t type, const char *name, size_t n, unsigned depth,
		       struct member *ret);

/* Inside a member that has no name itself. */
static int find_in_anonymous(struct reader *r, const struct btf_type *t, unsigned i,
			     const char *name, size_t n, unsigned depth, struct member *ret)
{
	const struct btf_member *m = btf_members(t) + i;
	uint32_t bits = btf_member_bit_offset(t, i);
	int err;

	if (m->name_off != 0 || bits % 8 || depth == DEPTH_MAX)
		return -ENOENT;
	err = find_member(r, m->type, name, n, depth + 1, ret);
	if (err == 0)
		ret->offset += bits / 8;
	return err;
}

static int find_member(struct reader *r, uint32_t type, const char *name, size_t n, unsigned depth,
		       struct member *ret)
{
	const struct btf_type *t = real_type(r, type);
	int err;

	if (!t || !btf_is_composite(t))
		return -ENOENT;
	for (unsigned i = 0; i < btf_vlen(t); i++) {
		const struct btf_member *m = btf_members(t) + i;

		if (r->steps == 0)
			return -EBADMSG;
		r->steps--;
		if (is_named(r, m->name_off, name, n)) {
			uint32_t bits = btf_member_bit_offset(t, i);

			if (bits % 8 || btf_member_bitfield_size(t, i))
				return -ENOENT;
			*ret = (struct member){bits / 8, m->type};
			return 0;
		}
		err = find_in_anonymous(r, t, i, name, n, depth, ret);
		if (err != -ENOENT)
			return err;
	}
	return -ENOENT;
}

/* "core_layout.base": a member of a member. */
static int find_path(struct reader *r, enum struct_id of, const char *path, struct member *ret)
{
	struct member at = {0, r->structs[of]}, next;

	while (*path) {
		size_t n = strcspn(path, ".");
		int err = find_member(r, at.type, path, n, 0, &next);

		if (err < 0)
			return err;
		at = (struct member){at.offset + next.offset, next.type};
		path += n + (path[n] == '.');
	}
	*ret = at;
	return 0;
}

static bool is_inside(const struct reader *r, enum struct_id of, uint64_t offset, uint64_t bytes)
{
	const struct btf_type *t = btf__type_by_id(r->btf, r->structs[of]);

	return t && offset <= t->size && bytes <= t->size - offset;
}

static int missing(const char *structure, const char *dot, const char *path, struct errmsg *why)
{
	return errmsg_set(why, -ENOENT,
			  "the kernel's BTF has no struct %s%s%s as it is needed to read modules",
			  structure, dot, path);
}

static int no_end(struct errmsg *why)
{
	return errmsg_set(why, -EBADMSG, "the kernel's BTF is malformed: structures without end");
}

static int read_sizes(struct reader *r, struct errmsg *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(wanted_sizes); i++) {
		const struct wanted_size *w = &wanted_sizes[i];
		uint32_t id = r->structs[w->of];
		const struct btf_type *t = id ? btf__type_by_id(r->btf, id) : NULL;

		if (t && t->size <= KSTRUCT_SIZE_MAX)
			set_field(r, w->field, t->size);
		else if (w->must)
			return missing(struct_names[w->of], "", "", why);
	}
	return 0;
}

static int read_member(struct reader *r, const struct wanted_member *w, struct errmsg *why)
{
	const struct btf_type *t;
	struct member m;
	int err;

	if (get_field(r, w->field) != KSTRUCT_NONE)
		return 0;
	err = find_path(r, w->of, w->path, &m);
	if (err == -EBADMSG)
		return no_end(why);
	t = err == 0 ? real_type(r, m.type) : NULL;
	if (t && btf_is_array(t) && w->bytes != btf_array(t)->nelems)
		t = NULL;
	if (t && !btf_is_array(t) && w->bytes != plain_size(t))
		t = NULL;
	if (t && is_inside(r, w->of, m.offset, w->bytes))
		set_field(r, w->field, (uint32_t)m.offset);
	else if (w->must)
		return missing(struct_names[w->of], ".", w->path, why);
	return 0;
}

static int read_members(struct reader *r, struct errmsg *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(wanted_members); i++) {
		int err = read_member(r, &wanted_members[i], why);

		if (err < 0)
			return err;
	}
	return 0;
}

/* Size of an element; 0 when m is no array that lies inside its structure. */
static uint64_t element_size(const struct reader *r, enum struct_id of, const struct member *m)
{
	const struct btf_type *t = real_type(r, m->type), *element;
	uint64_t bytes;

	if (!t || !btf_is_array(t))
		return 0;
	element = real_type(r, btf_array(t)->type);
	bytes = element ? plain_size(element) : 0;
	return is_inside(r, of, m->offset, bytes * btf_array(t)->nelems) ? bytes : 0;
}

static int read_array(struct reader *r, const struct wanted_array *w, struct errmsg *why)
{
	struct member m = {0, 0};
	int err = find_path(r, w->of, w->path, &m);
	uint64_t stride = err == 0 ? element_size(r, w->of, &m) : 0;

	if (err == -EBADMSG)
		return no_end(why);
	if (stride == 0)
		return w->must ? missing(struct_names[w->of], ".", w->path, why) : 0;
	set_field(r, w->field, (uint32_t)m.offset);
	set_field(r, w->count_field, btf_array(real_type(r, m.type))->nelems);
	set_field(r, w->stride_field, (uint32_t)stride);
	return 0;
}

static int read_arrays(struct reader *r, struct errmsg *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(wanted_arrays); i++) {
		int err = read_array(r, &wanted_arrays[i], why);

		if (err < 0)
			return err;
	}
	return 0;
}

/* The first of each name: where pahole could not see that two are the same they still are. */
static void find_structs(struct reader *r)
{
	uint32_t n = btf__type_cnt(r->btf);

	for (uint32_t id = 1; id < n; id++) {
		const struct btf_type *t = btf__type_by_id(r->btf, id);
		const char *name;

		if (!t || !btf_is_struct(t) || t->name_off == 0)
			continue;
		name = btf__name_by_offset(r->btf, t->name_off);
		for (unsigned i = 0; name && i < STRUCT_COUNT; i++) {
			if (r->structs[i] == 0 && strcmp(name, struct_names[i]) == 0)
				r->structs[i] = id;
		}
	}
}

/* Offsets that make sense only together. */
static int check(struct kstructs *s, struct errmsg *why)
{
	bool old = s->module_core_base != KSTRUCT_NONE && s->module_core_size != KSTRUCT_NONE &&
		   s->module_init_size != KSTRUCT_NONE;
	bool new = s->module_mem != KSTRUCT_NONE && s->module_mem_count > 0 &&
		   s->mem_base != KSTRUCT_NONE && s->mem_size != KSTRUCT_NONE &&
		   s->mem_base + POINTER <= s->module_mem_stride &&
		   s->mem_size + 4 <= s->module_mem_stride;

	if (!new)
		s->module_mem = KSTRUCT_NONE;
	if (!old && !new)
		return missing("module", ".", "mem or .core_layout", why);
	if (s->module_refcnt == KSTRUCT_NONE || s->module_exit == KSTRUCT_NONE ||
	    s->module_use_size == KSTRUCT_NONE || s->module_use_source_list == KSTRUCT_NONE ||
	    s->module_use_source == KSTRUCT_NONE)
		s->module_source_list = KSTRUCT_NONE;
	return 0;
}

static int read_all(struct reader *r, struct errmsg *why)
{
	int err;

	find_structs(r);
	err = read_sizes(r, why);
	if (err == 0)
		err = read_members(r, why);
	if (err == 0)
		err = read_arrays(r, why);
	if (err < 0)
		return err;
	return check(r->to, why);
}

/* What libbpf would not notice, or would turn round. */
static bool is_plausible(const void *bytes, size_t n)
{
	struct btf_header h;

	if (n < sizeof(h) || n > KSTRUCTS_BTF_MAX)
		return false;
	memcpy(&h, bytes, sizeof(h));
	return h.magic == BTF_MAGIC && h.version == BTF_VERSION && h.hdr_len >= sizeof(h) &&
	       h.hdr_len <= n && h.hdr_len % 4 == 0 && h.type_off % 4 == 0;
}

/* Whether struct kernel_symbol holds distances (CONFIG_HAVE_ARCH_PREL32_RELOCATIONS). */
static bool is_relative(struct reader *r)
{
	struct member m;

	return find_path(r, KERNEL_SYMBOL, "value_offset", &m) == 0;
}

static void cleanup_btf(struct btf **b)
{
	btf__free(*b);
}

int kstructs_from_btf(const void *btf, size_t n, struct kstructs *ret, struct errmsg *why)
{
	CLEANUP(cleanup_btf) struct btf *parsed = NULL;
	struct kstructs found;
	struct reader r = {.steps = STEPS_MAX, .to = &found};
	int err;

	if (!is_plausible(btf, n))
		return errmsg_set(why, -EBADMSG,
				  "the kernel's BTF is malformed or of another byte order");
	libbpf_set_print(NULL);
	parsed = btf__new(btf, (uint32_t)n);
	if (!parsed)
		return errmsg_set(why, errno == ENOMEM ? -ENOMEM : -EBADMSG,
				  "the kernel's BTF is malformed or newer than this libbpf knows");
	r.btf = parsed;
	memset(&found, 0xff, sizeof(found)); /* KSTRUCT_NONE */
	err = read_all(&r, why);
	if (err < 0)
		return err;
	found.kernel_symbol_relative = is_relative(&r);
	*ret = found;
	return 0;
}
