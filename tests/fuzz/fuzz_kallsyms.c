/* kallsyms text, whole and in pieces: both must say the same, and every name that a lookup
 * returns must be one word out of the text. The first byte is the size of the pieces. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/text.h"
#include "symsrc/kallsyms.h"

#define MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
	struct buf text;
	struct symtab *table;
	struct kallsyms k;
	struct errmsg why;
	int code;
};

static int feed(struct kallsyms *k, const uint8_t *data, size_t size, size_t chunk,
		struct errmsg *why)
{
	int r = 0;

	for (size_t at = 0; r == 0 && at < size; at += chunk) {
		size_t n = size - at < chunk ? size - at : chunk;
		char *copy = malloc(n); /* ends where the piece does */

		memcpy(copy, data + at, n);
		r = kallsyms_feed(k, copy, n, why);
		free(copy);
	}
	return r ? r : kallsyms_finish(k, why);
}

static void parse(const uint8_t *data, size_t size, size_t chunk, struct result *res)
{
	struct symtab_builder *b = symtab_builder_create();

	memset(res, 0, sizeof(*res));
	buf_init(&res->text, MAX);
	kallsyms_init(&res->k, &res->text, b);
	symtab_builder_add_module(b, "m", 0xffffffffc0000000, 0x5000);
	res->code = feed(&res->k, data, size, chunk, &res->why);
	if (res->code == 0)
		res->code = symtab_builder_finish(b, res->text.data, res->text.len, &res->table);
	symtab_builder_destroy(b);
}

static void check_hit(const struct result *res, uint64_t addr)
{
	struct symtab_hit h;

	if (!symtab_find(res->table, addr, &h))
		return;
	if (h.start > addr || h.name_len == 0 || !text_is_word(h.name, h.name_len) ||
	    h.name < res->text.data || h.name + h.name_len > res->text.data + res->text.len)
		abort();
	if (h.object && (h.object_len == 0 || !text_is_word(h.object, h.object_len)))
		abort();
}

static void check_table(const struct result *res)
{
	const char *line = res->text.data;

	for (size_t i = 0; i < res->k.lines; i++) {
		uint64_t addr = strtoull(line, NULL, 16);

		check_hit(res, addr - 1);
		check_hit(res, addr);
		check_hit(res, addr + 1);
		check_hit(res, addr + 0x1fff);
		line = strchr(line, '\n') + 1;
	}
	check_hit(res, 0);
	check_hit(res, UINT64_MAX);
}

static void release(struct result *res)
{
	symtab_destroy(res->table);
	buf_deinit(&res->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole, pieces;

	if (size < 1 || size > MAX)
		return 0;
	parse(data + 1, size - 1, size, &whole);
	parse(data + 1, size - 1, 1 + (size_t)data[0], &pieces);
	if (whole.code != pieces.code || whole.k.lines != pieces.k.lines)
		abort();
	if (whole.code == 0) {
		if (symtab_count(whole.table) != symtab_count(pieces.table) ||
		    symtab_count(whole.table) > whole.k.lines)
			abort();
		check_table(&pieces);
	}
	release(&whole);
	release(&pieces);
	return 0;
}
