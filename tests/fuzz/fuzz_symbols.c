/* The whole builder, fed with frames: a byte says which file begins (or, from 8 on, that the
 * bytes go on in the same one), a second one how many bytes follow. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/text.h"
#include "symsrc/symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"ext4", "jbd2", "kvm", "..", NULL};

static int deliver(const struct source_sink *sink, const uint8_t *data, size_t size)
{
	int r = 0;

	while (r == 0 && size >= 2) {
		unsigned what = data[0] & 15, name = data[0] >> 4;
		size_t n = data[1];
		char *copy;

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		copy = malloc(n);
		memcpy(copy, data, n);
		if (what < 8)
			r = sink->begin(sink->ctx, what, names[name % 5]);
		if (r == 0)
			r = sink->data(sink->ctx, copy, n);
		free(copy);
		data += n;
		size -= n;
	}
	return r;
}

static void check(const struct symbols *s)
{
	struct symtab_hit h;

	if (!s->kallsyms || !s->table || symtab_count(s->table) > s->kallsyms->size)
		abort();
	for (size_t i = 0; i < s->module_count; i++) {
		if (!text_is_component(s->module_list[i].name) || !s->module_list[i].note ||
		    !s->module_list[i].id.len)
			abort();
	}
	if (!text_is_word(s->release, strlen(s->release)) ||
	    !text_is_word(s->boot_id, strlen(s->boot_id)))
		abort();
	symtab_find(s->table, 0xffffffff81000000, &h);
	symtab_find(s->table, UINT64_MAX, &h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	const struct symbols *s = NULL;
	struct errmsg why = {0};
	int delivered = deliver(&sink, data, size);
	int r = symbols_builder_finish(b, &s, &why);

	if ((delivered < 0 && r != delivered) || (r < 0) != (why.code < 0) ||
	    (r == 0) != (s != NULL))
		abort();
	if (s)
		check(s);
	symbols_put(s);
	symbols_builder_destroy(b);
	return 0;
}
