#include "profiler/perfdata/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "profiler/perfdata/format.h"
#include "profiler/perfdata/order.h"
#include "profiler/perfdata/recorder.h"
#include "profiler/record.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"

#define HEADER_SIZE sizeof(struct perf_event_header)

/* ---- samples ------------------------------------------------------------------------------- */

struct facts {
	uint64_t ip, weight;
	uint32_t pid, tid;
	enum sample_mode mode;
};

static void count_user(struct recording_guest *g, struct recording_vcpu *v, const struct facts *f)
{
	g->user++;
	g->user_weight += f->weight;
	g->user_contradictory += address_is_upper(f->ip);
	if (v) {
		v->user++;
		v->user_weight += f->weight;
	}
}

static void count_kernel(struct recorder *to, struct recording_guest *g, struct recording_vcpu *v,
			 unsigned vcpu, const struct facts *f)
{
	const struct counter_sample s = {g, f->ip, f->weight, vcpu};

	if (v)
		v->kernel++;
	counter_add(to->counter, &s);
}

static void guest_sample(struct recording *r, const struct facts *f)
{
	struct recorder_task *t = recorder_thread(r, f->pid, f->tid);
	struct recording_guest *g = t ? t->guest : NULL;
	struct recording_vcpu *v = g && t->vcpu < g->vcpu_count ? &g->vcpus[t->vcpu] : NULL;

	if (f->mode == SAMPLE_GUEST_KERNEL)
		r->guest_kernel++;
	else
		r->guest_user++;
	r->events.list[r->shown].served_samples += g != NULL;
	if (!g)
		r->left_out++;
	else if (f->mode == SAMPLE_GUEST_KERNEL)
		count_kernel(r->recorder, g, v, t->vcpu, f);
	else
		count_user(g, v, f);
}

static void host_sample(struct recording *r, const struct facts *f)
{
	struct recorder_task *t = f->pid ? recorder_process(r, f->pid) : NULL;
	bool kernel = f->mode == SAMPLE_HOST_KERNEL;

	if (f->pid == 0)
		r->host_idle++;
	else if (kernel)
		r->host_kernel++;
	else
		r->host_user++;
	if (t && kernel)
		t->host_kernel++;
	else if (t)
		t->host_user++;
}

static void count_sample(struct recording *r, const struct facts *f)
{
	r->samples++;
	r->weight += f->weight;
	switch (f->mode) {
	case SAMPLE_GUEST_KERNEL:
	case SAMPLE_GUEST_USER: guest_sample(r, f); break;
	case SAMPLE_HOST_KERNEL:
	case SAMPLE_HOST_USER: host_sample(r, f); break;
	case SAMPLE_OTHER: break;
	}
}

static void note_time(struct recording *r, uint64_t ns)
{
	if (r->last_ns == 0 || ns < r->first_ns)
		r->first_ns = ns;
	if (ns > r->last_ns)
		r->last_ns = ns;
}

static uint64_t number_at(const struct perfdata_record *rec, uint16_t place, uint64_t otherwise)
{
	return place ? order_u64(rec->bytes + place, rec->swapped) : otherwise;
}

/* -1 is a process that has exited. */
static uint32_t known_pid(uint32_t pid)
{
	return pid == UINT32_MAX ? 0 : pid;
}

static bool takes_any(const struct recording_config *c)
{
	return !c->event || strcmp(c->event, "auto") == 0;
}

/* The one that was asked for, else the first that can be shown. In a pipe events come one by one.
 */
static void choose_event(struct recording *r)
{
	const char *wanted = r->recorder->config->event;
	bool any = takes_any(r->recorder->config);

	r->shown = r->events.count;
	for (size_t i = r->events.count; i-- > 0;) {
		const struct recording_event *e = &r->events.list[i];

		if (any ? !e->is_dummy : strcmp(e->name, wanted) == 0)
			r->shown = i;
	}
	if (r->recorder->preferred < r->events.count)
		r->shown = r->recorder->preferred;
}

static bool is_guests(enum sample_mode mode)
{
	return mode == SAMPLE_GUEST_KERNEL || mode == SAMPLE_GUEST_USER;
}

static void read_task(const struct perfdata_record *rec, const struct recording_event *e,
		      struct facts *f)
{
	if (!e->at.tid)
		return;
	f->pid = known_pid(order_u32(rec->bytes + e->at.tid, rec->swapped));
	f->tid = known_pid(order_u32(rec->bytes + e->at.tid + 4, rec->swapped));
}

/* NULL: of none that counts. */
static struct recording_guest *guest_of(struct recording *r, const struct perfdata_record *rec,
					const struct recording_event *e)
{
	struct facts f = {0};
	const struct recorder_task *t;

	read_task(rec, e, &f);
	t = recorder_vmm(r, f.pid);
	return t ? t->guest : NULL;
}

static void count_elsewhere(struct recording_guest *g, size_t event)
{
	size_t i = 0;

	while (i < g->elsewhere_count && g->elsewhere[i].event != event)
		i++;
	if (i == RECORDING_ELSEWHERE_MAX)
		return;
	if (i == g->elsewhere_count)
		g->elsewhere[g->elsewhere_count++] = (struct recording_elsewhere){.event = event};
	g->elsewhere[i].samples++;
}

static void sample_elsewhere(struct recording *r, const struct perfdata_record *rec,
			     struct recording_event *e)
{
	struct recording_guest *g = guest_of(r, rec, e);

	if (!g)
		return;
	e->served_samples++;
	count_elsewhere(g, (size_t)(e - r->events.list));
}

static void take_sample(struct recording *r, const struct perfdata_record *rec,
			struct recording_event *e)
{
	struct facts f = {.mode = sample_mode_of(rec->misc)};

	e->samples++;
	e->guest_samples += is_guests(f.mode);
	if (e != &r->events.list[r->shown]) {
		if (is_guests(f.mode))
			sample_elsewhere(r, rec, e);
		return;
	}
	f.ip = number_at(rec, e->at.ip, 0);
	f.weight = number_at(rec, e->at.period, e->rate);
	read_task(rec, e, &f);
	if (e->at.time)
		note_time(r, order_u64(rec->bytes + e->at.time, rec->swapped));
	count_sample(r, &f);
}

static struct recording_event *event_of(struct recording *r, const struct perfdata_record *rec)
{
	struct recording_event *e =
		events_of_sample(&r->events, rec->bytes, rec->size, rec->swapped);

	return e && rec->size >= e->at.end ? e : NULL;
}

static void take_sample_of(struct recording *r, const struct perfdata_record *rec,
			   struct recording_event *e)
{
	if (e)
		take_sample(r, rec, e);
	else
		r->strange++;
}

/* Which event is shown is known, or will not be: what was held back for that counts. An event that
 * came meanwhile may have taken the id of one of before. */
static void let_go(struct recording *r)
{
	const struct buf *held = &r->recorder->held;
	struct perfdata_record rec;

	r->recorder->undecided = false;
	for (size_t at = 0; at < held->len; at += sizeof(rec) + rec.size) {
		memcpy(&rec, held->data + at, sizeof(rec));
		rec.bytes = (const uint8_t *)held->data + at + sizeof(rec);
		take_sample_of(r, &rec, event_of(r, &rec));
	}
	buf_deinit(&r->recorder->held);
}

static bool hold(struct buf *held, const struct perfdata_record *rec)
{
	size_t before = held->len;

	if (buf_append(held, rec, sizeof(*rec)) == 0 &&
	    buf_append(held, rec->bytes, rec->size) == 0)
		return true;
	held->len = before;
	return false;
}

/* By what was held back: the first event with most samples of the guests that count. */
static void decide(struct recording *r)
{
	uint64_t most = 0;

	for (size_t i = 0; i < r->events.count; i++) {
		if (r->events.list[i].held_samples <= most)
			continue;
		most = r->events.list[i].held_samples;
		r->recorder->preferred = i;
	}
	if (r->events.count)
		choose_event(r);
	let_go(r);
}

/* What comes by a pipe comes once. Where there are several events its first samples are held back,
 * as many as there is room for. False: it is decided. */
static bool hold_back(struct recording *r, const struct perfdata_record *rec,
		      struct recording_event *e)
{
	if (r->events.count > 1 && hold(&r->recorder->held, rec)) {
		e->held_samples +=
			is_guests(sample_mode_of(rec->misc)) && guest_of(r, rec, e) != NULL;
		return true;
	}
	decide(r);
	return false;
}

static void on_sample(struct recording *r, const struct perfdata_record *rec)
{
	struct recording_event *e = event_of(r, rec);

	if (!e || !r->recorder->undecided || !hold_back(r, rec, e))
		take_sample_of(r, rec, e);
}

static void on_lost(struct recording *r, const struct perfdata_record *rec, size_t at)
{
	if (rec->size >= at + 8)
		r->lost += order_u64(rec->bytes + at, rec->swapped);
}

/* ---- events -------------------------------------------------------------------------------- */

static void on_update(struct recording *r, const struct perfdata_record *rec)
{
	events_update(&r->events, rec->bytes, rec->size, rec->swapped);
	choose_event(r);
}

/* ---- all that comes ------------------------------------------------------------------------ */

static int on_record(void *ctx, const struct perfdata_record *rec)
{
	struct recording *r = ctx;

	switch (rec->type) {
	case PERF_RECORD_SAMPLE: on_sample(r, rec); break;
	case PERF_RECORD_LOST: on_lost(r, rec, HEADER_SIZE + 8); break; /* behind the id */
	case PERF_RECORD_LOST_SAMPLES: on_lost(r, rec, HEADER_SIZE); break;
	case PERF_RECORD_THROTTLE: r->throttled++; break;
	case PERF_RECORD_COMM: recorder_name(r, rec); break;
	case PERF_RECORD_MMAP:
	case PERF_RECORD_MMAP2: recorder_map(r, rec); break;
	case PERFDATA_HEADER_BUILD_ID: recorder_build_id(r, rec); break;
	case PERFDATA_EVENT_UPDATE: on_update(r, rec); break;
	default: break;
	}
	return 0;
}

static int on_attr(void *ctx, const uint8_t *attr, size_t size, const uint8_t *ids, size_t id_bytes,
		   bool swapped)
{
	struct recording *r = ctx;
	int err = events_add(&r->events, attr, size, ids, id_bytes, swapped);

	if (err < 0)
		return errmsg_set(r->recorder->why, err, "has an event that cannot be read: %s",
				  strerrordesc_np(-err));
	choose_event(r);
	return 0;
}

static int on_feature(void *ctx, unsigned feature, const uint8_t *bytes, size_t n, bool swapped)
{
	struct recording *r = ctx;

	if (feature == PERFDATA_FEATURE_EVENT_DESC) {
		events_name(&r->events, bytes, n, swapped);
		choose_event(r);
	}
	return 0;
}

static int on_progress(void *ctx, uint64_t bytes)
{
	const struct recording *r = ctx;
	const struct recording_config *c = r->recorder->config;

	if (c->progress)
		c->progress(c->ctx, bytes, r->recorder->size);
	return 0;
}

static int event_missing(const struct recording *r, const char *wanted, struct errmsg *why)
{
	char names[200] = "";
	size_t len = 0;

	for (size_t i = 0; i < r->events.count && len < sizeof(names); i++) {
		if (!r->events.list[i].is_dummy)
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
						len ? ", " : "", r->events.list[i].name);
	}
	return errmsg_set(why, -ENOENT, "has no event %s; it has %s", wanted,
			  names[0] ? names : "none");
}

static int check_event(const struct recording *r, struct errmsg *why)
{
	const char *wanted = r->recorder->config->event;

	if (r->shown < r->events.count)
		return 0;
	if (!takes_any(r->recorder->config))
		return event_missing(r, wanted, why);
	if (r->facts.end != PERFDATA_WHOLE || (r->facts.pipe && r->events.count == 0))
		return errmsg_set(why, -ENODATA, "is cut off before its first event");
	return errmsg_set(why, -ENODATA, "has no event with samples: record with perf kvm record");
}

/* ---- all of it ----------------------------------------------------------------------------- */

static uint64_t wall_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* For people. */
static const char *name_of(const struct recording_config *config)
{
	return strcmp(config->path, "-") == 0 ? "standard input" : config->path;
}

/* Whoever reads it, later, is in another folder. NULL: no memory, or nobody knows where we are. */
static char *absolute(const char *path)
{
	CLEANUP_FREE char *here = NULL;
	char *whole;

	if (*path == '/')
		return strdup(path);
	here = getcwd(NULL, 0);
	return here && asprintf(&whole, "%s/%s", here, path) >= 0 ? whole : NULL;
}

static struct recording *create(const struct recording_config *config, uint64_t size)
{
	struct recording *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	events_init(&r->events);
	atomic_init(&r->budget.left, RECORDING_MEMORY_MAX);
	r->ended_wall_ns = wall_now_ns();
	r->path = strcmp(config->path, "-") == 0 ? strdup(name_of(config)) : absolute(config->path);
	r->recorder = recorder_create(config, size);
	if (r->path && r->recorder)
		return r;
	recording_free(r);
	return NULL;
}

static int collect(struct recording *r, const struct perfdata_bytes *bytes, struct errmsg *why)
{
	const struct perfdata_handler handler = {
		.attr = on_attr,
		.feature = on_feature,
		.record = on_record,
		.progress = on_progress,
		.ctx = r,
	};
	int err;

	r->recorder->why = why;
	err = perfdata_read(bytes, &handler, &r->facts, why);
	if (r->recorder->undecided)
		decide(r);
	counter_finish(r->recorder->counter);
	if (err == 0)
		err = check_event(r, why);
	if (err == 0)
		recorder_finish(r);
	return err;
}

/* preferred: see struct recorder. */
static int read_once(const struct recording_config *config, const struct perfdata_bytes *bytes,
		     uint64_t size, size_t preferred, struct recording **ret, struct errmsg *why)
{
	struct recording *r = create(config, size);
	int err;

	if (!r) {
		errmsg_set(why, -ENOMEM, "no memory to read it");
		return -ENOMEM;
	}
	r->recorder->preferred = preferred;
	r->recorder->undecided = !bytes->seekable && takes_any(config);
	err = collect(r, bytes, why);
	recorder_destroy(take_ptr(r->recorder));
	if (err < 0)
		recording_free(r);
	else
		*ret = r;
	return err;
}

/* The first event with most samples of the guests that count; SIZE_MAX: that is shown. */
static size_t better_event(const struct recording_config *config, const struct recording *r)
{
	const struct recording_events *e = &r->events;
	size_t best = r->shown;

	if (!takes_any(config))
		return SIZE_MAX;
	for (size_t i = 0; i < e->count; i++) {
		if (e->list[i].served_samples > e->list[best].served_samples)
			best = i;
	}
	return best == r->shown ? SIZE_MAX : best;
}

int recording_read_bytes(const struct recording_config *config, const struct perfdata_bytes *bytes,
			 uint64_t size, struct recording **ret, struct errmsg *why)
{
	struct recording *r = NULL;
	size_t better;
	int err = read_once(config, bytes, size, SIZE_MAX, &r, why);

	if (err < 0)
		return err;
	better = bytes->seekable ? better_event(config, r) : SIZE_MAX;
	if (better == SIZE_MAX) {
		*ret = r;
		return 0;
	}
	recording_free(r);
	return read_once(config, bytes, size, better, ret, why);
}

static void free_guest(struct recording_guest *g)
{
	counts_deinit(&g->table);
	free(g->vcpus);
	free(g->maps);
	free(g->build_ids);
	free(g);
}

void recording_free(struct recording *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->guest_count; i++)
		free_guest(r->guests[i]);
	free(r->guests);
	events_deinit(&r->events);
	recorder_destroy(r->recorder);
	free(r->path);
	free(r);
}

const struct recording_guest *recording_find(const struct recording *r, pid_t pid)
{
	for (size_t i = 0; i < r->guest_count; i++) {
		if (r->guests[i]->pid == pid)
			return r->guests[i];
	}
	return NULL;
}

const struct recording_elsewhere *recording_elsewhere(const struct recording_guest *g)
{
	const struct recording_elsewhere *most = NULL;

	for (size_t i = 0; i < g->elsewhere_count; i++) {
		if (!most || g->elsewhere[i].samples > most->samples)
			most = &g->elsewhere[i];
	}
	return g->kernel || g->user ? NULL : most;
}

const struct recording_guest *recording_maps_of(const struct recording *r,
						const struct recording_guest *g)
{
	const struct recording_guest *other = g->map_count ? NULL : recording_find(r, 0);

	return other ? other : g;
}

const struct recording_map *recording_kernel_map(const struct recording_guest *g)
{
	for (size_t i = 0; i < g->map_count; i++) {
		if (g->maps[i].kernel && g->maps[i].symbol[0])
			return &g->maps[i];
	}
	return NULL;
}

const struct recording_build_id *recording_kernel_id(const struct recording_guest *g)
{
	for (size_t i = 0; i < g->build_id_count; i++) {
		if (g->build_ids[i].kernel)
			return &g->build_ids[i];
	}
	return NULL;
}

const struct recording_map *recording_map_at(const struct recording_guest *g, uint64_t ip)
{
	size_t from = 0, to = g->map_count;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (g->maps[mid].start <= ip)
			from = mid + 1;
		else
			to = mid;
	}
	return from && ip < g->maps[from - 1].end ? &g->maps[from - 1] : NULL;
}

/* ---- a file -------------------------------------------------------------------------------- */

struct opened {
	int fd;
	bool seekable;
};

static ssize_t read_opened(void *ctx, uint64_t offset, void *to, size_t n)
{
	const struct opened *o = ctx;
	ssize_t got;

	if (offset > INT64_MAX)
		return 0;
	do
		got = o->seekable ? pread(o->fd, to, n, (off_t)offset) : read(o->fd, to, n);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

static bool is_fifo(const char *path)
{
	struct stat st;

	return strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* A directory is what `perf record --kcore` and `--threads` make. */
static int open_path(const char *path, struct stat *st, struct errmsg *why)
{
	char inside[4096];
	int fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
					: open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0 && fstat(fd, st) == 0 && S_ISDIR(st->st_mode)) {
		close(fd);
		snprintf(inside, sizeof(inside), "%s/data.0", path);
		if (access(inside, F_OK) == 0)
			return errmsg_set(why, -EOPNOTSUPP,
					  "was recorded with --threads, which is not read here: "
					  "record without");
		snprintf(inside, sizeof(inside), "%s/data", path);
		fd = open(inside, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (fd < 0 && errno == ENOENT)
			return errmsg_set(why, -EISDIR,
					  "is a directory, and none that perf record made: it has "
					  "no file data");
	}
	if (fd < 0 || fstat(fd, st) < 0) {
		int err = -errno;

		close_keep_errno(fd);
		return errmsg_set(why, err, "cannot be opened: %s", strerrordesc_np(-err));
	}
	return fd;
}

static int read_path(const struct recording_config *config, struct recording **ret,
		     struct errmsg *why)
{
	struct stat st = {0};
	struct opened o = {.fd = -1};
	const struct perfdata_bytes bytes = {.read = read_opened, .ctx = &o};
	struct perfdata_bytes as = bytes;
	struct recording *r = NULL;
	int err;

	/* Opening it waits for somebody who writes. */
	if (config->progress && is_fifo(config->path))
		config->progress(config->ctx, 0, 0);
	o.fd = open_path(config->path, &st, why);
	if (o.fd < 0)
		return o.fd;
	as.seekable = o.seekable = S_ISREG(st.st_mode) && lseek(o.fd, 0, SEEK_CUR) == 0;
	if (o.seekable)
		posix_fadvise(o.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	else if (config->progress)
		config->progress(config->ctx, 0, 0);
	err = recording_read_bytes(config, &as, o.seekable ? (uint64_t)st.st_size : 0, &r, why);
	/* As perf has it: "captured on". */
	if (r && o.seekable)
		r->ended_wall_ns =
			(uint64_t)st.st_mtim.tv_sec * NSEC_PER_SEC + (uint64_t)st.st_mtim.tv_nsec;
	*ret = r;
	close_keep_errno(o.fd);
	return err;
}

int recording_read(const struct recording_config *config, struct recording **ret,
		   struct errmsg *why)
{
	struct errmsg what = {0};
	int err = read_path(config, ret, &what);

	if (err < 0)
		return errmsg_set(why, err, "cannot serve %s: it %s", name_of(config), what.text);
	return 0;
}
