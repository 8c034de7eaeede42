#include "profiler/perfdata/counter.h"

#include <stdlib.h>

#include "symsrc/base/lock.h"
#include "symsrc/base/thread.h"

#define BATCHES	   4
#define BATCH_SIZE 4096
#define AHEAD	   16 /* samples whose places are on their way out of memory */

struct batch {
	size_t n;
	struct counter_sample samples[BATCH_SIZE];
};

/* The batches are a circle. Those from `counted` on to before `handed` are the other thread's; the
 * one at `handed` is filled. */
struct counter {
	bool started; /* the reader's: there is a thread */
	pthread_t thread;
	struct mutex lock;
	struct cond more, room; /* to be counted; to be filled */
	uint64_t handed;	/* under lock, but only the reader changes it */
	uint64_t counted;	/* under lock, but only the thread changes it */
	bool ended;		/* under lock: nothing more comes */
	struct batch batches[BATCHES];
};

/* ---- counting ------------------------------------------------------------------------------ */

static void count(const struct counter_sample *s)
{
	struct recording_guest *g = s->guest;

	g->kernel++;
	if (!counts_add_weighted(&g->table, s->ip, s->vcpu, 1, s->weight))
		g->table_full++;
}

/* Addresses are all over the table, and each look at one would wait for memory. */
static void count_batch(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		const struct counter_sample *s = &b->samples[i];

		if (i + AHEAD < b->n)
			counts_prefetch(&s[AHEAD].guest->table, s[AHEAD].ip, s[AHEAD].vcpu);
		count(s);
	}
	b->n = 0;
}

/* Waits; NULL: nothing more comes. */
static struct batch *next_batch(struct counter *c)
{
	struct batch *b;

	mutex_lock(&c->lock);
	while (c->counted == c->handed && !c->ended)
		cond_wait(&c->more, &c->lock);
	b = c->counted == c->handed ? NULL : &c->batches[c->counted % BATCHES];
	mutex_unlock(&c->lock);
	return b;
}

static void give_back(struct counter *c)
{
	mutex_lock(&c->lock);
	c->counted++;
	cond_signal(&c->room);
	mutex_unlock(&c->lock);
}

static void *counter_main(void *arg)
{
	struct counter *c = arg;
	struct batch *b;

	while ((b = next_batch(c))) {
		count_batch(b);
		give_back(c);
	}
	return NULL;
}

/* ---- reading ------------------------------------------------------------------------------- */

static struct batch *filled(struct counter *c)
{
	return &c->batches[c->handed % BATCHES];
}

/* Returns with room for one sample at least. Without a second thread this one counts. */
static void hand_over(struct counter *c)
{
	if (!c->started)
		c->started = thread_start(&c->thread, "kp-count", counter_main, c) == 0;
	if (!c->started) {
		count_batch(filled(c));
		return;
	}
	mutex_lock(&c->lock);
	c->handed++;
	cond_signal(&c->more);
	while (c->handed - c->counted == BATCHES)
		cond_wait(&c->room, &c->lock);
	mutex_unlock(&c->lock);
}

void counter_add(struct counter *c, const struct counter_sample *s)
{
	struct batch *b = filled(c);

	b->samples[b->n++] = *s;
	if (b->n == BATCH_SIZE)
		hand_over(c);
}

static void end_thread(struct counter *c)
{
	mutex_lock(&c->lock);
	c->ended = true;
	cond_signal(&c->more);
	mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	c->started = false;
}

void counter_finish(struct counter *c)
{
	if (c->started)
		end_thread(c);
	count_batch(filled(c));
}

struct counter *counter_create(void)
{
	struct counter *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	mutex_init(&c->lock);
	cond_init(&c->more);
	cond_init(&c->room);
	return c;
}

void counter_destroy(struct counter *c)
{
	if (!c)
		return;
	cond_deinit(&c->room);
	cond_deinit(&c->more);
	mutex_deinit(&c->lock);
	free(c);
}
