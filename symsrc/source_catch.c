#include "symsrc/source_impl.h"

static int catch_begin(void *ctx, enum guest_file file, const char *module)
{
	struct source_catch *c = ctx;

	(void)module;
	c->open = file == c->file;
	c->seen |= c->open;
	return 0;
}

static int catch_data(void *ctx, const void *bytes, size_t n)
{
	struct source_catch *c = ctx;

	if (!c->open)
		return 0;
	return c->list ? lslist_feed(c->list, bytes, n) : buf_append(c->to, bytes, n);
}

struct source_sink source_catch_sink(struct source_catch *c)
{
	return (struct source_sink){catch_begin, catch_data, c};
}
