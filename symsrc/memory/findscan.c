/* find_by_scan(): the two ways that look at all memory. */
#include "symsrc/memory/findkernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/ramscan.h"
#include "symsrc/memory/sights.h"

/* What a scan costs at most beyond looking once at every byte: each of these is a read or two.
 * Real guests have some 20 rows of digits in 512 MiB. */
#define LOOKS_MAX 16384u
#define WALKS_MAX 64u /* of VMCOREINFOs' page tables */

/* Boot loaders and firmware, looked for where there is no kernel: they touch little. */
#define SEARCHED_MAX ((uint64_t)64 << 20)
#define SEARCHED_IN  ((uint64_t)4 << 30) /* they also stay below this */

/* An ELF note (elf(5)): namesz, descsz, type, then its name, padded, then the text. */
#define NOTE_NAME    "VMCOREINFO"
#define NOTE_NAMESZ  sizeof(NOTE_NAME)
#define NOTE_NAME_AT 12u
#define NOTE_TEXT_AT 24u
#define LOW_END	     0xa0000u
#define ADDRESSES_32 0xffffffffu

#define TOKENS	     256u
#define INDEX_SIZE   (TOKENS * sizeof(uint16_t))
#define INDEX_GAP    16u		  /* between token table and index: alignment */
#define TOKENS_MAX   4096u		  /* bytes of all tokens behind '0'; really some 900 */
#define TABLE_BEFORE ((uint64_t)64 << 20) /* in front of the token table: names, offsets */
#define TABLE_BEHIND ((uint64_t)32 << 20) /* offsets, seqs_of_names */

struct scan {
	struct ram *ram;
	struct kernel_candidate *infos, *tables; /* max each */
	size_t max, infos_count, tables_count;
	struct ram_sights *sights;
	unsigned looks, walks;
};

/* ---- VMCOREINFO ----------------------------------------------------------------------------- */

static bool is_known(const struct scan *s, const struct vmcoreinfo *info)
{
	for (size_t i = 0; i < s->infos_count; i++) {
		const struct vmcoreinfo *have = &s->infos[i].info;

		if (have->stext == info->stext && have->phys_base == info->phys_base &&
		    have->root == info->root)
			return true;
	}
	return false;
}

/* Its page tables must be there and say the same as it does. */
static int add_info(struct scan *s, const struct vmcoreinfo *info)
{
	struct kernel_candidate c = {.way = KERNEL_BY_VMCOREINFO, .has_info = true, .info = *info};
	uint64_t distance = info->phys_base - IMAGE_VA_START; /* physical - virtual */
	int r;

	if (!info->root || s->walks >= WALKS_MAX || is_known(s, info))
		return 0;
	s->walks++;
	r = image_find(s->ram, info->root + distance, info->l5 ? 5 : 4, &c.image);
	if (r < 0)
		return r == -ENOENT || ramscan_may_go_on(r) ? 0 : r;
	if (c.image.pa - c.image.va == distance && image_pa(&c.image, info->stext) &&
	    s->infos_count < s->max)
		s->infos[s->infos_count++] = c;
	return 0;
}

static int look_at_info(struct scan *s, const char *text, size_t n)
{
	struct vmcoreinfo info;

	if (vmcoreinfo_parse(text, n, &info) < 0)
		return 0;
	if (info.stext <= ADDRESSES_32)
		sights_add(s->sights, SIGHT_LINUX_32BIT, info.release);
	if (info.stext < IMAGE_VA_START || info.stext >= IMAGE_VA_END || !info.has_phys_base)
		return 0;
	return add_info(s, &info);
}

/* ---- the token table of kallsyms ------------------------------------------------------------ */

/* The digits from '0' to '9', each ended by a NUL, are 20 bytes: whatever their alignment, four
 * of them begin at a multiple of 16. These are two digits and two NULs: whether the first is the
 * digit or the NUL. */
static inline bool may_be_digits(uint64_t word)
{
	uint32_t even = (uint32_t)word - ('0' | '1' << 16);
	uint32_t odd = (uint32_t)word - ((uint32_t)'1' << 8 | (uint32_t)'2' << 24);

	return (even <= 0x00070007 && even >> 16 == (even & 0xffff)) ||
	       (odd <= 0x07000700 && odd >> 16 == (odd & 0xffff));
}

static const char digits[] = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009"; /* and a NUL */

static uint16_t get_u16(const char *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The end of the strings from '0' on, or NULL. */
static const char *skip_tokens(const char *p, const char *end)
{
	for (unsigned i = '0'; p && i < TOKENS; i++) {
		p = memchr(p, '\0', (size_t)(end - p));
		p = p ? p + 1 : NULL;
	}
	return p;
}

/* Whether this is the index of the strings that begin with '0' at p: where each begins, counted
 * from the first of all. */
static bool is_index(const char *index, const char *p)
{
	unsigned first = get_u16(index + sizeof(uint16_t) * '0');
	const char *at = p;

	if (get_u16(index) != 0 || first < '0')
		return false;
	for (unsigned i = '0'; i < TOKENS; i++) {
		if (get_u16(index + sizeof(uint16_t) * i) != first + (size_t)(at - p))
			return false;
		at += strlen(at) + 1;
	}
	return true;
}

/* How far in front of '0' at p the table begins; 0: this is none. p: n bytes. */
static size_t table_offset(const char *p, size_t n)
{
	const char *end = p + n - INDEX_SIZE - INDEX_GAP;
	const char *behind = skip_tokens(p, end);

	for (unsigned gap = 0; behind && gap < INDEX_GAP; gap++) {
		if (is_index(behind + gap, p))
			return get_u16(behind + gap + sizeof(uint16_t) * '0');
	}
	return 0;
}

static void add_table(struct scan *s, uint64_t table)
{
	struct kernel_candidate c = {.way = KERNEL_BY_SIGNATURE, .token_table = table};

	for (size_t i = 0; i < s->tables_count; i++) {
		if (s->tables[i].token_table == table)
			return;
	}
	if (s->tables_count == s->max)
		return;
	c.image.pa = table > TABLE_BEFORE ? table - TABLE_BEFORE : 0;
	c.image.size = table + TABLE_BEHIND - c.image.pa;
	s->tables[s->tables_count++] = c;
}

/* gpa: of four of the digits' 20 bytes. */
static int look_at_digits(struct scan *s, uint64_t gpa)
{
	char bytes[sizeof(digits) + TOKENS_MAX + INDEX_GAP + INDEX_SIZE];
	uint64_t start = gpa - (gpa < sizeof(digits) ? gpa : sizeof(digits));
	const char *at;
	size_t offset;
	int r = ram_read(s->ram, start, bytes, sizeof(bytes));

	if (r < 0)
		return ramscan_may_go_on(r) ? 0 : r;
	at = memmem(bytes, 2 * sizeof(digits), digits, sizeof(digits));
	if (!at)
		return 0;
	offset = table_offset(at, (size_t)(bytes + sizeof(bytes) - at));
	start += (uint64_t)(at - bytes);
	if (offset > 0 && offset <= start)
		add_table(s, start - offset);
	return 0;
}

/* ---- the pass ------------------------------------------------------------------------------- */

static int look_at_word(struct scan *s, uint64_t gpa, uint64_t word)
{
	if (s->looks >= LOOKS_MAX)
		return 0;
	s->looks++;
	if (may_be_digits(word))
		return look_at_digits(s, gpa);
	return sights_look_at_banner(s->sights, s->ram, gpa);
}

static int look_at_start(struct scan *s, uint64_t gpa, const uint64_t *page)
{
	const char *text = (const char *)page;
	uint32_t name_size = (uint32_t)page[0];

	sights_look_at_page(s->sights, gpa, page);
	if (page[0] == SIGHT_WORD('O', 'S', 'R', 'E', 'L', 'E', 'A', 'S'))
		return look_at_info(s, text, RAM_PAGE);
	if (name_size == NOTE_NAMESZ && memcmp(text + NOTE_NAME_AT, NOTE_NAME, NOTE_NAMESZ) == 0)
		return look_at_info(s, text + NOTE_TEXT_AT, RAM_PAGE - NOTE_TEXT_AT);
	return 0;
}

static int look_at_page(struct scan *s, uint64_t gpa, const uint64_t *page)
{
	uint64_t any = 0;
	int r = look_at_start(s, gpa, page);

	for (size_t i = 0; r == 0 && i < RAM_PAGE / sizeof(*page); i += 2) {
		any |= page[i];
		if (may_be_digits(page[i]) || sight_may_be_banner(page[i]))
			r = look_at_word(s, gpa + i * sizeof(*page), page[i]);
	}
	s->sights->bytes += any ? RAM_PAGE : 0;
	return r;
}

static int look_at_chunk(void *ctx, uint64_t gpa, const uint64_t *words, size_t n)
{
	struct scan *s = ctx;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i += RAM_PAGE)
		r = look_at_page(s, gpa + i, words + i / sizeof(*words));
	/* That is certain, and the rest may be a lot. */
	return r == 0 && (s->sights->seen & SIGHT_WINDOWS) ? 1 : r;
}

/* ramscan() never comes by what is swapped out. Where CPUs are started says it for all. */
static int look_for_swapped(struct scan *s)
{
	uint64_t word;
	int r = 0;

	for (uint64_t page = 0; page < LOW_END; page += RAM_PAGE) {
		r = ram_read_u64(s->ram, page, &word);
		if (r == -EBUSY)
			sights_add(s->sights, SIGHT_SWAPPED, "");
		if (r < 0 && !ramscan_may_go_on(r))
			return r;
	}
	return 0;
}

/* What there is besides, where there is nothing that page tables confirm. */
static int look_for_others(struct scan *s)
{
	struct kernel_candidate unused;
	int r = find_by_trampoline(s->ram, &unused, 1);

	if (r < 0)
		return r;
	s->sights->running = r > 0;
	r = look_for_swapped(s);
	if (r == 0)
		r = sights_search(s->sights, s->ram, SEARCHED_IN, SEARCHED_MAX);
	return r;
}

static int scan(struct scan *s, uint64_t scanned_max)
{
	/* Whoever takes the candidates wants to read as well. */
	uint64_t affordable = s->ram->budget / 2;
	int r = ramscan(s->ram, scanned_max < affordable ? scanned_max : affordable, look_at_chunk,
			s);

	s->sights->running = s->infos_count > 0;
	return r < 0 || s->infos_count > 0 ? r : look_for_others(s);
}

int find_by_scan(struct ram *ram, uint64_t scanned_max, struct kernel_candidate *list, size_t max,
		 struct ram_sights *sights)
{
	CLEANUP_FREE struct kernel_candidate *tables = calloc(max, sizeof(*tables));
	struct scan s = {.ram = ram, .infos = list, .tables = tables, .max = max, .sights = sights};
	size_t room;
	int r;

	*sights = (struct ram_sights){0};
	if (!tables)
		return -ENOMEM;
	r = scan(&s, scanned_max);
	if (r < 0)
		return r;
	room = max - s.infos_count;
	if (s.tables_count > room)
		s.tables_count = room;
	memcpy(list + s.infos_count, tables, s.tables_count * sizeof(*tables));
	return (int)(s.infos_count + s.tables_count);
}
