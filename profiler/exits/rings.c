#include "profiler/exits/rings.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "profiler/cpugroup.h"
#include "profiler/cpus.h"
#include "profiler/exits/tables.h"
#include "profiler/record.h"
#include "profiler/ringmerge.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/log.h"

#define ROWS_BYTES  (512u << 10) /* some 6,000 events */
#define OTHER_BYTES (256u << 10) /* half as many */
#define FDS_BESIDE  4096

/* As struct exits_lost has them. */
enum set { ROWS, OTHERS, SWITCHES, SETS };

struct hook {
	struct exits_counting counting;
	uint16_t next; /* of the same tracepoint, + 1; 0: none */
};

/* One CPU. */
struct place {
	unsigned cpu;
	struct cpugroup groups[SETS];
};

struct exits_rings {
	struct exits_source source;
	/* Constant. */
	struct hook hooks[EXITS_EVENTS + 8];
	uint16_t by_id[UINT16_MAX + 1]; /* the first hook of a tracepoint, + 1; 0: none */
	size_t id_count[SETS];
	uint32_t ids[SETS][EXITS_EVENTS + 8];

	struct mutex lock;
	struct exits_tables tables; /* lock */
	size_t place_count;	    /* lock */
	struct place **places;	    /* lock */
	uint64_t lost[SETS];	    /* lock; of rings that are closed */
	size_t ring_count;	    /* lock */
	struct ring **rings;	    /* lock; all of the places' */
	struct ringmerge merge;	    /* lock */
};

static struct exits_rings *of(struct exits_source *s)
{
	return (struct exits_rings *)s;
}

/* ---- counting ----------------------------------------------------------------------------------
 */

static void count_one(void *ctx, const struct perf_event_header *h)
{
	struct exits_rings *r = ctx;
	struct trace_sample s;
	uint16_t id;

	if (trace_sample_decode(h, &s) < 0 || s.size < sizeof(id))
		return;
	memcpy(&id, s.raw, sizeof(id)); /* common_type, the first field of all events */
	for (uint16_t i = r->by_id[id]; i; i = r->hooks[i - 1].next)
		exits_tables_count(&r->tables, &r->hooks[i - 1].counting, &s);
}

static bool time_of(void *ctx, struct ring *ring, const struct perf_event_header *h, uint64_t *ret)
{
	struct cpugroup *g = (struct cpugroup *)((char *)ring - offsetof(struct cpugroup, ring));
	struct trace_sample s;
	struct record record;

	(void)ctx;
	if (h->type == PERF_RECORD_SAMPLE && trace_sample_decode(h, &s) == 0) {
		*ret = s.time;
		return true;
	}
	if (!g->exact_lost && record_decode(h, &record) == 0 && record.kind == RECORD_LOST)
		g->lost += record.lost;
	return false;
}

/* Returns the moment up to which all has been counted. */
static uint64_t with_lock__drain(struct exits_rings *r)
{
	static const struct ringmerge_ops merging = {time_of, count_one};
	uint64_t until = clock_now_ns();

	ringmerge_run(&r->merge, r->rings, r->ring_count, until, &merging, r);
	return until;
}

/* ---- CPUs --------------------------------------------------------------------------------------
 */

static void close_place(struct exits_rings *r, struct place *p)
{
	for (int set = 0; set < SETS; set++) {
		r->lost[set] += p->groups[set].lost;
		if (p->groups[set].count)
			epoll_ctl(r->source.fd, EPOLL_CTL_DEL, cpugroup_fd(&p->groups[set]), NULL);
		cpugroup_close(&p->groups[set]);
	}
	free(p);
}

static int open_set(struct exits_rings *r, struct place *p, enum set set)
{
	struct cpugroup *g = &p->groups[set];
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = g};
	int err;

	if (r->id_count[set] == 0)
		return 0;
	err = cpugroup_open(g, p->cpu, r->ids[set], r->id_count[set],
			    set == ROWS ? ROWS_BYTES : OTHER_BYTES);
	if (err == 0 && epoll_ctl(r->source.fd, EPOLL_CTL_ADD, cpugroup_fd(g), &ev) < 0)
		err = -errno;
	return err;
}

static int make_room(struct exits_rings *r)
{
	size_t n = r->place_count + 1;
	struct place **places = reallocarray(r->places, n, sizeof(struct place *));
	struct ring **rings;

	if (!places)
		return -ENOMEM;
	r->places = places;
	rings = reallocarray(r->rings, n * SETS, sizeof(struct ring *));
	if (!rings)
		return -ENOMEM;
	r->rings = rings;
	return ringmerge_init(&r->merge, n * SETS);
}

/* After each change of the places. */
static void list_rings(struct exits_rings *r)
{
	r->ring_count = 0;
	for (size_t i = 0; i < r->place_count; i++) {
		for (int set = 0; set < SETS; set++) {
			if (r->places[i]->groups[set].count)
				r->rings[r->ring_count++] = &r->places[i]->groups[set].ring;
		}
	}
}

static int add_place(struct exits_rings *r, unsigned cpu)
{
	struct place *p = calloc(1, sizeof(*p));
	int err = p ? make_room(r) : -ENOMEM;

	if (err == 0)
		p->cpu = cpu;
	for (int set = 0; set < SETS && err == 0; set++)
		err = open_set(r, p, (enum set)set);
	if (err == 0)
		r->places[r->place_count++] = p;
	else if (p)
		close_place(r, p);
	return err;
}

static bool has_place(const struct exits_rings *r, unsigned cpu)
{
	for (size_t i = 0; i < r->place_count; i++) {
		if (r->places[i]->cpu == cpu)
			return true;
	}
	return false;
}

/* Reads what was lost there. False: it counts no more. */
static bool check_place(struct place *p)
{
	bool alive = true;

	for (int set = 0; set < SETS; set++) {
		if (p->groups[set].count && !cpugroup_check(&p->groups[set]))
			alive = false;
	}
	return alive;
}

/* A CPU that went and came back has events that count no more, too. */
static void with_lock__follow_cpus(struct exits_rings *r)
{
	struct cpus online;

	if (cpus_read(CPUS_ONLINE, &online) < 0)
		return;
	for (size_t i = r->place_count; i > 0; i--) {
		struct place *p = r->places[i - 1];

		if (check_place(p) && cpus_has(&online, p->cpu))
			continue;
		r->places[i - 1] = r->places[--r->place_count];
		close_place(r, p);
	}
	for (unsigned cpu = 0; r->place_count < online.count && cpu < CPUS_MAX; cpu++) {
		if (cpus_has(&online, cpu) && !has_place(r, cpu) && add_place(r, cpu) < 0)
			log_debug("exits: no events on CPU %u", cpu);
	}
	list_rings(r);
}

static void with_lock__read_lost(struct exits_rings *r, struct exits_lost *ret)
{
	uint64_t lost[SETS] = {r->lost[ROWS] + r->tables.lost, r->lost[OTHERS], r->lost[SWITCHES]};

	for (size_t i = 0; i < r->place_count; i++) {
		check_place(r->places[i]);
		for (int set = 0; set < SETS; set++)
			lost[set] += r->places[i]->groups[set].lost;
	}
	*ret = (struct exits_lost){lost[ROWS], lost[OTHERS], lost[SWITCHES]};
}

/* ---- the source --------------------------------------------------------------------------------
 */

static int read_process(struct exits_source *s, uint32_t tgid, struct exits_raw *ret)
{
	struct exits_rings *r = of(s);
	uint64_t until;
	int err;

	mutex_lock(&r->lock);
	until = with_lock__drain(r);
	err = exits_tables_read(&r->tables, tgid, ret);
	if (err == 0) {
		ret->taken_ns = until;
		with_lock__read_lost(r, &ret->lost);
	}
	mutex_unlock(&r->lock);
	return err;
}

static int read_entry(struct exits_source *s, uint32_t tid, struct exits_thread *ret)
{
	struct exits_rings *r = of(s);
	int err;

	mutex_lock(&r->lock);
	with_lock__drain(r);
	err = exits_tables_read_thread(&r->tables, tid, ret);
	mutex_unlock(&r->lock);
	return err;
}

static int tell_lasts(struct exits_source *s, exits_last_fn *fn, void *ctx)
{
	struct exits_rings *r = of(s);
	int err;

	mutex_lock(&r->lock);
	with_lock__drain(r);
	err = exits_tables_lasts(&r->tables, fn, ctx);
	mutex_unlock(&r->lock);
	return err;
}

static void tell_lost(struct exits_source *s, struct exits_lost *ret)
{
	struct exits_rings *r = of(s);

	mutex_lock(&r->lock);
	with_lock__read_lost(r, ret);
	mutex_unlock(&r->lock);
}

static void look(struct exits_source *s, exits_keep_fn *keep, void *ctx)
{
	struct exits_rings *r = of(s);

	mutex_lock(&r->lock);
	with_lock__drain(r);
	exits_tables_forget(&r->tables, keep, ctx);
	with_lock__follow_cpus(r);
	mutex_unlock(&r->lock);
}

/* Of a CPU that has gone offline: it would go on waking us. look() sees to the rest. */
static void with_lock__drop_hung_up(struct exits_rings *r)
{
	struct epoll_event events[16];
	int n = epoll_wait(r->source.fd, events, ARRAY_SIZE(events), 0);

	for (int i = 0; i < n; i++) {
		if (events[i].events & (EPOLLHUP | EPOLLERR))
			epoll_ctl(r->source.fd, EPOLL_CTL_DEL, cpugroup_fd(events[i].data.ptr),
				  NULL);
	}
}

static void work(struct exits_source *s)
{
	struct exits_rings *r = of(s);

	mutex_lock(&r->lock);
	with_lock__drop_hung_up(r);
	with_lock__drain(r);
	mutex_unlock(&r->lock);
}

static void release(struct exits_source *s)
{
	struct exits_rings *r = of(s);

	while (r->place_count)
		close_place(r, r->places[--r->place_count]);
	free(r->places);
	free(r->rings);
	ringmerge_deinit(&r->merge);
	exits_tables_deinit(&r->tables);
	mutex_deinit(&r->lock);
	close_keep_errno(s->fd);
	free(r);
}

static const struct exits_source_ops ops = {
	.name = "perf",
	.read = read_process,
	.read_thread = read_entry,
	.lasts = tell_lasts,
	.lost = tell_lost,
	.look = look,
	.work = work,
	.free = release,
};

/* ---- opening -----------------------------------------------------------------------------------
 */

static enum set set_of(const char *program)
{
	struct exits_lost lost;
	const uint64_t *where = exits_plan_lost(program, &lost);

	if (where == &lost.switches)
		return SWITCHES;
	return where == &lost.others ? OTHERS : ROWS;
}

static void add_hook(struct exits_rings *r, size_t i, const struct exits_hook *h)
{
	enum set set = set_of(h->program);

	if (h->id > UINT16_MAX || exits_counting_find(h->program, &r->hooks[i].counting) < 0)
		return;
	r->hooks[i].next = r->by_id[h->id];
	if (!r->hooks[i].next)
		r->ids[set][r->id_count[set]++] = h->id;
	r->by_id[h->id] = (uint16_t)(i + 1);
}

static int prepare(struct exits_rings *r, const struct exits_plan *plan, unsigned cpus)
{
	struct exits_sizes sizes;

	for (size_t i = 0; i < plan->hook_count; i++)
		add_hook(r, i, &plan->hooks[i]);
	if (r->id_count[ROWS] + r->id_count[OTHERS] == 0)
		return -ENOENT;
	r->source.fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->source.fd < 0)
		return -errno;
	exits_sizes_of(cpus, &sizes);
	return exits_tables_init(&r->tables, &plan->fields, &sizes, "/proc");
}

/* An event of each kind for each CPU, beside what the daemon needs otherwise. */
static size_t raise_file_limit(const struct exits_rings *r, size_t cpus)
{
	size_t wanted = (r->id_count[ROWS] + r->id_count[OTHERS] + r->id_count[SWITCHES]) * cpus +
			FDS_BESIDE;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return wanted;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	setrlimit(RLIMIT_NOFILE, &limit);
	return wanted;
}

static int open_all(struct exits_rings *r, const struct cpus *online, struct errmsg *why)
{
	size_t wanted = raise_file_limit(r, online->count);

	for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
		int err = cpus_has(online, cpu) ? add_place(r, cpu) : 0;

		if (err == -EMFILE)
			return errmsg_set(why, err,
					  "too few open files for KVM's tracepoints on all CPUs: "
					  "raise `ulimit -n` to %zu",
					  wanted);
		if (err < 0 && err != -ENODEV) /* gone offline just now */
			return errmsg_set(why, err,
					  "perf refuses KVM's tracepoints on CPU %u: %s%s", cpu,
					  strerrordesc_np(-err),
					  err == -EPERM || err == -EACCES
						  ? " (it takes CAP_PERFMON, and no lockdown)"
						  : "");
	}
	list_rings(r);
	return 0;
}

int exits_rings_open(const struct exits_plan *plan, struct exits_source **ret, struct errmsg *why)
{
	struct exits_rings *r = calloc(1, sizeof(*r));
	struct cpus online;
	int err = cpus_read(CPUS_ONLINE, &online);

	if (!r)
		return errmsg_set(why, -ENOMEM, "no memory for perf's rings");
	r->source = (struct exits_source){.ops = &ops, .fd = -1};
	mutex_init(&r->lock);
	if (err == 0)
		err = prepare(r, plan, (unsigned)sysconf(_SC_NPROCESSORS_CONF));
	if (err < 0)
		errmsg_set(why, err, "perf's rings cannot be made: %s", strerrordesc_np(-err));
	else
		err = open_all(r, &online, why);
	if (err < 0) {
		release(&r->source);
		return err;
	}
	*ret = &r->source;
	return 0;
}
