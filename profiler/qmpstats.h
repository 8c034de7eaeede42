/* KVM's counters as the VMM tells them over QMP, "query-stats" (QEMU 7.1 and later): those of the
 * VM and of all its vCPUs, which a kernel in lockdown does not let debugfs show.
 *
 * A QMP socket serves one client and may be slow, so one thread asks, one guest after the
 * other, when somebody wants to know: what is here is shown, and asked for anew for the next time.
 */
#ifndef KVMPROFS_QMPSTATS_H
#define KVMPROFS_QMPSTATS_H

#include <stdbool.h>

#include "profiler/kvmstats.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"

#define QMPSTATS_ANSWER_NS (2 * NSEC_PER_SEC) /* deadline of a session */
#define QMPSTATS_FRESH_NS  (NSEC_PER_SEC / 2) /* an answer that young is not asked for anew */

struct json_object;

/* Adds the counters of an answer (QEMU, qapi/stats.json, StatsResult): numbers alone, those of
 * one name are added up. A stranger's; bounded by kvmstats_add(). 0, or -EBADMSG. Pure. */
int qmpstats_parse(struct json_object *value, struct kvmstats *ret);

struct qmpstats;

int qmpstats_create(struct guests *guests, struct qmpstats **ret, struct errmsg *why);
int qmpstats_start(struct qmpstats *q, struct errmsg *why);
void qmpstats_stop(struct qmpstats *q);	   /* joins; harmless when it does not run */
void qmpstats_destroy(struct qmpstats *q); /* accepts NULL */

/* The guest's newest answer, and the one that it is to be compared with (see statlog_add()), or
 * taken_ns 0. False: there is none yet. Any thread; does not wait. */
bool qmpstats_get(struct qmpstats *q, uint64_t serial, struct kvmstats *ret,
		  struct kvmstats *ret_before);

#endif
