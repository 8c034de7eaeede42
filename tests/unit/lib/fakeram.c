#include "tests/unit/lib/fakeram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS 0x63u /* present, writable, accessed, dirty */
#define LARGE 0x80u

static int fake_read(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	struct fakeram *f = ctx;

	f->reads++;
	if (gpa > f->size || n > f->size - gpa)
		return -ENXIO;
	if (f->bad_error && gpa < f->bad_to && gpa + n > f->bad_from)
		return f->bad_error;
	f->last_end = gpa + n;
	memcpy(buf, f->bytes + gpa, n);
	return 0;
}

static int fake_next(void *ctx, uint64_t gpa, struct ram_extent *ret)
{
	struct fakeram *f = ctx;
	uint64_t end = f->size;

	if (gpa >= f->hole_from && gpa < f->hole_to)
		gpa = f->hole_to;
	if (gpa < f->hole_from)
		end = f->hole_from;
	if (gpa >= end)
		return -ENOENT;
	*ret = (struct ram_extent){gpa, end - gpa};
	return 0;
}

static const struct ram_ops fake_ops = {.read = fake_read, .next = fake_next};

void fakeram_init(struct fakeram *f, size_t size)
{
	*f = (struct fakeram){.bytes = calloc(1, size), .size = size, .next_table = size};
	if (!f->bytes)
		abort();
	ram_init(&f->ram, &fake_ops, f, NULL);
}

void fakeram_deinit(struct fakeram *f)
{
	free(f->bytes);
}

void fakeram_put(struct fakeram *f, uint64_t gpa, const void *bytes, size_t n)
{
	if (gpa > f->size || n > f->size - gpa)
		abort();
	memcpy(f->bytes + gpa, bytes, n);
}

void fakeram_put_u64(struct fakeram *f, uint64_t gpa, uint64_t v)
{
	fakeram_put(f, gpa, &v, sizeof(v));
}

uint64_t fakeram_get_u64(const struct fakeram *f, uint64_t gpa)
{
	uint64_t v;

	if (gpa > f->size - sizeof(v))
		abort();
	memcpy(&v, f->bytes + gpa, sizeof(v));
	return v;
}

uint64_t fakeram_table(struct fakeram *f)
{
	f->next_table -= RAM_PAGE;
	return f->next_table;
}

void fakeram_map(struct fakeram *f, uint64_t root, unsigned levels, uint64_t va, uint64_t pa,
		 unsigned shift)
{
	uint64_t table = root, slot;
	unsigned at = 12 + 9 * (levels - 1);

	for (;; at -= 9) {
		slot = table + ((va >> at) & 511) * sizeof(uint64_t);
		if (at == shift)
			break;
		if (!fakeram_get_u64(f, slot))
			fakeram_put_u64(f, slot, fakeram_table(f) | FLAGS);
		table = fakeram_get_u64(f, slot) & ~(uint64_t)0xfff;
	}
	fakeram_put_u64(f, slot, pa | FLAGS | (shift > 12 ? LARGE : 0));
}
