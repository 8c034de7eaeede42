#include "profiler/exits/exits.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "profiler/exits/bpf.h"
#include "profiler/exits/plan.h"
#include "profiler/exits/raw.h"
#include "profiler/exits/rings.h"
#include "profiler/exits/source.h"
#include "profiler/tracefsroot.h"
#include "profiler/exits/window.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"

#define NOT_YET "no guest under KVM has been seen yet"

/* Processes that are no guests fill the maps, too, also while no guest comes or goes: the kernel's
 * threads, whoever runs while a device of VFIO's interrupts, guests that are not ours. */
#define LOOK_NS	 (60 * NSEC_PER_SEC)
#define LASTS_NS NSEC_PER_SEC /* so old may be what is known of the last events */

struct last {
	uint32_t tgid;
	uint64_t ns;
};

/* A guest's counts at its discovery or reset. */
struct base {
	uint64_t serial;
	uint64_t found_ns; /* the process had this pid by then */
	uint64_t since_ns;
	struct exits_raw raw;
};

struct exits_counter {
	struct guests *guests;
	enum exits_choice choice;
	pthread_t thread;
	bool started, subscribed;
	int wake_fd; /* guests have come or gone, or stop */
	int ask_fd;  /* lasts are to be read */
	atomic_bool stop;

	struct mutex lock;
	struct exits_plan *plan;     /* lock to set, once; constant from then on */
	struct exits_source *source; /* lock to set, once; constant from then on */
	struct errmsg why;	     /* lock; why there is none, or why it is not BPF */
	size_t base_count;	     /* lock */
	struct base *bases;	     /* lock; those that serials were found for */
	size_t last_count;	     /* lock */
	struct last *lasts; /* lock; of each process with vCPUs, when it had its last event */
	uint64_t lasts_ns;  /* lock; when that was read */
	struct exits_window window; /* lock */
};

int exits_create(struct guests *guests, enum exits_choice choice, struct exits_counter **ret)
{
	struct exits_counter *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->guests = guests;
	c->choice = choice;
	c->wake_fd = c->ask_fd = -1;
	mutex_init(&c->lock);
	errmsg_set(&c->why, -EINPROGRESS, NOT_YET);
	*ret = c;
	return 0;
}

void exits_destroy(struct exits_counter *c)
{
	if (!c)
		return;
	if (c->source)
		c->source->ops->free(c->source);
	exits_plan_free(c->plan);
	for (size_t i = 0; i < c->base_count; i++)
		exits_raw_deinit(&c->bases[i].raw);
	free(c->bases);
	free(c->lasts);
	exits_window_deinit(&c->window);
	mutex_deinit(&c->lock);
	free(c);
}

/* ---- the engine
 * ---------------------------------------------------------------------------------- */

/* why: also of success, when it is not BPF that counts. */
static int open_source(enum exits_choice choice, const struct exits_plan *plan,
		       struct exits_source **ret, struct errmsg *why)
{
	struct errmsg no_rings = {0}, no_bpf;
	int r = -ENOTSUP;

	if (choice == EXITS_BY_PERF)
		errmsg_set(why, r, "asked for");
	else
		r = exits_bpf_load(plan, (unsigned)sysconf(_SC_NPROCESSORS_CONF), ret, why);
	if (r == 0 || choice == EXITS_BY_BPF)
		return r;
	no_bpf = *why;
	r = exits_rings_open(plan, ret, &no_rings);
	if (r < 0 && choice == EXITS_BY_PERF)
		*why = no_rings;
	else if (r < 0)
		errmsg_set(why, r, "%s; %s", no_bpf.text, no_rings.text);
	return r;
}

static int load(enum exits_choice choice, struct exits_plan **plan, struct exits_source **source,
		struct errmsg *why)
{
	struct tracefs_root root;
	int r = tracefs_root_open(&root, why);

	if (r < 0)
		return r;
	r = exits_plan_make(root.path, plan, why);
	tracefs_root_close(&root);
	return r < 0 ? r : open_source(choice, *plan, source, why);
}

/* Tried again when guests come, since what is missing may be KVM's module. */
static void load_once(struct exits_counter *c)
{
	struct exits_plan *plan = NULL;
	struct exits_source *source = NULL;
	struct errmsg why = {0};
	int r = load(c->choice, &plan, &source, &why);

	mutex_lock(&c->lock);
	c->why = why;
	if (r == 0) {
		c->plan = plan;
		c->source = source;
	}
	mutex_unlock(&c->lock);
	if (r < 0)
		exits_plan_free(plan);
	if (r == 0)
		log_debug("exits: counted by %s%s%s", source->ops->name,
			  why.text[0] ? ", not by BPF: " : "", why.text);
	else
		log_debug("exits: not counted: %s", why.text);
}

/* The engine or NULL, and the reason (may be NULL). */
static struct exits_source *engine_of(struct exits_counter *c, struct errmsg *why)
{
	struct exits_source *source;

	mutex_lock(&c->lock);
	source = c->source;
	if (why)
		*why = c->why;
	mutex_unlock(&c->lock);
	return source;
}

void exits_state(struct exits_counter *c, struct exits_state *ret)
{
	struct errmsg why;
	struct exits_source *source = engine_of(c, &why);

	*ret = (struct exits_state){.runs = source != NULL};
	if (!source) {
		snprintf(ret->engine, sizeof(ret->engine), "none: %s", why.text);
		return;
	}
	source->ops->lost(source, &ret->lost);
	if (why.text[0])
		snprintf(ret->engine, sizeof(ret->engine), "%s: %s", source->ops->name, why.text);
	else
		snprintf(ret->engine, sizeof(ret->engine), "%s", source->ops->name);
}

/* ---- who is there
 * -------------------------------------------------------------------------------- */

static bool is_known(void *ctx, uint32_t tgid)
{
	const struct guest_set *set = ctx;

	return guest_set_find_pid(set, (pid_t)tgid) != NULL;
}

static bool any_under_kvm(const struct guest_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->entries[i].guest->accel != GUEST_ACCEL_TCG)
			return true;
	}
	return false;
}

static struct base *with_lock__base_of(struct exits_counter *c, uint64_t serial)
{
	for (size_t i = 0; i < c->base_count; i++) {
		if (c->bases[i].serial == serial)
			return &c->bases[i];
	}
	return NULL;
}

/* NULL when out of memory. */
static struct base *with_lock__add_base(struct exits_counter *c, uint64_t serial)
{
	struct base *list = reallocarray(c->bases, c->base_count + 1, sizeof(*list));

	if (!list)
		return NULL;
	c->bases = list;
	list[c->base_count] = (struct base){.serial = serial, .found_ns = clock_now_ns()};
	list[c->base_count].since_ns = list[c->base_count].found_ns;
	return &list[c->base_count++];
}

static void with_lock__note_new(struct exits_counter *c, const struct guest_set *set)
{
	for (size_t i = 0; c->source && i < set->count; i++) {
		if (!with_lock__base_of(c, set->entries[i].guest->serial))
			with_lock__add_base(c, set->entries[i].guest->serial);
	}
}

static void with_lock__drop_bases(struct exits_counter *c, const struct guest_set *set)
{
	size_t n = 0;

	for (size_t i = 0; i < c->base_count; i++) {
		if (guest_set_find_serial(set, c->bases[i].serial))
			c->bases[n++] = c->bases[i];
		else
			exits_raw_deinit(&c->bases[i].raw);
	}
	c->base_count = n;
	if (n == 0)
		exits_window_deinit(&c->window);
}

static void look(struct exits_counter *c)
{
	const struct guest_set *set = guests_acquire(c->guests);
	struct exits_source *source = engine_of(c, NULL);

	if (source)
		source->ops->look(source, is_known, (void *)set);
	else if (any_under_kvm(set))
		load_once(c);
	mutex_lock(&c->lock);
	with_lock__drop_bases(c, set);
	with_lock__note_new(c, set);
	mutex_unlock(&c->lock);
	guest_set_put(set);
}

/* ---- news --------------------------------------------------------------------------------------
 */

struct lasts {
	size_t count;
	struct last *list;
};

static int take_last(void *ctx, uint32_t tgid, uint64_t ns)
{
	struct lasts *l = ctx;
	struct last *list;

	for (size_t i = 0; i < l->count; i++) {
		if (l->list[i].tgid != tgid)
			continue;
		if (ns > l->list[i].ns)
			l->list[i].ns = ns;
		return 0;
	}
	list = reallocarray(l->list, l->count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	l->list = list;
	list[l->count++] = (struct last){tgid, ns};
	return 0;
}

static void read_lasts(struct exits_counter *c)
{
	struct exits_source *source = engine_of(c, NULL);
	uint64_t now = clock_now_ns();
	struct lasts l = {0};

	if (!source || source->ops->lasts(source, take_last, &l) < 0) {
		free(l.list);
		return;
	}
	mutex_lock(&c->lock);
	free(c->lasts);
	c->lasts = l.list;
	c->last_count = l.count;
	c->lasts_ns = now;
	mutex_unlock(&c->lock);
}

static uint64_t with_lock__last_of(const struct exits_counter *c, const struct guest *guest)
{
	for (size_t i = 0; i < c->last_count; i++) {
		if (c->lasts[i].tgid == (uint32_t)guest->pid)
			return c->lasts[i].ns;
	}
	return 0;
}

bool exits_has_news(struct exits_counter *c, const struct guest *guest, uint64_t since_ns)
{
	bool news, ask;

	mutex_lock(&c->lock);
	news = with_lock__last_of(c, guest) > since_ns;
	ask = c->source && !news && clock_now_ns() >= c->lasts_ns + LASTS_NS;
	mutex_unlock(&c->lock);
	if (ask)
		io_wake(c->ask_fd);
	return news;
}

/* ---- the last seconds ---------------------------------------------------------------------------
 */

static uint64_t own_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* UINT64_MAX: while there is nobody to count for. */
static uint64_t copy_due_ns(struct exits_counter *c)
{
	uint64_t due;

	mutex_lock(&c->lock);
	due = c->source && c->base_count ? c->window.next_ns : UINT64_MAX;
	mutex_unlock(&c->lock);
	return due;
}

static void keep_copy(struct exits_counter *c)
{
	uint64_t start = own_cpu_ns();
	struct exits_raw raw = {0};
	struct exits_source *source = engine_of(c, NULL);
	int r = source->ops->read(source, EXITS_EVERYBODY, &raw);

	mutex_lock(&c->lock);
	if (r == 0)
		exits_window_add(&c->window, &raw, own_cpu_ns() - start);
	else
		c->window.next_ns = clock_now_ns() + EXITS_WINDOW_NS;
	mutex_unlock(&c->lock);
}

/* ---- the thread ---------------------------------------------------------------------------------
 */

static void *run(void *arg)
{
	struct exits_counter *c = arg;
	struct pollfd p[] = {{.fd = c->wake_fd, .events = POLLIN, .revents = POLLIN},
			     {.fd = c->ask_fd, .events = POLLIN},
			     {.fd = -1, .events = POLLIN}};
	struct exits_source *source = NULL;
	uint64_t next = UINT64_MAX, due;

	while (!atomic_load(&c->stop)) {
		if (p[0].revents || clock_now_ns() >= next) {
			look(c);
			source = engine_of(c, NULL);
			p[2].fd = source ? source->fd : -1;
			next = source ? clock_now_ns() + LOOK_NS : UINT64_MAX;
		}
		if (source && p[2].revents)
			source->ops->work(source);
		if (p[1].revents)
			read_lasts(c);
		if (clock_now_ns() >= copy_due_ns(c))
			keep_copy(c);
		due = copy_due_ns(c);
		due = due < next ? due : next;
		if (poll(p, ARRAY_SIZE(p), due == UINT64_MAX ? -1 : clock_left_ms(due)) < 0 &&
		    errno != EINTR)
			break;
		/* What comes from here on is for the next turn, which is to see it in revents. */
		if (p[0].revents)
			io_wake_clear(c->wake_fd);
		if (p[1].revents)
			io_wake_clear(c->ask_fd);
	}
	return NULL;
}

static int make_fds(struct exits_counter *c)
{
	c->wake_fd = io_wake_create();
	c->ask_fd = io_wake_create();
	return c->wake_fd < 0 ? c->wake_fd : c->ask_fd;
}

int exits_start(struct exits_counter *c, struct errmsg *why)
{
	int r = make_fds(c);

	if (r >= 0)
		r = guests_subscribe(c->guests, c->wake_fd);
	c->subscribed = r == 0;
	if (r == 0)
		r = thread_start(&c->thread, "kp-exits", run, c);
	if (r < 0) {
		exits_stop(c);
		return errmsg_set(why, r, "cannot start kp-exits: %s", strerrordesc_np(-r));
	}
	c->started = true;
	return 0;
}

void exits_stop(struct exits_counter *c)
{
	if (c->started) {
		atomic_store(&c->stop, true);
		io_wake(c->wake_fd);
		pthread_join(c->thread, NULL);
	}
	c->started = false;
	if (c->subscribed)
		guests_unsubscribe(c->guests, c->wake_fd);
	c->subscribed = false;
	close_keep_errno(take_fd(&c->wake_fd));
	close_keep_errno(take_fd(&c->ask_fd));
}

/* ---- reading
 * -------------------------------------------------------------------------------------- */

/* Takes raw over. */
static int with_lock__set_base(struct exits_counter *c, const struct guest *guest,
			       struct exits_raw *raw)
{
	struct base *b = with_lock__base_of(c, guest->serial);

	if (!b)
		b = with_lock__add_base(c, guest->serial);
	if (!b)
		return -ENOMEM;
	exits_raw_deinit(&b->raw);
	b->since_ns = raw->taken_ns;
	b->raw = *raw;
	*raw = (struct exits_raw){0};
	return 0;
}

static int without_engine(const struct guest *guest, const struct errmsg *why, struct exits *e)
{
	if (guest->accel == GUEST_ACCEL_TCG)
		snprintf(e->note, sizeof(e->note),
			 "no VM exits: the guest runs under TCG, not KVM");
	else if (why->code == -EINPROGRESS)
		/* Somebody reads while the programs are being loaded: this guest is one. */
		snprintf(e->note, sizeof(e->note),
			 "no VM exits yet: counting is just beginning; read again in a moment");
	else
		snprintf(e->note, sizeof(e->note), "no VM exits: %s", why->text);
	return 0;
}

/* Since the mount, the discovery or the last reset. */
static int with_lock__show_all(struct exits_counter *c, const struct guest *guest,
			       const struct exits_raw *raw, pid_t tid, struct exits *e)
{
	const struct base *base = with_lock__base_of(c, guest->serial);
	int r = exits_raw_show(raw, base ? &base->raw : NULL, (uint32_t)tid, c->plan, e);

	if (base)
		e->since_ns = base->since_ns;
	return r;
}

/* A copy that is older than the guest may have counts of another process that had its pid. */
static int with_lock__show_recent(struct exits_counter *c, const struct guest *guest,
				  const struct exits_raw *raw, pid_t tid, struct exits *e)
{
	const struct base *base = with_lock__base_of(c, guest->serial);
	uint64_t found_ns = base ? base->found_ns : 0;
	struct exits_raw before;
	int r = exits_window_begin(&c->window, (uint32_t)guest->pid, raw->taken_ns, &before);

	if (r == -ENOENT) {
		snprintf(e->note, sizeof(e->note), "no VM exits of the last seconds: %s",
			 c->window.next_ns ? "there are too many counts to keep copies of"
					   : "counting has only begun");
		return 0;
	}
	if (r < 0)
		return r;
	e->since_ns = before.taken_ns;
	if (before.taken_ns < found_ns) {
		e->since_ns = found_ns;
		before.thread_count = before.row_count = 0;
	}
	r = exits_raw_show(raw, &before, (uint32_t)tid, c->plan, e);
	exits_raw_deinit(&before);
	return r;
}

static int show(struct exits_counter *c, struct exits_source *source, const struct guest *guest,
		pid_t tid, struct exits *e)
{
	struct exits_raw raw = {0};
	int r = source->ops->read(source, (uint32_t)guest->pid, &raw);

	if (r < 0)
		return r;
	mutex_lock(&c->lock);
	r = e->recent ? with_lock__show_recent(c, guest, &raw, tid, e)
		      : with_lock__show_all(c, guest, &raw, tid, e);
	mutex_unlock(&c->lock);
	exits_raw_deinit(&raw);
	snprintf(e->engine, sizeof(e->engine), "%s", source->ops->name);
	return r;
}

int exits_take(struct exits_counter *c, const struct guest *guest, pid_t tid, bool recent,
	       struct exits **ret)
{
	struct exits *e = calloc(1, sizeof(*e));
	struct errmsg why = {0};
	struct exits_source *source = engine_of(c, &why);
	int r;

	if (!e)
		return -ENOMEM;
	e->recent = recent;
	if (!source || guest->accel == GUEST_ACCEL_TCG)
		r = without_engine(guest, &why, e);
	else
		r = show(c, source, guest, tid, e);
	if (r < 0) {
		exits_free(e);
		return r;
	}
	*ret = e;
	return 0;
}

int exits_reset(struct exits_counter *c, const struct guest *guest)
{
	struct exits_source *source = engine_of(c, NULL);
	struct exits_raw raw = {0};
	int r = source ? source->ops->read(source, (uint32_t)guest->pid, &raw) : 0;

	if (!source || r < 0)
		return r;
	mutex_lock(&c->lock);
	r = with_lock__set_base(c, guest, &raw);
	mutex_unlock(&c->lock);
	exits_raw_deinit(&raw);
	return r;
}

static uint64_t exits_before(const struct exits_raw *raw, uint32_t tid, uint64_t began,
			     int32_t event)
{
	const struct exits_thread *t = exits_raw_find(raw, tid, began);

	return t ? t->events[event] : 0;
}

int exits_of_thread(struct exits_counter *c, const struct guest *guest, pid_t tid, uint64_t *ret)
{
	struct exits_source *source = engine_of(c, NULL);
	struct exits_thread t;
	const struct base *base;
	uint64_t before;
	int32_t event;

	if (!source || c->plan->fields.exit < 0 ||
	    source->ops->read_thread(source, (uint32_t)tid, &t) < 0 || !t.entered ||
	    t.tgid != (uint32_t)guest->pid)
		return -ENODATA;
	event = c->plan->fields.exit;
	mutex_lock(&c->lock);
	base = with_lock__base_of(c, guest->serial);
	before = base ? exits_before(&base->raw, (uint32_t)tid, t.began, event) : 0;
	mutex_unlock(&c->lock);
	/* It may have been reset since the entry was read. */
	*ret = t.events[event] > before ? t.events[event] - before : 0;
	return 0;
}

static int compare_tids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

static int list_threads(const struct exits_raw *raw, pid_t **ret)
{
	pid_t *list = calloc(raw->thread_count + 1, sizeof(*list));
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < raw->thread_count; i++) {
		const struct exits_raw_thread *th = &raw->threads[i];

		if (th->tid && th->t.vcpu && th->t.run != EXITS_GONE)
			list[n++] = (pid_t)th->tid;
	}
	qsort(list, n, sizeof(*list), compare_tids);
	*ret = list;
	return (int)n;
}

int exits_vcpu_threads(struct exits_counter *c, const struct guest *guest, pid_t **ret)
{
	struct exits_source *source = engine_of(c, NULL);
	struct exits_raw raw = {0};
	int r;

	if (source && guest->accel != GUEST_ACCEL_TCG) {
		r = source->ops->read(source, (uint32_t)guest->pid, &raw);
		if (r < 0)
			return r;
	}
	r = list_threads(&raw, ret);
	exits_raw_deinit(&raw);
	return r;
}
