#include "tests/unit/lib/textsymbols.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/kallsyms.h"

#define TEXT_MAX (1u << 20)

struct symbols *textsymbols_make(const char *text)
{
	struct symbols *s = calloc(1, sizeof(*s));
	struct symtab_builder *b = symtab_builder_create();
	struct kallsyms k;
	struct buf buf;

	assert_true(s && b);
	buf_init(&buf, TEXT_MAX);
	kallsyms_init(&k, &buf, b);
	assert_int_equal(kallsyms_feed(&k, text, strlen(text), NULL), 0);
	assert_int_equal(kallsyms_finish(&k, NULL), 0);
	atomic_init(&s->refs, 1);
	s->kallsyms = blob_from_buf(&buf);
	assert_int_equal(symtab_builder_finish(b, s->kallsyms->data, s->kallsyms->size, &s->table),
			 0);
	symtab_builder_destroy(b);
	return s;
}
