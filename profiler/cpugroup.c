#include "profiler/cpugroup.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "profiler/traceevent.h"
#include "symsrc/base/cleanup.h"

/* What read(2) gives (perf_event_open(2), PERF_FORMAT_GROUP with PERF_FORMAT_TOTAL_TIME_ENABLED
 * and PERF_FORMAT_LOST). */
#define READ_FORMAT (PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED)

struct reading {
	uint64_t count;
	uint64_t time_enabled;
	struct {
		uint64_t value, lost;
	} events[];
};

static int open_event(const struct cpugroup *g, uint32_t id)
{
	const struct trace_event e = {
		.id = id,
		.tid = -1,
		.cpu = (int)g->cpu,
		.leader = g->count ? g->fds[0] : -1,
		.disabled = g->count == 0,
		.read_format = READ_FORMAT | (g->exact_lost ? PERF_FORMAT_LOST : 0),
	};

	return trace_event_open(&e);
}

static int lead(struct cpugroup *g, uint32_t id, size_t bytes)
{
	int fd;
	int r;

	g->exact_lost = true;
	fd = open_event(g, id);
	if (fd == -EINVAL) {
		g->exact_lost = false;
		fd = open_event(g, id);
	}
	if (fd < 0)
		return fd;
	g->fds[g->count++] = fd;
	r = ringmap_open(&g->map, fd, bytes);
	if (r == 0)
		ringmap_init_ring(&g->map, &g->ring);
	return r;
}

static int follow(struct cpugroup *g, uint32_t id)
{
	int fd = open_event(g, id);

	if (fd < 0)
		return fd;
	g->fds[g->count++] = fd;
	return ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, g->fds[0]) < 0 ? -errno : 0;
}

int cpugroup_open(struct cpugroup *g, unsigned cpu, const uint32_t *ids, size_t count, size_t bytes)
{
	int r;

	*g = (struct cpugroup){.cpu = cpu};
	g->fds = calloc(count, sizeof(*g->fds));
	if (!g->fds)
		return -ENOMEM;
	r = lead(g, ids[0], bytes);
	for (size_t i = 1; i < count && r == 0; i++)
		r = follow(g, ids[i]);
	if (r == 0 && ioctl(g->fds[0], PERF_EVENT_IOC_ENABLE, 0) < 0)
		r = -errno;
	if (r < 0)
		cpugroup_close(g);
	return r;
}

void cpugroup_close(struct cpugroup *g)
{
	ringmap_close(&g->map);
	for (size_t i = 0; i < g->count; i++)
		close_keep_errno(g->fds[i]);
	free(g->fds);
	*g = (struct cpugroup){0};
}

bool cpugroup_check(struct cpugroup *g)
{
	size_t size = sizeof(struct reading) + g->count * 2 * sizeof(uint64_t);
	CLEANUP_FREE struct reading *now = calloc(1, size);
	uint64_t lost = 0;
	bool alive;

	if (!now)
		return true;
	if (read(g->fds[0], now, size) < (ssize_t)sizeof(*now) || now->count != g->count)
		return false;
	for (size_t i = 0; g->exact_lost && i < g->count; i++)
		lost += now->events[i].lost;
	if (g->exact_lost)
		g->lost = lost;
	alive = now->time_enabled > g->time_enabled;
	g->time_enabled = now->time_enabled;
	return alive;
}
