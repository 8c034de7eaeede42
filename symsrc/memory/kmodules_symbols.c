/* What hangs on a module: its symbols, its exports and its build-id (kernel/module/kallsyms.c,
 * kernel/module/sysfs.c). */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"
#include "symsrc/memory/kmodules_impl.h"

#define EXPORT_NAMES_MAX (1u << 20) /* bytes of one module's __ksymtab_strings */
#define NOTES_MOST	 64	    /* sections of notes in a module */
#define NOTE_SECTION	 ".note.gnu.build-id"

int kmodules_take(struct kmodules_reader *r, uint64_t va, uint64_t n, uint32_t *ret_at)
{
	struct buf *b = &r->m->bytes;
	void *to;
	int err;

	if (n > b->max - b->len)
		return -EBADMSG;
	to = buf_reserve(b, n);
	if (!to)
		return b->err;
	err = paging_read(r->p, va, to, n);
	if (err < 0)
		return err;
	*ret_at = (uint32_t)b->len;
	buf_commit(b, n);
	return 0;
}

/* The rest of a string that did not end in the page in which it began: at most n bytes, which
 * the NUL follows. */
static int read_rest(struct kmodules_reader *r, uint64_t va, char *to, size_t n)
{
	int err = paging_read_str(r->p, va, to, n + 1);

	if (err != -ENAMETOOLONG)
		return err;
	/* The kernel cuts it, too (strscpy()). */
	to[n] = '\0';
	return paging_read(r->p, va, to, n);
}

int kmodules_take_strings(struct kmodules_reader *r, uint64_t lo, uint64_t hi, uint32_t *ret_at)
{
	struct buf *b = &r->m->bytes;
	size_t max = r->m->name_max + 1; /* one more tells that a name is longer */
	size_t here = RAM_PAGE - hi % RAM_PAGE;
	uint64_t before = hi - lo;
	char *to, *last;
	int err;

	if (here > max)
		here = max;
	if (before > b->max - b->len || max + 1 > b->max - b->len - before)
		return -EBADMSG;
	to = buf_reserve(b, before + max + 1);
	if (!to)
		return b->err;
	last = to + before;
	err = paging_read(r->p, lo, to, before + here);
	last[here] = '\0';
	if (err == 0 && here < max && !memchr(last, '\0', here))
		err = read_rest(r, hi + here, last + here, max - here);
	if (err < 0)
		return err;
	*ret_at = (uint32_t)b->len;
	buf_commit(b, before + strlen(last) + 1);
	return 0;
}

static Elf64_Sym symbol_at(const struct kmodules *m, const struct kmodule *mod, uint32_t i)
{
	Elf64_Sym sym;

	memcpy(&sym, m->bytes.data + mod->symtab + i * sizeof(sym), sizeof(sym));
	return sym;
}

static bool is_type(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '?';
}

/* Before 5.2 the type replaced st_info, in 5.0 and 5.1 st_size. */
static char type_in_symbol(const Elf64_Sym *sym)
{
	char in_info = (char)sym->st_info;

	if (is_type(in_info))
		return in_info;
	return (char)(sym->st_size & 0xff);
}

static int take_types(struct kmodules_reader *r, uint64_t typetab, struct kmodule *mod)
{
	struct buf *b = &r->m->bytes;

	if (r->s->mod_kallsyms_typetab != KSTRUCT_NONE)
		return kmodules_take(r, typetab, mod->symbols_count, &mod->types);
	mod->types = (uint32_t)b->len;
	for (uint32_t i = 0; i < mod->symbols_count; i++) {
		Elf64_Sym sym = symbol_at(r->m, mod, i);

		buf_append_char(b, type_in_symbol(&sym));
	}
	return b->err;
}

/* The names from the first to the end of the last: the table's own size is kept nowhere. */
static int take_names(struct kmodules_reader *r, uint64_t strtab, struct kmodule *mod)
{
	uint32_t last = 0;
	int err;

	for (uint32_t i = 0; i < mod->symbols_count; i++) {
		Elf64_Sym sym = symbol_at(r->m, mod, i);

		if (sym.st_name > last)
			last = sym.st_name;
	}
	err = kmodules_take_strings(r, strtab, strtab + last, &mod->strings);
	if (err < 0)
		return err;
	mod->strings_len = (uint32_t)(r->m->bytes.len - mod->strings);
	return 0;
}

/* That each can be a line of its own. */
static int check_symbols(const struct kmodules *m, const struct kmodule *mod)
{
	for (uint32_t i = 0; i < mod->symbols_count; i++) {
		Elf64_Sym sym = symbol_at(m, mod, i);
		const char *name = kmodules_name(m, mod->strings + sym.st_name);
		size_t n = strnlen(name, m->name_max);

		if (n > 0 && (!text_is_word(name, n) || !is_type(m->bytes.data[mod->types + i])))
			return -EBADMSG;
	}
	return 0;
}

void kmodules_take_tables(const struct kmodules_reader *r, uint32_t offset, struct ktables *ret)
{
	const struct kstructs *s = r->s;

	*ret = (struct ktables){.symtab = raw_u64(r, offset + s->mod_kallsyms_symtab),
				.strtab = raw_u64(r, offset + s->mod_kallsyms_strtab),
				.count = raw_u32(r, offset + s->mod_kallsyms_num_symtab)};
	if (s->mod_kallsyms_typetab != KSTRUCT_NONE)
		ret->typetab = raw_u64(r, offset + s->mod_kallsyms_typetab);
}

static int take_symbols(struct kmodules_reader *r, const struct ktables *t, struct kmodule *mod)
{
	int err;

	if (t->count > KMODULES_SYMBOLS_MAX - r->m->symbols_count)
		return -EBADMSG;
	mod->symbols_count = t->count;
	r->m->symbols_count += t->count;
	if (t->count == 0)
		return 0;
	err = kmodules_take(r, t->symtab, t->count * sizeof(Elf64_Sym), &mod->symtab);
	if (err == 0)
		err = take_types(r, t->typetab, mod);
	if (err == 0)
		err = take_names(r, t->strtab, mod);
	if (err == 0)
		err = check_symbols(r->m, mod);
	return err;
}

/* A module that is being loaded has its tables elsewhere. */
int kmodules_read_symbols(struct kmodules_reader *r, struct kmodule *mod)
{
	struct ktables t = mod->tables;
	int err;

	r->what = "the symbol table";
	if (!mod->has_tables) {
		err = paging_read(r->p, mod->kallsyms, r->raw, r->s->mod_kallsyms_size);
		if (err < 0)
			return err;
		kmodules_take_tables(r, 0, &t);
	}
	return take_symbols(r, &t, mod);
}

static int reserve_exports(struct kmodules *m, uint32_t n)
{
	struct kexport *list;

	if (n > KMODULES_EXPORTS_MAX - m->exports_count)
		return -EBADMSG;
	list = realloc(m->exports, (m->exports_count + n) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	m->exports = list;
	return 0;
}

static int64_t distance_at(const char *p)
{
	int32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t pointer_at(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* An export: *ret_value, and its name's address. entry: a copy of the struct kernel_symbol that
 * is at va. */
static uint64_t take_export(const struct kstructs *s, const char *entry, uint64_t va,
			    uint64_t *ret_value)
{
	uint32_t value = s->kernel_symbol_value, name = s->kernel_symbol_name;

	if (!s->kernel_symbol_relative) {
		*ret_value = pointer_at(entry + value);
		return pointer_at(entry + name);
	}
	*ret_value = va + value + (uint64_t)distance_at(entry + value);
	return va + name + (uint64_t)distance_at(entry + name);
}

/* By name, too: a forged module may have all of its exports at one address. What is longer than a
 * name can be is never looked for. */
static int compare_exports(const void *a, const void *b, void *ctx)
{
	const struct kexport *x = a, *y = b;
	const struct kmodules *m = ctx;

	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return strncmp(kmodules_name(m, x->name), kmodules_name(m, y->name), m->name_max + 1);
}

/* From the raw table at `at` in bytes. */
static int take_exports(struct kmodules_reader *r, uint32_t at, struct kmodule *mod)
{
	uint32_t n = mod->num_syms, size = r->s->kernel_symbol_size, names = 0;
	CLEANUP_FREE uint64_t *name_va = calloc(n, sizeof(*name_va));
	struct kexport *to = r->m->exports + r->m->exports_count;
	uint64_t lo = UINT64_MAX, hi = 0;
	int err;

	if (!name_va)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		name_va[i] = take_export(r->s, kmodules_name(r->m, at + i * size),
					 mod->syms + (uint64_t)i * size, &to[i].value);
		lo = name_va[i] < lo ? name_va[i] : lo;
		hi = name_va[i] > hi ? name_va[i] : hi;
	}
	if (hi - lo > EXPORT_NAMES_MAX)
		return -EBADMSG;
	err = kmodules_take_strings(r, lo, hi, &names);
	if (err < 0)
		return err;
	for (uint32_t i = 0; i < n; i++)
		to[i].name = names + (uint32_t)(name_va[i] - lo);
	qsort_r(to, n, sizeof(*to), compare_exports, r->m);
	return 0;
}

/* Those that EXPORT_SYMBOL() made; before 7.0 EXPORT_SYMBOL_GPL() has a table of its own, which
 * does not count here (is_exported(), kernel/module/kallsyms.c). */
int kmodules_read_exports(struct kmodules_reader *r, struct kmodule *mod)
{
	uint32_t at = 0;
	int err;

	if (mod->num_syms == 0)
		return 0;
	r->what = "the table of exports";
	err = reserve_exports(r->m, mod->num_syms);
	if (err == 0)
		err = kmodules_take(r, mod->syms,
				    (uint64_t)mod->num_syms * r->s->kernel_symbol_size, &at);
	if (err == 0)
		err = take_exports(r, at, mod);
	if (err < 0)
		return err;
	mod->exports = (uint32_t)r->m->exports_count;
	mod->exports_count = mod->num_syms;
	r->m->exports_count += mod->num_syms;
	return 0;
}

/* The struct bin_attribute at va. 1 when it was the build-id's. */
static int take_attribute(struct kmodules_reader *r, uint64_t va, struct kmodule *mod)
{
	const struct kstructs *s = r->s;
	char name[sizeof(NOTE_SECTION)];
	int err = paging_read(r->p, va, r->raw, s->bin_attribute_size);
	uint64_t n;

	if (err == 0)
		err = paging_read_str(r->p, raw_u64(r, s->bin_attribute_name), name, sizeof(name));
	if (err == -ENAMETOOLONG)
		return 0;
	if (err < 0 || strcmp(name, NOTE_SECTION) != 0)
		return err;
	n = raw_u64(r, s->bin_attribute_length);
	if (n > KMODULES_NOTE_MAX)
		return -EBADMSG;
	err = kmodules_take(r, raw_u64(r, s->bin_attribute_private), n, &mod->note);
	if (err < 0)
		return err;
	mod->note_len = (uint32_t)n;
	return 1;
}

/* To 6.13: the number, and the attributes one after the other. */
static int search_array(struct kmodules_reader *r, struct kmodule *mod)
{
	uint64_t va = mod->notes_attrs + r->s->notes_attrs_list;
	uint32_t n = 0;
	int err = paging_read_u32(r->p, mod->notes_attrs + r->s->notes_attrs_count, &n);

	for (uint32_t i = 0; err == 0 && i < n && i < NOTES_MOST; i++)
		err = take_attribute(r, va + (uint64_t)i * r->s->bin_attribute_size, mod);
	return err;
}

/* 6.14 and newer: an attribute_group, whose list of pointers ends with NULL. */
static int search_group(struct kmodules_reader *r, struct kmodule *mod)
{
	uint64_t list = 0, va = 0;
	int err = paging_read_u64(r->p, mod->notes_attrs + r->s->notes_attrs_bin_attrs, &list);

	for (unsigned i = 0; err == 0 && i < NOTES_MOST; i++) {
		err = paging_read_u64(r->p, list + (uint64_t)i * sizeof(va), &va);
		if (err < 0 || va == 0)
			break;
		err = take_attribute(r, va, mod);
	}
	return err;
}

static bool has_attributes(const struct kstructs *s)
{
	return s->bin_attribute_size != KSTRUCT_NONE && s->bin_attribute_name != KSTRUCT_NONE &&
	       s->bin_attribute_length != KSTRUCT_NONE && s->bin_attribute_private != KSTRUCT_NONE;
}

/* A note that is not where it should be, or swapped out, is no reason to go without symbols. */
int kmodules_read_note(struct kmodules_reader *r, struct kmodule *mod)
{
	const struct kstructs *s = r->s;
	int err = 0;

	r->what = "the build-id";
	if (mod->notes_attrs == 0 || !has_attributes(s))
		return 0;
	if (s->notes_attrs_count != KSTRUCT_NONE && s->notes_attrs_list != KSTRUCT_NONE)
		err = search_array(r, mod);
	else if (s->notes_attrs_bin_attrs != KSTRUCT_NONE)
		err = search_group(r, mod);
	return err > 0 || err == -EBUSY || kmodules_is_bad_data(err) ? 0 : err;
}
