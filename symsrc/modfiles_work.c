#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/modfiles_impl.h"

enum order_kind { ORDER_CLOSE, ORDER_LIST, ORDER_READ };

/* What a fetcher takes along when it leaves the lock. */
struct order {
	struct modfiles_guest *g;
	enum order_kind kind;
	struct source_target target;
	const char *uri;
	char release[128];
	uint32_t epoch;
	bool moved;
	const struct modtree *tree; /* ORDER_READ: of which the file is */
	uint64_t key, stamp;
	struct source_limits limits;
	struct fetch_files *way;
	int result;
	struct errmsg why;
	const struct modtree *listed;
	struct blob *content;
};

static struct wanted *find_state(struct modfiles_guest *g, enum wanted_state state)
{
	for (size_t i = 0; i < MODFILES_WANTED_MAX; i++) {
		if (g->wanted[i].state == state)
			return &g->wanted[i];
	}
	return NULL;
}

/* What it reads is more urgent than what it lists, unless nothing is listed. */
static void with_lock__choose(struct modfiles_guest *g, struct order *o)
{
	struct wanted *w = find_state(g, WANTED_QUEUED);
	uint64_t now = clock_now_ns();
	unsigned sec = MODFILES_LIST_SEC;

	o->kind = g->list_ns <= now ? ORDER_LIST : ORDER_CLOSE;
	if (w && g->tree) {
		o->kind = ORDER_READ;
		o->key = w->key;
		o->stamp = w->stamp;
		o->tree = modtree_get(g->tree);
		w->state = WANTED_RUNNING;
		sec = MODFILES_READ_SEC;
	}
	o->limits.deadline_ns = now + sec * NSEC_PER_SEC;
}

static void with_lock__take(struct modfetcher *f, struct modfiles_guest *g, struct order *o)
{
	*o = (struct order){.g = g,
			    .uri = g->uri,
			    .epoch = g->epoch,
			    .moved = g->moved,
			    .limits = {.cancel_fd = f->cancel_fd, .answer_ms = MODFILES_ANSWER_MS}};
	o->way = take_ptr(g->way);
	o->target.pid = g->guest->pid;
	/* A VM without a name goes by its VMM's, which is no host's. */
	if (strcmp(g->guest->name, g->guest->vmm) != 0)
		memcpy(o->target.name, g->guest->name, sizeof(o->target.name));
	memcpy(o->target.uuid, g->guest->uuid, sizeof(o->target.uuid));
	o->target.links = g->guest->links;
	snprintf(o->release, sizeof(o->release), "%s", g->release);
	io_wake_clear(f->cancel_fd);
	with_lock__choose(g, o);
	if (o->kind == ORDER_LIST)
		g->list_ns = UINT64_MAX;
	g->by = f;
	g->moved = false;
	g->running_slow = g->slow;
	f->m->slow_running += g->slow;
}

static bool take_order(struct modfetcher *f, struct order *o)
{
	struct modfiles *m = f->m;
	struct modfiles_guest *g = NULL;
	uint64_t unused;
	bool stopping;

	mutex_lock(&m->lock);
	while (!m->stopping && !(g = with_lock__modfiles_due(m, &unused)))
		cond_wait(&m->work, &m->lock);
	stopping = m->stopping;
	if (!stopping)
		with_lock__take(f, g, o);
	mutex_unlock(&m->lock);
	io_wake(m->wake_fd); /* the next one may be due, too */
	return !stopping;
}

static void carry_out(struct order *o)
{
	if (o->moved || o->kind == ORDER_CLOSE)
		fetch_files_close(take_ptr(o->way));
	if (o->kind == ORDER_CLOSE)
		return;
	if (!o->way)
		o->result = fetch_files_open(o->uri, &o->target, &o->way, &o->why);
	if (o->result < 0)
		return;
	if (o->kind == ORDER_LIST)
		o->result = fetch_files_list(o->way, o->release, &o->limits, &o->listed, &o->why);
	else
		o->result =
			fetch_files_read(o->way, o->tree, o->key, &o->limits, &o->content, &o->why);
}

static void with_lock__listed(const struct modfiles *m, struct modfiles_guest *g, struct order *o)
{
	uint64_t now = clock_now_ns();

	g->error = o->result < 0 ? o->why : (struct errmsg){0};
	g->gap_ns = now + m->gap_ns;
	if (o->result == 0) {
		modtree_put(g->tree);
		g->tree = take_ptr(o->listed);
		snprintf(g->used, sizeof(g->used), "%s", fetch_files_used(g->way));
		return;
	}
	if (o->result == -ENOENT) { /* it is not there any more, and nothing of it can be read */
		modtree_put(take_ptr(g->tree));
		memset(g->wanted, 0, sizeof(g->wanted));
	}
	if (g->list_ns == UINT64_MAX)
		g->list_ns = now + MODFILES_RETRY_SEC * NSEC_PER_SEC;
}

static void with_lock__read(struct modfiles *m, struct modfiles_guest *g, const struct order *o)
{
	const struct filecache_key key = {g->serial, o->key, o->stamp};
	struct wanted *w = find_state(g, WANTED_RUNNING);
	uint64_t now = clock_now_ns();

	if (o->result == 0)
		filecache_put(m->cache, &key, o->content);
	else if (o->result == -ESTALE || o->result == -ENOENT) /* it has changed: look again */
		g->list_ns = now > g->gap_ns ? now : g->gap_ns;
	if (!w)
		return;
	w->state = o->result == 0 ? WANTED_FREE : WANTED_FAILED;
	w->result = o->result == -ESTALE ? -EIO : o->result;
	w->until_ns = now + MODFILES_FAILED_SEC * NSEC_PER_SEC;
}

static void with_lock__finish(struct modfiles *m, struct order *o)
{
	struct modfiles_guest *g = o->g;
	/* Of a boot that is over, or of another kernel. */
	bool over = g->epoch != o->epoch || strcmp(g->release, o->release) != 0;

	m->slow_running -= g->running_slow;
	g->running_slow = false;
	g->by = NULL;
	g->served_ns = clock_now_ns();
	g->way = take_ptr(o->way);
	g->idle_ns = g->served_ns + MODFILES_IDLE_SEC * NSEC_PER_SEC;
	if (g->gone) {
		modfiles_guest_free(g);
		return;
	}
	if (over || o->kind == ORDER_CLOSE)
		return;
	g->slow = o->result == -ETIMEDOUT;
	if (o->kind == ORDER_LIST)
		with_lock__listed(m, g, o);
	else
		with_lock__read(m, g, o);
}

static void do_order(struct modfiles *m, struct order *o)
{
	bool news = o->kind != ORDER_CLOSE;

	carry_out(o);
	if (o->result < 0 && o->kind == ORDER_LIST && o->result != -ECANCELED)
		log_warn("guest %d: no lib/modules: %s", (int)o->target.pid, o->why.text);
	mutex_lock(&m->lock);
	with_lock__finish(m, o);
	mutex_unlock(&m->lock);
	modtree_put(o->listed);
	modtree_put(o->tree);
	blob_put(o->content);
	if (news)
		symload_wake_subscribers(m->sl);
	io_wake(m->wake_fd);
}

void *modfiles_fetcher_main(void *arg)
{
	struct modfetcher *f = arg;
	struct order o;

	while (take_order(f, &o))
		do_order(f->m, &o);
	mutex_lock(&f->m->lock);
	f->ended = true;
	cond_broadcast(&f->m->work);
	mutex_unlock(&f->m->lock);
	return NULL;
}
