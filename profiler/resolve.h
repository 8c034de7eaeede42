/* Joins counts with names: what was copied of one guest, and the symbols of each of its boots,
 * become rows. Takes no lock, talks to nobody. */
#ifndef KVMPROFS_RESOLVE_H
#define KVMPROFS_RESOLVE_H

#include "profiler/profiler.h"
#include "profiler/tally.h"
#include "symsrc/symbols.h"

/* Fills rows, row_count, names and the sums of ret (samples, guest_kernel, guest_user,
 * unresolved, table_full, contradictory, epochs) from the copy. symbols[i] are those of
 * copy->epochs[i], or NULL. Puts the copy's entries in another order. 0 or -ENOMEM; ret
 * goes to profile_free() in any case. */
int resolve(struct tally_copy *copy, const struct symbols *const symbols[SYMSRC_EPOCHS_KEPT],
	    struct profile *ret);

#endif
