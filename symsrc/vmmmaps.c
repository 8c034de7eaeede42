#include "symsrc/vmmmaps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/vmmargs.h"

#define MIB	       (1ULL << 20)
#define GIB	       (1ULL << 30)
#define TIB	       (1ULL << 40)
#define ADDRESS_MAX    (1ULL << 52) /* physical addresses of x86-64 end there */
#define QEMU_RAM_ALIGN 8192	    /* softmmu/vl.c rounds -m up to it */
#define GUEST_MIN      (16 * MIB)   /* of RAM, where nobody says how much there is */
#define ROUNDED_UP_MAX GIB	    /* by how much a file's mapping may exceed RAM: a huge page */
#define JOINED_MAX     (256 * MIB)  /* and an anonymous one, by its neighbours */
#define PLACES_MAX     16
#define CHOICES_MAX    8
#define TURNED_MAX     2 /* of other_lowmems, that are tried with the parts turned round */
#define LARGEST_MAX    4 /* of mappings that are tried where nobody says how large RAM is */
#define PIECES_MAX     GUEST_RAM_PARTS_MAX
#define PAGE	       4096
#define MAPS_MIN       256 /* first allocation */

/* -- /proc/PID/maps ------------------------------------------------------------------------- */

struct map {
	uint64_t start, end, offset, inode;
	uint32_t major, minor;
	bool readable, writable, executable, shared;
	bool process; /* the VMM's own: heap, stack */
};

struct maps {
	struct map *v;
	size_t count;
	size_t size;
};

static void maps_deinit(const struct maps *m)
{
	free(m->v);
}
#define CLEANUP_MAPS CLEANUP(maps_deinit)

/* A number that ends at the given character; *p steps behind it. */
static bool take_number(const char **p, int base, char end, uint64_t *ret)
{
	char *after;

	errno = 0;
	if (**p == ' ' || **p == '-' || **p == '+')
		return false;
	*ret = strtoull(*p, &after, base);
	if (after == *p || *after != end || errno)
		return false;
	*p = after + 1;
	return true;
}

static bool take_u32(const char **p, int base, char end, uint32_t *ret)
{
	uint64_t v;

	if (!take_number(p, base, end, &v) || v > UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool take_perms(const char **p, struct map *m)
{
	if (strnlen(*p, 5) < 5 || (*p)[4] != ' ')
		return false;
	m->readable = (*p)[0] == 'r';
	m->writable = (*p)[1] == 'w';
	m->executable = (*p)[2] == 'x';
	m->shared = (*p)[3] == 's';
	*p += 5;
	return true;
}

/* "7f8bffe00000-7f8d7fe00000 rw-p 00000000 00:00 0      [name]"; the name may hold any byte but
 * a newline. */
static bool parse_line(const char *p, struct map *m)
{
	uint64_t inode = 0;

	if (!take_number(&p, 16, '-', &m->start) || !take_number(&p, 16, ' ', &m->end) ||
	    !take_perms(&p, m) || !take_number(&p, 16, ' ', &m->offset) ||
	    !take_u32(&p, 16, ':', &m->major) || !take_u32(&p, 16, ' ', &m->minor))
		return false;
	while (*p >= '0' && *p <= '9') {
		if (inode > UINT64_MAX / 10 - 1)
			return false;
		inode = 10 * inode + (uint64_t)(*p++ - '0');
	}
	m->inode = inode;
	p += strspn(p, " ");
	m->process = strncmp(p, "[heap]", 6) == 0 || strncmp(p, "[stack", 6) == 0;
	return m->start < m->end && m->end - m->start <= ADDRESS_MAX;
}

static struct map *add_map(struct maps *l)
{
	size_t size = l->size ? 2 * l->size : MAPS_MIN;
	struct map *more = l->v;

	if (l->count == l->size) {
		more = realloc(l->v, size * sizeof(*more));
		if (!more)
			return NULL;
		l->v = more;
		l->size = size;
	}
	return memset(&more[l->count], 0, sizeof(*more));
}

/* By address, ascending, as the kernel writes them. */
static int parse_maps(const char *text, size_t n, struct maps *ret)
{
	const char *end = text + n;
	uint64_t last = 0;
	struct map *m;

	for (const char *p = text; p < end; p += strcspn(p, "\n") + 1) {
		m = add_map(ret);
		if (!m)
			return -ENOMEM;
		if (!parse_line(p, m) || m->start < last)
			return -EBADMSG;
		last = m->end;
		ret->count++;
	}
	return 0;
}

static uint64_t map_len(const struct map *m)
{
	return m->end - m->start;
}

/* What may be RAM at all. Part of a block may have been made read-only for a while; what is
 * executable is code that the VMM makes (TCG's has 1 GiB). */
static bool may_be_ram(const struct map *m)
{
	return m->readable && !m->executable && !m->process;
}

/* True when b goes on where a ends: in the address space, and in what is behind it. */
static bool goes_on(const struct map *a, const struct map *b)
{
	if (a->end != b->start || a->shared != b->shared || a->inode != b->inode ||
	    a->major != b->major || a->minor != b->minor)
		return false;
	return a->inode == 0 || a->offset + map_len(a) == b->offset;
}

/* -- runs of neighbours --------------------------------------------------------------------- */

/* Maps first to first + count - 1, which go on in each other. */
struct run {
	const struct map *first;
	size_t count;
	uint64_t len;
};

struct runs {
	struct run *v; /* by length, descending; of the same length by address, descending */
	size_t count;
};

static void runs_deinit(const struct runs *r)
{
	free(r->v);
}
#define CLEANUP_RUNS CLEANUP(runs_deinit)

static int compare_runs(const void *a, const void *b)
{
	const struct run *x = a;
	const struct run *y = b;

	if (x->len != y->len)
		return x->len < y->len ? 1 : -1;
	return x->first->start < y->first->start ? 1 : -1;
}

static bool is_writable(const struct run *r)
{
	for (size_t i = 0; i < r->count; i++) {
		if (r->first[i].writable)
			return true;
	}
	return false;
}

/* All that cannot be made longer. */
static int find_runs(const struct maps *maps, struct runs *ret)
{
	size_t n = 0;

	ret->v = calloc(maps->count ? maps->count : 1, sizeof(*ret->v));
	if (!ret->v)
		return -ENOMEM;
	for (size_t i = 0; i < maps->count; i++) {
		const struct map *m = &maps->v[i];

		if (!may_be_ram(m))
			continue;
		if (i == 0 || !may_be_ram(m - 1) || !goes_on(m - 1, m))
			ret->v[n++] = (struct run){.first = m};
		ret->v[n - 1].count++;
		ret->v[n - 1].len += map_len(m);
	}
	for (size_t i = 0; i < n; i++) {
		if (is_writable(&ret->v[i]))
			ret->v[ret->count++] = ret->v[i];
	}
	if (ret->count)
		qsort(ret->v, ret->count, sizeof(*ret->v), compare_runs);
	return 0;
}

/* -- choices: which blocks, in the guest's order -------------------------------------------- */

/* Others than QEMU: where RAM below 4 GiB ends, if there is more. */
static const uint64_t other_lowmems[] = {0xd0000000, 0xc0000000, 0x80000000, 0xe0000000};

static bool is_other_lowmem(uint64_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(other_lowmems); i++) {
		if (len == other_lowmems[i])
			return true;
	}
	return false;
}

struct choice {
	size_t count;
	struct ram_block pieces[PIECES_MAX];
};

struct choosing {
	const struct guest *guest;
	const struct maps *maps;
	const struct runs *runs;
	bool is_qemu;
	uint64_t ram_bytes; /* 0: nobody knows */
	size_t count;
	struct choice choices[CHOICES_MAX];
};

/* len bytes at skip in the run. */
static struct ram_block block_of(const struct run *r, uint64_t skip, uint64_t len)
{
	const struct map *m = r->first;
	struct ram_block b = {.hva = m->start + skip,
			      .len = len,
			      .offset = m->inode ? m->offset + skip : 0,
			      .major = m->major,
			      .minor = m->minor,
			      .inode = m->inode,
			      .shared = m->shared};

	while (m->end <= b.hva)
		m++;
	b.map_start = m->start;
	b.map_end = m->end;
	return b;
}

static bool same_block(const struct ram_block *a, const struct ram_block *b)
{
	return a->hva == b->hva && a->len == b->len && a->offset == b->offset &&
	       a->major == b->major && a->minor == b->minor && a->inode == b->inode &&
	       a->shared == b->shared;
}

static bool same_choice(const struct choice *a, const struct choice *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!same_block(&a->pieces[i], &b->pieces[i]))
			return false;
	}
	return true;
}

static void add_choice(struct choosing *c, const struct choice *choice)
{
	if (c->count == CHOICES_MAX || choice->count == 0)
		return;
	for (size_t i = 0; i < c->count; i++) {
		if (same_choice(&c->choices[i], choice))
			return;
	}
	c->choices[c->count++] = *choice;
}

/* QEMU reserves a page behind each block that nobody may touch. */
static bool has_guard(const struct choosing *c, const struct run *r)
{
	const struct map *next = r->first + r->count;

	return next < c->maps->v + c->maps->count && next[-1].end == next->start && !next->readable;
}

/* Where a block of some length may be, the likeliest first. */
struct places {
	size_t count;
	struct ram_block v[PLACES_MAX];
};

static void add_place(struct places *p, const struct run *r, uint64_t skip, uint64_t len)
{
	struct ram_block b = block_of(r, skip, len);

	for (size_t i = 0; i < p->count; i++) {
		if (same_block(&p->v[i], &b))
			return;
	}
	if (p->count < PLACES_MAX)
		p->v[p->count++] = b;
}

/* Neighbours that make up exactly this length; those with a guard page behind them, or those
 * without. Takes one pass, whatever the VMM has mapped. */
static void find_exact(const struct choosing *c, uint64_t len, bool guarded, struct places *ret)
{
	struct run r = {0};

	for (size_t i = 0; i < c->maps->count; i++) {
		const struct map *m = &c->maps->v[i];

		if (!may_be_ram(m) || r.count == 0 || !goes_on(m - 1, m))
			r = (struct run){.first = m};
		if (!may_be_ram(m))
			continue;
		r.count++;
		r.len += map_len(m);
		for (; r.len > len; r.first++, r.count--)
			r.len -= map_len(r.first);
		if (r.len == len && is_writable(&r) && has_guard(c, &r) == guarded)
			add_place(ret, &r, 0, len);
	}
}

/* In one that is somewhat larger: a file's RAM ends within a huge page; anonymous RAM may have
 * been joined by the kernel to what was mapped below it later, such as a thread's stack, but
 * hardly to what is above it. */
static void find_larger(const struct choosing *c, uint64_t len, struct places *ret)
{
	for (size_t i = c->runs->count; i-- > 0;) {
		const struct run *r = &c->runs->v[i];
		bool is_file = r->first->inode != 0;
		uint64_t more = r->len - len;

		if (r->len <= len || more > (is_file ? ROUNDED_UP_MAX : JOINED_MAX))
			continue;
		if (!is_file)
			add_place(ret, r, more, len);
		if (is_file || !has_guard(c, r))
			add_place(ret, r, 0, len);
	}
}

static void find_places(const struct choosing *c, uint64_t len, struct places *ret)
{
	ret->count = 0;
	if (len == 0 || len % PAGE)
		return;
	find_exact(c, len, true, ret);
	find_exact(c, len, false, ret);
	find_larger(c, len, ret);
}

static void choose_single(struct choosing *c)
{
	struct places places;

	find_places(c, c->ram_bytes, &places);
	for (size_t i = 0; i < places.count; i++)
		add_choice(c, &(struct choice){.count = 1, .pieces = {places.v[i]}});
}

static void sort_choice(struct choice *c, int (*compare)(const void *, const void *))
{
	if (c->count)
		qsort(c->pieces, c->count, sizeof(c->pieces[0]), compare);
}

static int by_file(const struct ram_block *a, const struct ram_block *b)
{
	bool same = a->inode && a->inode == b->inode && a->major == b->major &&
		    a->minor == b->minor && a->offset != b->offset;

	return same ? (a->offset > b->offset) - (a->offset < b->offset) : 0;
}

static int compare_up(const void *a, const void *b)
{
	const struct ram_block *x = a;
	const struct ram_block *y = b;
	int r = by_file(x, y);

	return r ? r : (x->hva > y->hva) - (x->hva < y->hva);
}

static int compare_down(const void *a, const void *b)
{
	const struct ram_block *x = a;
	const struct ram_block *y = b;
	int r = by_file(x, y);

	return r ? r : (x->hva < y->hva) - (x->hva > y->hva);
}

/* A mapping for each part that the command line tells. The kernel gives out addresses downwards:
 * of those of the same length, what was made first lies highest. Or the other way round. */
static void choose_parts(struct choosing *c, bool down)
{
	const struct guest_ram *ram = &c->guest->ram;
	struct choice choice = {.count = ram->part_count};
	struct places places;
	size_t nth;

	for (size_t i = 0; i < ram->part_count; i++) {
		nth = ram->parts[i].made;
		find_places(c, ram->parts[i].bytes, &places);
		if (places.count <= nth)
			return;
		qsort(places.v, places.count, sizeof(places.v[0]), compare_down);
		choice.pieces[i] = places.v[down ? nth : places.count - 1 - nth];
	}
	add_choice(c, &choice);
}

/* Others than QEMU map what is below the hole by itself, or make the hole unreadable: what is as
 * long as that comes first. */
static void lowmem_first(struct choice *c)
{
	struct ram_block low;
	size_t i = 0;

	while (i < c->count && !is_other_lowmem(c->pieces[i].len))
		i++;
	if (i == c->count)
		return;
	low = c->pieces[i];
	memmove(&c->pieces[1], &c->pieces[0], i * sizeof(low));
	c->pieces[0] = low;
}

static void add_in_order(struct choosing *c, struct choice *choice,
			 int (*compare)(const void *, const void *))
{
	sort_choice(choice, compare);
	if (!c->is_qemu)
		lowmem_first(choice);
	add_choice(c, choice);
}

/* The largest ones that together are exactly this size. */
static void choose_sum(struct choosing *c)
{
	struct choice choice = {.count = 0};
	uint64_t left = c->ram_bytes;

	for (size_t i = 0; left && i < c->runs->count && choice.count < PIECES_MAX; i++) {
		const struct run *r = &c->runs->v[i];

		if (r->len > left)
			continue;
		choice.pieces[choice.count++] = block_of(r, 0, r->len);
		left -= r->len;
	}
	if (left == 0) {
		add_in_order(c, &choice, compare_down);
		add_in_order(c, &choice, compare_up);
	}
}

/* The kernel joins anonymous mappings that lie side by side; what was mapped second, for the
 * addresses above 4 GiB, then lies first. */
static void choose_turned(struct choosing *c, const struct run *r)
{
	for (size_t i = 0; !c->is_qemu && r->first->inode == 0 && i < TURNED_MAX; i++) {
		uint64_t low = other_lowmems[i];
		struct choice choice = {.count = 2};

		if (r->len <= low)
			continue;
		choice.pieces[0] = block_of(r, r->len - low, low);
		choice.pieces[1] = block_of(r, 0, r->len - low);
		add_choice(c, &choice);
	}
}

/* Where nobody says how much there is, a mapping that ends where others than QEMU let RAM below
 * 4 GiB end, and the largest one besides; then the largest ones by themselves. */
static void choose_largest(struct choosing *c)
{
	const struct runs *runs = c->runs;

	for (size_t i = 0; !c->is_qemu && i < runs->count; i++) {
		struct choice both = {.count = 1,
				      .pieces = {block_of(&runs->v[i], 0, runs->v[i].len)}};
		const struct run *other = &runs->v[i == 0];

		if (!is_other_lowmem(runs->v[i].len) || runs->count < 2 || other->len < GUEST_MIN)
			continue;
		both.pieces[both.count++] = block_of(other, 0, other->len);
		add_choice(c, &both);
	}
	for (size_t i = 0; i < runs->count && i < LARGEST_MAX; i++) {
		if (runs->v[i].len >= GUEST_MIN)
			add_choice(c, &(struct choice){.count = 1,
						       .pieces = {block_of(&runs->v[i], 0,
									   runs->v[i].len)}});
	}
}

/* -- layouts: where the guest sees them ------------------------------------------------------ */

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t pc_lowmem(uint64_t ram, uint64_t below_4g_max)
{
	uint64_t max = below_4g_max ? below_4g_max : 0xe0000000;

	return ram >= max ? smaller(max, 0xc0000000) : max;
}

static uint64_t q35_lowmem(uint64_t ram, uint64_t below_4g_max)
{
	uint64_t lowmem = ram >= 0xb0000000 ? 0x80000000 : 0xb0000000;

	return below_4g_max ? smaller(lowmem, below_4g_max) : lowmem;
}

uint64_t vmmmaps_qemu_lowmem(enum guest_machine machine, uint64_t ram, uint64_t below_4g_max)
{
	switch (machine) {
	case GUEST_MACHINE_Q35: return smaller(ram, q35_lowmem(ram, below_4g_max));
	case GUEST_MACHINE_MICROVM: return smaller(ram, 0xc0000000);
	default: return smaller(ram, pc_lowmem(ram, below_4g_max));
	}
}

/* Where the hole at 4 GiB may begin, the likeliest first. */
#define SPLITS_MAX 8
struct split {
	uint64_t lowmem;
	uint64_t high; /* where the rest begins */
};
struct splits {
	size_t count;
	struct split v[SPLITS_MAX];
};

static void add_split(struct splits *s, uint64_t ram, uint64_t lowmem, uint64_t high)
{
	uint64_t low = smaller(ram, smaller(lowmem, 4 * GIB));
	struct split split = {low, low < ram ? high : 4 * GIB};

	for (size_t i = 0; i < s->count; i++) {
		if (s->v[i].lowmem == split.lowmem && s->v[i].high == split.high)
			return;
	}
	if (s->count < SPLITS_MAX)
		s->v[s->count++] = split;
}

static void qemu_splits(const struct guest *g, uint64_t ram, struct splits *ret)
{
	static const enum guest_machine machines[] = {GUEST_MACHINE_PC, GUEST_MACHINE_Q35,
						      GUEST_MACHINE_MICROVM};
	uint64_t max = g->ram.below_4g_max;
	uint64_t lowmem = vmmmaps_qemu_lowmem(g->ram.machine, ram, max);
	bool is_known = g->ram.machine != GUEST_MACHINE_UNKNOWN;

	add_split(ret, ram, lowmem, 4 * GIB);
	for (size_t i = 0; !is_known && i < ARRAY_SIZE(machines); i++)
		add_split(ret, ram, vmmmaps_qemu_lowmem(machines[i], ram, max), 4 * GIB);
	add_split(ret, ram, lowmem, TIB);
	if (g->ram.machine == GUEST_MACHINE_PC) /* before pc-i440fx-2.0 */
		add_split(ret, ram, max ? max : 0xe0000000, 4 * GIB);
}

/* The length of what is below the hole, where that is mapped by itself, says where the hole is. */
static void other_splits(const struct choice *c, uint64_t ram, struct splits *ret)
{
	if (c->count > 1 && is_other_lowmem(c->pieces[0].len))
		add_split(ret, ram, c->pieces[0].len, 4 * GIB);
	for (size_t i = 0; i < ARRAY_SIZE(other_lowmems); i++)
		add_split(ret, ram, other_lowmems[i], 4 * GIB);
	add_split(ret, ram, 4 * GIB, 4 * GIB); /* the hole is mapped too */
}

/* The index of the block in the plan, or -1 when there are too many. */
static ssize_t add_block(struct ram_plan *p, const struct ram_block *b)
{
	for (size_t i = 0; i < p->block_count; i++) {
		if (same_block(&p->blocks[i], b))
			return (ssize_t)i;
	}
	if (p->block_count == VMMRAM_BLOCKS_MAX)
		return -1;
	p->blocks[p->block_count] = *b;
	return (ssize_t)p->block_count++;
}

static bool add_segment(struct ram_layout *l, const struct ram_segment *s)
{
	if (s->len == 0)
		return true;
	if (l->count == ARRAY_SIZE(l->segments) || s->gpa > ADDRESS_MAX ||
	    s->len > ADDRESS_MAX - s->gpa)
		return false;
	l->segments[l->count++] = *s;
	return true;
}

/* Lays the pieces one behind the other, with the hole in between. */
static bool lay_out(struct ram_plan *p, const struct choice *c, const struct split *split,
		    struct ram_layout *ret)
{
	uint64_t done = 0;

	ret->count = 0;
	for (size_t i = 0; i < c->count; i++) {
		uint64_t len = c->pieces[i].len;
		uint64_t low = done < split->lowmem ? smaller(len, split->lowmem - done) : 0;
		uint64_t above = done + low - smaller(done + low, split->lowmem);
		ssize_t block = add_block(p, &c->pieces[i]);
		struct ram_segment lower = {done, low, 0, (size_t)block};
		struct ram_segment upper = {split->high + above, len - low, low, (size_t)block};

		if (block < 0 || !add_segment(ret, &lower) || !add_segment(ret, &upper))
			return false;
		done += len;
	}
	return true;
}

static uint64_t hva_of(const struct ram_plan *p, const struct ram_segment *s)
{
	return p->blocks[s->block].hva + s->at;
}

static bool same_layout(const struct ram_plan *p, const struct ram_layout *a,
			const struct ram_plan *q, const struct ram_layout *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct ram_segment *x = &a->segments[i];
		const struct ram_segment *y = &b->segments[i];

		if (x->gpa != y->gpa || x->len != y->len || hva_of(p, x) != hva_of(q, y))
			return false;
	}
	return true;
}

/* Counts what was put behind the last layout, unless it is there already. */
static void keep_layout(struct ram_plan *p)
{
	const struct ram_layout *l = &p->layouts[p->layout_count];

	for (size_t i = 0; i < p->layout_count; i++) {
		if (same_layout(p, &p->layouts[i], p, l))
			return;
	}
	p->layout_count += l->count > 0;
}

static void add_layout(struct ram_plan *p, const struct choice *c, const struct split *split)
{
	if (p->layout_count < VMMRAM_LAYOUTS_MAX &&
	    lay_out(p, c, split, &p->layouts[p->layout_count]))
		keep_layout(p);
}

/* -- what QMP has told ------------------------------------------------------------------------ */

static const struct run *run_at(const struct runs *runs, uint64_t hva)
{
	for (size_t i = 0; i < runs->count; i++) {
		const struct run *r = &runs->v[i];

		if (hva >= r->first->start && hva - r->first->start < r->len)
			return r;
	}
	return NULL;
}

/* What is mapped of a block, in as many pieces as there are mappings. */
static bool lay_out_block(const struct choosing *c, struct ram_plan *p,
			  const struct guest_ram_block *told, struct ram_layout *ret)
{
	uint64_t len;

	for (uint64_t done = 0; done < told->len; done += len) {
		const struct run *r = run_at(c->runs, told->hva + done);
		struct ram_block b;
		ssize_t block;

		if (!r)
			return true;
		len = smaller(told->len - done, r->first->start + r->len - told->hva - done);
		b = block_of(r, told->hva + done - r->first->start, len);
		block = add_block(p, &b);
		if (block < 0 || !add_segment(ret, &(struct ram_segment){told->gpa + done, len, 0,
									 (size_t)block}))
			return false;
	}
	return true;
}

/* The VMM may say what it likes: only its own mappings count, and the order of the guest's
 * addresses. */
static void lay_out_told(const struct choosing *c, struct ram_plan *p)
{
	struct ram_layout *l = &p->layouts[p->layout_count];
	const struct guest_ram *ram = &c->guest->ram;
	uint64_t last = 0;

	for (size_t i = 0; i < ram->block_count; i++) {
		const struct guest_ram_block *b = &ram->blocks[i];

		if (b->gpa < last || b->len == 0 || b->len > ADDRESS_MAX || b->gpa > ADDRESS_MAX)
			return;
		last = b->gpa + b->len;
		if (!lay_out_block(c, p, b, l))
			return;
	}
	keep_layout(p);
}

static uint64_t total(const struct choice *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < c->count; i++)
		n += c->pieces[i].len;
	return n;
}

static void find_splits(const struct choosing *c, const struct choice *choice, struct splits *ret)
{
	ret->count = 0;
	if (c->is_qemu)
		qemu_splits(c->guest, total(choice), ret);
	else
		other_splits(choice, total(choice), ret);
}

/* The machine is known better than the mapping: each choice's first layout before the second
 * one of any. */
static void make_layouts(const struct choosing *c, struct ram_plan *p)
{
	struct splits splits[CHOICES_MAX];

	for (size_t i = 0; i < c->count; i++)
		find_splits(c, &c->choices[i], &splits[i]);
	for (size_t nth = 0; nth < SPLITS_MAX; nth++) {
		for (size_t i = 0; i < c->count; i++) {
			if (nth < splits[i].count)
				add_layout(p, &c->choices[i], &splits[i].v[nth]);
		}
	}
}

/* -- all ------------------------------------------------------------------------------------ */

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return n > ADDRESS_MAX ? 0 : (n + to - 1) / to * to;
}

/* What the command line tells; what is left, if it is in one piece; and guesses. */
static void choose(struct choosing *c)
{
	if (c->guest->ram.part_count) {
		choose_parts(c, true);
		choose_parts(c, false);
	}
	if (c->count == 0 || c->guest->ram.part_count == 1)
		choose_single(c);
	if (c->count == 0)
		choose_sum(c);
	if (c->count == 0)
		choose_largest(c);
	if (c->runs->count)
		choose_turned(c, &c->runs->v[0]);
}

static int make_plan(const struct guest *g, const struct maps *maps, const struct runs *runs,
		     struct ram_plan *ret)
{
	CLEANUP_FREE struct choosing *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->guest = g;
	c->maps = maps;
	c->runs = runs;
	c->is_qemu = vmmargs_is_qemu(g->vmm);
	c->ram_bytes = g->ram.base_bytes;
	c->ram_bytes = round_up(c->ram_bytes, c->is_qemu ? QEMU_RAM_ALIGN : PAGE);
	lay_out_told(c, ret);
	if (ret->layout_count == 0) {
		choose(c);
		make_layouts(c, ret);
	}
	return ret->layout_count ? 0 : -ENOENT;
}

int vmmmaps_choose(const char *text, size_t n, const struct guest *g, struct ram_plan *ret)
{
	CLEANUP_MAPS struct maps maps = {0};
	CLEANUP_RUNS struct runs runs = {0};
	CLEANUP_FREE struct ram_plan *plan = calloc(1, sizeof(*plan));
	int r = plan ? parse_maps(text, n, &maps) : -ENOMEM;

	if (r == 0)
		r = find_runs(&maps, &runs);
	if (r == 0)
		r = make_plan(g, &maps, &runs, plan);
	if (r == 0)
		*ret = *plan;
	return r;
}

bool ram_plan_equals(const struct ram_plan *a, const struct ram_plan *b)
{
	if (a->block_count != b->block_count || a->layout_count != b->layout_count)
		return false;
	for (size_t i = 0; i < a->block_count; i++) {
		if (!same_block(&a->blocks[i], &b->blocks[i]))
			return false;
	}
	for (size_t i = 0; i < a->layout_count; i++) {
		if (!same_layout(a, &a->layouts[i], b, &b->layouts[i]))
			return false;
	}
	return true;
}
