#include "profiler/qmpstats.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/statlog.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"
#include "symsrc/qmp.h"

struct answer {
	uint64_t serial;
	bool wanted;		     /* somebody has asked since it was fetched */
	struct kvmstats now, before; /* taken_ns 0: none */
};

struct qmpstats {
	struct guests *guests;
	struct statlog *log;
	bool started; /* caller's threads only, one at a time */
	pthread_t thread;

	struct mutex lock;	 /* a leaf */
	struct cond asked;	 /* something is wanted, or the thread is to stop */
	bool stop;		 /* lock */
	size_t count;		 /* lock */
	struct answer **answers; /* lock */
};

/* -- an answer ----------------------------------------------------------------------------- */

static void add_stat(struct json_object *stat, struct kvmstats *ret)
{
	struct json_object *name, *value;

	if (json_object_object_get_ex(stat, "name", &name) &&
	    json_object_object_get_ex(stat, "value", &value) &&
	    json_object_is_type(name, json_type_string) &&
	    json_object_is_type(value, json_type_int))
		kvmstats_add_value(ret, json_object_get_string(name),
				   json_object_get_uint64(value));
}

int qmpstats_parse(struct json_object *value, struct kvmstats *ret)
{
	if (!json_object_is_type(value, json_type_array))
		return -EBADMSG;
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		struct json_object *result = json_object_array_get_idx(value, i);
		struct json_object *stats;

		if (!json_object_object_get_ex(result, "stats", &stats) ||
		    !json_object_is_type(stats, json_type_array))
			continue;
		for (size_t k = 0; k < json_object_array_length(stats); k++)
			add_stat(json_object_array_get_idx(stats, k), ret);
	}
	return 0;
}

/* -- a session ----------------------------------------------------------------------------- */

static void on_reply(void *ctx, const struct qmp_reply *reply)
{
	struct kvmstats *s = ctx;

	/* A VMM that does not know the command has nothing to tell, and that is all. */
	if (reply->code == 0 && qmpstats_parse(reply->value, s) == 0)
		s->taken_ns = clock_now_ns();
}

static int ask(struct qmp *q, const char *target, struct kvmstats *s)
{
	struct json_object *arguments = json_object_new_object();

	if (!arguments)
		return -ENOMEM;
	json_object_object_add(arguments, "target", json_object_new_string(target));
	return qmp_execute(q, "query-stats", arguments, on_reply, s);
}

static int fetch(const char *path, struct kvmstats *ret)
{
	struct qmp *q;
	int r = qmp_connect(path, NULL, NULL, &q, NULL);

	if (r < 0)
		return r;
	r = ask(q, "vm", ret);
	if (r == 0)
		r = ask(q, "vcpu", ret);
	if (r == 0)
		r = qmp_wait_idle(q, clock_now_ns() + QMPSTATS_ANSWER_NS);
	qmp_destroy(q);
	return r == 0 && ret->taken_ns == 0 ? -ENODATA : r;
}

/* -- the thread ---------------------------------------------------------------------------- */

static struct answer *with_lock__find(struct qmpstats *q, uint64_t serial)
{
	for (size_t i = 0; i < q->count; i++) {
		if (q->answers[i]->serial == serial)
			return q->answers[i];
	}
	return NULL;
}

/* The next guest to ask; it is then not wanted any more. 0: there is none. */
static uint64_t with_lock__next(struct qmpstats *q)
{
	for (size_t i = 0; i < q->count; i++) {
		if (!q->answers[i]->wanted)
			continue;
		q->answers[i]->wanted = false;
		return q->answers[i]->serial;
	}
	return 0;
}

/* Waits. False: the order to stop. */
static bool wait_for_work(struct qmpstats *q, uint64_t *ret_serial)
{
	bool stop;

	mutex_lock(&q->lock);
	while (!q->stop && (*ret_serial = with_lock__next(q)) == 0)
		cond_wait(&q->asked, &q->lock);
	stop = q->stop;
	mutex_unlock(&q->lock);
	return !stop;
}

static void keep(struct qmpstats *q, uint64_t serial, const struct kvmstats *now,
		 const struct kvmstats *before)
{
	struct answer *a;

	mutex_lock(&q->lock);
	a = with_lock__find(q, serial);
	if (a) {
		a->now = *now;
		a->before = *before;
	}
	mutex_unlock(&q->lock);
}

/* Answers of guests that are gone. */
static void forget_gone(struct qmpstats *q, const struct guest_set *set)
{
	mutex_lock(&q->lock);
	for (size_t i = q->count; i > 0; i--) {
		if (guest_set_find_serial(set, q->answers[i - 1]->serial))
			continue;
		free(q->answers[i - 1]);
		q->answers[i - 1] = q->answers[--q->count];
	}
	mutex_unlock(&q->lock);
}

static void work(struct qmpstats *q, uint64_t serial)
{
	const struct guest_set *set = guests_acquire(q->guests);
	const struct guest_entry *e = guest_set_find_serial(set, serial);
	struct kvmstats *now = calloc(2, sizeof(*now));
	int r;

	if (e && now && e->guest->links.qmp_path[0]) {
		r = fetch(e->guest->links.qmp_path, now);
		if (r < 0)
			log_debug("guest %d: query-stats: %s", (int)e->guest->pid,
				  strerrordesc_np(-r));
		else if (statlog_add(q->log, set, serial, now, now + 1))
			keep(q, serial, now, now + 1);
		else
			keep(q, serial, now, &(struct kvmstats){0});
	}
	free(now);
	forget_gone(q, set);
	guest_set_put(set);
}

static void *qmpstats_main(void *arg)
{
	struct qmpstats *q = arg;
	uint64_t serial;

	while (wait_for_work(q, &serial))
		work(q, serial);
	return NULL;
}

/* -- what others see ----------------------------------------------------------------------- */

static struct answer *with_lock__answer(struct qmpstats *q, uint64_t serial)
{
	struct answer *a = with_lock__find(q, serial);
	struct answer **answers;

	if (a)
		return a;
	answers = reallocarray(q->answers, q->count + 1, sizeof(struct answer *));
	if (!answers)
		return NULL;
	q->answers = answers;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->serial = serial;
	answers[q->count++] = a;
	return a;
}

bool qmpstats_get(struct qmpstats *q, uint64_t serial, struct kvmstats *ret,
		  struct kvmstats *ret_before)
{
	struct answer *a;

	mutex_lock(&q->lock);
	a = with_lock__answer(q, serial);
	if (a) {
		*ret = a->now;
		*ret_before = a->before;
		if (a->now.taken_ns + QMPSTATS_FRESH_NS < clock_now_ns()) {
			a->wanted = true;
			cond_signal(&q->asked);
		}
	}
	mutex_unlock(&q->lock);
	return a && ret->taken_ns;
}

/* -- life ---------------------------------------------------------------------------------- */

int qmpstats_create(struct guests *guests, struct qmpstats **ret, struct errmsg *why)
{
	struct qmpstats *q = calloc(1, sizeof(*q));

	if (!q)
		return errmsg_set(why, -ENOMEM, "no memory for counters over QMP");
	q->guests = guests;
	mutex_init(&q->lock);
	cond_init(&q->asked);
	q->log = statlog_create();
	if (!q->log) {
		qmpstats_destroy(q);
		return errmsg_set(why, -ENOMEM, "no memory for counters over QMP");
	}
	*ret = q;
	return 0;
}

int qmpstats_start(struct qmpstats *q, struct errmsg *why)
{
	int r = thread_start(&q->thread, "kp-qmpstats", qmpstats_main, q);

	if (r < 0)
		return errmsg_set(why, r, "cannot start a thread: %s", strerrordesc_np(-r));
	q->started = true;
	return 0;
}

void qmpstats_stop(struct qmpstats *q)
{
	if (!q->started)
		return;
	mutex_lock(&q->lock);
	q->stop = true;
	cond_signal(&q->asked);
	mutex_unlock(&q->lock);
	pthread_join(q->thread, NULL);
	q->started = false;
}

void qmpstats_destroy(struct qmpstats *q)
{
	if (!q)
		return;
	for (size_t i = 0; i < q->count; i++)
		free(q->answers[i]);
	free(q->answers);
	statlog_destroy(q->log);
	cond_deinit(&q->asked);
	mutex_deinit(&q->lock);
	free(q);
}
