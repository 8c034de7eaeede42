#include "symsrc/retired.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/buf.h"

#define ADDRESS_BITS 48

struct span {
	uint64_t start, end;
};

struct gone {
	struct span span;
	uint32_t name_off, object_off; /* in names */
	uint16_t name_len, object_len;
	char type;
};

struct set {
	atomic_uint refs;
	uint32_t number;
	struct span span; /* of all */
	size_t count;
	struct gone *list; /* by address */
	char *names;
	size_t size; /* bytes of all this */
};

struct retired {
	atomic_uint refs;
	uint32_t number;
	uint32_t lost;	  /* sets up to this number have no names any more, */
	struct span span; /* and were here; of all of them, so that nobody else's names go there */
	size_t count;
	struct set *sets[RETIRED_SETS_MAX]; /* oldest first */
};

/* ---- life -------------------------------------------------------------------------------- */

static struct set *set_get(struct set *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

static void set_put(struct set *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(s->list);
	free(s->names);
	free(s);
}

const struct retired *retired_get(const struct retired *r)
{
	if (r)
		atomic_fetch_add_explicit(&((struct retired *)r)->refs, 1, memory_order_relaxed);
	return r;
}

void retired_put(const struct retired *r)
{
	struct retired *last = (struct retired *)r;

	if (!r || atomic_fetch_sub_explicit(&last->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < last->count; i++)
		set_put(last->sets[i]);
	free(last);
}

static size_t sum_of_sets(const struct retired *r)
{
	size_t sum = 0;

	for (size_t i = 0; i < r->count; i++)
		sum += r->sets[i]->size;
	return sum;
}

size_t retired_size(const struct retired *r)
{
	return r ? sizeof(*r) + sum_of_sets(r) : 0;
}

uint32_t retired_number(const struct retired *r)
{
	return r ? r->number : 0;
}

/* ---- what has gone ----------------------------------------------------------------------- */

static bool same_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && memcmp(a, b, a_len) == 0;
}

static bool is_at(const struct symtab *t, uint64_t addr, const struct symtab_hit *h)
{
	struct symtab_hit hit;

	return symtab_find(t, addr, &hit) && hit.start == h->start && hit.object &&
	       same_text(hit.name, hit.name_len, h->name, h->name_len) &&
	       same_text(hit.object, hit.object_len, h->object, h->object_len);
}

static uint64_t mark(uint64_t ip, uint32_t number)
{
	uint64_t marked = 1ULL << 62 | (uint64_t)(number & RETIRED_NUMBER_MAX) << ADDRESS_BITS |
			  (ip & ((1ULL << ADDRESS_BITS) - 1));

	return retired_address(marked) == ip ? marked : ip;
}

/* What is being made of one table after another. */
struct collection {
	struct gone *list;
	size_t count, cap;
	struct buf names;
	const char *object; /* the last one, which the next symbol's mostly is, too */
	uint32_t object_off;
};

static int append_name(struct buf *names, const char *name, size_t len, uint32_t *ret_off)
{
	*ret_off = (uint32_t)names->len;
	return buf_append(names, name, len);
}

static int take(struct collection *c, const struct symtab_hit *h, uint64_t end)
{
	struct gone g = {.span = {h->start, end},
			 .name_len = h->name_len,
			 .object_len = h->object_len,
			 .type = h->type};

	if (c->count == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 64;
		struct gone *more = realloc(c->list, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		c->list = more;
		c->cap = cap;
	}
	if (h->object != c->object) {
		if (append_name(&c->names, h->object, h->object_len, &c->object_off) < 0)
			return c->names.err;
		c->object = h->object;
	}
	g.object_off = c->object_off;
	if (append_name(&c->names, h->name, h->name_len, &g.name_off) < 0)
		return c->names.err;
	c->list[c->count++] = g;
	return 0;
}

/* 0, -ENOMEM, or -EFBIG: the names are more than a guest may keep. */
static int collect(struct collection *c, const struct symtab *old, const struct symtab *now,
		   struct span *ret)
{
	struct symtab_hit hit;
	size_t cursor = 0;
	uint64_t end;
	int r = 0;

	*ret = (struct span){UINT64_MAX, 0};
	while (symtab_next_of_object(old, &cursor, &hit, &end)) {
		if (is_at(now, hit.start, &hit) && is_at(now, end - 1, &hit))
			continue;
		if (hit.start < ret->start)
			ret->start = hit.start;
		ret->end = end;
		if (r == 0)
			r = take(c, &hit, end);
		if (r == -ENOMEM)
			return r;
	}
	return r;
}

static struct set *make_set(struct collection *c, const struct span *span, uint32_t number)
{
	struct set *s = calloc(1, sizeof(*s));
	struct gone *list = realloc(c->list, c->count * sizeof(*list));
	size_t len;

	if (list)
		c->list = list;
	if (!s)
		return NULL;
	s->names = buf_steal(&c->names, &len);
	if (!s->names) {
		free(s);
		return NULL;
	}
	atomic_init(&s->refs, 1);
	s->number = number;
	s->span = *span;
	s->count = c->count;
	s->list = c->list;
	s->size = sizeof(*s) + c->count * sizeof(*s->list) + len;
	c->list = NULL;
	return s;
}

/* ---- the list of them -------------------------------------------------------------------- */

static void lose(struct retired *r, uint32_t number, const struct span *span)
{
	if (!r->lost || span->start < r->span.start)
		r->span.start = span->start;
	if (span->end > r->span.end)
		r->span.end = span->end;
	if (number > r->lost)
		r->lost = number;
}

static void lose_oldest(struct retired *r)
{
	lose(r, r->sets[0]->number, &r->sets[0]->span);
	set_put(r->sets[0]);
	r->count--;
	memmove(&r->sets[0], &r->sets[1], r->count * sizeof(struct set *));
}

/* Without its newest set. */
static struct retired *copy_of(const struct retired *before)
{
	struct retired *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	if (before)
		memcpy(&r->number, &before->number, sizeof(*r) - offsetof(struct retired, number));
	atomic_init(&r->refs, 1);
	for (size_t i = 0; i < r->count; i++)
		set_get(r->sets[i]);
	return r;
}

/* set NULL: its names are too many to be kept. */
static struct retired *add_set(const struct retired *before, struct set *set,
			       const struct span *span)
{
	struct retired *r = copy_of(before);

	if (!r)
		return NULL;
	r->number++;
	while (r->count && set &&
	       (r->count == RETIRED_SETS_MAX || sum_of_sets(r) + set->size > RETIRED_MEMORY_MAX))
		lose_oldest(r);
	if (set)
		r->sets[r->count++] = set_get(set);
	else
		lose(r, r->number, span);
	return r;
}

static int make(const struct retired *before, struct collection *c, const struct span *span,
		bool named, const struct retired **ret)
{
	uint32_t number = retired_number(before) + 1;
	struct set *set = NULL;

	if (named && number <= RETIRED_NUMBER_MAX) {
		set = make_set(c, span, number);
		if (!set)
			return -ENOMEM;
	}
	*ret = add_set(before, set, span);
	set_put(set);
	return *ret ? 0 : -ENOMEM;
}

int retired_make(const struct retired *before, const struct symtab *old, const struct symtab *now,
		 const struct retired **ret)
{
	struct collection c = {0};
	struct span span;
	int r;

	buf_init(&c.names, RETIRED_MEMORY_MAX / 2);
	r = collect(&c, old, now, &span);
	if (r == 0 && c.count == 0)
		*ret = retired_get(before);
	else if (r != -ENOMEM)
		r = make(before, &c, &span,
			 r == 0 && c.count * sizeof(c.list[0]) < RETIRED_MEMORY_MAX / 2, ret);
	buf_deinit(&c.names);
	free(c.list);
	return r;
}

/* ---- questions --------------------------------------------------------------------------- */

static bool is_in(const struct span *s, uint64_t ip)
{
	return ip >= s->start && ip < s->end;
}

static const struct gone *find(const struct set *s, uint64_t ip)
{
	size_t lo = 0, hi = s->count;

	if (!is_in(&s->span, ip))
		return NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->list[mid].span.end <= ip)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->count && is_in(&s->list[lo].span, ip) ? &s->list[lo] : NULL;
}

uint64_t retired_move(const struct retired *r, uint32_t since, uint64_t ip)
{
	if (!r || since >= r->number || retired_is_marked(ip))
		return ip;
	if (since < r->lost && is_in(&r->span, ip))
		return mark(ip, 0);
	for (size_t i = 0; i < r->count; i++) {
		if (r->sets[i]->number > since && find(r->sets[i], ip))
			return mark(ip, r->sets[i]->number);
	}
	return ip;
}

bool retired_find(const struct retired *r, uint64_t marked, struct symtab_hit *ret)
{
	uint32_t number = marked >> ADDRESS_BITS & RETIRED_NUMBER_MAX;

	for (size_t i = 0; r && i < r->count; i++) {
		const struct set *s = r->sets[i];
		const struct gone *g =
			s->number == number ? find(s, retired_address(marked)) : NULL;

		if (!g)
			continue;
		*ret = (struct symtab_hit){.start = g->span.start,
					   .name = s->names + g->name_off,
					   .name_len = g->name_len,
					   .object = s->names + g->object_off,
					   .object_len = g->object_len,
					   .type = g->type};
		return true;
	}
	return false;
}
