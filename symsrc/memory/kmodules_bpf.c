/* The symbols of BPF programs, trampolines and dispatchers (kernel/bpf/core.c). */
#include <errno.h>
#include <stdlib.h>

#include "symsrc/base/text.h"
#include "symsrc/memory/kmodules_impl.h"

/* bpf_jit_kallsyms_enabled(). A kernel that has no such switch shows them. */
static int is_shown(struct kmodules_reader *r, bool *ret)
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

static bool has_layout(const struct kstructs *s)
{
	return s->bpf_ksym_size != KSTRUCT_NONE && s->bpf_ksym_start != KSTRUCT_NONE &&
	       s->bpf_ksym_lnode != KSTRUCT_NONE && s->bpf_ksym_name != KSTRUCT_NONE &&
	       s->bpf_ksym_name_size > 0;
}

static int reserve(struct kmodules *m)
{
	if (m->bpf_count == KMODULES_BPF_MAX)
		return -EBADMSG;
	if (!m->bpf)
		m->bpf = malloc(KMODULES_BPF_MAX * sizeof(*m->bpf));
	return m->bpf ? 0 : -ENOMEM;
}

/* The struct bpf_ksym in raw. */
static int take_symbol(struct kmodules_reader *r)
{
	const char *name = (const char *)r->raw + r->s->bpf_ksym_name;
	size_t n = strnlen(name, r->s->bpf_ksym_name_size);
	struct kmodules *m = r->m;
	int err = reserve(m);

	if (err < 0)
		return err;
	if (n > m->name_max)
		n = m->name_max;
	if (n == 0 || !text_is_word(name, n) || n + 1 > m->bytes.max - m->bytes.len)
		return -EBADMSG;
	m->bpf[m->bpf_count++] =
		(struct kbpf_symbol){raw_u64(r, r->s->bpf_ksym_start), (uint32_t)m->bytes.len};
	buf_append(&m->bytes, name, n);
	return buf_append_char(&m->bytes, '\0');
}

/* As the modules' list is walked: each link must lead back. */
static int walk_bpf(struct kmodules_reader *r)
{
	uint64_t head = r->roots->va[KMODULES_ROOT_BPF_KALLSYMS], at = head, next = 0, prev;
	int err = paging_read_u64(r->p, head, &next);

	while (err == 0 && next != head) {
		err = next % 8 ? -EBADMSG
			       : paging_read(r->p, next - r->s->bpf_ksym_lnode, r->raw,
					     r->s->bpf_ksym_size);
		if (err < 0)
			break;
		prev = raw_u64(r, r->s->bpf_ksym_lnode + 8);
		if (prev != at)
			return -EBADMSG;
		at = next;
		next = raw_u64(r, r->s->bpf_ksym_lnode);
		err = take_symbol(r);
	}
	return err;
}

/* The list changes while it is walked: until a walk comes through. */
static int walk_until_whole(struct kmodules_reader *r)
{
	int err = 0;

	for (unsigned i = 0; i < KMODULES_TRIES; i++) {
		r->m->bpf_count = 0;
		err = walk_bpf(r);
		if (!kmodules_is_bad_data(err))
			break;
	}
	return err;
}

int kmodules_read_bpf(struct kmodules_reader *r)
{
	bool shown = false;
	int err;

	r->what = "the list of BPF programs";
	r->of = "";
	if (!r->roots->va[KMODULES_ROOT_BPF_KALLSYMS] || !has_layout(r->s))
		return 0;
	err = is_shown(r, &shown);
	if (err == 0 && shown)
		err = walk_until_whole(r);
	if (err < 0)
		r->m->bpf_count = 0;
	return err == -EBUSY || kmodules_is_bad_data(err) ? 0 : err;
}
