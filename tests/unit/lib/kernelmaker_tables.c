#include "tests/unit/lib/kernelmaker_tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_ 511u
#define BLOCK	  256u /* names from one marker to the next */
#define LONG_ONES 5u   /* fillers that are longer than usual */

struct symbol {
	uint64_t address;
	char type;
	char name[NAME_MAX_ + 1];
	uint8_t code[NAME_MAX_ + 1]; /* compressed, with the type */
	size_t len;
};

struct kernelmaker_table {
	struct symbol *symbols;
	size_t count, room;
	uint64_t seed;
	/* What each code stands for: a character, or two codes. */
	bool used[256], pair[256];
	uint8_t first[256], second[256];
};

/* Where the next table goes: an offset from _text. */
struct writer {
	struct kernelmaker *km;
	uint32_t at;
};

struct kernelmaker_table *kernelmaker_table_create(void)
{
	struct kernelmaker_table *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	t->seed = 88172645463325252u;
	return t;
}

void kernelmaker_table_destroy(struct kernelmaker_table *t)
{
	free(t->symbols);
	free(t);
}

void kernelmaker_table_add(struct kernelmaker_table *t, uint64_t address, char type,
			   const char *name)
{
	struct symbol *s;

	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 1024;
		t->symbols = reallocarray(t->symbols, t->room, sizeof(*t->symbols));
		if (!t->symbols)
			abort();
	}
	s = &t->symbols[t->count++];
	*s = (struct symbol){.address = address, .type = type};
	snprintf(s->name, sizeof(s->name), "%s", name);
}

/* ---- names like a kernel's ----------------------------------------------------------------------
 */

/* xorshift: the same names each time. */
static unsigned below(struct kernelmaker_table *t, unsigned n)
{
	t->seed ^= t->seed << 13;
	t->seed ^= t->seed >> 7;
	t->seed ^= t->seed << 17;
	return (unsigned)(t->seed % n);
}

static void make_name(struct kernelmaker_table *t, char *dst, size_t size)
{
	static const char *const words[] = {
		"__x64_sys_", "ext4_", "tcp_",	 "kvm_",  "get_",   "set_",  "page",  "_lock",
		"_init",      "sched", "_cpu",	 "show_", "_store", "irq",   "dev_",  "_work",
		"rcu_",	      "__",    "_free",	 "alloc", "vfs_",   "inode", "_read", "write_",
		"bpf_prog_",  "xfrm",  ".part.", "cold",  "task",   "_wait", "net_",  "queue"};
	size_t n = 0;

	for (unsigned i = 2 + below(t, 4); i > 0; i--)
		n += (size_t)snprintf(dst + n, size - n, "%s", words[below(t, 32)]);
	snprintf(dst + n, size - n, "%u", below(t, 10000));
}

static void make_long_name(struct kernelmaker_table *t, char *dst, size_t letters)
{
	static const char some[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789_.$";
	size_t i;

	for (i = 0; i < letters && i < NAME_MAX_; i++)
		dst[i] = some[below(t, sizeof(some) - 1)];
	dst[i] = '\0';
}

void kernelmaker_table_add_fillers(struct kernelmaker_table *t, uint64_t from, uint64_t to,
				   unsigned count, unsigned longest)
{
	char name[NAME_MAX_ + 1];

	for (unsigned i = 0; i < count; i++) {
		uint64_t address = from + (to - from) / count * i;

		make_name(t, name, sizeof(name));
		if (longest && i % (count / LONG_ONES) == 7)
			make_long_name(t, name, longest);
		kernelmaker_table_add(t, address & ~15ull, below(t, 3) ? 't' : 'T', name);
	}
}

/* ---- compression: as scripts/kallsyms.c, optimize_token_table() ---------------------------------
 */

static void start_codes(struct kernelmaker_table *t)
{
	for (size_t i = 0; i < t->count; i++) {
		struct symbol *s = &t->symbols[i];

		s->len = 1 + strlen(s->name);
		s->code[0] = (uint8_t)s->type;
		memcpy(s->code + 1, s->name, s->len - 1);
		for (size_t k = 0; k < s->len; k++)
			t->used[s->code[k]] = true;
	}
	for (unsigned c = '0'; c <= '9'; c++)
		t->used[c] = true;
}

/* Counts the pairs in a symbol: by 1, or by -1 to forget them. */
static void count_pairs(const struct symbol *s, int by, int *counts)
{
	for (size_t k = 0; k + 1 < s->len; k++)
		counts[s->code[k] << 8 | s->code[k + 1]] += by;
}

/* 0: none is worth it. */
static unsigned best_pair(const int *counts)
{
	int most = 1;

	/* The compiler makes this one fast. */
	for (unsigned i = 1; i < 65536; i++)
		most = counts[i] > most ? counts[i] : most;
	for (unsigned i = 1; i < 65536 && most > 1; i++)
		if (counts[i] == most)
			return i;
	return 0;
}

static bool has_pair(const struct symbol *s, unsigned pair)
{
	for (size_t k = 0; k + 1 < s->len; k++)
		if ((unsigned)(s->code[k] << 8 | s->code[k + 1]) == pair)
			return true;
	return false;
}

static void replace_pair(struct symbol *s, unsigned pair, uint8_t code, int *counts)
{
	size_t to = 0;

	if (!has_pair(s, pair))
		return;
	count_pairs(s, -1, counts);
	for (size_t k = 0; k < s->len; k++) {
		bool is = k + 1 < s->len && (unsigned)(s->code[k] << 8 | s->code[k + 1]) == pair;

		s->code[to++] = is ? code : s->code[k];
		k += is;
	}
	s->len = to;
	count_pairs(s, 1, counts);
}

static void compress(struct kernelmaker_table *t, unsigned tokens)
{
	int *counts = calloc(65536, sizeof(*counts));

	if (!counts)
		abort();
	start_codes(t);
	for (size_t i = 0; i < t->count; i++)
		count_pairs(&t->symbols[i], 1, counts);
	for (unsigned code = 255; code > 0 && tokens > 0; code--) {
		unsigned pair = t->used[code] ? 0 : best_pair(counts);

		if (t->used[code])
			continue;
		if (pair == 0)
			break;
		tokens--;
		t->pair[code] = true;
		t->first[code] = (uint8_t)(pair >> 8);
		t->second[code] = (uint8_t)pair;
		for (size_t i = 0; i < t->count; i++)
			replace_pair(&t->symbols[i], pair, (uint8_t)code, counts);
	}
	free(counts);
}

static size_t expand_code(const struct kernelmaker_table *t, uint8_t code, char *dst)
{
	size_t n;

	if (!t->pair[code]) {
		dst[0] = (char)code;
		return t->used[code] ? 1 : 0;
	}
	n = expand_code(t, t->first[code], dst);
	return n + expand_code(t, t->second[code], dst + n);
}

/* ---- tables ------------------------------------------------------------------------------------
 */

static void put(struct writer *w, const void *bytes, size_t n)
{
	if (w->at + n > KERNELMAKER_BTF)
		abort();
	memcpy(kernelmaker_at(w->km, w->at), bytes, n);
	w->at += (uint32_t)n;
}

static void put_number(struct writer *w, uint64_t v, unsigned bytes)
{
	put(w, &v, bytes); /* little endian, as all of this */
}

static uint64_t label(struct writer *w, unsigned align)
{
	w->at = (w->at + align - 1) & ~(align - 1);
	return w->km->o.text_pa + w->at;
}

static void put_count(struct writer *w, const struct kernelmaker_table *t)
{
	w->km->num_syms = label(w, w->km->o.align);
	/* To 4.19 both were unsigned long. */
	put_number(w, t->count, w->km->o.marker_bytes);
}

static void put_name(struct writer *w, const struct symbol *s)
{
	if (w->km->o.wide && s->len > 127) {
		put_number(w, (s->len & 127) | 128, 1);
		put_number(w, s->len >> 7, 1);
	} else {
		put_number(w, s->len, 1);
	}
	put(w, s->code, s->len);
}

static void put_names(struct writer *w, const struct kernelmaker_table *t)
{
	size_t blocks = (t->count + BLOCK - 1) / BLOCK;
	uint32_t *markers = calloc(blocks + 1, sizeof(*markers));
	uint32_t start;

	if (!markers)
		abort();
	w->km->names = label(w, w->km->o.align);
	start = w->at;
	for (size_t i = 0; i < t->count; i++) {
		if (i % BLOCK == 0)
			markers[i / BLOCK] = w->at - start;
		put_name(w, &t->symbols[i]);
	}
	w->km->markers = label(w, w->km->o.align);
	for (size_t i = 0; i < blocks; i++)
		put_number(w, markers[i], w->km->o.marker_bytes);
	free(markers);
}

static void put_tokens(struct writer *w, const struct kernelmaker_table *t)
{
	uint16_t index[256];
	char text[2 * NAME_MAX_];
	uint32_t start;

	w->km->token_table = label(w, w->km->o.align);
	start = w->at;
	for (unsigned code = 0; code < 256; code++) {
		size_t n = expand_code(t, (uint8_t)code, text);

		text[n] = '\0';
		index[code] = (uint16_t)(w->at - start);
		put(w, text, n + 1);
	}
	w->km->token_index = label(w, w->km->o.align);
	put(w, index, sizeof(index));
}

static int by_name(const void *a, const void *b, void *ctx)
{
	const struct kernelmaker_table *t = ctx;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	int r = strcmp(t->symbols[x].name, t->symbols[y].name);

	return r ? r : (x > y) - (x < y);
}

/* The symbols' numbers, sorted by name: 3 bytes each, high byte first. */
static void put_seqs(struct writer *w, struct kernelmaker_table *t)
{
	uint32_t *seqs = calloc(t->count, sizeof(*seqs));

	if (!seqs)
		abort();
	for (uint32_t i = 0; i < t->count; i++)
		seqs[i] = i;
	qsort_r(seqs, t->count, sizeof(*seqs), by_name, t);
	w->km->seqs = label(w, w->km->o.align);
	for (size_t i = 0; i < t->count; i++) {
		uint8_t bytes[3] = {(uint8_t)(seqs[i] >> 16), (uint8_t)(seqs[i] >> 8),
				    (uint8_t)seqs[i]};

		put(w, bytes, sizeof(bytes));
	}
	free(seqs);
}

static uint64_t encode(const struct kernelmaker *km, uint64_t address, uint64_t place_gpa)
{
	uint64_t base = km->o.text_va;

	switch (km->o.meaning) {
	case KERNELMAKER_ABSOLUTE: return address;
	case KERNELMAKER_PERCPU: return address < base ? address : base - 1 - address;
	case KERNELMAKER_RELATIVE: return address - base;
	case KERNELMAKER_PLACE: return address - (place_gpa - km->o.text_pa + base);
	}
	abort();
}

static void put_addresses(struct writer *w, const struct kernelmaker_table *t)
{
	struct kernelmaker *km = w->km;
	unsigned bytes = km->o.meaning == KERNELMAKER_ABSOLUTE ? 8 : 4;

	w->at += km->o.junk;
	km->offsets = km->o.junk ? km->o.text_pa + w->at : label(w, km->o.align);
	for (size_t i = 0; i < t->count; i++)
		put_number(w, encode(km, t->symbols[i].address, km->offsets + (uint64_t)bytes * i),
			   bytes);
	if (km->o.meaning != KERNELMAKER_PERCPU && km->o.meaning != KERNELMAKER_RELATIVE)
		return;
	km->relative_base = label(w, 8);
	put_number(w, km->o.text_va, 8);
}

static void put_tables(struct kernelmaker_table *t, struct kernelmaker *km)
{
	struct writer w = {km, KERNELMAKER_TABLES};

	if (km->o.order == KERNELMAKER_BEFORE)
		put_addresses(&w, t);
	put_count(&w, t);
	put_names(&w, t);
	if (km->o.seqs == KERNELMAKER_SEQS_MIDDLE)
		put_seqs(&w, t);
	put_tokens(&w, t);
	if (km->o.seqs == KERNELMAKER_SEQS_FIRST)
		put_seqs(&w, t);
	if (km->o.order == KERNELMAKER_BEHIND)
		put_addresses(&w, t);
	if (km->o.seqs == KERNELMAKER_SEQS_LAST)
		put_seqs(&w, t);
	km->tables_end = km->o.text_pa + w.at;
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* The symbols of the tables themselves: in the tables' order at first, at their places at last,
 * since what lies between depends on all names. */
static const struct {
	const char *name;
	size_t field; /* of struct kernelmaker */
} own[] = {
	{"kallsyms_num_syms", offsetof(struct kernelmaker, num_syms)},
	{"kallsyms_names", offsetof(struct kernelmaker, names)},
	{"kallsyms_markers", offsetof(struct kernelmaker, markers)},
	{"kallsyms_token_table", offsetof(struct kernelmaker, token_table)},
	{"kallsyms_token_index", offsetof(struct kernelmaker, token_index)},
	{"kallsyms_offsets", offsetof(struct kernelmaker, offsets)},
	{"kallsyms_relative_base", offsetof(struct kernelmaker, relative_base)},
};
#define OWN_COUNT (sizeof(own) / sizeof(own[0]))

static void add_own(struct kernelmaker_table *t, const struct kernelmaker *km)
{
	bool has_base =
		km->o.meaning == KERNELMAKER_PERCPU || km->o.meaning == KERNELMAKER_RELATIVE;

	if (!km->o.own_symbols || !km->o.data_symbols)
		return;
	if (km->o.order == KERNELMAKER_BEFORE)
		abort();
	for (size_t i = 0; i < OWN_COUNT - !has_base; i++)
		kernelmaker_table_add(t, km->o.text_va + KERNELMAKER_TABLES + i, 'D', own[i].name);
}

static void place_own(struct kernelmaker_table *t, const struct kernelmaker *km)
{
	uint64_t gpa;

	for (size_t i = 0; i < t->count; i++)
		for (size_t k = 0; km->o.own_symbols && k < OWN_COUNT; k++) {
			if (strcmp(t->symbols[i].name, own[k].name) != 0)
				continue;
			memcpy(&gpa, (const char *)km + own[k].field, sizeof(gpa));
			t->symbols[i].address = gpa - km->o.text_pa + km->o.text_va;
		}
}

static void write_truth(const struct kernelmaker_table *t, struct kernelmaker *km)
{
	FILE *f = open_memstream(&km->kallsyms, &km->kallsyms_len);

	if (!f)
		abort();
	for (size_t i = 0; i < t->count; i++)
		fprintf(f, "%016llx %c %s\n", (unsigned long long)t->symbols[i].address,
			t->symbols[i].type, t->symbols[i].name);
	if (fclose(f) != 0)
		abort();
	km->count = (uint32_t)t->count;
}

void kernelmaker_table_write(struct kernelmaker_table *t, struct kernelmaker *km)
{
	add_own(t, km);
	qsort(t->symbols, t->count, sizeof(*t->symbols), by_address);
	compress(t, km->o.tokens ? km->o.tokens : 256);
	put_tables(t, km);
	place_own(t, km);
	put_tables(t, km);
	write_truth(t, km);
}
