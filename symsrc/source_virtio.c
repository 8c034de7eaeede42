/* virtio-serial:SOCKET[?modules=yes] - the unix socket of a guest's serial port, where
 * qemu-guest-agent answers or our own program in the guest (symsrc/guest-helper). One line tells
 * which. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "symsrc/agent.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/port.h"
#include "symsrc/serial_probe.h"
#include "symsrc/serial_turn.h"
#include "symsrc/source_impl.h"

#define SCHEME	    "virtio-serial:"
#define PROBE_CHUNK 4096
#define QUEUED_MS   1000 /* for a VMM to accept a connection, if it serves nobody else */
#define SHARED_MS   9000 /* for another kvmprofs, which listens at our own port, to look again */

struct source_virtio {
	struct source base;
	struct source_target target; /* without its RAM */
	char *path;
};

/* A connection on which it is known who answers. */
struct session {
	struct serial_turn turn;
	struct serial_link link;
	bool own;    /* at a port org.kvmprofs.0, as far as is known */
	bool shared; /* somebody else was there, but made room */
	struct serial_probe probe;
	char rest[PROBE_CHUNK]; /* what came behind the answer */
	size_t rest_len;
};

/* ---- who is there -------------------------------------------------------------------------- */

static int no_answer(const struct session *s, struct errmsg *why)
{
	if (serial_link_is_queued(&s->link))
		return errmsg_set(
			why, -EBUSY,
			"is in use by somebody else (libvirt?), and the VMM serves one "
			"client at a time: give the guest a port org.kvmprofs.0 of its own");
	return errmsg_set(
		why, -ETIMEDOUT,
		"nobody answers in the guest: neither qemu-guest-agent nor kvmprofs' guest "
		"helper runs there (or another client talks to it)");
}

static int listen_once(struct session *s, uint64_t until_ns, struct errmsg *why)
{
	ssize_t n = serial_link_recv(&s->link, s->rest, sizeof(s->rest), until_ns, why);
	ptrdiff_t took;

	if (n < 0)
		return (int)n;
	took = serial_probe_feed(&s->probe, s->rest, (size_t)n, why);
	if (took < 0)
		return (int)took;
	s->rest_len = (size_t)(n - took);
	memmove(s->rest, s->rest + took, s->rest_len);
	return 0;
}

/* When to give up waiting for the first answer, and until then to look who else is there. */
struct patience {
	uint64_t look_ns, until_ns;
};

/* Whether the wait goes on, after a silence until look_ns. */
static bool has_patience(struct session *s, struct patience *p)
{
	bool last = p->look_ns >= p->until_ns, queued = serial_link_is_queued(&s->link);

	p->look_ns = p->until_ns;
	if (queued && s->own && !s->shared) {
		s->shared = true;
		p->look_ns = clock_now_ns() + SHARED_MS * NSEC_PER_MSEC;
		p->until_ns = serial_link_hello_ns(&s->link) + SHARED_MS * NSEC_PER_MSEC;
		return true;
	}
	return !last && !queued;
}

static int ask_who(struct session *s, struct errmsg *why)
{
	uint64_t queued_ns = clock_now_ns() + QUEUED_MS * NSEC_PER_MSEC;
	struct patience p = {queued_ns, serial_link_hello_ns(&s->link)};
	char line[SERIAL_PROBE_REQUEST];
	size_t n = serial_probe_request(&s->probe, line);
	int r = serial_link_send(&s->link, line, n, why);

	while (r == 0 && s->probe.who == SERIAL_NOBODY) {
		r = listen_once(s, p.look_ns < p.until_ns ? p.look_ns : p.until_ns, why);
		if (r == -ETIME && has_patience(s, &p))
			r = 0;
	}
	return r == -ETIME || r == -ETIMEDOUT ? no_answer(s, why) : r;
}

static void close_session(struct session *s)
{
	serial_link_close(&s->link);
	serial_turn_end(&s->turn);
}

static int open_link(const struct source_virtio *v, const struct source_limits *limits,
		     struct session *s, struct errmsg *why)
{
	int r = serial_link_open(v->path, limits, &s->link, why);

	if (r == 0)
		r = ask_who(s, why);
	return r;
}

static int open_session(const struct source_virtio *v, const struct source_limits *limits,
			struct session *s, struct errmsg *why)
{
	uint32_t id;
	int r;

	*s = (struct session){.link.fd = -1, .turn.wake_fd = -1};
	s->own = strcmp(v->path, v->target.links.port_path) == 0;
	if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return -EIO;
	serial_probe_init(&s->probe, id);
	r = serial_turn_begin(&s->turn, v->path, limits, why);
	if (r == 0)
		r = open_link(v, limits, s, why);
	if (r < 0)
		close_session(s);
	return r;
}

/* Our own program will tell of changes by itself: the connection is kept for that; but not where
 * somebody else wants to have it, too. */
static void listen_on(struct source_virtio *v, struct session *s)
{
	if (s->probe.who == SERIAL_AGENT || s->shared || v->base.mark.len == 0)
		return;
	serial_ear_destroy(v->base.ear);
	v->base.ear = serial_ear_create(v->path, s->link.fd);
	s->link.fd = -1;
}

/* ---- the source ----------------------------------------------------------------------------- */

_Static_assert(PORT_STATE_LEN <= SOURCE_MARK_MAX, "a state is a mark");

static void mark_from_state(const uint8_t state[static PORT_STATE_LEN], struct source_mark *ret)
{
	ret->len = state[0] ? PORT_STATE_LEN : 0; /* a guest without a boot_id: zeros */
	memcpy(ret->bytes, state, PORT_STATE_LEN);
}

static void say_used(struct source_virtio *v)
{
	snprintf(v->base.used, sizeof(v->base.used), SCHEME "%s", v->path);
}

static int fetch_by_agent(struct serial_link *link, const struct virsh *virsh,
			  const struct source_order *o, const struct source_sink *sink,
			  struct errmsg *why)
{
	struct agent *a = NULL;
	int r = agent_create(link, virsh, &a, why);

	if (r == 0)
		r = agent_fetch(a, o, sink, why);
	agent_destroy(a);
	return r;
}

/* How, in words: and what a change has cost. */
static void say_own(struct source_virtio *v, const struct port_result *got)
{
	static const char own[] = "kvmprofs in the guest";

	if (v->base.had && got->received < got->delivered)
		snprintf(v->base.how, sizeof(v->base.how),
			 "%s, by what has changed: %zu of %zu KiB", own, got->received >> 10,
			 got->delivered >> 10);
	else
		snprintf(v->base.how, sizeof(v->base.how), "%s", own);
}

static int fetch_by_port(struct source_virtio *v, struct session *s, const struct source_order *o,
			 const struct source_sink *sink, struct errmsg *why)
{
	const struct port_order order = {.what = *o, .sink = sink, .had = v->base.had};
	struct port_result got;
	int r = port_fetch(&s->link, s->probe.id, s->rest, s->rest_len, &order, &got, why);

	if (r < 0)
		return r;
	mark_from_state(got.state, &v->base.mark);
	say_used(v);
	say_own(v, &got);
	return 0;
}

/* "virtio-serial:/path: " in front of what went wrong. What the sink refused has no text yet. */
static int with_name(const struct source_virtio *v, int r, struct errmsg *why)
{
	struct errmsg e;

	if (r == 0 || !why || why->code == 0)
		return r;
	e = *why;
	return errmsg_set(why, r, SCHEME "%s: %s", v->path, e.text);
}

static void say_agent(struct source_virtio *v, const char *how)
{
	v->base.mark.len = 0;
	say_used(v);
	snprintf(v->base.how, sizeof(v->base.how), "%s", how);
}

/* Somebody else holds the port, as why says. Where that is libvirt, it asks the agent for us. */
static int fetch_by_virsh(struct source_virtio *v, const struct source_order *o,
			  const struct source_limits *limits, const struct source_sink *sink,
			  struct errmsg *why)
{
	struct serial_link link = {.fd = -1, .limits = *limits};
	struct errmsg busy = why ? *why : (struct errmsg){0}, e = {0};
	struct virsh virsh;
	int r = virsh_init(&virsh, &v->target, &e);

	if (r == 0)
		r = fetch_by_agent(&link, &virsh, o, sink, &e);
	if (r == 0) {
		say_agent(v, "qemu-guest-agent by virsh, since libvirt holds the port");
		return 0;
	}
	if (r == VIRSH_NONE)
		return errmsg_set(why, busy.code, "%s (by virsh: %s)", busy.text, e.text);
	if (why)
		*why = e;
	return r;
}

static int fetch_by_link(struct source_virtio *v, struct session *s, const struct source_order *o,
			 const struct source_sink *sink, struct errmsg *why)
{
	int r;

	if (s->probe.who == SERIAL_AGENT) {
		r = fetch_by_agent(&s->link, NULL, o, sink, why);
		if (r == 0)
			say_agent(v, "qemu-guest-agent");
	} else {
		r = fetch_by_port(v, s, o, sink, why);
	}
	if (r == 0 && !o->release)
		listen_on(v, s);
	close_session(s);
	return r;
}

static int carry_out(struct source_virtio *v, const struct source_order *o,
		     const struct source_limits *limits, const struct source_sink *sink,
		     struct errmsg *why)
{
	struct errmsg e = {0};
	struct session s;
	int r = open_session(v, limits, &s, &e);

	if (r == 0)
		r = fetch_by_link(v, &s, o, sink, &e);
	else if (r == -EBUSY)
		r = fetch_by_virsh(v, o, limits, sink, &e);
	if (why && e.code)
		*why = e;
	return with_name(v, r, why);
}

static int virtio_fetch(struct source *base, unsigned want, const struct source_limits *limits,
			const struct source_sink *sink, struct errmsg *why)
{
	const struct source_order o = {.want = want};

	return carry_out((struct source_virtio *)base, &o, limits, sink, why);
}

/* ---- /lib/modules ------------------------------------------------------------------------- */

static int catch_one(struct source *s, const struct source_order *o, struct source_catch *c,
		     const struct source_limits *limits, struct errmsg *why)
{
	const struct source_sink sink = source_catch_sink(c);

	return carry_out((struct source_virtio *)s, o, limits, &sink, why);
}

static int virtio_list(struct source *s, const char *release, const struct source_limits *limits,
		       struct modtree_builder *to, struct errmsg *why)
{
	return source_catch_list(s, catch_one, release, limits, to, why);
}

static int virtio_read(struct source *s, const char *release, const char *path,
		       const struct source_limits *limits, struct buf *to, struct errmsg *why)
{
	return source_catch_module(s, catch_one, release, path, limits, to, why);
}

/* ---- looks -------------------------------------------------------------------------------- */

/* Our own program knows a word for it. An agent does not. */
static int look_at(struct session *s, struct source_mark *mark, struct errmsg *why)
{
	uint8_t state[PORT_STATE_LEN];
	int r;

	if (s->probe.who == SERIAL_AGENT)
		return -ENOSYS;
	r = port_state(&s->link, s->probe.id, s->rest, s->rest_len, state, why);
	if (r == 0)
		mark_from_state(state, mark);
	return r == 0 && mark->len == 0 ? -ENOSYS : r;
}

static enum source_news compare(const struct source_mark *had, const struct source_mark *now)
{
	if (memcmp(had->bytes, now->bytes, PORT_BOOT_ID_LEN) != 0)
		return SOURCE_REBOOTED;
	return memcmp(had->bytes, now->bytes, PORT_STATE_LEN) == 0 ? SOURCE_SAME : SOURCE_CHANGED;
}

static int virtio_look(struct source *base, const struct source_limits *limits, struct errmsg *why)
{
	struct source_virtio *v = (struct source_virtio *)base;
	struct source_mark now = {0};
	struct session s;
	int r;

	if (base->mark.len != PORT_STATE_LEN)
		return -ENOSYS;
	r = open_session(v, limits, &s, why);
	if (r == -EBUSY)
		return -ENOSYS; /* by virsh */
	if (r < 0)
		return with_name(v, r, why);
	r = look_at(&s, &now, why);
	if (r == 0) {
		r = (int)compare(&base->mark, &now);
		base->mark = now;
		listen_on(v, &s);
	}
	close_session(&s);
	return r < 0 ? with_name(v, r, why) : r;
}

static void virtio_destroy(struct source *base)
{
	struct source_virtio *v = (struct source_virtio *)base;

	serial_ear_destroy(v->base.ear);
	free(v->path);
	free(v);
}

static const struct source_ops virtio_ops = {.scheme = "virtio-serial",
					     .fetch = virtio_fetch,
					     .destroy = virtio_destroy,
					     .look = virtio_look,
					     .list = virtio_list,
					     .read = virtio_read};

int source_virtio_create(const char *uri, const struct source_target *target, struct source **ret,
			 struct errmsg *why)
{
	const char *path = uri + strlen(SCHEME);
	struct source_virtio *v;

	if (*path != '/')
		return errmsg_set(
			why, -EINVAL,
			"symbol source \"%s\": " SCHEME " wants a path that begins with /", uri);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->base.ops = &virtio_ops;
	v->target = *target;
	v->target.ram = NULL;
	v->path = source_path_without_query(path);
	if (!v->path) {
		free(v);
		return -ENOMEM;
	}
	*ret = &v->base;
	return 0;
}
