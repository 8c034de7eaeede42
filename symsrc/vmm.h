/* One VMM as discovery knows it, and the struct guest made of that. Belongs to the discovery
 * thread. Nothing here blocks.
 *
 * What /proc and debugfs tell is there from the beginning; QMP adds what it can, in short
 * sessions: at once, then rarely, and less and less often where nobody answers.
 */
#ifndef KVMPROFS_VMM_H
#define KVMPROFS_VMM_H

#include <stdbool.h>
#include <stdint.h>

#include "symsrc/guest.h"
#include "symsrc/vmmquery.h"
#include "symsrc/vmmscan.h"

#define VMM_SESSION_NS	     (3 * NSEC_PER_SEC)	 /* the longest session */
#define VMM_SESSION_EVERY_NS (60 * NSEC_PER_SEC) /* between those that worked */
#define VMM_SESSION_HASTE_NS (3 * NSEC_PER_SEC)	 /* the same when it is needed */
#define VMM_SESSION_SOON_NS  (30 * NSEC_PER_SEC) /* the same while the guest does not run */
#define VMM_SESSION_BACK_OFF (2 * NSEC_PER_SEC)	 /* after a failure; doubles with each */
#define VMM_SETTLE_NS	     (5 * NSEC_PER_SEC)	 /* a new VM's vCPUs are looked for at each tick */
#define VMM_RETRY_NS	     (10 * NSEC_PER_SEC) /* afterwards, while some are missing */
#define VMM_TSC_JUMP	     100000000ULL	 /* cycles; a reset moves it by the uptime */

struct vmm {
	pid_t pid;
	int pidfd; /* -1: could not be had; then its start time is looked at */
	uint64_t serial;
	struct vmm_facts facts;
	const struct guest *guest; /* what is to be published; never NULL */
	uint32_t seen_epoch;	   /* current when the TSC was last seen to go on */
	bool listed;		   /* debugfs listed its VM this time */

	struct guest_links links;
	size_t vcpu_count; /* as /proc and debugfs tell */
	struct guest_vcpu *vcpus;
	unsigned dir_links;
	uint64_t settle_until_ns;
	uint64_t vcpus_due_ns;

	bool has_run; /* the first vCPU; until then the VMM sets its TSC up */
	bool has_tsc;
	int64_t tsc; /* the offset that was seen last */

	struct vmm_query *session;
	uint64_t session_deadline_ns;
	uint64_t session_due_ns;   /* UINT64_MAX: never */
	uint64_t session_ended_ns; /* the last one that worked */
	size_t monitor;		   /* which of args.qmp is next */
	unsigned foreign;	   /* bits: monitors that answer for somebody else */
	unsigned failures;	   /* sessions, in a row */
	struct vmm_answers info;   /* vCPUs with the host's thread ids */
};

/* NULL when the process is gone, or another one by now, or out of memory. */
struct vmm *vmm_create(const struct vmmscan *s, pid_t pid, const struct vmm_facts *facts,
		       uint64_t serial, uint64_t now_ns);
void vmm_destroy(struct vmm *v); /* accepts NULL */

/* False once the process has ended, reaped or not. */
bool vmm_is_alive(const struct vmm *v, const struct vmmscan *s);

/* What has become of it. */
#define VMM_CHANGED  1u /* v->guest is another one */
#define VMM_REBOOTED 2u /* the guest was reset; *reason says how that was seen */

/* To be called now and then: looks for vCPUs that came or went, and at the TSC. */
unsigned vmm_tick(struct vmm *v, const struct vmmscan *s, uint64_t now_ns, const char **reason);

/* Other facts of the same process: it has another VM now. */
unsigned vmm_update(struct vmm *v, const struct vmmscan *s, const struct vmm_facts *facts,
		    uint64_t now_ns);

/* True when it is time for a session. */
bool vmm_session_is_due(const struct vmm *v, uint64_t now_ns);
/* What the last one told may not hold any more: the next one comes VMM_SESSION_HASTE_NS after
 * it, unless the VMM has not answered lately. */
void vmm_session_hasten(struct vmm *v, uint64_t now_ns);
/* Starts one. False when nothing came of it; the next attempt is then planned. */
bool vmm_session_start(struct vmm *v, const struct vmmscan *s, uint64_t now_ns);
/* To be called when poll says so, and at ticks for the deadline. v->session is NULL once it is
 * over. */
unsigned vmm_session_process(struct vmm *v, const struct vmmscan *s, uint64_t now_ns,
			     const char **reason);

#endif
