/* Sorting a hundred thousand numbers in a millisecond. Stable: equal keys stay in the order they
 * had.
 */
#ifndef KVMPROFS_RADIX_H
#define KVMPROFS_RADIX_H

#include <stddef.h>
#include <stdint.h>

struct radix_item {
	uint64_t key;
	uint64_t value; /* goes with it */
};

/* By key, ascending; a pass for each 11 bits in which keys differ. room: for n more; the result is
 * in either of them, and returned. */
struct radix_item *radix_sort(struct radix_item *items, struct radix_item *room, size_t n);

#endif
