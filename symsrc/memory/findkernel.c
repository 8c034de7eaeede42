#include "symsrc/memory/findkernel.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "symsrc/memory/paging.h"

/* Where the trampoline can be: reserve_real_mode() wants it below 1 MiB, and RAM ends at the
 * VGA memory. */
#define LOW_START    RAM_PAGE
#define LOW_END	     0xa0000u
#define TOP_ENTRY    (511 * sizeof(uint64_t)) /* offset of a table's last entry */
#define LEVELS_FIRST 4u
#define LEVELS_LAST  5u

/* Bits of an entry for a table that no kernel sets: 52 to 62, and those of a large page. */
#define ENTRY_NEVER (0x7ff0000000000000ULL | PAGING_LARGE)

/* Real ones are one to three: the trampoline, and before 5.13 what processes had down there. */
#define WALKS_MAX 64u

struct trampoline_search {
	struct ram *ram;
	struct kernel_candidate *list; /* best first */
	size_t max, count;
	unsigned walks;
};

/* What a read says of the guest's state rather than of the way to it: that there is nothing to
 * be had here. */
static bool is_nothing_there(int r)
{
	return r == -ENOENT || r == -EFAULT || r == -ENXIO || r == -EBUSY || r == -EIO;
}

/* As _KERNPG_TABLE and _PAGE_TABLE are; nothing can have tables in the first MiB. */
static bool is_entry_for_table(uint64_t entry)
{
	const uint64_t flags = PAGING_PRESENT | PAGING_WRITABLE;

	return (entry & flags) == flags && !(entry & ENTRY_NEVER) && !(entry >> 63) &&
	       (entry & PAGING_ADDRESS) >= LOW_END;
}

/* CPUs come out of the trampoline with paging on: it maps itself where it is. A process's top
 * table, which also has the kernel's entry, does not. */
static bool maps_itself(struct ram *ram, uint64_t page, unsigned levels)
{
	struct paging paging;
	uint64_t pa, left;

	paging_init(&paging, ram, page, levels);
	return paging_translate(&paging, page, &pa, &left) == 0 && pa == page;
}

static bool is_same_image(const struct kernel_image *a, const struct kernel_image *b)
{
	return a->va == b->va && a->pa == b->pa && a->levels == b->levels;
}

/* The whole image before a part of it: with page table isolation, a process's other half has
 * the entry code alone. */
static bool is_better(const struct kernel_candidate *a, const struct kernel_candidate *b)
{
	if (a->maps_itself != b->maps_itself)
		return a->maps_itself;
	return a->image.size > b->image.size;
}

/* Keeps the list sorted, and one of each image. */
static void add_candidate(struct trampoline_search *s, const struct kernel_candidate *c)
{
	size_t at;

	for (at = 0; at < s->count; at++) {
		if (!is_same_image(&s->list[at].image, &c->image))
			continue;
		if (!is_better(c, &s->list[at]))
			return;
		memmove(&s->list[at], &s->list[at + 1], (s->count - at - 1) * sizeof(*c));
		s->count--;
		break;
	}
	for (at = s->count; at > 0 && is_better(c, &s->list[at - 1]); at--)
		;
	if (at == s->max)
		return;
	s->count += s->count < s->max;
	memmove(&s->list[at + 1], &s->list[at], (s->count - at - 1) * sizeof(*c));
	s->list[at] = *c;
}

static int try_page(struct trampoline_search *s, uint64_t page, unsigned levels)
{
	struct kernel_candidate c = {.way = KERNEL_BY_TRAMPOLINE, .trampoline = page};
	int r = image_find(s->ram, page, levels, &c.image);

	if (r < 0)
		return is_nothing_there(r) ? 0 : r;
	c.maps_itself = maps_itself(s->ram, page, levels);
	add_candidate(s, &c);
	return 0;
}

static int look_at_page(struct trampoline_search *s, uint64_t page)
{
	uint64_t entry;
	int r = ram_read_u64(s->ram, page + TOP_ENTRY, &entry);

	if (r < 0)
		return is_nothing_there(r) ? 0 : r;
	if (!is_entry_for_table(entry) || s->walks >= WALKS_MAX)
		return 0;
	s->walks++;
	for (unsigned levels = LEVELS_FIRST; r == 0 && levels <= LEVELS_LAST; levels++)
		r = try_page(s, page, levels);
	return r;
}

static int look_at_pages(struct trampoline_search *s, uint64_t start, uint64_t end)
{
	int r = 0;

	for (uint64_t page = (start + RAM_PAGE - 1) & -(uint64_t)RAM_PAGE;
	     r == 0 && page < end && page < LOW_END; page += RAM_PAGE)
		r = look_at_page(s, page);
	return r;
}

int find_by_trampoline(struct ram *ram, struct kernel_candidate *list, size_t max)
{
	struct trampoline_search s = {.ram = ram, .list = list, .max = max};
	struct ram_extent e = {.gpa = LOW_START};
	int r = 0;

	while (r == 0 && e.gpa + e.len < LOW_END) {
		r = ram_next(ram, e.gpa + e.len, &e);
		if (r == 0)
			r = look_at_pages(&s, e.gpa, e.gpa + e.len);
	}
	return r < 0 && r != -ENOENT ? r : (int)s.count;
}
