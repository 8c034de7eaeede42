/* The tallies of all guests, and which thread belongs to whom.
 *
 * A struct tally_set is immutable and reference-counted, made anew whenever the set of guests
 * is (guests_generation()): by whoever asks first. Tallies go from one set to the next.
 */
#ifndef KVMPROFS_TALLIES_H
#define KVMPROFS_TALLIES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/tally.h"
#include "symsrc/guest.h"

/* All tables of all guests together: 4 MB is the largest one, a usual guest has 0.3 MB. */
#define TALLIES_MEMORY_MAX (256u << 20)
/* The samples of ten seconds: of 400 CPUs at 999 Hz. */
#define TALLIES_RECENT_MAX    (64u << 20)
#define TALLIES_SNAPSHOTS_MAX (64u << 20)

struct tally_task; /* a slot of the hash table */

struct tally_set {
	atomic_uint refs;
	const struct guest_set *guests; /* held */
	struct tally **tallies;		/* held; in the order of guests->entries */
	struct tally_task *tasks;
	size_t task_mask;
};

/* Whose a thread is. */
struct task_owner {
	size_t guest;  /* index in guests->entries and tallies */
	unsigned vcpu; /* or VCPU_UNKNOWN */
};

/* False when the process is no guest's. Constant time: this is asked for every sample. */
bool tally_set_owner(const struct tally_set *set, uint32_t pid, uint32_t tid,
		     struct task_owner *ret);
struct tally *tally_set_find(const struct tally_set *set, uint64_t serial); /* borrowed */
void tally_set_put(const struct tally_set *set);			    /* accepts NULL */

struct tallies;

/* What all tallies share; lives as long as ts. */
struct tally_memory *tallies_memory(struct tallies *ts);

/* clock_of: reads where the daemon's numbers stand; called by any thread, must lock nothing
 * but its own. */
struct tallies *tallies_create(struct guests *guests,
			       void (*clock_of)(void *ctx, struct tally_clock *ret), void *ctx);
void tallies_destroy(struct tallies *ts); /* accepts NULL */

/* The set that fits the newest guests, with a reference for the caller. Out of memory: the
 * last one that could be made. Never NULL. */
const struct tally_set *tallies_acquire(struct tallies *ts);

/* Cheap: true when tallies_acquire() would return another set than this one. */
bool tallies_changed(const struct tallies *ts, const struct tally_set *set);

#endif
