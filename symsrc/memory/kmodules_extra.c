/* What is behind the modules in /proc/kallsyms: code that the kernel has made while it runs, in
 * the order of update_iter_mod(), kernel/kallsyms.c. */
#include <errno.h>
#include <stdlib.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"
#include "symsrc/memory/kmodules_impl.h"

#define FIELD(name) offsetof(struct kstructs, name)
#define NO_FIELD    SIZE_MAX

/* One list of such code. Offsets are of members of struct kstructs. */
static const struct kextra_list {
	enum kmodules_root root;
	size_t size, links, value;
	size_t name;	    /* where each entry has its own; NO_FIELD: they share one */
	size_t head;	    /* in what the root is; NO_FIELD: it is the list's head itself */
	const char *shared; /* name */
	const char *module; /* as which it is shown */
} lists[] = {
	/* ftrace_get_trampoline_kallsym(), kernel/trace/ftrace.c */
	{KMODULES_ROOT_FTRACE_TRAMPOLINES, FIELD(ftrace_ops_size), FIELD(ftrace_ops_list),
	 FIELD(ftrace_ops_trampoline), NO_FIELD, NO_FIELD, "ftrace_trampoline",
	 "__builtin__ftrace"},
	/* bpf_get_kallsym(), kernel/bpf/core.c */
	{KMODULES_ROOT_BPF_KALLSYMS, FIELD(bpf_ksym_size), FIELD(bpf_ksym_lnode),
	 FIELD(bpf_ksym_start), FIELD(bpf_ksym_name), NO_FIELD, NULL, "bpf"},
	/* kprobe_get_kallsym(), kernel/kprobes.c */
	{KMODULES_ROOT_KPROBE_SLOTS, FIELD(kprobe_insn_page_size), FIELD(kprobe_insn_page_list),
	 FIELD(kprobe_insn_page_insns), NO_FIELD, FIELD(kprobe_insn_cache_pages),
	 "kprobe_insn_page", "__builtin__kprobes"},
	{KMODULES_ROOT_KPROBE_OPT_SLOTS, FIELD(kprobe_insn_page_size), FIELD(kprobe_insn_page_list),
	 FIELD(kprobe_insn_page_insns), NO_FIELD, FIELD(kprobe_insn_cache_pages),
	 "kprobe_optinsn_page", "__builtin__kprobes"},
};

static uint32_t field(const struct kstructs *s, size_t offset)
{
	uint32_t v = 0;

	if (offset != NO_FIELD)
		memcpy(&v, (const char *)s + offset, sizeof(v));
	return v;
}

/* bpf_jit_kallsyms_enabled(). A kernel that has no such switch shows them. */
static int bpf_is_shown(struct kmodules_reader *r, bool *ret)
{
	uint64_t shown_va = r->roots->va[KMODULES_ROOT_BPF_JIT_KALLSYMS];
	uint64_t hardened_va = r->roots->va[KMODULES_ROOT_BPF_JIT_HARDEN];
	uint32_t shown = 1, hardened = 0;
	int err = 0;

	if (shown_va)
		err = paging_read_u32(r->p, shown_va, &shown);
	if (err == 0 && hardened_va)
		err = paging_read_u32(r->p, hardened_va, &hardened);
	*ret = shown == 1 && hardened == 0;
	return err;
}

/* Whether this kernel has the list, and its entries can be read. */
static bool is_known(const struct kmodules_reader *r, const struct kextra_list *l)
{
	return r->roots->va[l->root] != 0 && field(r->s, l->size) != KSTRUCT_NONE &&
	       field(r->s, l->links) != KSTRUCT_NONE && field(r->s, l->value) != KSTRUCT_NONE &&
	       field(r->s, l->name) != KSTRUCT_NONE && field(r->s, l->head) != KSTRUCT_NONE;
}

static int reserve(struct kmodules *m)
{
	if (m->extra_count == KMODULES_EXTRA_MAX)
		return -EBADMSG;
	if (!m->extra)
		m->extra = malloc(KMODULES_EXTRA_MAX * sizeof(*m->extra));
	return m->extra ? 0 : -ENOMEM;
}

/* The name of the struct bpf_ksym in raw, behind what m->bytes holds already. */
static int take_name(struct kmodules_reader *r, uint32_t *ret_at)
{
	const char *name = (const char *)r->raw + r->s->bpf_ksym_name;
	size_t n = strnlen(name, r->s->bpf_ksym_name_size);
	struct buf *b = &r->m->bytes;

	if (n > r->m->name_max)
		n = r->m->name_max;
	if (n == 0 || !text_is_word(name, n) || n + 1 > b->max - b->len)
		return -EBADMSG;
	*ret_at = (uint32_t)b->len;
	buf_append(b, name, n);
	return buf_append_char(b, '\0');
}

/* The structure in raw. ftrace_ops without a trampoline are left out. */
static int take_entry(struct kmodules_reader *r, const struct kextra_list *l)
{
	struct kextra e = {.value = raw_u64(r, field(r->s, l->value)),
			   .shared = l->shared,
			   .module = l->module};
	int err;

	if (e.value == 0)
		return 0;
	err = reserve(r->m);
	if (err == 0 && l->name != NO_FIELD)
		err = take_name(r, &e.name);
	if (err == 0)
		r->m->extra[r->m->extra_count++] = e;
	return err;
}

/* As the modules' list is walked: each link must lead back. */
static int walk(struct kmodules_reader *r, const struct kextra_list *l)
{
	uint64_t head = r->roots->va[l->root] + field(r->s, l->head), at = head, next = 0;
	uint32_t links = field(r->s, l->links);
	int err = paging_read_u64(r->p, head, &next);

	for (unsigned i = 0; err == 0 && next != head; i++) {
		if (next % 8 || i == KMODULES_EXTRA_MAX)
			return -EBADMSG;
		err = paging_read(r->p, next - links, r->raw, field(r->s, l->size));
		if (err < 0)
			break;
		if (raw_u64(r, links + 8) != at)
			return -EBADMSG;
		at = next;
		next = raw_u64(r, links);
		err = take_entry(r, l);
	}
	return err;
}

/* The list changes while it is walked: until a walk comes through. One that never does is left
 * out, as is one that is swapped out. */
static int read_list(struct kmodules_reader *r, const struct kextra_list *l)
{
	size_t before = r->m->extra_count;
	int err = -EBADMSG;

	for (unsigned i = 0; i < KMODULES_TRIES && kmodules_is_bad_data(err); i++) {
		r->m->extra_count = before;
		err = walk(r, l);
	}
	if (err < 0)
		r->m->extra_count = before;
	return err == -EBUSY || kmodules_is_bad_data(err) ? 0 : err;
}

int kmodules_read_extra(struct kmodules_reader *r)
{
	bool shown = false;
	int err;

	r->what = "the list of BPF programs";
	r->of = "";
	err = bpf_is_shown(r, &shown);
	if (err == -EBUSY || kmodules_is_bad_data(err)) {
		shown = false;
		err = 0;
	}
	for (size_t i = 0; err == 0 && i < ARRAY_SIZE(lists); i++) {
		if (is_known(r, &lists[i]) &&
		    (shown || lists[i].root != KMODULES_ROOT_BPF_KALLSYMS))
			err = read_list(r, &lists[i]);
	}
	return err;
}
