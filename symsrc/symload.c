#include "symsrc/symload.h"

#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/log.h"
#include "symsrc/base/text.h"
#include "symsrc/base/thread.h"
#include "symsrc/fetch.h"

#define NEVER		UINT64_MAX
#define YOUNG_SEC	60
#define YOUNG_PAUSE_SEC 2
#define PAUSE_MAX_SEC	30
#define REFUSED_MIN_SEC 10 /* after a refusal: every attempt is a line in the guest's log */
#define REFUSED_MAX_SEC 300
#define SUBSCRIBERS_MAX GUESTS_SUBSCRIBERS_MAX
#define NOTHING_SAID	1

struct kept {
	uint32_t epoch;
	const struct symbols *symbols;
};

/* One guest. All fields: lock of the loader. */
struct load {
	uint64_t serial;
	const struct guest *guest;
	uint32_t epoch;
	uint64_t epoch_start_ns;
	const char *uri;		      /* belongs to the rules */
	struct kept kept[SYMSRC_EPOCHS_KEPT]; /* newest first */
	char used[SOURCE_USED_MAX];
	struct errmsg error; /* of the last attempt */
	unsigned attempts;   /* of this epoch */
	unsigned failures;   /* in a row */
	uint64_t next_ns;    /* when to try again; NEVER */
	uint64_t fetched_ns;
	bool whole;	    /* next time fetch everything, not just look */
	bool slow;	    /* the last attempt ran out of time, or took long */
	bool running_slow;  /* it counts among the slow ones that run */
	bool gone;	    /* the guest is; whoever fetches frees this */
	bool young;	    /* no attempt of a boot less than YOUNG_SEC ago has worked */
	int said;	    /* the result that was logged last; NOTHING_SAID */
	struct fetcher *by; /* who fetches it now, or NULL */
};

struct fetcher {
	pthread_t thread;
	struct symload *sl;
	unsigned index;
	int cancel_fd; /* woken to end the running fetch */
	bool started;
	bool ended; /* lock; the thread is about to return */
};

/* What a fetcher takes along when it leaves the lock. */
struct job {
	struct load *load;
	uint32_t epoch;
	uint64_t began_ns;
	bool whole;
	char boot_id[37];	   /* of the symbols that are here, or empty */
	const struct symbols *had; /* those, or NULL */
	struct fetch_request req;
	int result;
	struct errmsg why;
	const struct symbols *symbols; /* result 0 and whole */
	bool changed;		       /* result 0 and not whole: it is not what we have */
	bool new_epoch;		       /* the boot id said so; epoch is that one */
};

struct symload {
	struct guests *gs;
	struct source_rule *rules;
	size_t rule_count;
	uint64_t check_ns;
	size_t kept_max;
	unsigned fetcher_count;
	struct fetcher *fetchers;
	pthread_t scheduler;
	bool scheduler_started;
	int wake_fd; /* of the scheduler: guests, the clock, a finished fetch */

	struct mutex lock;
	struct cond work;		  /* there may be something due */
	bool stopping;			  /* lock */
	struct load **loads;		  /* lock; by serial, ascending */
	size_t count, cap;		  /* lock */
	unsigned slow_running;		  /* lock; fetches of slow guests under way */
	uint64_t generation;		  /* lock; of the guest set that was last seen */
	int subscribers[SUBSCRIBERS_MAX]; /* lock; -1: free */
};

/* ---- policy: pure ------------------------------------------------------------------------- */

const char *symload_uri_for(const struct source_rule *rules, size_t count, const struct guest *g)
{
	uint64_t pid;

	for (size_t i = 0; i < count; i++) {
		if (text_to_u64(rules[i].pattern, 10, INT32_MAX, &pid) && (pid_t)pid == g->pid)
			return rules[i].uri;
		if (fnmatch(rules[i].pattern, g->name, 0) == 0)
			return rules[i].uri;
	}
	return "auto";
}

static bool is_pointless(int err)
{
	return err == -EINVAL || err == -ENOSYS;
}

/* Errors that another attempt will most likely meet again. */
static bool is_refusal(int err)
{
	return err == -EACCES || err == -EPERM || err == -EKEYREJECTED || err == -EBADMSG ||
	       err == -EFBIG;
}

unsigned symload_pause_sec(int err, unsigned failures, bool young)
{
	unsigned first = is_refusal(err) ? REFUSED_MIN_SEC : 1;
	unsigned max = is_refusal(err) ? REFUSED_MAX_SEC : PAUSE_MAX_SEC;
	unsigned pause = failures > 10 ? max : first << (failures - 1);

	if (is_pointless(err))
		return 0;
	if (young && pause > YOUNG_PAUSE_SEC)
		return YOUNG_PAUSE_SEC;
	return pause < max ? pause : max;
}

/* A source whose files are copies does not change behind our back. */
static bool is_worth_checking(const char *used)
{
	return strncmp(used, "kallsyms:", strlen("kallsyms:")) != 0;
}

/* ---- one guest ---------------------------------------------------------------------------- */

static const struct symbols *symbols_of(const struct load *l, uint32_t epoch)
{
	for (size_t i = 0; i < SYMSRC_EPOCHS_KEPT; i++) {
		if (l->kept[i].symbols && l->kept[i].epoch == epoch)
			return l->kept[i].symbols;
	}
	return NULL;
}

static void keep_symbols(struct load *l, uint32_t epoch, const struct symbols *symbols)
{
	struct kept *first = &l->kept[0], *last = &l->kept[SYMSRC_EPOCHS_KEPT - 1];

	if (first->symbols && first->epoch == epoch) {
		symbols_put(first->symbols);
	} else {
		symbols_put(last->symbols);
		memmove(first + 1, first, sizeof(*first) * (SYMSRC_EPOCHS_KEPT - 1));
	}
	*first = (struct kept){epoch, symbols};
}

static void load_free(struct load *l)
{
	for (size_t i = 0; i < SYMSRC_EPOCHS_KEPT; i++)
		symbols_put(l->kept[i].symbols);
	guest_put(l->guest);
	free(l);
}

/* Seconds since the VMM started (proc_pid_stat(5): clock ticks since boot). */
static bool guest_is_young(const struct guest *g)
{
	struct timespec ts;
	uint64_t started;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	started = g->start / (uint64_t)sysconf(_SC_CLK_TCK);
	return (uint64_t)ts.tv_sec < started + YOUNG_SEC;
}

static bool load_is_young(const struct load *l)
{
	bool later_boot = l->epoch > 1;

	if (later_boot && clock_now_ns() - l->epoch_start_ns < YOUNG_SEC * NSEC_PER_SEC)
		return true;
	return guest_is_young(l->guest);
}

/* ---- the table; the lock is held ---------------------------------------------------------- */

static size_t with_lock__position(const struct symload *sl, uint64_t serial)
{
	size_t lo = 0, hi = sl->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (sl->loads[mid]->serial < serial)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct load *with_lock__find(const struct symload *sl, uint64_t serial)
{
	size_t at = with_lock__position(sl, serial);

	return at < sl->count && sl->loads[at]->serial == serial ? sl->loads[at] : NULL;
}

static void with_lock__wake_subscribers(const struct symload *sl)
{
	for (size_t i = 0; i < SUBSCRIBERS_MAX; i++) {
		if (sl->subscribers[i] >= 0)
			io_wake(sl->subscribers[i]);
	}
}

static struct load *with_lock__insert(struct symload *sl, uint64_t serial)
{
	size_t at = with_lock__position(sl, serial);
	struct load *l;

	if (sl->count == sl->cap) {
		size_t cap = sl->cap ? 2 * sl->cap : 16;
		struct load **more = realloc(sl->loads, cap * sizeof(void *));

		if (!more)
			return NULL;
		sl->loads = more;
		sl->cap = cap;
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->serial = serial;
	memmove(&sl->loads[at + 1], &sl->loads[at], (sl->count - at) * sizeof(void *));
	sl->loads[at] = l;
	sl->count++;
	return l;
}

static void with_lock__schedule(struct load *l, uint64_t when_ns, bool whole)
{
	l->next_ns = when_ns;
	l->whole |= whole;
}

static void with_lock__cancel(const struct load *l)
{
	if (l->by)
		io_wake(l->by->cancel_fd);
}

static bool links_same(const struct guest_links *a, const struct guest_links *b)
{
	return a->ssh_port == b->ssh_port && a->vsock_cid == b->vsock_cid &&
	       strcmp(a->ssh_host, b->ssh_host) == 0 && strcmp(a->qmp_path, b->qmp_path) == 0 &&
	       strcmp(a->agent_path, b->agent_path) == 0;
}

/* Takes over what discovery knows now. True when it may be reached in another way than before:
 * its name is often known later than its process. */
static bool with_lock__take_guest(const struct symload *sl, struct load *l, const struct guest *g)
{
	const char *uri = symload_uri_for(sl->rules, sl->rule_count, g);
	const struct guest *old = l->guest;
	bool moved = !old || strcmp(l->uri, uri) != 0;

	if (old && !symbols_of(l, l->epoch))
		moved |= strcmp(old->name, g->name) != 0 || !links_same(&old->links, &g->links);
	l->guest = guest_get(g);
	l->uri = uri;
	guest_put(old);
	return moved;
}

/* The guest's entry in the new set. */
static void with_lock__update(struct symload *sl, struct load *l, const struct guest_entry *e)
{
	bool boot = l->epoch != e->epoch;
	bool other = l->guest != e->guest;

	if (other && with_lock__take_guest(sl, l, e->guest)) {
		with_lock__cancel(l);
		with_lock__schedule(l, clock_now_ns(), true);
	}
	if (!boot)
		return;
	l->epoch = e->epoch;
	l->epoch_start_ns = e->epoch_start_ns;
	l->attempts = 0;
	l->failures = 0;
	l->said = NOTHING_SAID;
	l->error = (struct errmsg){0};
	with_lock__cancel(l); /* what it fetches is from the boot before */
	with_lock__schedule(l, clock_now_ns(), true);
}

static void with_lock__drop(struct symload *sl, size_t at)
{
	struct load *l = sl->loads[at];

	sl->count--;
	memmove(&sl->loads[at], &sl->loads[at + 1], (sl->count - at) * sizeof(void *));
	l->gone = true;
	if (l->by)
		with_lock__cancel(l);
	else
		load_free(l);
}

static void with_lock__sync(struct symload *sl, const struct guest_set *set)
{
	if (set->generation <= sl->generation)
		return; /* known, or somebody brought a newer one */
	sl->generation = set->generation;
	for (size_t i = sl->count; i-- > 0;) {
		if (!guest_set_find_serial(set, sl->loads[i]->serial))
			with_lock__drop(sl, i);
	}
	for (size_t i = 0; i < set->count; i++) {
		const struct guest_entry *e = &set->entries[i];
		struct load *l = with_lock__find(sl, e->guest->serial);

		if (!l)
			l = with_lock__insert(sl, e->guest->serial);
		if (!l) {
			log_error("symbols: out of memory: a guest gets none");
			continue;
		}
		with_lock__update(sl, l, e);
	}
	with_lock__wake_subscribers(sl);
}

/* Takes the newest set of guests, if it is new. */
static void sync_guests(struct symload *sl)
{
	const struct guest_set *set = guests_acquire(sl->gs);

	mutex_lock(&sl->lock);
	with_lock__sync(sl, set);
	mutex_unlock(&sl->lock);
	guest_set_put(set);
}

/* ---- scheduling --------------------------------------------------------------------------- */

static unsigned slow_max(const struct symload *sl)
{
	return sl->fetcher_count > 1 ? sl->fetcher_count / 2 : 1;
}

static bool with_lock__may_run(const struct symload *sl, const struct load *l)
{
	return !l->by && l->next_ns != NEVER && (!l->slow || sl->slow_running < slow_max(sl));
}

/* The one that waits longest among those that may run, due or not. */
static struct load *with_lock__first(const struct symload *sl)
{
	struct load *first = NULL;

	for (size_t i = 0; i < sl->count; i++) {
		struct load *l = sl->loads[i];

		if (with_lock__may_run(sl, l) && (!first || l->next_ns < first->next_ns))
			first = l;
	}
	return first;
}

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
	struct pollfd p = {.fd = sl->wake_fd, .events = POLLIN};
	bool stopping;
	int timeout;

	do {
		io_wake_clear(sl->wake_fd);
		sync_guests(sl);
		mutex_lock(&sl->lock);
		stopping = sl->stopping;
		timeout = with_lock__hand_out(sl);
		mutex_unlock(&sl->lock);
		if (!stopping)
			poll(&p, 1, timeout);
	} while (!stopping);
	return NULL;
}

/* ---- a fetch ------------------------------------------------------------------------------ */

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
	const struct symbols *have = symbols_of(l, l->epoch);

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
	sync_guests(sl);
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

static size_t blob_size(const struct blob *b)
{
	return b ? b->size : 0;
}

static size_t symbols_size(const struct symbols *s)
{
	return sizeof(*s) + blob_size(s->kallsyms) + blob_size(s->modules) + blob_size(s->notes) +
	       symtab_memory(s->table) + s->module_count * sizeof(*s->module_list);
}

/* What all guests' symbols take; *ret_old is the one of an earlier boot that is the oldest. */
static size_t with_lock__sum_up(const struct symload *sl, struct kept **ret_old)
{
	size_t sum = 0;

	*ret_old = NULL;
	for (size_t i = 0; i < sl->count * SYMSRC_EPOCHS_KEPT; i++) {
		const struct load *l = sl->loads[i / SYMSRC_EPOCHS_KEPT];
		struct kept *k = &sl->loads[i / SYMSRC_EPOCHS_KEPT]->kept[i % SYMSRC_EPOCHS_KEPT];

		if (!k->symbols)
			continue;
		sum += symbols_size(k->symbols);
		if (k->epoch != l->epoch &&
		    (!*ret_old || k->symbols->fetched_ns < (*ret_old)->symbols->fetched_ns))
			*ret_old = k;
	}
	return sum;
}

/* Earlier boots' symbols only serve to look back. A guest that boots again and again, or many
 * that have, must not fill the memory with them. */
static void with_lock__limit_memory(const struct symload *sl)
{
	struct kept *old;

	while (with_lock__sum_up(sl, &old) > sl->kept_max && old) {
		symbols_put(old->symbols);
		*old = (struct kept){0};
	}
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
		keep_symbols(l, l->epoch, take_ptr(job->symbols));
		with_lock__limit_memory(sl);
	}
	if (job->changed)
		with_lock__schedule(l, now, true);
	else if (l->next_ns == NEVER && is_worth_checking(l->used))
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

static void *fetcher_main(void *arg)
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
	r = create_fetchers(sl, fetchers < SYMLOAD_FETCHERS_MAX ? fetchers : SYMLOAD_FETCHERS_MAX);
	if (r < 0)
		return r;
	sl->wake_fd = io_wake_create();
	if (sl->wake_fd < 0)
		return sl->wake_fd;
	return guests_subscribe(sl->gs, sl->wake_fd);
}

int symload_create(const struct symload_config *config, struct guests *gs, struct symload **ret)
{
	struct symload *sl = calloc(1, sizeof(*sl));
	int r;

	if (!sl)
		return -ENOMEM;
	sl->gs = gs;
	sl->wake_fd = -1;
	sl->kept_max = config->kept_max ? config->kept_max : SYMLOAD_KEPT_MAX;
	sl->check_ns = config->check_ms ? config->check_ms * NSEC_PER_MSEC
					: SYMLOAD_CHECK_SEC * NSEC_PER_SEC;
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
		r = thread_start(&f->thread, name, fetcher_main, f);
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
		log_warn("symbols: a fetch hangs in a read of a dead filesystem: left behind");
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
		symbols = symbols_get(symbols_of(l, epoch ? epoch : l->epoch));
	mutex_unlock(&sl->lock);
	return symbols;
}

static void with_lock__status(const struct load *l, struct symsrc_status *ret)
{
	bool ready = symbols_of(l, l->epoch) != NULL;

	ret->state = ready ? SYMSRC_READY : l->attempts ? SYMSRC_FAILED : SYMSRC_WAITING;
	ret->epoch = l->epoch;
	snprintf(ret->source_uri, sizeof(ret->source_uri), "%s", l->uri);
	snprintf(ret->used, sizeof(ret->used), "%s", l->used);
	ret->error = l->error;
	ret->attempts = l->attempts;
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

int symload_refresh(struct symload *sl, uint64_t serial)
{
	struct load *l;

	mutex_lock(&sl->lock);
	l = with_lock__find(sl, serial);
	if (l)
		with_lock__schedule(l, clock_now_ns(), true);
	mutex_unlock(&sl->lock);
	io_wake(sl->wake_fd);
	return l ? 0 : -ESRCH;
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

void symload_unsubscribe(struct symload *sl, int wake_fd)
{
	mutex_lock(&sl->lock);
	for (size_t i = 0; i < SUBSCRIBERS_MAX; i++) {
		if (sl->subscribers[i] == wake_fd)
			sl->subscribers[i] = -1;
	}
	mutex_unlock(&sl->lock);
}
