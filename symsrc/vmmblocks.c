#include "symsrc/vmmblocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB	  (1ULL << 20)
#define GIB	  (1ULL << 30)
#define GPA_MAX	  (1ULL << 52) /* physical addresses of x86-64 end there */
#define VIEW	  "\n AS \"memory\","
#define NEXT_VIEW "\nFlatView #"

/* One line: "  0000000000100000-00000000bfffffff (prio 0, ram): pc.ram @0000000000100000 KVM". */
struct line {
	struct vmm_range range;
	const char *name;
	size_t name_len;
	uint64_t offset; /* in what the name stands for */
};

static bool take_hex(const char **p, const char *end, uint64_t *ret)
{
	char *after;

	errno = 0;
	*ret = strtoull(*p, &after, 16);
	if (after == *p || errno || strncmp(after, end, strlen(end)) != 0)
		return false;
	*p = after + strlen(end);
	return true;
}

/* False for what is not RAM. */
static bool parse_line(const char *p, struct line *ret)
{
	const char *eol = p + strcspn(p, "\r\n");
	const char *kind;
	uint64_t first;
	uint64_t last;

	if (!take_hex(&p, "-", &first) || !take_hex(&p, " (prio ", &last) || first > last ||
	    last >= GPA_MAX)
		return false;
	kind = strchr(p, ',');
	if (!kind || kind > eol || strncmp(kind, ", ram): ", 8) != 0)
		return false;
	*ret = (struct line){.range = {first, last - first + 1}, .name = kind + 8};
	ret->name_len = strcspn(ret->name, " \r\n");
	p = ret->name + ret->name_len;
	if (p[0] == ' ' && p[1] == '@')
		ret->offset = strtoull(p + 2, NULL, 16);
	return true;
}

struct building {
	const struct vmm_range *devices;
	size_t device_count;
	uint64_t base_left;
	struct line last; /* of what was added */
	size_t count;
	struct guest_ram_block *blocks;
};

static uint64_t end_of(const struct vmm_range *r)
{
	return r->gpa + r->len;
}

/* Base memory begins at 0, has holes only in the first MiB until that below 4 GiB, and is the
 * first that there is above. */
static bool is_base(const struct building *b, const struct vmm_range *r)
{
	if (b->base_left == 0)
		return false;
	return r->gpa < MIB || r->gpa >= 4 * GIB ||
	       r->gpa == (b->count ? end_of(&b->last.range) : 0) ||
	       (r->gpa == MIB && end_of(&b->last.range) < MIB);
}

static bool is_device(const struct building *b, const struct vmm_range *r)
{
	for (size_t i = 0; i < b->device_count; i++) {
		const struct vmm_range *d = &b->devices[i];

		if (r->gpa >= d->gpa && r->gpa - d->gpa < d->len)
			return true;
	}
	return false;
}

/* The same block as the last one, further on: what is between them counts as RAM too. */
static bool goes_on(const struct building *b, const struct line *l)
{
	const struct line *last = &b->last;

	return b->count && l->name_len == last->name_len &&
	       strncmp(l->name, last->name, l->name_len) == 0 && l->range.gpa <= MIB &&
	       l->offset - last->offset == l->range.gpa - last->range.gpa;
}

/* By how many bytes that makes RAM larger. */
static uint64_t add(struct building *b, const struct line *l)
{
	struct guest_ram_block *at = &b->blocks[b->count];
	uint64_t from = l->range.gpa;

	if (goes_on(b, l)) {
		at--;
		from = at->gpa + at->len;
	} else if (b->count < GUEST_RAM_BLOCKS_MAX) {
		*at = (struct guest_ram_block){.gpa = from};
		b->count++;
	} else {
		return 0;
	}
	at->len = end_of(&l->range) - at->gpa;
	b->last = *l;
	return end_of(&l->range) - from;
}

static void take_line(struct building *b, const struct line *l)
{
	uint64_t grown;

	if (is_device(b, &l->range)) {
		add(b, l);
	} else if (is_base(b, &l->range)) {
		grown = add(b, l);
		b->base_left -= grown < b->base_left ? grown : b->base_left;
	}
}

/* The lines of the view whose address space is called "memory". */
static const char *find_view(const char *text)
{
	const char *p = strstr(text, VIEW);

	return p ? p + 1 : NULL;
}

size_t vmmblocks_parse(const char *text, uint64_t base_bytes, const struct vmm_range *devices,
		       size_t device_count, struct guest_ram_block ret[static GUEST_RAM_BLOCKS_MAX])
{
	struct building b = {.devices = devices,
			     .device_count = device_count,
			     .base_left = base_bytes,
			     .blocks = ret};
	const char *p = find_view(text);
	const char *end;
	struct line l;

	if (!p)
		return 0;
	end = strstr(p, NEXT_VIEW);
	for (; *p && (!end || p < end); p += strcspn(p, "\n"), p += *p == '\n') {
		if (parse_line(p, &l) && (b.count == 0 || l.range.gpa >= end_of(&b.last.range)))
			take_line(&b, &l);
	}
	return b.base_left == 0 ? b.count : 0;
}

bool vmmblocks_parse_hva(const char *text, uint64_t *ret)
{
	const char *p = strstr(text, " is 0x");
	char *end;
	uint64_t v;

	if (!p)
		return false;
	errno = 0;
	v = strtoull(p + 6, &end, 16);
	if (end == p + 6 || errno || v == 0)
		return false;
	*ret = v;
	return true;
}
