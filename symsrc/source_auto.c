/* auto - by whatever way into the guest there is, in the order of the table below.
 *
 * What worked last time (source.used) is tried first. A way that fails before it has delivered
 * anything gives place to the next one; one that fails later ends the fetch, since what it
 * delivered cannot be taken back, and says so (source.spoilt), for another fetch without it.
 * Each is noted with what came of it (source.tried).
 *
 * As long as others are left, a way gets half of the time that is left and a few seconds for its
 * first answer; the one that worked last time gets all it needs.
 *
 * The guest's memory comes first: it needs nothing of the guest. When it holds the core's symbols
 * alone (no BTF), the other ways have their turn, and it is taken when none of them works. It
 * never gets more than half of the time where there is another way: a scan of much RAM must not
 * use up all. When it shows a guest that is only just booting, that is the answer: nobody could
 * answer otherwise, and their patience would only delay the next look.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/serial_turn.h"
#include "symsrc/source_impl.h"
#include "symsrc/ssh_uri.h"

#define WAYS_SHOWN_MAX	   320
#define WAYS_BESIDE_MEMORY 190	/* of these, where memory has something to say, too */
#define SERIAL_ANSWER_MS   4000 /* for the first answer, while there are other ways */
#define SSH_ANSWER_MS	   8000 /* an emulated guest needs seconds for each process it starts */

struct source_auto {
	struct source base;
	struct source_target target;
	struct source *files; /* that brought /lib/modules last; or NULL */
	char *query;	      /* "?identity=..." or "" */
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

static bool way_agent(const struct source_target *t, char *uri, size_t size)
{
	snprintf(uri, size, "virtio-serial:%s", t->links.agent_path);
	return t->links.agent_path[0];
}

static bool way_port(const struct source_target *t, char *uri, size_t size)
{
	snprintf(uri, size, "virtio-serial:%s", t->links.port_path);
	return t->links.port_path[0];
}

static bool way_vsock(const struct source_target *t, char *uri, size_t size)
{
	struct ssh_uri u = {.user = "root"};

	ssh_uri_set_cid(&u, t->links.vsock_cid);
	ssh_uri_show(&u, uri, size);
	return t->links.vsock_cid;
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

static const struct way {
	way_fn *open;
	source_create_fn *create;
	bool memory;
	bool ssh;	    /* takes the query */
	bool rest;	    /* better than nothing: only after all the others */
	unsigned answer_ms; /* at most, for the first answer; 0: it needs none */
} ways[] = {
	{.open = way_memory, .create = source_memory_create_whole, .memory = true},
	{.open = way_agent, .create = source_virtio_create, .answer_ms = SERIAL_ANSWER_MS},
	{.open = way_port, .create = source_virtio_create, .answer_ms = SERIAL_ANSWER_MS},
	{.open = way_forwarded,
	 .create = source_ssh_create,
	 .ssh = true,
	 .answer_ms = SSH_ANSWER_MS},
	{.open = way_vsock, .create = source_ssh_create, .ssh = true, .answer_ms = SSH_ANSWER_MS},
	{.open = way_name,
	 .create = source_ssh_create_guess,
	 .ssh = true,
	 .answer_ms = SSH_ANSWER_MS},
	{.open = way_memory, .create = source_memory_create, .memory = true, .rest = true},
};

#define BIT_OF(w) (1u << ((w)-ways))

/* Of a way's URI and what is remembered of it, which may be cut. */
static bool is_same_way(const char *uri, const char *used)
{
	return used[0] && strncmp(uri, used, SOURCE_USED_MAX - 1) == 0;
}

/* What the attempts had to say. What somebody can do something about comes first; memory's word
 * comes last: that it cannot be read on this host is no news, what went wrong with ssh may be. */
struct attempts {
	struct errmsg said;   /* code: of the first in it; 0: none was made */
	struct errmsg memory; /* likewise */
};

static bool is_telling(int code)
{
	return code == -EKEYREJECTED || code == -EACCES;
}

static void add_attempt(struct attempts *a, bool memory, int code, const struct errmsg *e)
{
	const struct errmsg before = a->said;

	if (memory) {
		a->memory = *e;
		a->memory.code = code;
	} else if (before.code == 0) {
		a->said = *e;
		a->said.code = code;
	} else if (is_telling(code) && !is_telling(before.code)) {
		errmsg_set(&a->said, code, "%s; %s", e->text, before.text);
	} else {
		errmsg_set(&a->said, before.code, "%s; %s", before.text, e->text);
	}
}

/* All of it in one line. */
static int explain_attempts(const struct source_auto *a, const struct attempts *at,
			    struct errmsg *why)
{
	bool tried = at->said.code;
	int code = tried && at->memory.code != -EAGAIN ? at->said.code : at->memory.code;

	if (tried && at->memory.code)
		return errmsg_set(why, code, "%.*s; %s",
				  is_telling(at->said.code) ? WAYS_SHOWN_MAX : WAYS_BESIDE_MEMORY,
				  at->said.text, at->memory.text);
	if (tried)
		return errmsg_set(why, at->said.code, "%s", at->said.text);
	if (at->memory.code)
		return errmsg_set(why, code,
				  "%s; no other way into the guest is known: name one with -s",
				  at->memory.text);
	return errmsg_set(
		why, -EHOSTUNREACH,
		"no way into the guest is known: it has no port for an agent and no vsock, no host "
		"port is forwarded to its port 22, and its name \"%s\" is no other host's name; "
		"name a source with -s",
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
	unsigned done; /* ways that are over; BIT_OF() */
	bool partial;  /* memory has the core's symbols */
};

static void take_ear(struct source *to, struct source *from)
{
	serial_ear_destroy(to->ear);
	to->ear = take_ptr(from->ear);
}

static void take_result(struct source *to, struct source *from)
{
	memcpy(to->used, from->used, sizeof(to->used));
	memcpy(to->how, from->how, sizeof(to->how));
	memcpy(to->note, from->note, sizeof(to->note));
	to->partial = from->partial;
	to->mark = from->mark;
	take_ear(to, from);
}

static bool has_other_way(const struct auto_fetch *f, const struct way *w)
{
	char unused[SOURCE_URI_MAX];

	for (const struct way *o = ways; o < ways + ARRAY_SIZE(ways); o++) {
		if (o != w && !o->memory && !(f->done & BIT_OF(o)) &&
		    o->open(&f->a->target, unused, sizeof(unused)))
			return true;
	}
	return false;
}

static struct source_limits limits_of(const struct auto_fetch *f, const struct way *w, bool known)
{
	struct source_limits limits = *f->limits;
	uint64_t now = clock_now_ns();

	if (w->rest || (known && !w->memory) || !has_other_way(f, w))
		return limits;
	if (limits.deadline_ns > now)
		limits.deadline_ns = now + (limits.deadline_ns - now) / 2;
	if (w->answer_ms && (!limits.answer_ms || limits.answer_ms > w->answer_ms))
		limits.answer_ms = w->answer_ms;
	return limits;
}

static int fetch_by(struct auto_fetch *f, const struct way *w, const char *uri,
		    const struct source_limits *limits, struct errmsg *why)
{
	const struct source_sink sink = {tap_begin, tap_data, &f->tap};
	struct source *s, *own = &f->a->base;
	int r = w->create(uri, &f->a->target, &s, why);

	if (r < 0)
		return r;
	s->had = own->had;
	if (w->memory)
		s->dead = own->dead;
	r = s->ops->fetch(s, f->want, limits, &sink, why);
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

/* Whether the others may have their turn when this way has failed in the middle, or its files turn
 * out to be wrong. */
static void note_spoilt(struct auto_fetch *f, const struct way *w)
{
	bool final = w->memory && (f->limits->quick || f->limits->booting);

	f->a->base.spoilt =
		f->tap.delivered && !final && has_other_way(f, w) ? f->done | BIT_OF(w) : 0;
}

static int timed_fetch(struct auto_fetch *f, const struct way *w, const char *shown, bool known,
		       struct errmsg *why)
{
	const struct source_limits limits = limits_of(f, w, known);
	uint64_t began_ns = clock_now_ns();
	char uri[SOURCE_URI_MAX];
	int r;

	snprintf(uri, sizeof(uri), "%s%s", shown, w->ssh ? f->a->query : "");
	r = fetch_by(f, w, uri, &limits, why);
	/* What the sink refused is explained by whoever made it. */
	if (r == 0 || why->code != 0 || !f->tap.delivered)
		source_attempts_add(&f->a->base.tried, shown, r, why, clock_now_ns() - began_ns);
	else
		source_attempts_add(&f->a->base.tried, shown, 0, NULL, clock_now_ns() - began_ns);
	note_spoilt(f, w);
	return r;
}

/* 0: done. 1: try the next way. Negative errno: it is over. */
static int try_way(struct auto_fetch *f, const struct way *w, const char *shown, bool known,
		   struct errmsg *why)
{
	struct errmsg e = {0};
	int r = timed_fetch(f, w, shown, known, &e);

	f->done |= BIT_OF(w);
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
	char shown[SOURCE_URI_MAX];
	int r = 1;

	for (const struct way *w = ways; r > 0 && w < ways + ARRAY_SIZE(ways); w++) {
		if (f->done & BIT_OF(w) || !w->open(&f->a->target, shown, sizeof(shown)))
			continue;
		if (known != (!w->rest && is_same_way(shown, last)))
			continue;
		if (!w->rest || f->partial)
			r = try_way(f, w, shown, known, why);
	}
	return r;
}

static int auto_fetch(struct source *s, unsigned want, const struct source_limits *limits,
		      const struct source_sink *sink, struct errmsg *why)
{
	struct source_auto *a = (struct source_auto *)s;
	struct auto_fetch f = {
		.a = a, .want = want, .limits = limits, .tap = {.sink = sink}, .done = s->skip};
	char last[SOURCE_USED_MAX];
	int r;

	s->tried.count = 0;
	s->spoilt = 0;
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

/* The one that worked last time, or NULL. uri: SOURCE_URI_MAX bytes. */
static const struct way *find_used(const struct source_auto *a, char *uri)
{
	for (const struct way *w = ways; w < ways + ARRAY_SIZE(ways); w++) {
		if (w->open(&a->target, uri, SOURCE_URI_MAX) && is_same_way(uri, a->base.used))
			return w;
	}
	return NULL;
}

/* By the way that worked, if that one can. */
static int auto_look(struct source *s, const struct source_limits *limits, struct errmsg *why)
{
	struct source_auto *a = (struct source_auto *)s;
	char uri[SOURCE_URI_MAX];
	const struct way *w = find_used(a, uri);
	struct source *by;
	int r;

	if (!w || w->ssh)
		return -ENOSYS;
	r = w->create(uri, &a->target, &by, why);
	if (r < 0)
		return r;
	by->mark = s->mark;
	r = by->ops->look(by, limits, why);
	s->mark = by->mark;
	take_ear(s, by);
	source_destroy(by);
	return r;
}

/* ---- /lib/modules ------------------------------------------------------------------------- */

/* One order for the ways that can carry it out. */
struct files_order {
	const char *release, *path; /* path NULL: a listing */
	const struct source_limits *limits;
	struct modtree_builder *list;
	struct buf *to;
};

/* -ENOENT of a guest that nobody has reached is the host's: the socket is gone. */
static int order(struct source *s, const struct files_order *o, struct errmsg *why)
{
	int r;

	if (o->to)
		buf_clear(o->to); /* of what another way has begun */
	s->used[0] = '\0';
	r = o->path ? s->ops->read(s, o->release, o->path, o->limits, o->to, why)
		    : s->ops->list(s, o->release, o->limits, o->list, why);
	return r == -ENOENT && !s->used[0] ? -EHOSTUNREACH : r;
}

static int order_by(struct source_auto *a, const struct way *w, const char *shown,
		    const struct files_order *o, struct errmsg *why)
{
	char uri[SOURCE_URI_MAX];
	struct source *s;
	int r;

	snprintf(uri, sizeof(uri), "%s%s", shown, w->ssh ? a->query : "");
	r = w->create(uri, &a->target, &s, why);
	if (r < 0)
		return r;
	r = order(s, o, why);
	if (r < 0) {
		source_destroy(s);
		return r;
	}
	memcpy(a->base.used, s->used, sizeof(a->base.used));
	a->files = s;
	return 0;
}

/* The guest's own word: no other way would say anything else. */
static bool is_answer(int r)
{
	return r == 0 || r == -ENOENT || r == -EFBIG || r == -ECANCELED;
}

static int no_way_to_files(const struct attempts *at, struct errmsg *why)
{
	if (at->said.code)
		return errmsg_set(why, at->said.code, "%s", at->said.text);
	return errmsg_set(why, -EHOSTUNREACH,
			  "no way to the guest's files: an agent brings them, a port "
			  "org.kvmprofs.0, or ssh");
}

static int order_by_ways(struct source_auto *a, const struct files_order *o, struct errmsg *why)
{
	struct attempts at = {0};
	char shown[SOURCE_URI_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct errmsg e = {0};
		int r = source_check_limits(o->limits, why);

		if (r < 0)
			return r;
		if (ways[i].memory || !ways[i].open(&a->target, shown, sizeof(shown)))
			continue;
		r = order_by(a, &ways[i], shown, o, &e);
		if (r < 0 && !is_answer(r))
			add_attempt(&at, false, r, &e);
		else if (r < 0 && why)
			*why = e;
		if (is_answer(r))
			return r;
	}
	return no_way_to_files(&at, why);
}

/* By all ways but memory. The one that worked last is kept, since it may still be connected. */
static int order_files(struct source_auto *a, const struct files_order *o, struct errmsg *why)
{
	int r;

	if (a->files) {
		r = order(a->files, o, why);
		if (is_answer(r))
			return r;
		source_destroy(take_ptr(a->files));
	}
	return order_by_ways(a, o, why);
}

static int auto_list(struct source *s, const char *release, const struct source_limits *limits,
		     struct modtree_builder *to, struct errmsg *why)
{
	const struct files_order o = {.release = release, .limits = limits, .list = to};

	return order_files((struct source_auto *)s, &o, why);
}

static int auto_read(struct source *s, const char *release, const char *path,
		     const struct source_limits *limits, struct buf *to, struct errmsg *why)
{
	const struct files_order o = {.release = release, .path = path, .limits = limits, .to = to};

	return order_files((struct source_auto *)s, &o, why);
}

static void auto_destroy(struct source *s)
{
	struct source_auto *a = (struct source_auto *)s;

	source_destroy(a->files);
	serial_ear_destroy(a->base.ear);
	free(a->query);
	free(a);
}

static const struct source_ops auto_ops = {"auto",    auto_fetch, auto_destroy,
					   auto_look, auto_list,  auto_read};

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
