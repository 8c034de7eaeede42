#include "tests/unit/lib/kernelmaker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/lib/kernelmaker_tables.h"

#define MAIN_SIZE (KERNELMAKER_END + KERNELMAKER_ROOM)

#define ENTRY_TABLE 0x63ull /* _KERNPG_TABLE: present, writable, accessed, dirty */
#define ENTRY_LARGE 0x80ull
#define LARGE_PAGE  0x200000u
#define TOP_ENTRY   511u

/* Variables in KERNELMAKER_VARS, 64 bytes each. */
static const struct {
	const char *name;
	uint64_t value;
} variables[] = {
	{"modules", 0}, /* a list: points to itself */
	{"jiffies_64", 0xfffb6c20},
	{"max_pfn", 0}, /* put in later */
	{"sysctl_bootid", 0x4711471147114711},
	{"ptr_key", 0x0123456789abcdef},
	{"page_offset_base", 0xffff888000000000},
	{"mod_tree", 0},
	{"bpf_kallsyms", 0}, /* a list */
	{"bpf_jit_kallsyms", 0},
	{"bpf_jit_harden", 0},
};

/* ---- options ---------------------------------------------------------------------------------
 */

struct kernelmaker_options kernelmaker_like(unsigned major, unsigned minor)
{
	unsigned v = major << 8 | minor;
	struct kernelmaker_options o = {
		.order = v < 0x604 ? KERNELMAKER_BEFORE : KERNELMAKER_BEHIND,
		.meaning = v < 0x406   ? KERNELMAKER_ABSOLUTE
			   : v < 0x60f ? KERNELMAKER_PERCPU
			   : v < 0x700 ? KERNELMAKER_RELATIVE
				       : KERNELMAKER_PLACE,
		.seqs = v < 0x602   ? KERNELMAKER_SEQS_NONE
			: v < 0x604 ? KERNELMAKER_SEQS_MIDDLE
				    : KERNELMAKER_SEQS_LAST,
		.align = v < 0x700 ? 8 : 4,
		.marker_bytes = v < 0x414 ? 8 : 4,
		.wide = v >= 0x601,
		.fillers = 1500,
		.data_symbols = true,
		.own_symbols = v >= 0x604,
		.text_va = 0xffffffff9ac00000,
		.text_pa = 0x8400000,
		.levels = 4,
		.trampoline = 0x99000,
		.vmcoreinfo = true,
		.info_has_tables = v >= 0x600,
		.uts_offset = v < 0x50b ? 4 : 0,
	};

	snprintf(o.release, sizeof(o.release), "%u.%u.0-forged", major, minor);
	return o;
}

/* ---- RAM --------------------------------------------------------------------------------------
 */

static void *find_ram(struct kernelmaker *km, uint64_t gpa, size_t n)
{
	if (gpa <= KERNELMAKER_LOW_SIZE && n <= KERNELMAKER_LOW_SIZE - gpa)
		return km->low + gpa;
	if (gpa >= km->o.text_pa && gpa - km->o.text_pa <= MAIN_SIZE &&
	    n <= MAIN_SIZE - (gpa - km->o.text_pa))
		return km->main + (gpa - km->o.text_pa);
	return NULL;
}

static int read_ram(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	struct kernelmaker *km = ctx;
	const void *from = find_ram(km, gpa, n);

	if (!from)
		return -ENXIO;
	memcpy(buf, from, n);
	return km->on_read ? km->on_read(km->on_read_ctx, gpa, buf, n) : 0;
}

static int next_ram(void *ctx, uint64_t gpa, struct ram_extent *ret)
{
	struct kernelmaker *km = ctx;
	uint64_t end = km->o.text_pa + MAIN_SIZE;

	if (gpa >= end)
		return -ENOENT;
	if (gpa < KERNELMAKER_LOW_SIZE)
		*ret = (struct ram_extent){gpa, KERNELMAKER_LOW_SIZE - gpa};
	else if (gpa < km->o.text_pa)
		*ret = (struct ram_extent){km->o.text_pa, MAIN_SIZE};
	else
		*ret = (struct ram_extent){gpa, end - gpa};
	return 0;
}

const struct ram_ops kernelmaker_ops = {read_ram, next_ram, NULL};

void *kernelmaker_ram(struct kernelmaker *km, uint64_t gpa)
{
	void *p = find_ram(km, gpa, 1);

	if (!p)
		abort();
	return p;
}

void *kernelmaker_at(struct kernelmaker *km, uint32_t offset)
{
	return kernelmaker_ram(km, km->o.text_pa + offset);
}

uint64_t kernelmaker_alloc(struct kernelmaker *km, size_t bytes)
{
	uint64_t gpa = km->o.text_pa + km->used;

	km->used += (bytes + RAM_PAGE - 1) & ~(size_t)(RAM_PAGE - 1);
	if (km->used > MAIN_SIZE)
		abort();
	return gpa;
}

/* ---- page tables --------------------------------------------------------------------------------
 */

static uint64_t *entry_of(struct kernelmaker *km, uint64_t table, uint64_t va, unsigned level)
{
	return (uint64_t *)kernelmaker_ram(km, table) + ((va >> (12 + 9 * (level - 1))) & 511);
}

/* Maps one page; level 1: of 4 KiB, 2: of 2 MiB. */
static void map_page(struct kernelmaker *km, uint64_t root, uint64_t va, uint64_t gpa,
		     unsigned level)
{
	uint64_t table = root, *entry;

	for (unsigned at = km->o.levels; at > level; at--) {
		entry = entry_of(km, table, va, at);
		if (*entry == 0)
			*entry = kernelmaker_alloc(km, RAM_PAGE) | ENTRY_TABLE;
		table = *entry & ~0xfffull;
	}
	*entry_of(km, table, va, level) = gpa | ENTRY_TABLE | (level > 1 ? ENTRY_LARGE : 0);
}

void kernelmaker_map(struct kernelmaker *km, uint64_t va, uint64_t gpa, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += RAM_PAGE)
		map_page(km, km->root, va + at, gpa + at, 1);
}

static void map_image(struct kernelmaker *km)
{
	km->root = km->o.text_pa + KERNELMAKER_PGT;
	for (uint64_t at = 0; at < KERNELMAKER_DATA; at += LARGE_PAGE)
		map_page(km, km->root, km->o.text_va + at, km->o.text_pa + at, 2);
	kernelmaker_map(km, km->o.text_va + KERNELMAKER_DATA, km->o.text_pa + KERNELMAKER_DATA,
			KERNELMAKER_END - KERNELMAKER_DATA);
}

/* As arch/x86/realmode/init.c leaves it: the kernel's top entry and the page itself. */
static void put_trampoline(struct kernelmaker *km)
{
	uint64_t page = km->o.trampoline, *entries = kernelmaker_ram(km, page);

	map_page(km, page, page, page, 1);
	entries[TOP_ENTRY] = ((uint64_t *)kernelmaker_ram(km, km->root))[TOP_ENTRY];
}

/* ---- what the kernel says of itself
 * ---------------------------------------------------------------
 */

static void put_uts(struct kernelmaker *km)
{
	char *name = (char *)kernelmaker_at(km, KERNELMAKER_UTS) + km->o.uts_offset;

	/* struct new_utsname: six of 65 bytes */
	strcpy(name, "Linux");
	strcpy(name + 65, "forged");
	memcpy(name + 130, km->o.release, strlen(km->o.release));
	strcpy(name + 195, "#1 SMP");
	strcpy(name + 260, "x86_64");
}

static void put_banner(struct kernelmaker *km)
{
	snprintf(km->banner, sizeof(km->banner),
		 "Linux version %s (kernelmaker@forge) (gcc, ld) #1 SMP Thu Jan  1 00:00:00 UTC "
		 "1970\n",
		 km->o.release);
	memcpy(kernelmaker_at(km, KERNELMAKER_BANNER), km->banner, strlen(km->banner));
}

/* One note: GNU, build-id, 20 bytes. */
static const uint8_t notes[] = {4,   0,	  0,   0, 20,	0,    0,    0,	  3,  0,  0,  0,
				'G', 'N', 'U', 0, 0xb0, 0x0b, 0xb1, 0x1d, 1,  2,  3,  4,
				5,   6,	  7,   8, 9,	10,   11,   12,	  13, 14, 15, 16};

static void put_variables(struct kernelmaker *km)
{
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		uint32_t offset = KERNELMAKER_VARS + (uint32_t)i * 64;
		uint64_t va = km->o.text_va + offset, *at = kernelmaker_at(km, offset);
		bool list = strcmp(variables[i].name, "modules") == 0 ||
			    strcmp(variables[i].name, "bpf_kallsyms") == 0;

		at[0] = list ? va : variables[i].value;
		at[1] = list ? va : variables[i].value;
		if (strcmp(variables[i].name, "max_pfn") == 0)
			at[0] = (km->o.text_pa + MAIN_SIZE) / RAM_PAGE;
	}
}

static void add_info(char *text, const char *name, uint64_t value)
{
	size_t n = strlen(text);

	snprintf(text + n, VMCOREINFO_MAX - n, "SYMBOL(%s)=%llx\n", name,
		 (unsigned long long)value);
}

static void add_table(const struct kernelmaker *km, char *text, const char *name, uint64_t gpa)
{
	if (gpa)
		add_info(text, name, gpa - km->o.text_pa + km->o.text_va);
}

static void make_info(const struct kernelmaker *km, char *text)
{
	int64_t phys_base = (int64_t)(km->o.text_pa - (km->o.text_va - IMAGE_VA_START));

	snprintf(text, VMCOREINFO_MAX,
		 "OSRELEASE=%s\nBUILD-ID=b00bb11d0102030405060708090a0b0c0d0e0f10\nPAGESIZE=4096\n",
		 km->o.release);
	add_info(text, "init_uts_ns", km->o.text_va + KERNELMAKER_UTS);
	add_info(text, "_stext", km->o.text_va);
	add_info(text, "init_top_pgt", km->o.text_va + KERNELMAKER_PGT);
	if (km->o.info_has_tables) {
		add_table(km, text, "kallsyms_names", km->names);
		add_table(km, text, "kallsyms_num_syms", km->num_syms);
		add_table(km, text, "kallsyms_token_table", km->token_table);
		add_table(km, text, "kallsyms_token_index", km->token_index);
		add_table(km, text, "kallsyms_offsets", km->offsets);
		add_table(km, text, "kallsyms_relative_base", km->relative_base);
	}
	snprintf(text + strlen(text), VMCOREINFO_MAX - strlen(text),
		 "NUMBER(phys_base)=%lld\nNUMBER(pgtable_l5_enabled)=%d\nKERNELOFFSET=%llx\n",
		 (long long)phys_base, km->o.levels == 5,
		 (unsigned long long)(km->o.text_va - 0xffffffff81000000));
}

/* The data page, and vmcoreinfo_note: an ELF note in another. */
static void put_info(struct kernelmaker *km)
{
	static const uint8_t name[12] = "VMCOREINFO";
	char text[VMCOREINFO_MAX];
	uint32_t head[3] = {11, 0, 0};
	uint8_t *note;
	size_t n;

	make_info(km, text);
	n = strlen(text);
	head[1] = (uint32_t)n;
	km->vmcoreinfo = kernelmaker_alloc(km, RAM_PAGE);
	memcpy(kernelmaker_ram(km, km->vmcoreinfo), text, n);
	note = kernelmaker_ram(km, kernelmaker_alloc(km, 2 * (size_t)RAM_PAGE));
	memcpy(note, head, sizeof(head));
	memcpy(note + sizeof(head), name, sizeof(name));
	memcpy(note + sizeof(head) + sizeof(name), text, n);
}

/* ---- symbols ----------------------------------------------------------------------------------
 */

static bool is_root(const char *name)
{
	for (size_t i = 0; i < KMODULES_ROOT_COUNT; i++)
		if (strcmp(kmodules_root_names[i], name) == 0)
			return true;
	return false;
}

static void add_variables(struct kernelmaker_table *t, const struct kernelmaker *km)
{
	const struct kmodules_roots *roots = km->o.roots;

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		if (!roots || !is_root(variables[i].name))
			kernelmaker_table_add(t, km->o.text_va + KERNELMAKER_VARS + i * 64, 'd',
					      variables[i].name);
	for (size_t i = 0; roots && i < KMODULES_ROOT_COUNT; i++)
		if (roots->va[i])
			kernelmaker_table_add(t, roots->va[i], 'd', kmodules_root_names[i]);
}

static void add_data_symbols(struct kernelmaker_table *t, const struct kernelmaker *km)
{
	uint64_t va = km->o.text_va;

	kernelmaker_table_add(t, va + KERNELMAKER_RODATA, 'D', "__start_rodata");
	kernelmaker_table_add(t, va + KERNELMAKER_BANNER, 'D', "linux_banner");
	kernelmaker_table_add(t, va + KERNELMAKER_NOTES, 'R', "__start_notes");
	kernelmaker_table_add(t, va + KERNELMAKER_NOTES + sizeof(notes), 'R', "__stop_notes");
	if (km->o.btf) {
		kernelmaker_table_add(t, va + KERNELMAKER_BTF, 'R', "__start_BTF");
		kernelmaker_table_add(t, va + KERNELMAKER_BTF + km->o.btf_len, 'R', "__stop_BTF");
	}
	kernelmaker_table_add(t, va + KERNELMAKER_PGT, 'D', "init_top_pgt");
	kernelmaker_table_add(t, va + KERNELMAKER_UTS, 'D', "init_uts_ns");
	add_variables(t, km);
	kernelmaker_table_add(t, va + KERNELMAKER_END, 'B', "_end");
}

static void add_symbols(struct kernelmaker_table *t, const struct kernelmaker *km)
{
	uint64_t va = km->o.text_va;

	if (km->o.meaning == KERNELMAKER_PERCPU || km->o.meaning == KERNELMAKER_ABSOLUTE) {
		kernelmaker_table_add(t, 0, 'A', "fixed_percpu_data");
		kernelmaker_table_add(t, 0, 'A', "__per_cpu_start");
		kernelmaker_table_add(t, 0x1000, 'A', "cpu_debug_store");
		kernelmaker_table_add(t, 0x36000, 'A', "__per_cpu_end");
	}
	kernelmaker_table_add(t, va, 'T', "_stext");
	kernelmaker_table_add(t, va, 'T', "_text");
	kernelmaker_table_add_fillers(t, va + 0x1000, va + KERNELMAKER_RODATA - 0x1000,
				      km->o.fillers, km->o.longest);
	kernelmaker_table_add(t, va + KERNELMAKER_RODATA - 0x800, 't', "free_module");
	kernelmaker_table_add(t, va + KERNELMAKER_RODATA - 0x400, 'T', "_etext");
	if (km->o.data_symbols)
		add_data_symbols(t, km);
	for (size_t i = 0; i < km->o.extras; i++)
		kernelmaker_table_add(t, va + km->o.extra[i].offset, km->o.extra[i].type,
				      km->o.extra[i].name);
}

static void put_kallsyms(struct kernelmaker *km)
{
	struct kernelmaker_table *t = kernelmaker_table_create();

	add_symbols(t, km);
	kernelmaker_table_write(t, km);
	kernelmaker_table_destroy(t);
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

struct kernelmaker *kernelmaker_create(const struct kernelmaker_options *o)
{
	struct kernelmaker *km = calloc(1, sizeof(*km));

	if (!km || o->text_va % LARGE_PAGE || o->text_pa % LARGE_PAGE ||
	    o->text_pa < KERNELMAKER_LOW_SIZE || o->btf_len > KERNELMAKER_DATA - KERNELMAKER_BTF)
		abort();
	km->o = *o;
	km->used = KERNELMAKER_END;
	km->low = calloc(1, KERNELMAKER_LOW_SIZE);
	km->main = calloc(1, MAIN_SIZE);
	if (!km->low || !km->main)
		abort();
	map_image(km);
	put_banner(km);
	put_uts(km);
	put_variables(km);
	memcpy(kernelmaker_at(km, KERNELMAKER_NOTES), notes, sizeof(notes));
	if (o->btf)
		memcpy(kernelmaker_at(km, KERNELMAKER_BTF), o->btf, o->btf_len);
	put_kallsyms(km);
	if (o->trampoline)
		put_trampoline(km);
	if (o->vmcoreinfo)
		put_info(km);
	return km;
}

void kernelmaker_destroy(struct kernelmaker *km)
{
	if (!km)
		return;
	free(km->low);
	free(km->main);
	free(km->kallsyms);
	free(km);
}

static void take_info(const struct kernelmaker *km, struct kernel_candidate *c)
{
	char text[VMCOREINFO_MAX];

	make_info(km, text);
	if (vmcoreinfo_parse(text, strlen(text), &c->info) < 0)
		abort();
	c->has_info = true;
}

struct kernel_candidate kernelmaker_candidate(const struct kernelmaker *km, enum kernel_way way)
{
	struct kernel_candidate c = {.way = way,
				     .image = {.va = km->o.text_va,
					       .pa = km->o.text_pa,
					       .size = KERNELMAKER_END,
					       .root = km->root,
					       .levels = km->o.levels}};

	switch (way) {
	case KERNEL_BY_TRAMPOLINE:
		c.image.root = c.trampoline = km->o.trampoline;
		c.maps_itself = true;
		break;
	case KERNEL_BY_VMCOREINFO: take_info(km, &c); break;
	case KERNEL_BY_SIGNATURE:
		c.image = (struct kernel_image){.pa = km->o.text_pa, .size = MAIN_SIZE};
		c.token_table = km->token_table;
		break;
	}
	return c;
}
