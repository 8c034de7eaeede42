/* What `-e` names, as perf_event_open(2) wants it:
 *
 *	cycles instructions cache-misses ... L1-dcache-load-misses ...	generic hardware events
 *	cpu-clock task-clock page-faults ...				software events
 *	rNNN								raw, hexadecimal
 *	sched:sched_switch						tracepoint
 *	cpu/event=0x3c,umask=1/  cpu/cpu-cycles/  msr/tsc/		any PMU, by its sysfs
 *formats
 *
 * Reads sysfs and tracefs below the given roots, opens no event.
 */
#ifndef KVMPROFS_EVENT_H
#define KVMPROFS_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"

#define EVENT_NAME_MAX	64
#define EVENT_TERMS_MAX 512 /* bytes of what stands between the slashes */

struct event {
	char name[EVENT_NAME_MAX]; /* as it was asked for */
	uint32_t type;
	uint64_t config, config1, config2;
	bool core_pmu; /* of the CPU's own counters, which a mediated vPMU wants for itself */
};

struct event_roots {
	const char *sys;     /* "/sys" */
	const char *tracefs; /* NULL: the kernel's, wherever it is (tracefsroot.h) */
};

/* 0, or -EINVAL and one line for what is no event here ("auto" is none: see perfopen.h). */
int event_parse(const char *spec, const struct event_roots *roots, struct event *ret,
		struct errmsg *why);

/* A PMU's format, "config:0-7,32-35" (kernel: Documentation/ABI/testing/
 * sysfs-bus-event_source-devices-format): puts value's bits where it says, lowest first. Pure.
 * -EBADMSG for a malformed format, -ERANGE for a value that does not fit. */
int event_apply_format(const char *format, uint64_t value, struct event *e);

#endif
