#include "profiler/cpuring.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"

/* Readings, a second apart, without any time having passed for the event. */
#define STUCK_MAX 3

static void *map_pages(int fd, size_t pages, size_t *ret_size)
{
	size_t size = (pages + 1) * (size_t)sysconf(_SC_PAGESIZE);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return NULL;
	*ret_size = size;
	return map;
}

/* EPERM: the limit of locked memory (kernel.perf_event_mlock_kb and RLIMIT_MEMLOCK). */
static int map_ring(struct cpuring *c, const char *event, struct errmsg *why)
{
	size_t pages = CPURING_BYTES / (size_t)sysconf(_SC_PAGESIZE);

	for (pages = pages ? pages : 1; pages > 0; pages /= 2) {
		c->map = map_pages(c->fd, pages, &c->map_size);
		if (c->map)
			return 0;
		if (errno != EPERM && errno != ENOMEM)
			break;
	}
	return errmsg_set(why, -errno,
			  "event '%s' on CPU %u: cannot map its buffer: %s; raise "
			  "kernel.perf_event_mlock_kb or `ulimit -l`",
			  event, c->cpu, strerrordesc_np(errno));
}

static void unmap(struct cpuring *c)
{
	if (c->map)
		munmap(c->map, c->map_size);
	c->map = NULL;
}

void cpuring_close(struct cpuring *c)
{
	unmap(c);
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
		unmap(c);
	return r;
}

int cpuring_start(struct cpuring *c, const struct perf_plan *plan, struct errmsg *why)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int r;

	r = map_ring(c, plan->event.name, why);
	if (r < 0)
		return r;
	ring_init(&c->ring, c->map, (uint8_t *)c->map + page, c->map_size - page);
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
