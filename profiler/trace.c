#include "profiler/trace.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "profiler/traceguest.h"
#include "profiler/tracefsroot.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/thread.h"

#define EPOLL_BATCH	 64
#define TICKS_PER_SECOND (NSEC_PER_SEC / TRACE_TICK_NS)

/* A reader that the thread does not know yet. */
struct joining {
	uint64_t serial;
	struct feed *feed; /* the writing side */
};

/* The events that were chosen for a guest. */
struct selection {
	uint64_t serial;
	uint64_t version; /* never used twice */
	bool all;	  /* no event was named */
	struct tracefs_events events;
};

/* A guest that is traced. */
struct traced {
	struct traceguest *guest;
	uint64_t version; /* of its selection; 0: all events */
};

struct trace {
	struct trace_config config;

	struct mutex lock; /* a leaf */
	bool stopped;	   /* lock: no thread looks any more */
	size_t joining_count;
	struct joining joining[TRACE_READERS_MAX]; /* lock */
	size_t reading; /* lock: readers, as the thread counted them last */
	size_t selection_count;
	struct selection *selections; /* lock */
	uint64_t last_version;	      /* lock */

	/* The thread's. */
	struct traceguest_shared shared;
	struct ring_scratch scratch;
	bool knows_formats;
	size_t traced_count;
	struct traced traced[TRACE_READERS_MAX];
	unsigned ticks;
	bool ticking, tick_due, look_due;

	int epoll_fd, timer_fd, wake_fd, stop_fd;
	bool subscribed, started;
	pthread_t thread;
};

/* -- choosing events ----------------------------------------------------------------------- */

static int copy_events(const struct tracefs_events *from, struct tracefs_events *ret)
{
	struct tracefs_event *list = calloc(from->count + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	memcpy(list, from->list, from->count * sizeof(*list));
	ret->count = from->count;
	ret->list = list;
	return 0;
}

/* Marks the events that the word names. */
static bool mark_word(const struct tracefs_events *all, const char *word, bool *chosen)
{
	size_t prefix = strlen(TRACE_SUBSYSTEM ":");
	bool found = false;

	if (strncmp(word, TRACE_SUBSYSTEM ":", prefix) == 0)
		word += prefix;
	for (size_t i = 0; i < all->count; i++) {
		if (fnmatch(word, all->list[i].name, 0) != 0)
			continue;
		chosen[i] = true;
		found = true;
	}
	return found;
}

static int no_event(const char *word, struct errmsg *why)
{
	return errmsg_set(
		why, -EINVAL,
		"trace: '%.64s' is no event: %s events/" TRACE_SUBSYSTEM " of tracefs", word,
		tracefs_is_mounted() ? "those of this host are in"
				     : "once tracefs is mounted (mount -t tracefs tracefs "
				       "/sys/kernel/tracing) those of this host are in");
}

static int mark_words(const struct tracefs_events *all, char *words, bool *chosen,
		      struct errmsg *why)
{
	char *rest = NULL;

	for (char *w = strtok_r(words, " \t", &rest); w; w = strtok_r(NULL, " \t", &rest)) {
		if (!mark_word(all, w, chosen))
			return no_event(w, why);
	}
	return 0;
}

/* Leaves the chosen ones. */
static int choose(struct tracefs_events *events, const char *words, size_t n, struct errmsg *why)
{
	CLEANUP_FREE bool *chosen = calloc(events->count + 1, sizeof(*chosen));
	CLEANUP_FREE char *text = strndup(words, n);
	size_t count = 0;
	int r;

	if (!chosen || !text)
		return errmsg_set(why, -ENOMEM, "trace: out of memory");
	r = mark_words(events, text, chosen, why);
	if (r < 0)
		return r;
	for (size_t i = 0; i < events->count; i++) {
		if (chosen[i])
			events->list[count++] = events->list[i];
	}
	if (count) /* no word at all: all of them */
		events->count = count;
	return 0;
}

static struct selection *with_lock__find_selection(struct trace *t, uint64_t serial)
{
	for (size_t i = 0; i < t->selection_count; i++) {
		if (t->selections[i].serial == serial)
			return &t->selections[i];
	}
	return NULL;
}

/* Takes the events over. */
static int with_lock__put_selection(struct trace *t, uint64_t serial, struct tracefs_events events,
				    bool all)
{
	struct selection *s = with_lock__find_selection(t, serial);

	if (!s) {
		s = reallocarray(t->selections, t->selection_count + 1, sizeof(*s));
		if (!s)
			return -ENOMEM;
		t->selections = s;
		s = &s[t->selection_count++];
		*s = (struct selection){.serial = serial};
	}
	tracefs_events_deinit(&s->events);
	s->events = events;
	s->all = all;
	s->version = ++t->last_version;
	return 0;
}

static bool is_guest(struct trace *t, uint64_t serial)
{
	const struct guest_set *set = guests_acquire(t->config.guests);
	bool found = guest_set_find_serial(set, serial) != NULL;

	guest_set_put(set);
	return found;
}

/* The VMM of a guest that can be traced. */
static int find_guest(struct trace *t, uint64_t serial, pid_t *ret, struct errmsg *why)
{
	const struct guest_set *set = guests_acquire(t->config.guests);
	const struct guest_entry *e = guest_set_find_serial(set, serial);
	int r = 0;

	if (!e)
		r = errmsg_set(why, -ESRCH, "the guest is gone");
	else if (e->guest->accel == GUEST_ACCEL_TCG)
		r = errmsg_set(why, -EOPNOTSUPP, "no events: under TCG the guest runs without KVM");
	else
		*ret = e->guest->pid;
	guest_set_put(set);
	return r;
}

/* All of them, as tracefs has them now: KVM's modules come and go. */
static int list_events(struct tracefs_events *ret, struct errmsg *why)
{
	struct tracefs_root root;
	int r = tracefs_root_open(&root, why);

	if (r < 0)
		return r;
	r = tracefs_list(root.path, TRACE_SUBSYSTEM, ret, why);
	tracefs_root_close(&root);
	return r;
}

/* Those that the words choose. */
static int choose_events(struct trace *t, uint64_t serial, const char *words, size_t n,
			 struct tracefs_events *ret, struct errmsg *why)
{
	pid_t pid;
	int r = find_guest(t, serial, &pid, why);

	if (r == 0)
		r = list_events(ret, why);
	return r == 0 ? choose(ret, words, n, why) : r;
}

int trace_check(struct trace *t, uint64_t serial, const char *words, size_t n, struct errmsg *why)
{
	struct tracefs_events events = {0};
	int r = choose_events(t, serial, words, n, &events, why);

	tracefs_events_deinit(&events);
	return r;
}

int trace_select(struct trace *t, uint64_t serial, const char *words, size_t n, struct errmsg *why)
{
	struct tracefs_events events = {0};
	int r = choose_events(t, serial, words, n, &events, why);

	if (r == 0) {
		mutex_lock(&t->lock);
		r = with_lock__put_selection(t, serial, events, n == 0);
		mutex_unlock(&t->lock);
		if (r < 0)
			errmsg_set(why, r, "trace: out of memory");
	}
	if (r < 0)
		tracefs_events_deinit(&events);
	else
		io_wake(t->wake_fd);
	return r;
}

void trace_selected(struct trace *t, uint64_t serial, struct buf *out)
{
	const struct selection *s;

	mutex_lock(&t->lock);
	s = with_lock__find_selection(t, serial);
	for (size_t i = 0; s && !s->all && i < s->events.count; i++)
		buf_printf(out, " %s", s->events.list[i].name);
	mutex_unlock(&t->lock);
}

/* Selections of guests that are gone. */
static void forget_selections(struct trace *t, const struct guest_set *set)
{
	mutex_lock(&t->lock);
	for (size_t i = t->selection_count; i > 0; i--) {
		struct selection *s = &t->selections[i - 1];

		if (guest_set_find_serial(set, s->serial))
			continue;
		tracefs_events_deinit(&s->events);
		*s = t->selections[--t->selection_count];
	}
	mutex_unlock(&t->lock);
}

/* The events to be traced of the guest, and the version of its selection. */
static int events_of(struct trace *t, uint64_t serial, struct tracefs_events *ret,
		     uint64_t *ret_version, struct errmsg *why)
{
	struct selection *s;
	int r = 0;

	*ret_version = 0;
	mutex_lock(&t->lock);
	s = with_lock__find_selection(t, serial);
	if (s) {
		*ret_version = s->version;
		r = copy_events(&s->events, ret);
	}
	mutex_unlock(&t->lock);
	if (r < 0)
		return errmsg_set(why, r, "out of memory");
	return s ? 0 : list_events(ret, why);
}

static uint64_t version_of(struct trace *t, uint64_t serial)
{
	struct selection *s;
	uint64_t version;

	mutex_lock(&t->lock);
	s = with_lock__find_selection(t, serial);
	version = s ? s->version : 0;
	mutex_unlock(&t->lock);
	return version;
}

/* -- readers ------------------------------------------------------------------------------- */

static int with_lock__join(struct trace *t, uint64_t serial, int wake_fd, struct feed **ret)
{
	struct feed *feed;

	if (t->stopped)
		return -ESRCH;
	if (t->joining_count + t->reading >= TRACE_READERS_MAX)
		return -EMFILE;
	feed = feed_create(TRACE_FEED_BYTES, wake_fd);
	if (!feed)
		return -ENOMEM;
	t->joining[t->joining_count++] = (struct joining){serial, feed};
	*ret = feed;
	return 0;
}

int trace_open(struct trace *t, uint64_t serial, int wake_fd, struct feed **ret)
{
	int r = is_guest(t, serial) ? 0 : -ESRCH;

	if (r < 0)
		return r;
	mutex_lock(&t->lock);
	r = with_lock__join(t, serial, wake_fd, ret);
	mutex_unlock(&t->lock);
	if (r == 0)
		io_wake(t->wake_fd);
	return r;
}

/* One line instead of events. */
static void refuse(struct feed *feed, const char *why)
{
	char line[400];
	int n = snprintf(line, sizeof(line), "# %s\n", why);

	feed_write(feed, line, (size_t)n);
	feed_end(feed);
	feed_put(feed);
}

/* ---- the thread: guests that are traced --------------------------------------------------- */

static int learn_formats_from(struct trace *t, const char *root)
{
	struct tracefs_events all = {0};
	int r = tracefs_list(root, TRACE_SUBSYSTEM, &all, NULL);

	for (size_t i = 0; i < all.count; i++) {
		CLEANUP_BUF struct buf b;

		buf_init(&b, TRACEFS_FORMAT_MAX);
		if (tracefs_format(root, TRACE_SUBSYSTEM, all.list[i].name, &b) == 0)
			traceline_add(t->shared.lines, TRACE_SUBSYSTEM, b.data, b.len);
	}
	tracefs_events_deinit(&all);
	return r;
}

static void learn_formats(struct trace *t)
{
	struct tracefs_root root;

	if (t->knows_formats || tracefs_root_open(&root, NULL) < 0)
		return;
	t->knows_formats = learn_formats_from(t, root.path) == 0;
	tracefs_root_close(&root);
}

static int explain(int err, struct errmsg *why)
{
	switch (err) {
	case -ESRCH:
	case -ENOENT: return errmsg_set(why, err, "the guest is gone");
	case -EACCES:
	case -EPERM:
		return errmsg_set(
			why, err,
			"no permission to trace the VMM's threads: run kvmprofs as root or "
			"with CAP_PERFMON and CAP_SYS_PTRACE; in a container its seccomp "
			"filter may be the cause");
	case -EMFILE:
		return errmsg_set(why, err,
				  "too many open files, one is needed for each event and thread: "
				  "choose fewer events in control, or raise `ulimit -n`");
	default:
		return errmsg_set(why, err, "cannot trace the VMM's threads: %s",
				  strerrordesc_np(-err));
	}
}

static int start_guest(struct trace *t, uint64_t serial, struct errmsg *why)
{
	struct tracefs_events events = {0};
	struct traced new = {0};
	pid_t pid = 0;
	int r = find_guest(t, serial, &pid, why);

	if (r == 0)
		r = events_of(t, serial, &events, &new.version, why);
	if (r < 0)
		return r;
	learn_formats(t);
	new.guest = traceguest_create(&t->shared, serial, pid, &events);
	if (!new.guest) {
		tracefs_events_deinit(&events);
		return errmsg_set(why, -ENOMEM, "out of memory");
	}
	r = traceguest_follow_threads(new.guest);
	if (r < 0) {
		traceguest_end(new.guest);
		return explain(r, why);
	}
	t->traced[t->traced_count++] = new;
	return 0;
}

static struct traced *find_traced(struct trace *t, uint64_t serial)
{
	for (size_t i = 0; i < t->traced_count; i++) {
		if (traceguest_serial(t->traced[i].guest) == serial)
			return &t->traced[i];
	}
	return NULL;
}

static void join(struct trace *t, const struct joining *j)
{
	struct traced *traced = find_traced(t, j->serial);
	struct errmsg why;

	if (!traced) {
		if (start_guest(t, j->serial, &why) < 0) {
			refuse(j->feed, why.text);
			return;
		}
		traced = find_traced(t, j->serial);
	}
	traceguest_add_reader(traced->guest, j->feed);
}

static void join_all(struct trace *t)
{
	struct joining list[TRACE_READERS_MAX];
	size_t n;

	mutex_lock(&t->lock);
	n = t->joining_count;
	memcpy(list, t->joining, n * sizeof(*list));
	t->joining_count = 0;
	t->reading += n;
	mutex_unlock(&t->lock);
	for (size_t i = 0; i < n; i++)
		join(t, &list[i]);
}

/* Events that were chosen since. */
static void follow_selection(struct trace *t, struct traced *traced)
{
	uint64_t serial = traceguest_serial(traced->guest);
	struct tracefs_events events = {0};

	if (version_of(t, serial) == traced->version ||
	    events_of(t, serial, &events, &traced->version, NULL) < 0)
		return;
	traceguest_drain(traced->guest, UINT64_MAX);
	traceguest_set_events(traced->guest, &events);
	traceguest_follow_threads(traced->guest);
}

static void drop(struct trace *t, size_t i)
{
	traceguest_end(t->traced[i].guest);
	t->traced[i] = t->traced[--t->traced_count];
}

/* What nobody reads, and guests that are gone, whose last events go out before the end. */
static void prune(struct trace *t)
{
	const struct guest_set *set = guests_acquire(t->config.guests);
	size_t reading = 0;

	for (size_t i = t->traced_count; i > 0; i--) {
		struct traceguest *g = t->traced[i - 1].guest;
		bool gone = !guest_set_find_serial(set, traceguest_serial(g));

		if (gone)
			traceguest_drain(g, UINT64_MAX);
		if (gone || traceguest_reader_count(g) == 0)
			drop(t, i - 1);
		else
			reading += traceguest_reader_count(g);
	}
	forget_selections(t, set);
	guest_set_put(set);
	mutex_lock(&t->lock);
	t->reading = reading;
	mutex_unlock(&t->lock);
}

/* Nothing ticks while nobody reads. */
static void set_timer(struct trace *t)
{
	struct itimerspec spec = {.it_interval.tv_nsec = (long)TRACE_TICK_NS,
				  .it_value.tv_nsec = (long)TRACE_TICK_NS};
	bool wanted = t->traced_count > 0;

	if (wanted == t->ticking)
		return;
	if (!wanted)
		spec = (struct itimerspec){0};
	timerfd_settime(t->timer_fd, 0, &spec, NULL);
	t->ticking = wanted;
}

static void drain_all(struct trace *t)
{
	uint64_t now = clock_now_ns();

	for (size_t i = 0; i < t->traced_count; i++)
		traceguest_drain(t->traced[i].guest, now);
}

static void look(struct trace *t)
{
	join_all(t);
	for (size_t i = 0; i < t->traced_count; i++)
		follow_selection(t, &t->traced[i]);
}

static void tick(struct trace *t)
{
	if (++t->ticks % TICKS_PER_SECOND)
		return;
	for (size_t i = 0; i < t->traced_count; i++)
		traceguest_follow_threads(t->traced[i].guest);
}

static void on_event(struct trace *t, const struct epoll_event *ev)
{
	uint64_t expirations;

	if (ev->data.ptr == &t->timer_fd) {
		t->tick_due = read(t->timer_fd, &expirations, sizeof(expirations)) > 0;
	} else if (ev->data.ptr == &t->wake_fd) {
		io_wake_clear(t->wake_fd);
		t->look_due = true;
	} else if (ev->events & (EPOLLHUP | EPOLLERR)) {
		((struct threadring *)ev->data.ptr)->hung_up = true;
	}
}

/* Rings are freed after all events of a batch, which may point at them. */
static void after_events(struct trace *t)
{
	drain_all(t);
	if (t->look_due)
		look(t);
	if (t->tick_due)
		tick(t);
	prune(t);
	set_timer(t);
	t->tick_due = t->look_due = false;
}

static void *trace_main(void *arg)
{
	struct epoll_event events[EPOLL_BATCH];
	struct trace *t = arg;

	for (;;) {
		int n = epoll_wait(t->epoll_fd, events, EPOLL_BATCH, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &t->stop_fd)
				return NULL;
			on_event(t, &events[i]);
		}
		after_events(t);
	}
}

/* ---- life -------------------------------------------------------------------------------- */

static int add_fd(struct trace *t, int *fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = fd};

	return epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, *fd, &ev) < 0 ? -errno : 0;
}

static int make_fds(struct trace *t)
{
	int r;

	t->epoll_fd = t->shared.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->epoll_fd < 0 || t->timer_fd < 0)
		return -errno;
	t->wake_fd = io_wake_create();
	t->stop_fd = io_wake_create();
	if (t->wake_fd < 0 || t->stop_fd < 0)
		return t->wake_fd < 0 ? t->wake_fd : t->stop_fd;
	r = add_fd(t, &t->timer_fd);
	if (r == 0)
		r = add_fd(t, &t->wake_fd);
	return r < 0 ? r : add_fd(t, &t->stop_fd);
}

int trace_create(const struct trace_config *config, struct trace **ret, struct errmsg *why)
{
	struct trace *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return errmsg_set(why, -ENOMEM, "no memory for traces");
	t->config = *config;
	t->epoll_fd = t->timer_fd = t->wake_fd = t->stop_fd = -1;
	mutex_init(&t->lock);
	t->shared = (struct traceguest_shared){
		.proc = config->proc, .lines = traceline_create(), .scratch = &t->scratch};
	r = t->shared.lines ? make_fds(t) : -ENOMEM;
	if (r < 0) {
		trace_destroy(t);
		return errmsg_set(why, r, "traces: %s", strerrordesc_np(-r));
	}
	*ret = t;
	return 0;
}

void trace_destroy(struct trace *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->selection_count; i++)
		tracefs_events_deinit(&t->selections[i].events);
	free(t->selections);
	traceline_destroy(t->shared.lines);
	close_keep_errno(t->stop_fd);
	close_keep_errno(t->wake_fd);
	close_keep_errno(t->timer_fd);
	close_keep_errno(t->epoll_fd);
	mutex_deinit(&t->lock);
	free(t);
}

/* Half of the files that we may open; the rest of the daemon needs some. */
static size_t most_fds(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 512 : limit.rlim_cur / 2;
}

int trace_start(struct trace *t, struct errmsg *why)
{
	int r = guests_subscribe(t->config.guests, t->wake_fd);

	t->subscribed = r == 0;
	t->shared.fds_max = most_fds();
	if (r == 0)
		r = thread_start(&t->thread, "kp-trace", trace_main, t);
	t->started = r == 0;
	if (r < 0) {
		trace_stop(t);
		return errmsg_set(why, r, "cannot start the thread of traces: %s",
				  strerrordesc_np(-r));
	}
	return 0;
}

static void end_all(struct trace *t)
{
	while (t->traced_count)
		drop(t, t->traced_count - 1);
	mutex_lock(&t->lock);
	t->stopped = true;
	for (size_t i = 0; i < t->joining_count; i++) {
		feed_end(t->joining[i].feed);
		feed_put(t->joining[i].feed);
	}
	t->joining_count = 0;
	mutex_unlock(&t->lock);
}

void trace_stop(struct trace *t)
{
	if (t->subscribed)
		guests_unsubscribe(t->config.guests, t->wake_fd);
	t->subscribed = false;
	if (t->started) {
		io_wake(t->stop_fd);
		pthread_join(t->thread, NULL);
	}
	t->started = false;
	end_all(t);
}
