/* What stands in a perf ring: the input is the ring's content, its first byte where the head
 * and tail begin. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/record.h"
#include "profiler/ring.h"
#include "profiler/tracesample.h"

#define RING 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct perf_event_mmap_page page;
	static struct ring_scratch scratch;
	const struct perf_event_header *h;
	uint8_t *bytes = calloc(1, RING);
	struct record r = {0};
	struct trace_sample s;
	uint64_t at = size > 0 ? data[0] * 16ULL : 0;
	size_t rounds = 0;
	struct ring ring;

	if (!bytes)
		abort();
	for (size_t i = 1; i < size; i++)
		bytes[(at + i - 1) % RING] = data[i];
	page.data_tail = at;
	page.data_head = at + (size > 1 ? size - 1 : 0);
	ring_init(&ring, &page, bytes, RING);
	ring_begin(&ring);
	while ((h = ring_next(&ring, &scratch))) {
		if (trace_sample_decode(h, &s) == 0 &&
		    (const char *)s.raw + s.size > (const char *)h + h->size)
			abort();
		if (record_decode(h, &r) == 0 && r.kind > RECORD_OTHER)
			abort();
		if (++rounds > RING / sizeof(*h))
			abort();
	}
	ring_end(&ring);
	if (page.data_tail != page.data_head)
		abort();
	free(bytes);
	return 0;
}
