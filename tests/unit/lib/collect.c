#include "tests/unit/lib/collect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

void collect_init(struct collect *c)
{
	*c = (struct collect){.current = -1};
	for (int i = 0; i < GUEST_FILE_COUNT; i++)
		buf_init(&c->files[i], COLLECT_MAX);
	buf_init(&c->modules, COLLECT_MAX);
}

void collect_deinit(struct collect *c)
{
	for (int i = 0; i < GUEST_FILE_COUNT; i++)
		buf_deinit(&c->files[i]);
	buf_deinit(&c->modules);
}

static int begin(void *ctx, enum guest_file file, const char *module)
{
	struct collect *c = ctx;

	c->current = (int)file;
	c->times[file]++;
	if ((int)++c->begins == c->fail_at)
		return c->fail_with;
	assert_true((file == GUEST_FILE_MODULE_NOTE) == (module != NULL));
	return module ? buf_printf(&c->modules, "%s ", module) : 0;
}

static int data(void *ctx, const void *bytes, size_t n)
{
	struct collect *c = ctx;

	assert_true(c->current >= 0);
	assert_true(n > 0);
	return buf_append(&c->files[c->current], bytes, n);
}

struct source_sink collect_sink(struct collect *c)
{
	return (struct source_sink){begin, data, c};
}

void collect_assert(const struct collect *c, enum guest_file file, unsigned times,
		    const void *bytes, size_t n)
{
	assert_int_equal(c->times[file], times);
	assert_int_equal(c->files[file].len, n);
	assert_memory_equal(c->files[file].data, bytes, n);
}
