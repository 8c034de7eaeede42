#include "tests/unit/lib/pagedram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PAGE	 4096u
#define PRESENT	 0x63u /* and writable, accessed, dirty */
#define TABLE_AT PAGE  /* page 0 stays empty */

static int read_bytes(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	struct pagedram *r = ctx;
	int err = r->before ? r->before(r->ctx, r->reads) : 0;

	r->reads++;
	if (err < 0)
		return err;
	if (gpa > r->size || n > r->size - gpa)
		return -ENXIO;
	memcpy(buf, r->bytes + gpa, n);
	return 0;
}

static int next_extent(void *ctx, uint64_t gpa, struct ram_extent *ret)
{
	struct pagedram *r = ctx;

	if (gpa >= r->size)
		return -ENOENT;
	*ret = (struct ram_extent){gpa, r->size - gpa};
	return 0;
}

static const struct ram_ops ops = {read_bytes, next_extent, NULL};

static void put_entry(struct pagedram *r, uint64_t table, uint64_t index, uint64_t pa)
{
	uint64_t entry = pa | PRESENT;

	memcpy(r->bytes + table + index * sizeof(entry), &entry, sizeof(entry));
}

/* Tables: one of each of the upper three levels, then as many as needed of the last. */
void pagedram_init(struct pagedram *r, uint64_t va, size_t size)
{
	size_t pages = size / PAGE, tables = pages / 512 + 2;
	uint64_t last = TABLE_AT + 3 * PAGE;

	*r = (struct pagedram){.root = TABLE_AT, .window = last + tables * PAGE};
	r->size = r->window + size;
	r->bytes = calloc(1, r->size);
	assert_non_null(r->bytes);
	put_entry(r, TABLE_AT, va >> 39 & 511, TABLE_AT + PAGE);
	put_entry(r, TABLE_AT + PAGE, va >> 30 & 511, TABLE_AT + 2 * PAGE);
	for (size_t i = 0; i < tables; i++)
		put_entry(r, TABLE_AT + 2 * PAGE, (va >> 21 & 511) + i, last + i * PAGE);
	for (size_t i = 0; i < pages; i++)
		put_entry(r, last, (va >> 12 & 511) + i, r->window + i * PAGE);
	pagedram_reopen(r);
}

void pagedram_deinit(struct pagedram *r)
{
	free(r->bytes);
	r->bytes = NULL;
}

uint8_t *pagedram_window(const struct pagedram *r)
{
	return r->bytes + r->window;
}

void pagedram_reopen(struct pagedram *r)
{
	r->reads = 0;
	ram_init(&r->ram, &ops, r, NULL);
	paging_init(&r->paging, &r->ram, r->root, 4);
}
