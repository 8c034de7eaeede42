/* Samples guests that the host kernel cannot see into: asks the VMM over QMP for its vCPUs'
 * registers, QMPSAMPLER_HZ times a second for each guest, and files what they show.
 *
 * One thread for all guests, which never waits for one. A QMP socket serves one client at a
 * time, so a session lasts QMPSAMPLER_SESSION_NS at most and is then left to whoever waits.
 * A guest is asked for its registers when its tally says SAMPLER_KIND_QMP.
 */
#ifndef KVMPROFS_QMPSAMPLER_H
#define KVMPROFS_QMPSAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/livedata.h"
#include "profiler/tallies.h"
#include "profiler/totals.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"

/* A request stops each vCPU for a moment: this is enough for a profile, and can hardly be felt.
 * Large guests are asked less often, so that QMPSAMPLER_VCPUS_PER_SEC are not exceeded. */
#define QMPSAMPLER_HZ		 50
#define QMPSAMPLER_VCPUS_PER_SEC 1600

#define QMPSAMPLER_SESSION_NS (1 * NSEC_PER_SEC)
#define QMPSAMPLER_PAUSE_NS   (20 * NSEC_PER_MSEC) /* between two sessions */
#define QMPSAMPLER_ANSWER_NS  (2 * NSEC_PER_SEC)   /* deadline of greeting and of each answer */
#define QMPSAMPLER_BACKOFF_NS (5 * NSEC_PER_SEC)   /* after a failure */
#define QMPSAMPLER_IDLE_NS    (1 * NSEC_PER_SEC)   /* between looks at a guest that is paused */

/* Requests a second for a guest of that many vCPUs; at most max, unless that is 0. */
unsigned qmpsampler_hz(size_t vcpus, unsigned max);

struct qmpsampler_config {
	struct guests *guests;
	struct tallies *tallies;
	struct totals *totals;
	struct livedata *livedata; /* may be NULL */
	/* Whether a guest's boot has symbols (so that its kernel is up); called by the thread. */
	bool (*has_symbols)(void *ctx, uint64_t serial, uint32_t epoch);
	/* The monitor answers again: what happened meanwhile, a reset among it, was not seen.
	 * May be NULL; called by the thread. */
	void (*recovered)(void *ctx, uint64_t serial);
	/* A program in the guest has opened one of its serial ports: its agent is back, say. May be
	 * NULL; called by the thread. */
	void (*port_opened)(void *ctx, uint64_t serial);
	/* As in struct engine_config. */
	void (*look_for_names)(void *ctx, uint64_t serial, uint32_t epoch, struct stalewatch *w);
	void *ctx;
	unsigned freq; /* requests a second at most; 0: QMPSAMPLER_HZ */
};

struct qmpsampler;

int qmpsampler_create(const struct qmpsampler_config *config, struct qmpsampler **ret,
		      struct errmsg *why);
/* A descriptor for io_wake(): look again which guests are to be asked. */
int qmpsampler_wake_fd(const struct qmpsampler *q);
int qmpsampler_start(struct qmpsampler *q, struct errmsg *why);
void qmpsampler_stop(struct qmpsampler *q);    /* joins; harmless when it does not run */
void qmpsampler_destroy(struct qmpsampler *q); /* accepts NULL */

#endif
