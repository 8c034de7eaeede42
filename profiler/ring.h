/* Reader of one perf ring buffer: a page of control and 2^n bytes of records that the kernel
 * writes (perf_event_open(2), "MMAP layout"). It is given a pointer to memory, so that a test
 * makes rings without a kernel.
 *
 *	ring_begin(r);
 *	while ((record = ring_next(r, scratch)))
 *		...
 *	ring_end(r);
 *
 * The memory is shared with the kernel alone, yet sizes are checked: whatever stands there, a
 * round ends and stays inside of the ring. Owned by one thread.
 */
#ifndef KVMPROFS_RING_H
#define KVMPROFS_RING_H

#include <linux/perf_event.h>
#include <stddef.h>
#include <stdint.h>

#define RING_RECORD_MAX 65536 /* header.size has 16 bits */

/* Where a record is put together that wraps around the ring's end. Aligned as records are. */
struct ring_scratch {
	uint64_t bytes[RING_RECORD_MAX / sizeof(uint64_t)];
};

struct ring {
	struct perf_event_mmap_page *page;
	const uint8_t *data;
	uint64_t size;	    /* bytes of data, a power of 2 */
	uint64_t at;	    /* what is read next; counts bytes since the beginning, as head does */
	uint64_t head;	    /* the end of the round */
	uint64_t malformed; /* rounds that were broken off, for ever */
};

/* page: the mapping; data: its records, behind the page; size: their bytes, a power of 2. */
void ring_init(struct ring *r, void *page, const void *data, size_t size);

/* Begins a round: all records that are complete now. Returns their bytes. */
size_t ring_begin(struct ring *r);

/* The next record of the round, whole and contiguous: in the ring or, when it wraps, in
 * scratch; valid until the next call. NULL at the round's end. */
const struct perf_event_header *ring_next(struct ring *r, struct ring_scratch *scratch);

/* Puts the record that ring_next() has given last back, so that it comes again. */
void ring_put_back(struct ring *r, const struct perf_event_header *h);

/* Ends the round: gives the space of what has been read back to the kernel. What has not comes
 * again in the next round. */
void ring_end(struct ring *r);

#endif
