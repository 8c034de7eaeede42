#include "profiler/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "profiler/cpuring.h"
#include "profiler/cpus.h"
#include "profiler/cputime.h"
#include "profiler/reader.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"

#define EPOLL_BATCH	 64
#define TICKS_PER_SECOND (NSEC_PER_SEC / ENGINE_TICK_NS)
#define FDS_BESIDE_RINGS 512 /* files that the rest of the daemon may need */

struct engine {
	struct engine_config config;
	/* Fixed before the thread starts, then its alone. */
	struct perf_plan plan;
	bool perf_runs;
	struct errmsg perf_error;
	struct cpuring *rings[CPUS_MAX];
	size_t ring_count;
	struct cpus failed; /* CPUs whose ring could not be opened; said once */
	struct reader reader;
	struct totals_delta found;
	unsigned ticks;
	uint64_t window_start_ns;
	bool tick_due;

	int epoll_fd;
	int timer_fd;
	int guests_fd;
	int stop_fd;
	bool subscribed;
	bool started;
	pthread_t thread;
};

/* ---- the rings --------------------------------------------------------------------------- */

static void tell_livedata(struct engine *e)
{
	struct perf_event_attr attr;

	if (!e->config.livedata)
		return;
	perf_plan_attr(&e->plan, &attr);
	livedata_set_perf(e->config.livedata, e->perf_runs ? &attr : NULL, e->plan.event.name,
			  perf_plan_period(&e->plan));
}

static void publish_perf(struct engine *e)
{
	totals_set_perf(e->config.totals, e->plan.event.name, e->plan.reason, e->plan.freq,
			e->plan.exact_lost, (unsigned)e->ring_count,
			e->perf_runs ? "" : e->perf_error.text);
	e->reader.exact_lost = e->plan.exact_lost;
	tell_livedata(e);
}

static int add_ring(struct engine *e, unsigned cpu, struct errmsg *why)
{
	struct cpuring *c = e->ring_count < CPUS_MAX ? malloc(sizeof(*c)) : NULL;
	int r;

	if (!c)
		return errmsg_set(why, -ENOMEM, "no memory for the ring of CPU %u", cpu);
	r = cpuring_open(c, e->config.world, &e->plan, cpu, why);
	if (r < 0) {
		free(c);
		return r;
	}
	e->rings[e->ring_count++] = c;
	return 0;
}

/* Drops the last ring of the array. */
static void drop_last_ring(struct engine *e)
{
	struct cpuring *c = e->rings[--e->ring_count];

	/* Closing alone would not do while a child that was just forked has it open, too. */
	epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	cpuring_close(c);
	free(c);
}

static void drop_ring(struct engine *e, size_t i)
{
	struct cpuring *c = e->rings[i];

	e->rings[i] = e->rings[e->ring_count - 1];
	e->rings[e->ring_count - 1] = c;
	drop_last_ring(e);
}

static void drop_rings(struct engine *e)
{
	while (e->ring_count > 0)
		drop_last_ring(e);
}

/* A descriptor for each CPU, beside what the daemon needs otherwise. */
static void raise_file_limit(size_t cpus)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= cpus + FDS_BESIDE_RINGS)
		return;
	limit.rlim_cur =
		limit.rlim_max < cpus + FDS_BESIDE_RINGS ? limit.rlim_max : cpus + FDS_BESIDE_RINGS;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int read_online(const struct engine *e, struct cpus *online, struct errmsg *why)
{
	const char *path = e->config.world->cpus_online;
	int r = cpus_read(path, online);

	return r < 0 ? errmsg_set(why, r, "cannot read %s: %s", path, strerrordesc_np(-r)) : 0;
}

static unsigned first_cpu(const struct cpus *cpus)
{
	unsigned cpu = 0;

	while (cpu < CPUS_MAX - 1 && !cpus_has(cpus, cpu))
		cpu++;
	return cpu;
}

/* A ring on every CPU of the list. One that has just gone offline is no error. */
static int add_rings(struct engine *e, const struct cpus *online, struct errmsg *why)
{
	raise_file_limit(online->count);
	for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
		int r = cpus_has(online, cpu) ? add_ring(e, cpu, why) : 0;

		if (r < 0 && r != -ENODEV) {
			drop_rings(e);
			return r;
		}
	}
	return 0;
}

static int open_perf(struct engine *e, struct errmsg *why)
{
	struct cpus online;
	int r;

	r = read_online(e, &online, why);
	if (r < 0)
		return r;
	r = perf_plan_make(e->config.world, e->config.event, e->config.freq, first_cpu(&online),
			   &e->plan, why);
	if (r < 0)
		return r;
	r = add_rings(e, &online, why);
	if (r < 0)
		return r;
	e->perf_runs = true;
	return 0;
}

/* What the user got wrong is an error; what the host refuses is one only if nothing but perf,
 * or but this event, will do. */
static bool is_fatal(const struct engine *e, int err)
{
	return err == -EINVAL || e->config.sampler == SAMPLER_PERF ||
	       strcmp(e->config.event, "auto") != 0;
}

static int settle_perf(struct engine *e, struct errmsg *why)
{
	int r;

	if (e->config.sampler == SAMPLER_QMP) {
		errmsg_set(&e->perf_error, -ENOTSUP, "not wanted: --sampler qmp");
		return 0;
	}
	r = open_perf(e, &e->perf_error);
	if (r < 0 && is_fatal(e, r)) {
		if (why)
			*why = e->perf_error;
		return r;
	}
	if (r < 0)
		log_warn("sampling over QMP alone: %s", e->perf_error.text);
	return 0;
}

/* ---- reading ----------------------------------------------------------------------------- */

static void drain(struct engine *e, struct cpuring *c)
{
	reader_drain(&e->reader, &c->ring, c->cpu, &e->found);
}

static void publish_found(struct engine *e)
{
	totals_add(e->config.totals, &e->found);
	if (e->found.lost && livedata_is_wanted(e->config.livedata))
		livedata_add_lost(e->config.livedata, e->found.lost);
	e->found = (struct totals_delta){0};
}

static void drain_all(struct engine *e)
{
	for (size_t i = 0; i < e->ring_count; i++)
		drain(e, e->rings[i]);
	publish_found(e);
}

/* ---- deciding how each guest is sampled ----------------------------------------------------- */

static void facts_of(const struct engine *e, const struct guest *g, struct choice_facts *ret)
{
	*ret = (struct choice_facts){
		.asked = e->config.sampler,
		.perf_running = e->perf_runs,
		.perf_error = e->perf_error.text,
		.freq = e->plan.freq,
		.accel = g->accel,
		.has_qmp = g->links.qmp_path[0] != '\0',
	};
}

static const char *kind_name(enum sampler_kind kind)
{
	static const char *const names[] = {"not at all", "by perf", "over QMP"};

	return names[kind];
}

static void choose(struct engine *e, const struct guest *g, struct tally *t)
{
	struct choice_facts facts;
	struct tally_clock now;
	enum sampler_kind kind;
	char note[160];

	facts_of(e, g, &facts);
	kind = choice_decide(&t->watch.choice, &facts, note);
	totals_clock(e->config.totals, &now);
	if (!tally_set_sampler(t, kind, note, clock_now_ns(), &now))
		return;
	log_at(note[0] ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "guest %d is sampled %s%s%s",
	       (int)g->pid, kind_name(kind), note[0] ? ": " : "", note);
	if (e->config.qmp_wake_fd >= 0)
		io_wake(e->config.qmp_wake_fd);
}

static void choose_all(void *ctx, const struct tally_set *set)
{
	struct engine *e = ctx;

	for (size_t i = 0; i < set->guests->count; i++)
		choose(e, set->guests->entries[i].guest, set->tallies[i]);
}

/* The CPU time that the vCPUs used in the window, into *ret. False when it is not known. They
 * are only asked while the whole process is busy: on an idle host that is one file a guest. Where
 * nobody tells which threads they are, they may be all of it. */
static bool vcpu_time(const struct guest *g, struct tally_watch *w, uint64_t length_ns,
		      uint64_t *ret)
{
	struct tally_watch old = *w;

	w->has_process = cputime_of_process(g->pid, &w->process_ns) == 0;
	w->has_vcpus = false;
	if (!w->has_process || !old.has_process ||
	    !choice_is_busy(length_ns, w->process_ns - old.process_ns))
		return false;
	if (g->vcpu_count == 0) {
		*ret = w->process_ns - old.process_ns;
		return true;
	}
	w->has_vcpus = cputime_of_vcpus(g, &w->vcpus_ns) == 0;
	if (!w->has_vcpus || !old.has_vcpus || w->vcpus_ns < old.vcpus_ns)
		return false;
	*ret = w->vcpus_ns - old.vcpus_ns;
	return true;
}

static void watch_guest(struct engine *e, const struct guest *g, struct tally *t,
			uint64_t length_ns)
{
	struct choice_window window = {.length_ns = length_ns,
				       .guest_samples = t->watch.window_samples};
	size_t vcpus = g->vcpu_count ? g->vcpu_count : 1;
	struct choice_facts facts;
	bool sees;

	facts_of(e, g, &facts);
	sees = choice_perf_sees(&facts, length_ns, vcpus, window.guest_samples);
	if (choice_doubts_state(g->state, t->watch.saw, window.guest_samples))
		guests_doubt(e->config.guests, g->serial);
	t->watch.saw = sees;
	t->watch.window_samples = 0;
	/* Without vCPUs, that it says so is all that may come of it. */
	if (!choice_is_open(&facts) || (g->vcpu_count == 0 && facts.has_qmp))
		return;
	if (sees) {
		window.cpu_ns = length_ns * vcpus;
		t->watch.has_process = false;
	} else if (!vcpu_time(g, &t->watch, length_ns, &window.cpu_ns)) {
		return;
	}
	choice_observe(&t->watch.choice, &facts, &window);
	choose(e, g, t);
}

static void watch_guests(struct engine *e)
{
	const struct tally_set *set = e->reader.set;
	uint64_t now = clock_now_ns();
	uint64_t length = now - e->window_start_ns;

	if (length < choice_window_ns(e->plan.freq))
		return;
	e->window_start_ns = now;
	for (size_t i = 0; i < set->guests->count; i++)
		watch_guest(e, set->guests->entries[i].guest, set->tallies[i], length);
}

/* ---- boot code where a kernel should run -------------------------------------------------- */

static void look_for_boot(struct engine *e, const struct guest_entry *entry, struct bootwatch *w)
{
	bool is_new = bootwatch_is_new(w, entry->epoch) && e->config.has_symbols &&
		      e->config.has_symbols(e->config.ctx, entry->guest->serial, entry->epoch);

	bootwatch_next(w, is_new);
	if (is_new)
		guests_new_epoch(e->config.guests, entry->guest->serial, entry->epoch,
				 BOOTWATCH_REASON);
}

static void look_for_names(struct engine *e, const struct guest_entry *entry, struct stalewatch *w)
{
	if (e->config.look_for_names && stalewatch_is_full(w, entry->epoch))
		e->config.look_for_names(e->config.ctx, entry->guest->serial, entry->epoch, w);
}

static void end_tick(struct engine *e)
{
	const struct tally_set *set = e->reader.set;

	for (size_t i = 0; i < set->guests->count; i++) {
		struct tally_watch *w = &set->tallies[i]->watch;

		look_for_boot(e, &set->guests->entries[i], &w->boot);
		look_for_names(e, &set->guests->entries[i], &w->names);
	}
}

/* ---- once a second: lost samples, CPUs that come and go, the vPMU --------------------------- */

/* Reads what is left and what was lost. True when the ring is to be closed. */
static bool check_ring(struct engine *e, struct cpuring *c, const struct cpus *online)
{
	bool dead = false;

	e->found.lost += cpuring_new_lost(c, &e->plan, &dead);
	if (!dead && !c->hung_up && cpus_has(online, c->cpu))
		return false;
	drain(e, c);
	return true;
}

static int watch_ring(struct engine *e, struct cpuring *c, struct errmsg *why)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	int r = cpuring_start(c, &e->plan, why);

	if (r < 0)
		return r;
	if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		return errmsg_set(why, -errno, "epoll_ctl: %s", strerrordesc_np(errno));
	return 0;
}

static bool has_ring(const struct engine *e, unsigned cpu)
{
	for (size_t i = 0; i < e->ring_count; i++) {
		if (e->rings[i]->cpu == cpu)
			return true;
	}
	return false;
}

static void add_late_ring(struct engine *e, unsigned cpu)
{
	struct errmsg why = {0};
	int r = add_ring(e, cpu, &why);

	if (r == 0) {
		r = watch_ring(e, e->rings[e->ring_count - 1], &why);
		if (r < 0)
			drop_last_ring(e);
	}
	if (r < 0 && !cpus_has(&e->failed, cpu))
		log_warn("CPU %u is not sampled: %s", cpu, why.text);
	if (r < 0)
		e->failed.bits[cpu / 64] |= 1ULL << (cpu % 64);
	else
		e->failed.bits[cpu / 64] &= ~(1ULL << (cpu % 64));
}

static void follow_cpus(struct engine *e)
{
	size_t before = e->ring_count;
	struct cpus online;

	if (read_online(e, &online, NULL) < 0)
		return;
	for (size_t i = e->ring_count; i > 0; i--) {
		if (check_ring(e, e->rings[i - 1], &online))
			drop_ring(e, i - 1);
	}
	if (e->ring_count != online.count) {
		for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
			if (cpus_has(&online, cpu) && !has_ring(e, cpu))
				add_late_ring(e, cpu);
		}
	}
	publish_found(e);
	if (e->ring_count != before)
		publish_perf(e);
}

static void watch_rings(struct engine *e)
{
	for (size_t i = e->ring_count; i > 0; i--) {
		struct errmsg why;

		if (watch_ring(e, e->rings[i - 1], &why) == 0)
			continue;
		log_warn("CPU %u is not sampled: %s", e->rings[i - 1]->cpu, why.text);
		drop_ring(e, i - 1);
	}
}

/* KVM was loaded with a mediated vPMU after we had opened a hardware event: let go of it at
 * once, or VMs cannot start. auto then finds another event. */
static void yield_counters(struct engine *e)
{
	const char *parameter;
	bool was_auto = e->plan.reason[0] != '\0';

	if (!e->plan.event.core_pmu || !perf_vpmu_is_mediated(e->config.world, &parameter))
		return;
	drop_rings(e);
	e->perf_runs = false;
	errmsg_set(&e->perf_error, -EBUSY,
		   "%s is on, and event '%s' would keep VMs from starting; use -e cpu-clock",
		   parameter, e->plan.event.name);
	log_warn("%s", e->perf_error.text);
	if (was_auto && open_perf(e, &e->perf_error) == 0)
		watch_rings(e);
	publish_perf(e);
	choose_all(e, e->reader.set);
}

/* ---- the thread -------------------------------------------------------------------------- */

/* Guests that are not sampled any more would keep what others need. */
static void expire_recent(struct engine *e)
{
	const struct tally_set *set = e->reader.set;
	uint64_t now = clock_now_ns();

	for (size_t i = 0; i < set->guests->count; i++)
		tally_expire(set->tallies[i], now);
}

static void tick(struct engine *e)
{
	e->tick_due = false;
	drain_all(e);
	if (livedata_is_wanted(e->config.livedata))
		livedata_end_round(e->config.livedata);
	reader_refresh(&e->reader);
	end_tick(e);
	watch_guests(e);
	if (++e->ticks % TICKS_PER_SECOND != 0)
		return;
	expire_recent(e);
	if (e->perf_runs) {
		follow_cpus(e);
		yield_counters(e);
	}
}

/* A ring that hangs up has ended; whether its CPU comes back is seen once a second. */
static void on_ring(struct engine *e, struct cpuring *c, uint32_t events)
{
	if (events & (EPOLLHUP | EPOLLERR)) {
		epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
		c->hung_up = true;
	}
	drain(e, c);
}

static void on_timer(struct engine *e)
{
	uint64_t expirations;

	if (read(e->timer_fd, &expirations, sizeof(expirations)) > 0)
		e->tick_due = true;
}

static void on_guests(struct engine *e)
{
	io_wake_clear(e->guests_fd);
	reader_refresh(&e->reader);
}

/* False: the order to stop. */
static bool on_event(struct engine *e, const struct epoll_event *ev)
{
	if (ev->data.ptr == &e->stop_fd)
		return false;
	if (ev->data.ptr == &e->timer_fd)
		on_timer(e);
	else if (ev->data.ptr == &e->guests_fd)
		on_guests(e);
	else
		on_ring(e, ev->data.ptr, ev->events);
	return true;
}

static void *engine_main(void *arg)
{
	struct epoll_event events[EPOLL_BATCH];
	struct engine *e = arg;
	int n;

	e->window_start_ns = clock_now_ns();
	choose_all(e, e->reader.set);
	for (;;) {
		n = epoll_wait(e->epoll_fd, events, EPOLL_BATCH, -1);
		for (int i = 0; i < n; i++) {
			if (!on_event(e, &events[i]))
				return NULL;
		}
		publish_found(e);
		/* Last, since it closes rings that an event may still point at. */
		if (e->tick_due)
			tick(e);
	}
}

/* ---- life -------------------------------------------------------------------------------- */

static int add_fd(struct engine *e, int *fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = fd};

	return epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, *fd, &ev) < 0 ? -errno : 0;
}

static int make_fds(struct engine *e)
{
	int r;

	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (e->epoll_fd < 0 || e->timer_fd < 0)
		return -errno;
	e->guests_fd = io_wake_create();
	e->stop_fd = io_wake_create();
	if (e->guests_fd < 0 || e->stop_fd < 0)
		return e->guests_fd < 0 ? e->guests_fd : e->stop_fd;
	r = add_fd(e, &e->timer_fd);
	if (r == 0)
		r = add_fd(e, &e->guests_fd);
	return r < 0 ? r : add_fd(e, &e->stop_fd);
}

int engine_create(const struct engine_config *config, struct engine **ret, struct errmsg *why)
{
	struct engine *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return errmsg_set(why, -ENOMEM, "no memory for the sampling engine");
	e->config = *config;
	if (!e->config.freq)
		e->config.freq = perf_default_freq(config->world);
	e->plan.freq = e->config.freq;
	e->epoll_fd = e->timer_fd = e->guests_fd = e->stop_fd = -1;
	r = reader_init(&e->reader, config->tallies);
	if (r == 0)
		r = make_fds(e);
	if (r < 0)
		errmsg_set(why, r, "sampling engine: %s", strerrordesc_np(-r));
	else
		r = settle_perf(e, why);
	if (r < 0) {
		engine_destroy(e);
		return r;
	}
	e->reader.livedata = config->livedata;
	e->reader.on_set = choose_all;
	e->reader.ctx = e;
	publish_perf(e);
	*ret = e;
	return 0;
}

void engine_destroy(struct engine *e)
{
	if (!e)
		return;
	drop_rings(e);
	reader_deinit(&e->reader);
	close_keep_errno(e->stop_fd);
	close_keep_errno(e->guests_fd);
	close_keep_errno(e->timer_fd);
	close_keep_errno(e->epoll_fd);
	free(e);
}

/* Without rings there is nothing to be done at intervals. */
static int start_timer(struct engine *e)
{
	struct itimerspec spec = {.it_interval.tv_nsec = (long)ENGINE_TICK_NS,
				  .it_value.tv_nsec = (long)ENGINE_TICK_NS};

	if (e->ring_count == 0)
		return 0;
	return timerfd_settime(e->timer_fd, 0, &spec, NULL) < 0 ? -errno : 0;
}

int engine_start(struct engine *e, struct errmsg *why)
{
	int r;

	for (size_t i = 0; i < e->ring_count; i++) {
		r = watch_ring(e, e->rings[i], why);
		if (r < 0)
			return r;
	}
	r = start_timer(e);
	if (r == 0)
		r = guests_subscribe(e->config.guests, e->guests_fd);
	e->subscribed = r == 0;
	if (r == 0)
		r = thread_start(&e->thread, "kp-engine", engine_main, e);
	if (r < 0) {
		engine_stop(e);
		return errmsg_set(why, r, "cannot start the sampling engine: %s",
				  strerrordesc_np(-r));
	}
	e->started = true;
	return 0;
}

void engine_stop(struct engine *e)
{
	if (e->subscribed)
		guests_unsubscribe(e->config.guests, e->guests_fd);
	e->subscribed = false;
	if (!e->started)
		return;
	io_wake(e->stop_fd);
	pthread_join(e->thread, NULL);
	e->started = false;
}
