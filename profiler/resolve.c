#include "profiler/resolve.h"

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
	uint64_t address;
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

/* Low addresses are not looked up, although kallsyms holds some (x86's per-CPU symbols): what
 * runs there is firmware, boot code, or user code with the wrong misc bits. */
static void add_entry(struct rows *rows, const struct counts_entry *e, const struct symbols *s,
		      bool narrow, struct profile *sums)
{
	struct row row = {.samples = e->count};
	struct symtab_hit hit;

	if (!is_kernel_address(e->ip, narrow)) {
		sums->contradictory += e->count;
		row.address = e->ip;
	} else if (s && symtab_find(s->table, e->ip, &hit)) {
		row.name = hit.name;
		row.name_len = hit.name_len;
		row.object = hit.object;
		row.object_len = hit.object_len;
	} else {
		row.address = e->ip;
	}
	if (!row.name)
		sums->unresolved += e->count;
	rows_add(rows, &row);
}

static void add_epoch(struct rows *rows, const struct tally_epoch_copy *e, const struct symbols *s,
		      struct profile *sums)
{
	bool narrow = is_narrow(s);

	for (size_t i = 0; i < e->entry_count; i++)
		add_entry(rows, &e->entries[i], s, narrow, sums);
	sums->guest_kernel += e->kernel;
	sums->guest_user += e->user;
	sums->contradictory += e->user_contradictory;
	sums->table_full += e->table_full;
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
	*row = (struct profile_row){.samples = r->samples, .type = 'g', .symbol = *to};
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

static int compare_rows(const void *a, const void *b)
{
	const struct profile_row *x = a;
	const struct profile_row *y = b;
	int r;

	if (x->samples != y->samples)
		return x->samples < y->samples ? 1 : -1;
	r = strcmp(x->symbol, y->symbol);
	return r ? r : strcmp(x->object, y->object);
}

static void sort_rows(struct profile_row *list, size_t count)
{
	qsort(list, count, sizeof(*list), compare_rows);
}

/* Gives each row its strings, all in one block. */
static void write_rows(const struct rows *rows, struct profile *p)
{
	char *to = p->names;

	for (size_t i = 0; i < rows->count; i++)
		name_row(&rows->list[i], &p->rows[i], &to);
	p->row_count = rows->count;
	if (p->guest_user)
		p->rows[p->row_count++] = (struct profile_row){.samples = p->guest_user,
							       .type = 'u',
							       .symbol = PROFILE_SYMBOL_USER,
							       .object = PROFILE_SYMBOL_USER};
	sort_rows(p->rows, p->row_count);
}

static int name_rows(const struct rows *rows, struct profile *p)
{
	size_t room = 1;

	for (size_t i = 0; i < rows->count; i++)
		room += room_for_row(&rows->list[i]);
	p->rows = malloc((rows->count + 1) * sizeof(p->rows[0]));
	p->names = malloc(room);
	if (!p->rows || !p->names)
		return -ENOMEM;
	write_rows(rows, p);
	return 0;
}

int resolve(const struct tally_copy *copy, const struct symbols *const symbols[SYMSRC_EPOCHS_KEPT],
	    struct profile *ret)
{
	struct rows rows = {0};
	size_t most = 0;
	int r;

	for (unsigned i = 0; i < copy->epoch_count; i++)
		most += copy->epochs[i].entry_count;
	r = rows_init(&rows, most);
	for (unsigned i = 0; r == 0 && i < copy->epoch_count; i++)
		add_epoch(&rows, &copy->epochs[i], symbols[i], ret);
	ret->samples = ret->guest_kernel + ret->guest_user;
	ret->epochs = copy->epoch_count;
	if (r == 0)
		r = name_rows(&rows, ret);
	rows_deinit(&rows);
	return r;
}
