/* Where the addresses may be, and what they may mean: see the table in ksyms.h. */
#include "symsrc/memory/ksyms_impl.h"

#include <errno.h>
#include <stdlib.h>

struct list {
	struct ksyms_guess *at;
	size_t count;
};

static void add(struct list *l, const char *layout, enum ksyms_meaning meaning, uint64_t offsets,
		uint64_t base)
{
	if (l->count < KSYMS_GUESSES_MAX)
		l->at[l->count++] = (struct ksyms_guess){layout, meaning, offsets, base};
}

/* 6.4 and newer: behind token_index. */
static void add_behind(struct list *l, uint64_t from, uint64_t seqs, uint64_t size, unsigned align)
{
	uint64_t at = KSYMS_ALIGN(from, align), end = at + size;
	uint64_t base = KSYMS_ALIGN(end, 8), late = KSYMS_ALIGN(end + seqs, 8);

	add(l, "6.4 to 6.14: behind the tokens, per-CPU absolute", KSYMS_PERCPU, at, base);
	add(l, "6.15 to 6.19: behind the tokens, relative", KSYMS_RELATIVE, at, base);
	add(l, "7.0 and newer: behind the tokens, place-relative", KSYMS_PLACE, at, 0);
	add(l, "behind the tokens, base behind seqs, per-CPU absolute", KSYMS_PERCPU, at, late);
	add(l, "behind the tokens, base behind seqs, relative", KSYMS_RELATIVE, at, late);
}

/* To 6.3: in front of num_syms. */
static void add_before(struct list *l, uint64_t num_syms, uint64_t size, unsigned align)
{
	uint64_t base = num_syms - 8;

	add(l, "4.6 to 6.3: before the names, per-CPU absolute", KSYMS_PERCPU,
	    base - KSYMS_ALIGN(size, align), base);
	add(l, "4.6 to 6.3: before the names, relative", KSYMS_RELATIVE,
	    base - KSYMS_ALIGN(size, align), base);
	add(l, "before the names, place-relative", KSYMS_PLACE, num_syms - KSYMS_ALIGN(size, align),
	    0);
}

size_t ksyms_list_guesses(const struct ksyms_tokens *t, const struct ksyms_names *n,
			  struct ksyms_guess *list)
{
	uint64_t size = (uint64_t)n->count * 4, seqs = (uint64_t)n->count * 3;
	uint64_t behind = t->index + KSYMS_INDEX_SIZE;
	struct list l = {.at = list};

	/* Labels were aligned to 8 bytes each; since 7.0 only to what they need. */
	for (unsigned align = 8; align >= 4; align -= 4) {
		add_behind(&l, behind, seqs, size, align);
		if (n->num_syms > 2 * size + 16)
			add_before(&l, n->num_syms, size, align);
		add_behind(&l, behind + seqs, 0, size, align);
	}
	if (n->num_syms > 2 * size)
		add(&l, "to 4.5: before the names, absolute", KSYMS_ABSOLUTE,
		    n->num_syms - 2 * size, 0);
	add(&l, "behind the tokens, absolute", KSYMS_ABSOLUTE, KSYMS_ALIGN(behind, 8), 0);
	add(&l, "behind tokens and seqs, absolute", KSYMS_ABSOLUTE, KSYMS_ALIGN(behind + seqs, 8),
	    0);
	return l.count;
}

/* ---- decoding ------------------------------------------------------------------------------- */

/* place: what an entry's own address is at i = 0. */
static uint64_t address_at(const uint8_t *p, size_t i, enum ksyms_meaning meaning, uint64_t base,
			   uint64_t place)
{
	int64_t v;

	if (meaning == KSYMS_ABSOLUTE)
		return ksyms_u64(p + 8 * i);
	v = (int32_t)ksyms_u32(p + 4 * i);
	switch (meaning) {
	case KSYMS_PERCPU: return v >= 0 ? (uint64_t)v : base - 1 - (uint64_t)v;
	case KSYMS_RELATIVE: return base + (uint32_t)v;
	default: return place + 4 * i + (uint64_t)v;
	}
}

static int decode(const uint8_t *p, size_t n, enum ksyms_meaning meaning, uint64_t base,
		  uint64_t place, uint64_t *ret)
{
	uint64_t address, last = 0;

	for (size_t i = 0; i < n; i++) {
		address = address_at(p, i, meaning, base, place);
		if (address < last)
			return -EBADMSG;
		last = ret[i] = address;
	}
	return 0;
}

static int load_base(struct ram *ram, const struct ksyms_guess *g, uint64_t *ret)
{
	uint64_t base = 0;
	int r = g->base ? ram_read_u64(ram, g->base, &base) : 0;

	/* Whatever is no offset of a per-CPU variable is in the kernel's image. */
	if (r == 0 && g->base && base < IMAGE_VA_START)
		r = -EBADMSG;
	if (r == 0)
		*ret = base;
	return r;
}

int ksyms_load_addresses(struct ram *ram, const struct ksyms_guess *g, uint64_t slide, size_t n,
			 uint64_t *ret_base, uint64_t *ret)
{
	size_t size = n * (g->meaning == KSYMS_ABSOLUTE ? sizeof(uint64_t) : sizeof(uint32_t));
	struct ksyms_window w;
	uint64_t base = 0;
	int r = load_base(ram, g, &base);

	if (r < 0)
		return r;
	r = ksyms_window_read(ram, g->offsets, size, &w);
	if (r < 0)
		return r;
	r = w.err;
	if (r == 0)
		r = decode(w.bytes, n, g->meaning, base, g->offsets + slide, ret);
	ksyms_window_deinit(&w);
	if (r == 0)
		*ret_base = base;
	return r;
}
