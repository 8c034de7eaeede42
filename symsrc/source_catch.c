#include <errno.h>

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

static int catch_one(struct source *s, source_catch_fn *one, const struct source_order *o,
		     struct source_catch *c, const struct source_limits *limits, struct errmsg *why)
{
	int r = one(s, o, c, limits, why);

	if (r == 0 && !c->seen)
		return errmsg_set(why, -ENOENT, "%s: the guest has no /lib/modules/%s/%s", s->used,
				  o->release, o->path ? o->path : "");
	return r;
}

int source_catch_list(struct source *s, source_catch_fn *one, const char *release,
		      const struct source_limits *limits, struct modtree_builder *to,
		      struct errmsg *why)
{
	const struct source_order o = {.release = release};
	struct lslist list;
	struct source_catch c = {.file = GUEST_FILE_LISTING, .list = &list};

	lslist_init(&list, to);
	return catch_one(s, one, &o, &c, limits, why);
}

int source_catch_module(struct source *s, source_catch_fn *one, const char *release,
			const char *path, const struct source_limits *limits, struct buf *to,
			struct errmsg *why)
{
	const struct source_order o = {.release = release, .path = path};
	struct source_catch c = {.file = GUEST_FILE_MODULE_KO, .to = to};

	return catch_one(s, one, &o, &c, limits, why);
}
