/* A tracepoint's sample as the line that tracefs' trace_pipe would show, by the host kernel's own
 * print formats (libtraceevent). Where libtraceevent cannot read an event's print format, the
 * line has its raw fields, name=value. Owned by one thread.
 *
 *	      CPU 0/KVM-4711    [002] d..1.  5123.123456: kvm_exit: vcpu 0 reason HLT ...
 *
 * The time is that of CLOCK_MONOTONIC. A thread's name is chosen by the VMM: it is escaped, as
 * are all control characters.
 */
#ifndef KVMPROFS_TRACELINE_H
#define KVMPROFS_TRACELINE_H

#include "profiler/tracesample.h"
#include "symsrc/base/buf.h"

#define TRACELINE_MAX  4096 /* bytes of one line; longer ones are cut */
#define TRACE_COMM_MAX 16   /* TASK_COMM_LEN */

struct traceline;
/* NULL when out of memory. */
struct traceline *traceline_create(void);
void traceline_destroy(struct traceline *t); /* accepts NULL */

/* Teaches it an event: the text of its format file. What cannot be read at all shows as
 * "event ID" and its length later. */
void traceline_add(struct traceline *t, const char *subsystem, const char *format, size_t n);

/* Appends one line with its newline to out. comm: the thread's name. Returns out->err. */
int traceline_format(struct traceline *t, const struct trace_sample *s, const char *comm,
		     struct buf *out);

#endif
