/* One short QMP session that asks a VMM for what discovery wants to know of its guest, and
 * hangs up. Never blocks; its owner polls, processes and gives up (see symsrc/qmp.h).
 */
#ifndef KVMPROFS_VMMQUERY_H
#define KVMPROFS_VMMQUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"
#include "symsrc/vmmargs.h"

/* What was answered; what was not is empty or 0. */
struct vmm_answers {
	char name[GUEST_NAME_MAX];
	char uuid[VMM_UUID_SIZE];
	char state[24];
	uint64_t memory_bytes; /* with memory devices */
	uint64_t base_bytes;   /* without */
	bool blocks_told;      /* all of these are as it says now; else it was not asked */
	size_t block_count;
	struct guest_ram_block blocks[GUEST_RAM_BLOCKS_MAX];
	/* The ports of the agent and of our own program; no path: there is none, or nobody asked.
	 */
	struct vmm_socket agent, port;
	unsigned resets; /* RESET events that came in between */
	size_t vcpu_count;
	struct guest_vcpu *vcpus; /* by index; thread ids as the VMM's pid namespace has them */
};

/* Leaves it empty. */
void vmm_answers_deinit(struct vmm_answers *info);

struct vmm_query;

/* What is asked beside what always is. */
struct vmm_wanted {
	/* Where RAM lies is known for as much memory as this, and not asked again while there is
	 * neither more nor less; 0: it is not known. */
	uint64_t known_bytes;
	bool ports; /* which sockets lead to them */
};

/* Connects and asks. 0 or what qmp_connect() says. */
int vmm_query_start(const char *path, const struct vmm_wanted *wanted, struct vmm_query **ret,
		    struct errmsg *why);
void vmm_query_destroy(struct vmm_query *s); /* accepts NULL */

int vmm_query_fd(const struct vmm_query *s);
short vmm_query_events(const struct vmm_query *s);

/* 0: not all answers are here, 1: they are, negative errno: the connection broke. */
int vmm_query_process(struct vmm_query *s);
const struct errmsg *vmm_query_error(const struct vmm_query *s);

/* Moves the answers out; the session is then only to be destroyed. */
struct vmm_answers vmm_query_take(struct vmm_query *s);

#endif
