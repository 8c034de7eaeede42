#include "profiler/perfdata/write.h"

#include <stdbool.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "profiler/perfdata/format.h"

/* ---- records ----------------------------------------------------------------------------- */

/* What a record of the kernel's types ends with: PERFDATA_SAMPLE_TYPE as struct sample_id of
 * perf_event_open(2) has it. */
struct sample_id {
	uint32_t pid, tid;
	uint64_t time;
	uint32_t cpu, reserved;
	uint64_t id;
};

struct raw_sample {
	struct perf_event_header header;
	uint64_t id;
	uint64_t ip;
	uint32_t pid, tid;
	uint64_t time;
	uint32_t cpu, reserved;
	uint64_t period;
};
_Static_assert(sizeof(struct raw_sample) == PERFDATA_SAMPLE_SIZE, "no padding");

struct raw_comm {
	struct perf_event_header header;
	uint32_t pid, tid;
};

struct raw_mmap {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t start, size, pgoff;
};

struct raw_ksymbol {
	struct perf_event_header header;
	uint64_t start;
	uint32_t size;
	uint16_t type, flags;
};

struct raw_lost {
	struct perf_event_header header;
	uint64_t id, lost;
	struct sample_id sample_id;
};
_Static_assert(sizeof(struct raw_lost) <= PERFDATA_LOST_MAX, "fits");

struct raw_lost_samples {
	struct perf_event_header header;
	uint64_t lost;
	struct sample_id sample_id;
};

static size_t padded(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* A record that begins with these n bytes, of which the header's size is yet to be set, and has
 * `more` bytes behind them: zeros, where the result points. NULL: it does not fit. */
static uint8_t *put_record(struct buf *b, void *head, size_t n, size_t more)
{
	struct perf_event_header *header = head;
	uint8_t *to;

	header->size = (uint16_t)(n + more);
	to = buf_reserve(b, n + more);
	if (!to)
		return NULL;
	memcpy(to, head, n);
	memset(to + n, 0, more);
	buf_commit(b, n + more);
	return to + n;
}

static size_t name_size(const char *name)
{
	return strnlen(name, PERFDATA_NAME_MAX - 1) + 1;
}

/* Where the name goes zeros stand. */
static void put_name(uint8_t *to, const char *name)
{
	memcpy(to, name, name_size(name) - 1);
}

/* The same with a name and, aligned behind it, a sample id. */
static void put_named(struct buf *b, void *head, size_t n, const char *name,
		      const struct sample_id *id)
{
	size_t size = padded(name_size(name));
	uint8_t *to = put_record(b, head, n, size + sizeof(*id));

	if (!to)
		return;
	put_name(to, name);
	memcpy(to + size, id, sizeof(*id));
}

/* ---- the beginning ------------------------------------------------------------------------- */

void perfdata_write_begin(struct buf *b)
{
	const struct perfdata_pipe_header header = {.magic = PERFDATA_MAGIC,
						    .size = sizeof(header)};

	buf_append(b, &header, sizeof(header));
}

void perfdata_write_event(struct buf *b, const struct perf_event_attr *attr, uint64_t id,
			  const char *name)
{
	struct perfdata_header_attr head = {.header.type = PERFDATA_HEADER_ATTR, .attr = *attr};
	struct perfdata_event_update update = {
		.header.type = PERFDATA_EVENT_UPDATE, .update = PERFDATA_UPDATE_NAME, .id = id};
	uint8_t *to;

	head.attr.size = sizeof(head.attr);
	head.attr.sample_type = PERFDATA_SAMPLE_TYPE;
	head.attr.sample_id_all = 1;
	to = put_record(b, &head, sizeof(head), sizeof(id));
	if (to)
		memcpy(to, &id, sizeof(id));
	to = put_record(b, &update, sizeof(update), padded(name_size(name)));
	if (to)
		put_name(to, name);
}

/* ---- features ------------------------------------------------------------------------------ */

static void put_feature(struct buf *b, uint64_t feature, const void *bytes, size_t n)
{
	struct perfdata_header_feature head = {.header.type = PERFDATA_HEADER_FEATURE,
					       .feature = feature};
	uint8_t *to = put_record(b, &head, sizeof(head), padded(n));

	if (to)
		memcpy(to, bytes, n);
}

static void put_string(struct buf *b, uint64_t feature, const char *text)
{
	struct {
		struct perfdata_string head;
		char text[PERFDATA_NAME_MAX];
	} s = {.head.size = 0};
	size_t n = name_size(text);

	n = (n + PERFDATA_STRING_ALIGN - 1) / PERFDATA_STRING_ALIGN * PERFDATA_STRING_ALIGN;
	s.head.size = (uint32_t)n;
	memcpy(s.text, text, name_size(text) - 1);
	put_feature(b, feature, &s, sizeof(s.head) + n);
}
_Static_assert(PERFDATA_NAME_MAX % PERFDATA_STRING_ALIGN == 0, "the longest name fits, padded");

static uint64_t now_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void put_clock(struct buf *b, clockid_t clock)
{
	struct timespec ts = {.tv_nsec = 1};
	struct perfdata_clock_data data = {.version = 1, .clockid = (uint32_t)clock};
	uint64_t resolution;

	clock_getres(clock, &ts);
	resolution = (uint64_t)ts.tv_nsec;
	data.clock_ns = now_of(clock);
	data.wall_ns = now_of(CLOCK_REALTIME);
	put_feature(b, PERFDATA_FEATURE_CLOCKID, &resolution, sizeof(resolution));
	put_feature(b, PERFDATA_FEATURE_CLOCK_DATA, &data, sizeof(data));
}

void perfdata_write_host(struct buf *b, const char *version, clockid_t clock)
{
	const uint32_t cpus[2] = {(uint32_t)sysconf(_SC_NPROCESSORS_CONF),
				  (uint32_t)sysconf(_SC_NPROCESSORS_ONLN)};
	struct utsname host;

	if (uname(&host) == 0) {
		put_string(b, PERFDATA_FEATURE_HOSTNAME, host.nodename);
		put_string(b, PERFDATA_FEATURE_OSRELEASE, host.release);
		put_string(b, PERFDATA_FEATURE_ARCH, host.machine);
	}
	put_string(b, PERFDATA_FEATURE_VERSION, version);
	put_feature(b, PERFDATA_FEATURE_NRCPUS, cpus, sizeof(cpus));
	put_clock(b, clock);
}

/* ---- who and where ------------------------------------------------------------------------- */

void perfdata_write_comm(struct buf *b, const struct perfdata_task *task, uint16_t misc,
			 const char *name)
{
	struct raw_comm head = {.header = {.type = PERF_RECORD_COMM, .misc = misc},
				.pid = task->pid,
				.tid = task->tid};
	struct sample_id id = {
		.pid = task->pid, .tid = task->tid, .time = task->time, .cpu = PERFDATA_CPU_NONE};

	put_named(b, &head, sizeof(head), name, &id);
}

void perfdata_write_mmap(struct buf *b, const struct perfdata_mmap *m)
{
	struct raw_mmap head = {.header = {.type = PERF_RECORD_MMAP, .misc = m->misc},
				.pid = m->pid,
				.start = m->start,
				.size = m->size,
				.pgoff = m->reference};
	struct sample_id id = {.pid = m->pid, .time = m->time, .cpu = PERFDATA_CPU_NONE};

	put_named(b, &head, sizeof(head), m->name, &id);
}

void perfdata_write_guest_symbol(struct buf *b, const struct perfdata_symbol *s)
{
	struct raw_ksymbol head = {
		.header = {.type = PERF_RECORD_KSYMBOL, .misc = PERF_RECORD_MISC_GUEST_KERNEL},
		.start = s->start,
		.size = s->size,
	};
	struct sample_id id = {.pid = s->pid, .time = s->time, .cpu = PERFDATA_CPU_NONE};

	put_named(b, &head, sizeof(head), s->name, &id);
}

void perfdata_write_guest_build_id(struct buf *b, uint32_t pid, const uint8_t *id, size_t id_size,
				   const char *name)
{
	struct perfdata_build_id head = {
		.header = {.type = PERFDATA_HEADER_BUILD_ID,
			   .misc = PERF_RECORD_MISC_GUEST_KERNEL | PERFDATA_MISC_BUILD_ID_SIZE},
		.pid = (int32_t)pid};
	uint8_t *to;

	head.id_size = (uint8_t)(id_size < sizeof(head.id) ? id_size : sizeof(head.id));
	if (head.id_size)
		memcpy(head.id, id, head.id_size);
	/* The head is no multiple of 8 bytes long. */
	to = put_record(b, &head, sizeof(head),
			padded(sizeof(head) + name_size(name)) - sizeof(head));
	if (to)
		put_name(to, name);
}

/* ---- samples ------------------------------------------------------------------------------- */

void perfdata_put_sample(const struct perfdata_sample *s, uint8_t to[static PERFDATA_SAMPLE_SIZE])
{
	const struct raw_sample raw = {
		.header = {PERF_RECORD_SAMPLE, s->misc, PERFDATA_SAMPLE_SIZE},
		.id = s->id,
		.ip = s->ip,
		.pid = s->pid,
		.tid = s->tid,
		.time = s->time,
		.cpu = s->cpu,
		.period = s->period,
	};

	memcpy(to, &raw, sizeof(raw));
}

void perfdata_write_lost(struct buf *b, uint64_t id, uint64_t time, uint64_t lost)
{
	struct raw_lost raw = {
		.header.type = PERF_RECORD_LOST,
		.id = id,
		.lost = lost,
		.sample_id = {.time = time, .cpu = PERFDATA_CPU_NONE, .id = id},
	};

	put_record(b, &raw, sizeof(raw), 0);
}

void perfdata_write_lost_samples(struct buf *b, uint64_t id, uint64_t time, uint64_t lost)
{
	struct raw_lost_samples raw = {
		.header.type = PERF_RECORD_LOST_SAMPLES,
		.lost = lost,
		.sample_id = {.time = time, .cpu = PERFDATA_CPU_NONE, .id = id},
	};

	put_record(b, &raw, sizeof(raw), 0);
}

void perfdata_write_round(struct buf *b)
{
	struct perf_event_header round = {.type = PERFDATA_FINISHED_ROUND};

	put_record(b, &round, sizeof(round), 0);
}
