/* none:WHY - no source at all. What the recording of a guest gets whose symbols nobody has: its
 * `info` says why. */
#include <stdlib.h>
#include <string.h>

#include "symsrc/source_impl.h"

struct source_none {
	struct source base;
	char *why;
};

static int none_fetch(struct source *s, unsigned want, const struct source_limits *limits,
		      const struct source_sink *sink, struct errmsg *why)
{
	(void)want, (void)limits, (void)sink;
	return errmsg_set(why, -ENOSYS, "%s", ((struct source_none *)s)->why);
}

static void none_destroy(struct source *s)
{
	free(((struct source_none *)s)->why);
	free(s);
}

static const struct source_ops none_ops = {
	.scheme = "none", .fetch = none_fetch, .destroy = none_destroy};

int source_none_create(const char *uri, const struct source_target *target, struct source **ret,
		       struct errmsg *why)
{
	struct source_none *s = calloc(1, sizeof(*s));

	(void)target, (void)why;
	if (!s)
		return -ENOMEM;
	s->base.ops = &none_ops;
	s->why = strdup(uri + strlen("none:"));
	if (!s->why) {
		free(s);
		return -ENOMEM;
	}
	*ret = &s->base;
	return 0;
}
