/* RAM of a guest that writes into it what it likes, also between two reads of the same bytes.
 *
 * The first byte chooses a kernel (tests/unit/lib/kernelmaker.h), the second how it is read.
 * The rest are patches of 16 bytes: which thing in RAM, how far into it, what is there instead,
 * and whether that is so in each read of it or only in some.
 */
#include <errno.h>
#include <sanitizer/allocator_interface.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/kernel.h"
#include "symsrc/memory/knownkernel.h"
#include "symsrc/memory/ksyms.h"
#include "tests/unit/lib/kernelmaker.h"
#include "tests/unit/lib/modulemaker.h"

#define BUDGET	    ((uint64_t)1 << 30) /* bytes that an input may have read */
#define ONE_MAX	    (72u << 20)		/* of memory at once: a little more than the largest file */
#define ALL_MAX	    (192u << 20)	/* and together */
#define PATCHES_MAX 48
#define PATCH_SIZE  16
#define PATCH_BYTES 12
#define MODULES_VA  0xffffffffc0400000

static const struct {
	unsigned major, minor, levels;
	int modules; /* a layout of modulemaker's; -1: no BTF */
	bool wide_names;
} kinds[] = {
	{4, 4, 4, -1, false},
	{4, 19, 4, MODULEMAKER_PLAIN, false},
	{5, 10, 4, MODULEMAKER_OLD, false},
	{6, 1, 5, MODULEMAKER_OLD, true},
	{6, 3, 4, MODULEMAKER_OLD, false},
	{6, 12, 4, MODULEMAKER_NEW, true},
	{6, 16, 4, MODULEMAKER_NEW, false},
	{7, 2, 5, MODULEMAKER_NEW, true},
};
static struct kernelmaker *made[ARRAY_SIZE(kinds)];

struct patch {
	uint64_t gpa;
	size_t len;
	unsigned when, reads;
	uint8_t bytes[PATCH_BYTES];
};
static struct patch patches[PATCHES_MAX];
static size_t patch_count;

/* ---- kernels with modules ----------------------------------------------------------------------
 */

static const struct modulemaker_symbol symbols[] = {
	{"register_virtio_driver", MODULES_VA + 0x10, 't', true},
	{"virtio_bus", MODULES_VA + 0x3000, 'd', true},
	{"__UNIQUE_ID_license.0", MODULES_VA + 0x2000, 'r', false},
};
static const uint8_t note[] = {4, 0, 0,	  0,   4,   0, 0,    0,	   3, 0,
			       0, 0, 'G', 'N', 'U', 0, 0xde, 0xad, 1, 2};

static void add_modules(struct modulemaker *mm)
{
	struct modulemaker_module m = {.symbols = symbols,
				       .count = ARRAY_SIZE(symbols),
				       .size = 20480,
				       .note = note,
				       .note_len = sizeof(note)};
	static const char *const names[] = {"virtio", "virtio_net", "ext4"};
	uint64_t at[ARRAY_SIZE(names)];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		m.name = names[i];
		m.base = MODULES_VA + i * 0x100000;
		at[i] = modulemaker_add(mm, &m);
	}
	if (mm->s->module_source_list != KSTRUCT_NONE)
		modulemaker_use(mm, at[0], at[1]);
	if (mm->s->bpf_ksym_size != KSTRUCT_NONE)
		modulemaker_add_bpf(mm, "bpf_prog_6deef7357e7b4530_sd_devices", MODULES_VA);
}

static struct kernelmaker *make(size_t kind)
{
	struct kernelmaker_options o = kernelmaker_like(kinds[kind].major, kinds[kind].minor);
	const size_t size = KERNELMAKER_END - KERNELMAKER_FREE;
	CLEANUP_FREE uint8_t *mem = calloc(1, size);
	CLEANUP_FREE void *btf = NULL;
	struct kernelmaker *km;
	struct modulemaker mm;

	o.fillers = 800; /* few more than markers need: speed */
	o.levels = kinds[kind].levels;
	o.longest = kinds[kind].wide_names ? 300 : 0;
	if (kinds[kind].modules >= 0) {
		const struct kstructs *s = &modulemaker_layouts[kinds[kind].modules];

		modulemaker_init(&mm, s, mem, size, o.text_va + KERNELMAKER_FREE);
		add_modules(&mm);
		o.btf = btf = modulemaker_btf(s, &o.btf_len);
		o.roots = &mm.roots;
	}
	km = kernelmaker_create(&o);
	memcpy(kernelmaker_at(km, KERNELMAKER_FREE), mem, size);
	return km;
}

/* ---- what the guest writes ----------------------------------------------------------------------
 */

/* Where patches go: guest-physical. */
static uint64_t place(const struct kernelmaker *km, unsigned what)
{
	const uint64_t image = km->o.text_pa;
	const uint64_t places[] = {km->num_syms,
				   km->names,
				   km->markers,
				   km->token_table,
				   km->token_index,
				   km->offsets,
				   km->relative_base ? km->relative_base : km->offsets,
				   km->seqs ? km->seqs : km->names,
				   image,
				   image + KERNELMAKER_BANNER,
				   image + KERNELMAKER_NOTES,
				   image + KERNELMAKER_BTF,
				   image + KERNELMAKER_BTF, /* it is worth two */
				   km->root,
				   image + KERNELMAKER_END, /* page tables */
				   image + KERNELMAKER_UTS,
				   image + KERNELMAKER_VARS,
				   image + KERNELMAKER_FREE, /* modules */
				   image + KERNELMAKER_FREE,
				   image + KERNELMAKER_FREE,
				   km->o.trampoline,
				   km->vmcoreinfo,
				   0};

	return places[what % ARRAY_SIZE(places)];
}

/* 0: what; 1: length and when; 2, 3: how far, from the beginning; 4 to 15: bytes. */
static void take_patch(const struct kernelmaker *km, const uint8_t *p)
{
	struct patch *patch = &patches[patch_count++];

	*patch = (struct patch){.gpa = place(km, p[0]) + p[2] + 256u * p[3],
				.len = 1 + p[1] % PATCH_BYTES,
				.when = p[1] >> 6};
	memcpy(patch->bytes, p + 4, PATCH_BYTES);
}

static bool is_there(struct patch *p)
{
	p->reads++;
	switch (p->when) {
	case 0: return true;
	case 1: return p->reads > 1;
	case 2: return p->reads % 2 == 0;
	default: return p->reads > 2;
	}
}

static int write_patches(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < patch_count; i++) {
		struct patch *p = &patches[i];

		if (p->gpa >= gpa + n || p->gpa + p->len <= gpa || !is_there(p))
			continue;
		for (size_t k = 0; k < p->len; k++)
			if (p->gpa + k >= gpa && p->gpa + k < gpa + n)
				((uint8_t *)buf)[p->gpa + k - gpa] = p->bytes[k];
	}
	return 0;
}

/* ---- what must never happen
 * ----------------------------------------------------------------------- */

static size_t allocated;

static void on_malloc(const volatile void *p, size_t size)
{
	if (!p)
		return;
	allocated += size;
	if (size > ONE_MAX || allocated > ALL_MAX)
		abort();
}

static void on_free(const volatile void *p)
{
	size_t size = p ? __sanitizer_get_allocated_size((const void *)p) : 0;

	allocated -= size < allocated ? size : allocated;
}

struct order {
	enum guest_file file;
	size_t len;
	unsigned files;
};

static int begin(void *ctx, enum guest_file file, const char *module)
{
	struct order *o = ctx;

	if (file >= GUEST_FILE_COUNT || (file == GUEST_FILE_MODULE_NOTE) != (module != NULL))
		abort();
	if (module && (module[0] == '\0' || strchr(module, '/')))
		abort();
	if (++o->files > GUEST_FILE_COUNT + GUEST_MODULES_MOST)
		abort();
	o->file = file;
	o->len = 0;
	return 0;
}

static int data(void *ctx, const void *bytes, size_t n)
{
	struct order *o = ctx;
	const char *p = bytes;

	if (n == 0)
		abort();
	o->len += n;
	for (size_t i = 0;
	     i < n && (o->file == GUEST_FILE_KALLSYMS || o->file == GUEST_FILE_MODULES); i++)
		if ((p[i] < ' ' || p[i] > '~') && p[i] != '\n' && p[i] != '\t')
			abort();
	return o->len > guest_file_max(o->file) ? -EFBIG : 0;
}

static void check_why(int r, const struct errmsg *why)
{
	if (r < 0 && r != -ENOMEM && (why->code != r || why->text[0] == '\0'))
		abort();
}

/* ---- reading
 * --------------------------------------------------------------------------------------- */

static void read_symbols(struct kernelmaker *km, struct ram *ram, enum kernel_way way)
{
	struct order order = {.file = GUEST_FILE_KALLSYMS};
	const struct source_sink sink = {begin, data, &order};
	struct kernel_candidate c = kernelmaker_candidate(km, way);
	struct errmsg why = {0};
	struct ksyms *k = NULL;
	int r = ksyms_read(ram, &c, &k, &why);

	check_why(r, &why);
	if (r < 0)
		return;
	if (ksyms_count(k) == 0 || ksyms_count(k) > KSYMS_MAX ||
	    ksyms_anchors(k) < KSYMS_ANCHORS_MIN || !ksyms_layout(k))
		abort();
	ksyms_find(k, "modules");
	ksyms_deliver(k, &sink);
	ksyms_destroy(k);
}

static void read_kernel(struct ram *ram, bool quick)
{
	struct order order = {0};
	const struct source_sink sink = {begin, data, &order};
	struct kernel_mark mark;
	struct errmsg why = {0};
	struct kernel *k = NULL;
	int r = kernel_read(ram, NULL, quick, &k, &why);

	check_why(r, &why);
	if (r < 0)
		return;
	kernel_deliver(k, GUEST_FILES_ALL, &sink, &why);
	kernel_get_mark(k, &mark);
	kernel_destroy(k);
	kernel_look(ram, &mark);
	r = kernel_read(ram, &mark, quick, &k, &why); /* as if that boot were over */
	if (r == 0)
		kernel_destroy(k);
}

/* As if its symbols came from a file. */
static void find_known(struct kernelmaker *km, struct ram *ram)
{
	const uint64_t linked = km->o.text_va - 0x1000000;
	const struct known_kernel known = {linked, linked + KERNELMAKER_NOTES,
					   kernelmaker_at(km, KERNELMAKER_NOTES), 36};
	struct build_id other = {0};
	uint64_t slide;
	int r = knownkernel_find(ram, &known, false, &slide, &other);

	if (r > 0 || other.len > sizeof(other.bytes))
		abort();
}

static void read_all(struct kernelmaker *km, unsigned how)
{
	struct ram ram;

	ram_init(&ram, &kernelmaker_ops, km, NULL);
	ram.budget = BUDGET;
	switch (how % 6) {
	case 0: read_symbols(km, &ram, KERNEL_BY_TRAMPOLINE); break;
	case 1: read_symbols(km, &ram, KERNEL_BY_VMCOREINFO); break;
	case 2: read_symbols(km, &ram, KERNEL_BY_SIGNATURE); break;
	case 3: read_kernel(&ram, true); break;
	case 5: find_known(km, &ram); break;
	default: read_kernel(&ram, false); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct kernelmaker *km;
	size_t kind;

	if (size < 2)
		return 0;
	kind = bytes[0] % ARRAY_SIZE(kinds);
	if (!made[kind])
		made[kind] = make(kind);
	km = made[kind];
	patch_count = 0;
	for (size_t at = 2; at + PATCH_SIZE <= size && patch_count < PATCHES_MAX; at += PATCH_SIZE)
		take_patch(km, bytes + at);
	km->on_read = write_patches;
	allocated = 0;
	read_all(km, bytes[1]);
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
	return 0;
}
