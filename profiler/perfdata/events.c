#include "profiler/perfdata/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "profiler/perfdata/format.h"
#include "profiler/perfdata/order.h"
#include "profiler/secret.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

#define SLOTS_FIRST 64

/* Offsets in perf_event_attr, the same in all its versions. */
enum {
	ATTR_TYPE = 0,
	ATTR_CONFIG = 8,
	ATTR_RATE = 16,
	ATTR_SAMPLE_TYPE = 24,
	ATTR_FLAGS = 40,
};
#define FLAG_FREQ	   (1u << 10)
#define FLAG_EXCLUDE_GUEST (1u << 20)

void events_init(struct recording_events *e)
{
	*e = (struct recording_events){.seed = secret_seed()};
}

void events_deinit(struct recording_events *e)
{
	free(e->list);
	free(e->ids);
	events_init(e);
}

/* ---- ids --------------------------------------------------------------------------------- */

static struct recording_event_id *find_id(const struct recording_events *e, uint64_t id)
{
	size_t mask = e->id_slots - 1;
	size_t i = secret_mix(id, e->seed, 0) & mask;

	while (e->ids[i].id && e->ids[i].id != id)
		i = (i + 1) & mask;
	return &e->ids[i];
}

static int grow_ids(struct recording_events *e)
{
	struct recording_events bigger = *e;

	bigger.id_slots = e->id_slots ? 2 * e->id_slots : SLOTS_FIRST;
	bigger.ids = calloc(bigger.id_slots, sizeof(bigger.ids[0]));
	if (!bigger.ids)
		return -ENOMEM;
	for (size_t i = 0; i < e->id_slots; i++) {
		if (e->ids[i].id)
			*find_id(&bigger, e->ids[i].id) = e->ids[i];
	}
	free(e->ids);
	*e = bigger;
	return 0;
}

static int add_id(struct recording_events *e, uint64_t id, uint32_t event)
{
	/* The same one again counts as well, so that reading them ends. */
	if (e->id_count >= EVENT_IDS_MAX)
		return -EFBIG;
	if (e->id_count >= e->id_slots / 2 && grow_ids(e) < 0)
		return -ENOMEM;
	e->id_count++;
	if (id)
		*find_id(e, id) = (struct recording_event_id){id, event};
	return 0;
}

/* ---- attributes ---------------------------------------------------------------------------- */

/* In the order in which the kernel writes them, 8 bytes each. */
static struct recording_event_places places_of(uint64_t type)
{
	struct recording_event_places at = {0};
	uint16_t end = sizeof(struct perf_event_header);

#define TAKE(bit, field)               \
	do {                           \
		if (type & (bit)) {    \
			(field) = end; \
			end += 8;      \
		}                      \
	} while (0)
	uint16_t skipped;

	TAKE(PERF_SAMPLE_IDENTIFIER, at.id);
	TAKE(PERF_SAMPLE_IP, at.ip);
	TAKE(PERF_SAMPLE_TID, at.tid);
	TAKE(PERF_SAMPLE_TIME, at.time);
	TAKE(PERF_SAMPLE_ADDR, skipped);
	TAKE(PERF_SAMPLE_ID, at.id);
	TAKE(PERF_SAMPLE_STREAM_ID, skipped);
	TAKE(PERF_SAMPLE_CPU, skipped);
	TAKE(PERF_SAMPLE_PERIOD, at.period);
#undef TAKE
	(void)skipped;
	at.end = end;
	return at;
}

/* Bit fields begin at the other end of each byte where the byte order is the other one, but their
 * bytes are in the same order. */
static uint32_t first_flags(const uint8_t *at, bool swapped)
{
	uint32_t flags = 0;

	for (unsigned bit = 0; bit < 32; bit++) {
		unsigned in_byte = swapped ? 7 - bit % 8 : bit % 8;

		flags |= (uint32_t)(at[bit / 8] >> in_byte & 1) << bit;
	}
	return flags;
}

static const char *generic_name(uint32_t type, uint64_t config)
{
	static const char *const hardware[] = {
		"cycles",
		"instructions",
		"cache-references",
		"cache-misses",
		"branches",
		"branch-misses",
		"bus-cycles",
		"stalled-cycles-frontend",
		"stalled-cycles-backend",
		"ref-cycles",
	};
	static const char *const software[] = {
		"cpu-clock",	    "task-clock",   "page-faults",  "context-switches",
		"cpu-migrations",   "minor-faults", "major-faults", "alignment-faults",
		"emulation-faults", "dummy",	    "bpf-output",   "cgroup-switches",
	};

	if (type == PERF_TYPE_HARDWARE && config < ARRAY_SIZE(hardware))
		return hardware[config];
	if (type == PERF_TYPE_SOFTWARE && config < ARRAY_SIZE(software))
		return software[config];
	return NULL;
}

static void name_by_numbers(struct recording_event *event)
{
	const char *name = generic_name(event->type, event->config);

	if (name)
		snprintf(event->name, sizeof(event->name), "%s", name);
	else
		snprintf(event->name, sizeof(event->name), "%s%" PRIx64,
			 event->type == PERF_TYPE_RAW ? "r" : "unnamed:", event->config);
}

/* All but what the processor does or counts by itself, which may be in a guest then. */
static bool is_of_host(const struct recording_event *e)
{
	return e->type == PERF_TYPE_TRACEPOINT || e->type == PERF_TYPE_BREAKPOINT ||
	       (e->type == PERF_TYPE_SOFTWARE && e->config != PERF_COUNT_SW_CPU_CLOCK &&
		e->config != PERF_COUNT_SW_TASK_CLOCK);
}

static struct recording_event *append(struct recording_events *e)
{
	struct recording_event *more = realloc(e->list, (e->count + 1) * sizeof(*more));

	if (!more)
		return NULL;
	e->list = more;
	e->last = NULL;
	e->last_id = 0;
	e->list[e->count] = (struct recording_event){0};
	return &e->list[e->count++];
}

int events_add(struct recording_events *e, const uint8_t *attr, size_t size, const uint8_t *ids,
	       size_t id_bytes, bool swapped)
{
	struct recording_event *event;
	int r = 0;

	if (size < PERFDATA_ATTR_SIZE_VER0)
		return -EBADMSG;
	if (e->count >= EVENTS_MAX)
		return -EFBIG;
	event = append(e);
	if (!event)
		return -ENOMEM;
	event->type = order_u32(attr + ATTR_TYPE, swapped);
	event->config = order_u64(attr + ATTR_CONFIG, swapped);
	event->rate = order_u64(attr + ATTR_RATE, swapped);
	event->by_freq = first_flags(attr + ATTR_FLAGS, swapped) & FLAG_FREQ;
	event->no_guests = first_flags(attr + ATTR_FLAGS, swapped) & FLAG_EXCLUDE_GUEST;
	event->of_host = is_of_host(event);
	event->is_dummy = event->type == PERF_TYPE_SOFTWARE && event->config == PERF_COUNT_SW_DUMMY;
	event->at = places_of(order_u64(attr + ATTR_SAMPLE_TYPE, swapped));
	event->reads = order_u64(attr + ATTR_SAMPLE_TYPE, swapped) & PERF_SAMPLE_READ;
	name_by_numbers(event);
	for (size_t i = 0; r == 0 && i + 8 <= id_bytes; i += 8)
		r = add_id(e, order_u64(ids + i, swapped), (uint32_t)(e->count - 1));
	return r;
}

/* ---- names --------------------------------------------------------------------------------- */

struct desc {
	const uint8_t *at;
	size_t left;
	bool swapped;
};

/* NULL: there are not so many. */
static const uint8_t *take(struct desc *d, size_t n)
{
	const uint8_t *at = d->at;

	if (n > d->left)
		return NULL;
	d->at += n;
	d->left -= n;
	return at;
}

static bool take_u32(struct desc *d, uint32_t *ret)
{
	const uint8_t *at = take(d, 4);

	if (at)
		*ret = order_u32(at, d->swapped);
	return at != NULL;
}

static void set_name(struct recording_event *event, const char *name, size_t n)
{
	n = strnlen(name, n);
	if (text_is_word(name, n) && n < sizeof(event->name) && n > 0)
		snprintf(event->name, sizeof(event->name), "%.*s", (int)n, name);
}

/* One element: attr, number of ids, name, ids. They stand in the order of the attributes. */
static bool take_name(struct desc *d, uint32_t attr_size, struct recording_event *event)
{
	uint32_t ids, length;
	const uint8_t *name;

	if (!take(d, attr_size) || !take_u32(d, &ids) || !take_u32(d, &length))
		return false;
	name = take(d, length);
	if (!name || !take(d, (size_t)ids * 8))
		return false;
	set_name(event, (const char *)name, length);
	return true;
}

void events_name(struct recording_events *e, const uint8_t *desc, size_t size, bool swapped)
{
	struct desc d = {desc, size, swapped};
	uint32_t count, attr_size;

	if (!take_u32(&d, &count) || !take_u32(&d, &attr_size) || count != e->count)
		return;
	for (size_t i = 0; i < e->count; i++) {
		if (!take_name(&d, attr_size, &e->list[i]))
			return;
	}
}

void events_update(struct recording_events *e, const uint8_t *record, size_t size, bool swapped)
{
	const size_t update = offsetof(struct perfdata_event_update, update);
	const size_t id = offsetof(struct perfdata_event_update, id);
	const size_t name = sizeof(struct perfdata_event_update);
	const struct recording_event_id *found;

	if (size < name || order_u64(record + update, swapped) != PERFDATA_UPDATE_NAME ||
	    !e->id_slots)
		return;
	found = find_id(e, order_u64(record + id, swapped));
	if (found->id)
		set_name(&e->list[found->event], (const char *)record + name, size - name);
}

/* ---- samples ------------------------------------------------------------------------------- */

struct recording_event *events_of_sample(struct recording_events *e, const uint8_t *record,
					 size_t size, bool swapped)
{
	/* The same for all events of a recording: perf sees to it. */
	uint16_t at = e->count ? e->list[0].at.id : 0;
	const struct recording_event_id *found;
	uint64_t id;

	if (e->count == 1)
		return e->list;
	if (at == 0 || size < (size_t)at + 8)
		return NULL;
	id = order_u64(record + at, swapped);
	if (id == e->last_id && e->last)
		return e->last;
	if (id == 0)
		return e->list;
	found = e->id_slots ? find_id(e, id) : NULL;
	if (!found || !found->id)
		return NULL;
	e->last_id = id;
	e->last = &e->list[found->event];
	return e->last;
}
