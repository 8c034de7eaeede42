#include "tests/unit/lib/gone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/kallsyms.h"

struct table {
	struct symtab *t;
	struct buf text;
};

static void table(struct table *ret, const char *text)
{
	struct symtab_builder *b = symtab_builder_create();
	struct kallsyms k;

	assert_non_null(b);
	buf_init(&ret->text, 64u << 20);
	kallsyms_init(&k, &ret->text, b);
	assert_int_equal(kallsyms_feed(&k, text, strlen(text), NULL), 0);
	assert_int_equal(kallsyms_finish(&k, NULL), 0);
	assert_int_equal(symtab_builder_finish(b, ret->text.data, ret->text.len, &ret->t), 0);
	symtab_builder_destroy(b);
}

static void drop(struct table *t)
{
	symtab_destroy(t->t);
	buf_deinit(&t->text);
}

/* The tables are gone afterwards: names are to outlive them. */
const struct retired *gone_after(const struct retired *before, const char *old, const char *now)
{
	const struct retired *r;
	struct table a, b;

	table(&a, old);
	table(&b, now);
	assert_int_equal(retired_make(before, a.t, b.t, &r), 0);
	drop(&a);
	drop(&b);
	retired_put(before);
	return r;
}
