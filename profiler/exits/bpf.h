/* The counting programs in the kernel: loaded, attached to the tracepoints, and read. libbpf is
 * known here alone. Reading may be done from any thread; it takes as long as copying the maps. */
#ifndef KVMPROFS_EXITS_BPF_H
#define KVMPROFS_EXITS_BPF_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/exits/plan.h"
#include "profiler/exits/raw.h"
#include "symsrc/base/errmsg.h"

struct exits_bpf;

/* Counting begins. cpus: of the host, which the maps' sizes go by. Negative errno and why: -EPERM
 * without CAP_BPF and CAP_PERFMON, what the verifier or lockdown answered, ... */
int exits_bpf_load(const struct exits_plan *plan, unsigned cpus, struct exits_bpf **ret,
		   struct errmsg *why);
void exits_bpf_free(struct exits_bpf *b); /* accepts NULL; ends the counting */

/* What stands there for one process. 0, -ENOMEM, or what the kernel says. */
int exits_bpf_read(const struct exits_bpf *b, uint32_t tgid, struct exits_raw *ret);

/* Calls fn with each vCPU's process and the moment when that vCPU last exited, was switched or the
 * like. Negative: what fn returned, or the kernel. */
typedef int exits_last_fn(void *ctx, uint32_t tgid, uint64_t last_ns);
int exits_bpf_lasts(const struct exits_bpf *b, exits_last_fn *fn, void *ctx);

/* One thread's entry; -ENOENT. */
int exits_bpf_read_thread(const struct exits_bpf *b, uint32_t tid, struct exits_thread *ret);

/* Forgets every process that `keep` does not want; called for each entry. Entries that a thread
 * which still runs makes again start at zero. */
void exits_bpf_forget(const struct exits_bpf *b, bool (*keep)(void *ctx, uint32_t tgid), void *ctx);

#endif
