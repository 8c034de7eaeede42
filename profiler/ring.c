#include "profiler/ring.h"

#include <string.h>

#define RING_ALIGN sizeof(uint64_t) /* of records, in size and place */

void ring_init(struct ring *r, void *page, const void *data, size_t size)
{
	*r = (struct ring){.page = page, .data = data, .size = size};
}

/* The rest of the round cannot be trusted: skip it. */
static void give_up(struct ring *r)
{
	r->at = r->head;
	r->malformed++;
}

size_t ring_begin(struct ring *r)
{
	/* Pairs with the kernel's barrier before it stores data_head: what is read after this
	 * load is whole (kernel/events/ring_buffer.c, perf_output_put_handle()). */
	r->head = __atomic_load_n(&r->page->data_head, __ATOMIC_ACQUIRE);
	r->at = r->page->data_tail;
	/* The kernel writes multiples of 8 bytes only: a header never wraps. */
	if (r->head - r->at > r->size || r->head % RING_ALIGN != 0 || r->at % RING_ALIGN != 0)
		give_up(r);
	return r->head - r->at;
}

/* Copies the n bytes at the position `from`, which wrap. */
static void copy_out(const struct ring *r, uint64_t from, void *to, size_t n)
{
	size_t off = from & (r->size - 1);
	size_t first = r->size - off;

	memcpy(to, r->data + off, first);
	memcpy((uint8_t *)to + first, r->data, n - first);
}

const struct perf_event_header *ring_next(struct ring *r, struct ring_scratch *scratch)
{
	uint64_t left = r->head - r->at;
	size_t off = r->at & (r->size - 1);
	const struct perf_event_header *h = (const struct perf_event_header *)(r->data + off);
	size_t size;

	if (left == 0)
		return NULL;
	size = h->size;
	if (size < sizeof(*h) || size > left || size % RING_ALIGN != 0) {
		give_up(r);
		return NULL;
	}
	r->at += size;
	if (off + size <= r->size)
		return h;
	copy_out(r, r->at - size, scratch->bytes, size);
	return (const struct perf_event_header *)scratch->bytes;
}

void ring_put_back(struct ring *r, const struct perf_event_header *h)
{
	r->at -= h->size;
}

void ring_end(struct ring *r)
{
	/* The kernel may overwrite what lies before data_tail: our reads come first. */
	__atomic_store_n(&r->page->data_tail, r->at, __ATOMIC_RELEASE);
}
