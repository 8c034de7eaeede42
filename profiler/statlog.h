/* The last readings of guests' KVM counters, so that the next one has something to be compared
 * with. One lock, held while two readings are compared; any thread. */
#ifndef KVMPROFS_STATLOG_H
#define KVMPROFS_STATLOG_H

#include "profiler/kvmstats.h"
#include "symsrc/guest.h"

/* The least time that a rate is made of. */
#define STATLOG_SPAN_NS (1 * NSEC_PER_SEC)

struct statlog;
struct statlog *statlog_create(void);	 /* NULL when out of memory */
void statlog_destroy(struct statlog *l); /* accepts NULL */

/* Takes a new reading of the guest's in, and gives in *ret the newest one that is at least
 * STATLOG_SPAN_NS older. False: there is none. Forgets guests that are not in the set. Without
 * memory it takes nothing in. */
bool statlog_add(struct statlog *l, const struct guest_set *set, uint64_t serial,
		 const struct kvmstats *now, struct kvmstats *ret);

#endif
