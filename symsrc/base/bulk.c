#include "symsrc/base/bulk.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HUGE  ((size_t)2 << 20)
#define ALIGN 16 /* as malloc(3) */

static size_t up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* A huge page begins at a multiple of its size: what is mapped too much is given back. */
static int map_huge(struct bulk *b, size_t size)
{
	size_t whole = up(size, HUGE), more = whole + HUGE;
	char *at = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before, behind;

	if (at == MAP_FAILED)
		return -ENOMEM;
	before = up((uintptr_t)at, HUGE) - (uintptr_t)at;
	behind = HUGE - before;
	if (before)
		munmap(at, before);
	if (behind)
		munmap(at + before + whole, behind);
	b->memory = at + before;
	b->size = whole;
	madvise(b->memory, whole, MADV_HUGEPAGE); /* a wish */
	return 0;
}

int bulk_init(struct bulk *b, size_t size)
{
	*b = (struct bulk){0};
	if (size >= HUGE)
		return map_huge(b, size);
	b->memory = calloc(1, size ? size : 1);
	b->size = size;
	return b->memory ? 0 : -ENOMEM;
}

void bulk_deinit(struct bulk *b)
{
	if (b->size >= HUGE)
		munmap(b->memory, b->size);
	else
		free(b->memory);
	*b = (struct bulk){0};
}

size_t bulk_room(size_t n)
{
	return up(n, ALIGN);
}

void *bulk_take(struct bulk *b, size_t n)
{
	void *at = (char *)b->memory + b->used;

	b->used += bulk_room(n);
	return at;
}
