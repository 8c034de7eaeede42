/* memory - out of the guest's RAM, read from the host: nothing runs in the guest, and the guest
 * neither helps nor notices. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/log.h"
#include "symsrc/memory/kernel.h"
#include "symsrc/source_impl.h"
#include "symsrc/vmmram.h"

struct source_memory {
	struct source base;
	struct vmmram *ram; /* or NULL: why_not says why */
	struct errmsg why_not;
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

static int no_ram(const struct source_memory *m, struct errmsg *why)
{
	if (m->why_not.code == 0)
		return errmsg_set(why, -EOPNOTSUPP, "guest memory: cannot be read here");
	return errmsg_set(why, m->why_not.code, "%s", m->why_not.text);
}

/* What a fetch needs, on its stack. */
struct reading {
	struct vmmram_reader reader;
	struct ram ram;
};

static void begin_reading(const struct source_memory *m, const struct source_limits *limits,
			  struct reading *rd)
{
	vmmram_reader_init(&rd->reader, m->ram);
	ram_init(&rd->ram, &vmmram_ops, &rd->reader, limits);
}

static int refuse_partial(const struct source_memory *m, struct errmsg *why)
{
	return errmsg_set(why, SOURCE_PARTIAL, "guest memory: %s", m->base.note);
}

static int deliver(struct source_memory *m, struct kernel *k, unsigned want,
		   const struct source_sink *sink, struct errmsg *why)
{
	struct kernel_mark mark;
	struct errmsg lack;
	int r;

	m->base.note[0] = '\0';
	if (!kernel_is_whole(k, &lack))
		snprintf(m->base.note, sizeof(m->base.note), "core symbols only: %.*s",
			 SOURCE_NOTE_MAX - 20, lack.text);
	m->base.partial = m->base.note[0] != '\0';
	if (m->base.note[0] && m->whole_only)
		return refuse_partial(m, why);
	r = kernel_deliver(k, want, sink, why);
	if (r < 0)
		return r;
	kernel_get_mark(k, &mark);
	keep_mark(&m->base.mark, &mark);
	snprintf(m->base.used, sizeof(m->base.used), "memory");
	kernel_describe(k, m->base.how, sizeof(m->base.how));
	return 0;
}

static int memory_fetch(struct source *s, unsigned want, const struct source_limits *limits,
			const struct source_sink *sink, struct errmsg *why)
{
	struct source_memory *m = (struct source_memory *)s;
	struct kernel *k = NULL;
	struct kernel_mark dead;
	struct reading rd;
	bool has_dead = take_mark(&s->dead, &dead);
	int r;

	if (!m->ram)
		return no_ram(m, why);
	begin_reading(m, limits, &rd);
	r = kernel_read(&rd.ram, has_dead ? &dead : NULL, limits->quick, &k, why);
	if (has_dead)
		keep_mark(&s->dead, &dead);
	if (r == 0)
		r = deliver(m, k, want, sink, why);
	kernel_destroy(k);
	return r;
}

static int memory_look(struct source *s, const struct source_limits *limits, struct errmsg *why)
{
	struct source_memory *m = (struct source_memory *)s;
	struct kernel_mark mark;
	struct reading rd;
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

static void memory_destroy(struct source *s)
{
	struct source_memory *m = (struct source_memory *)s;

	vmmram_put(m->ram);
	free(m);
}

static const struct source_ops memory_ops = {"memory", memory_fetch, memory_destroy, memory_look};

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
	m->base.ops = &memory_ops;
	if (target->ram)
		m->ram = vmmram_get(target->ram);
	m->why_not = target->ram_why;
	*ret = &m->base;
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
