#include "profiler/resolve.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/text.h"

/* The kernel's half of a 32-bit address space begins at PAGE_OFFSET, here in the configuration
 * that gives it most (arch/x86/Kconfig, VMSPLIT_1G). */
#define NARROW_KERNEL_FROM 0x40000000ULL

#define ADDRESS_TEXT_SIZE sizeof("0xffffffffffffffff")

/* A row in the making. name NULL: the address stands for itself. */
struct row {
	uint64_t samples;
	uint64_t address; /* 0 where there is a name */
	uint64_t start;	  /* of the symbol; no part of the content, since boots differ in it */
	const char *name;
	const char *object; /* NULL: the kernel itself */
	uint16_t name_len;
	uint16_t object_len;
};

/* Rows and a hash table of them, by content. */
struct rows {
	struct row *list;
	size_t count;
	uint32_t *slots; /* index + 1; 0: free */
	size_t mask;
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

/* The names are those of one guest, and a guest slows its own profile only: no secret here. */
static uint64_t hash_row(const struct row *r)
{
	uint64_t h = mix(r->name_len, r->address);

	if (r->name)
		h = hash_bytes(h, r->name, r->name_len);
	if (r->object)
		h = hash_bytes(h, r->object, r->object_len);
	return h ^ h >> 32;
}

static bool same_text(const char *a, const char *b, size_t n)
{
	return a == b || (a && b && memcmp(a, b, n) == 0);
}

static bool same_row(const struct row *a, const struct row *b)
{
	return a->address == b->address && a->name_len == b->name_len &&
	       a->object_len == b->object_len && same_text(a->name, b->name, a->name_len) &&
	       same_text(a->object, b->object, a->object_len);
}

static int rows_init(struct rows *rows, size_t most)
{
	size_t slots = 16;

	while (slots < 2 * most)
		slots *= 2;
	rows->list = malloc((most + 1) * sizeof(rows->list[0]));
	rows->slots = calloc(slots, sizeof(rows->slots[0]));
	rows->mask = slots - 1;
	return rows->list && rows->slots ? 0 : -ENOMEM;
}

static void rows_deinit(struct rows *rows)
{
	free(rows->list);
	free(rows->slots);
}

static void rows_add(struct rows *rows, const struct row *r)
{
	size_t i = hash_row(r) & rows->mask;

	while (rows->slots[i] && !same_row(&rows->list[rows->slots[i] - 1], r))
		i = (i + 1) & rows->mask;
	if (rows->slots[i]) {
		rows->list[rows->slots[i] - 1].samples += r->samples;
		rows->list[rows->slots[i] - 1].start = r->start; /* the oldest boot comes first */
		return;
	}
	rows->list[rows->count++] = *r;
	rows->slots[i] = (uint32_t)rows->count;
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

/* By address, so that lookups go through the symbols in their order and what belongs to one
 * symbol stands together. Radix sort, a byte a pass, those that are all the same left out;
 * both arrays hold n entries, and the result is returned. */
static struct counts_entry *sort_by_address(struct counts_entry *from, struct counts_entry *to,
					    size_t n)
{
	for (unsigned shift = 0; shift < 64; shift += 8) {
		size_t at[256] = {0};
		size_t sum = 0;
		struct counts_entry *swap;

		for (size_t i = 0; i < n; i++)
			at[from[i].ip >> shift & 255]++;
		if (n == 0 || at[from[0].ip >> shift & 255] == n)
			continue;
		for (size_t i = 0; i < 256; i++) {
			size_t count = at[i];

			at[i] = sum;
			sum += count;
		}
		for (size_t i = 0; i < n; i++)
			to[at[from[i].ip >> shift & 255]++] = from[i];
		swap = from;
		from = to;
		to = swap;
	}
	return from;
}

/* Low addresses are not looked up, although kallsyms holds some (x86's per-CPU symbols): what
 * runs there is firmware, boot code, or user code with the wrong misc bits. */
static struct row row_of(uint64_t ip, const struct symbols *s, bool narrow)
{
	struct row row = {0};
	struct symtab_hit hit;

	if (s && is_kernel_address(ip, narrow) && symtab_find(s->table, ip, &hit)) {
		row.start = hit.start;
		row.name = hit.name;
		row.name_len = hit.name_len;
		row.object = hit.object;
		row.object_len = hit.object_len;
	} else {
		row.address = ip;
	}
	return row;
}

/* Of one symbol of one table: names lie in the arena, each symbol's at a place of its own. */
static bool is_same_symbol(const struct row *a, const struct row *b)
{
	return a->name == b->name && a->object == b->object && a->address == b->address;
}

static void add_entries(struct rows *rows, const struct counts_entry *e, size_t n,
			const struct symbols *s, struct profile *sums)
{
	bool narrow = is_narrow(s);
	struct row open = {0}; /* of the symbol that the entries are of now */

	for (size_t i = 0; i < n; i++) {
		struct row row = row_of(e[i].ip, s, narrow);

		if (!row.name)
			sums->unresolved += e[i].count;
		if (!is_kernel_address(e[i].ip, narrow))
			sums->contradictory += e[i].count;
		if (!is_same_symbol(&row, &open)) {
			if (open.samples)
				rows_add(rows, &open);
			open = row;
		}
		open.samples += e[i].count;
	}
	if (open.samples)
		rows_add(rows, &open);
}

static int add_epoch(struct rows *rows, struct tally_epoch_copy *e, const struct symbols *s,
		     struct profile *sums)
{
	struct counts_entry *room = malloc((e->entry_count + 1) * sizeof(*room));

	if (!room)
		return -ENOMEM;
	add_entries(rows, sort_by_address(e->entries, room, e->entry_count), e->entry_count, s,
		    sums);
	free(room);
	sums->guest_kernel += e->kernel;
	sums->guest_user += e->user;
	sums->contradictory += e->user_contradictory;
	sums->table_full += e->table_full;
	return 0;
}

/* ---- text -------------------------------------------------------------------------------- */

/* Bytes that a string of a stranger takes at most when it is made safe. */
static size_t room_for(const char *s, size_t n)
{
	return (text_is_word(s, n) ? n : 4 * n) + sizeof("[]");
}

static size_t room_for_row(const struct row *r)
{
	if (!r->name)
		return ADDRESS_TEXT_SIZE;
	return room_for(r->name, r->name_len) +
	       (r->object ? room_for(r->object, r->object_len) : 0);
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

/* Writes the row's strings at *to, which is moved behind them. */
static void name_row(const struct row *r, struct profile_row *row, char **to)
{
	*row = (struct profile_row){.samples = r->samples,
				    .type = 'g',
				    .symbol = *to,
				    .address = r->name ? r->start : r->address};
	if (!r->name) {
		put_address(*to, r->address);
		*to += ADDRESS_TEXT_SIZE;
		row->object = PROFILE_OBJECT_UNKNOWN;
		return;
	}
	*to = put_text(*to, r->name, r->name_len) + 1;
	row->object = PROFILE_OBJECT_KERNEL;
	if (!r->object)
		return;
	row->object = *to;
	*(*to)++ = '[';
	*to = put_text(*to, r->object, r->object_len);
	*(*to)++ = ']';
	*(*to)++ = '\0';
}

/* What decides a row's place: hottest first, then by name. The first 16 bytes of the symbol, as
 * numbers that sort as they do, so that most comparisons need not look at strings. An address
 * is all told by its number. */
struct place {
	uint64_t samples;
	uint64_t prefix[2];
	const struct profile_row *row;
};

static uint64_t prefix_of(const char *s, size_t n)
{
	uint64_t prefix = 0;

	memcpy(&prefix, s, n < sizeof(prefix) ? n : sizeof(prefix));
	return be64toh(prefix);
}

static struct place place_of(const struct row *r, const struct profile_row *row)
{
	struct place p = {.samples = row->samples, .row = row};
	size_t n = strlen(row->symbol);

	p.prefix[0] = prefix_of(row->symbol, n);
	p.prefix[1] = n > 8 ? prefix_of(row->symbol + 8, n - 8) : 0;
	if (r && !r->name)
		p.prefix[1] = r->address;
	return p;
}

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a;
	const struct place *y = b;
	int r;

	if (x->samples != y->samples)
		return x->samples < y->samples ? 1 : -1;
	for (int i = 0; i < 2; i++) {
		if (x->prefix[i] != y->prefix[i])
			return x->prefix[i] < y->prefix[i] ? -1 : 1;
	}
	r = strcmp(x->row->symbol, y->row->symbol);
	return r ? r : strcmp(x->row->object, y->row->object);
}

/* A byte of what most places differ in, the least significant one first: the first 8 bytes of the
 * symbol, then the samples, most of them first. */
static unsigned key_byte(const struct place *p, unsigned byte)
{
	uint64_t key = byte < 8 ? p->prefix[0] : ~p->samples;

	return (unsigned char)(key >> 8 * (byte % 8));
}

/* One pass of a radix sort. False when they are all the same in that byte: nothing was done. */
static bool sort_by_byte(const struct place *from, struct place *to, size_t n, unsigned byte)
{
	size_t at[256] = {0};
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		at[key_byte(&from[i], byte)]++;
	if (at[key_byte(&from[0], byte)] == n)
		return false;
	for (size_t i = 0; i < 256; i++) {
		size_t count = at[i];

		at[i] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		to[at[key_byte(&from[i], byte)]++] = from[i];
	return true;
}

static bool is_sorted(const struct place *p, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (compare_places(&p[i - 1], &p[i]) > 0)
			return false;
	}
	return true;
}

/* Puts those in order that the radix sort leaves as they came, which for addresses is right. */
static void sort_runs(struct place *p, size_t n)
{
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && p[end].samples == p[i].samples &&
				  p[end].prefix[0] == p[i].prefix[0];)
			end++;
		if (!is_sorted(p + i, end - i))
			qsort(p + i, end - i, sizeof(*p), compare_places);
	}
}

/* Tens of thousands of rows with a sample each are usual: a sort by comparisons would take most
 * of the time that a profile takes. room: for n places, too. Returns where the result is. */
static struct place *sort_places(struct place *list, struct place *room, size_t n)
{
	for (unsigned byte = 0; n > 0 && byte < 16; byte++) {
		struct place *from = list;

		if (sort_by_byte(list, room, n, byte)) {
			list = room;
			room = from;
		}
	}
	sort_runs(list, n);
	return list;
}

static const struct profile_row user_row = {
	.type = 'u', .symbol = PROFILE_SYMBOL_USER, .object = PROFILE_SYMBOL_USER};

/* Gives each row its strings, all in one block, in unsorted, and puts them in order. places: twice
 * as many as there are rows, and two. */
static void write_rows(const struct rows *rows, struct profile_row *unsorted, struct place *places,
		       struct profile *p)
{
	size_t count = rows->count;
	char *to = p->names;

	for (size_t i = 0; i < count; i++) {
		name_row(&rows->list[i], &unsorted[i], &to);
		places[i] = place_of(&rows->list[i], &unsorted[i]);
	}
	if (p->guest_user) {
		unsorted[count] = user_row;
		unsorted[count].samples = p->guest_user;
		places[count] = place_of(NULL, &unsorted[count]);
		count++;
	}
	places = sort_places(places, places + rows->count + 1, count);
	for (size_t i = 0; i < count; i++)
		p->rows[i] = *places[i].row;
	p->row_count = count;
}

static int name_rows(const struct rows *rows, struct profile *p)
{
	struct profile_row *unsorted = malloc((rows->count + 1) * sizeof(*unsorted));
	struct place *places = malloc(2 * (rows->count + 1) * sizeof(*places));
	size_t room = 1;
	int r = -ENOMEM;

	for (size_t i = 0; i < rows->count; i++)
		room += room_for_row(&rows->list[i]);
	p->rows = malloc((rows->count + 1) * sizeof(p->rows[0]));
	p->names = malloc(room);
	if (unsorted && places && p->rows && p->names) {
		write_rows(rows, unsorted, places, p);
		r = 0;
	}
	free(unsorted);
	free(places);
	return r;
}

int resolve(struct tally_copy *copy, const struct symbols *const symbols[SYMSRC_EPOCHS_KEPT],
	    struct profile *ret)
{
	struct rows rows = {0};
	size_t most = 0;
	int r;

	for (unsigned i = 0; i < copy->epoch_count; i++)
		most += copy->epochs[i].entry_count;
	r = rows_init(&rows, most);
	for (unsigned i = 0; r == 0 && i < copy->epoch_count; i++)
		r = add_epoch(&rows, &copy->epochs[i], symbols[i], ret);
	ret->samples = ret->guest_kernel + ret->guest_user;
	ret->epochs = copy->epoch_count;
	if (r == 0)
		r = name_rows(&rows, ret);
	rows_deinit(&rows);
	return r;
}
