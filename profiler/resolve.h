/* Joins counts with names: what was copied of one guest, and the symbols of each of its boots,
 * become rows. Takes no lock, talks to nobody. */
#ifndef KVMPROFS_RESOLVE_H
#define KVMPROFS_RESOLVE_H

#include "profiler/profiler.h"
#include "profiler/tally.h"
#include "symsrc/symbols.h"

/* Fills rows, row_count, memory and the sums of ret (samples, guest_kernel, guest_user,
 * unresolved, table_full, contradictory, epochs) from the copy. symbols[i] are those of
 * copy->epochs[i], or NULL. 0 or -ENOMEM; what ret owns goes to profile_deinit() in any
 * case. */
int resolve(const struct tally_copy *copy, const struct symbols *const symbols[SYMSRC_EPOCHS_KEPT],
	    struct profile *ret);

#endif
