#include "tests/unit/lib/burner.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct burner {
	pthread_t thread;
	atomic_bool stop;
};

static void *burn(void *arg)
{
	struct burner *b = arg;

	while (!atomic_load(&b->stop))
		continue;
	return NULL;
}

/* False when it may not run there. */
static bool start_pinned(struct burner *b, unsigned cpu)
{
	pthread_attr_t attr;
	cpu_set_t set;
	int r;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	r = pthread_create(&b->thread, &attr, burn, b);
	pthread_attr_destroy(&attr);
	return r == 0;
}

struct burner *burner_start(unsigned cpu)
{
	struct burner *b = calloc(1, sizeof(*b));

	if (!b)
		abort();
	if (!start_pinned(b, cpu)) {
		free(b);
		return NULL;
	}
	pthread_setschedparam(b->thread, SCHED_IDLE, &(struct sched_param){0});
	return b;
}

void burner_stop(struct burner *b)
{
	if (!b)
		return;
	atomic_store(&b->stop, true);
	pthread_join(b->thread, NULL);
	free(b);
}
