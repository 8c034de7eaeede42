#include "symsrc/symload.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"
#include "symsrc/symload_impl.h"

/* ---- the scheduler ------------------------------------------------------------------------ */

/* Wakes a fetcher when something is due. Returns the time until the next one, for poll(2). */
static int with_lock__hand_out(struct symload *sl)
{
	const struct load *l = with_lock__first(sl);

	if (!l)
		return -1;
	if (l->next_ns > clock_now_ns())
		return clock_left_ms(l->next_ns);
	cond_signal(&sl->work);
	return -1; /* until a fetcher has taken it, which wakes us */
}

static void *scheduler_main(void *arg)
{
	struct symload *sl = arg;
	struct pollfd p[] = {{.fd = sl->wake_fd, .events = POLLIN},
			     {.fd = sl->ears_fd, .events = POLLIN}};
	bool stopping;
	int timeout;

	do {
		io_wake_clear(sl->wake_fd);
		symload_sync_guests(sl);
		symload_hear(sl);
		mutex_lock(&sl->lock);
		stopping = sl->stopping;
		timeout = with_lock__hand_out(sl);
		mutex_unlock(&sl->lock);
		if (!stopping)
			poll(p, 2, timeout);
	} while (!stopping);
	return NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

static int copy_rules(struct symload *sl, const struct source_rule *rules, size_t count)
{
	sl->rules = calloc(count ? count : 1, sizeof(*sl->rules));
	if (!sl->rules)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		sl->rules[i].pattern = strdup(rules[i].pattern);
		sl->rules[i].uri = strdup(rules[i].uri);
		sl->rule_count++;
		if (!sl->rules[i].pattern || !sl->rules[i].uri)
			return -ENOMEM;
	}
	return 0;
}

static int create_fetchers(struct symload *sl, unsigned count)
{
	sl->fetchers = calloc(count, sizeof(*sl->fetchers));
	if (!sl->fetchers)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct fetcher *f = &sl->fetchers[i];

		*f = (struct fetcher){.sl = sl, .index = i, .cancel_fd = io_wake_create()};
		if (f->cancel_fd < 0)
			return f->cancel_fd;
		sl->fetcher_count++;
	}
	return 0;
}

static int fill(struct symload *sl, const struct symload_config *c)
{
	unsigned fetchers = c->fetchers ? c->fetchers : SYMLOAD_FETCHERS;
	int r = copy_rules(sl, c->rules, c->rule_count);

	if (r < 0)
		return r;
	sl->proc_root = strdup(c->proc_root ? c->proc_root : "/proc");
	sl->pool = blobpool_create();
	if (!sl->proc_root || !sl->pool)
		return -ENOMEM;
	r = create_fetchers(sl, fetchers < SYMLOAD_FETCHERS_MAX ? fetchers : SYMLOAD_FETCHERS_MAX);
	if (r < 0)
		return r;
	sl->wake_fd = io_wake_create();
	if (sl->wake_fd < 0)
		return sl->wake_fd;
	sl->ears_fd = epoll_create1(EPOLL_CLOEXEC);
	if (sl->ears_fd < 0)
		return -errno;
	return guests_subscribe(sl->gs, sl->wake_fd);
}

int symload_create(const struct symload_config *config, struct guests *gs, struct symload **ret)
{
	struct symload *sl = calloc(1, sizeof(*sl));
	int r;

	if (!sl)
		return -ENOMEM;
	sl->gs = gs;
	sl->wake_fd = sl->ears_fd = -1;
	sl->kept_max = config->kept_max ? config->kept_max : SYMLOAD_KEPT_MAX;
	sl->check_ns = config->check_ms ? config->check_ms * NSEC_PER_MSEC
					: SYMLOAD_CHECK_SEC * NSEC_PER_SEC;
	sl->look_ns = (config->look_ms ? config->look_ms : SYMLOAD_LOOK_MS) * NSEC_PER_MSEC;
	sl->cpu_is_free = config->cpu_is_free;
	sl->recorded = config->recorded;
	mutex_init(&sl->lock);
	cond_init(&sl->work);
	for (size_t i = 0; i < SUBSCRIBERS_MAX; i++)
		sl->subscribers[i] = -1;
	r = fill(sl, config);
	if (r < 0) {
		symload_destroy(sl);
		return r;
	}
	*ret = sl;
	return 0;
}

void symload_destroy(struct symload *sl)
{
	if (!sl)
		return;
	if (sl->wake_fd >= 0)
		guests_unsubscribe(sl->gs, sl->wake_fd);
	close_keep_errno(sl->wake_fd);
	close_keep_errno(sl->ears_fd);
	for (size_t i = 0; i < sl->count; i++)
		load_free(sl->loads[i]);
	free(sl->loads);
	for (unsigned i = 0; i < sl->fetcher_count; i++)
		close_keep_errno(sl->fetchers[i].cancel_fd);
	free(sl->fetchers);
	for (size_t i = 0; i < sl->rule_count; i++) {
		free(sl->rules[i].pattern);
		free(sl->rules[i].uri);
	}
	free(sl->rules);
	free(sl->proc_root);
	blobpool_destroy(sl->pool);
	cond_deinit(&sl->work);
	mutex_deinit(&sl->lock);
	free(sl);
}

static int start_threads(struct symload *sl)
{
	char name[THREAD_NAME_SIZE];
	int r = thread_start(&sl->scheduler, "kp-load", scheduler_main, sl);

	if (r < 0)
		return r;
	sl->scheduler_started = true;
	for (unsigned i = 0; i < sl->fetcher_count; i++) {
		struct fetcher *f = &sl->fetchers[i];

		snprintf(name, sizeof(name), "kp-fetch-%u", f->index);
		r = thread_start(&f->thread, name, symload_fetcher_main, f);
		if (r < 0)
			return r;
		f->started = true;
	}
	return 0;
}

int symload_start(struct symload *sl, struct errmsg *why)
{
	int r = start_threads(sl);

	if (r == 0)
		return 0;
	symload_stop(sl);
	return errmsg_set(why, r, "symbols: a thread cannot be started: %s", strerrordesc_np(-r));
}

static void order_to_stop(struct symload *sl)
{
	mutex_lock(&sl->lock);
	sl->stopping = true;
	for (unsigned i = 0; i < sl->fetcher_count; i++)
		io_wake(sl->fetchers[i].cancel_fd);
	cond_broadcast(&sl->work);
	mutex_unlock(&sl->lock);
	io_wake(sl->wake_fd);
}

static bool with_lock__all_ended(const struct symload *sl)
{
	for (unsigned i = 0; i < sl->fetcher_count; i++) {
		if (sl->fetchers[i].started && !sl->fetchers[i].ended)
			return false;
	}
	return true;
}

static bool wait_ended(struct symload *sl)
{
	uint64_t deadline_ns = clock_now_ns() + SYMLOAD_STOP_MS * NSEC_PER_MSEC;
	bool ended;

	mutex_lock(&sl->lock);
	while (!with_lock__all_ended(sl)) {
		if (cond_wait_until(&sl->work, &sl->lock, deadline_ns) == ETIMEDOUT)
			break;
	}
	ended = with_lock__all_ended(sl);
	mutex_unlock(&sl->lock);
	return ended;
}

int symload_stop(struct symload *sl)
{
	order_to_stop(sl);
	if (sl->scheduler_started)
		pthread_join(sl->scheduler, NULL);
	sl->scheduler_started = false;
	if (!wait_ended(sl)) {
		log_warn("symbols: a fetch does not end (a read of a dead filesystem?): left "
			 "behind");
		return -EBUSY;
	}
	for (unsigned i = 0; i < sl->fetcher_count; i++) {
		if (sl->fetchers[i].started)
			pthread_join(sl->fetchers[i].thread, NULL);
		sl->fetchers[i].started = false;
	}
	return 0;
}

/* ---- questions ---------------------------------------------------------------------------- */

const struct symbols *symload_symbols(struct symload *sl, uint64_t serial, uint32_t epoch)
{
	const struct symbols *symbols = NULL;
	const struct load *l;

	mutex_lock(&sl->lock);
	l = with_lock__find(sl, serial);
	if (l)
		symbols = symbols_get(load_symbols(l, epoch ? epoch : l->epoch));
	mutex_unlock(&sl->lock);
	return symbols;
}

static void with_lock__status(const struct load *l, struct symsrc_status *ret)
{
	bool ready = load_symbols(l, l->epoch) != NULL;

	ret->state = ready ? SYMSRC_READY : l->attempts ? SYMSRC_FAILED : SYMSRC_WAITING;
	ret->epoch = l->epoch;
	snprintf(ret->source_uri, sizeof(ret->source_uri), "%s", l->uri);
	snprintf(ret->used, sizeof(ret->used), "%s", l->used);
	ret->error = l->error;
	ret->tried = l->tried;
	ret->misfit = ready && l->misfit;
	ret->attempts = l->attempts;
	ret->looks = l->looks;
	ret->next_try_ns = l->by || l->next_ns == NEVER ? 0 : l->next_ns;
	ret->fetched_ns = l->fetched_ns;
}

/* Discovery may know a guest that the loader has not heard of yet. */
static enum symsrc_state state_of_unknown(struct symload *sl, uint64_t serial)
{
	const struct guest_set *set = guests_acquire(sl->gs);
	bool there = guest_set_find_serial(set, serial) != NULL;

	guest_set_put(set);
	return there ? SYMSRC_WAITING : SYMSRC_GONE;
}

void symload_status(struct symload *sl, uint64_t serial, struct symsrc_status *ret)
{
	const struct load *l;

	*ret = (struct symsrc_status){.state = SYMSRC_GONE};
	mutex_lock(&sl->lock);
	l = with_lock__find(sl, serial);
	if (l)
		with_lock__status(l, ret);
	mutex_unlock(&sl->lock);
	if (!l)
		ret->state = state_of_unknown(sl, serial);
}

size_t symload_waiting(struct symload *sl)
{
	size_t n = 0;

	symload_sync_guests(sl);
	mutex_lock(&sl->lock);
	for (size_t i = 0; i < sl->count; i++)
		n += !sl->loads[i]->attempts && !load_symbols(sl->loads[i], sl->loads[i]->epoch);
	mutex_unlock(&sl->lock);
	return n;
}

int symload_refresh(struct symload *sl, uint64_t serial)
{
	struct load *l;

	mutex_lock(&sl->lock);
	l = with_lock__find(sl, serial);
	if (l) {
		l->thorough_ns = 0;
		l->paid_ns = 0;
		with_lock__schedule(l, clock_now_ns(), true);
	}
	mutex_unlock(&sl->lock);
	io_wake(sl->wake_fd);
	return l ? 0 : -ESRCH;
}

void symload_set_misfit(struct symload *sl, uint64_t serial, uint32_t epoch, bool misfit)
{
	struct load *l;

	mutex_lock(&sl->lock);
	l = with_lock__find(sl, serial);
	if (l && l->epoch == epoch && l->misfit != misfit) {
		l->misfit = misfit;
		with_lock__wake_subscribers(sl);
	}
	mutex_unlock(&sl->lock);
}

int symload_subscribe(struct symload *sl, int wake_fd)
{
	int r = -ENOSPC;

	mutex_lock(&sl->lock);
	for (size_t i = 0; r < 0 && i < SUBSCRIBERS_MAX; i++) {
		if (sl->subscribers[i] >= 0)
			continue;
		sl->subscribers[i] = wake_fd;
		r = 0;
	}
	mutex_unlock(&sl->lock);
	return r;
}

void symload_on_retired(struct symload *sl, symsrc_retired_fn *fn, void *ctx)
{
	sl->on_retired = fn;
	sl->on_retired_ctx = ctx;
}

void symload_unsubscribe(struct symload *sl, int wake_fd)
{
	mutex_lock(&sl->lock);
	for (size_t i = 0; i < SUBSCRIBERS_MAX; i++) {
		if (sl->subscribers[i] == wake_fd)
			sl->subscribers[i] = -1;
	}
	mutex_unlock(&sl->lock);
}

void symload_wake_subscribers(struct symload *sl)
{
	mutex_lock(&sl->lock);
	with_lock__wake_subscribers(sl);
	mutex_unlock(&sl->lock);
}

const struct source_rule *symload_rules(const struct symload *sl, size_t *ret_count)
{
	*ret_count = sl->rule_count;
	return sl->rules;
}
