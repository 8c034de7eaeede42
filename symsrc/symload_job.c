#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/symload_impl.h"

#define LOOKS_FAILED_MAX 3 /* in a row */

#define STEPS_BACK_MAX 6 /* a minute with the pauses between them, in which QMP is asked anew */

/* Why an epoch began; for people. */
static const char other_boot_id[] = "boot_id changed";
static const char other_by_look[] = "guest memory: another boot";
static const char other_by_place[] = "the kernel runs elsewhere";

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
	memcpy(req->target.uuid, l->guest->uuid, sizeof(req->target.uuid));
	req->target.links = l->guest->links;
	req->target.kernel = l->guest->kernel;
	req->limits.cancel_fd = f->cancel_fd;
	req->limits.deadline_ns =
		clock_now_ns() + (l->slow ? SYMLOAD_TOTAL_SEC : SYMLOAD_FIRST_SEC) * NSEC_PER_SEC;
	req->limits.answer_ms = with_lock__patience(sl, l);
	req->limits.booting = l->young;
	req->limits.remains = l->young && l->unmarked;
	req->limits.quick = clock_now_ns() < l->thorough_ns;
	req->mark = l->mark;
	req->dead = l->dead;
}

static void with_lock__take(struct symload *sl, struct load *l, struct fetcher *f, struct job *job)
{
	const struct symbols *have = load_symbols(l, l->epoch);

	*job = (struct job){.load = l,
			    .epoch = l->epoch,
			    .began_ns = clock_now_ns(),
			    .failures = l->failures,
			    .moves = l->moves,
			    .whole = l->whole || !have};
	job->had = symbols_get(have);
	job->retired = retired_get(l->retired);
	/* Where an attempt has failed it may be because of it. */
	if (have && l->failures == 0)
		job->req.had = have->kallsyms;
	job->guest = guest_get(l->guest);
	job->ram = l->ram;
	l->ram = (struct load_ram){0};
	if (have)
		snprintf(job->boot_id, sizeof(job->boot_id), "%s", have->boot_id);
	l->young = !have && load_is_young(l);
	with_lock__fill_request(sl, l, f, &job->req);
	with_lock__take_sampled(l, job);
	io_wake_clear(f->cancel_fd);
	with_lock__listen(sl, l, NULL);
	l->running_slow = load_is_patient(l);
	sl->slow_running += l->running_slow;
	l->by = f;
	l->whole = false;
	l->next_ns = NEVER;
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

/* Another boot than the one that our symbols are of. */
static bool is_other_boot(const struct job *job, const char *boot_id)
{
	return job->boot_id[0] && boot_id[0] && strcmp(job->boot_id, boot_id) != 0;
}

/* The guest is reached as it was when the job began: by the same URI, the same ports. */
static bool with_lock__has_stayed(const struct job *job)
{
	return !job->load->gone && job->load->moves == job->moves;
}

/* A new epoch cancels what is under way; but not the job that has begun it. */
static void go_on(struct symload *sl, const struct job *job)
{
	mutex_lock(&sl->lock);
	if (!sl->stopping && with_lock__has_stayed(job) && job->load->epoch == job->epoch)
		io_wake_clear(job->req.limits.cancel_fd);
	mutex_unlock(&sl->lock);
}

/* Begins the next epoch and makes it the job's; unless somebody else began one meanwhile, for
 * what may be a later boot than the one that was fetched: then the job stays of the old epoch,
 * and what it brought is dropped. */
static void begin_epoch(struct symload *sl, struct job *job, const char *reason)
{
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
	if (job->new_epoch)
		go_on(sl, job);
}

/* By which of its marks the source told it. */
static const char *reason_of_look(const struct job *job)
{
	return symload_is_memory(job->req.used) ? other_by_look : other_boot_id;
}

static void run_look(struct symload *sl, struct job *job)
{
	enum source_news news;

	job->result = fetch_look(&job->req, &news, &job->why);
	if (job->result < 0)
		return;
	if (news == SOURCE_REBOOTED)
		begin_epoch(sl, job, reason_of_look(job));
	job->changed = news != SOURCE_SAME;
}

/* By the kernel's own file, where memory does not say more: within a boot it stays where it is,
 * unless that was the user's mistake. */
static bool has_moved(const struct job *job)
{
	uint64_t before, now;

	return strncmp(job->req.used, "vmlinux:", strlen("vmlinux:")) == 0 && !job->had->unproven &&
	       symtab_find_name(job->had->table, "_text", &before) &&
	       symtab_find_name(job->symbols->table, "_text", &now) && before != now;
}

/* Whether what was fetched is of another boot than what is here. Where only files are known, their
 * boot_id has said it already. */
static const char *other_boot(struct job *job)
{
	enum source_news news;

	if (is_other_boot(job, job->symbols->boot_id))
		return other_boot_id;
	if (!job->had || !symload_is_memory(job->req.used))
		return NULL;
	if (fetch_look(&job->req, &news, NULL) == 0 && news == SOURCE_REBOOTED)
		return other_by_look;
	return has_moved(job) ? other_by_place : NULL;
}

/* Part of what is here already, of the same boot, is no gain: where hot-plugged memory lies may
 * not be known yet, say. But it does not stay so for ever. */
static bool is_step_back(const struct job *job)
{
	return !job->new_epoch && job->had && !job->had->partial && job->symbols->partial &&
	       job->failures < STEPS_BACK_MAX;
}

static void refuse_step_back(struct job *job)
{
	job->result = errmsg_set(&job->why, -ESTALE, "%s: the symbols of before are kept for now",
				 job->symbols->note);
	symbols_put(take_ptr(job->symbols));
}

/* The guest has booted since its memory was read: this is of the boot before, or of none that we
 * know. (What somebody in the guest has sent is of the boot whose id came with it.) */
static bool is_over(struct job *job)
{
	enum source_news news;

	if (!symload_is_memory(job->symbols->used))
		return false;
	job->req.mark = job->symbols->mark;
	snprintf(job->req.used, sizeof(job->req.used), "%s", job->symbols->used);
	return fetch_look(&job->req, &news, NULL) == 0 && news == SOURCE_REBOOTED;
}

static void drop_symbols(struct job *job)
{
	symbols_put(take_ptr(job->symbols));
	job->changed = true;
	job->whole = false; /* no news for the log */
}

/* Those of a recording are all of before: what comes are better symbols for the same guest. */
static void retire_names(const struct symload *sl, struct job *job)
{
	struct symbols *s = (struct symbols *)job->symbols; /* nobody else knows them yet */
	int r = 0;

	if (job->new_epoch || sl->recorded)
		return;
	if (job->had)
		r = retired_make(job->retired, job->had->table, s->table, &s->retired);
	else
		s->retired = retired_get(job->retired);
	if (r < 0) {
		job->result = errmsg_set(&job->why, r, "out of memory for symbols");
		symbols_put(take_ptr(job->symbols));
	}
}

static void run_whole(struct symload *sl, struct job *job)
{
	const char *reason;

	job->result = fetch_symbols(&job->req, &job->symbols, &job->why);
	if (job->result < 0)
		return;
	/* Nobody else knows them yet. */
	symbols_share((struct symbols *)job->symbols, sl->pool);
	reason = other_boot(job);
	if (reason)
		begin_epoch(sl, job, reason);
	if (job->new_epoch && is_over(job))
		drop_symbols(job);
	else if (is_step_back(job))
		refuse_step_back(job);
	else
		retire_names(sl, job);
}

/* Who is left behind when the loader stops finds nobody to tell. */
static void with_lock__retire(const struct symload *sl, struct load *l, struct job *job)
{
	if (retired_number(job->symbols->retired) > retired_number(l->retired) && !sl->stopping)
		job->news = retired_get(job->symbols->retired);
	retired_put(l->retired);
	l->retired = retired_get(job->symbols->retired);
}

static void with_lock__worked(const struct symload *sl, struct load *l, struct job *job)
{
	uint64_t now = clock_now_ns();

	l->failures = 0;
	l->error = (struct errmsg){0};
	with_lock__listen(sl, l, take_ptr(job->req.ear));
	if (job->req.tried.count)
		l->tried = job->req.tried;
	if (job->symbols)
		l->mark = job->symbols->mark;
	else if (!job->new_epoch)
		l->mark = job->req.mark;
	if (job->symbols) {
		l->dead.len = 0;
		if (!job->symbols->unproven)
			load_drop_sampled(l);
		snprintf(l->used, sizeof(l->used), "%s", job->symbols->used);
		l->fetched_ns = job->symbols->fetched_ns;
		/* The new epoch asked for what is here already. */
		if (job->new_epoch && with_lock__has_stayed(job)) {
			l->next_ns = NEVER;
			l->whole = false;
		}
		with_lock__retire(sl, l, job);
		load_keep(l, l->epoch, take_ptr(job->symbols));
		with_lock__limit_memory(sl);
	}
	if (job->changed)
		with_lock__schedule(l, now, true);
	else if (l->next_ns == NEVER)
		with_lock__schedule(l, load_next_look(sl, l, job), false);
}

static void with_lock__failed(struct load *l, const struct job *job)
{
	uint64_t next_ns = load_next_attempt(l, job);

	if (job->had && job->had->unproven && job->result == -EKEYREJECTED)
		with_lock__forget_current(l); /* now it is proven that they are another kernel's */
	/* A quick attempt knows less of a guest that is not ready than the thorough one did. */
	if (!job->req.limits.quick || job->result != l->error.code) {
		l->error = job->why;
		if (job->req.tried.count)
			l->tried = job->req.tried;
	}
	l->dead = job->req.dead;
	l->ram.doubtful = job->result != -EAGAIN;
	/* What cannot be looked at again and again may have changed where to look. */
	if (l->next_ns == NEVER)
		with_lock__schedule(l, next_ns, job->whole || l->failures >= LOOKS_FAILED_MAX);
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

/* Of fetches, not of the looks every few seconds. */
static void log_attempts(const struct job *job)
{
	const struct source_attempts *tried = &job->req.tried;

	for (size_t i = 0; job->whole && i < tried->count; i++) {
		const struct source_attempt *a = &tried->list[i];

		log_debug("guest %d: symbols by %s: %s%s, after %.3f s", (int)job->req.target.pid,
			  a->way, a->why.code ? "failed: " : "ok", a->why.text,
			  (double)a->took_ns / 1e9);
	}
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
	/* A look that finds all as it was is nobody's business. */
	bool is_quiet = !job->whole && !job->changed && job->result == l->error.code;
	bool news;

	sl->slow_running -= l->running_slow;
	l->running_slow = false;
	l->by = NULL;
	l->ended_ns = clock_now_ns();
	l->ram = job->ram;
	load_charge(l, job->cpu_ns);
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
	if (job->symbols)
		job->result = with_lock__make_room(sl, l, job->symbols, &job->why);
	l->attempts += job->whole;
	l->looks += !job->whole;
	l->slow = was_slow(job);
	if (job->whole)
		l->wants_sampled = job->req.wants_sampled;
	news = with_lock__is_news(l, job);
	if (job->result == 0)
		with_lock__worked(sl, l, job);
	else
		with_lock__failed(l, job);
	if (l->has_news)
		with_lock__look_soon(l);
	if (!is_quiet)
		with_lock__wake_subscribers(sl);
	return news;
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void do_job(struct symload *sl, struct job *job)
{
	uint64_t cpu_ns = thread_cpu_ns();
	bool news;

	symload_prepare_ram(sl, job);
	if (job->whole)
		run_whole(sl, job);
	else
		run_look(sl, job);
	job->cpu_ns = sl->cpu_is_free ? 0 : thread_cpu_ns() - cpu_ns;
	if (job->symbols)
		snprintf(job->req.used, sizeof(job->req.used), "%s", job->symbols->used);
	/* A port may have been plugged in that is known by QMP alone. */
	if (job->whole && job->result < 0 && job->result != -EAGAIN && job->result != -ECANCELED)
		guests_doubt(sl->gs, job->guest->serial);
	mutex_lock(&sl->lock);
	news = with_lock__finish(sl, job);
	mutex_unlock(&sl->lock);
	if (job->news && sl->on_retired)
		sl->on_retired(sl->on_retired_ctx, job->guest->serial, job->epoch, job->news);
	log_attempts(job);
	if (news)
		log_outcome(job);
	retired_put(job->news);
	retired_put(job->retired);
	serial_ear_destroy(job->req.ear);
	symbols_put(job->symbols);
	symbols_put(job->had);
	guest_put(job->guest);
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
