#include "symsrc/memory/paging.h"

#include <errno.h>
#include <string.h>

#define PAGE_SHIFT    12u
#define LARGE_SHIFT   21u /* what one table of 4 KiB pages covers */
#define LARGEST_SHIFT 30u
#define LEVEL_BITS    9u

#define STR_CHUNK 512u /* most strings are whole in one; ram_read() counts no less */

/* Where a walk has come to: a table, or at the end the page. */
struct place {
	uint64_t pa;
	unsigned shift; /* of the table's entries; of the page */
	bool is_page;
};

void paging_init(struct paging *p, struct ram *ram, uint64_t root, unsigned levels)
{
	memset(p, 0, sizeof(*p));
	p->ram = ram;
	p->root = root & PAGING_ADDRESS;
	p->levels = levels;
}

static bool is_canonical(const struct paging *p, uint64_t va)
{
	unsigned sign_bits = 64 - (PAGE_SHIFT + LEVEL_BITS * p->levels) + 1;
	uint64_t top = va >> (64 - sign_bits);

	return top == 0 || top == (1ULL << sign_bits) - 1;
}

/* One level down: at must be a table. */
static int step_down(struct ram *ram, uint64_t va, struct place *at)
{
	uint64_t index = (va >> at->shift) & ((1u << LEVEL_BITS) - 1);
	uint64_t entry;
	int r = ram_read_u64(ram, at->pa + index * sizeof(entry), &entry);

	if (r < 0)
		return r;
	if (!(entry & PAGING_PRESENT))
		return -EFAULT;
	at->is_page = at->shift == PAGE_SHIFT ||
		      (at->shift <= LARGEST_SHIFT && (entry & PAGING_LARGE) != 0);
	at->pa = entry & PAGING_ADDRESS;
	if (at->is_page)
		at->pa &= ~((1ULL << at->shift) - 1);
	else
		at->shift -= LEVEL_BITS;
	return 0;
}

/* From the top down to the page, or to the table that an entry of until_shift leads to. */
static int walk(struct paging *p, uint64_t va, unsigned until_shift, struct place *at)
{
	bool known = p->levels == 4 || p->levels == 5; /* none: there is no page table */
	int r = known && is_canonical(p, va) ? 0 : -EFAULT;

	*at = (struct place){.pa = p->root, .shift = PAGE_SHIFT + LEVEL_BITS * (p->levels - 1)};
	while (r == 0 && !at->is_page && at->shift >= until_shift)
		r = step_down(p->ram, va, at);
	return r;
}

int paging_translate(struct paging *p, uint64_t va, uint64_t *ret_pa, uint64_t *ret_left)
{
	struct place at;
	uint64_t offset;
	int r = walk(p, va, PAGE_SHIFT, &at);

	if (r < 0)
		return r;
	offset = va & ((1ULL << at.shift) - 1);
	*ret_pa = at.pa + offset;
	*ret_left = (1ULL << at.shift) - offset;
	return 0;
}

int paging_find_directory(struct paging *p, uint64_t va, uint64_t *ret_pa)
{
	struct place at;
	int r = walk(p, va, LARGEST_SHIFT, &at);

	if (r == 0 && at.is_page)
		r = -EFAULT;
	if (r == 0)
		*ret_pa = at.pa;
	return r;
}

/* Down to what maps the 2 MiB around va, remembered: a neighbour then costs one read. */
static int find_last_table(struct paging *p, uint64_t va, struct place *at)
{
	uint64_t key = (va >> LARGE_SHIFT) + 1;
	struct paging_cached *c = &p->tables[key % PAGING_TABLES];
	int r;

	if (c->key == key) {
		*at = (struct place){.pa = c->pa, .shift = PAGE_SHIFT};
		return 0;
	}
	r = walk(p, va, LARGE_SHIFT, at);
	if (r == 0 && !at->is_page)
		*c = (struct paging_cached){.key = key, .pa = at->pa};
	return r;
}

static int find_page(struct paging *p, uint64_t va, uint64_t *ret_pa)
{
	uint64_t key = (va >> PAGE_SHIFT) + 1;
	struct paging_cached *c = &p->pages[key % PAGING_PAGES];
	struct place at;
	int r;

	if (c->key != key) {
		r = find_last_table(p, va, &at);
		if (r == 0 && !at.is_page)
			r = step_down(p->ram, va, &at);
		if (r < 0)
			return r;
		at.pa += va & ((1ULL << at.shift) - 1) & ~(uint64_t)(RAM_PAGE - 1);
		*c = (struct paging_cached){.key = key, .pa = at.pa};
	}
	*ret_pa = c->pa + (va & (RAM_PAGE - 1));
	return 0;
}

/* How many of n bytes at va are in one page. */
static size_t left_in_page(uint64_t va, size_t n)
{
	size_t left = RAM_PAGE - (size_t)(va & (RAM_PAGE - 1));

	return n < left ? n : left;
}

/* The stretch at va, at most n bytes, that is in one piece in physical memory. */
static int find_piece(struct paging *p, uint64_t va, size_t n, uint64_t *ret_pa, size_t *ret_len)
{
	size_t len = left_in_page(va, n);
	uint64_t pa, next_pa;
	int r = find_page(p, va, &pa);

	while (r == 0 && len < n) {
		r = find_page(p, va + len, &next_pa);
		if (r == 0 && next_pa != pa + len)
			break;
		len += left_in_page(va + len, n - len);
	}
	if (r < 0)
		return r;
	*ret_pa = pa;
	*ret_len = len;
	return 0;
}

int paging_read(struct paging *p, uint64_t va, void *buf, size_t n)
{
	uint8_t *dst = buf;
	uint64_t pa = 0;
	size_t len = 0;
	int r = 0;

	if (va + n < va && va + n != 0)
		return -EFAULT;
	for (; r == 0 && n > 0; dst += len, va += len, n -= len) {
		r = find_piece(p, va, n, &pa, &len);
		if (r == 0)
			r = ram_read(p->ram, pa, dst, len);
	}
	return r;
}

int paging_read_u64(struct paging *p, uint64_t va, uint64_t *ret)
{
	uint64_t v;
	int r = paging_read(p, va, &v, sizeof(v));

	if (r == 0)
		*ret = v;
	return r;
}

int paging_read_u32(struct paging *p, uint64_t va, uint32_t *ret)
{
	uint32_t v;
	int r = paging_read(p, va, &v, sizeof(v));

	if (r == 0)
		*ret = v;
	return r;
}

int paging_read_str(struct paging *p, uint64_t va, char *dst, size_t size)
{
	size_t done, len;
	int r;

	for (done = 0; done < size; done += len) {
		len = size - done < STR_CHUNK ? size - done : STR_CHUNK;
		len = left_in_page(va + done, len);
		r = paging_read(p, va + done, dst + done, len);
		if (r < 0)
			return r;
		if (memchr(dst + done, '\0', len))
			return 0;
	}
	return -ENAMETOOLONG;
}
