#include "profiler/qmpsampler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "profiler/qmpsession.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"

#define EPOLL_BATCH 64
#define NEVER	    UINT64_MAX

struct qmpsampler {
	struct qmpsampler_config config;
	struct qmpsession_owner owner;
	/* The thread's alone: */
	const struct tally_set *set;
	struct qmpsession **sessions; /* by the guest's index in the set; NULL: not sampled so */
	uint64_t next_ns;	      /* when a session has something to do */

	int wake_fd; /* a guest has changed hands, or the set has changed */
	int stop_fd;
	bool subscribed;
	bool started;
	pthread_t thread;
};

unsigned qmpsampler_hz(size_t vcpus, unsigned max)
{
	size_t hz = QMPSAMPLER_VCPUS_PER_SEC / (vcpus ? vcpus : 1);

	if (hz > QMPSAMPLER_HZ)
		hz = QMPSAMPLER_HZ;
	if (max && hz > max)
		hz = max;
	return hz ? (unsigned)hz : 1;
}

/* ---- who is to be sampled ---------------------------------------------------------------- */

static bool is_wanted(const struct tally_set *set, size_t i)
{
	return set->guests->entries[i].guest->links.qmp_path[0] &&
	       tally_sampler(set->tallies[i]) == SAMPLER_KIND_QMP;
}

/* The session that this guest had by the old set, taken out of there. */
static struct qmpsession *take_session(struct qmpsampler *q, const struct guest *g)
{
	const struct guest_entry *before = guest_set_find_pid(q->set->guests, g->pid);

	if (!before || before->guest->serial != g->serial)
		return NULL;
	return take_ptr(q->sessions[before - q->set->guests->entries]);
}

static void drop_sessions(struct qmpsampler *q)
{
	for (size_t i = 0; i < q->set->guests->count; i++)
		qmpsession_destroy(q->sessions[i]);
	free(q->sessions);
}

/* Moves the sessions over to the newest set. */
static void follow_set(struct qmpsampler *q)
{
	const struct tally_set *set = tallies_acquire(q->config.tallies);
	struct qmpsession **sessions = calloc(set->guests->count + 1, sizeof(struct qmpsession *));

	if (!sessions) {
		tally_set_put(set);
		return;
	}
	for (size_t i = 0; i < set->guests->count; i++) {
		sessions[i] = take_session(q, set->guests->entries[i].guest);
		if (sessions[i])
			qmpsession_update(sessions[i], &set->guests->entries[i]);
	}
	drop_sessions(q);
	tally_set_put(q->set);
	q->set = set;
	q->sessions = sessions;
}

/* Begins and ends sessions as the tallies say. */
static void follow_choices(struct qmpsampler *q)
{
	const struct tally_set *set = q->set;

	for (size_t i = 0; i < set->guests->count; i++) {
		bool wanted = is_wanted(set, i);

		if (wanted && !q->sessions[i]) {
			q->sessions[i] = qmpsession_create(&q->owner, &set->guests->entries[i],
							   set->tallies[i]);
		} else if (!wanted && q->sessions[i]) {
			qmpsession_destroy(q->sessions[i]);
			q->sessions[i] = NULL;
		}
	}
	q->next_ns = 0;
}

/* ---- the thread -------------------------------------------------------------------------- */

static void take_samples(struct qmpsampler *q, struct qmpsession *s)
{
	struct totals_delta found = {.qmp = s->samples};

	if (s->samples)
		totals_add(q->config.totals, &found);
	s->samples = 0;
}

static void tick_session(struct qmpsampler *q, struct qmpsession *s, uint64_t now)
{
	uint64_t next = qmpsession_tick(s, now);

	take_samples(q, s);
	if (next < q->next_ns)
		q->next_ns = next;
}

static void tick_all(struct qmpsampler *q)
{
	uint64_t now = clock_now_ns();

	q->next_ns = NEVER;
	for (size_t i = 0; i < q->set->guests->count; i++) {
		if (q->sessions[i])
			tick_session(q, q->sessions[i], now);
	}
}

static void on_session(struct qmpsampler *q, struct qmpsession *s)
{
	uint64_t now = clock_now_ns();

	qmpsession_ready(s, now);
	tick_session(q, s, now);
}

/* False: the order to stop. Sessions come and go only after all events of a batch. */
static bool on_events(struct qmpsampler *q, const struct epoll_event *events, int n,
		      bool *ret_woken)
{
	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr == &q->stop_fd)
			return false;
		if (events[i].data.ptr == &q->wake_fd)
			*ret_woken = true;
		else
			on_session(q, events[i].data.ptr);
	}
	return true;
}

static int timeout_ms(const struct qmpsampler *q)
{
	return q->next_ns == NEVER ? -1 : clock_left_ms(q->next_ns);
}

static void *qmpsampler_main(void *arg)
{
	struct epoll_event events[EPOLL_BATCH];
	struct qmpsampler *q = arg;
	bool woken = true;

	for (;;) {
		int n;

		if (woken) {
			io_wake_clear(q->wake_fd);
			follow_set(q);
			follow_choices(q);
		}
		if (clock_now_ns() >= q->next_ns)
			tick_all(q);
		woken = false;
		n = epoll_wait(q->owner.epoll_fd, events, EPOLL_BATCH, timeout_ms(q));
		if (!on_events(q, events, n, &woken))
			return NULL;
	}
}

/* ---- life -------------------------------------------------------------------------------- */

static int add_fd(struct qmpsampler *q, int *fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = fd};

	return epoll_ctl(q->owner.epoll_fd, EPOLL_CTL_ADD, *fd, &ev) < 0 ? -errno : 0;
}

static int make_fds(struct qmpsampler *q)
{
	int r;

	q->owner.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (q->owner.epoll_fd < 0)
		return -errno;
	q->wake_fd = io_wake_create();
	q->stop_fd = io_wake_create();
	if (q->wake_fd < 0 || q->stop_fd < 0)
		return q->wake_fd < 0 ? q->wake_fd : q->stop_fd;
	r = add_fd(q, &q->wake_fd);
	return r < 0 ? r : add_fd(q, &q->stop_fd);
}

static int init(struct qmpsampler *q, const struct qmpsampler_config *config)
{
	q->config = *config;
	q->owner = (struct qmpsession_owner){.guests = config->guests,
					     .epoll_fd = -1,
					     .livedata = config->livedata,
					     .has_symbols = config->has_symbols,
					     .recovered = config->recovered,
					     .port_opened = config->port_opened,
					     .look_for_names = config->look_for_names,
					     .ctx = config->ctx,
					     .freq = config->freq};
	q->wake_fd = q->stop_fd = -1;
	q->set = tallies_acquire(config->tallies);
	q->sessions = calloc(q->set->guests->count + 1, sizeof(struct qmpsession *));
	return q->sessions ? make_fds(q) : -ENOMEM;
}

int qmpsampler_create(const struct qmpsampler_config *config, struct qmpsampler **ret,
		      struct errmsg *why)
{
	struct qmpsampler *q = calloc(1, sizeof(*q));
	int r = q ? init(q, config) : -ENOMEM;

	if (r < 0) {
		qmpsampler_destroy(q);
		return errmsg_set(why, r, "QMP sampler: %s", strerrordesc_np(-r));
	}
	*ret = q;
	return 0;
}

int qmpsampler_wake_fd(const struct qmpsampler *q)
{
	return q->wake_fd;
}

void qmpsampler_destroy(struct qmpsampler *q)
{
	if (!q)
		return;
	if (q->sessions)
		drop_sessions(q);
	tally_set_put(q->set);
	close_keep_errno(q->stop_fd);
	close_keep_errno(q->wake_fd);
	close_keep_errno(q->owner.epoll_fd);
	free(q);
}

int qmpsampler_start(struct qmpsampler *q, struct errmsg *why)
{
	int r = guests_subscribe(q->config.guests, q->wake_fd);

	q->subscribed = r == 0;
	if (r == 0)
		r = thread_start(&q->thread, "kp-qmp", qmpsampler_main, q);
	if (r < 0) {
		qmpsampler_stop(q);
		return errmsg_set(why, r, "cannot start the QMP sampler: %s", strerrordesc_np(-r));
	}
	q->started = true;
	return 0;
}

void qmpsampler_stop(struct qmpsampler *q)
{
	if (q->subscribed)
		guests_unsubscribe(q->config.guests, q->wake_fd);
	q->subscribed = false;
	if (!q->started)
		return;
	io_wake(q->stop_fd);
	pthread_join(q->thread, NULL);
	q->started = false;
}
