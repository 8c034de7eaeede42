/* VM exits of every guest, counted in the kernel by BPF programs on KVM's tracepoints, or, where
 * those are not to be had, by this process out of perf's rings (source.h).
 *
 * One thread, kp-exits, sleeps until the set of guests changes: it starts an engine once there is a
 * guest under KVM, and forgets guests that are gone, as it does once a minute with all that are no
 * guests. Every two seconds it keeps a copy of the counts (window.h), a few megabytes in as many
 * milliseconds for a hundred guests; else with BPF nothing is copied while nobody reads, and with
 * rings it empties those that are half full.
 * Everything else may be called from any thread and waits for no guest.
 */
#ifndef KVMPROFS_EXITS_H
#define KVMPROFS_EXITS_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/exits/snapshot.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"

struct exits_counter;

/* What counts; auto: BPF, else perf's rings. */
enum exits_choice { EXITS_BY_AUTO, EXITS_BY_BPF, EXITS_BY_PERF };

/* Starts nothing; -ENOMEM. */
int exits_create(struct guests *guests, enum exits_choice choice, struct exits_counter **ret);
int exits_start(struct exits_counter *c, struct errmsg *why); /* after the last fork */
void exits_stop(struct exits_counter *c);    /* joins; harmless when it does not run */
void exits_destroy(struct exits_counter *c); /* accepts NULL; after exits_stop() */

/* A guest's exits since the mount, its discovery or the last reset, or recent ones: of the last
 * EXITS_WINDOW_NS and a little more, whatever was reset; of one vCPU's thread, or of all (tid 0).
 * Without an engine the note says why, and the rest is empty. *ret: exits_free(). -ENOMEM, or what
 * the kernel says. */
int exits_take(struct exits_counter *c, const struct guest *guest, pid_t tid, bool recent,
	       struct exits **ret);

/* Counts from now. A guest without exits has nothing to reset: 0. */
int exits_reset(struct exits_counter *c, const struct guest *guest);

/* Whether a vCPU of the guest had any event of KVM, or was switched, after that moment, as far as
 * is known: when that is more than a second ago, kp-exits looks, and the next call knows. */
bool exits_has_news(struct exits_counter *c, const struct guest *guest, uint64_t since_ns);

/* How many exits this vCPU's thread had, as exits_take() has it; -ENODATA where they are not
 * counted or kvm_exit does not fire. */
int exits_of_thread(struct exits_counter *c, const struct guest *guest, pid_t tid, uint64_t *ret);

/* The guest's threads that had events of a vCPU and have not ended, ascending, which say nothing of
 * which vCPU each is; *ret is to be freed. Returns the number, 0 where nothing is counted, -ENOMEM,
 * or what the kernel says. It takes as long as exits_take(). */
int exits_vcpu_threads(struct exits_counter *c, const struct guest *guest, pid_t **ret);

/* For `status`: "bpf", "perf: why not bpf", or "none: why"; and the events that were not counted,
 * of all guests since the engine runs, KVM's and the scheduler's. */
struct exits_state {
	char engine[352];
	bool runs;
	struct exits_lost lost;
};
void exits_state(struct exits_counter *c, struct exits_state *ret);

#endif
