#include "tests/unit/lib/pipewalk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

struct pipewalk pipewalk_records(const void *bytes, size_t n)
{
	return (struct pipewalk){bytes, (const uint8_t *)bytes + n};
}

struct pipewalk pipewalk_begin(const void *bytes, size_t n)
{
	struct pipewalk w = pipewalk_records(bytes, n);
	uint64_t size = 16;

	assert_true(n >= size);
	assert_memory_equal(bytes, "PERFILE2", 8);
	assert_memory_equal(w.at + 8, &size, sizeof(size));
	w.at += size;
	return w;
}

const struct perf_event_header *pipewalk_next(struct pipewalk *w)
{
	const struct perf_event_header *h = (const void *)w->at;

	if (w->at == w->end)
		return NULL;
	assert_true((size_t)(w->end - w->at) >= sizeof(*h));
	assert_true(h->size >= sizeof(*h) && h->size % 8 == 0);
	assert_true(h->size <= (size_t)(w->end - w->at));
	w->at += h->size;
	return h;
}

const struct perf_event_header *pipewalk_find(struct pipewalk *w, uint32_t type)
{
	const struct perf_event_header *h;

	while ((h = pipewalk_next(w)) && h->type != type)
		continue;
	return h;
}

size_t pipewalk_count(struct pipewalk w, uint32_t type)
{
	size_t n = 0;

	while (pipewalk_find(&w, type))
		n++;
	return n;
}

static const uint8_t *place(const struct perf_event_header *h, int at)
{
	return (const uint8_t *)h + (at < 0 ? h->size + at : at);
}

uint64_t pipewalk_u64(const struct perf_event_header *h, int at)
{
	uint64_t v;

	memcpy(&v, place(h, at), sizeof(v));
	return v;
}

uint32_t pipewalk_u32(const struct perf_event_header *h, int at)
{
	uint32_t v;

	memcpy(&v, place(h, at), sizeof(v));
	return v;
}

const char *pipewalk_text(const struct perf_event_header *h, int at)
{
	const char *s = (const char *)place(h, at);

	assert_non_null(memchr(s, '\0', h->size - (size_t)at));
	return s;
}

uint64_t pipewalk_samples(struct pipewalk w)
{
	return pipewalk_count(w, PERF_RECORD_SAMPLE);
}

uint64_t pipewalk_lost(struct pipewalk w)
{
	const struct perf_event_header *h;
	uint64_t n = 0;

	while ((h = pipewalk_find(&w, PERF_RECORD_LOST)))
		n += pipewalk_u64(h, 16);
	return n;
}
