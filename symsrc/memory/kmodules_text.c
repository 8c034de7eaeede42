/* Modules and their symbols as the kernel's files in /proc show them. */
#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/kmodules_impl.h"

#define CHUNK	       (64u << 10)
#define LINE_MAX_BYTES (16 + 3 + SYMTAB_NAME_MAX + 2 + MODULE_NAME_MAX + 2)

static int flush(struct buf *b, const struct source_sink *sink)
{
	int err = b->err;

	if (err == 0 && b->len > 0)
		err = sink->data(sink->ctx, b->data, b->len);
	buf_clear(b);
	return err;
}

static char *put_hex(char *p, uint64_t v)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*p++ = "0123456789abcdef"[v >> shift & 15];
	return p;
}

static char *put(char *p, const char *s, size_t n)
{
	memcpy(p, s, n);
	return p + n;
}

/* "%px %c %s\t[%s]\n" (s_show(), kernel/kallsyms.c) */
static int put_symbol(struct buf *b, uint64_t value, char type, const char *name, size_t n,
		      const char *module)
{
	char *start = buf_reserve(b, LINE_MAX_BYTES), *p = start;

	if (!start)
		return b->err;
	p = put_hex(p, value);
	*p++ = ' ';
	*p++ = type;
	*p++ = ' ';
	p = put(p, name, n);
	p = put(p, "\t[", 2);
	p = put(p, module, strlen(module));
	p = put(p, "]\n", 2);
	buf_commit(b, (size_t)(p - start));
	return 0;
}

/* As kmodules_read_exports() sorts them: by value, then by name. name: n bytes. */
static int compare_export(const struct kmodules *m, const struct kexport *e, uint64_t value,
			  const char *name, size_t n)
{
	const char *export = kmodules_name(m, e->name);
	int order;

	if (e->value != value)
		return e->value < value ? -1 : 1;
	order = strncmp(export, name, n);
	return order == 0 && export[n] != '\0' ? 1 : order;
}

/* is_exported(): by value and name. */
static bool is_exported(const struct kmodules *m, const struct kmodule *mod, uint64_t value,
			const char *name, size_t n)
{
	size_t lo = 0, hi = mod->exports_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = compare_export(m, &m->exports[mod->exports + mid], value, name, n);

		if (order == 0)
			return true;
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static int put_symbol_of(struct buf *b, const struct kmodules *m, const struct kmodule *mod,
			 uint32_t i)
{
	char type = m->bytes.data[mod->types + i];
	const char *name;
	Elf64_Sym sym;
	size_t n;

	memcpy(&sym, m->bytes.data + mod->symtab + i * sizeof(sym), sizeof(sym));
	name = kmodules_name(m, mod->strings + sym.st_name);
	n = strnlen(name, m->name_max);
	if (n == 0)
		return 0;
	type = (char)(is_exported(m, mod, sym.st_value, name, n) ? toupper(type) : tolower(type));
	return put_symbol(b, sym.st_value, type, name, n, mod->name);
}

static int put_symbols_of(struct buf *b, const struct kmodules *m, const struct kmodule *mod,
			  const struct source_sink *sink)
{
	int err = 0;

	for (uint32_t i = 0; err == 0 && i < mod->symbols_count; i++) {
		err = put_symbol_of(b, m, mod, i);
		if (err == 0 && b->len > CHUNK)
			err = flush(b, sink);
	}
	return err;
}

static int put_extra(struct buf *b, const struct kmodules *m, const struct source_sink *sink)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < m->extra_count; i++) {
		const struct kextra *e = &m->extra[i];
		const char *name = e->shared ? e->shared : kmodules_name(m, e->name);

		err = put_symbol(b, e->value, 't', name, strlen(name), e->module);
		if (err == 0 && b->len > CHUNK)
			err = flush(b, sink);
	}
	return err;
}

int kmodules_deliver_kallsyms(const struct kmodules *m, const struct source_sink *sink)
{
	CLEANUP_BUF struct buf b;
	int err = 0;

	buf_init(&b, CHUNK + 2 * LINE_MAX_BYTES);
	for (size_t i = 0; err == 0 && i < m->count; i++)
		err = put_symbols_of(&b, m, &m->list[i], sink);
	if (err == 0)
		err = put_extra(&b, m, sink);
	return err == 0 ? flush(&b, sink) : err;
}

/* " 2 virtio_net,virtio_pci,", " 0 -", " - -" (print_unload_info(), kernel/module/procfs.c) */
static void put_users(struct buf *b, const struct kmodules *m, const struct kmodule *mod)
{
	if (!m->can_unload) {
		buf_append_str(b, " - -");
		return;
	}
	buf_printf(b, " %" PRId32 " ", mod->use_count);
	for (uint32_t i = 0; i < mod->uses_count; i++) {
		buf_append_str(b, m->list[m->uses[mod->uses + i]].name);
		buf_append_char(b, ',');
	}
	if (mod->permanent)
		buf_append_str(b, "[permanent],");
	else if (mod->uses_count == 0)
		buf_append_char(b, '-');
}

/* taint_flags[] of kernel/panic.c: those that a module can have. */
static const char taint_letters[] = {[0] = 'P',	 [1] = 'F',  [10] = 'C', [12] = 'O', [13] = 'E',
				     [15] = 'K', [16] = 'X', [17] = 'T', [18] = 'N', [19] = 'J'};

/* module_flags() */
static void put_taints(struct buf *b, const struct kmodule *mod)
{
	buf_append_str(b, " (");
	for (unsigned i = 0; i < ARRAY_SIZE(taint_letters); i++) {
		if (taint_letters[i] && mod->taints >> i & 1)
			buf_append_char(b, taint_letters[i]);
	}
	if (mod->state == STATE_GOING)
		buf_append_char(b, '-');
	if (mod->state == STATE_COMING)
		buf_append_char(b, '+');
	buf_append_char(b, ')');
}

static const char *const state_names[] = {
	[STATE_LIVE] = "Live", [STATE_COMING] = "Loading", [STATE_GOING] = "Unloading"};

/* m_show(), kernel/module/procfs.c */
static void put_module(struct buf *b, const struct kmodules *m, const struct kmodule *mod)
{
	buf_printf(b, "%s %" PRIu32, mod->name, mod->size);
	put_users(b, m, mod);
	buf_printf(b, " %s 0x%016" PRIx64, state_names[mod->state], mod->base);
	if (mod->taints)
		put_taints(b, mod);
	buf_append_char(b, '\n');
}

int kmodules_deliver_modules(const struct kmodules *m, const struct source_sink *sink)
{
	CLEANUP_BUF struct buf b;
	int err;

	buf_init(&b, GUEST_MODULES_MAX);
	err = sink->begin(sink->ctx, GUEST_FILE_MODULES, NULL);
	if (err < 0)
		return err;
	for (size_t i = 0; i < m->count; i++) {
		if (m->list[i].state != STATE_UNFORMED)
			put_module(&b, m, &m->list[i]);
	}
	return flush(&b, sink);
}

int kmodules_deliver_notes(const struct kmodules *m, const struct source_sink *sink)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct kmodule *mod = &m->list[i];
		int err = 0;

		if (mod->note_len > 0)
			err = sink->begin(sink->ctx, GUEST_FILE_MODULE_NOTE, mod->name);
		if (err == 0 && mod->note_len > 0)
			err = sink->data(sink->ctx, m->bytes.data + mod->note, mod->note_len);
		if (err < 0)
			return err;
	}
	return 0;
}
