#include "profiler/livedata.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/perfdata/format.h"
#include "profiler/perfdata/write.h"
#include "profiler/liveguest.h"
#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/thread.h"

#define EVENTS_MAX     4	       /* registers, and what perf had to change to */
#define REGISTERS      0	       /* index of that event */
#define REGISTERS_NAME "qmp-registers" /* a word, since tools take names apart at blanks */
#define BEGIN_MAX      (16u << 10)

/* What a queue keeps free, so that the rest finds its place however slow the reader is: the last
 * count of what was lost, and what is told of a guest. */
#define LOST_RESERVE ((size_t)1024)
#define RESERVE	     (LIVEDATA_GUEST_BYTES + LOST_RESERVE)

struct event {
	struct perf_event_attr attr;
	char name[64];
	uint64_t period;
};

/* One reader. What is not said to be the thread's is under the livedata's lock. */
struct live_reader {
	uint64_t serial; /* constant; 0: all guests */
	struct feed *feed;
	bool told[EVENTS_MAX]; /* events that stand in the stream */
	uint64_t lost[EVENTS_MAX];
	uint64_t lost_ns; /* when the last one was */
	uint64_t kernel_lost;
	bool held;	     /* something is still to be told */
	uint64_t generation; /* of the guests of which all is told */
	unsigned rounds_due; /* after the last sample */
	uint64_t round_ns, flushed_ns;

	size_t guest_count; /* the thread's */
	struct liveguest *guests;
};

struct livedata {
	struct livedata_config config;
	uint64_t host_text; /* where the host's kernel begins; 0: it is not told */
	atomic_uint wanted; /* readers */

	struct mutex lock; /* a leaf; guards what follows */
	bool stopped;
	unsigned event_count;
	struct event events[EVENTS_MAX];
	unsigned perf; /* index of perf's event; REGISTERS: it does not run */
	size_t count;
	struct live_reader *readers[LIVEDATA_READERS_MAX]; /* only the thread takes them out */
	uint8_t scratch[LIVEDATA_BATCH * PERFDATA_SAMPLE_SIZE];

	int wake_fd;
	atomic_bool stop;
	bool subscribed, started;
	pthread_t thread;
};

bool livedata_is_wanted(const struct livedata *l)
{
	return l && atomic_load_explicit(&l->wanted, memory_order_relaxed) > 0;
}

/* ---- events ------------------------------------------------------------------------------ */

static uint64_t id_of(unsigned event)
{
	return event + 1;
}

static bool is_event(const struct event *e, const struct perf_event_attr *attr, const char *name)
{
	return memcmp(&e->attr, attr, sizeof(*attr)) == 0 && strcmp(e->name, name) == 0;
}

static void with_lock__set_perf(struct livedata *l, const struct perf_event_attr *attr,
				const char *name, uint64_t period)
{
	unsigned i = REGISTERS + 1;
	struct event *e;

	l->perf = REGISTERS;
	if (!attr)
		return;
	while (i < l->event_count && !is_event(&l->events[i], attr, name))
		i++;
	if (i == EVENTS_MAX) /* streams that have the last one keep its name */
		i--;
	if (i == l->event_count)
		l->event_count++;
	e = &l->events[i];
	*e = (struct event){.attr = *attr, .period = period};
	strncpy(e->name, name, sizeof(e->name) - 1);
	l->perf = i;
}

void livedata_set_perf(struct livedata *l, const struct perf_event_attr *attr, const char *name,
		       uint64_t period)
{
	mutex_lock(&l->lock);
	with_lock__set_perf(l, attr, name, period);
	mutex_unlock(&l->lock);
}

/* ---- the way of the samples --------------------------------------------------------------- */

static void put_event(const struct livedata *l, unsigned event, struct buf *b)
{
	const struct event *e = &l->events[event];

	perfdata_write_event(b, &e->attr, id_of(event), e->name);
}

/* True when the event stands in the stream. */
static bool with_lock__tell_event(struct livedata *l, struct live_reader *r, unsigned event)
{
	CLEANUP_BUF struct buf b;

	buf_init(&b, BEGIN_MAX);
	if (r->told[event])
		return true;
	put_event(l, event, &b);
	if (b.err || feed_room(r->feed) < b.len + RESERVE)
		return false;
	r->told[event] = feed_write(r->feed, b.data, b.len) == 0;
	return r->told[event];
}

static bool has_lost(const struct live_reader *r)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < EVENTS_MAX; i++)
		lost += r->lost[i];
	return lost > 0;
}

/* perf breaks off at an event that it was not told of; what is of number 0 it takes for the first
 * one's (tools/perf/util/evlist.c, evlist__event2evsel()). */
static uint64_t id_in(const struct live_reader *r, unsigned event)
{
	return r->told[event] ? id_of(event) : 0;
}

/* Writes what was lost. Each count stands in the stream once, or is kept. */
static void with_lock__say_lost(struct livedata *l, struct live_reader *r)
{
	CLEANUP_BUF struct buf b;

	buf_init(&b, LOST_RESERVE);
	for (unsigned i = 0; i < EVENTS_MAX; i++) {
		if (r->lost[i])
			perfdata_write_lost(&b, id_in(r, i), r->lost_ns, r->lost[i]);
	}
	if (r->kernel_lost)
		perfdata_write_lost_samples(&b, id_in(r, l->perf), clock_now_ns(), r->kernel_lost);
	if (b.err || b.len == 0 || feed_write(r->feed, b.data, b.len) < 0)
		return;
	memset(r->lost, 0, sizeof(r->lost));
	r->kernel_lost = 0;
}

/* True when samples may go on. A reader that was too slow gets them again when half of its queue
 * is free, or it would get few of them between many such records. */
static bool with_lock__catch_up(struct livedata *l, struct live_reader *r)
{
	if (has_lost(r) && feed_room(r->feed) >= LIVEDATA_FEED_BYTES / 2)
		with_lock__say_lost(l, r);
	return !has_lost(r);
}

static size_t room_for(const struct live_reader *r)
{
	size_t room = feed_room(r->feed);

	return room > RESERVE ? (room - RESERVE) / PERFDATA_SAMPLE_SIZE : 0;
}

static unsigned event_of(const struct livedata *l, const struct livedata_sample *s)
{
	return s->registers ? REGISTERS : l->perf;
}

static void put_sample(const struct livedata *l, const struct livedata_sample *s,
		       uint8_t to[static PERFDATA_SAMPLE_SIZE])
{
	unsigned event = event_of(l, s);
	const struct perfdata_sample sample = {
		.id = id_of(event),
		.ip = s->ip,
		.time = s->time,
		.period = s->period ? s->period : l->events[event].period,
		.pid = s->pid,
		.tid = s->tid,
		.cpu = s->cpu,
		.misc = s->kernel ? PERF_RECORD_MISC_GUEST_KERNEL : PERF_RECORD_MISC_GUEST_USER,
	};

	perfdata_put_sample(&sample, to);
}

static void with_lock__add(struct livedata *l, struct live_reader *r,
			   const struct livedata_sample *samples, size_t n)
{
	size_t room = with_lock__catch_up(l, r) ? room_for(r) : 0;
	uint64_t put[EVENTS_MAX] = {0};
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned event = event_of(l, &samples[i]);

		if (r->serial && r->serial != samples[i].serial)
			continue;
		if (count < room && with_lock__tell_event(l, r, event)) {
			put_sample(l, &samples[i], l->scratch + count * PERFDATA_SAMPLE_SIZE);
			count++;
			put[event]++;
		} else {
			r->lost[event]++;
			r->lost_ns = samples[i].time;
			room = 0; /* those that come are counted as well, in their order */
		}
	}
	if (count == 0)
		return;
	/* An event may have been told meanwhile: that was a part of the reserve at worst. */
	r->rounds_due = 2;
	if (feed_write(r->feed, l->scratch, count * PERFDATA_SAMPLE_SIZE) == 0)
		return;
	for (unsigned i = 0; i < EVENTS_MAX; i++) /* no memory */
		r->lost[i] += put[i];
	r->lost_ns = samples[n - 1].time;
}

void livedata_add(struct livedata *l, const struct livedata_sample *samples, size_t n)
{
	mutex_lock(&l->lock);
	for (size_t i = 0; i < l->count; i++)
		with_lock__add(l, l->readers[i], samples, n);
	mutex_unlock(&l->lock);
}

void livedata_add_lost(struct livedata *l, uint64_t lost)
{
	mutex_lock(&l->lock);
	for (size_t i = 0; i < l->count; i++)
		l->readers[i]->kernel_lost += lost;
	mutex_unlock(&l->lock);
}

/* Two rounds after the last sample perf has worked up all of them. */
static void with_lock__end_round(struct livedata *l, struct live_reader *r, uint64_t now)
{
	CLEANUP_BUF struct buf b;

	buf_init(&b, LOST_RESERVE);
	with_lock__catch_up(l, r);
	if (feed_room(r->feed) < RESERVE + LOST_RESERVE)
		return;
	if (r->kernel_lost && !has_lost(r) && with_lock__tell_event(l, r, l->perf))
		with_lock__say_lost(l, r);
	if (r->held || r->rounds_due == 0 || r->generation != guests_generation(l->config.guests))
		return;
	perfdata_write_round(&b);
	if (b.err || feed_write(r->feed, b.data, b.len) < 0)
		return;
	r->rounds_due--;
	r->flushed_ns = r->round_ns;
	r->round_ns = now;
}

void livedata_end_round(struct livedata *l)
{
	uint64_t now = clock_now_ns();

	mutex_lock(&l->lock);
	for (size_t i = 0; i < l->count; i++)
		with_lock__end_round(l, l->readers[i], now);
	mutex_unlock(&l->lock);
}

/* ---- the host's kernel ---------------------------------------------------------------------- */

#define HOST_LINES_MAX 20000 /* per-CPU symbols may come before it */

/* Symbols are in the order of addresses. */
static uint64_t find_host_text(const char *kallsyms)
{
	CLEANUP_FILE FILE *f = fopen(kallsyms, "re");
	char line[256], name[sizeof(line)];
	unsigned long long address;
	char type;

	for (int i = 0; f && i < HOST_LINES_MAX && fgets(line, sizeof(line), f); i++) {
		if (sscanf(line, "%llx %c %255s", &address, &type, name) == 3 &&
		    strcmp(name, PERFDATA_REFERENCE_SYMBOL) == 0)
			return address;
	}
	return 0;
}

/* No sample is the host's, but perf warns of a host whose kernel it does not know
 * (tools/perf/builtin-report.c, report__warn_kptr_restrict()). */
static void write_host_kernel(const struct livedata *l, struct buf *b)
{
	if (l->host_text == 0)
		return;
	perfdata_write_mmap(
		b, &(struct perfdata_mmap){.misc = PERF_RECORD_MISC_KERNEL,
					   .pid = PERFDATA_HOST,
					   .start = l->host_text,
					   .size = 1,
					   .reference = l->host_text,
					   .name = PERFDATA_HOST_KERNEL PERFDATA_REFERENCE_SYMBOL});
}

/* ---- readers ------------------------------------------------------------------------------ */

static void free_reader(struct live_reader *r)
{
	for (size_t i = 0; i < r->guest_count; i++)
		liveguest_deinit(&r->guests[i]);
	free(r->guests);
	feed_put(r->feed);
	free(r);
}

/* What every stream begins with, so that even one without a sample is whole. */
static int with_lock__begin(struct livedata *l, struct live_reader *r, bool registers)
{
	CLEANUP_BUF struct buf b;

	buf_init(&b, BEGIN_MAX);
	perfdata_write_begin(&b);
	put_event(l, registers ? REGISTERS : l->perf, &b);
	write_host_kernel(l, &b);
	perfdata_write_host(&b, "kvmprofs " KVMPROFS_VERSION, CLOCK_MONOTONIC);
	if (b.err || feed_write(r->feed, b.data, b.len) < 0)
		return -ENOMEM;
	r->told[registers ? REGISTERS : l->perf] = true;
	return 0;
}

static int with_lock__open(struct livedata *l, struct live_reader *r, bool registers)
{
	int err;

	if (l->stopped)
		return -ESRCH;
	if (l->count == LIVEDATA_READERS_MAX)
		return -EMFILE;
	err = with_lock__begin(l, r, registers);
	if (err < 0)
		return err;
	l->readers[l->count++] = r;
	atomic_store(&l->wanted, (unsigned)l->count);
	return 0;
}

static bool is_guest(struct livedata *l, uint64_t serial)
{
	const struct guest_set *set = guests_acquire(l->config.guests);
	bool found = guest_set_find_serial(set, serial) != NULL;

	guest_set_put(set);
	return found;
}

int livedata_open(struct livedata *l, uint64_t serial, bool registers, int wake_fd,
		  struct feed **ret)
{
	struct live_reader *r;
	struct feed *feed;
	int err;

	if (serial && !is_guest(l, serial))
		return -ESRCH;
	r = calloc(1, sizeof(*r));
	feed = feed_create(LIVEDATA_FEED_BYTES, wake_fd);
	if (!r || !feed) {
		free(r);
		feed_put(feed);
		feed_put(feed);
		return -ENOMEM;
	}
	*r = (struct live_reader){.serial = serial, .feed = feed, .held = true};
	mutex_lock(&l->lock);
	err = with_lock__open(l, r, registers);
	mutex_unlock(&l->lock);
	if (err < 0) {
		free_reader(r);
		feed_put(feed);
		return err;
	}
	*ret = feed;
	io_wake(l->wake_fd);
	return 0;
}

/* ---- the thread: what is told of guests ------------------------------------------------------ */

static struct liveguest *find_told(struct live_reader *r, uint64_t serial)
{
	struct liveguest *list;

	for (size_t i = 0; i < r->guest_count; i++) {
		if (r->guests[i].serial == serial)
			return &r->guests[i];
	}
	list = reallocarray(r->guests, r->guest_count + 1, sizeof(*list));
	if (!list)
		return NULL;
	r->guests = list;
	list[r->guest_count] = (struct liveguest){.serial = serial};
	return &list[r->guest_count++];
}

static void forget_gone(struct live_reader *r, const struct guest_set *set)
{
	for (size_t i = r->guest_count; i > 0; i--) {
		struct liveguest *g = &r->guests[i - 1];

		if (guest_set_find_serial(set, g->serial))
			continue;
		liveguest_deinit(g);
		*g = r->guests[--r->guest_count];
	}
}

/* Whether its names may still come early enough. */
static bool is_awaited(struct liveguest *g, const struct guest_entry *e, uint64_t now)
{
	if (g->seen_epoch != e->epoch) {
		g->seen_epoch = e->epoch;
		g->seen_ns = now;
	}
	return g->epoch != e->epoch && now < g->seen_ns + LIVEDATA_HOLD_NS;
}

/* True when all is told of it that there is now, and nothing is awaited. */
static bool tell_guest(struct livedata *l, struct live_reader *r, const struct guest_entry *e,
		       uint64_t flushed_ns)
{
	struct liveguest *g = find_told(r, e->guest->serial);
	const struct symbols *symbols;
	CLEANUP_BUF struct buf b;
	int err;

	buf_init(&b, LIVEDATA_GUEST_BYTES);
	/* Samples stay out of the reserve, so that this is still true when it is written. */
	if (!g || feed_room(r->feed) < RESERVE)
		return false;
	symbols = l->config.symbols_of(l->config.ctx, g->serial, e->epoch);
	err = liveguest_write(g, e, symbols, flushed_ns, &b);
	symbols_put(symbols);
	if (b.len)
		feed_write(r->feed, b.data, b.len);
	return err == 0 && !is_awaited(g, e, clock_now_ns());
}

static void tell_guests(struct livedata *l, struct live_reader *r, const struct guest_set *set)
{
	uint64_t flushed_ns;
	bool held = false;

	mutex_lock(&l->lock);
	flushed_ns = r->flushed_ns;
	mutex_unlock(&l->lock);
	forget_gone(r, set);
	for (size_t i = 0; i < set->count; i++) {
		if (!r->serial || r->serial == set->entries[i].guest->serial)
			held |= !tell_guest(l, r, &set->entries[i], flushed_ns);
	}
	mutex_lock(&l->lock);
	r->held = held;
	r->generation = set->generation;
	mutex_unlock(&l->lock);
}

/* ---- the thread -------------------------------------------------------------------------- */

static void drop(struct livedata *l, size_t i)
{
	struct live_reader *r = l->readers[i];

	mutex_lock(&l->lock);
	l->readers[i] = l->readers[--l->count];
	atomic_store(&l->wanted, (unsigned)l->count);
	with_lock__say_lost(l, r);
	mutex_unlock(&l->lock);
	feed_end(r->feed);
	free_reader(r);
}

static bool is_over(const struct live_reader *r, const struct guest_set *set)
{
	return feed_is_closed(r->feed) || (r->serial && !guest_set_find_serial(set, r->serial));
}

/* Nobody else takes readers out, so that those that are there stay. */
static size_t count_of(struct livedata *l, bool *ret_perf)
{
	size_t n;

	mutex_lock(&l->lock);
	n = l->count;
	*ret_perf = l->perf != REGISTERS;
	mutex_unlock(&l->lock);
	return n;
}

/* Returns how many readers there are. */
static size_t look(struct livedata *l, bool woken)
{
	const struct guest_set *set = guests_acquire(l->config.guests);
	bool perf_runs;

	for (size_t i = count_of(l, &perf_runs); i > 0; i--) {
		if (is_over(l->readers[i - 1], set))
			drop(l, i - 1);
		else if (woken || l->readers[i - 1]->held)
			tell_guests(l, l->readers[i - 1], set);
	}
	guest_set_put(set);
	if (!perf_runs)
		livedata_end_round(l);
	return count_of(l, &perf_runs);
}

static void *livedata_main(void *arg)
{
	struct livedata *l = arg;
	bool woken = true;

	while (!atomic_load(&l->stop)) {
		struct pollfd p = {.fd = l->wake_fd, .events = POLLIN};
		size_t n = look(l, woken);

		woken = poll(&p, 1, n ? (int)(LIVEDATA_TICK_NS / NSEC_PER_MSEC) : -1) > 0;
		if (woken)
			io_wake_clear(l->wake_fd);
	}
	return NULL;
}

/* ---- life -------------------------------------------------------------------------------- */

int livedata_create(const struct livedata_config *config, struct livedata **ret, struct errmsg *why)
{
	struct livedata *l = calloc(1, sizeof(*l));
	int fd = l ? io_wake_create() : -ENOMEM;

	if (fd < 0) {
		free(l);
		return errmsg_set(why, fd, "recordings: %s", strerrordesc_np(-fd));
	}
	l->config = *config;
	l->host_text = find_host_text(config->kallsyms);
	l->wake_fd = fd;
	mutex_init(&l->lock);
	/* An event that all tools know, under a name of its own. */
	l->events[REGISTERS] = (struct event){.name = REGISTERS_NAME,
					      .attr = {.type = PERF_TYPE_SOFTWARE,
						       .config = PERF_COUNT_SW_CPU_CLOCK,
						       .sample_period = 1,
						       .use_clockid = 1,
						       .clockid = CLOCK_MONOTONIC}};
	l->event_count = 1;
	*ret = l;
	return 0;
}

int livedata_wake_fd(const struct livedata *l)
{
	return l->wake_fd;
}

void livedata_destroy(struct livedata *l)
{
	if (!l)
		return;
	close_keep_errno(l->wake_fd);
	mutex_deinit(&l->lock);
	free(l);
}

int livedata_start(struct livedata *l, struct errmsg *why)
{
	int err = guests_subscribe(l->config.guests, l->wake_fd);

	l->subscribed = err == 0;
	if (err == 0)
		err = thread_start(&l->thread, "kp-record", livedata_main, l);
	l->started = err == 0;
	if (err < 0) {
		livedata_stop(l);
		return errmsg_set(why, err, "cannot start the thread of recordings: %s",
				  strerrordesc_np(-err));
	}
	return 0;
}

void livedata_stop(struct livedata *l)
{
	if (l->subscribed)
		guests_unsubscribe(l->config.guests, l->wake_fd);
	l->subscribed = false;
	atomic_store(&l->stop, true);
	if (l->started) {
		io_wake(l->wake_fd);
		pthread_join(l->thread, NULL);
	}
	l->started = false;
	mutex_lock(&l->lock);
	l->stopped = true;
	mutex_unlock(&l->lock);
	while (l->count)
		drop(l, l->count - 1);
}
