/* Is it true? What can be checked against the guest's memory must agree, all of it: a table
 * that is shifted by one entry, or one of another kernel whose remains are there, decodes well. */
#include "symsrc/memory/ksyms_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/paging.h"

#define UTS_WINDOW 512u /* about the size of struct uts_namespace */

enum anchor_name {
	SYM_TEXT,
	SYM_STEXT,
	SYM_END,
	SYM_BANNER,
	SYM_UTS,
	SYM_INIT_TOP_PGT,    /* 4.13 and newer */
	SYM_INIT_LEVEL4_PGT, /* before */
	SYM_K_NUM_SYMS,	     /* kallsyms' own tables are symbols in 6.4 and newer */
	SYM_K_NAMES,
	SYM_K_MARKERS,
	SYM_K_TOKEN_TABLE,
	SYM_K_TOKEN_INDEX,
	SYM_K_OFFSETS,
	SYM_K_RELATIVE_BASE,
	SYM_COUNT
};

static const char *const anchor_names[SYM_COUNT] = {
	[SYM_TEXT] = "_text",
	[SYM_STEXT] = "_stext",
	[SYM_END] = "_end",
	[SYM_BANNER] = "linux_banner",
	[SYM_UTS] = "init_uts_ns",
	[SYM_INIT_TOP_PGT] = "init_top_pgt",
	[SYM_INIT_LEVEL4_PGT] = "init_level4_pgt",
	[SYM_K_NUM_SYMS] = "kallsyms_num_syms",
	[SYM_K_NAMES] = "kallsyms_names",
	[SYM_K_MARKERS] = "kallsyms_markers",
	[SYM_K_TOKEN_TABLE] = "kallsyms_token_table",
	[SYM_K_TOKEN_INDEX] = "kallsyms_token_index",
	[SYM_K_OFFSETS] = "kallsyms_offsets",
	[SYM_K_RELATIVE_BASE] = "kallsyms_relative_base",
};

const char *const *ksyms_anchor_names(size_t *ret_count)
{
	*ret_count = SYM_COUNT;
	return anchor_names;
}

/* An anchor's answer, beside negative errnos. */
enum { ABSENT, AGREES };

static bool has(const struct ksyms_case *c, enum anchor_name name)
{
	return c->index[name] >= 0;
}

/* 0 when there is no such symbol. */
static uint64_t address_of(const struct ksyms_case *c, enum anchor_name name)
{
	return has(c, name) ? c->addresses[c->index[name]] : 0;
}

static uint64_t to_pa(const struct kernel_image *image, uint64_t va)
{
	return va - image->va + image->pa;
}

static uint64_t to_va(const struct kernel_image *image, uint64_t pa)
{
	return pa - image->pa + image->va;
}

/* ---- the anchors: ABSENT, AGREES, -EBADMSG when it disagrees, or as ram_read() -----------------
 */

static int check_banner(const struct ksyms_case *c, struct kernel_image *image)
{
	static const char start[] = "Linux version ";
	uint64_t va = address_of(c, SYM_BANNER);
	char got[sizeof(start) - 1];
	int r;

	if (!has(c, SYM_BANNER))
		return ABSENT;
	r = ram_read(c->ram, to_pa(image, va), got, sizeof(got));
	if (r < 0)
		return r;
	return memcmp(got, start, sizeof(got)) == 0 ? AGREES : -EBADMSG;
}

/* struct uts_namespace begins with the names, or to 5.10 with a kref of 4 bytes. With
 * CONFIG_RANDSTRUCT they are somewhere in it, which says little. */
static int check_uts(const struct ksyms_case *c, struct kernel_image *image)
{
	static const char sysname[] = "Linux";
	uint64_t va = address_of(c, SYM_UTS);
	char got[UTS_WINDOW];
	int r;

	if (!has(c, SYM_UTS))
		return ABSENT;
	r = ram_read(c->ram, to_pa(image, va), got, sizeof(got));
	if (r < 0)
		return r;
	for (size_t at = 0; at + sizeof(sysname) <= sizeof(got); at += 4)
		if (memcmp(got + at, sysname, sizeof(sysname)) == 0)
			return at <= 4 ? AGREES : ABSENT;
	return -EBADMSG;
}

static int check_text(const struct ksyms_case *c, struct kernel_image *image)
{
	/* Of a signature the image is made from it. */
	if (!has(c, SYM_TEXT) || c->candidate->image.va == 0)
		return ABSENT;
	return address_of(c, SYM_TEXT) == image->va ? AGREES : -EBADMSG;
}

static int maps(struct paging *p, const struct kernel_image *image, uint64_t va)
{
	uint64_t pa, left;
	int r = paging_translate(p, va, &pa, &left);

	if (r < 0)
		return r;
	return pa == to_pa(image, va) ? AGREES : -EBADMSG;
}

static int check_root(const struct ksyms_case *c, struct kernel_image *image)
{
	unsigned first = image->levels ? image->levels : 4, last = image->levels ? first : 5;
	enum anchor_name name = has(c, SYM_INIT_TOP_PGT) ? SYM_INIT_TOP_PGT : SYM_INIT_LEVEL4_PGT;
	uint64_t va = address_of(c, name), banner = address_of(c, SYM_BANNER);
	struct paging p;
	int r = ABSENT;

	if (!has(c, name))
		return ABSENT;
	for (unsigned levels = first; levels <= last; levels++) {
		paging_init(&p, c->ram, to_pa(image, va), levels);
		r = maps(&p, image, image->va);
		if (r == AGREES && has(c, SYM_BANNER))
			r = maps(&p, image, banner);
		if (r == AGREES) {
			image->root = to_pa(image, va);
			image->levels = levels;
			return AGREES;
		}
		if (!ksyms_is_about_content(r))
			return r;
	}
	return -EBADMSG;
}

/* kallsyms' own symbols lead to where the tables were found. */
static int check_own(const struct ksyms_case *c, struct kernel_image *image)
{
	const struct {
		enum anchor_name name;
		uint64_t pa;
	} own[] = {
		{SYM_K_NUM_SYMS, c->names->num_syms},  {SYM_K_NAMES, c->names->names},
		{SYM_K_MARKERS, c->names->markers},    {SYM_K_TOKEN_TABLE, c->tokens->table},
		{SYM_K_TOKEN_INDEX, c->tokens->index}, {SYM_K_OFFSETS, c->guess->offsets},
		{SYM_K_RELATIVE_BASE, c->guess->base},
	};
	int r = ABSENT;

	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		if (!has(c, own[i].name))
			continue;
		if (own[i].pa == 0 || address_of(c, own[i].name) != to_va(image, own[i].pa))
			return -EBADMSG;
		r = AGREES;
	}
	return r;
}

static int equal(const struct ksyms_case *c, uint64_t told, enum anchor_name name)
{
	if (told == 0 || !has(c, name))
		return ABSENT;
	return told == address_of(c, name) ? AGREES : -EBADMSG;
}

static int check_info_text(const struct ksyms_case *c, struct kernel_image *image)
{
	(void)image;
	return equal(c, c->candidate->info.stext, SYM_STEXT);
}

static int check_info_uts(const struct ksyms_case *c, struct kernel_image *image)
{
	(void)image;
	return equal(c, c->candidate->info.init_uts_ns, SYM_UTS);
}

static int check_info_root(const struct ksyms_case *c, struct kernel_image *image)
{
	(void)image;
	return equal(c, c->candidate->info.root, SYM_INIT_TOP_PGT);
}

static int check_info_tables(const struct ksyms_case *c, struct kernel_image *image)
{
	const struct vmcoreinfo *info = &c->candidate->info;
	const struct {
		uint64_t told, pa;
	} tables[] = {
		{info->kallsyms_names, c->names->names},
		{info->kallsyms_num_syms, c->names->num_syms},
		{info->kallsyms_token_table, c->tokens->table},
		{info->kallsyms_token_index, c->tokens->index},
		{info->kallsyms_offsets, c->guess->offsets},
		{info->kallsyms_relative_base, c->guess->base},
	};
	int r = ABSENT;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		if (tables[i].told == 0)
			continue;
		if (tables[i].pa == 0 || tables[i].told != to_va(image, tables[i].pa))
			return -EBADMSG;
		r = AGREES;
	}
	return r;
}

/* What a kernel with functions alone (without CONFIG_KALLSYMS_ALL) still has. relative_base is
 * its first address, and next to the addresses: between them is what aligns it, zeros. */
static int check_base(const struct ksyms_case *c, struct kernel_image *image)
{
	uint64_t end = c->guess->offsets + (uint64_t)c->names->count * 4;
	uint32_t between = 0;
	int r = 0;

	if (c->base == 0 || c->base != image->va)
		return ABSENT;
	if (c->guess->base != end)
		r = ram_read_u32(c->ram, c->guess->base - sizeof(between), &between);
	if (r < 0)
		return r;
	return between == 0 ? AGREES : -EBADMSG;
}

/* The symbols' numbers sorted by name, 3 bytes each, high byte first: each of them once. */
static bool is_permutation(const uint8_t *p, uint32_t n, uint8_t *seen)
{
	for (uint32_t i = 0; i < n; i++, p += 3) {
		uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

		if (v >= n || (seen[v / 8] >> v % 8 & 1))
			return false;
		seen[v / 8] |= (uint8_t)(1u << v % 8);
	}
	return true;
}

/* seqs_of_names, in 6.4 and newer right behind: so the addresses end where they were thought to. */
static int check_seqs(const struct ksyms_case *c, struct kernel_image *image)
{
	uint64_t at = c->guess->base ? c->guess->base + 8
				     : c->guess->offsets + (uint64_t)c->names->count * 4;
	uint32_t n = c->names->count;
	struct ksyms_window w;
	uint8_t *seen;
	int r;

	(void)image;
	if (c->guess->meaning == KSYMS_ABSOLUTE || c->guess->offsets < c->tokens->index)
		return ABSENT;
	r = ksyms_window_read(c->ram, at, (size_t)n * 3, &w);
	if (r < 0)
		return r;
	seen = calloc(1, n / 8 + 1);
	if (!seen)
		r = -ENOMEM;
	else if (is_permutation(w.bytes, n, seen))
		r = AGREES;
	free(seen);
	ksyms_window_deinit(&w);
	return r;
}

/* strong: a table shifted by an entry could not agree. last: asked only where the others are too
 * few, and where the image is; it says nothing on that. */
static const struct anchor {
	int (*check)(const struct ksyms_case *c, struct kernel_image *image);
	bool strong, of_info, last;
	const char *against;
} anchors[] = {
	{check_banner, true, false, false, "linux_banner does not lead to the kernel's banner"},
	{check_text, false, false, false, "_text is not where the image begins"},
	{check_uts, true, false, false, "init_uts_ns does not lead to the name Linux"},
	{check_root, true, false, false, "the kernel's page table does not lead to its image"},
	{check_own, true, false, false, "kallsyms' own symbols lead elsewhere"},
	{check_info_text, false, true, false, "VMCOREINFO has another _stext"},
	{check_info_uts, true, true, false, "VMCOREINFO has another init_uts_ns"},
	{check_info_root, true, true, false, "VMCOREINFO has another page table"},
	{check_info_tables, true, true, false, "VMCOREINFO has the tables elsewhere"},
	{check_base, true, false, true, "there are more addresses than symbols"},
	{check_seqs, true, false, true, ""},
};

/* Of several that fail, the one that came furthest says why. */
static void note(struct ksyms_verdict *v, unsigned agreed, const char *reason)
{
	if (agreed < v->anchors)
		return;
	v->anchors = agreed;
	v->reason = reason;
}

static int check_all(const struct ksyms_case *c, struct kernel_image *image,
		     struct ksyms_verdict *v)
{
	unsigned agreed = 1; /* the addresses ascend */
	bool strong = false;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(anchors); i++) {
		if (anchors[i].of_info && !c->candidate->has_info)
			continue;
		if (anchors[i].last && (agreed >= KSYMS_ANCHORS_MIN || c->candidate->image.va == 0))
			continue;
		r = anchors[i].check(c, image);
		if (r < 0) {
			note(v, agreed, anchors[i].against);
			return ksyms_is_about_content(r) ? -EBADMSG : r;
		}
		agreed += r == AGREES;
		strong |= r == AGREES && anchors[i].strong;
	}
	note(v, agreed, "too little in it can be checked");
	return agreed >= KSYMS_ANCHORS_MIN && strong ? 0 : -EBADMSG;
}

/* ---- where the image is, when only its tables were found ------------------------------------- */

static uint64_t image_size(const struct ksyms_case *c, uint64_t va)
{
	uint64_t end = address_of(c, SYM_END);

	return end > va && end - va <= 2 * (uint64_t)IMAGE_SIZE_MAX ? end - va : IMAGE_SIZE_MAX;
}

/* The addresses are virtual: try each place in RAM from which the tables can be reached. */
static int check_places(const struct ksyms_case *c, struct kernel_image *ret_image,
			struct ksyms_verdict *v)
{
	uint64_t va = address_of(c, SYM_TEXT), tables = c->tokens->table;
	int r, swapped = 0;

	note(v, 0, "its image is not found");
	if (va < IMAGE_VA_START || va >= IMAGE_VA_END)
		return -EBADMSG;
	for (uint64_t below = 0; below < 2 * (uint64_t)IMAGE_SIZE_MAX; below += IMAGE_ALIGN) {
		struct kernel_image image = {.va = va, .size = image_size(c, va)};
		uint64_t pa = tables - tables % IMAGE_ALIGN + va % IMAGE_ALIGN;

		if (pa < below)
			break;
		image.pa = pa - below;
		r = check_all(c, &image, v);
		if (r == 0)
			*ret_image = image;
		if (r == -EBUSY)
			swapped = r;
		else if (!ksyms_is_about_content(r)) /* also when all is well */
			return r;
	}
	return swapped ? swapped : -EBADMSG;
}

/* Where the page table at this place has that page, of all where an image may begin. */
static int find_va(struct ram *ram, uint64_t root, unsigned levels, uint64_t pa, uint64_t *ret)
{
	uint64_t va = IMAGE_VA_START + pa % IMAGE_ALIGN, got, left;
	struct paging p;
	int r;

	paging_init(&p, ram, root, levels);
	for (; va < IMAGE_VA_END; va += IMAGE_ALIGN) {
		r = paging_translate(&p, va, &got, &left);
		if (r < 0 && !ksyms_is_about_content(r))
			return r;
		if (r == 0 && got == pa) {
			*ret = va;
			return 0;
		}
	}
	return -ENOENT;
}

/* The addresses are physical, since each entry says how far away its symbol is: the page table
 * among them leads to the virtual ones. */
static int check_slides(const struct ksyms_case *c, struct kernel_image *ret_image,
			struct ksyms_verdict *v)
{
	uint64_t pa = address_of(c, SYM_TEXT), root = address_of(c, SYM_INIT_TOP_PGT), va = 0;
	struct kernel_image image;
	int r = -ENOENT;

	note(v, 0, "its image is not found");
	if (pa == 0 || root == 0)
		return -EBADMSG;
	for (unsigned levels = 4; r == -ENOENT && levels <= 5; levels++)
		r = find_va(c->ram, root, levels, pa, &va);
	if (r < 0)
		return ksyms_is_about_content(r) ? -EBADMSG : r;
	for (uint32_t i = 0; i < c->names->count; i++)
		c->addresses[i] += va - pa;
	image = (struct kernel_image){.va = va, .pa = pa, .size = image_size(c, va)};
	r = check_all(c, &image, v);
	if (r == 0)
		*ret_image = image;
	return r;
}

int ksyms_check(const struct ksyms_case *c, struct kernel_image *ret_image,
		struct ksyms_verdict *verdict)
{
	struct kernel_image image = c->candidate->image;
	int r;

	if (image.va == 0 && c->guess->meaning == KSYMS_PLACE)
		return check_slides(c, ret_image, verdict);
	if (image.va == 0)
		return check_places(c, ret_image, verdict);
	r = check_all(c, &image, verdict);
	if (r == 0)
		*ret_image = image;
	return r;
}
