#include "profiler/perfdata/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/perfdata/format.h"
#include "profiler/perfdata/order.h"
#include "profiler/secret.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"
#include "symsrc/vmmscan.h"

#define HEADER_SIZE sizeof(struct perf_event_header)
#define SLOTS_FIRST 256
#define HELD_MAX    (16u << 20) /* of samples */

/* ---- tables -------------------------------------------------------------------------------- */

/* Never 0: no pid is -1. */
static uint64_t key_of(uint32_t pid, uint32_t tid)
{
	return ((uint64_t)pid << 32 | tid) + 1;
}

static uint64_t *slot_at(const struct recorder_table *t, size_t i)
{
	return (uint64_t *)(t->slots + i * t->element);
}

/* Where it is or belongs; only of a table that has slots. */
static uint64_t *place_of(const struct recorder_table *t, uint64_t key)
{
	size_t mask = t->slot_count - 1;
	size_t i = secret_mix(key, t->seed, 0) & mask;

	while (*slot_at(t, i) && *slot_at(t, i) != key)
		i = (i + 1) & mask;
	return slot_at(t, i);
}

/* NULL: there is none. */
static void *table_find(const struct recorder_table *t, uint64_t key)
{
	uint64_t *place = t->slot_count ? place_of(t, key) : NULL;

	return place && *place ? place : NULL;
}

static bool grow(struct recorder_table *t)
{
	struct recorder_table bigger = *t;

	bigger.slot_count = t->slot_count ? 2 * t->slot_count : SLOTS_FIRST;
	bigger.slots = calloc(bigger.slot_count, t->element);
	if (!bigger.slots)
		return false;
	for (size_t i = 0; i < t->slot_count; i++) {
		if (*slot_at(t, i))
			memcpy(place_of(&bigger, *slot_at(t, i)), slot_at(t, i), t->element);
	}
	free(t->slots);
	*t = bigger;
	return true;
}

/* All zero but the key, unless it is there. NULL: no room. */
static void *table_add(struct recorder_table *t, uint64_t key)
{
	uint64_t *place = table_find(t, key);

	if (place)
		return place;
	if (t->used >= t->most || (t->used >= t->slot_count / 2 && !grow(t)))
		return NULL;
	place = place_of(t, key);
	*place = key;
	t->used++;
	return place;
}

struct recorder *recorder_create(const struct recording_config *config, uint64_t size)
{
	struct recorder *to = calloc(1, sizeof(*to));

	if (!to)
		return NULL;
	to->counter = counter_create();
	if (!to->counter) {
		free(to);
		return NULL;
	}
	to->config = config;
	buf_init(&to->held, HELD_MAX);
	to->preferred = SIZE_MAX;
	to->size = size;
	to->tasks.seed = to->names.seed = secret_seed();
	to->tasks.element = sizeof(struct recorder_task);
	to->tasks.most = RECORDING_PROCESSES_MAX;
	to->names.element = sizeof(struct recorder_name);
	to->names.most = RECORDING_THREADS_MAX;
	return to;
}

void recorder_destroy(struct recorder *to)
{
	if (!to)
		return;
	free(to->tasks.slots);
	free(to->names.slots);
	buf_deinit(&to->held);
	counter_destroy(to->counter);
	free(to);
}

/* ---- tasks --------------------------------------------------------------------------------- */

/* The place of that thread in the guest's list; GUEST_VCPUS_MAX: no room. */
static unsigned add_vcpu(struct recording_guest *g, pid_t tid)
{
	struct recording_vcpu *more;

	if (g->vcpu_count >= GUEST_VCPUS_MAX)
		return GUEST_VCPUS_MAX;
	more = realloc(g->vcpus, (g->vcpu_count + 1) * sizeof(*more));
	if (!more)
		return GUEST_VCPUS_MAX;
	g->vcpus = more;
	g->vcpus[g->vcpu_count] =
		(struct recording_vcpu){.tid = tid, .place = (unsigned)g->vcpu_count};
	return (unsigned)g->vcpu_count++;
}

struct recorder_task *recorder_process(struct recording *r, uint32_t pid)
{
	return table_add(&r->recorder->tasks, key_of(pid, 0));
}

struct recorder_task *recorder_vmm(struct recording *r, uint32_t pid)
{
	struct recorder_task *t = recorder_process(r, pid);

	if (!t || t->is_vmm)
		return t;
	t->is_vmm = true;
	t->guest = recorder_guest(r, (pid_t)pid);
	return t;
}

struct recorder_task *recorder_thread(struct recording *r, uint32_t pid, uint32_t tid)
{
	struct recorder_task *t = table_find(&r->recorder->tasks, key_of(pid, tid));
	const struct recorder_task *vmm;
	struct recording_guest *g;

	if (t && t->is_thread)
		return t;
	vmm = recorder_vmm(r, pid);
	g = vmm ? vmm->guest : NULL;
	t = table_add(&r->recorder->tasks, key_of(pid, tid));
	if (!t)
		return NULL;
	t->is_thread = true;
	t->guest = g;
	if (g)
		t->vcpu = add_vcpu(t->guest, (pid_t)tid);
	return t;
}

/* ---- guests -------------------------------------------------------------------------------- */

static bool counts_here(const struct recording_config *c, pid_t pid)
{
	size_t i = 0;

	while (i < c->only_count && c->only[i] != pid)
		i++;
	return c->only_count == 0 || i < c->only_count;
}

static struct recording_guest *make_guest(struct recording *r, pid_t pid)
{
	struct recording_guest **more =
		realloc(r->guests, (r->guest_count + 1) * sizeof(struct recording_guest *));
	struct recording_guest *g = more ? calloc(1, sizeof(*g)) : NULL;

	if (more)
		r->guests = more;
	if (!g)
		return NULL;
	g->pid = pid;
	counts_init_weighted(&g->table, &r->budget, secret_seed(), RECORDING_ENTRIES_MAX);
	r->guests[r->guest_count++] = g;
	return g;
}

struct recording_guest *recorder_guest(struct recording *r, pid_t pid)
{
	struct recording_guest *g = (struct recording_guest *)recording_find(r, pid);

	if (g || pid < 0 || r->guest_count >= RECORDING_GUESTS_MAX)
		return g;
	return counts_here(r->recorder->config, pid) ? make_guest(r, pid) : NULL;
}

/* ---- names of threads ---------------------------------------------------------------------- */

/* pid, tid, comm. The newest name wins: a thread begins with its maker's. */
void recorder_name(struct recording *r, const struct perfdata_record *rec)
{
	const char *comm = (const char *)rec->bytes + HEADER_SIZE + 8;
	struct recorder_name n = {0};
	struct recorder_name *place;
	uint32_t pid, tid;

	if (rec->size <= HEADER_SIZE + 8)
		return;
	pid = order_u32(rec->bytes + HEADER_SIZE, rec->swapped);
	tid = order_u32(rec->bytes + HEADER_SIZE + 4, rec->swapped);
	snprintf(n.name, sizeof(n.name), "%.*s", (int)strnlen(comm, rec->size - HEADER_SIZE - 8),
		 comm);
	if (pid == UINT32_MAX || (pid != tid && vmmscan_vcpu_of_comm(n.name) < 0))
		return;
	n.key = key_of(pid, tid);
	place = table_add(&r->recorder->names, n.key);
	if (place)
		*place = n;
}

/* ---- maps and build-ids -------------------------------------------------------------------- */

/* NULL: no memory, or too many: of one guest, or of all together. */
static void *append(struct counts_budget *budget, void **list, size_t *count, size_t *room,
		    size_t size)
{
	if (*count >= RECORDING_MAPS_MAX)
		return NULL;
	if (*count == *room) {
		size_t wanted = *room ? 2 * *room : 16;
		void *more = counts_budget_take(budget, (wanted - *room) * size)
				     ? realloc(*list, wanted * size)
				     : NULL;

		if (!more)
			return NULL;
		*list = more;
		*room = wanted;
	}
	return (char *)*list + (*count)++ * size;
}

static bool is_guest_kernel(const struct perfdata_record *rec)
{
	return (rec->misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_GUEST_KERNEL;
}

/* What follows "[guest.kernel.kallsyms.PID]" or "[guest.kernel.kallsyms]"; NULL: it is none. */
static const char *behind_kernel(const char *name)
{
	static const char begin[] = "[guest.kernel.kallsyms";
	const char *end;

	if (strncmp(name, begin, sizeof(begin) - 1) != 0)
		return NULL;
	end = strchr(name, ']');
	return end ? end + 1 : NULL;
}

/* "[ext4]" of that, and of ".../lib/modules/6.1.0/kernel/fs/ext4/ext4.ko.xz": names of modules have
 * no '-', those of their files may. */
static void name_object(const char *name, char to[static RECORDING_MAP_NAME_MAX])
{
	const char *base = strrchr(name, '/');
	const char *dot = base ? strstr(base, ".ko") : NULL;

	if (behind_kernel(name)) {
		snprintf(to, RECORDING_MAP_NAME_MAX, "%s", PERFDATA_GUEST_KERNEL);
		return;
	}
	if (dot)
		snprintf(to, RECORDING_MAP_NAME_MAX, "[%.*s]", (int)(dot - base - 1), base + 1);
	else
		snprintf(to, RECORDING_MAP_NAME_MAX, "%s", name);
	for (char *c = to; dot && *c; c++) {
		if (*c == '-')
			*c = '_';
	}
}

/* The name that stands at the record's end; empty where there is none. */
static void copy_name(const struct perfdata_record *rec, size_t at, char *to, size_t size)
{
	const char *name = (const char *)rec->bytes + at;

	snprintf(to, size, "%.*s", at < rec->size ? (int)strnlen(name, rec->size - at) : 0, name);
}

static void keep_map(struct recording *r, struct recording_guest *g, const struct recording_map *m)
{
	struct recording_map *to =
		append(&r->budget, (void **)&g->maps, &g->map_count, &g->map_room, sizeof(*to));

	if (to)
		*to = *m;
}

/* In both: pid, tid, start, length, offset; then the name, or first what only MMAP2 has (device and
 * inode, or a build-id; protection and flags). */
#define MMAP_NAME  (HEADER_SIZE + 4 + 4 + 8 + 8 + 8)
#define MMAP2_NAME (MMAP_NAME + 24 + 8)

static bool read_map(const struct perfdata_record *rec, struct recording_map *m)
{
	size_t at = rec->type == PERF_RECORD_MMAP2 ? MMAP2_NAME : MMAP_NAME;
	const uint8_t *numbers = rec->bytes + HEADER_SIZE + 8;
	const char *symbol;
	char name[1024];

	if (rec->size <= at)
		return false;
	*m = (struct recording_map){.start = order_u64(numbers, rec->swapped)};
	m->end = m->start + order_u64(numbers + 8, rec->swapped);
	copy_name(rec, at, name, sizeof(name));
	symbol = behind_kernel(name);
	if (!symbol && strncmp(name, "[kernel.kallsyms]", 17) == 0)
		symbol = name + 17;
	if (symbol) {
		m->kernel = true;
		m->symbol_at = order_u64(numbers + 16, rec->swapped);
		snprintf(m->symbol, sizeof(m->symbol), "%.31s", symbol);
	}
	name_object(name, m->name);
	return m->end > m->start;
}

void recorder_map(struct recording *r, const struct perfdata_record *rec)
{
	bool host = (rec->misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_KERNEL;
	struct recording_guest *g;
	struct recording_map m;

	if ((!host && !is_guest_kernel(rec)) || !read_map(rec, &m))
		return;
	if (host) {
		if (m.kernel && strcmp(m.symbol, PERFDATA_REFERENCE_SYMBOL) == 0)
			r->host_symbol_at = m.symbol_at;
		return;
	}
	g = recorder_guest(r, (pid_t)order_u32(rec->bytes + HEADER_SIZE, rec->swapped));
	if (g)
		keep_map(r, g, &m);
}

void recorder_build_id(struct recording *r, const struct perfdata_record *rec)
{
	const size_t id_at = HEADER_SIZE + 4, name_at = sizeof(struct perfdata_build_id);
	struct recording_build_id b = {.id.len = PERFDATA_BUILD_ID_MAX};
	struct recording_build_id *to;
	struct recording_guest *g;
	char name[1024];

	if (!is_guest_kernel(rec) || rec->size <= name_at)
		return;
	if (rec->misc & PERFDATA_MISC_BUILD_ID_SIZE)
		b.id.len = rec->bytes[id_at + PERFDATA_BUILD_ID_MAX];
	/* Who does not know it says so with none. */
	if (b.id.len == 0 || b.id.len > PERFDATA_BUILD_ID_MAX)
		return;
	memcpy(b.id.bytes, rec->bytes + id_at, b.id.len);
	copy_name(rec, name_at, name, sizeof(name));
	b.kernel = behind_kernel(name) != NULL;
	name_object(name, b.name);
	g = recorder_guest(r, (pid_t)order_u32(rec->bytes + HEADER_SIZE, rec->swapped));
	to = g ? append(&r->budget, (void **)&g->build_ids, &g->build_id_count, &g->build_id_room,
			sizeof(*to))
	       : NULL;
	if (to)
		*to = b;
}

/* ---- the end ------------------------------------------------------------------------------- */

static int by_start(const void *a, const void *b)
{
	const struct recording_map *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

static int by_pid(const void *a, const void *b)
{
	pid_t x = (*(struct recording_guest *const *)a)->pid;
	pid_t y = (*(struct recording_guest *const *)b)->pid;

	return (x > y) - (x < y);
}

static int by_tid(const void *a, const void *b)
{
	const struct recording_vcpu *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

static int by_index(const void *a, const void *b)
{
	const struct recording_vcpu *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

/* Whether each thread has a name that tells its vCPU's index, another one for each. */
static bool index_by_names(const struct recorder *from, struct recording_guest *g)
{
	bool taken[GUEST_VCPUS_MAX] = {false};

	for (size_t i = 0; i < g->vcpu_count; i++) {
		uint64_t key = key_of((uint32_t)g->pid, (uint32_t)g->vcpus[i].tid);
		const struct recorder_name *name = table_find(&from->names, key);
		long index = name ? vmmscan_vcpu_of_comm(name->name) : -1;

		if (index < 0 || index >= GUEST_VCPUS_MAX || taken[index])
			return false;
		taken[index] = true;
		g->vcpus[i].index = (unsigned)index;
	}
	return true;
}

/* VMMs start vCPU 0 first. */
static void index_by_tids(struct recording_guest *g)
{
	if (g->vcpu_count)
		qsort(g->vcpus, g->vcpu_count, sizeof(g->vcpus[0]), by_tid);
	for (size_t i = 0; i < g->vcpu_count; i++)
		g->vcpus[i].index = (unsigned)i;
}

/* The same table, with indexes in the place of places. */
static void index_table(struct recording_guest *g)
{
	uint16_t indexes[GUEST_VCPUS_MAX + 1] = {0};

	for (size_t i = 0; i < g->vcpu_count; i++)
		indexes[g->vcpus[i].place] = (uint16_t)g->vcpus[i].index;
	indexes[GUEST_VCPUS_MAX] = GUEST_VCPUS_MAX;
	counts_renumber(&g->table, indexes);
}

static bool is_in_order(const struct recording_guest *g)
{
	size_t i = 0;

	while (i < g->vcpu_count && g->vcpus[i].index == i && g->vcpus[i].place == i)
		i++;
	return i == g->vcpu_count;
}

static void finish_guest(struct recording *r, struct recording_guest *g)
{
	uint32_t pid = (uint32_t)g->pid;
	const struct recorder_name *name = table_find(&r->recorder->names, key_of(pid, pid));
	const struct recorder_task *t = table_find(&r->recorder->tasks, key_of(pid, 0));

	snprintf(g->name, sizeof(g->name), "%s", g->pid && name ? name->name : "");
	g->host_kernel = t ? t->host_kernel : 0;
	g->host_user = t ? t->host_user : 0;
	if (g->map_count)
		qsort(g->maps, g->map_count, sizeof(g->maps[0]), by_start);
	if (!index_by_names(r->recorder, g))
		index_by_tids(g);
	if (is_in_order(g))
		return;
	index_table(g);
	qsort(g->vcpus, g->vcpu_count, sizeof(g->vcpus[0]), by_index);
}

static int by_number(const void *a, const void *b)
{
	const struct recording_other *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static void list_other(struct recording *r, uint32_t pid)
{
	const struct recorder_name *name = table_find(&r->recorder->names, key_of(pid, pid));
	struct recording_other *to = &r->others[r->other_count];

	if (r->other_count++ >= RECORDING_OTHERS_MAX)
		return;
	to->pid = (pid_t)pid;
	snprintf(to->name, sizeof(to->name), "%s", name ? name->name : "");
}

/* Guests that were left out since others were asked for. */
static void list_others(struct recording *r)
{
	const struct recorder_table *tasks = &r->recorder->tasks;

	for (size_t i = 0; i < tasks->slot_count; i++) {
		const struct recorder_task *t = (struct recorder_task *)slot_at(tasks, i);
		uint32_t pid = (uint32_t)((t->key - 1) >> 32);

		if (t->key && t->is_vmm && !counts_here(r->recorder->config, (pid_t)pid))
			list_other(r, pid);
	}
	qsort(r->others,
	      r->other_count < RECORDING_OTHERS_MAX ? r->other_count : RECORDING_OTHERS_MAX,
	      sizeof(r->others[0]), by_number);
}

void recorder_finish(struct recording *r)
{
	for (size_t i = 0; i < r->guest_count; i++)
		finish_guest(r, r->guests[i]);
	if (r->guest_count)
		qsort(r->guests, r->guest_count, sizeof(struct recording_guest *), by_pid);
	list_others(r);
}
