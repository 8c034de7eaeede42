/* The kernel's tracepoints as tracefs lists them: names, numbers, and the text that says how an
 * event's record is laid out (Documentation/trace/events.rst, "Event formats"). Reads files
 * below the given root, which is the host kernel's own; bounded nevertheless. Pure otherwise.
 */
#ifndef KVMPROFS_TRACEFS_H
#define KVMPROFS_TRACEFS_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/errmsg.h"

#define TRACEFS_NAME_MAX   64
#define TRACEFS_EVENTS_MAX 1024		/* of one subsystem; kvm has 85 in Linux 6.18 on x86 */
#define TRACEFS_FORMAT_MAX (256u << 10) /* bytes of one format; kvm_exit's has 7 kB */

struct tracefs_event {
	char name[TRACEFS_NAME_MAX]; /* "kvm_exit" */
	uint32_t id;		     /* perf_event_attr.config of PERF_TYPE_TRACEPOINT */
};

struct tracefs_events {
	size_t count;
	struct tracefs_event *list; /* by name */
};
void tracefs_events_deinit(struct tracefs_events *e);

/* All events of a subsystem ("kvm"). root: "/sys/kernel/tracing". 0, or negative errno and why:
 * -ENOENT when there is no tracefs there or no such subsystem (its module is not loaded),
 * -EACCES, -E2BIG past TRACEFS_EVENTS_MAX. */
int tracefs_list(const char *root, const char *subsystem, struct tracefs_events *ret,
		 struct errmsg *why);

/* Appends the event's format file to out. Negative errno. */
int tracefs_format(const char *root, const char *subsystem, const char *event, struct buf *out);

#endif
