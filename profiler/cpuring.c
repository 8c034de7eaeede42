#include "profiler/cpuring.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"

/* Readings, a second apart, without any time having passed for the event. */
#define STUCK_MAX 3

static int map_ring(struct cpuring *c, const char *event, struct errmsg *why)
{
	int r = ringmap_open(&c->map, c->fd, CPURING_BYTES);

	if (r == 0)
		return 0;
	return errmsg_set(why, r,
			  "event '%s' on CPU %u: cannot map its buffer: %s; raise "
			  "kernel.perf_event_mlock_kb or `ulimit -l`",
			  event, c->cpu, strerrordesc_np(-r));
}

void cpuring_close(struct cpuring *c)
{
	ringmap_close(&c->map);
	close_keep_errno(c->fd);
	c->fd = -1;
}

int cpuring_open(struct cpuring *c, const struct perf_world *w, const struct perf_plan *plan,
		 unsigned cpu, struct errmsg *why)
{
	int r;

	*c = (struct cpuring){.cpu = cpu, .fd = -1};
	c->fd = perf_plan_open(w, plan, cpu);
	if (c->fd < 0)
		return perf_explain(w, plan->event.name, c->fd, why);
	r = map_ring(c, plan->event.name, why);
	if (r < 0)
		cpuring_close(c);
	else
		ringmap_close(&c->map);
	return r;
}

int cpuring_start(struct cpuring *c, const struct perf_plan *plan, struct errmsg *why)
{
	int r;

	r = map_ring(c, plan->event.name, why);
	if (r < 0)
		return r;
	ringmap_init_ring(&c->map, &c->ring);
	if (ioctl(c->fd, PERF_EVENT_IOC_ENABLE, 0) < 0)
		return errmsg_set(why, -errno, "event '%s' on CPU %u: cannot be enabled: %s",
				  plan->event.name, c->cpu, strerrordesc_np(errno));
	return 0;
}

uint64_t cpuring_new_lost(struct cpuring *c, const struct perf_plan *plan, bool *ret_dead)
{
	struct perf_reading now = {0};
	uint64_t lost;

	/* 0 bytes: the event is in an error state (perf_event_open(2)). */
	if (read(c->fd, &now, sizeof(now)) < (ssize_t)(2 * sizeof(uint64_t))) {
		*ret_dead = true;
		return 0;
	}
	c->stuck = now.time_enabled == c->time_enabled ? c->stuck + 1 : 0;
	c->time_enabled = now.time_enabled;
	*ret_dead = c->stuck >= STUCK_MAX;
	if (!plan->exact_lost || now.lost < c->lost)
		return 0;
	lost = now.lost - c->lost;
	c->lost = now.lost;
	return lost;
}
