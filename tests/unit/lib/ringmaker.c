#include "tests/unit/lib/ringmaker.h"

#include <stdlib.h>
#include <string.h>

void ringmaker_init(struct ringmaker *m, size_t size, uint64_t at)
{
	m->page = calloc(1, sizeof(*m->page));
	m->data = calloc(1, size);
	m->size = size;
	if (!m->page || !m->data)
		abort();
	m->page->data_head = at;
	m->page->data_tail = at;
}

void ringmaker_deinit(struct ringmaker *m)
{
	free(m->page);
	free(m->data);
}

void ringmaker_put(struct ringmaker *m, const void *bytes, size_t n)
{
	uint64_t head = m->page->data_head;

	for (size_t i = 0; i < n; i++)
		m->data[(head + i) % m->size] = ((const uint8_t *)bytes)[i];
	__atomic_store_n(&m->page->data_head, head + n, __ATOMIC_RELEASE);
}

void ringmaker_sample(struct ringmaker *m, uint16_t misc, uint64_t ip, uint32_t pid, uint32_t tid,
		      uint64_t time)
{
	struct {
		struct perf_event_header header;
		uint64_t ip;
		uint32_t pid, tid;
		uint64_t time;
	} r = {{PERF_RECORD_SAMPLE, misc, sizeof(r)}, ip, pid, tid, time};

	ringmaker_put(m, &r, sizeof(r));
}

void ringmaker_lost(struct ringmaker *m, uint64_t lost)
{
	struct {
		struct perf_event_header header;
		uint64_t id, lost;
	} r = {{PERF_RECORD_LOST, 0, sizeof(r)}, 1, lost};

	ringmaker_put(m, &r, sizeof(r));
}
