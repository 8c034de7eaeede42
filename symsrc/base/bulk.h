/* Megabytes that are filled at once and given back soon. The kernel hands memory out and takes it
 * back page by page, which for some 10 MB costs several milliseconds, more than to fill it: blocks
 * of HUGE or more ask for huge pages. Where there are none (transparent_hugepage/enabled never)
 * they are memory as any other.
 *
 * Owned by one thread at a time.
 */
#ifndef KVMPROFS_BASE_BULK_H
#define KVMPROFS_BASE_BULK_H

#include <stddef.h>

struct bulk {
	void *memory; /* NULL: none */
	size_t size;
	size_t used; /* of bulk_take() */
};

/* size bytes, all zero; what is not touched costs nothing. 0 or -ENOMEM; *ret is then empty. */
int bulk_init(struct bulk *b, size_t size);
/* Accepts an empty one; it is empty afterwards. */
void bulk_deinit(struct bulk *b);
#define CLEANUP_BULK CLEANUP(bulk_deinit)

/* The next n bytes of it, for any type. Never more in all than the sum of bulk_room() of each. */
void *bulk_take(struct bulk *b, size_t n);
/* What to ask bulk_init() for, for a bulk_take() of n. */
size_t bulk_room(size_t n);

#endif
