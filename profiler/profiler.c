#include "profiler/profiler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "profiler/engine.h"
#include "profiler/exits/exits.h"
#include "profiler/livedata.h"
#include "profiler/qmpsampler.h"
#include "profiler/qmpstats.h"
#include "profiler/recorded.h"
#include "profiler/resolve.h"
#include "profiler/shares.h"
#include "profiler/snapshots.h"
#include "profiler/statlog.h"
#include "profiler/tallies.h"
#include "profiler/totals.h"
#include "profiler/trace.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"

#define QMP_EVENT_NAME "registers over QMP"

struct profiler {
	struct symsrc *symsrc;
	struct totals totals;
	struct tallies *tallies;
	struct qmpsampler *qmp;
	struct engine *engine;
	struct trace *trace;
	struct livedata *livedata;
	bool livedata_subscribed;
	struct statlog *statlog;
	struct exits_counter *exits;
	struct qmpstats *qmpstats;
	struct recording *recording; /* NULL: live; else none of the above but totals and tallies */
};

static void clock_of(void *ctx, struct tally_clock *ret)
{
	struct profiler *p = ctx;

	totals_clock(&p->totals, ret);
}

static bool has_symbols(void *ctx, uint64_t serial, uint32_t epoch)
{
	struct profiler *p = ctx;
	const struct symbols *s = symsrc_symbols(p->symsrc, serial, epoch);

	symbols_put(s);
	return s != NULL;
}

static void recovered(void *ctx, uint64_t serial)
{
	struct profiler *p = ctx;

	symsrc_refresh(p->symsrc, serial);
}

static void port_opened(void *ctx, uint64_t serial)
{
	struct profiler *p = ctx;

	symsrc_look(p->symsrc, serial);
}

static unsigned count_known(const struct symbols *s, const struct stalewatch *w)
{
	struct symtab_hit hit;
	unsigned known = 0;

	for (unsigned i = 0; i < w->count; i++)
		known += symtab_find(s->table, w->ips[i], &hit);
	return known;
}

/* Addresses without names, or with names that nobody has proven, may tell where the kernel runs
 * (symsrc_offer_addresses()). */
static void look_for_names(void *ctx, uint64_t serial, uint32_t epoch, struct stalewatch *w)
{
	struct profiler *p = ctx;
	const struct symbols *s = symsrc_symbols(p->symsrc, serial, epoch);
	unsigned known = s ? count_known(s, w) : 0;

	if (stalewatch_has_lost(known) || (s && s->unproven))
		symsrc_offer_addresses(p->symsrc, serial, epoch, w->ips, w->count);
	/* Where the modules' symbols are missing, they may be what runs. */
	if (s)
		symsrc_set_misfit(p->symsrc, serial, epoch,
				  w->knew && !s->partial && stalewatch_has_lost(known));
	if (!s)
		stalewatch_drop(w);
	else if (stalewatch_judge(w, known, clock_now_ns()))
		symsrc_refresh(p->symsrc, serial);
	symbols_put(s);
}

static const struct symbols *symbols_of(void *ctx, uint64_t serial, uint32_t epoch)
{
	struct profiler *p = ctx;

	return symsrc_symbols(p->symsrc, serial, epoch);
}

static void on_retired(void *ctx, uint64_t serial, uint32_t epoch, const struct retired *retired)
{
	struct profiler *p = ctx;
	const struct tally_set *set = tallies_acquire(p->tallies);
	struct tally *t = tally_set_find(set, serial);

	if (t)
		tally_retire(t, epoch, retired, clock_now_ns());
	tally_set_put(set);
}

static int create_livedata(struct profiler *p, struct errmsg *why)
{
	struct livedata_config config = {
		.guests = symsrc_guests(p->symsrc),
		.symbols_of = symbols_of,
		.ctx = p,
		.kallsyms = "/proc/kallsyms",
	};

	return livedata_create(&config, &p->livedata, why);
}

static int create_samplers(struct profiler *p, const struct profiler_config *config,
			   struct errmsg *why)
{
	struct qmpsampler_config qmp = {
		.guests = symsrc_guests(p->symsrc),
		.tallies = p->tallies,
		.totals = &p->totals,
		.livedata = p->livedata,
		.has_symbols = has_symbols,
		.recovered = recovered,
		.port_opened = port_opened,
		.look_for_names = look_for_names,
		.ctx = p,
		.freq = config->freq,
	};
	struct engine_config engine = {
		.world = &perf_world_real,
		.sampler = config->sampler,
		.event = config->event,
		.freq = config->freq,
		.guests = qmp.guests,
		.tallies = p->tallies,
		.totals = &p->totals,
		.livedata = p->livedata,
		.has_symbols = has_symbols,
		.look_for_names = look_for_names,
		.ctx = p,
	};
	int r = qmpsampler_create(&qmp, &p->qmp, why);

	if (r < 0)
		return r;
	engine.qmp_wake_fd = qmpsampler_wake_fd(p->qmp);
	return engine_create(&engine, &p->engine, why);
}

static int create_trace(struct profiler *p, struct errmsg *why)
{
	struct trace_config config = {
		.proc = "/proc",
		.guests = symsrc_guests(p->symsrc),
	};
	int r;

	p->statlog = statlog_create();
	if (!p->statlog)
		return errmsg_set(why, -ENOMEM, "no memory for the profiler");
	r = qmpstats_create(config.guests, &p->qmpstats, why);
	return r < 0 ? r : trace_create(&config, &p->trace, why);
}

static void fill_from_recording(struct profiler *p)
{
	const struct tally_set *set = tallies_acquire(p->tallies);

	recorded_fill(p->recording, set, &p->totals);
	tally_set_put(set);
}

static int create_live(struct profiler *p, const struct profiler_config *config, struct errmsg *why)
{
	int r = create_livedata(p, why);

	if (r == 0)
		r = create_samplers(p, config, why);
	if (r == 0)
		r = create_trace(p, why);
	if (r == 0)
		symsrc_on_retired(p->symsrc, on_retired, p);
	if (r == 0 && exits_create(symsrc_guests(p->symsrc), config->exits, &p->exits) < 0)
		r = errmsg_set(why, -ENOMEM, "no memory for the profiler");
	return r;
}

int profiler_create(const struct profiler_config *config, struct symsrc *symsrc,
		    struct profiler **ret, struct errmsg *why)
{
	struct profiler *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return errmsg_set(why, -ENOMEM, "no memory for the profiler");
	p->symsrc = symsrc;
	totals_init(&p->totals);
	p->tallies = tallies_create(symsrc_guests(symsrc), clock_of, p);
	p->recording = config->recording;
	r = p->tallies ? 0 : errmsg_set(why, -ENOMEM, "no memory for the profiler");
	if (r == 0 && p->recording)
		fill_from_recording(p);
	else if (r == 0)
		r = create_live(p, config, why);
	if (r < 0) {
		profiler_destroy(p);
		return r;
	}
	*ret = p;
	return 0;
}

static int start_livedata(struct profiler *p, struct errmsg *why)
{
	int r = symsrc_subscribe(p->symsrc, livedata_wake_fd(p->livedata));

	if (r < 0)
		return errmsg_set(why, r, "recordings: %s", strerrordesc_np(-r));
	p->livedata_subscribed = true;
	return livedata_start(p->livedata, why);
}

static void log_sampling(struct profiler *p)
{
	struct profiler_totals t;

	profiler_totals(p, &t);
	if (t.perf_running)
		log_debug("perf: %s at %u Hz on %u CPUs%s%s", t.event, t.freq, t.cpus,
			  t.event_reason[0] ? ": " : "", t.event_reason);
	else
		log_debug("perf does not run: %s", t.perf_error[0] ? t.perf_error : "off");
}

int profiler_start(struct profiler *p, struct errmsg *why)
{
	int r = p->recording ? 0 : qmpsampler_start(p->qmp, why);

	if (p->recording)
		return 0;

	if (r < 0)
		return r;
	log_sampling(p);
	r = engine_start(p->engine, why);
	if (r == 0)
		r = start_livedata(p, why);
	if (r == 0)
		r = trace_start(p->trace, why);
	if (r == 0)
		r = exits_start(p->exits, why);
	if (r == 0)
		r = qmpstats_start(p->qmpstats, why);
	if (r < 0)
		profiler_stop(p);
	return r;
}

void profiler_stop(struct profiler *p)
{
	if (p->recording)
		return;
	qmpstats_stop(p->qmpstats);
	trace_stop(p->trace);
	exits_stop(p->exits);
	engine_stop(p->engine);
	qmpsampler_stop(p->qmp);
	if (p->livedata_subscribed)
		symsrc_unsubscribe(p->symsrc, livedata_wake_fd(p->livedata));
	p->livedata_subscribed = false;
	livedata_stop(p->livedata);
}

void profiler_destroy(struct profiler *p)
{
	if (!p)
		return;
	trace_destroy(p->trace);
	qmpstats_destroy(p->qmpstats);
	statlog_destroy(p->statlog);
	exits_destroy(p->exits);
	engine_destroy(p->engine);
	qmpsampler_destroy(p->qmp);
	livedata_destroy(p->livedata);
	tallies_destroy(p->tallies);
	totals_deinit(&p->totals);
	free(p);
}

void profiler_totals(struct profiler *p, struct profiler_totals *ret)
{
	const struct tally_memory *memory = tallies_memory(p->tallies);

	totals_get(&p->totals, ret);
	ret->snapshots = atomic_load(&memory->snapshots_held);
	ret->snapshot_bytes = TALLIES_SNAPSHOTS_MAX - atomic_load(&memory->snapshots.left);
	ret->recording = p->recording;
	if (p->recording)
		snprintf(ret->exits.engine, sizeof(ret->exits.engine), "none: a recording");
	else
		exits_state(p->exits, &ret->exits);
}

const struct recording *profiler_recording(const struct profiler *p)
{
	return p->recording;
}

/* The guest's tally with a reference, or NULL. ret_guest (may be NULL) with one likewise. */
static struct tally *find(struct profiler *p, uint64_t serial, const struct guest **ret_guest)
{
	const struct tally_set *set = tallies_acquire(p->tallies);
	const struct guest_entry *entry = guest_set_find_serial(set->guests, serial);
	struct tally *t = NULL;

	if (entry) {
		t = tally_get(set->tallies[entry - set->guests->entries]);
		if (ret_guest)
			*ret_guest = guest_get(entry->guest);
	}
	tally_set_put(set);
	return t;
}

static void host_shares(struct profiler *p, struct profiler_shares *ret)
{
	mutex_lock(&p->totals.lock);
	*ret = (struct profiler_shares){
		.host_kernel = p->totals.door.host_kernel,
		.host_user = p->totals.door.host_user,
		.guest_kernel = p->totals.guest_kernel,
		.guest_user = p->totals.guest_user,
		.total = p->totals.door.samples,
		.lost = p->totals.door.lost,
		.no_perf = !p->totals.door.perf_running && !p->totals.door.samples,
	};
	mutex_unlock(&p->totals.lock);
}

static int guest_shares(struct profiler *p, struct tally *t, struct profiler_shares *ret)
{
	struct profiler_totals totals;
	struct shares_host host;
	struct tally_copy copy;
	struct tally_clock now;
	int r;

	profiler_totals(p, &totals);
	totals_clock(&p->totals, &now);
	r = tally_copy(t, -1, false, &now, &copy);
	if (r < 0)
		return r;
	host = (struct shares_host){
		.perf_running = totals.perf_running,
		.freq = totals.freq,
		.cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
		.elapsed_ns = clock_now_ns() - copy.since_ns,
	};
	shares_make(&copy, &host, ret);
	ret->no_perf = !totals.perf_running && !totals.samples;
	tally_copy_deinit(&copy);
	return 0;
}

/* What perf counts as the VMM's own is the guest's where registers tell more. */
static int add_qmp_guests(struct profiler *p, struct profiler_shares *host)
{
	const struct tally_set *set = tallies_acquire(p->tallies);
	int r = 0;

	for (size_t i = 0; r == 0 && i < set->guests->count; i++) {
		struct profiler_shares s;

		if (tally_sampler(set->tallies[i]) != SAMPLER_KIND_QMP)
			continue;
		r = guest_shares(p, set->tallies[i], &s);
		if (r == 0)
			shares_move(&s, host);
	}
	tally_set_put(set);
	return r;
}

int profiler_shares(struct profiler *p, uint64_t serial, struct profiler_shares *ret)
{
	struct tally *t;
	int r;

	if (serial == 0) {
		host_shares(p, ret);
		return add_qmp_guests(p, ret);
	}
	t = find(p, serial, NULL);
	if (!t)
		return -ESRCH;
	r = guest_shares(p, t, ret);
	tally_put(t);
	return r;
}

static unsigned freq_of(const struct tally_copy *copy, const struct profiler_totals *totals)
{
	switch (copy->sampler) {
	case SAMPLER_KIND_QMP: return copy->qmp_hz;
	case SAMPLER_KIND_PERF: return totals->perf_running ? totals->freq : 0;
	case SAMPLER_KIND_RECORDING: return totals->freq;
	case SAMPLER_KIND_NONE: break;
	}
	return 0;
}

static void sum_counts(const struct tally_copy *copy, struct profiler_counts *c)
{
	c->guest_kernel = copy->forgotten.kernel;
	c->guest_user = copy->forgotten.user;
	for (unsigned i = 0; i < copy->epoch_count; i++) {
		c->guest_kernel += copy->epochs[i].kernel;
		c->guest_user += copy->epochs[i].user;
	}
	c->host_kernel = copy->host_kernel;
	c->host_user = copy->host_user;
}

int profiler_counts(struct profiler *p, uint64_t serial, struct profiler_counts *ret)
{
	struct tally *t = find(p, serial, NULL);
	struct profiler_totals totals;
	struct tally_copy copy;
	struct tally_clock now;
	int r;

	if (!t)
		return -ESRCH;
	profiler_totals(p, &totals);
	totals_clock(&p->totals, &now);
	r = tally_copy(t, -1, false, &now, &copy);
	tally_put(t);
	if (r < 0)
		return r;
	*ret = (struct profiler_counts){
		.sampler = copy.sampler, .freq = freq_of(&copy, &totals), .paused = copy.paused};
	sum_counts(&copy, ret);
	tally_copy_deinit(&copy);
	return 0;
}

/* Samples are filed as the rings are drained. */
#define FILED_LATE_NS (2 * ENGINE_TICK_NS)

bool profiler_has_news(struct profiler *p, uint64_t serial, uint64_t since_ns)
{
	struct tally *t;
	uint64_t news_ns;

	if (serial == 0)
		return totals_news_ns(&p->totals) > since_ns;
	t = find(p, serial, NULL);
	if (!t)
		return false;
	news_ns = tally_news_ns(t);
	tally_put(t);
	return news_ns && news_ns + FILED_LATE_NS > since_ns;
}

static struct profiler_vcpu *list_vcpus(struct profiler *p, const struct guest *g, struct tally *t)
{
	struct profiler_vcpu *list = calloc(g->vcpu_count + 1, sizeof(*list));

	for (size_t i = 0; list && i < g->vcpu_count; i++) {
		struct tally_vcpu v = tally_vcpu(t, g->vcpus[i].index);

		list[i] = (struct profiler_vcpu){.index = g->vcpus[i].index,
						 .tid = g->vcpus[i].tid,
						 .kernel = v.kernel,
						 .user = v.user};
		list[i].has_exits = !p->recording && exits_of_thread(p->exits, g, g->vcpus[i].tid,
								     &list[i].exits) == 0;
	}
	return list;
}

static int list_unnumbered(struct profiler *p, const struct guest *g, struct profiler_vcpu **ret)
{
	CLEANUP_FREE pid_t *tids = NULL;
	int n = exits_vcpu_threads(p->exits, g, &tids);
	struct profiler_vcpu *list = n < 0 ? NULL : calloc((size_t)n + 1, sizeof(*list));

	for (int i = 0; list && i < n; i++) {
		list[i] = (struct profiler_vcpu){.unnumbered = true, .tid = tids[i]};
		list[i].has_exits = exits_of_thread(p->exits, g, tids[i], &list[i].exits) == 0;
	}
	if (n >= 0 && !list)
		n = -ENOMEM;
	if (n >= 0)
		*ret = list;
	return n;
}

int profiler_vcpus(struct profiler *p, uint64_t serial, struct profiler_vcpu **ret)
{
	const struct guest *g;
	struct tally *t = find(p, serial, &g);
	struct profiler_vcpu *list = NULL;
	int count;

	if (!t)
		return -ESRCH;
	if (g->vcpu_count == 0 && !p->recording) {
		count = list_unnumbered(p, g, &list);
	} else {
		list = list_vcpus(p, g, t);
		count = list ? (int)g->vcpu_count : -ENOMEM;
	}
	if (count >= 0)
		*ret = list;
	guest_put(g);
	tally_put(t);
	return count;
}

int profiler_reset(struct profiler *p, uint64_t serial)
{
	const struct guest *g;
	struct tally *t = find(p, serial, &g);
	struct tally_clock now;
	int r;

	if (!t)
		return -ESRCH;
	if (p->recording) {
		guest_put(g);
		tally_put(t);
		return -EOPNOTSUPP;
	}
	totals_clock(&p->totals, &now);
	tally_reset(t, clock_now_ns(), &now);
	tally_put(t);
	r = exits_reset(p->exits, g);
	guest_put(g);
	return r;
}

int profiler_pause(struct profiler *p, uint64_t serial, bool paused)
{
	struct tally *t = p->recording ? NULL : find(p, serial, NULL);
	struct tally_clock now;

	if (!t)
		return p->recording ? -EOPNOTSUPP : -ESRCH;
	totals_clock(&p->totals, &now);
	tally_pause(t, paused, clock_now_ns(), &now);
	tally_put(t);
	return 0;
}

/* Since the process began; guest->start is in clock ticks of CLOCK_BOOTTIME (proc_pid_stat(5)). */
static uint64_t age_ns(const struct guest *g)
{
	uint64_t start_ns = g->start * (NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
	struct timespec ts;
	uint64_t now_ns;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	now_ns = (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
	return now_ns > start_ns ? now_ns - start_ns : 0;
}

static void fill_span(const struct guest *g, struct profiler_reading *r)
{
	r->span_ns = r->before.taken_ns ? r->now.taken_ns - r->before.taken_ns : age_ns(g);
}

static void read_debugfs(struct profiler *p, const struct guest_set *set, const struct guest *g,
			 struct profiler_stats *s)
{
	struct profiler_reading *r = &s->debugfs;

	if (kvmstats_read("/sys/kernel/debug", "/proc", g->pid, &r->now, &s->debugfs_error) < 0) {
		r->now = (struct kvmstats){0};
		return;
	}
	if (!statlog_add(p->statlog, set, g->serial, &r->now, &r->before))
		r->before = (struct kvmstats){0};
	fill_span(g, r);
}

static int read_stats(struct profiler *p, const struct guest_set *set, const struct guest *g,
		      struct profiler_stats *s, struct errmsg *why)
{
	if (g->accel == GUEST_ACCEL_TCG)
		return errmsg_set(why, -EOPNOTSUPP,
				  "no counters: under TCG the guest runs without KVM");
	read_debugfs(p, set, g, s);
	s->has_qmp = g->links.qmp_path[0];
	if (s->has_qmp && qmpstats_get(p->qmpstats, g->serial, &s->qmp.now, &s->qmp.before))
		fill_span(g, &s->qmp);
	return 0;
}

int profiler_stats(struct profiler *p, uint64_t serial, struct profiler_stats **ret,
		   struct errmsg *why)
{
	const struct guest_set *set = guests_acquire(symsrc_guests(p->symsrc));
	const struct guest_entry *e = guest_set_find_serial(set, serial);
	struct profiler_stats *s = calloc(1, sizeof(*s));
	int r;

	if (!e)
		r = errmsg_set(why, -ESRCH, "the guest is gone");
	else if (p->recording)
		r = errmsg_set(why, -EOPNOTSUPP, "%s", RECORDED_NO_COUNTERS);
	else if (!s)
		r = errmsg_set(why, -ENOMEM, "out of memory");
	else
		r = read_stats(p, set, e->guest, s, why);
	guest_set_put(set);
	if (r < 0)
		free(s);
	else
		*ret = s;
	return r;
}

static int feed_of_line(const char *line, int wake_fd, struct feed **ret)
{
	struct feed *feed = feed_create(strlen(line), wake_fd);

	if (!feed)
		return -ENOMEM;
	feed_write(feed, line, strlen(line));
	feed_end(feed);
	feed_put(feed); /* the writer's reference */
	*ret = feed;
	return 0;
}

int profiler_trace(struct profiler *p, uint64_t serial, int wake_fd, struct feed **ret)
{
	if (p->recording)
		return feed_of_line("# " RECORDED_NO_EVENTS "\n", wake_fd, ret);
	return trace_open(p->trace, serial, wake_fd, ret);
}

int profiler_trace_select(struct profiler *p, uint64_t serial, const char *words, size_t n,
			  struct errmsg *why)
{
	if (p->recording)
		return errmsg_set(why, -EOPNOTSUPP, "%s", RECORDED_NO_EVENTS);
	return trace_select(p->trace, serial, words, n, why);
}

int profiler_trace_check(struct profiler *p, uint64_t serial, const char *words, size_t n,
			 struct errmsg *why)
{
	if (p->recording)
		return errmsg_set(why, -EOPNOTSUPP, "%s", RECORDED_NO_EVENTS);
	return trace_check(p->trace, serial, words, n, why);
}

void profiler_trace_selected(struct profiler *p, uint64_t serial, struct buf *out)
{
	if (!p->recording)
		trace_selected(p->trace, serial, out);
}

int profiler_record(struct profiler *p, uint64_t serial, int wake_fd, struct feed **ret)
{
	struct tally *t = serial ? find(p, serial, NULL) : NULL;
	bool registers = t && tally_sampler(t) == SAMPLER_KIND_QMP;

	tally_put(t);
	if (p->recording)
		return feed_of_line("# " RECORDED_NO_RECORD "\n", wake_fd, ret);
	return livedata_open(p->livedata, serial, registers, wake_fd, ret);
}

/* ---- exits ------------------------------------------------------------------------------- */

/* 0: of all vCPUs; -1: the guest has no such vCPU. */
static pid_t tid_of(const struct guest *g, const struct slice *slice)
{
	if (slice->vcpu == 0)
		return 0;
	for (size_t i = 0; i < g->vcpu_count; i++) {
		if ((int)g->vcpus[i].index == slice_vcpu(slice))
			return g->vcpus[i].tid;
	}
	return -1;
}

static int snapshot_exits(struct tally *t, const struct slice *slice, struct exits **ret)
{
	struct snapshot *s = snapshots_get(t->snapshots, slice->time);
	struct exits *exits = s && s->exits ? exits_dup(s->exits) : NULL;
	int r = exits ? 0 : (s && s->exits ? -ENOMEM : -ENOENT);

	snapshot_put(s);
	if (exits)
		*ret = exits;
	return r;
}

bool profiler_exits_have_news(struct profiler *p, uint64_t serial, uint64_t since_ns)
{
	const struct guest *g;
	struct tally *t = find(p, serial, &g);
	bool news;

	if (!t)
		return false;
	news = !p->recording && exits_has_news(p->exits, g, since_ns);
	guest_put(g);
	tally_put(t);
	return news;
}

static int take_exits(struct profiler *p, const struct guest *g, pid_t tid, bool recent,
		      struct exits **ret)
{
	if (!p->recording)
		return exits_take(p->exits, g, tid, recent, ret);
	*ret = recorded_exits();
	return *ret ? 0 : -ENOMEM;
}

int profiler_exits(struct profiler *p, uint64_t serial, const struct slice *slice,
		   struct exits **ret)
{
	const struct guest *g;
	struct tally *t = find(p, serial, &g);
	pid_t tid;
	int r;

	if (!t)
		return -ESRCH;
	tid = tid_of(g, slice);
	if (slice->time >= SLICE_SNAPSHOT)
		r = snapshot_exits(t, slice, ret);
	else
		r = tid < 0 ? -ESRCH : take_exits(p, g, tid, slice->time == SLICE_RECENT, ret);
	guest_put(g);
	tally_put(t);
	return r;
}

/* ---- the profile ------------------------------------------------------------------------- */

static void fill_header(struct profiler *p, const struct tally_copy *copy, struct profile *profile)
{
	struct profiler_totals totals;
	bool qmp = copy->sampler == SAMPLER_KIND_QMP;

	profiler_totals(p, &totals);
	profile->sampler = copy->sampler;
	snprintf(profile->sampler_note, sizeof(profile->sampler_note), "%s", copy->note);
	if (qmp || totals.perf_running) {
		snprintf(profile->event, sizeof(profile->event), "%s",
			 qmp ? QMP_EVENT_NAME : totals.event);
		profile->freq = qmp ? copy->qmp_hz : totals.freq;
	}
	profile->paused = copy->paused;
	profile->since_ns = copy->since_ns;
	profile->taken_ns = copy->taken_ns;
	profile->lost = qmp ? 0 : copy->elapsed.lost;
	profile->forgotten = copy->forgotten.kernel + copy->forgotten.user;
	profile->refused = copy->refused;
	if (p->recording && profile->slice.time == SLICE_RECENT)
		snprintf(profile->sampler_note, sizeof(profile->sampler_note), "%s",
			 RECORDED_NO_RECENT);
}

/* Registers have no misc bits that could contradict an address. */
static int fill_rows(struct profiler *p, uint64_t serial, struct tally_copy *copy,
		     struct profile *profile)
{
	const struct symbols *symbols[SYMSRC_EPOCHS_KEPT] = {NULL};
	int r;

	for (unsigned i = 0; i < copy->epoch_count; i++)
		symbols[i] = symsrc_symbols(p->symsrc, serial, copy->epochs[i].epoch);
	r = resolve(copy, symbols, profile);
	if (copy->sampler == SAMPLER_KIND_QMP)
		profile->contradictory = 0;
	for (unsigned i = 0; i < copy->epoch_count; i++)
		symbols_put(symbols[i]);
	return r;
}

/* Nothing is of its last 10 s, which end when it does. */
static int copy_recent_of_recording(struct tally *t, struct tally_copy *copy)
{
	const struct tally_clock now = {0};
	int r = tally_copy(t, -1, false, &now, copy);

	copy->epoch_count = 0;
	copy->forgotten = (struct tally_vcpu){0};
	copy->weight = 0;
	copy->since_ns = copy->taken_ns;
	return r;
}

/* The counts of a slice; copy goes to tally_copy_deinit(). */
static int copy_slice(struct profiler *p, struct tally *t, const struct slice *slice,
		      struct tally_copy *copy)
{
	struct tally_clock now;
	int r;

	if (slice->time == SLICE_RECENT && p->recording)
		return copy_recent_of_recording(t, copy);
	if (slice->time == SLICE_RECENT) {
		r = tally_copy_recent(t, slice_vcpu(slice), clock_now_ns(), copy);
		if (r == 0)
			copy->elapsed.lost = totals_lost_since(&p->totals, copy->since_ns);
		return r;
	}
	totals_clock(&p->totals, &now);
	return tally_copy(t, slice_vcpu(slice), true, &now, copy);
}

/* The header as it was then. */
static int copy_snapshot(struct tally *t, struct profile *profile, struct tally_copy *copy)
{
	struct snapshot *s = snapshots_get(t->snapshots, profile->slice.time);
	struct slice slice = profile->slice;
	int r = s ? tally_copy_dup(&s->copy, copy) : -ENOENT;

	if (r == 0) {
		*profile = s->header;
		profile->slice = slice;
		snprintf(profile->snapshot, sizeof(profile->snapshot), "%s", s->name);
	}
	snapshot_put(s);
	return r;
}

static int make_profile(struct profiler *p, struct tally *t, struct profile *profile)
{
	struct tally_copy copy;
	int r;

	if (profile->slice.time >= SLICE_SNAPSHOT)
		r = copy_snapshot(t, profile, &copy);
	else
		r = copy_slice(p, t, &profile->slice, &copy);
	if (r < 0)
		return r;
	if (profile->slice.time < SLICE_SNAPSHOT)
		fill_header(p, &copy, profile);
	r = fill_rows(p, t->serial, &copy, profile);
	tally_copy_deinit(&copy);
	return r;
}

int profiler_profile(struct profiler *p, uint64_t serial, const struct slice *slice,
		     struct profile **ret)
{
	struct tally *t = find(p, serial, NULL);
	struct profile *profile;
	int r = -ENOMEM;

	if (!t)
		return -ESRCH;
	profile = calloc(1, sizeof(*profile));
	if (profile) {
		profile->slice = *slice;
		r = make_profile(p, t, profile);
	}
	tally_put(t);
	if (r < 0) {
		profile_free(profile);
		return r;
	}
	*ret = profile;
	return 0;
}

/* ---- snapshots --------------------------------------------------------------------------- */

int profiler_snapshots(struct profiler *p, uint64_t serial, struct profiler_snapshot **ret)
{
	struct tally *t = find(p, serial, NULL);
	struct profiler_snapshot *list;
	int n = -ENOMEM;

	if (!t)
		return -ESRCH;
	list = calloc(SNAPSHOTS_MAX, sizeof(*list));
	if (list) {
		n = (int)snapshots_list(t->snapshots, list);
		*ret = list;
	}
	tally_put(t);
	return n;
}

/* NULL: there is no room, or no memory. */
static struct snapshot *freeze(struct profiler *p, struct tally *t, const char *name)
{
	const struct slice all = {0};
	struct profile header = {0};
	struct exits *exits = NULL;
	struct tally_copy copy;

	if (copy_slice(p, t, &all, &copy) < 0)
		return NULL;
	fill_header(p, &copy, &header);
	profiler_exits(p, t->serial, &all, &exits);
	return snapshot_create(name, &header, &copy, exits, tallies_memory(p->tallies));
}

static void note_refusal(struct profiler *p, const struct guest *g, const char *why)
{
	mutex_lock(&p->totals.lock);
	snprintf(p->totals.door.snapshot_refused, sizeof(p->totals.door.snapshot_refused),
		 "guest %d: %s", (int)g->pid, why);
	mutex_unlock(&p->totals.lock);
}

static int make_snapshot(struct profiler *p, const struct guest *g, struct tally *t,
			 const char *name)
{
	struct snapshot *s;
	int r = snapshots_check(t->snapshots, name);

	if (r == 0) {
		s = freeze(p, t, name);
		if (!s) {
			note_refusal(p, g, "no memory left for snapshots; rmdir some of any guest");
			return -ENOSPC;
		}
		r = snapshots_add(t->snapshots, s);
		snapshot_put(s);
	}
	if (r == -ENOSPC)
		note_refusal(p, g, "it has as many snapshots as a guest may have; rmdir one");
	return r;
}

int profiler_snapshot_make(struct profiler *p, uint64_t serial, const char *name)
{
	const struct guest *g;
	struct tally *t = find(p, serial, &g);
	int r;

	if (!t)
		return -ESRCH;
	r = make_snapshot(p, g, t, name);
	guest_put(g);
	tally_put(t);
	return r;
}

int profiler_snapshot_forget(struct profiler *p, uint64_t serial, const char *name)
{
	struct tally *t = find(p, serial, NULL);
	int r;

	if (!t)
		return -ESRCH;
	r = snapshots_remove(t->snapshots, name);
	tally_put(t);
	return r;
}

void profile_deinit(struct profile *profile)
{
	bulk_deinit(&profile->memory);
	profile->rows = NULL;
	profile->row_count = 0;
}

void profile_free(struct profile *profile)
{
	if (!profile)
		return;
	profile_deinit(profile);
	free(profile);
}

/* Into `to`, where most + 1 rows fit. Returns their number. */
static size_t pick_rows(const struct profile *p, size_t most, struct profile_row *to)
{
	struct profile_row unnamed = {.type = 'g',
				      .unnamed = true,
				      .symbol = PROFILE_OBJECT_UNKNOWN,
				      .object = PROFILE_OBJECT_UNKNOWN};
	size_t n = 0;

	for (size_t i = 0; i < p->row_count; i++) {
		if (p->rows[i].unnamed) {
			unnamed.samples += p->rows[i].samples;
			unnamed.weight += p->rows[i].weight;
		} else if (n < most) {
			to[n++] = p->rows[i];
		}
	}
	if (unnamed.samples)
		to[n++] = unnamed;
	return n;
}

/* Copies the string to *to, which is moved behind it. */
static const char *move_string(const char *s, char **to)
{
	char *copy = *to;

	*to = stpcpy(copy, s) + 1;
	return copy;
}

int profile_shorten(struct profile *profile, size_t most)
{
	size_t fit = most < profile->row_count ? most : profile->row_count;
	CLEANUP_FREE struct profile_row *rows = malloc((fit + 1) * sizeof(*rows));
	size_t n = rows ? pick_rows(profile, fit, rows) : 0;
	size_t size = n * sizeof(*rows), room = 0;
	struct bulk memory;
	char *to;

	for (size_t i = 0; i < n; i++)
		room += strlen(rows[i].symbol) + strlen(rows[i].object) + 2;
	if (!rows || bulk_init(&memory, bulk_room(size) + bulk_room(room)) < 0)
		return -ENOMEM;
	bulk_take(&memory, size); /* of the rows, which come first */
	to = bulk_take(&memory, room);
	for (size_t i = 0; i < n; i++) {
		rows[i].symbol = move_string(rows[i].symbol, &to);
		rows[i].object = move_string(rows[i].object, &to);
	}
	profile_deinit(profile);
	profile->memory = memory;
	profile->rows = memory.memory;
	profile->row_count = n;
	memcpy(profile->rows, rows, size);
	return 0;
}
