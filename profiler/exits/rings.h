/* The second engine of VM exits: perf's tracepoints on every CPU, whose events this process counts
 * itself, into the same tables by the same rules. Every event is copied, so this is for hosts that
 * have no BPF for us.
 *
 * All that KVM tells is some guest's, so nothing need be filtered, no thread followed, and nothing
 * switched with threads. Events that are only counted and the scheduler's, of which there may be
 * very many, have rings of their own, so that they crowd out nobody. What the rings had no room for
 * is counted. */
#ifndef KVMPROFS_EXITS_RINGS_H
#define KVMPROFS_EXITS_RINGS_H

#include "profiler/exits/plan.h"
#include "profiler/exits/source.h"
#include "symsrc/base/errmsg.h"

/* Counting begins. Negative errno and why: -EPERM or -EACCES without CAP_PERFMON or in lockdown,
 * -EMFILE where `ulimit -n` is too low for an event of each kind on each CPU, ... */
int exits_rings_open(const struct exits_plan *plan, struct exits_source **ret, struct errmsg *why);

#endif
