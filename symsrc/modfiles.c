#include "symsrc/modfiles.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"
#include "symsrc/modfiles_impl.h"

/* ---- the guests --------------------------------------------------------------------------- */

struct modfiles_guest *with_lock__modfiles_find(const struct modfiles *m, uint64_t serial)
{
	for (size_t i = 0; i < m->count; i++) {
		if (m->guests[i]->serial == serial)
			return m->guests[i];
	}
	return NULL;
}

void modfiles_guest_free(struct modfiles_guest *g)
{
	if (!g)
		return;
	fetch_files_close(g->way);
	modtree_put(g->tree);
	guest_put(g->guest);
	free(g);
}

static struct modfiles_guest *with_lock__insert(struct modfiles *m, uint64_t serial)
{
	struct modfiles_guest **more = realloc(m->guests, (m->count + 1) * sizeof(void *));
	struct modfiles_guest *g = more ? calloc(1, sizeof(*g)) : NULL;

	if (more)
		m->guests = more;
	if (!g)
		return NULL;
	g->serial = serial;
	g->list_ns = UINT64_MAX;
	m->guests[m->count++] = g;
	return g;
}

static void with_lock__cancel(const struct modfiles_guest *g)
{
	if (g->by)
		io_wake(g->by->cancel_fd);
}

static void with_lock__drop(struct modfiles *m, size_t at)
{
	struct modfiles_guest *g = m->guests[at];

	m->guests[at] = m->guests[--m->count];
	filecache_drop_guest(m->cache, g->serial);
	g->gone = true;
	with_lock__cancel(g);
	if (!g->by)
		modfiles_guest_free(g);
}

/* What was listed is of another kernel, or of a boot that is over. */
static void with_lock__forget(struct modfiles *m, struct modfiles_guest *g)
{
	modtree_put(take_ptr(g->tree));
	memset(g->wanted, 0, sizeof(g->wanted));
	filecache_drop_guest(m->cache, g->serial);
	g->error = (struct errmsg){0};
	g->symbols_ns = 0;
	g->gap_ns = 0;
	g->list_ns = UINT64_MAX;
	with_lock__cancel(g);
}

/* symbols: of the current boot, or NULL: not here yet. */
static void with_lock__update(struct modfiles *m, struct modfiles_guest *g,
			      const struct guest_entry *e, const struct symbols *symbols)
{
	uint64_t now = clock_now_ns();

	if (g->guest != e->guest) {
		const struct guest *old = g->guest;

		g->guest = guest_get(e->guest);
		g->moved |= old != NULL;
		guest_put(old);
	}
	if (g->epoch != e->epoch ||
	    (symbols && g->release[0] && strcmp(g->release, symbols->release) != 0))
		with_lock__forget(m, g);
	g->epoch = e->epoch;
	if (!symbols || !symbols->release[0] || symbols->fetched_ns == g->symbols_ns)
		return;
	snprintf(g->release, sizeof(g->release), "%s", symbols->release);
	g->symbols_ns = symbols->fetched_ns;
	g->list_ns = now > g->gap_ns ? now : g->gap_ns;
}

/* ---- the scheduler ------------------------------------------------------------------------ */

static void sync_guest(struct modfiles *m, const struct guest_entry *e)
{
	const char *uri = symload_uri_for(m->rules, m->rule_count, e->guest);
	const struct symbols *symbols;
	struct modfiles_guest *g;

	if (!source_wants_modules(uri))
		return;
	symbols = symload_symbols(m->sl, e->guest->serial, e->epoch);
	mutex_lock(&m->lock);
	g = with_lock__modfiles_find(m, e->guest->serial);
	if (!g)
		g = with_lock__insert(m, e->guest->serial);
	if (g) {
		g->moved |= g->uri && strcmp(g->uri, uri) != 0;
		g->uri = uri;
		with_lock__update(m, g, e, symbols);
	}
	mutex_unlock(&m->lock);
	symbols_put(symbols);
}

static void sync_guests(struct modfiles *m)
{
	const struct guest_set *set = guests_acquire(m->gs);

	mutex_lock(&m->lock);
	for (size_t i = m->count; i-- > 0;) {
		if (!guest_set_find_serial(set, m->guests[i]->serial))
			with_lock__drop(m, i);
	}
	mutex_unlock(&m->lock);
	for (size_t i = 0; i < set->count; i++)
		sync_guest(m, &set->entries[i]);
	guest_set_put(set);
}

static bool has_queued(const struct modfiles_guest *g)
{
	for (size_t i = 0; i < MODFILES_WANTED_MAX; i++) {
		if (g->wanted[i].state == WANTED_QUEUED)
			return true;
	}
	return false;
}

/* When this guest wants a fetcher; 0: now. */
static uint64_t wants_when(const struct modfiles_guest *g)
{
	uint64_t when = g->list_ns;

	if (g->tree && has_queued(g))
		return 0;
	if (g->way && g->idle_ns < when)
		when = g->idle_ns;
	return when;
}

struct modfiles_guest *with_lock__modfiles_due(const struct modfiles *m, uint64_t *ret_when_ns)
{
	bool slow_may = m->slow_running < MODFILES_FETCHERS / 2;
	struct modfiles_guest *first = NULL;
	uint64_t now = clock_now_ns();

	*ret_when_ns = UINT64_MAX;
	for (size_t i = 0; i < m->count; i++) {
		struct modfiles_guest *g = m->guests[i];
		uint64_t when = wants_when(g);

		if (g->by || (g->slow && !slow_may))
			continue;
		if (when > now)
			*ret_when_ns = when < *ret_when_ns ? when : *ret_when_ns;
		else if (!first || g->served_ns < first->served_ns)
			first = g;
	}
	return first;
}

static void *scheduler_main(void *arg)
{
	struct modfiles *m = arg;
	struct pollfd p = {.fd = m->wake_fd, .events = POLLIN};
	bool stopping;
	uint64_t next;

	do {
		io_wake_clear(m->wake_fd);
		sync_guests(m);
		mutex_lock(&m->lock);
		stopping = m->stopping;
		if (with_lock__modfiles_due(m, &next))
			cond_signal(&m->work);
		mutex_unlock(&m->lock);
		if (!stopping)
			poll(&p, 1, next == UINT64_MAX ? -1 : clock_left_ms(next));
	} while (!stopping);
	return NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

static int fill(struct modfiles *m)
{
	m->wake_fd = io_wake_create();
	if (m->wake_fd < 0)
		return m->wake_fd;
	for (unsigned i = 0; i < MODFILES_FETCHERS; i++) {
		struct modfetcher *f = &m->fetchers[i];

		*f = (struct modfetcher){.m = m, .index = i, .cancel_fd = io_wake_create()};
		if (f->cancel_fd < 0)
			return f->cancel_fd;
	}
	return m->cache ? 0 : -ENOMEM;
}

int modfiles_create(const struct modfiles_config *config, struct guests *gs, struct symload *sl,
		    struct modfiles **ret)
{
	struct modfiles *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	*m = (struct modfiles){.gs = gs,
			       .sl = sl,
			       .rules = config->rules,
			       .rule_count = config->rule_count,
			       .wake_fd = -1};
	mutex_init(&m->lock);
	cond_init(&m->work);
	m->gap_ns =
		config->gap_ms ? config->gap_ms * NSEC_PER_MSEC : MODFILES_GAP_SEC * NSEC_PER_SEC;
	for (size_t i = 0; i < m->rule_count; i++)
		m->wanted |= source_wants_modules(m->rules[i].uri);
	for (size_t i = 0; i < MODFILES_FETCHERS; i++)
		m->fetchers[i].cancel_fd = -1;
	m->cache = filecache_create(config->cache_max ? config->cache_max : MODFILES_CACHE_MAX);
	r = fill(m);
	if (r < 0) {
		modfiles_destroy(m);
		return r;
	}
	*ret = m;
	return 0;
}

void modfiles_destroy(struct modfiles *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->count; i++)
		modfiles_guest_free(m->guests[i]);
	free(m->guests);
	for (size_t i = 0; i < MODFILES_FETCHERS; i++)
		close_keep_errno(m->fetchers[i].cancel_fd);
	close_keep_errno(m->wake_fd);
	filecache_destroy(m->cache);
	cond_deinit(&m->work);
	mutex_deinit(&m->lock);
	free(m);
}

static int start_threads(struct modfiles *m)
{
	char name[THREAD_NAME_SIZE];
	int r = thread_start(&m->scheduler, "kp-modules", scheduler_main, m);

	if (r < 0)
		return r;
	m->scheduler_started = true;
	for (unsigned i = 0; i < MODFILES_FETCHERS; i++) {
		struct modfetcher *f = &m->fetchers[i];

		snprintf(name, sizeof(name), "kp-modfile-%u", f->index);
		r = thread_start(&f->thread, name, modfiles_fetcher_main, f);
		if (r < 0)
			return r;
		f->started = true;
	}
	return 0;
}

int modfiles_start(struct modfiles *m, struct errmsg *why)
{
	int r;

	if (!m->wanted)
		return 0;
	r = guests_subscribe(m->gs, m->wake_fd);
	if (r == 0)
		r = symload_subscribe(m->sl, m->wake_fd);
	if (r == 0)
		r = start_threads(m);
	if (r == 0)
		return 0;
	modfiles_stop(m);
	return errmsg_set(why, r, "lib/modules: a thread cannot be started: %s",
			  strerrordesc_np(-r));
}

static bool with_lock__all_ended(const struct modfiles *m)
{
	for (unsigned i = 0; i < MODFILES_FETCHERS; i++) {
		if (m->fetchers[i].started && !m->fetchers[i].ended)
			return false;
	}
	return true;
}

static bool order_to_stop(struct modfiles *m)
{
	uint64_t deadline_ns = clock_now_ns() + SYMLOAD_STOP_MS * NSEC_PER_MSEC;
	bool ended;

	mutex_lock(&m->lock);
	m->stopping = true;
	for (unsigned i = 0; i < MODFILES_FETCHERS; i++)
		io_wake(m->fetchers[i].cancel_fd);
	cond_broadcast(&m->work);
	io_wake(m->wake_fd);
	while (!with_lock__all_ended(m)) {
		if (cond_wait_until(&m->work, &m->lock, deadline_ns) == ETIMEDOUT)
			break;
	}
	ended = with_lock__all_ended(m);
	mutex_unlock(&m->lock);
	return ended;
}

int modfiles_stop(struct modfiles *m)
{
	bool ended = order_to_stop(m);

	if (m->scheduler_started)
		pthread_join(m->scheduler, NULL);
	m->scheduler_started = false;
	symload_unsubscribe(m->sl, m->wake_fd);
	guests_unsubscribe(m->gs, m->wake_fd);
	if (!ended) {
		log_warn("lib/modules: a read does not end (of a dead filesystem?): left behind");
		return -EBUSY;
	}
	for (unsigned i = 0; i < MODFILES_FETCHERS; i++) {
		if (m->fetchers[i].started)
			pthread_join(m->fetchers[i].thread, NULL);
		m->fetchers[i].started = false;
	}
	return 0;
}

/* ---- questions ---------------------------------------------------------------------------- */

const struct modtree *modfiles_tree(struct modfiles *m, uint64_t serial)
{
	const struct modtree *tree = NULL;
	const struct modfiles_guest *g;

	if (!m->wanted)
		return NULL;
	mutex_lock(&m->lock);
	g = with_lock__modfiles_find(m, serial);
	if (g)
		tree = modtree_get(g->tree);
	mutex_unlock(&m->lock);
	return tree;
}

static struct wanted *find_wanted(struct modfiles_guest *g, uint64_t key, uint64_t stamp)
{
	for (size_t i = 0; i < MODFILES_WANTED_MAX; i++) {
		struct wanted *w = &g->wanted[i];

		if (w->state != WANTED_FREE && w->key == key && w->stamp == stamp)
			return w;
	}
	return NULL;
}

static struct wanted *find_room(struct modfiles_guest *g, uint64_t now)
{
	for (size_t i = 0; i < MODFILES_WANTED_MAX; i++) {
		struct wanted *w = &g->wanted[i];

		if (w->state == WANTED_FREE || (w->state == WANTED_FAILED && w->until_ns <= now))
			return w;
	}
	return NULL;
}

/* 0: it is to be had from the guest, and so ordered, or to be asked for once more later. */
static int with_lock__order(struct modfiles_guest *g, uint64_t key, uint64_t stamp)
{
	const struct modtree_entry *e = g->tree ? modtree_find(g->tree, key) : NULL;
	struct wanted *w = find_wanted(g, key, stamp);
	uint64_t now = clock_now_ns();

	if (!e || e->dir || e->stamp != stamp)
		return -ESTALE;
	if (e->size > GUEST_KO_MAX)
		return -EFBIG;
	if (w && w->state == WANTED_FAILED && w->until_ns > now)
		return w->result;
	if (!w)
		w = find_room(g, now);
	if (w && w->state != WANTED_RUNNING)
		*w = (struct wanted){.state = WANTED_QUEUED, .key = key, .stamp = stamp};
	return 0;
}

int modfiles_content(struct modfiles *m, uint64_t serial, uint64_t key, uint64_t stamp,
		     struct blob **ret)
{
	const struct filecache_key of = {serial, key, stamp};
	struct modfiles_guest *g;
	int r = -ENOENT;

	mutex_lock(&m->lock);
	g = with_lock__modfiles_find(m, serial);
	*ret = g ? filecache_get(m->cache, &of) : NULL;
	if (g && !*ret)
		r = with_lock__order(g, key, stamp);
	if (g && !*ret && r == 0)
		cond_signal(&m->work);
	mutex_unlock(&m->lock);
	if (*ret)
		return 0;
	return r == 0 ? -EINPROGRESS : r;
}

void modfiles_status(struct modfiles *m, uint64_t serial, struct symsrc_status *ret)
{
	const struct modfiles_guest *g;

	if (!m->wanted)
		return;
	mutex_lock(&m->lock);
	g = with_lock__modfiles_find(m, serial);
	if (g) {
		ret->modules_wanted = true;
		ret->modules_files = g->tree ? g->tree->file_count : 0;
		ret->modules_listed = g->tree != NULL;
		ret->modules_error = g->error;
		snprintf(ret->modules_used, sizeof(ret->modules_used), "%s", g->used);
	}
	mutex_unlock(&m->lock);
}
