#include "profiler/traceguest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "profiler/record.h"
#include "profiler/trace.h"
#include "profiler/tracesample.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/text.h"
#include "symsrc/base/thread.h"

/* Descriptors of this process that are events here, also those that are being closed. */
static atomic_size_t open_events;

/* What a reader's queue keeps free for the line that counts what was lost. */
#define FEED_RESERVE 128

struct reader {
	struct feed *feed;
	uint64_t lost; /* events since the last line that counts them */
};

/* An event out of a ring. */
struct held {
	struct trace_sample sample;
	size_t offset; /* of its bytes */
	char comm[TRACE_COMM_MAX];
};

struct traceguest {
	struct traceguest_shared *shared;
	uint64_t serial;
	pid_t pid;
	struct tracefs_events events;
	size_t ring_count;
	struct threadring **rings; /* by tid */
	size_t reader_count;
	struct reader *readers;
	size_t held_count, held_room;
	struct held *held;
	struct buf bytes;     /* theirs */
	struct buf line;      /* the one that is made */
	uint64_t kernel_lost; /* since the last line that counts them */
	int failed;	      /* why a thread could not be traced; said once */
};

struct traceguest *traceguest_create(struct traceguest_shared *shared, uint64_t serial, pid_t pid,
				     struct tracefs_events *events)
{
	struct traceguest *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	*g = (struct traceguest){.shared = shared, .serial = serial, .pid = pid, .events = *events};
	*events = (struct tracefs_events){0};
	buf_init(&g->bytes, TRACEGUEST_HELD_MAX);
	buf_init(&g->line, (size_t)2 * TRACELINE_MAX);
	return g;
}

uint64_t traceguest_serial(const struct traceguest *g)
{
	return g->serial;
}

/* -- readers ------------------------------------------------------------------------------- */

void traceguest_add_reader(struct traceguest *g, struct feed *feed)
{
	struct reader *readers = reallocarray(g->readers, g->reader_count + 1, sizeof(*readers));

	if (!readers) {
		feed_end(feed);
		feed_put(feed);
		return;
	}
	g->readers = readers;
	g->readers[g->reader_count++] = (struct reader){.feed = feed};
}

size_t traceguest_reader_count(struct traceguest *g)
{
	for (size_t i = g->reader_count; i > 0; i--) {
		struct reader *r = &g->readers[i - 1];

		if (!feed_is_closed(r->feed))
			continue;
		feed_put(r->feed);
		*r = g->readers[--g->reader_count];
	}
	return g->reader_count;
}

/* True when nothing is lost, or the line that counts it is written. A reader that was too slow
 * gets events again when half of its queue is free, or it would get few and many such lines. */
static bool catch_up(struct reader *r, size_t room_wanted)
{
	char line[FEED_RESERVE];
	int n;

	if (r->lost == 0)
		return true;
	if (feed_room(r->feed) < room_wanted)
		return false;
	n = snprintf(line, sizeof(line), "# %llu events lost: this reader is too slow\n",
		     (unsigned long long)r->lost);
	if (feed_write(r->feed, line, (size_t)n) < 0)
		return false;
	r->lost = 0;
	return true;
}

static bool has_room(struct reader *r)
{
	return catch_up(r, TRACE_FEED_BYTES / 2) &&
	       feed_room(r->feed) >= TRACELINE_MAX + FEED_RESERVE;
}

/* A line that is no event. Who has no room for it has lost more than that. */
static void say(struct traceguest *g, const char *line)
{
	for (size_t i = 0; i < g->reader_count; i++)
		feed_write(g->readers[i].feed, line, strlen(line));
}

/* -- the rings ----------------------------------------------------------------------------- */

static void read_comm(const struct traceguest *g, struct threadring *t)
{
	CLEANUP_BUF struct buf b;
	char path[64];

	buf_init(&b, 64);
	snprintf(path, sizeof(path), "%s/%d/task/%d/comm", g->shared->proc, (int)g->pid,
		 (int)t->tid);
	if (io_read_file(AT_FDCWD, path, &b) < 0)
		return;
	snprintf(t->comm, sizeof(t->comm), "%.*s", (int)strcspn(b.data, "\n"), b.data);
}

/* Index of the first ring whose tid is not below. */
static size_t ring_place(const struct traceguest *g, pid_t tid)
{
	size_t low = 0;
	size_t high = g->ring_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (g->rings[mid]->tid < tid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int open_ring(struct traceguest *g, pid_t tid, struct threadring **ret)
{
	struct traceguest_shared *shared = g->shared;
	struct threadring *t;
	int r;

	if (g->ring_count == TRACEGUEST_THREADS_MAX ||
	    atomic_load(&open_events) + g->events.count > shared->fds_max)
		return -EMFILE;
	t = malloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	r = threadring_open(t, tid, &g->events);
	if (r < 0) {
		free(t);
		return r;
	}
	atomic_fetch_add(&open_events, t->count);
	*ret = t;
	return 0;
}

static int insert_ring(struct traceguest *g, size_t place, struct threadring *t)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = t};
	struct threadring **rings = reallocarray(g->rings, g->ring_count + 1, sizeof(*rings));

	if (!rings)
		return -ENOMEM;
	g->rings = rings;
	if (epoll_ctl(g->shared->epoll_fd, EPOLL_CTL_ADD, threadring_fd(t), &ev) < 0)
		return -errno;
	memmove(rings + place + 1, rings + place, (g->ring_count - place) * sizeof(*rings));
	rings[place] = t;
	g->ring_count++;
	return 0;
}

static void free_ring(struct threadring *t)
{
	size_t count = t->count;

	threadring_close(t);
	atomic_fetch_sub(&open_events, count);
	free(t);
}

static void say_failed(struct traceguest *g, pid_t tid, int err)
{
	char line[200];

	if (g->failed == err)
		return;
	g->failed = err;
	snprintf(line, sizeof(line), "# thread %d, and maybe more, cannot be traced: %s%s\n",
		 (int)tid, strerrordesc_np(-err),
		 err == -EMFILE ? "; choose fewer events in control, or raise `ulimit -n`" : "");
	say(g, line);
}

/* -ESRCH: it has ended, which is no failure. */
static int follow_thread(struct traceguest *g, pid_t tid)
{
	size_t place = ring_place(g, tid);
	struct threadring *t = NULL;
	int r;

	if (place < g->ring_count && g->rings[place]->tid == tid) {
		read_comm(g, g->rings[place]); /* threads get their names late */
		return 0;
	}
	r = open_ring(g, tid, &t);
	if (r == 0) {
		r = insert_ring(g, place, t);
		if (r == 0)
			read_comm(g, t);
		else
			free_ring(t);
	}
	if (r < 0 && r != -ESRCH)
		say_failed(g, tid, r);
	return r;
}

int traceguest_follow_threads(struct traceguest *g)
{
	const struct dirent *d;
	char path[64];
	int r = -ESRCH;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%d/task", g->shared->proc, (int)g->pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		uint64_t tid;
		int one;

		if (!text_to_u64(d->d_name, 10, INT32_MAX, &tid))
			continue;
		one = follow_thread(g, (pid_t)tid);
		if (r != 0)
			r = one;
	}
	closedir(dir);
	return g->ring_count > 0 ? 0 : r;
}

/* -- events -------------------------------------------------------------------------------- */

static struct held *new_held(struct traceguest *g)
{
	size_t room = g->held_room ? g->held_room * 2 : 1024;
	struct held *held;

	if (g->held_count < g->held_room)
		return &g->held[g->held_count];
	held = reallocarray(g->held, room, sizeof(*held));
	if (!held)
		return NULL;
	g->held = held;
	g->held_room = room;
	return &g->held[g->held_count];
}

static void hold(struct traceguest *g, const struct threadring *t,
		 const struct perf_event_header *h)
{
	struct trace_sample s;
	struct held *held;

	if (trace_sample_decode(h, &s) < 0)
		return;
	held = new_held(g);
	if (!held || g->bytes.len + s.size > TRACEGUEST_HELD_MAX ||
	    buf_append(&g->bytes, s.raw, s.size) < 0) {
		g->kernel_lost++;
		return;
	}
	*held = (struct held){.sample = s, .offset = g->bytes.len - s.size};
	memcpy(held->comm, t->comm, sizeof(held->comm));
	g->held_count++;
}

static void take_record(struct traceguest *g, const struct threadring *t,
			const struct perf_event_header *h)
{
	struct record record;

	if (h->type == PERF_RECORD_SAMPLE)
		hold(g, t, h);
	else if (record_decode(h, &record) == 0 && record.kind == RECORD_LOST)
		g->kernel_lost += record.lost;
}

static void take_ring(struct traceguest *g, struct threadring *t)
{
	const struct perf_event_header *h;

	ring_begin(&t->ring);
	while ((h = ring_next(&t->ring, g->shared->scratch)))
		take_record(g, t, h);
	ring_end(&t->ring);
}

static int compare_times(const void *a, const void *b)
{
	const struct held *x = a;
	const struct held *y = b;

	if (x->sample.time != y->sample.time)
		return x->sample.time < y->sample.time ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The line is made when somebody has room for it. */
static void hand_on(struct traceguest *g, const struct held *held)
{
	struct trace_sample s = held->sample;

	s.raw = g->bytes.data + held->offset;
	buf_clear(&g->line);
	for (size_t i = 0; i < g->reader_count; i++) {
		struct reader *r = &g->readers[i];

		if (!has_room(r)) {
			r->lost++;
			continue;
		}
		if (g->line.len == 0)
			traceline_format(g->shared->lines, &s, held->comm, &g->line);
		if (feed_write(r->feed, g->line.data, g->line.len) < 0)
			r->lost++;
	}
}

/* Those before the moment, which are the first `n`, have been handed on: the others move to the
 * front, and their bytes with them. */
static void keep_rest(struct traceguest *g, size_t n)
{
	struct buf rest;

	buf_init(&rest, TRACEGUEST_HELD_MAX);
	for (size_t i = n; i < g->held_count; i++) {
		struct held *to = &g->held[i - n];

		*to = g->held[i];
		if (buf_append(&rest, g->bytes.data + to->offset, to->sample.size) < 0) {
			g->kernel_lost += g->held_count - i;
			g->held_count = i;
			break;
		}
		to->offset = rest.len - to->sample.size;
	}
	g->held_count -= n;
	buf_deinit(&g->bytes);
	g->bytes = rest;
}

/* Who has no room for the line hears of them together with those that it was too slow for. */
static void say_lost(struct traceguest *g, uint64_t lost)
{
	char line[FEED_RESERVE];
	int n = snprintf(line, sizeof(line), "# %llu events lost: the kernel's buffer was full\n",
			 (unsigned long long)lost);

	for (size_t i = 0; i < g->reader_count; i++) {
		if (feed_write(g->readers[i].feed, line, (size_t)n) < 0)
			g->readers[i].lost += lost;
	}
}

static void count_lost(struct traceguest *g)
{
	if (g->kernel_lost)
		say_lost(g, g->kernel_lost);
	g->kernel_lost = 0;
	for (size_t i = 0; i < g->reader_count; i++)
		catch_up(&g->readers[i], TRACE_FEED_BYTES / 2);
}

static void drop_ended(struct traceguest *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->ring_count; i++) {
		struct threadring *t = g->rings[i];

		if (t->hung_up)
			free_ring(t);
		else
			g->rings[n++] = t;
	}
	g->ring_count = n;
}

void traceguest_drain(struct traceguest *g, uint64_t until_ns)
{
	size_t n = 0;

	for (size_t i = 0; i < g->ring_count; i++)
		take_ring(g, g->rings[i]);
	drop_ended(g);
	if (g->held_count)
		qsort(g->held, g->held_count, sizeof(*g->held), compare_times);
	while (n < g->held_count && g->held[n].sample.time < until_ns)
		hand_on(g, &g->held[n++]);
	keep_rest(g, n);
	count_lost(g);
}

/* -- the end ------------------------------------------------------------------------------- */

/* The rings of a guest that nobody reads any more. */
struct leftover {
	size_t count;
	struct threadring **rings;
};

static void *close_rings(void *arg)
{
	struct leftover *l = arg;

	for (size_t i = 0; i < l->count; i++)
		free_ring(l->rings[i]);
	free(l->rings);
	free(l);
	return NULL;
}

static void close_later(struct traceguest *g)
{
	struct leftover *l = malloc(sizeof(*l));

	for (size_t i = 0; i < g->ring_count; i++) {
		/* What is still open somewhere would go on being reported. */
		epoll_ctl(g->shared->epoll_fd, EPOLL_CTL_DEL, threadring_fd(g->rings[i]), NULL);
		threadring_stop(g->rings[i]);
	}
	if (l) {
		l->count = g->ring_count;
		l->rings = g->rings;
		g->rings = NULL;
		if (thread_start_detached(close_rings, l) < 0)
			close_rings(l);
		return;
	}
	for (size_t i = 0; i < g->ring_count; i++)
		free_ring(g->rings[i]);
	free(take_ptr(g->rings));
}

static void close_all(struct traceguest *g)
{
	close_later(g);
	g->ring_count = 0;
}

void traceguest_set_events(struct traceguest *g, struct tracefs_events *events)
{
	close_all(g);
	tracefs_events_deinit(&g->events);
	g->events = *events;
	*events = (struct tracefs_events){0};
	g->failed = 0;
}

void traceguest_end(struct traceguest *g)
{
	for (size_t i = 0; i < g->reader_count; i++) {
		catch_up(&g->readers[i], FEED_RESERVE);
		feed_end(g->readers[i].feed);
		feed_put(g->readers[i].feed);
	}
	close_all(g);
	free(g->readers);
	free(g->held);
	buf_deinit(&g->bytes);
	buf_deinit(&g->line);
	tracefs_events_deinit(&g->events);
	free(g);
}
