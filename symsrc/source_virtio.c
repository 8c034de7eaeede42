/* virtio-serial:SOCKET - the unix socket of a guest's serial port, where qemu-guest-agent answers
 * or our own program in the guest (symsrc/guest-helper). One line tells which. */
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
#include "symsrc/source_impl.h"

#define SCHEME	    "virtio-serial:"
#define PROBE_CHUNK 4096
#define QUEUED_MS   1000 /* for a VMM to accept a connection, if it serves nobody else */

struct source_virtio {
	struct source base;
	struct source_target target; /* without its RAM */
	char *path;
};

/* A connection on which it is known who answers. */
struct session {
	struct serial_link link;
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

static int ask_who(struct session *s, struct errmsg *why)
{
	uint64_t until_ns = serial_link_hello_ns(&s->link);
	uint64_t queued_ns = clock_now_ns() + QUEUED_MS * NSEC_PER_MSEC;
	char line[SERIAL_PROBE_REQUEST];
	size_t n = serial_probe_request(&s->probe, line);
	int r = serial_link_send(&s->link, line, n, why);

	while (r == 0 && s->probe.who == SERIAL_NOBODY) {
		r = listen_once(s, queued_ns < until_ns ? queued_ns : until_ns, why);
		if (r == -ETIME && queued_ns < until_ns && !serial_link_is_queued(&s->link)) {
			queued_ns = until_ns;
			r = 0;
		}
	}
	return r == -ETIME || r == -ETIMEDOUT ? no_answer(s, why) : r;
}

static int open_session(const char *path, const struct source_limits *limits, struct session *s,
			struct errmsg *why)
{
	uint32_t id;
	int r;

	if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return -EIO;
	serial_probe_init(&s->probe, id);
	s->rest_len = 0;
	r = serial_link_open(path, limits, &s->link, why);
	if (r < 0)
		return r;
	r = ask_who(s, why);
	if (r < 0)
		serial_link_close(&s->link);
	return r;
}

/* ---- the source ----------------------------------------------------------------------------- */

_Static_assert(PORT_STATE_LEN <= SOURCE_MARK_MAX, "a state is a mark");

static void mark_from_state(const uint8_t state[static PORT_STATE_LEN], struct source_mark *ret)
{
	ret->len = state[0] ? PORT_STATE_LEN : 0; /* a guest without a boot_id: zeros */
	memcpy(ret->bytes, state, PORT_STATE_LEN);
}

static int fetch_by_agent(struct serial_link *link, const struct virsh *virsh, unsigned want,
			  const struct source_sink *sink, struct errmsg *why)
{
	struct agent *a = NULL;
	int r = agent_create(link, virsh, &a, why);

	if (r == 0)
		r = agent_fetch(a, want, sink, why);
	agent_destroy(a);
	return r;
}

static int fetch_from(struct session *s, unsigned want, const struct source_sink *sink,
		      struct source_mark *mark, struct errmsg *why)
{
	uint8_t state[PORT_STATE_LEN];
	int r;

	if (s->probe.who == SERIAL_AGENT)
		return fetch_by_agent(&s->link, NULL, want, sink, why);
	r = port_fetch(&s->link, s->probe.id, s->rest, s->rest_len, want, sink, state, why);
	if (r == 0)
		mark_from_state(state, mark);
	return r;
}

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

/* "virtio-serial:/path: " in front of what went wrong. What the sink refused has no text yet. */
static int with_name(const struct source_virtio *v, int r, struct errmsg *why)
{
	struct errmsg e;

	if (r == 0 || !why || why->code == 0)
		return r;
	e = *why;
	return errmsg_set(why, r, SCHEME "%s: %s", v->path, e.text);
}

static void say_used(struct source_virtio *v, const char *how)
{
	snprintf(v->base.used, sizeof(v->base.used), SCHEME "%s", v->path);
	snprintf(v->base.how, sizeof(v->base.how), "%s", how);
}

/* Somebody else holds the port, as why says. Where that is libvirt, it asks the agent for us. */
static int fetch_by_virsh(struct source_virtio *v, unsigned want,
			  const struct source_limits *limits, const struct source_sink *sink,
			  struct errmsg *why)
{
	struct serial_link link = {.fd = -1, .limits = *limits};
	struct errmsg busy = why ? *why : (struct errmsg){0}, e = {0};
	struct virsh virsh;
	int r = virsh_init(&virsh, &v->target, &e);

	if (r == 0)
		r = fetch_by_agent(&link, &virsh, want, sink, &e);
	if (r == 0) {
		v->base.mark.len = 0;
		say_used(v, "qemu-guest-agent by virsh, since libvirt holds the port");
		return 0;
	}
	if (r == VIRSH_NONE)
		return errmsg_set(why, busy.code, "%s (by virsh: %s)", busy.text, e.text);
	if (why)
		*why = e;
	return r;
}

static int fetch_by_link(struct source_virtio *v, struct session *s, unsigned want,
			 const struct source_sink *sink, struct errmsg *why)
{
	struct source_mark mark = {0};
	int r = fetch_from(s, want, sink, &mark, why);

	serial_link_close(&s->link);
	if (r < 0)
		return r;
	v->base.mark = mark;
	say_used(v, s->probe.who == SERIAL_AGENT ? "qemu-guest-agent" : "kvmprofs in the guest");
	return 0;
}

static int virtio_fetch(struct source *base, unsigned want, const struct source_limits *limits,
			const struct source_sink *sink, struct errmsg *why)
{
	struct source_virtio *v = (struct source_virtio *)base;
	struct errmsg e = {0};
	struct session s;
	int r = open_session(v->path, limits, &s, &e);

	if (r == 0)
		r = fetch_by_link(v, &s, want, sink, &e);
	else if (r == -EBUSY)
		r = fetch_by_virsh(v, want, limits, sink, &e);
	if (why && e.code)
		*why = e;
	return with_name(v, r, why);
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
	r = open_session(v->path, limits, &s, why);
	if (r == -EBUSY)
		return -ENOSYS; /* by virsh */
	if (r < 0)
		return with_name(v, r, why);
	r = look_at(&s, &now, why);
	serial_link_close(&s.link);
	if (r < 0)
		return with_name(v, r, why);
	r = (int)compare(&base->mark, &now);
	base->mark = now;
	return r;
}

static void virtio_destroy(struct source *base)
{
	struct source_virtio *v = (struct source_virtio *)base;

	free(v->path);
	free(v);
}

static const struct source_ops virtio_ops = {.scheme = "virtio-serial",
					     .fetch = virtio_fetch,
					     .destroy = virtio_destroy,
					     .look = virtio_look};

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
	v->path = strdup(path);
	if (!v->path) {
		free(v);
		return -ENOMEM;
	}
	*ret = &v->base;
	return 0;
}
