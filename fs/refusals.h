/* Why the last write to a guest's `control` was refused, for whoever reads it: write(2) can say no
 * more than EINVAL. Any thread; the lock is a leaf. */
#ifndef KVMPROFS_REFUSALS_H
#define KVMPROFS_REFUSALS_H

#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"

struct refusals;
struct refusals *refusals_create(void);	   /* NULL when out of memory */
void refusals_destroy(struct refusals *r); /* accepts NULL */

/* why NULL: the last write was taken. Forgets guests that are not in the set. Without memory there
 * is none to be read. */
void refusals_set(struct refusals *r, const struct guest_set *set, uint64_t serial,
		  const struct errmsg *why);
/* False: the last write was taken, or there was none. */
bool refusals_get(struct refusals *r, uint64_t serial, struct errmsg *ret);

#endif
