/* auto - by whatever way into the guest there is, in the order of the table below.
 *
 * What worked last time (source.used) is tried first. A way that fails before it has delivered
 * anything gives place to the next one; one that fails later ends the fetch, since what it
 * delivered cannot be taken back.
 *
 * The guest's memory comes first: it needs nothing of the guest. When it holds the core's symbols
 * alone (no BTF), the other ways have their turn, and it is taken when none of them works. Where
 * there is another way, it gets half of the time: a scan of much RAM must not use up all. When
 * it shows a guest that is only just booting, that is the answer: nobody could answer ssh, whose
 * patience would only delay the next look.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/source_impl.h"
#include "symsrc/ssh_uri.h"

#define WAYS_SHOWN_MAX	   320
#define WAYS_BESIDE_MEMORY 190 /* of these, where memory has something to say, too */

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

/* Somebody has tried to open it: without that (a folder, a test) there is no such way. */
static bool way_memory(const struct source_target *t, char *uri, size_t size)
{
	snprintf(uri, size, "memory");
	return t->ram || t->ram_why.code;
}

/* The guest agent and vsock take their places here: the agent behind memory, vsock before the
 * name. */
static const struct way {
	way_fn *open;
	source_create_fn *create;
	bool memory;
	bool rest; /* better than nothing: only after all the others */
} ways[] = {
	{.open = way_memory, .create = source_memory_create_whole, .memory = true},
	{.open = way_forwarded, .create = source_ssh_create},
	{.open = way_name, .create = source_ssh_create_guess},
	{.open = way_memory, .create = source_memory_create, .memory = true, .rest = true},
};

/* What the attempts had to say. Memory's word comes last: that it cannot be read on this host is
 * no news, what went wrong with ssh may be. */
struct attempts {
	char text[WAYS_SHOWN_MAX];
	int code; /* of the first */
	unsigned count;
	struct errmsg memory; /* code 0: it was not tried */
};

static void add_attempt(struct attempts *a, bool memory, int code, const struct errmsg *e)
{
	size_t len = strlen(a->text);

	if (memory) {
		a->memory = *e;
		a->memory.code = code;
		return;
	}
	if (a->count++ == 0)
		a->code = code;
	snprintf(a->text + len, sizeof(a->text) - len, "%s%s", len ? "; " : "", e->text);
}

/* All of it in one line. */
static int explain_attempts(const struct source_auto *a, const struct attempts *at,
			    struct errmsg *why)
{
	int code = at->count && at->memory.code != -EAGAIN ? at->code : at->memory.code;

	if (at->count && at->memory.code)
		return errmsg_set(why, code, "%.*s; %s", WAYS_BESIDE_MEMORY, at->text,
				  at->memory.text);
	if (at->count)
		return errmsg_set(why, at->code, "%s", at->text);
	if (at->memory.code)
		return errmsg_set(why, code,
				  "%s; no way in by ssh is known either: name one with -s",
				  at->memory.text);
	return errmsg_set(
		why, -EHOSTUNREACH,
		"no way into the guest is known: no host port is forwarded to its port 22, "
		"and its name \"%s\" is no other host's name; name a source with -s",
		a->target.name);
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
	bool partial; /* memory has the core's symbols */
};

static void take_result(struct source *to, const struct source *from)
{
	memcpy(to->used, from->used, sizeof(to->used));
	memcpy(to->how, from->how, sizeof(to->how));
	memcpy(to->note, from->note, sizeof(to->note));
	to->partial = from->partial;
	to->mark = from->mark;
}

static bool has_other_way(const struct auto_fetch *f)
{
	char unused[SSH_SHOW_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		if (!ways[i].memory && ways[i].open(&f->a->target, unused, sizeof(unused)))
			return true;
	}
	return false;
}

static struct source_limits limits_of(const struct auto_fetch *f, const struct way *w)
{
	struct source_limits limits = *f->limits;
	uint64_t now = clock_now_ns();

	if (w->memory && !w->rest && limits.deadline_ns > now && has_other_way(f))
		limits.deadline_ns = now + (limits.deadline_ns - now) / 2;
	return limits;
}

static int fetch_by(struct auto_fetch *f, const struct way *w, const char *uri, struct errmsg *why)
{
	const struct source_limits limits = limits_of(f, w);
	const struct source_sink sink = {tap_begin, tap_data, &f->tap};
	struct source *s, *own = &f->a->base;
	int r = w->create(uri, &f->a->target, &s, why);

	if (r < 0)
		return r;
	if (w->memory)
		s->dead = own->dead;
	r = s->ops->fetch(s, f->want, &limits, &sink, why);
	if (w->memory)
		own->dead = s->dead;
	if (r == 0)
		take_result(own, s);
	source_destroy(s);
	return r;
}

/* Whether this is an answer for the other ways, too. */
static bool is_final(const struct auto_fetch *f, const struct way *w, int r)
{
	if (w->memory && f->limits->booting && (r == -ENODATA || r == -EBADMSG))
		return true; /* a kernel that is unpacked, or has only just begun */
	if (w->memory && r == -EAGAIN)
		return f->limits->quick || f->limits->booting;
	return r == -ECANCELED;
}

/* 0: done. 1: try the next way. Negative errno: it is over. */
static int try_way(struct auto_fetch *f, const struct way *w, const char *shown, struct errmsg *why)
{
	char uri[SOURCE_URI_MAX];
	struct errmsg e = {0};
	int r;

	snprintf(uri, sizeof(uri), "%s%s", shown, w->memory ? "" : f->a->query);
	r = fetch_by(f, w, uri, &e);
	if (r == 0)
		return 0;
	f->partial |= r == SOURCE_PARTIAL;
	if (!f->tap.delivered && !is_final(f, w, r)) {
		add_attempt(&f->attempts, w->memory, r, &e);
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
		const struct way *w = &ways[i];
		bool is_known = !w->rest && w->open(&f->a->target, shown, sizeof(shown)) &&
				strcmp(shown, last) == 0;

		if (is_known != known || !w->open(&f->a->target, shown, sizeof(shown)))
			continue;
		if (!w->rest || f->partial)
			r = try_way(f, w, shown, why);
	}
	return r;
}

static int auto_fetch(struct source *s, unsigned want, const struct source_limits *limits,
		      const struct source_sink *sink, struct errmsg *why)
{
	struct source_auto *a = (struct source_auto *)s;
	struct auto_fetch f = {.a = a, .want = want, .limits = limits, .tap = {.sink = sink}};
	char last[SOURCE_USED_MAX];
	int r;

	/* A quick look is memory's affair, whatever worked last time. */
	snprintf(last, sizeof(last), "%s", limits->quick ? "" : s->used);
	r = try_ways(&f, last, true, why);
	if (r > 0)
		r = try_ways(&f, last, false, why);
	if (r == 0 && !s->note[0] && f.attempts.memory.code)
		snprintf(s->note, sizeof(s->note), "%.*s", SOURCE_NOTE_MAX - 1,
			 f.attempts.memory.text);
	return r > 0 ? explain_attempts(a, &f.attempts, why) : r;
}

/* By the way that worked, if that one can. */
static int auto_look(struct source *s, const struct source_limits *limits, struct errmsg *why)
{
	struct source_auto *a = (struct source_auto *)s;
	struct source *by;
	int r;

	if (strcmp(s->used, "memory") != 0)
		return -ENOSYS;
	r = source_memory_create(s->used, &a->target, &by, why);
	if (r < 0)
		return r;
	by->mark = s->mark;
	r = by->ops->look(by, limits, why);
	s->mark = by->mark;
	source_destroy(by);
	return r;
}

static void auto_destroy(struct source *s)
{
	struct source_auto *a = (struct source_auto *)s;

	free(a->query);
	free(a);
}

static const struct source_ops auto_ops = {"auto", auto_fetch, auto_destroy, auto_look};

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
