#include "profiler/liveguest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/perfdata/format.h"
#include "profiler/perfdata/write.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

#define COMM_MAX 16 /* TASK_COMM_LEN */

struct livemodule {
	uint64_t base, size;
	const struct build_id *id; /* while the symbols are held */
	char name[MODULE_NAME_MAX];
};

void liveguest_deinit(struct liveguest *g)
{
	free(g->modules);
	*g = (struct liveguest){0};
}

/* ---- modules ------------------------------------------------------------------------------ */

struct listing {
	const struct symbols *symbols;
	size_t next_id; /* in their module_list, which is in the order of the text */
	size_t count, room;
	struct livemodule *modules;
};

static int list_module(void *ctx, const struct module_line *m)
{
	struct listing *l = ctx;
	const struct symbols *s = l->symbols;
	struct livemodule *to;

	if (m->base == 0 || l->count == SYMTAB_OBJECTS_MAX)
		return 0;
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct livemodule *more = reallocarray(l->modules, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->modules = more;
		l->room = room;
	}
	to = &l->modules[l->count++];
	*to = (struct livemodule){.base = m->base, .size = m->size};
	memcpy(to->name, m->name, sizeof(to->name));
	if (l->next_id < s->module_count && strcmp(s->module_list[l->next_id].name, m->name) == 0)
		to->id = &s->module_list[l->next_id++].id;
	return 0;
}

static int compare_modules(const void *a, const void *b)
{
	const struct livemodule *x = a, *y = b;

	if (x->base != y->base)
		return x->base < y->base ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* By address. A module's size is that of all its parts, which may lie elsewhere since Linux 6.4;
 * perf wants no two that overlap. */
static int list_modules(const struct symbols *s, struct livemodule **ret, size_t *ret_count)
{
	struct listing l = {.symbols = s};
	int r = 0;

	if (s->modules)
		r = modules_parse(s->modules->data, s->modules->size, list_module, &l, NULL);
	if (r == -ENOMEM) {
		free(l.modules);
		return r;
	}
	if (l.count)
		qsort(l.modules, l.count, sizeof(*l.modules), compare_modules);
	for (size_t i = 0; i < l.count; i++) {
		uint64_t beyond = i + 1 < l.count ? l.modules[i + 1].base : UINT64_MAX;
		uint64_t most = beyond - l.modules[i].base;

		if (l.modules[i].size > most)
			l.modules[i].size = most;
	}
	*ret = l.modules;
	*ret_count = l.count;
	return 0;
}

/* Whether it has been told; at: how far the list of those, which is sorted as the new ones are, was
 * looked through. */
static bool is_told(const struct liveguest *g, size_t *at, const struct livemodule *m)
{
	while (*at < g->module_count && compare_modules(&g->modules[*at], m) < 0)
		++*at;
	return *at < g->module_count && compare_modules(&g->modules[*at], m) == 0;
}

/* ---- records ------------------------------------------------------------------------------- */

static void write_id(struct buf *b, const struct guest *guest, const struct build_id *id,
		     const char *name)
{
	perfdata_write_guest_build_id(b, (uint32_t)guest->pid, id ? id->bytes : NULL,
				      id ? id->len : 0, name);
}

/* The end of the symbol that covers the module's first byte; 0: none does. */
static uint64_t end_of_first(const struct symtab *t, const struct livemodule *m,
			     struct symtab_hit *ret)
{
	uint64_t covered = m->base, beyond = m->base + m->size;
	struct symtab_hit hit;

	if (!symtab_find(t, m->base, ret) || ret->object_len != strlen(m->name) ||
	    memcmp(ret->object, m->name, ret->object_len) != 0)
		return 0;
	while (covered + 1 < beyond) {
		uint64_t middle = covered + (beyond - covered) / 2;

		if (symtab_find(t, middle, &hit) && hit.start == ret->start)
			covered = middle;
		else
			beyond = middle;
	}
	return beyond;
}

/* perf 6.1 forgets the first symbol of a module that it sees a sample of before it has seen one of
 * the kernel's own (tools/perf/util/symbol.c, maps__split_kallsyms()): that may be the hottest of
 * all. */
static void write_first_symbol(const struct symtab *t, const struct livemodule *m,
			       const struct guest *guest, uint64_t time, struct buf *b)
{
	struct perfdata_symbol s = {.pid = (uint32_t)guest->pid, .time = time, .start = m->base};
	struct symtab_hit hit;
	uint64_t end = end_of_first(t, m, &hit);
	char name[PERFDATA_NAME_MAX];

	if (end == 0 || end - m->base > UINT32_MAX)
		return;
	text_escape(name, sizeof(name), hit.name, hit.name_len);
	s.size = (uint32_t)(end - m->base);
	s.name = name;
	perfdata_write_guest_symbol(b, &s);
}

static void write_module(const struct symtab *t, const struct livemodule *m,
			 const struct guest *guest, uint64_t time, struct buf *b)
{
	char name[MODULE_NAME_MAX + 2];
	const struct perfdata_mmap map = {.misc = PERF_RECORD_MISC_GUEST_KERNEL,
					  .pid = (uint32_t)guest->pid,
					  .time = time,
					  .start = m->base,
					  .size = m->size,
					  .name = name};

	snprintf(name, sizeof(name), "[%s]", m->name);
	if (m->id)
		write_id(b, guest, m->id, name);
	perfdata_write_mmap(b, &map);
	write_first_symbol(t, m, guest, time, b);
}

/* The end of the kernel, its data and what it needs to start included. */
static uint64_t end_of(const struct symtab *t, uint64_t text)
{
	static const char *const names[] = {"_end", "_edata", "_etext"};
	uint64_t end;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (symtab_find_name(t, names[i], &end) && end > text)
			return end;
	}
	return text + (64u << 20);
}

/* perf looks for the guest's maps by the record of the kernel's build-id: one that is not known
 * has no bytes, and does for that. */
static void write_kernel(const struct guest *guest, const struct symbols *s, uint64_t time,
			 const char *symbol, uint64_t text, struct buf *b)
{
	char name[64];
	int n = snprintf(name, sizeof(name), PERFDATA_GUEST_KERNEL_PREFIX "%d]", (int)guest->pid);

	write_id(b, guest, &s->kernel_id, name);
	snprintf(name + n, sizeof(name) - (size_t)n, "%s", symbol);
	perfdata_write_mmap(b, &(struct perfdata_mmap){.misc = PERF_RECORD_MISC_GUEST_KERNEL,
						       .pid = (uint32_t)guest->pid,
						       .time = time,
						       .start = text,
						       .size = end_of(s->table, text) - text,
						       .reference = text,
						       .name = name});
}

/* Not what is at address 0: perf takes that for hidden. */
static const char *find_text(const struct symbols *s, uint64_t *ret)
{
	static const char *const names[] = {PERFDATA_REFERENCE_SYMBOL, "_stext"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (symtab_find_name(s->table, names[i], ret) && *ret)
			return names[i];
	}
	return NULL;
}

static void write_name(const struct guest *guest, uint32_t tid, uint16_t misc, const char *name,
		       struct buf *b)
{
	char comm[COMM_MAX];

	text_escape(comm, sizeof(comm), name, strlen(name));
	perfdata_write_comm(b, &(struct perfdata_task){.pid = (uint32_t)guest->pid, .tid = tid},
			    misc, comm);
}

static void write_names(struct liveguest *g, const struct guest *guest, struct buf *b)
{
	uint32_t pid = (uint32_t)guest->pid;

	if (g->named && g->vcpu_count == guest->vcpu_count)
		return;
	write_name(guest, pid, PERF_RECORD_MISC_USER, guest->vmm, b);
	write_name(guest, pid, PERF_RECORD_MISC_GUEST_USER, guest->name, b);
	for (size_t i = 0; i < guest->vcpu_count; i++)
		write_name(guest, (uint32_t)guest->vcpus[i].tid, PERF_RECORD_MISC_GUEST_USER,
			   guest->name, b);
	g->named = true;
	g->vcpu_count = guest->vcpu_count;
}

/* ---- what is new --------------------------------------------------------------------------- */

static void forget(struct liveguest *g)
{
	free(take_ptr(g->modules));
	g->module_count = 0;
	g->text = 0;
	/* perf finds the guest's threads only once it has heard of the guest. */
	g->named = false;
}

static int write_symbols(struct liveguest *g, const struct guest *guest, const struct symbols *s,
			 uint64_t time, struct buf *b)
{
	struct livemodule *modules;
	size_t count;
	uint64_t text;
	const char *symbol = find_text(s, &text);
	int r = list_modules(s, &modules, &count);

	if (r < 0)
		return r;
	if (symbol && text != g->text) {
		write_kernel(guest, s, time, symbol, text, b);
		g->text = text;
	}
	for (size_t i = 0, at = 0; i < count; i++) {
		if (!is_told(g, &at, &modules[i]))
			write_module(s->table, &modules[i], guest, time, b);
		modules[i].id = NULL; /* of the symbols */
	}
	free(g->modules);
	g->modules = modules;
	g->module_count = count;
	g->fetched_ns = s->fetched_ns;
	return 0;
}

/* The first that perf is told of a guest is for all its samples. Another boot's maps are for those
 * from its beginning on, if perf has not yet gone past it. */
static uint64_t time_of(const struct liveguest *g, const struct guest_entry *e, uint64_t flushed_ns)
{
	if (g->epoch == 0 || g->epoch == e->epoch || e->epoch_start_ns <= flushed_ns)
		return 0;
	return e->epoch_start_ns;
}

int liveguest_write(struct liveguest *g, const struct guest_entry *e, const struct symbols *symbols,
		    uint64_t flushed_ns, struct buf *b)
{
	int r = 0;

	if (symbols && (g->epoch != e->epoch || g->fetched_ns != symbols->fetched_ns)) {
		uint64_t time = time_of(g, e, flushed_ns);

		if (g->epoch != e->epoch)
			forget(g);
		r = write_symbols(g, e->guest, symbols, time, b);
		if (r == 0)
			g->epoch = e->epoch;
	}
	write_names(g, e->guest, b);
	return r;
}
