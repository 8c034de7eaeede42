/* A guest's modules, of memory that is all forged, and changes once while it is read.
 *
 * Byte 0: which layout; bytes 1 and 2: before which read something changes; 3 and 4: where; 5:
 * how. The rest is the memory, from where modulemaker.c puts the roots. What comes out must be
 * text that our own parsers take. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/kallsyms.h"
#include "symsrc/memory/kmodules.h"
#include "symsrc/modules.h"
#include "tests/unit/lib/modulelayouts.h"

#define VA	  0xffffffffc0000000ULL
#define PAGE	  4096u
#define TABLES	  (4 * PAGE)
#define WINDOW	  (16 * PAGE)
#define HEADER	  6u
#define ROOT_SIZE 64u
#define TEXT_MAX  (256u << 20)
#define READS_MAX 1000000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	uint8_t bytes[TABLES + WINDOW];
	uint32_t reads, change_at, change_where;
	uint8_t change_how;
} guest;

static int read_bytes(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	(void)ctx;
	if (guest.reads++ == guest.change_at)
		guest.bytes[TABLES + guest.change_where % WINDOW] ^= guest.change_how;
	if (guest.reads > READS_MAX)
		abort();
	if (gpa > sizeof(guest.bytes) || n > sizeof(guest.bytes) - gpa)
		return -ENXIO;
	memcpy(buf, guest.bytes + gpa, n);
	return 0;
}

static int next_extent(void *ctx, uint64_t gpa, struct ram_extent *ret)
{
	(void)ctx;
	(void)gpa;
	(void)ret;
	return -ENOENT;
}

static const struct ram_ops ops = {read_bytes, next_extent, NULL};

static void put_entry(uint64_t table, uint64_t index, uint64_t pa)
{
	uint64_t entry = pa | 3;

	memcpy(guest.bytes + table + index * sizeof(entry), &entry, sizeof(entry));
}

static void make_guest(const uint8_t *data, size_t size)
{
	memset(guest.bytes, 0, sizeof(guest.bytes));
	for (unsigned level = 0; level < 3; level++)
		put_entry(level * PAGE, VA >> (39 - 9 * level) & 511, (level + 1) * PAGE);
	for (unsigned i = 0; i < WINDOW / PAGE; i++)
		put_entry(3 * PAGE, i, TABLES + i * PAGE);
	memcpy(guest.bytes + TABLES + ROOT_SIZE, data + HEADER, size - HEADER);
	guest.reads = 0;
	guest.change_at = data[1] | (uint32_t)data[2] << 8;
	guest.change_where = data[3] | (uint32_t)data[4] << 8;
	guest.change_how = data[5];
}

struct got {
	struct buf kallsyms, modules;
	enum guest_file file;
	size_t note_len;
};

static int begin(void *ctx, enum guest_file file, const char *module)
{
	struct got *got = ctx;

	if (module && !module_name_is_valid(module, strlen(module)))
		abort();
	got->file = file;
	got->note_len = 0;
	return 0;
}

static int take(void *ctx, const void *bytes, size_t n)
{
	struct got *got = ctx;

	if (n == 0)
		abort();
	if (got->file == GUEST_FILE_KALLSYMS)
		return buf_append(&got->kallsyms, bytes, n);
	if (got->file == GUEST_FILE_MODULES)
		return buf_append(&got->modules, bytes, n);
	got->note_len += n;
	if (got->note_len > KMODULES_NOTE_MAX)
		abort();
	return 0;
}

static void check_kallsyms(const struct buf *text)
{
	struct symtab_builder *b = symtab_builder_create();
	struct kallsyms k;
	struct buf copy;
	int r;

	buf_init(&copy, TEXT_MAX);
	kallsyms_init(&k, &copy, b);
	r = kallsyms_feed(&k, text->data, text->len, NULL);
	if (r == 0 && text->len > 0)
		r = kallsyms_finish(&k, NULL);
	if (r < 0 && r != -EACCES && r != -E2BIG)
		abort();
	symtab_builder_destroy(b);
	buf_deinit(&copy);
}

static int count_module(void *ctx, const struct module_line *m)
{
	(void)m;
	++*(size_t *)ctx;
	return 0;
}

static void check(const struct kmodules *m, struct paging *p)
{
	struct got got = {.file = GUEST_FILE_KALLSYMS};
	struct source_sink sink = {begin, take, &got};
	struct kmodules_mark mark;
	size_t count = 0;
	bool changed;

	buf_init(&got.kallsyms, TEXT_MAX);
	buf_init(&got.modules, TEXT_MAX);
	if (kmodules_deliver_kallsyms(m, &sink) == 0)
		check_kallsyms(&got.kallsyms);
	if (kmodules_deliver_modules(m, &sink) < 0 ||
	    modules_parse(got.modules.data, got.modules.len, count_module, &count, NULL) < 0 ||
	    count != kmodules_count(m))
		abort();
	if (kmodules_deliver_notes(m, &sink) < 0)
		abort();
	buf_deinit(&got.kallsyms);
	buf_deinit(&got.modules);
	kmodules_get_mark(m, &mark);
	if (kmodules_look(p, &mark, &changed) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kmodules_roots roots;
	struct kmodules *m = NULL;
	struct errmsg why = {0};
	struct paging p;
	struct ram ram;
	int r;

	if (size < HEADER || size > HEADER + WINDOW - ROOT_SIZE)
		return 0;
	make_guest(data, size);
	for (unsigned i = 0; i < KMODULES_ROOT_COUNT; i++)
		roots.va[i] = VA + ROOT_SIZE * (i + 1);
	ram_init(&ram, &ops, NULL, NULL);
	paging_init(&p, &ram, 0, 4);
	r = kmodules_read(&p, &modulemaker_layouts[data[0] % MODULELAYOUTS], &roots, &m, &why);
	if (r != why.code || (r == 0) != (m != NULL))
		abort();
	if (r < 0 && r != -EBADMSG && r != -EAGAIN)
		abort();
	if (m)
		check(m, &p);
	kmodules_destroy(m);
	return 0;
}
