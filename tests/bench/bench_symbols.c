/* What parsing and looking up symbols costs, beside what the same memory and the same array
 * allow: rows of `what TAB ours TAB peer TAB ours/peer` on stdout. Peers take turns with us,
 * medians count. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/clock.h"
#include "symsrc/symbols.h"

#define LINES	   200000
#define MODULES	   60
#define IN_MODULE  1000
#define CHUNK	   65536 /* as a source delivers */
#define ROUNDS	   15
#define LOOKUPS	   200000
#define HOT	   2000
#define KERNEL	   0xffffffff81000000ULL
#define MODULE_MEM 0xffffffffc0000000ULL

static char *text;
static size_t text_len;
static volatile uint64_t result; /* so that nothing is optimised away */

/* ---- a kallsyms of 200,000 lines ---------------------------------------------------------------
 */

static uint64_t random_state = 88172645463325252ULL;

static uint64_t next_random(void) /* xorshift: the same text in every run */
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void put_line(uint64_t addr, char type, unsigned i, const char *object)
{
	static const char stem[] = "kvm_do_some_work_on_pages_of_a_guest_slow";
	int n = sprintf(text + text_len, "%016llx %c %.*s_%u%s\n", (unsigned long long)addr, type,
			(int)(8 + next_random() % 32), stem, i, object);

	text_len += (size_t)n;
}

/* The kernel's symbols ascend; modules come newest first, and their own in no order at all. */
static void make_text(void)
{
	static const char types[] = "TtTtttdbWr";
	uint64_t addr = KERNEL;
	unsigned i = 0;

	text = malloc((size_t)LINES * 128);
	if (!text)
		exit(1);
	for (; i < LINES - MODULES * IN_MODULE; i++) {
		addr += 16 * (1 + next_random() % 16);
		put_line(addr, types[next_random() % 10], i, "");
	}
	for (unsigned m = MODULES; m-- > 0;) {
		char object[32];

		snprintf(object, sizeof(object), "\t[module_%u]", m);
		for (unsigned k = 0; k < IN_MODULE; k++, i++)
			put_line(MODULE_MEM + ((uint64_t)m << 18) + next_random() % (1 << 17),
				 types[next_random() % 10], i, object);
	}
}

/* ---- parsing ----------------------------------------------------------------------------------
 */

static const struct symbols *build(void)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	const struct symbols *s = NULL;
	struct errmsg why = {0};
	int r = sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL);

	for (size_t at = 0; r == 0 && at < text_len; at += CHUNK)
		r = sink.data(sink.ctx, text + at, text_len - at < CHUNK ? text_len - at : CHUNK);
	if (r < 0 || symbols_builder_finish(b, &s, &why) < 0) {
		fprintf(stderr, "bench_symbols: %s\n", why.text);
		exit(1);
	}
	symbols_builder_destroy(b);
	return s;
}

static void count_lines(void)
{
	const char *end = text + text_len;
	uint64_t lines = 0;

	for (const char *p = text; (p = memchr(p, '\n', (size_t)(end - p))); p++)
		lines++;
	result = lines;
}

static int compare_times(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *times)
{
	qsort(times, ROUNDS, sizeof(*times), compare_times);
	return times[ROUNDS / 2];
}

static void bench_parse(void)
{
	double ours[ROUNDS], peer[ROUNDS], a, b;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t t0 = clock_now_ns(), t1, t2;
		const struct symbols *s = build();

		t1 = clock_now_ns();
		count_lines();
		t2 = clock_now_ns();
		symbols_put(s);
		ours[i] = (double)(t1 - t0) / 1e6;
		peer[i] = (double)(t2 - t1) / 1e6;
	}
	a = median(ours);
	b = median(peer);
	printf("kallsyms, %d lines, %.1f MB, into a table\t%.2f ms (%.2f GB/s)\t"
	       "%.2f ms (counting lines)\t%.1f\n",
	       LINES, (double)text_len / 1e6, a, (double)text_len / a / 1e6, b, a / b);
}

/* ---- lookups ----------------------------------------------------------------------------------
 */

static uint64_t *sorted; /* every address of the table once, ascending */
static size_t sorted_count;

static int compare_u64(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void make_sorted(void)
{
	const char *p = text;
	size_t n = 0;

	sorted = malloc(LINES * sizeof(*sorted));
	if (!sorted)
		exit(1);
	for (; p < text + text_len; p = strchr(p, '\n') + 1)
		sorted[n++] = strtoull(p, NULL, 16);
	qsort(sorted, n, sizeof(*sorted), compare_u64);
	for (size_t i = 0; i < n; i++) {
		if (!sorted_count || sorted[sorted_count - 1] != sorted[i])
			sorted[sorted_count++] = sorted[i];
	}
}

/* For bsearch(3): 0 when the key lies between this element and the next one. */
static int compare_range(const void *key, const void *elem)
{
	const uint64_t *k = key, *e = elem;

	if (*k < e[0])
		return -1;
	return *k >= e[1];
}

static double ours_ns(const struct symbols *s, const uint64_t *addrs)
{
	struct symtab_hit h;
	uint64_t sum = 0, t0 = clock_now_ns();

	for (size_t i = 0; i < LOOKUPS; i++)
		sum += symtab_find(s->table, addrs[i], &h) ? h.start : 0;
	result = sum;
	return (double)(clock_now_ns() - t0) / LOOKUPS;
}

static double bsearch_ns(const uint64_t *addrs)
{
	uint64_t sum = 0, t0 = clock_now_ns();

	for (size_t i = 0; i < LOOKUPS; i++) {
		const uint64_t *e = bsearch(&addrs[i], sorted, sorted_count - 1, sizeof(*sorted),
					    compare_range);

		sum += e ? *e : 0;
	}
	result = sum;
	return (double)(clock_now_ns() - t0) / LOOKUPS;
}

static void bench_lookup(const struct symbols *s, const char *what, size_t distinct)
{
	uint64_t *addrs = malloc(LOOKUPS * sizeof(*addrs));
	double ours[ROUNDS], peer[ROUNDS], a, b;

	if (!addrs)
		exit(1);
	for (size_t i = 0; i < distinct; i++)
		addrs[i] = sorted[next_random() % sorted_count] + next_random() % 16;
	for (size_t i = distinct; i < LOOKUPS; i++)
		addrs[i] = addrs[next_random() % distinct];
	for (int i = 0; i < ROUNDS; i++) {
		ours[i] = ours_ns(s, addrs);
		peer[i] = bsearch_ns(addrs);
	}
	a = median(ours);
	b = median(peer);
	printf("lookup among %d symbols, %s\t%.0f ns\t%.0f ns (bsearch)\t%.2f\n", LINES, what, a, b,
	       a / b);
	free(addrs);
}

int main(void)
{
	const struct symbols *s;

	make_text();
	make_sorted();
	bench_parse();
	s = build();
	bench_lookup(s, "random addresses", LOOKUPS);
	bench_lookup(s, "2,000 hot addresses", HOT);
	symbols_put(s);
	free(sorted);
	free(text);
	return 0;
}
