/* The counting programs in the kernel: loaded, attached to the tracepoints, and read. libbpf is
 * known here alone. */
#ifndef KVMPROFS_EXITS_BPF_H
#define KVMPROFS_EXITS_BPF_H

#include "profiler/exits/plan.h"
#include "profiler/exits/source.h"
#include "symsrc/base/errmsg.h"

/* Counting begins. cpus: of the host, which the maps' sizes go by. Negative errno and why: -EPERM
 * without CAP_BPF and CAP_PERFMON, what the verifier or lockdown answered, ... */
int exits_bpf_load(const struct exits_plan *plan, unsigned cpus, struct exits_source **ret,
		   struct errmsg *why);

#endif
