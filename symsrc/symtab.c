#include "symsrc/symtab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

#define OBJECT_NONE	UINT16_MAX /* of a slot that covers nothing */
#define OBJECT_NAME_MAX 255

#define PAGE	    4096ULL
#define REACH_MAX   (64u << 20) /* the largest static array of a kernel is smaller */
#define LOWEST_ADDR PAGE	/* nothing is ever mapped below; hidden and absolute ones are 0 */
#define UPPER_HALF  (1ULL << 63)

/* What a slot says of the address that it belongs to. 8 bytes, since there are 200,000. */
struct entry {
	uint32_t name_off;
	uint16_t object;
	uint16_t type_and_len; /* type << 9 | name_len */
};

struct object {
	uint32_t name_off;
	uint32_t name_len;
};

/* The head of the one block. What follows it: the addresses, the entries and the objects.
 * First come slot_count slots by address, ascending: the ones that lookups search. The first
 * is at 0 and covers nothing, so that each address has a slot. After them come name_count
 * more, in any order, that are only found by name. */
struct block {
	uint64_t size; /* of the whole block */
	uint32_t slot_count;
	uint32_t name_count;
	uint32_t symbol_count; /* slots that cover something */
	uint32_t object_count; /* object 0 is the kernel and has no name */
	uint64_t addrs[];
};

struct symtab {
	struct blob *blob; /* whose content is the block; each of its bytes has been written */
	const struct block *block;
	const char *arena; /* not owned */
	const struct entry *entries;
	const struct object *objects;
};

_Static_assert(sizeof(struct entry) == 8, "entries are packed");
_Static_assert(SYMTAB_NAME_MAX < 1 << 9, "a name's length has nine bits");

/* ---- lookup ---------------------------------------------------------------------------------- */

/* The last slot whose address is not above addr. One is: slot 0. Written so that the compiler
 * makes a conditional move of it: the processor would guess half of the branches wrong. */
static size_t slot_of(const uint64_t *addrs, size_t n, uint64_t addr)
{
	const uint64_t *at = addrs;

	while (n > 1) {
		size_t half = n / 2, quarter = (n - half) / 2;

		__builtin_prefetch(&at[quarter]);
		__builtin_prefetch(&at[half + quarter]);
		at = at[half] <= addr ? at + half : at;
		n -= half;
	}
	return (size_t)(at - addrs);
}

/* What the slot says. False: it covers nothing. */
static bool hit_of(const struct symtab *t, size_t slot, struct symtab_hit *ret)
{
	const struct entry *e = &t->entries[slot];

	if (e->object == OBJECT_NONE)
		return false;
	const struct object *o = &t->objects[e->object];
	*ret = (struct symtab_hit){
		.start = t->block->addrs[slot],
		.name = t->arena + e->name_off,
		.name_len = e->type_and_len & SYMTAB_NAME_MAX,
		.type = (char)(e->type_and_len >> 9),
		.object = e->object ? t->arena + o->name_off : NULL,
		.object_len = (uint16_t)o->name_len,
	};
	return true;
}

bool symtab_find(const struct symtab *t, uint64_t addr, struct symtab_hit *ret)
{
	return hit_of(t, slot_of(t->block->addrs, t->block->slot_count, addr), ret);
}

/* Doubles its steps until it is past the address, then looks between the last two. */
bool symtab_find_next(const struct symtab *t, uint64_t addr, size_t *cursor, struct symtab_hit *ret)
{
	const uint64_t *addrs = t->block->addrs;
	size_t n = t->block->slot_count, at = *cursor, step = 1;

	while (step < n - at && addrs[at + step] <= addr) {
		at += step;
		step *= 2;
	}
	if (step > n - at)
		step = n - at;
	*cursor = at + slot_of(&addrs[at], step, addr);
	return hit_of(t, *cursor, ret);
}

bool symtab_next_of_object(const struct symtab *t, size_t *cursor, struct symtab_hit *ret,
			   uint64_t *ret_end)
{
	size_t n = t->block->slot_count;

	for (size_t at = *cursor; at < n; at++) {
		if (!hit_of(t, at, ret) || !ret->object)
			continue;
		*ret_end = at + 1 < n ? t->block->addrs[at + 1] : UINT64_MAX;
		*cursor = at + 1;
		return true;
	}
	*cursor = n;
	return false;
}

bool symtab_find_name(const struct symtab *t, const char *name, uint64_t *ret_addr)
{
	const struct block *b = t->block;
	size_t n = b->slot_count + (size_t)b->name_count, len = strlen(name);

	for (size_t i = 0; i < n; i++) {
		const struct entry *e = &t->entries[i];

		if (e->object == 0 && (e->type_and_len & SYMTAB_NAME_MAX) == len &&
		    memcmp(t->arena + e->name_off, name, len) == 0) {
			*ret_addr = b->addrs[i];
			return true;
		}
	}
	return false;
}

size_t symtab_count(const struct symtab *t)
{
	return t->block->symbol_count;
}

size_t symtab_memory(const struct symtab *t)
{
	return sizeof(*t) + blobpool_part(t->blob);
}

void symtab_destroy(struct symtab *t)
{
	if (!t)
		return;
	blobpool_unshare(t->blob);
	free(t);
}

/* ---- building: collecting -------------------------------------------------------------------- */

enum role {
	ROLE_COVERS,  /* a slot */
	ROLE_MARKS,   /* a slot that covers nothing, and a name */
	ROLE_NAME,    /* only to be found by name */
	ROLE_NOTHING, /* left out */
};

struct raw {
	uint64_t addr;
	uint32_t name_off;
	union {
		uint32_t object_off; /* while collecting */
		uint32_t object;     /* from intern() on */
	};
	uint16_t name_len;
	uint16_t object_len;
	char type;
	uint8_t role; /* enum role */
};

struct bounds {
	uint64_t base, end;
};

struct module {
	struct bounds bounds;
	uint16_t name_len;
	char name[OBJECT_NAME_MAX];
};

struct symtab_builder {
	struct raw *raws;
	size_t raw_count, raw_cap;
	size_t sorted_count; /* so many at the front ascend */
	struct module *modules;
	size_t module_count, module_cap;

	/* Only while finishing: */
	const char *arena;
	size_t arena_len;
	struct object *objects; /* SYMTAB_OBJECTS_MAX of them, in the order of their first symbol */
	struct bounds *bounds;	/* of each object; 0, 0: not known */
	uint16_t *by_name;	/* objects 1 ... by name */
	size_t object_count;
};

struct symtab_builder *symtab_builder_create(void)
{
	return calloc(1, sizeof(struct symtab_builder));
}

static void drop_content(struct symtab_builder *b)
{
	free(b->raws);
	free(b->modules);
	free(b->objects);
	free(b->bounds);
	free(b->by_name);
	*b = (struct symtab_builder){0};
}

void symtab_builder_destroy(struct symtab_builder *b)
{
	if (!b)
		return;
	drop_content(b);
	free(b);
}

/* Makes room for one more element of an array. 0 or -ENOMEM. */
static int grow(void **array, size_t *cap, size_t count, size_t elem, size_t first)
{
	size_t want = *cap ? *cap * 2 : first;
	void *bigger;

	if (count < *cap)
		return 0;
	bigger = realloc(*array, want * elem);
	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	*cap = want;
	return 0;
}

int symtab_builder_add(struct symtab_builder *b, uint64_t addr, char type, uint32_t name_off,
		       uint16_t name_len, uint32_t object_off, uint16_t object_len)
{
	if (b->raw_count == SYMTAB_SYMBOLS_MAX)
		return -E2BIG;
	if (b->raw_count == b->raw_cap) {
		void *raws = b->raws;
		int r = grow(&raws, &b->raw_cap, b->raw_count, sizeof(*b->raws), 4096);

		if (r < 0)
			return r;
		b->raws = raws;
	}
	if (b->sorted_count == b->raw_count &&
	    (!b->raw_count || addr >= b->raws[b->raw_count - 1].addr))
		b->sorted_count++;
	b->raws[b->raw_count++] = (struct raw){.addr = addr,
					       .name_off = name_off,
					       .object_off = object_off,
					       .name_len = name_len,
					       .object_len = object_len,
					       .type = type};
	return 0;
}

int symtab_builder_add_module(struct symtab_builder *b, const char *name, uint64_t base,
			      uint64_t size)
{
	size_t len = strlen(name);
	void *modules = b->modules;
	struct module *m;
	int r;

	if (len > OBJECT_NAME_MAX)
		return -EINVAL;
	if (b->module_count == SYMTAB_OBJECTS_MAX)
		return -E2BIG;
	r = grow(&modules, &b->module_cap, b->module_count, sizeof(*b->modules), 64);
	if (r < 0)
		return r;
	b->modules = modules;
	m = &b->modules[b->module_count++];
	m->bounds = (struct bounds){base, base + size < base ? UINT64_MAX : base + size};
	m->name_len = (uint16_t)len;
	memcpy(m->name, name, len);
	return 0;
}

/* ---- building: objects ----------------------------------------------------------------------- */

static int compare_names(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int r = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return r ? r : (a_len > b_len) - (a_len < b_len);
}

/* Where in by_name this object is (true) or belongs (false). A sorted array, not a hash table:
 * the names are a stranger's, who could make them all collide. */
static bool object_place(const struct symtab_builder *b, const char *name, size_t len, size_t *ret)
{
	size_t lo = 0, hi = b->object_count - 1;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct object *o = &b->objects[b->by_name[mid]];
		int r = compare_names(name, len, b->arena + o->name_off, o->name_len);

		if (r == 0) {
			*ret = mid;
			return true;
		}
		if (r < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	*ret = lo;
	return false;
}

static int object_of(struct symtab_builder *b, uint32_t off, size_t len, uint32_t *ret)
{
	size_t place, known = b->object_count - 1;

	if (object_place(b, b->arena + off, len, &place)) {
		*ret = b->by_name[place];
		return 0;
	}
	if (b->object_count == SYMTAB_OBJECTS_MAX)
		return -E2BIG;
	memmove(&b->by_name[place + 1], &b->by_name[place], (known - place) * sizeof(*b->by_name));
	b->by_name[place] = (uint16_t)b->object_count;
	b->objects[b->object_count] = (struct object){off, (uint32_t)len};
	*ret = (uint32_t)b->object_count++;
	return 0;
}

static bool is_within(const struct symtab_builder *b, uint64_t off, uint64_t len)
{
	return off + len <= b->arena_len;
}

/* Gives each symbol its object's number. Symbols of one module come one after the other. */
static int intern(struct symtab_builder *b)
{
	const char *last = NULL;
	size_t last_len = 0;
	uint32_t last_object = 0;

	for (size_t i = 0; i < b->raw_count; i++) {
		struct raw *r = &b->raws[i];
		const char *name = b->arena + r->object_off;
		int err;

		if (r->name_len > SYMTAB_NAME_MAX || (unsigned char)r->type > 0x7e ||
		    !is_within(b, r->name_off, r->name_len))
			return -EINVAL;
		if (!r->object_len) {
			r->object = 0;
			continue;
		}
		if (!is_within(b, r->object_off, r->object_len))
			return -EINVAL;
		if (!last || compare_names(name, r->object_len, last, last_len) != 0) {
			err = object_of(b, r->object_off, r->object_len, &last_object);
			if (err < 0)
				return err;
			last = name;
			last_len = r->object_len;
		}
		r->object = last_object;
	}
	return 0;
}

static void take_bounds(struct symtab_builder *b)
{
	size_t place;

	for (size_t i = 0; i < b->module_count; i++) {
		const struct module *m = &b->modules[i];

		if (object_place(b, m->name, m->name_len, &place))
			b->bounds[b->by_name[place]] = m->bounds;
	}
}

/* ---- building: who covers -------------------------------------------------------------------- */

#define DIGIT_BITS 11
#define DIGIT_SIZE (1u << DIGIT_BITS)

static unsigned digit_of(uint64_t addr, unsigned shift)
{
	return (unsigned)(addr >> shift) & (DIGIT_SIZE - 1);
}

/* Stable: by one digit of the address, from -> to. */
static void sort_by_digit(const struct raw *from, struct raw *to, size_t n, unsigned shift)
{
	size_t place[DIGIT_SIZE] = {0}, next = 0;

	for (size_t i = 0; i < n; i++)
		place[digit_of(from[i].addr, shift)]++;
	for (size_t d = 0; d < DIGIT_SIZE; d++) {
		size_t count = place[d];

		place[d] = next;
		next += count;
	}
	for (size_t i = 0; i < n; i++)
		to[place[digit_of(from[i].addr, shift)]++] = from[i];
}

/* By address, and those at one address in the order they had. A radix sort over those digits
 * that are not the same everywhere (three for a kernel and its modules): qsort(3) took as long
 * as everything else together. */
static int sort_raws(struct raw *raws, size_t n)
{
	struct raw *from = raws, *to = malloc(n * sizeof(*to)), *room = to, *swap;
	uint64_t differ = 0;

	if (!to)
		return -ENOMEM;
	for (size_t i = 1; i < n; i++)
		differ |= from[i].addr ^ from[0].addr;
	for (unsigned shift = 0; shift < 64; shift += DIGIT_BITS) {
		if (digit_of(differ, shift) == 0)
			continue;
		sort_by_digit(from, to, n, shift);
		swap = from;
		from = to;
		to = swap;
	}
	if (from != raws)
		memcpy(raws, from, n * sizeof(*raws));
	free(room);
	return 0;
}

/* The kernel's own symbols ascend; modules come behind them in no order, mostly above. */
static int sort_unsorted(struct symtab_builder *b)
{
	size_t start = b->sorted_count;

	if (start == b->raw_count)
		return 0;
	for (size_t i = start; i < b->raw_count; i++) {
		if (b->raws[i].addr < b->raws[b->sorted_count - 1].addr)
			start = 0;
	}
	return sort_raws(b->raws + start, b->raw_count - start);
}

static bool starts_with(const char *name, size_t len, const char *prefix)
{
	return len >= strlen(prefix) && memcmp(name, prefix, strlen(prefix)) == 0;
}

static bool name_is(const char *name, size_t len, const char *what)
{
	return len == strlen(what) && memcmp(name, what, len) == 0;
}

/* Ends of code, not code: the padding behind them belongs to no function. */
static bool is_end_marker(const struct raw *r, const char *name)
{
	return r->object == 0 && starts_with(name, r->name_len, "_e") &&
	       (name_is(name, r->name_len, "_etext") || name_is(name, r->name_len, "_end") ||
		name_is(name, r->name_len, "_einittext"));
}

/* Absolute symbols (per-CPU offsets, constants), undefined ones and debug sections are no
 * places. Neither are ARM's mapping symbols ($x, $d) and the assembler's own labels. All
 * others are kept: an address within data is better named than not. */
static bool is_place(const struct raw *r, const char *name)
{
	if (r->type == 'A' || r->type == 'a' || r->type == 'U' || r->type == 'N')
		return false;
	return r->name_len && name[0] != '$' && !starts_with(name, r->name_len, ".L");
}

static enum role role_of(const struct symtab_builder *b, const struct raw *r, uint64_t lowest)
{
	const char *name = b->arena + r->name_off;

	if (r->addr < lowest || !is_place(r, name))
		return r->object == 0 ? ROLE_NAME : ROLE_NOTHING;
	return is_end_marker(r, name) ? ROLE_MARKS : ROLE_COVERS;
}

static bool perf_keeps(char type)
{
	return strchr("TtWwDdBb", type) != NULL;
}

static uint32_t binding_rank(char type)
{
	if (type == 'W' || type == 'w')
		return 2;
	return type >= 'A' && type <= 'Z' ? 0 : 1;
}

/* The better of several symbols at one address has the lower rank (see the header). "SyS_read"
 * (kernels before 4.17) is an alias that nobody looks for, and perf avoids it; "__ia32_sys_x" is
 * one beside "__x64_sys_x" that only its length would prefer. */
static uint32_t rank_of(const struct symtab_builder *b, const struct raw *r)
{
	const char *name = b->arena + r->name_off;
	uint32_t underscores = 0, rank;

	while (underscores < r->name_len && name[underscores] == '_')
		underscores++;
	rank = r->role == ROLE_MARKS;
	rank = rank << 1 | !perf_keeps(r->type);
	rank = rank << 2 | binding_rank(r->type);
	rank = rank << 9 | underscores;
	rank = rank << 1 | starts_with(name, r->name_len, "__ia32_");
	rank = rank << 9 | (uint32_t)(SYMTAB_NAME_MAX - r->name_len);
	return rank << 1 | (starts_with(name, r->name_len, "SyS") ||
			    starts_with(name, r->name_len, "compat_SyS"));
}

static void demote(struct raw *r)
{
	r->role = r->object == 0 ? ROLE_NAME : ROLE_NOTHING;
}

/* Leaves one slot to the n symbols at one address. */
static void choose(const struct symtab_builder *b, struct raw *group, size_t n)
{
	struct raw *best = NULL;

	for (struct raw *r = group; r < group + n; r++) {
		if (r->role != ROLE_COVERS && r->role != ROLE_MARKS)
			continue;
		if (best && rank_of(b, best) <= rank_of(b, r)) {
			demote(r);
			continue;
		}
		if (best)
			demote(best);
		best = r;
	}
}

/* Below which address nothing covers anything. Where the kernel lives in the upper half of
 * the address space the lower one is user space: what claims to be there is an offset (per-CPU
 * variables of modules). */
static uint64_t lowest_of(const struct symtab_builder *b)
{
	return b->raw_count && b->raws[b->raw_count - 1].addr >= UPPER_HALF ? UPPER_HALF
									    : LOWEST_ADDR;
}

static void give_roles(struct symtab_builder *b)
{
	struct raw *group, *end = b->raws + b->raw_count, *r;
	uint64_t lowest = lowest_of(b);

	for (group = b->raws; group < end; group = r) {
		for (r = group; r < end && r->addr == group->addr; r++)
			r->role = (uint8_t)role_of(b, r, lowest);
		if (r - group > 1)
			choose(b, group, (size_t)(r - group));
	}
}

/* ---- building: the block --------------------------------------------------------------------- */

/* Where the last symbol of an object ends: where the module does, else as perf guesses
 * (tools/perf/util/symbol.c, symbols__fixup_end()). 0: nowhere. */
static uint64_t guess_end(const struct symtab_builder *b, const struct raw *r)
{
	const struct bounds *bounds = &b->bounds[r->object];

	if (r->addr >= bounds->base && r->addr < bounds->end)
		return bounds->end;
	return (r->addr + 2 * PAGE - 1) & ~(PAGE - 1);
}

/* True when a gap follows r: *ret_end is where it begins. next: the next slot, or NULL. */
static bool has_gap_behind(const struct symtab_builder *b, const struct raw *r,
			   const struct raw *next, uint64_t *ret_end)
{
	uint64_t end;

	if (r->role == ROLE_MARKS)
		return false;
	if (next && next->object == r->object && next->addr - r->addr <= REACH_MAX)
		return false;
	end = guess_end(b, r);
	if (end <= r->addr || (next && end >= next->addr))
		return false;
	*ret_end = end;
	return true;
}

struct filler {
	struct block *block; /* NULL: only count */
	struct entry *entries;
	size_t slots, names, symbols;
};

static uint16_t pack(const struct raw *r)
{
	return (uint16_t)((unsigned)(unsigned char)r->type << 9 | r->name_len);
}

/* r: whose name stands there, or NULL. */
static void put(struct filler *f, size_t at, uint64_t addr, const struct raw *r, uint16_t object)
{
	struct entry *e;

	if (!f->block)
		return;
	e = &f->entries[at];
	f->block->addrs[at] = addr;
	e->name_off = r ? r->name_off : 0;
	e->object = object;
	e->type_and_len = r ? pack(r) : 0;
}

static void put_slot(struct filler *f, uint64_t addr, const struct raw *r)
{
	bool covers = r && r->role == ROLE_COVERS;

	put(f, f->slots++, addr, covers ? r : NULL, covers ? (uint16_t)r->object : OBJECT_NONE);
	f->symbols += covers;
}

static void put_names(const struct symtab_builder *b, struct filler *f)
{
	for (const struct raw *r = b->raws; r < b->raws + b->raw_count; r++) {
		if (r->role == ROLE_NAME || r->role == ROLE_MARKS)
			put(f, f->slots + f->names++, r->addr, r, 0);
	}
}

/* Once to count, and once to fill the block that was made from the counts. */
static void put_all(const struct symtab_builder *b, struct filler *f)
{
	const struct raw *slot = NULL;
	uint64_t end;

	put_slot(f, 0, NULL);
	for (const struct raw *r = b->raws; r < b->raws + b->raw_count; r++) {
		if (r->role != ROLE_COVERS && r->role != ROLE_MARKS)
			continue;
		if (slot && has_gap_behind(b, slot, r, &end))
			put_slot(f, end, NULL);
		put_slot(f, r->addr, r);
		slot = r;
	}
	if (slot && has_gap_behind(b, slot, NULL, &end))
		put_slot(f, end, NULL);
	put_names(b, f);
}

static struct block *block_create(const struct filler *counted, size_t object_count)
{
	size_t n = counted->slots + counted->names;
	size_t size = sizeof(struct block) + n * (sizeof(uint64_t) + sizeof(struct entry)) +
		      object_count * sizeof(struct object);
	struct block *block = malloc(size + 1);

	if (!block)
		return NULL;
	block->size = size;
	block->slot_count = (uint32_t)counted->slots;
	block->name_count = (uint32_t)counted->names;
	block->symbol_count = (uint32_t)counted->symbols;
	block->object_count = (uint32_t)object_count;
	return block;
}

static void set_blob(struct symtab *t, struct blob *blob, const char *arena)
{
	const struct block *block = (const struct block *)blob->data;
	size_t n = block->slot_count + (size_t)block->name_count;

	t->blob = blob;
	t->block = block;
	t->arena = arena;
	t->entries = (const struct entry *)&block->addrs[n];
	t->objects = (const struct object *)&t->entries[n];
}

/* The table of a block whose counts are known. Takes the block over. */
static struct symtab *symtab_of_block(struct block *block, const char *arena)
{
	struct blob *blob = blob_from_memory(block, block->size);
	struct symtab *t = malloc(sizeof(*t));

	if (!t || !blob) {
		blob_put(blob);
		free(t);
		return NULL;
	}
	set_blob(t, blob, arena);
	return t;
}

void symtab_share(struct symtab *t, struct blobpool *pool, const char *arena)
{
	set_blob(t, blobpool_share(pool, t->blob), arena);
}

static int freeze(const struct symtab_builder *b, struct symtab **ret)
{
	struct filler counted = {0}, f = {0};
	struct symtab *t;

	put_all(b, &counted);
	f.block = block_create(&counted, b->object_count);
	if (!f.block)
		return -ENOMEM;
	t = symtab_of_block(f.block, b->arena);
	if (!t)
		return -ENOMEM;
	f.entries = (struct entry *)t->entries;
	put_all(b, &f);
	memcpy((struct object *)t->objects, b->objects, b->object_count * sizeof(*b->objects));
	*ret = t;
	return 0;
}

static int prepare_objects(struct symtab_builder *b, const char *arena, size_t arena_len)
{
	b->arena = arena ? arena : "";
	b->arena_len = arena ? arena_len : 0;
	b->objects = calloc(SYMTAB_OBJECTS_MAX, sizeof(*b->objects));
	b->bounds = calloc(SYMTAB_OBJECTS_MAX, sizeof(*b->bounds));
	b->by_name = calloc(SYMTAB_OBJECTS_MAX, sizeof(*b->by_name));
	b->object_count = 1;
	return b->objects && b->bounds && b->by_name ? 0 : -ENOMEM;
}

int symtab_builder_finish(struct symtab_builder *b, const char *arena, size_t arena_len,
			  struct symtab **ret)
{
	int r = prepare_objects(b, arena, arena_len);

	if (r == 0)
		r = intern(b);
	if (r == 0)
		r = sort_unsorted(b);
	if (r == 0) {
		take_bounds(b);
		give_roles(b);
		r = freeze(b, ret);
	}
	drop_content(b);
	return r;
}
