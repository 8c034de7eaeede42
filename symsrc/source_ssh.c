#include "symsrc/source_ssh.h"

#include <errno.h>
#include <libssh/libssh.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/lslist.h"
#include "symsrc/source_impl.h"
#include "symsrc/ssh_link.h"
#include "symsrc/ssh_script.h"
#include "symsrc/ssh_uri.h"
#include "symsrc/wire.h"

#define SSH_READ_CHUNK (32u << 10)

struct source_ssh {
	struct source base;
	struct ssh_uri uri;
	bool guess;
	struct ssh_link *kept; /* after an order for /lib/modules, for the next one; or NULL */
};

int source_ssh_init(struct errmsg *why)
{
	return ssh_init() == SSH_OK ? 0 : errmsg_set(why, -EIO, "libssh does not start");
}

static int read_answer(struct ssh_link *l, struct wire *w, struct errmsg *why)
{
	CLEANUP_FREE char *chunk = malloc(SSH_READ_CHUNK);
	ssize_t n;
	int r = 0;

	if (!chunk)
		return -ENOMEM;
	do {
		n = ssh_link_read(l, chunk, SSH_READ_CHUNK, why);
		if (n > 0)
			r = wire_feed(w, chunk, (size_t)n, why);
	} while (n > 0 && r == 0);
	return n < 0 ? (int)n : r;
}

/* The stream has ended. What is missing is best explained by what the guest's shell said. */
static int check_end(struct ssh_link *l, const struct wire *w, struct errmsg *why)
{
	int status = ssh_link_status(l);
	int r = wire_finish(w, why);
	const char *said = ssh_link_stderr(l);

	if (r < 0 && *said)
		return errmsg_set(why, r, "the command failed in the guest (status %d): %s", status,
				  said);
	if (r == 0 && status > 0)
		return errmsg_set(why, -EIO, "the command failed in the guest (status %d)%s%s",
				  status, *said ? ": " : "", said);
	return r;
}

static int run_command(struct ssh_link *l, const struct source_order *o,
		       const struct source_sink *sink, struct errmsg *why)
{
	char boundary[FRAMES_BOUNDARY_LEN + 1];
	CLEANUP_BUF struct buf command;
	struct wire w;
	int r = frames_draw_boundary(boundary);

	buf_init(&command, SSH_SCRIPT_MAX);
	if (r == 0)
		r = ssh_script_order(&command, o, boundary);
	if (r < 0)
		return r;
	wire_init(&w, boundary, sink);
	r = ssh_link_exec(l, command.data, why);
	if (r == 0)
		r = read_answer(l, &w, why);
	if (r == 0)
		r = check_end(l, &w, why);
	wire_deinit(&w);
	return r;
}

/* "ssh://root@host: " in front of what went wrong. */
static int with_name(const char *name, int r, struct errmsg *why)
{
	struct errmsg e;

	if (r == 0 || !why || why->code == 0)
		return r;
	e = *why;
	return errmsg_set(why, r, "%s: %s", name, e.text);
}

/* The one that was kept, if it still stands; else a new one. */
static int take_link(struct source_ssh *ssh, const struct source_limits *limits,
		     struct ssh_link **ret, struct errmsg *why)
{
	struct ssh_link *kept = take_ptr(ssh->kept);

	if (kept && ssh_link_reuse(kept, limits)) {
		*ret = kept;
		return 0;
	}
	ssh_link_close(kept);
	return ssh_link_open(&ssh->uri, ssh->guess, limits, ret, why);
}

static int carry_out(struct source *s, const struct source_order *o,
		     const struct source_limits *limits, const struct source_sink *sink,
		     struct errmsg *why)
{
	struct source_ssh *ssh = (struct source_ssh *)s;
	char name[SSH_SHOW_MAX];
	struct ssh_link *l;
	int r;

	ssh_uri_show(&ssh->uri, name, sizeof(name));
	r = take_link(ssh, limits, &l, why);
	if (r < 0)
		return with_name(name, r, why);
	snprintf(name, sizeof(name), "%s", ssh_link_name(l));
	r = run_command(l, o, sink, why);
	if (r == 0 && o->release)
		ssh->kept = l;
	else
		ssh_link_close(l);
	if (r == 0)
		snprintf(s->used, sizeof(s->used), "%s", name);
	return with_name(name, r, why);
}

static int ssh_fetch(struct source *s, unsigned want, const struct source_limits *limits,
		     const struct source_sink *sink, struct errmsg *why)
{
	return carry_out(s, &(struct source_order){.want = want}, limits, sink, why);
}

/* ---- /lib/modules ------------------------------------------------------------------------- */

static int catch_one(struct source *s, const struct source_order *o, struct source_catch *c,
		     const struct source_limits *limits, struct errmsg *why)
{
	const struct source_sink sink = source_catch_sink(c);
	bool kept = ((struct source_ssh *)s)->kept != NULL;
	int r = carry_out(s, o, limits, &sink, why);

	/* The guest may have ended the connection that was kept, without our having heard yet. */
	if (r < 0 && kept && !c->seen && r != -ECANCELED)
		r = carry_out(s, o, limits, &sink, why);
	return r;
}

static int ssh_list(struct source *s, const char *release, const struct source_limits *limits,
		    struct modtree_builder *to, struct errmsg *why)
{
	return source_catch_list(s, catch_one, release, limits, to, why);
}

static int ssh_read_file(struct source *s, const char *release, const char *path,
			 const struct source_limits *limits, struct buf *to, struct errmsg *why)
{
	return source_catch_module(s, catch_one, release, path, limits, to, why);
}

static void ssh_destroy(struct source *s)
{
	ssh_link_close(((struct source_ssh *)s)->kept);
	free(s);
}

static const struct source_ops ssh_ops = {"ssh", ssh_fetch, ssh_destroy,
					  NULL,	 ssh_list,  ssh_read_file};

static int create(const char *uri, bool guess, struct source **ret, struct errmsg *why)
{
	struct source_ssh *s;
	struct ssh_uri parsed;
	int r = ssh_uri_parse(uri, &parsed, why);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->base.ops = &ssh_ops;
	s->uri = parsed;
	s->guess = guess;
	*ret = &s->base;
	return 0;
}

int source_ssh_create(const char *uri, const struct source_target *target, struct source **ret,
		      struct errmsg *why)
{
	(void)target;
	return create(uri, false, ret, why);
}

int source_ssh_create_guess(const char *uri, const struct source_target *target,
			    struct source **ret, struct errmsg *why)
{
	(void)target;
	return create(uri, true, ret, why);
}
