/* Names of the entries in by-name/: each guest's own name as a path component, made unique. */
#ifndef KVMPROFS_NAMES_H
#define KVMPROFS_NAMES_H

#include <stddef.h>

#include "symsrc/guest.h"

#define NAME_COMPONENT_MAX 256 /* with the NUL */

struct names {
	size_t count;
	char (*name)[NAME_COMPONENT_MAX]; /* in the order of the guest set */
};

/* Of two guests of one name the lower pid gets NAME, the other one NAME.PID, or NAME.PID.N where
 * that is the name of a third. 0 or -ENOMEM. */
int names_init(struct names *n, const struct guest_set *set);
void names_deinit(struct names *n);
#define CLEANUP_NAMES CLEANUP(names_deinit)

#endif
