/* memory - out of the guest's RAM, read from the host: nothing runs in the guest, and the guest
 * neither helps nor notices. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/log.h"
#include "symsrc/source_impl.h"
#include "symsrc/source_memory.h"

struct source_memory {
	struct source_ram base;
	bool whole_only;
};

_Static_assert(sizeof(struct kernel_mark) <= SOURCE_MARK_MAX, "a mark is too large");

static void keep_mark(struct source_mark *to, const struct kernel_mark *mark)
{
	to->len = sizeof(*mark);
	memcpy(to->bytes, mark, sizeof(*mark));
}

/* False: there is none. */
static bool take_mark(const struct source_mark *from, struct kernel_mark *ret)
{
	if (from->len != sizeof(*ret))
		return false;
	memcpy(ret, from->bytes, sizeof(*ret));
	return true;
}

static int no_ram(const struct source_ram *m, struct errmsg *why)
{
	if (m->why_not.code == 0)
		return errmsg_set(why, -EOPNOTSUPP, "guest memory: cannot be read here");
	return errmsg_set(why, m->why_not.code, "%s", m->why_not.text);
}

static void begin_reading(const struct source_ram *m, const struct source_limits *limits,
			  struct source_ram_reading *rd)
{
	vmmram_reader_init(&rd->reader, m->ram);
	ram_init(&rd->ram, &vmmram_ops, &rd->reader, limits);
}

void source_ram_init(struct source_ram *m, const struct source_target *target)
{
	if (target->ram)
		m->ram = vmmram_get(target->ram);
	m->why_not = target->ram_why;
}

void source_ram_deinit(struct source_ram *m)
{
	vmmram_put(m->ram);
}

int source_ram_read(struct source_ram *m, const struct source_limits *limits,
		    struct source_ram_reading *rd, struct kernel **ret, struct errmsg *why)
{
	struct kernel_mark dead;
	bool has_dead = take_mark(&m->base.dead, &dead);
	int r;

	if (!m->ram)
		return no_ram(m, why);
	begin_reading(m, limits, rd);
	r = kernel_read(&rd->ram, has_dead ? &dead : NULL, limits->quick, ret, why);
	if (has_dead)
		keep_mark(&m->base.dead, &dead);
	return r;
}

void source_ram_keep_mark(struct source_ram *m, const struct kernel *k)
{
	struct kernel_mark mark;

	kernel_get_mark(k, &mark);
	keep_mark(&m->base.mark, &mark);
}

int source_ram_look(struct source *s, const struct source_limits *limits, struct errmsg *why)
{
	struct source_ram *m = (struct source_ram *)s;
	struct source_ram_reading rd;
	struct kernel_mark mark;
	int r;

	if (!take_mark(&s->mark, &mark))
		return errmsg_set(why, -EINVAL, "guest memory: not read yet");
	if (!m->ram)
		return no_ram(m, why);
	begin_reading(m, limits, &rd);
	r = kernel_look(&rd.ram, &mark);
	if (r < 0)
		return ram_explain(r, why);
	keep_mark(&s->mark, &mark);
	switch ((enum kernel_news)r) {
	case KERNEL_SAME: return SOURCE_SAME;
	case KERNEL_CHANGED: return SOURCE_CHANGED;
	case KERNEL_REBOOTED: break;
	}
	return SOURCE_REBOOTED;
}

static int refuse_partial(const struct source *s, struct errmsg *why)
{
	return errmsg_set(why, SOURCE_PARTIAL, "guest memory: %s", s->note);
}

static int deliver(struct source_memory *m, struct kernel *k, unsigned want,
		   const struct source_sink *sink, struct errmsg *why)
{
	struct source *s = &m->base.base;
	struct errmsg lack;
	int r;

	s->note[0] = '\0';
	if (!kernel_is_whole(k, &lack))
		snprintf(s->note, sizeof(s->note), "core symbols only: %.*s", SOURCE_NOTE_MAX - 20,
			 lack.text);
	s->partial = s->note[0] != '\0';
	if (s->note[0] && m->whole_only)
		return refuse_partial(s, why);
	r = kernel_deliver(k, want, sink, why);
	if (r < 0)
		return r;
	source_ram_keep_mark(&m->base, k);
	snprintf(s->used, sizeof(s->used), "memory");
	kernel_describe(k, s->how, sizeof(s->how));
	return 0;
}

static int memory_fetch(struct source *s, unsigned want, const struct source_limits *limits,
			const struct source_sink *sink, struct errmsg *why)
{
	struct source_memory *m = (struct source_memory *)s;
	struct source_ram_reading rd;
	struct kernel *k = NULL;
	int r = source_ram_read(&m->base, limits, &rd, &k, why);

	if (r == 0)
		r = deliver(m, k, want, sink, why);
	kernel_destroy(k);
	return r;
}

static void memory_destroy(struct source *s)
{
	struct source_memory *m = (struct source_memory *)s;

	source_ram_deinit(&m->base);
	free(m);
}

static const struct source_ops memory_ops = {.scheme = "memory",
					     .fetch = memory_fetch,
					     .destroy = memory_destroy,
					     .look = source_ram_look};

int source_memory_create(const char *uri, const struct source_target *target, struct source **ret,
			 struct errmsg *why)
{
	struct source_memory *m;

	if (strcmp(uri, "memory") != 0)
		return errmsg_set(why, -EINVAL, "symbol source \"%s\": memory takes no options",
				  uri);
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->base.base.ops = &memory_ops;
	source_ram_init(&m->base, target);
	*ret = &m->base.base;
	return 0;
}

int source_memory_create_whole(const char *uri, const struct source_target *target,
			       struct source **ret, struct errmsg *why)
{
	int r = source_memory_create(uri, target, ret, why);

	if (r == 0)
		((struct source_memory *)*ret)->whole_only = true;
	return r;
}
