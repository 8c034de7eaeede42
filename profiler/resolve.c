#include "profiler/resolve.h"

#include <errno.h>
#include <string.h>

#include "profiler/perfdata/recording.h"
#include "profiler/radix.h"
#include "profiler/secret.h"
#include "symsrc/base/bulk.h"
#include "symsrc/base/text.h"

/* The kernel's half of a 32-bit address space begins at PAGE_OFFSET, here in the configuration
 * that gives it most (arch/x86/Kconfig, VMSPLIT_1G). */
#define NARROW_KERNEL_FROM 0x40000000ULL

/* Names lie megabytes apart, where the processor does not look ahead by itself: rows that it is
 * told of before they are needed. */
#define AHEAD 8

#define ADDRESS_TEXT_SIZE sizeof("0xffffffffffffffff")

/* A row in the making. name NULL: the address stands for itself; else it is where the symbol
 * begins, which is no part of the content, since boots differ in it. */
struct row {
	uint64_t samples;
	uint64_t weight;
	uint64_t address;
	const char *name;
	const char *object; /* NULL: the kernel itself; without a name: nobody knows */
	uint16_t name_len;
	uint16_t object_len;
};

/* Rows and a hash table of them, by content: of more than one boot, and since static functions
 * share names. What a slot holds of the hash spares most looks at rows. */
struct rows {
	struct row *list;
	size_t count;
	uint64_t *slots; /* 32 bits of the hash, and index + 1; 0: free */
	size_t mask;
	uint64_t seed;
	/* The last ones that came, in a circle: their names and then their slots are there when
	 * they are needed. */
	struct pending {
		struct row row; /* samples 0: none */
		uint64_t hash;
	} pending[2 * AHEAD];
	unsigned next;
};

/* What the work needs at once. */
struct workshop {
	struct bulk memory;
	struct radix_item *items, *room; /* for all entries, or all rows and one more */
	struct rows rows;
	uint64_t user_weight; /* of the row of user space */
};

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 29;
}

static uint64_t hash_bytes(uint64_t h, const char *s, size_t n)
{
	uint64_t word;

	for (; n >= sizeof(word); n -= sizeof(word), s += sizeof(word)) {
		memcpy(&word, s, sizeof(word));
		h = mix(h, word);
	}
	word = 0;
	memcpy(&word, s, n);
	return mix(h, word);
}

static uint64_t hash_row(const struct row *r, uint64_t seed)
{
	uint64_t h = r->name_len ^ seed;

	if (!r->name)
		return secret_mix(r->address, seed, 0);
	h = hash_bytes(h, r->name, r->name_len);
	return r->object ? hash_bytes(h, r->object, r->object_len) : h;
}

static bool same_text(const char *a, const char *b, size_t n)
{
	return a == b || (a && b && memcmp(a, b, n) == 0);
}

static bool same_row(const struct row *a, const struct row *b)
{
	if (!a->name || !b->name)
		return a->name == b->name && a->address == b->address;
	return a->name_len == b->name_len && a->object_len == b->object_len &&
	       same_text(a->name, b->name, a->name_len) &&
	       same_text(a->object, b->object, a->object_len);
}

/* Where the row is or belongs. */
static uint64_t *slot_of(const struct rows *rows, const struct row *r, uint64_t hash)
{
	size_t i = hash & rows->mask;

	while (rows->slots[i] && (rows->slots[i] >> 32 != hash >> 32 ||
				  !same_row(&rows->list[(uint32_t)rows->slots[i] - 1], r)))
		i = (i + 1) & rows->mask;
	return &rows->slots[i];
}

static void file(struct rows *rows, const struct row *r, uint64_t hash)
{
	uint64_t *slot = slot_of(rows, r, hash);

	if (*slot) {
		struct row *known = &rows->list[(uint32_t)*slot - 1];

		known->samples += r->samples;
		known->weight += r->weight;
		known->address = r->address; /* the oldest boot comes first */
		return;
	}
	rows->list[rows->count++] = *r;
	*slot = hash >> 32 << 32 | rows->count;
}

/* In the order that they come. r NULL: only what is pending. */
static void rows_add(struct rows *rows, const struct row *r)
{
	unsigned n = rows->next++;
	struct pending *oldest = &rows->pending[n % (2 * AHEAD)];
	struct pending *middle = &rows->pending[(n + AHEAD) % (2 * AHEAD)];

	if (oldest->row.samples)
		file(rows, &oldest->row, oldest->hash);
	oldest->row.samples = 0;
	if (r) {
		oldest->row = *r;
		__builtin_prefetch(r->name);
	}
	if (middle->row.samples) {
		middle->hash = hash_row(&middle->row, rows->seed);
		__builtin_prefetch(&rows->slots[middle->hash & rows->mask]);
	}
}

static void rows_flush(struct rows *rows)
{
	for (unsigned i = 0; i < 2 * AHEAD; i++)
		rows_add(rows, NULL);
}

/* A 32-bit kernel's kallsyms has addresses of 8 digits. */
static bool is_narrow(const struct symbols *s)
{
	return s && s->kallsyms && s->kallsyms->size > 8 && s->kallsyms->data[8] == ' ';
}

static bool is_kernel_address(uint64_t ip, bool narrow)
{
	return narrow ? ip >= NARROW_KERNEL_FROM && ip <= UINT32_MAX : address_is_upper(ip);
}

/* By address, so that symbols are gone through in their order, and what belongs to one stands
 * together. The value: how many samples, or where there are weights which entry it is. */
static const struct radix_item *sort_by_address(const struct tally_epoch_copy *e,
						const struct retired *retired, struct workshop *w)
{
	for (size_t i = 0; i < e->entry_count; i++)
		w->items[i] =
			(struct radix_item){retired_move(retired, e->retired, e->entries[i].ip),
					    e->weights ? i : e->entries[i].count};
	return radix_sort(w->items, w->room, e->entry_count);
}

/* By what the addresses of one boot get their names. */
struct whose {
	const struct symbols *symbols;	    /* NULL: none */
	const struct retired *retired;	    /* likewise; theirs */
	bool marked;			    /* some addresses may be, by retired_move() */
	const struct recording_guest *maps; /* likewise */
};

/* m: named as perf names it, in brackets; NULL: none. */
static void put_in_map(struct row *row, const struct recording_map *m)
{
	size_t n = m ? strlen(m->name) : 0;

	if (n <= 2)
		return;
	row->object = m->name + 1;
	row->object_len = (uint16_t)(n - 2);
}

static bool is_marked(uint64_t ip, const struct whose *whose)
{
	return whose->marked && retired_is_marked(ip);
}

static uint64_t address_of(uint64_t ip, const struct whose *whose)
{
	return is_marked(ip, whose) ? retired_address(ip) : ip;
}

static bool has_name(uint64_t ip, const struct whose *whose, size_t *cursor, struct symtab_hit *ret)
{
	if (is_marked(ip, whose))
		return retired_find(whose->retired, ip, ret);
	return whose->symbols && symtab_find_next(whose->symbols->table, ip, cursor, ret);
}

/* Low addresses are not looked up, although kallsyms holds some (x86's per-CPU symbols): what
 * runs there is firmware, boot code, or user code with the wrong misc bits. */
static struct row row_of(uint64_t ip, const struct whose *whose, bool is_kernel, size_t *cursor)
{
	struct row row = {.address = address_of(ip, whose)};
	struct symtab_hit hit;

	if (is_kernel && has_name(ip, whose, cursor, &hit)) {
		row.address = hit.start;
		row.name = hit.name;
		row.name_len = hit.name_len;
		row.object = hit.object;
		row.object_len = hit.object_len;
	} else if (whose->maps) {
		put_in_map(&row, recording_map_at(whose->maps, row.address));
	}
	return row;
}

static void add_entries(struct rows *rows, const struct tally_epoch_copy *e,
			const struct radix_item *list, const struct whose *whose,
			struct profile *sums)
{
	bool narrow = is_narrow(whose->symbols);
	struct row open = {0}; /* of the symbol that the entries are of now */
	size_t cursor = 0;

	for (size_t i = 0; i < e->entry_count; i++) {
		bool is_kernel = is_kernel_address(address_of(list[i].key, whose), narrow);
		struct row row = row_of(list[i].key, whose, is_kernel, &cursor);
		size_t value = list[i].value;
		uint64_t samples = e->weights ? e->entries[value].count : value;

		if (!row.name)
			sums->unresolved += samples;
		if (!is_kernel)
			sums->contradictory += samples;
		/* Each symbol's name has a place of its own. */
		if (row.name != open.name || row.address != open.address) {
			if (open.samples)
				rows_add(rows, &open);
			open = row;
		}
		open.samples += samples;
		open.weight += e->weights ? e->weights[value] : samples;
	}
	if (open.samples)
		rows_add(rows, &open);
	rows_flush(rows);
}

static void add_epoch(struct workshop *w, const struct tally_epoch_copy *e,
		      const struct whose *whose, struct profile *sums)
{
	add_entries(&w->rows, e, sort_by_address(e, whose->retired, w), whose, sums);
	sums->guest_kernel += e->kernel;
	sums->guest_user += e->user;
	w->user_weight += e->weights ? e->user_weight : e->user;
	sums->contradictory += e->user_contradictory;
	sums->table_full += e->table_full;
}

/* ---- text -------------------------------------------------------------------------------- */

/* Bytes that a string of a stranger takes at most when it is made safe. */
static size_t room_for(size_t n)
{
	return 4 * n + sizeof("[]");
}

static size_t room_for_row(const struct row *r)
{
	return (r->name ? room_for(r->name_len) : ADDRESS_TEXT_SIZE) + room_for(r->object_len);
}

static void put_address(char *to, uint64_t address)
{
	static const char digits[] = "0123456789abcdef";

	to[0] = '0';
	to[1] = 'x';
	for (int i = 0; i < 16; i++)
		to[2 + i] = digits[address >> (60 - 4 * i) & 15];
	to[18] = '\0';
}

/* A word: no blank may break a column. Returns the end, where a NUL stands. */
static char *put_text(char *to, const char *s, size_t n)
{
	size_t len = n;

	if (text_is_word(s, n)) {
		memcpy(to, s, n);
		to[n] = '\0';
		return to + n;
	}
	len = text_escape(to, 4 * n + 1, s, n);
	for (char *blank = to; (blank = strchr(blank, ' '));)
		*blank = '_';
	return to + len;
}

/* What writes the rows' strings one behind the other. */
struct writer {
	char *to;
	const char *object; /* the last one, which the next row's mostly is, too, */
	const char *text;   /* and what was made of it */
};

static const char *put_object(struct writer *w, const struct row *r)
{
	if (!r->object)
		return PROFILE_OBJECT_KERNEL;
	if (r->object == w->object)
		return w->text;
	w->object = r->object;
	w->text = w->to;
	*w->to++ = '[';
	w->to = put_text(w->to, r->object, r->object_len);
	*w->to++ = ']';
	*w->to++ = '\0';
	return w->text;
}

static struct profile_row write_row(struct writer *w, const struct row *r)
{
	struct profile_row row = {
		.samples = r->samples,
		.weight = r->weight,
		.type = 'g',
		.unnamed = !r->name,
		.symbol = w->to,
		.address = r->address,
	};

	if (r->name) {
		w->to = put_text(w->to, r->name, r->name_len) + 1;
		row.object = put_object(w, r);
	} else {
		put_address(w->to, r->address);
		w->to += ADDRESS_TEXT_SIZE;
		row.object = r->object ? put_object(w, r) : PROFILE_OBJECT_UNKNOWN;
	}
	return row;
}

static const struct profile_row user_row = {
	.type = 'u', .symbol = PROFILE_SYMBOL_USER, .object = PROFILE_SYMBOL_USER};

/* Hottest first. Those with equal samples stay in the order of their addresses: most rows of a
 * large profile have one sample, and so all that is written of them is gone through as it lies in
 * memory. */
static const struct radix_item *sort_rows(const struct workshop *w, uint64_t user,
					  size_t *ret_count)
{
	const struct rows *rows = &w->rows;
	uint64_t most = w->user_weight;
	size_t n = 0;

	for (size_t i = 0; i < rows->count; i++) {
		if (rows->list[i].weight > most)
			most = rows->list[i].weight;
	}
	if (user)
		w->items[n++] = (struct radix_item){most - w->user_weight, rows->count};
	for (size_t i = 0; i < rows->count; i++)
		w->items[n++] = (struct radix_item){most - rows->list[i].weight, i};
	*ret_count = n;
	return radix_sort(w->items, w->room, n);
}

static int write_rows(const struct workshop *w, struct profile *p)
{
	const struct rows *rows = &w->rows;
	struct writer writer = {0};
	size_t room = 0, size = (rows->count + 1) * sizeof(p->rows[0]);
	const struct radix_item *places = sort_rows(w, p->guest_user, &p->row_count);
	int r;

	for (size_t i = 0; i < rows->count; i++)
		room += room_for_row(&rows->list[i]);
	r = bulk_init(&p->memory, bulk_room(size) + bulk_room(room));
	if (r < 0) {
		p->row_count = 0;
		return r;
	}
	p->rows = bulk_take(&p->memory, size);
	writer.to = bulk_take(&p->memory, room);
	for (size_t i = 0; i < p->row_count; i++) {
		if (i + AHEAD < p->row_count && places[i + AHEAD].value < rows->count)
			__builtin_prefetch(rows->list[places[i + AHEAD].value].name);
		if (places[i].value < rows->count) {
			p->rows[i] = write_row(&writer, &rows->list[places[i].value]);
		} else {
			p->rows[i] = user_row;
			p->rows[i].samples = p->guest_user;
			p->rows[i].weight = w->user_weight;
		}
	}
	return 0;
}

/* ---- all of it --------------------------------------------------------------------------- */

static int workshop_init(struct workshop *w, const struct tally_copy *copy)
{
	size_t all = 0, slots = 16, items, rows;
	int r;

	for (unsigned i = 0; i < copy->epoch_count; i++)
		all += copy->epochs[i].entry_count;
	while (slots < 2 * all)
		slots *= 2;
	items = (all + 1) * sizeof(w->items[0]);
	rows = all * sizeof(w->rows.list[0]);
	r = bulk_init(&w->memory, 2 * bulk_room(items) + bulk_room(rows) +
					  bulk_room(slots * sizeof(w->rows.slots[0])));
	if (r < 0)
		return r;
	w->items = bulk_take(&w->memory, items);
	w->room = bulk_take(&w->memory, items);
	w->rows = (struct rows){.mask = slots - 1, .seed = secret_seed()};
	w->rows.slots = bulk_take(&w->memory, slots * sizeof(w->rows.slots[0]));
	w->rows.list = bulk_take(&w->memory, rows);
	return 0;
}

int resolve(const struct tally_copy *copy, const struct symbols *const symbols[SYMSRC_EPOCHS_KEPT],
	    struct profile *ret)
{
	struct workshop w;
	int r = workshop_init(&w, copy);

	if (r < 0)
		return r;
	w.user_weight = 0;
	for (unsigned i = 0; i < copy->epoch_count; i++) {
		const struct retired *retired = symbols[i] ? symbols[i]->retired : NULL;
		const struct whose whose = {.symbols = symbols[i],
					    .retired = retired,
					    .marked = retired || copy->epochs[i].retired,
					    .maps = copy->maps};

		add_epoch(&w, &copy->epochs[i], &whose, ret);
	}
	ret->samples = ret->guest_kernel + ret->guest_user;
	ret->weight = copy->weight;
	ret->epochs = copy->epoch_count;
	r = write_rows(&w, ret);
	bulk_deinit(&w.memory);
	return r;
}
