/* Opening perf events that sample whole CPUs, guests included: which event, with which
 * attributes, and what to tell the user when the kernel refuses.
 */
#ifndef KVMPROFS_PERFOPEN_H
#define KVMPROFS_PERFOPEN_H

#include <linux/perf_event.h>
#include <stdbool.h>

#include "profiler/event.h"
#include "symsrc/base/errmsg.h"

/* The world, so that a test can make one up. */
struct perf_world {
	struct event_roots roots;
	const char *sysctl;	 /* "/proc/sys/kernel" */
	const char *cpus_online; /* CPUS_ONLINE */
	/* perf_event_open(2) on that CPU: a descriptor or negative errno. */
	int (*open)(const struct perf_event_attr *attr, unsigned cpu);
};
extern const struct perf_world perf_world_real;

/* What was settled on. */
struct perf_plan {
	struct event event;
	char reason[128]; /* why auto chose it; empty when it was asked for */
	unsigned freq;
	bool exact_lost; /* the kernel has PERF_FORMAT_LOST (since 6.0) */
};

/* What read(2) on such an event gives. lost is missing without exact_lost. */
struct perf_reading {
	uint64_t value;
	uint64_t time_enabled;
	uint64_t lost;
};

#define PERF_DEFAULT_FREQ 997

/* The frequency when nobody asks for one: PERF_DEFAULT_FREQ, or less where the kernel allows no
 * more. It lowers its limit by itself when interrupts take long, as they do in a virtual
 * machine (Documentation/admin-guide/sysctl/kernel.rst, perf_cpu_time_max_percent). */
unsigned perf_default_freq(const struct perf_world *w);

/* spec: "auto" or what event_parse() takes. Opens the event on `cpu` to see that it can be, and
 * closes it again. 0, or negative errno and why: -EINVAL for what the user got wrong (unknown
 * event, frequency), anything else for what this host refuses. */
int perf_plan_make(const struct perf_world *w, const char *spec, unsigned freq, unsigned cpu,
		   struct perf_plan *ret, struct errmsg *why);

/* True, with the parameter's name, when KVM gives the counters to guests (a mediated vPMU): a
 * core PMU event that includes guests would keep such a VM from starting. */
bool perf_vpmu_is_mediated(const struct perf_world *w, const char **ret_parameter);

/* Opens the plan's event on that CPU, disabled. A descriptor or negative errno. */
int perf_plan_open(const struct perf_world *w, const struct perf_plan *plan, unsigned cpu);

/* What that is opened with. */
void perf_plan_attr(const struct perf_plan *plan, struct perf_event_attr *ret);
/* Nanoseconds between two samples while it counts; 1 for an event that does not count time. */
uint64_t perf_plan_period(const struct perf_plan *plan);

/* One line for an error of perf_plan_open(). Returns err, but never -EINVAL. */
int perf_explain(const struct perf_world *w, const char *event, int err, struct errmsg *why);

#endif
