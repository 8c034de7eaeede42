/* The events of a recording, and where in a sample of each what stands. Pure; the bytes are a
 * stranger's.
 *
 * Source: perf_event_open(2), "struct perf_event_attr" and "PERF_RECORD_SAMPLE"; which event a
 * sample is of, Linux' tools/perf/util/evlist.c, evlist__event2evsel(); the attributes' bit
 * fields of the other byte order, tools/perf/util/session.c, perf_event__attr_swap().
 */
#ifndef KVMPROFS_PERFDATA_EVENTS_H
#define KVMPROFS_PERFDATA_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVENTS_MAX    1024
#define EVENT_IDS_MAX (1u << 20) /* of all events together: one for each CPU or thread */

/* Offsets from a sample record's beginning; 0: it is not there. */
struct recording_event_places {
	uint16_t ip, tid, time, id, period;
	uint16_t end; /* no sample is shorter */
};

struct recording_event {
	uint32_t type;
	uint64_t config;
	uint64_t rate; /* samples a second, or events a sample */
	bool by_freq;
	bool reads;	/* samples have their counter's value, which perf takes for their period */
	bool no_guests; /* exclude_guest: it was not to count in guests */
	bool of_host;	/* something that the host does, as kvm:kvm_exit: it hits no guest */
	bool is_dummy;	/* counts nothing: there for its other records */
	struct recording_event_places at;
	char name[64]; /* printable, without blanks; never empty */
	uint64_t samples, guest_samples;
	uint64_t served_samples; /* of those, of guests that are not left out */
	uint64_t held_samples;	 /* these to be, while it is not known which event is shown */
};

struct recording_event_id {
	uint64_t id;
	uint32_t event;
};

struct recording_events {
	size_t count;
	struct recording_event *list;	/* in the recording's order */
	struct recording_event_id *ids; /* hash table; id 0: free */
	size_t id_count, id_slots;	/* the former: also those that came again */
	uint64_t seed;
	uint64_t last_id; /* what was found last */
	struct recording_event *last;
};

void events_init(struct recording_events *e);
void events_deinit(struct recording_events *e);

/* attr: size bytes, at least PERFDATA_ATTR_SIZE_VER0; ids: of id_bytes / 8 numbers. 0; -EBADMSG:
 * too short; -EFBIG: too many of them; -ENOMEM. */
int events_add(struct recording_events *e, const uint8_t *attr, size_t size, const uint8_t *ids,
	       size_t id_bytes, bool swapped);

/* Names for events out of PERFDATA_FEATURE_EVENT_DESC. What is malformed names nothing more. */
void events_name(struct recording_events *e, const uint8_t *desc, size_t size, bool swapped);

/* The same for one event, out of a record PERFDATA_EVENT_UPDATE. */
void events_update(struct recording_events *e, const uint8_t *record, size_t size, bool swapped);

/* Of which event this sample record is; NULL: nobody can tell. */
struct recording_event *events_of_sample(struct recording_events *e, const uint8_t *record,
					 size_t size, bool swapped);

#endif
