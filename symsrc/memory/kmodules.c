/* Walking the list of modules. */
#include "symsrc/memory/kmodules.h"

#include <errno.h>
#include <stdlib.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/kmodules_impl.h"

#define FIRST_CAPACITY 128

const char *const kmodules_root_names[KMODULES_ROOT_COUNT] = {
	[KMODULES_ROOT_MODULES] = "modules",
	[KMODULES_ROOT_MOD_TREE] = "mod_tree",
	[KMODULES_ROOT_BPF_KALLSYMS] = "bpf_kallsyms",
	[KMODULES_ROOT_BPF_JIT_KALLSYMS] = "bpf_jit_kallsyms",
	[KMODULES_ROOT_BPF_JIT_HARDEN] = "bpf_jit_harden",
	[KMODULES_ROOT_FTRACE_TRAMPOLINES] = "ftrace_ops_trampoline_list",
	[KMODULES_ROOT_KPROBE_SLOTS] = "kprobe_insn_slots",
	[KMODULES_ROOT_KPROBE_OPT_SLOTS] = "kprobe_optinsn_slots",
};

/* struct list_head */
struct links {
	uint64_t next, prev;
};

/* What a walk brings. */
struct walk {
	struct kmodule *list;
	size_t count, capacity;
};

static void walk_deinit(struct walk *w)
{
	free(w->list);
}

bool kmodules_is_bad_data(int err)
{
	return err == -EBADMSG || err == -EFAULT || err == -ENXIO || err == -ENAMETOOLONG ||
	       err == -EFBIG;
}

static uint32_t sum_of_sizes(const struct kmodules_reader *r)
{
	const struct kstructs *s = r->s;
	uint32_t sum = 0;

	if (s->module_mem == KSTRUCT_NONE)
		return raw_u32(r, s->module_core_size) + raw_u32(r, s->module_init_size);
	for (uint32_t i = 0; i < s->module_mem_count; i++)
		sum += raw_u32(r, s->module_mem + i * s->module_mem_stride + s->mem_size);
	return sum;
}

/* mem[0] is MOD_TEXT. */
static uint64_t base_of(const struct kmodules_reader *r)
{
	const struct kstructs *s = r->s;

	if (s->module_mem == KSTRUCT_NONE)
		return raw_u64(r, s->module_core_base);
	return raw_u64(r, s->module_mem + s->mem_base);
}

static int take_name(const struct kmodules_reader *r, struct kmodule *mod)
{
	const char *name = (const char *)r->raw + r->s->module_name;
	size_t n = strnlen(name, r->s->module_name_size);

	if (n == r->s->module_name_size || !module_name_is_valid(name, n))
		return -EBADMSG;
	memcpy(mod->name, name, n);
	mod->name[n] = '\0';
	return 0;
}

/* Saves a read later. */
static void take_own_tables(const struct kmodules_reader *r, struct kmodule *mod)
{
	uint64_t offset = mod->kallsyms - mod->va;

	if (offset > r->s->module_size || r->s->mod_kallsyms_size > r->s->module_size - offset)
		return;
	mod->has_tables = true;
	kmodules_take_tables(r, (uint32_t)offset, &mod->tables);
}

/* Of the struct module in raw. */
static int take_module(const struct kmodules_reader *r, uint64_t va, struct kmodule *mod)
{
	const struct kstructs *s = r->s;

	*mod = (struct kmodule){.va = va};
	mod->state = raw_u32(r, s->module_state);
	if (mod->state > STATE_UNFORMED)
		return -EBADMSG;
	mod->size = sum_of_sizes(r);
	mod->base = base_of(r);
	mod->taints = raw_u64(r, s->module_taints);
	mod->kallsyms = raw_u64(r, s->module_kallsyms);
	take_own_tables(r, mod);
	mod->syms = raw_u64(r, s->module_syms);
	mod->num_syms = raw_u32(r, s->module_num_syms);
	if (s->module_notes_attrs != KSTRUCT_NONE)
		mod->notes_attrs = raw_u64(r, s->module_notes_attrs);
	if (s->module_source_list != KSTRUCT_NONE) {
		mod->first_use = raw_u64(r, s->module_source_list);
		/* MODULE_REF_BASE is 1 */
		mod->use_count = (int32_t)(raw_u32(r, s->module_refcnt) - 1);
		mod->permanent = raw_u64(r, s->module_init) && !raw_u64(r, s->module_exit);
	}
	return take_name(r, mod);
}

/* The module whose list links are at at->next; *at is moved on to its own. Each link must
 * lead back: a walk along such links comes through its head again and nowhere twice. */
static int walk_step(struct kmodules_reader *r, uint64_t *at, struct links *links,
		     struct kmodule *ret)
{
	uint64_t here = links->next, va = here - r->s->module_list;
	int err;

	if (here % 8)
		return -EBADMSG;
	err = paging_read(r->p, va, r->raw, r->s->module_size);
	if (err < 0)
		return err;
	memcpy(links, r->raw + r->s->module_list, sizeof(*links));
	if (links->prev != *at)
		return -EBADMSG;
	*at = here;
	return take_module(r, va, ret);
}

static int walk_reserve(struct walk *w)
{
	size_t capacity = w->capacity ? 2 * w->capacity : FIRST_CAPACITY;
	struct kmodule *list;

	if (w->count < w->capacity)
		return 0;
	if (w->count >= KMODULES_MAX)
		return -EBADMSG;
	list = realloc(w->list, capacity * sizeof(*list));
	if (!list)
		return -ENOMEM;
	w->list = list;
	w->capacity = capacity;
	return 0;
}

static int walk_modules(struct kmodules_reader *r, struct walk *w)
{
	uint64_t head = r->roots->va[KMODULES_ROOT_MODULES], at = head;
	struct links links = {0, 0};
	int err;

	r->what = "the list of modules";
	r->of = "";
	err = paging_read(r->p, head, &links, sizeof(links));
	while (err == 0 && links.next != head) {
		err = walk_reserve(w);
		if (err == 0)
			err = walk_step(r, &at, &links, &w->list[w->count]);
		if (err == 0)
			w->count++;
	}
	return err;
}

static bool is_same_tables(const struct ktables *a, const struct ktables *b)
{
	return a->symtab == b->symtab && a->strtab == b->strtab && a->typetab == b->typetab &&
	       a->count == b->count;
}

/* All but the use counts, which move without anything else. */
static bool is_same_module(const struct kmodule *a, const struct kmodule *b)
{
	return a->va == b->va && strcmp(a->name, b->name) == 0 && a->state == b->state &&
	       a->size == b->size && a->base == b->base && a->taints == b->taints &&
	       a->permanent == b->permanent && a->first_use == b->first_use &&
	       is_same_tables(&a->tables, &b->tables) && a->kallsyms == b->kallsyms &&
	       a->syms == b->syms && a->num_syms == b->num_syms && a->notes_attrs == b->notes_attrs;
}

static bool is_same_list(const struct kmodules *m, const struct walk *w)
{
	if (m->count != w->count)
		return false;
	for (size_t i = 0; i < m->count; i++) {
		if (!is_same_module(&m->list[i], &w->list[i]))
			return false;
	}
	return true;
}

/* An index of the list by address. */
struct by_va {
	uint64_t va;
	uint32_t index;
};

static int compare_va(const void *a, const void *b)
{
	uint64_t x = ((const struct by_va *)a)->va, y = ((const struct by_va *)b)->va;

	return (x > y) - (x < y);
}

static struct by_va *make_index(const struct kmodules *m)
{
	struct by_va *index = calloc(m->count + 1, sizeof(*index));

	for (size_t i = 0; index && i < m->count; i++)
		index[i] = (struct by_va){m->list[i].va, (uint32_t)i};
	if (index)
		qsort(index, m->count, sizeof(*index), compare_va);
	return index;
}

static int add_use(struct kmodules *m, struct kmodule *mod, uint32_t user)
{
	if (m->uses_count == KMODULES_USES_MAX)
		return -EBADMSG;
	if (!m->uses)
		m->uses = malloc(KMODULES_USES_MAX * sizeof(*m->uses));
	if (!m->uses)
		return -ENOMEM;
	m->uses[m->uses_count++] = user;
	mod->uses_count++;
	return 0;
}

/* The structs module_use of one module, as walk_step(). */
static int use_step(struct kmodules_reader *r, const struct by_va *index, uint64_t *at,
		    struct links *links, struct kmodule *mod)
{
	uint64_t here = links->next;
	const struct by_va *user;
	int err;

	if (here % 8)
		return -EBADMSG;
	err = paging_read(r->p, here - r->s->module_use_source_list, r->raw, r->s->module_use_size);
	if (err < 0)
		return err;
	memcpy(links, r->raw + r->s->module_use_source_list, sizeof(*links));
	if (links->prev != *at)
		return -EBADMSG;
	*at = here;
	user = bsearch(&(struct by_va){.va = raw_u64(r, r->s->module_use_source)}, index,
		       r->m->count, sizeof(*index), compare_va);
	return user ? add_use(r->m, mod, user->index) : -EBADMSG;
}

/* Which modules use this one, in the kernel's order. */
static int read_uses(struct kmodules_reader *r, const struct by_va *index, struct kmodule *mod)
{
	uint64_t head = mod->va + r->s->module_source_list, at = head;
	struct links links = {.next = mod->first_use};
	int err = 0;

	if (r->s->module_source_list == KSTRUCT_NONE)
		return 0;
	r->what = "the users";
	mod->uses = (uint32_t)r->m->uses_count;
	while (err == 0 && links.next != head)
		err = use_step(r, index, &at, &links, mod);
	return err;
}

static int read_contents_of(struct kmodules_reader *r, const struct by_va *index,
			    struct kmodule *mod)
{
	int err;

	if (mod->state == STATE_UNFORMED)
		return 0;
	r->of = mod->name;
	err = read_uses(r, index, mod);
	if (err == 0)
		err = kmodules_read_symbols(r, mod);
	if (err == 0)
		err = kmodules_read_exports(r, mod);
	if (err == 0)
		err = kmodules_read_note(r, mod);
	return err;
}

static int read_contents(struct kmodules_reader *r)
{
	CLEANUP_FREE struct by_va *index = make_index(r->m);
	int err = index ? 0 : -ENOMEM;

	for (size_t i = 0; err == 0 && i < r->m->count; i++)
		err = read_contents_of(r, index, &r->m->list[i]);
	return err;
}

/* What mark says has been there, now. */
static int look_again(struct paging *p, const struct kmodules_mark *mark, struct kmodules_mark *ret)
{
	struct links links = {0, 0};
	int err = paging_read(p, mark->head_va, &links, sizeof(links));

	*ret = *mark;
	ret->first = links.next;
	ret->last = links.prev;
	if (err == 0 && mark->sequence_va)
		err = paging_read_u32(p, mark->sequence_va, &ret->sequence);
	if (err == 0 && mark->state_va && ret->first == mark->first)
		err = paging_read_u32(p, mark->state_va, &ret->state);
	return err;
}

static bool is_same_mark(const struct kmodules_mark *a, const struct kmodules_mark *b)
{
	return a->first == b->first && a->last == b->last && a->sequence == b->sequence &&
	       a->state == b->state;
}

static int set_mark(struct kmodules_reader *r, struct kmodules_mark *ret)
{
	const uint64_t *va = r->roots->va;
	struct kmodules_mark mark = {.head_va = va[KMODULES_ROOT_MODULES]};
	struct links links = {0, 0};
	int err = paging_read(r->p, mark.head_va, &links, sizeof(links));

	if (err < 0)
		return err;
	mark.first = links.next;
	if (va[KMODULES_ROOT_MOD_TREE] && r->s->latch_root_seq != KSTRUCT_NONE)
		mark.sequence_va = va[KMODULES_ROOT_MOD_TREE] + r->s->latch_root_seq;
	if (links.next != mark.head_va)
		mark.state_va = links.next - r->s->module_list + r->s->module_state;
	return look_again(r->p, &mark, ret);
}

int kmodules_look(struct paging *p, const struct kmodules_mark *mark, bool *ret_changed)
{
	struct kmodules_mark now = {0};
	int err;

	if (!mark->head_va) {
		*ret_changed = false;
		return 0;
	}
	err = look_again(p, mark, &now);
	if (err < 0)
		return err;
	*ret_changed = !is_same_mark(mark, &now);
	return 0;
}

/* What is mapped where changes with the modules. */
static void forget_pages(struct paging *p)
{
	paging_init(p, p->ram, p->root, p->levels);
}

/* The list once more: 0 when all is as it was, else -ESTALE. */
static int read_again(struct kmodules_reader *r)
{
	CLEANUP(walk_deinit) struct walk again = {0};
	struct kmodules_mark mark = {0};
	int err;

	forget_pages(r->p);
	err = walk_modules(r, &again);
	if (err == 0)
		err = look_again(r->p, &r->m->mark, &mark);
	if (err < 0)
		return err;
	return is_same_list(r->m, &again) && is_same_mark(&r->m->mark, &mark) ? 0 : -ESTALE;
}

static int read_once(struct kmodules_reader *r)
{
	struct walk w = {0};
	int err;

	r->what = "the list of modules";
	r->of = "";
	forget_pages(r->p);
	err = set_mark(r, &r->m->mark);
	if (err == 0)
		err = walk_modules(r, &w);
	r->m->list = w.list;
	r->m->count = w.count;
	if (err == 0)
		err = read_contents(r);
	if (err == 0)
		err = read_again(r);
	if (err == 0)
		err = kmodules_read_extra(r);
	return err;
}

static int explain(const struct kmodules_reader *r, int err, struct errmsg *why)
{
	if (err == -ESTALE)
		return errmsg_set(why, -EAGAIN,
				  "the guest has loaded or unloaded modules all the while");
	if (kmodules_is_bad_data(err))
		return errmsg_set(why, -EBADMSG, "%s%s%s in the guest's memory makes no sense",
				  r->what, *r->of ? " of module " : "", r->of);
	if (err == -ENOMEM)
		return errmsg_set(why, err, "out of memory while reading %s", r->what);
	return ram_explain(err, why);
}

static struct kmodules *new_kmodules(const struct kstructs *s)
{
	struct kmodules *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	buf_init(&m->bytes, KMODULES_BYTES_MAX);
	m->name_max = s->ksym_name_size - 1;
	if (s->ksym_name_size < 2 || m->name_max > SYMTAB_NAME_MAX)
		m->name_max = SYMTAB_NAME_MAX;
	m->can_unload = s->module_source_list != KSTRUCT_NONE;
	return m;
}

int kmodules_read(struct paging *p, const struct kstructs *structs,
		  const struct kmodules_roots *roots, struct kmodules **ret, struct errmsg *why)
{
	CLEANUP_FREE struct kmodules_reader *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;

	if (!r)
		return errmsg_set(why, err, "out of memory while reading modules");
	*r = (struct kmodules_reader){.p = p, .s = structs, .roots = roots, .of = ""};
	for (unsigned i = 0; i < KMODULES_TRIES; i++) {
		r->what = "modules";
		r->m = new_kmodules(structs);
		err = r->m ? read_once(r) : -ENOMEM;
		if (err == 0) {
			*ret = r->m;
			return 0;
		}
		if (i + 1 == KMODULES_TRIES || (err != -ESTALE && !kmodules_is_bad_data(err)))
			break;
		kmodules_destroy(r->m);
	}
	err = explain(r, err, why);
	kmodules_destroy(r->m);
	return err;
}

void kmodules_destroy(struct kmodules *m)
{
	if (!m)
		return;
	free(m->list);
	free(m->uses);
	free(m->exports);
	free(m->extra);
	buf_deinit(&m->bytes);
	free(m);
}

size_t kmodules_count(const struct kmodules *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->count; i++)
		n += m->list[i].state != STATE_UNFORMED;
	return n;
}

void kmodules_get_mark(const struct kmodules *m, struct kmodules_mark *ret)
{
	*ret = m->mark;
}
