#include "profiler/threadring.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "profiler/traceevent.h"
#include "symsrc/base/cleanup.h"

static int map_first(struct threadring *t)
{
	int r = ringmap_open(&t->map, t->fds[0], THREADRING_BYTES);

	if (r == 0)
		ringmap_init_ring(&t->map, &t->ring);
	return r;
}

static int add_event(struct threadring *t, uint32_t id)
{
	const struct trace_event e = {
		.id = id, .tid = t->tid, .cpu = -1, .leader = -1, .disabled = true};
	int fd = trace_event_open(&e);

	if (fd < 0)
		return fd;
	t->fds[t->count++] = fd;
	if (t->count == 1)
		return map_first(t);
	return ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, t->fds[0]) < 0 ? -errno : 0;
}

int threadring_open(struct threadring *t, pid_t tid, const struct tracefs_events *events)
{
	int r = 0;

	*t = (struct threadring){.tid = tid};
	t->fds = calloc(events->count + 1, sizeof(*t->fds));
	if (!t->fds)
		return -ENOMEM;
	for (size_t i = 0; i < events->count && r == 0; i++)
		r = add_event(t, events->list[i].id);
	for (size_t i = 0; i < t->count && r == 0; i++)
		r = ioctl(t->fds[i], PERF_EVENT_IOC_ENABLE, 0) < 0 ? -errno : 0;
	if (r < 0)
		threadring_close(t);
	return r;
}

void threadring_stop(struct threadring *t)
{
	for (size_t i = 0; i < t->count; i++)
		ioctl(t->fds[i], PERF_EVENT_IOC_DISABLE, 0);
	ringmap_close(&t->map);
}

void threadring_close(struct threadring *t)
{
	ringmap_close(&t->map);
	for (size_t i = 0; i < t->count; i++)
		close_keep_errno(t->fds[i]);
	free(t->fds);
	*t = (struct threadring){0};
}
