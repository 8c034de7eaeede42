/* auto - by whatever way into the guest its links offer, in the order of the table below.
 *
 * What worked last time (source.used) is tried first. A way that fails before it has delivered
 * anything gives place to the next one; one that fails later ends the fetch, since what it
 * delivered cannot be taken back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/source_impl.h"
#include "symsrc/ssh_uri.h"

#define WAYS_SHOWN_MAX 320

struct source_auto {
	struct source base;
	struct source_target target;
	char *query; /* "?identity=..." or "" */
};

/* Writes the URI of one way into the guest, without a query. False: it is not open. */
typedef bool way_fn(const struct source_target *t, char *uri, size_t size);

/* A port of this host that is forwarded to the guest's port 22. */
static bool way_forwarded(const struct source_target *t, char *uri, size_t size)
{
	const char *host = t->links.ssh_host[0] ? t->links.ssh_host : "127.0.0.1";
	struct ssh_uri u = {.user = "root", .port = t->links.ssh_port};

	if (!u.port || strlen(host) >= sizeof(u.host) || !ssh_host_is_valid(host))
		return false;
	/* Forwarded from all addresses: this one is among them. */
	if (strcmp(host, "0.0.0.0") == 0)
		host = "127.0.0.1";
	if (strcmp(host, "::") == 0)
		host = "::1";
	snprintf(u.host, sizeof(u.host), "%s", host);
	ssh_uri_show(&u, uri, size);
	return true;
}

static bool is_this_host(const char *name)
{
	char own[SSH_HOST_MAX] = "";

	if (strcasecmp(name, "localhost") == 0)
		return true;
	return gethostname(own, sizeof(own) - 1) == 0 && strcasecmp(own, name) == 0;
}

/* The VM's name as a host name: a guess, but a common habit. */
static bool way_name(const struct source_target *t, char *uri, size_t size)
{
	struct ssh_uri u = {.user = "root"};

	if (!ssh_host_is_valid(t->name) || strchr(t->name, ':') || is_this_host(t->name))
		return false;
	snprintf(u.host, sizeof(u.host), "%s", t->name);
	ssh_uri_show(&u, uri, size);
	return true;
}

/* Guest memory, the guest agent and vsock take their places here: memory and agent first, vsock
 * before the name. */
static const struct way {
	way_fn *open;
	source_create_fn *create;
} ways[] = {
	{way_forwarded, source_ssh_create},
	{way_name, source_ssh_create_guess},
};

/* What the attempts had to say. */
struct attempts {
	char text[WAYS_SHOWN_MAX];
	int code; /* of the first */
	unsigned count;
};

static void add_attempt(struct attempts *a, int code, const struct errmsg *e)
{
	size_t len = strlen(a->text);

	if (a->count++ == 0)
		a->code = code;
	snprintf(a->text + len, sizeof(a->text) - len, "%s%s", len ? "; " : "", e->text);
}

/* Passes everything on, and notes that there was something. */
struct tap {
	const struct source_sink *sink;
	bool delivered;
};

static int tap_begin(void *ctx, enum guest_file file, const char *module)
{
	struct tap *t = ctx;

	t->delivered = true;
	return t->sink->begin(t->sink->ctx, file, module);
}

static int tap_data(void *ctx, const void *bytes, size_t n)
{
	struct tap *t = ctx;

	return t->sink->data(t->sink->ctx, bytes, n);
}

struct auto_fetch {
	struct source_auto *a;
	unsigned want;
	const struct source_limits *limits;
	struct tap tap;
	struct attempts attempts;
};

static int fetch_by(struct auto_fetch *f, source_create_fn *create, const char *uri,
		    struct errmsg *why)
{
	const struct source_sink sink = {tap_begin, tap_data, &f->tap};
	struct source *s;
	int r = create(uri, &f->a->target, &s, why);

	if (r < 0)
		return r;
	r = s->ops->fetch(s, f->want, f->limits, &sink, why);
	if (r == 0)
		snprintf(f->a->base.used, sizeof(f->a->base.used), "%s", s->used);
	source_destroy(s);
	return r;
}

/* 0: done. 1: try the next way. Negative errno: it is over. */
static int try_way(struct auto_fetch *f, const struct way *w, const char *shown, struct errmsg *why)
{
	char uri[SOURCE_URI_MAX];
	struct errmsg e = {0};
	int r;

	snprintf(uri, sizeof(uri), "%s%s", shown, f->a->query);
	r = fetch_by(f, w->create, uri, &e);
	if (r == 0)
		return 0;
	if (!f->tap.delivered && r != -ECANCELED) {
		add_attempt(&f->attempts, r, &e);
		return 1;
	}
	/* No text: the sink has it. */
	if (e.code != 0 && why)
		*why = e;
	return r;
}

/* known: the ways that worked last time, else the others. */
static int try_ways(struct auto_fetch *f, const char *last, bool known, struct errmsg *why)
{
	char shown[SSH_SHOW_MAX];
	int r = 1;

	for (size_t i = 0; r > 0 && i < ARRAY_SIZE(ways); i++) {
		if (!ways[i].open(&f->a->target, shown, sizeof(shown)))
			continue;
		if ((strcmp(shown, last) == 0) == known)
			r = try_way(f, &ways[i], shown, why);
	}
	return r;
}

static int no_way(const struct source_auto *a, struct errmsg *why)
{
	return errmsg_set(
		why, -EHOSTUNREACH,
		"no way into the guest is known: no host port is forwarded to its port 22, "
		"and its name \"%s\" is no other host's name; name a source with -s",
		a->target.name);
}

static int auto_fetch(struct source *s, unsigned want, const struct source_limits *limits,
		      const struct source_sink *sink, struct errmsg *why)
{
	struct source_auto *a = (struct source_auto *)s;
	struct auto_fetch f = {.a = a, .want = want, .limits = limits, .tap = {.sink = sink}};
	char last[SOURCE_USED_MAX];
	int r;

	snprintf(last, sizeof(last), "%s", s->used);
	r = try_ways(&f, last, true, why);
	if (r > 0)
		r = try_ways(&f, last, false, why);
	if (r <= 0)
		return r;
	if (f.attempts.count == 0)
		return no_way(a, why);
	return errmsg_set(why, f.attempts.code, "%s", f.attempts.text);
}

static void auto_destroy(struct source *s)
{
	struct source_auto *a = (struct source_auto *)s;

	free(a->query);
	free(a);
}

static const struct source_ops auto_ops = {"auto", auto_fetch, auto_destroy, NULL};

int source_auto_create(const char *uri, const struct source_target *target, struct source **ret,
		       struct errmsg *why)
{
	const char *query = uri + strlen("auto");
	struct ssh_query unused;
	struct source_auto *a;
	int r = *query ? ssh_query_parse(query + 1, &unused, why) : 0;

	if (r < 0)
		return r;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->base.ops = &auto_ops;
	a->target = *target;
	a->query = strdup(query);
	if (!a->query) {
		free(a);
		return -ENOMEM;
	}
	*ret = &a->base;
	return 0;
}
