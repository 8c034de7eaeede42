/* One pass over all of a guest's RAM that is in use, a chunk at a time. */
#ifndef KVMPROFS_MEMORY_RAMSCAN_H
#define KVMPROFS_MEMORY_RAMSCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "symsrc/memory/ram.h"

#define RAMSCAN_CHUNK (256u << 10) /* stays in a CPU's cache while it is looked at */

/* Is given whole pages, in ascending order; words is aligned. A negative return ends the pass. */
typedef int ramscan_fn(void *ctx, uint64_t gpa, const uint64_t *words, size_t n_bytes);

/* Ends after bytes_max. What cannot be read, since it has just been taken away or swapped out,
 * is left out. 0, what look returned, -ENOMEM, or as ram_read(). */
int ramscan(struct ram *ram, uint64_t bytes_max, ramscan_fn *look, void *ctx);

/* True for errors of a read that concern this place alone: it is no RAM, or out of reach. */
bool ramscan_may_go_on(int r);

#endif
