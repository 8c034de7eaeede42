#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/symload_impl.h"

/* More guests wait for their turn than could have one. */
static bool with_lock__is_crowded(const struct symload *sl)
{
	uint64_t now = clock_now_ns();
	size_t due = 0;

	for (size_t i = 0; i < sl->count; i++)
		due += !sl->loads[i]->by && sl->loads[i]->next_ns <= now;
	return due > sl->fetcher_count;
}

/* How long to wait for a first byte. A guest that answers at all does so in a fraction of a
 * second; who does not gets more time later, among the slow ones. While it boots a connection
 * may be lost that a new one would replace at once: patience grows in steps. */
static unsigned with_lock__patience(const struct symload *sl, const struct load *l)
{
	if (l->attempts > 0 && (!l->young || l->failures > SYMLOAD_ANSWER_STEPS))
		return 0;
	if (l->attempts == 0 && with_lock__is_crowded(sl))
		return SYMLOAD_CROWDED_MS;
	return SYMLOAD_ANSWER_MS << l->failures;
}

static void with_lock__fill_request(const struct symload *sl, const struct load *l,
				    const struct fetcher *f, struct fetch_request *req)
{
	snprintf(req->uri, sizeof(req->uri), "%s", l->uri);
	snprintf(req->used, sizeof(req->used), "%s", l->used);
	req->target.pid = l->guest->pid;
	/* A VM without a name goes by its VMM's, which is no host's. */
	if (strcmp(l->guest->name, l->guest->vmm) != 0)
		memcpy(req->target.name, l->guest->name, sizeof(req->target.name));
	req->target.links = l->guest->links;
	req->limits.cancel_fd = f->cancel_fd;
	req->limits.deadline_ns =
		clock_now_ns() + (l->slow ? SYMLOAD_TOTAL_SEC : SYMLOAD_FIRST_SEC) * NSEC_PER_SEC;
	req->limits.answer_ms = with_lock__patience(sl, l);
}

static void with_lock__take(struct symload *sl, struct load *l, struct fetcher *f, struct job *job)
{
	const struct symbols *have = load_symbols(l, l->epoch);

	*job = (struct job){.load = l,
			    .epoch = l->epoch,
			    .began_ns = clock_now_ns(),
			    .whole = l->whole || !have};
	job->had = symbols_get(have);
	if (have)
		snprintf(job->boot_id, sizeof(job->boot_id), "%s", have->boot_id);
	l->young = !have && load_is_young(l);
	with_lock__fill_request(sl, l, f, &job->req);
	io_wake_clear(f->cancel_fd);
	l->by = f;
	l->whole = false;
	l->next_ns = NEVER;
	l->running_slow = l->slow;
	sl->slow_running += l->slow;
}

/* Waits for work. False when the loader stops. */
static bool take_job(struct fetcher *f, struct job *job)
{
	struct symload *sl = f->sl;
	struct load *l = NULL;
	bool stopping;

	mutex_lock(&sl->lock);
	while (!sl->stopping) {
		l = with_lock__first(sl);
		if (l && l->next_ns <= clock_now_ns())
			break;
		cond_wait(&sl->work, &sl->lock);
	}
	stopping = sl->stopping;
	if (!stopping)
		with_lock__take(sl, l, f, job);
	mutex_unlock(&sl->lock);
	io_wake(sl->wake_fd); /* the next one may be due, too */
	return !stopping;
}

static bool modules_differ(const struct blob *a, const struct blob *b)
{
	if (!a || !b)
		return a != b;
	return !modules_same(a->data, a->size, b->data, b->size);
}

/* Another boot than the one that our symbols are of. */
static bool is_other_boot(const struct job *job, const char *boot_id)
{
	return job->boot_id[0] && boot_id[0] && strcmp(job->boot_id, boot_id) != 0;
}

/* Begins the next epoch and makes it the job's; unless somebody else began one meanwhile, for
 * what may be a later boot than the one that was fetched: then the job stays of the old epoch,
 * and what it brought is dropped. */
static void begin_epoch(struct symload *sl, struct job *job)
{
	static const char reason[] = "boot_id changed";
	uint64_t serial = job->load->serial;
	const struct guest_set *set;
	const struct guest_entry *e;

	guests_new_epoch(sl->gs, serial, job->epoch, reason);
	set = guests_acquire(sl->gs);
	e = guest_set_find_serial(set, serial);
	if (e && e->epoch == job->epoch + 1 && strcmp(e->epoch_reason, reason) == 0) {
		job->epoch = e->epoch;
		job->new_epoch = true;
	}
	guest_set_put(set);
	symload_sync_guests(sl);
}

static void run_look(struct symload *sl, struct job *job)
{
	struct fetch_state now;

	job->result = fetch_state(&job->req, &now, &job->why);
	if (job->result < 0)
		return;
	if (is_other_boot(job, now.boot_id)) {
		begin_epoch(sl, job);
		job->changed = true;
	}
	job->changed |= modules_differ(now.modules, job->had->modules);
	fetch_state_deinit(&now);
}

static void run_whole(struct symload *sl, struct job *job)
{
	job->result = fetch_symbols(&job->req, &job->symbols, &job->why);
	if (job->result == 0 && is_other_boot(job, job->symbols->boot_id))
		begin_epoch(sl, job);
}

static void with_lock__worked(const struct symload *sl, struct load *l, struct job *job)
{
	uint64_t now = clock_now_ns();

	l->failures = 0;
	l->error = (struct errmsg){0};
	if (job->symbols) {
		snprintf(l->used, sizeof(l->used), "%s", job->symbols->used);
		l->fetched_ns = job->symbols->fetched_ns;
		if (job->new_epoch) { /* it asked for what is here already */
			l->next_ns = NEVER;
			l->whole = false;
		}
		load_keep(l, l->epoch, take_ptr(job->symbols));
		with_lock__limit_memory(sl);
	}
	if (job->changed)
		with_lock__schedule(l, now, true);
	else if (l->next_ns == NEVER && symload_is_worth_checking(l->used))
		with_lock__schedule(l, now + sl->check_ns, false);
}

static void with_lock__failed(struct load *l, const struct job *job)
{
	unsigned pause;

	l->failures++;
	l->error = job->why;
	pause = symload_pause_sec(job->result, l->failures, l->young);
	if (l->next_ns == NEVER && pause > 0)
		with_lock__schedule(l, clock_now_ns() + pause * NSEC_PER_SEC, job->whole);
}

/* Whether the outcome is worth a line: not while it boots, and not again and again. */
static bool with_lock__is_news(struct load *l, const struct job *job)
{
	if (job->result < 0 && l->young)
		return false;
	if (job->result == 0 && !job->whole)
		return false;
	if (l->said == job->result)
		return false;
	l->said = job->result;
	return true;
}

static void log_outcome(const struct job *job)
{
	int pid = (int)job->req.target.pid;

	if (job->result < 0)
		log_warn("guest %d: no symbols: %s", pid, job->why.text);
	else
		log_info("guest %d: symbols from %s", pid, job->req.used);
}

/* A guest that lets us wait and hangs up at the last moment is as slow as one that times out. */
static bool was_slow(const struct job *job)
{
	return job->result == -ETIMEDOUT ||
	       clock_now_ns() - job->began_ns > SYMLOAD_SLOW_SEC * NSEC_PER_SEC;
}

/* True when the outcome should be logged. */
static bool with_lock__finish(struct symload *sl, struct job *job)
{
	struct load *l = job->load;
	bool news;

	sl->slow_running -= l->running_slow;
	l->running_slow = false;
	l->by = NULL;
	if (l->gone) {
		load_free(l);
		return false;
	}
	/* What was fetched of a boot that is over belongs nowhere. */
	if (l->epoch != job->epoch || job->result == -ECANCELED) {
		if (!sl->stopping)
			with_lock__schedule(l, clock_now_ns(), true);
		return false;
	}
	l->attempts++;
	l->slow = was_slow(job);
	news = with_lock__is_news(l, job);
	if (job->result == 0)
		with_lock__worked(sl, l, job);
	else
		with_lock__failed(l, job);
	with_lock__wake_subscribers(sl);
	return news;
}

static void do_job(struct symload *sl, struct job *job)
{
	bool news;

	if (job->whole)
		run_whole(sl, job);
	else
		run_look(sl, job);
	if (job->symbols)
		snprintf(job->req.used, sizeof(job->req.used), "%s", job->symbols->used);
	mutex_lock(&sl->lock);
	news = with_lock__finish(sl, job);
	mutex_unlock(&sl->lock);
	if (news)
		log_outcome(job);
	symbols_put(job->symbols);
	symbols_put(job->had);
	io_wake(sl->wake_fd);
}

void *symload_fetcher_main(void *arg)
{
	struct fetcher *f = arg;
	struct job job;

	while (take_job(f, &job))
		do_job(f->sl, &job);
	mutex_lock(&f->sl->lock);
	f->ended = true;
	cond_broadcast(&f->sl->work);
	mutex_unlock(&f->sl->lock);
	return NULL;
}
