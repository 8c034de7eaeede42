#include "symsrc/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/filemark.h"
#include "symsrc/serial_turn.h"

#define FETCH_TRIES 3 /* while modules come and go */

static int open_source(const struct fetch_request *req, struct source **ret, struct errmsg *why)
{
	int r = source_create(req->uri, &req->target, ret, why);

	if (r < 0)
		return r;
	snprintf((*ret)->used, sizeof((*ret)->used), "%s", req->used);
	(*ret)->dead = req->dead;
	(*ret)->had = req->had;
	return 0;
}

/* An error that nobody explained gets at least its name. */
static int explained(struct errmsg *why, int r)
{
	if (r < 0 && why && why->code == 0)
		errmsg_set(why, r, "symbols: %s", strerrordesc_np(-r));
	return r;
}

/* What its parser said of kallsyms, without the name that it has in a guest where somebody has
 * named the file: here that would be this machine's. */
static const char *said_of_file(const struct source *s, const char *said)
{
	const char *name = guest_file_path(GUEST_FILE_KALLSYMS);
	size_t n = strlen(name);

	if (strcmp(s->ops->scheme, "kallsyms") != 0 || strncmp(said, name, n) != 0)
		return said;
	said += n;
	return said + strspn(said, ": ");
}

/* What the parsers refused is theirs to explain; whose file it was is ours to say. */
static int explain_fetch(const struct symbols_builder *b, const struct source *s, int r,
			 struct errmsg *why)
{
	const struct errmsg *said = symbols_builder_error(b);

	if (r < 0 && why && said->code && (why->code == 0 || strcmp(why->text, said->text) == 0))
		errmsg_set(why, r, "%s%s%s", s->used, s->used[0] ? ": " : "",
			   said_of_file(s, said->text));
	return explained(why, r);
}

/* *ret_again: something came and went meanwhile. */
static int build(struct source *s, const struct source_limits *limits, struct symbols_builder *b,
		 const struct symbols **ret, bool *ret_again, struct errmsg *why)
{
	struct source_sink sink = symbols_builder_sink(b);
	int r = s->ops->fetch(s, GUEST_FILES_ALL, limits, &sink, why);

	if (r == 0) {
		r = symbols_builder_finish(b, ret, why);
		*ret_again = r == -EAGAIN;
	}
	return explain_fetch(b, s, r, why);
}

/* The parsers have seen the texts: they are fine. */
static void mark_by_files(struct symbols *s)
{
	filemark_make(s->boot_id, s->modules ? s->modules->data : NULL,
		      s->modules ? s->modules->size : 0, &s->mark, NULL);
}

/* The result is still ours alone: nobody else holds it. */
static void label(const struct symbols *made, const struct source *s, uint64_t began_ns)
{
	struct symbols *mine = (struct symbols *)made;

	memcpy(mine->used, s->used, sizeof(mine->used));
	memcpy(mine->how, s->how, sizeof(mine->how));
	memcpy(mine->note, s->note, sizeof(mine->note));
	mine->partial = s->partial;
	mine->unproven = s->unproven;
	mine->mark = s->mark;
	if (s->mark.len == 0)
		mark_by_files(mine);
	mine->fetched_ns = clock_now_ns();
	mine->fetch_took_ns = mine->fetched_ns - began_ns;
}

/* One course of a fetch after another. */
struct course {
	unsigned skip; /* struct source */
	unsigned changes;
	bool again;
};

/* The source has delivered what its parsers refused: that way has not worked. One that has but one
 * way goes by its URI, with all that the user said there. */
static void note_attempts(struct fetch_request *req, const struct source *s, int r,
			  const struct errmsg *why, uint64_t took_ns)
{
	const struct source_attempts *t = s ? &s->tried : NULL;
	const struct source_attempt *a;

	if (!t || t->count == 0) {
		source_attempts_add(&req->tried, req->uri, r, why, took_ns);
		return;
	}
	for (a = t->list; a < t->list + t->count; a++)
		source_attempts_add(&req->tried, a->way, r < 0 && !a->why.code ? r : a->why.code,
				    a->why.code ? &a->why : why, a->took_ns);
}

static bool may_go_on(const struct fetch_request *req, const struct source *s, int r)
{
	return s && s->spoilt && r < 0 && r != -ECANCELED &&
	       clock_now_ns() < req->limits.deadline_ns;
}

/* Another course, since something came and went meanwhile, or by other ways. */
static void plan_next(struct course *c, const struct fetch_request *req, const struct source *s,
		      bool changed, int r)
{
	c->again = changed && ++c->changes < FETCH_TRIES;
	if (c->again || !may_go_on(req, s, r))
		return;
	c->skip |= s->spoilt;
	c->again = true;
}

static int try_fetch(struct fetch_request *req, struct course *c, const struct symbols **ret,
		     struct errmsg *why)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source *s = NULL;
	uint64_t began_ns = clock_now_ns();
	bool changed = false;
	int r = b ? open_source(req, &s, why) : -ENOMEM;

	if (r == 0) {
		s->skip = c->skip;
		r = build(s, &req->limits, b, ret, &changed, why);
	}
	if (r == 0) {
		label(*ret, s, began_ns);
		req->ear = take_ptr(s->ear);
	}
	if (s) {
		req->dead = s->dead;
		req->wants_sampled = s->wants_sampled;
	}
	note_attempts(req, s, r, why, clock_now_ns() - began_ns);
	plan_next(c, req, s, changed, r);
	source_destroy(s);
	symbols_builder_destroy(b);
	return explained(why, r);
}

int fetch_symbols(struct fetch_request *req, const struct symbols **ret, struct errmsg *why)
{
	struct course c = {.again = true};
	struct errmsg e = {0}, first = {0};
	int r = 0;

	req->tried.count = 0;
	while (c.again) {
		e = (struct errmsg){0};
		if (c.skip == 0)
			req->tried.count = 0;
		r = try_fetch(req, &c, ret, &e);
		/* The way that got furthest has most to say. */
		if (c.again && c.skip && first.code == 0)
			first = e;
	}
	if (r < 0 && r != -ECANCELED && first.code)
		r = first.code;
	if (r < 0 && why)
		*why = first.code && r == first.code ? first : e;
	return r;
}

/* ---- a look ------------------------------------------------------------------------------- */

/* The little that a mark is made of. */
struct look_sink {
	struct buf boot_id, modules;
	struct buf *to; /* where data goes now, or NULL */
	bool has_modules;
};

static int look_begin(void *ctx, enum guest_file file, const char *module)
{
	struct look_sink *s = ctx;

	(void)module;
	s->to = NULL;
	if (file == GUEST_FILE_BOOT_ID)
		s->to = &s->boot_id;
	if (file == GUEST_FILE_MODULES)
		s->to = &s->modules;
	if (s->to)
		buf_clear(s->to); /* modules may come twice: the newer counts */
	s->has_modules |= file == GUEST_FILE_MODULES;
	return 0;
}

static int look_data(void *ctx, const void *bytes, size_t n)
{
	struct look_sink *s = ctx;

	return s->to ? buf_append(s->to, bytes, n) : 0;
}

static int make_mark(const struct look_sink *s, struct source_mark *ret, struct errmsg *why)
{
	char boot_id[FILEMARK_BOOT_ID_MAX];

	filemark_boot_id(s->boot_id.data, s->boot_id.len, boot_id);
	return filemark_make(boot_id, s->has_modules ? s->modules.data : NULL, s->modules.len, ret,
			     why);
}

/* For a source that has no better way: by two small files. */
static int look_at_files(struct source *s, const struct source_limits *limits, struct errmsg *why)
{
	struct look_sink ctx = {0};
	const struct source_sink sink = {look_begin, look_data, &ctx};
	const struct source_mark had = s->mark;
	int r;

	buf_init(&ctx.boot_id, guest_file_max(GUEST_FILE_BOOT_ID));
	buf_init(&ctx.modules, guest_file_max(GUEST_FILE_MODULES));
	r = s->ops->fetch(s, FILEMARK_FILES, limits, &sink, why);
	if (r == 0)
		r = make_mark(&ctx, &s->mark, why);
	buf_deinit(&ctx.boot_id);
	buf_deinit(&ctx.modules);
	return r < 0 ? r : (int)filemark_compare(&had, &s->mark);
}

int fetch_look(struct fetch_request *req, enum source_news *ret, struct errmsg *why)
{
	struct source *s = NULL;
	int r;

	if (why)
		*why = (struct errmsg){0};
	r = open_source(req, &s, why);
	if (r == 0)
		s->mark = req->mark;
	if (r == 0)
		r = s->ops->look ? s->ops->look(s, &req->limits, why) : -ENOSYS;
	if (r == -ENOSYS && s && why)
		*why = (struct errmsg){0};
	if (r == -ENOSYS && s)
		r = look_at_files(s, &req->limits, why);
	if (r >= 0) {
		*ret = (enum source_news)r;
		req->mark = s->mark;
		serial_ear_destroy(req->ear);
		req->ear = take_ptr(s->ear);
	}
	source_destroy(s);
	return explained(why, r < 0 ? r : 0);
}

/* ---- /lib/modules ------------------------------------------------------------------------- */

struct fetch_files {
	struct source *source;
};

int fetch_files_open(const char *uri, const struct source_target *target, struct fetch_files **ret,
		     struct errmsg *why)
{
	struct fetch_files *f = calloc(1, sizeof(*f));
	int r = f ? source_create(uri, target, &f->source, why) : -ENOMEM;

	if (r == 0 && !f->source->ops->list)
		r = errmsg_set(why, -EOPNOTSUPP, "%s: has no files of /lib/modules", uri);
	if (r < 0) {
		fetch_files_close(f);
		return explained(why, r);
	}
	*ret = f;
	return 0;
}

void fetch_files_close(struct fetch_files *f)
{
	if (f)
		source_destroy(f->source);
	free(f);
}

const char *fetch_files_used(const struct fetch_files *f)
{
	return f->source->used;
}

int fetch_files_list(struct fetch_files *f, const char *release, const struct source_limits *limits,
		     const struct modtree **ret, struct errmsg *why)
{
	struct modtree_builder *b = NULL;
	int r = modtree_builder_create(release, &b);

	if (r == -EINVAL)
		return errmsg_set(why, r, "\"%s\" is no name of a directory", release);
	if (r == 0)
		r = f->source->ops->list(f->source, release, limits, b, why);
	if (r == 0)
		r = modtree_builder_finish(b, ret);
	modtree_builder_destroy(b);
	return explained(why, r);
}

static int check_size(const struct modtree *tree, uint64_t key, size_t size, struct errmsg *why)
{
	const struct modtree_entry *e = modtree_find(tree, key);

	return e && e->size == size ? 0
				    : errmsg_set(why, -ESTALE, "it has %zu bytes now, not %llu",
						 size, e ? (unsigned long long)e->size : 0ULL);
}

int fetch_files_read(struct fetch_files *f, const struct modtree *tree, uint64_t key,
		     const struct source_limits *limits, struct blob **ret, struct errmsg *why)
{
	const struct modtree_entry *e = modtree_find(tree, key);
	char path[MODTREE_PATH_MAX];
	CLEANUP_BUF struct buf to;
	int r = e ? modtree_path(tree, key, path, sizeof(path)) : -ENOENT;

	/* One byte more is enough to see that it is another one. */
	buf_init(&to, e && e->size < GUEST_KO_MAX ? e->size + 1 : GUEST_KO_MAX);
	if (r == 0 && e->size > GUEST_KO_MAX)
		r = errmsg_set(why, -EFBIG, "more than %u bytes", GUEST_KO_MAX);
	if (r == 0)
		r = f->source->ops->read(f->source, tree->release, path, limits, &to, why);
	if (r == 0 || (r == -EFBIG && to.err))
		r = check_size(tree, key, to.len + (to.err == -EFBIG), why);
	if (r == 0) {
		*ret = blob_from_buf(&to);
		r = *ret ? 0 : -ENOMEM;
	}
	return explained(why, r);
}
