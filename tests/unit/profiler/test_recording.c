/* Recordings of perf's: every format that there is, and what is left of them when they break off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <cmocka.h>

#include "profiler/perfdata/recorder.h"
#include "tests/unit/lib/perfmaker.h"

#define KERNEL 0xffffffff81000000ULL
#define GK     PERF_RECORD_MISC_GUEST_KERNEL
#define GU     PERF_RECORD_MISC_GUEST_USER
#define USUAL                                                                           \
	(PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | \
	 PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD)
#define SAMPLES 1000

static const uint64_t first_ids[] = {11, 12}, second_ids[] = {21, 22};
static const uint8_t some_id[20] = {0xab, 1, 2, 3};

static void sample(struct perfmaker *m, uint16_t misc, uint64_t ip, uint32_t pid, uint32_t tid,
		   uint64_t period)
{
	static uint64_t time = 5000000000;

	perfmaker_sample(m, &(struct perfmaker_sample){.misc = misc,
						       .ip = ip,
						       .pid = pid,
						       .tid = tid,
						       .period = period,
						       .id = 12,
						       .time = time += 1000000});
}

/* Two guests, of which the first has two vCPUs whose threads have names; the host; another event.
 */
static void fill(struct perfmaker *m)
{
	perfmaker_event(m, PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY, USUAL, 1, false, NULL, 0);
	perfmaker_event(m, PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, USUAL, 4000, true,
			first_ids, 2);
	perfmaker_event(m, PERF_TYPE_RAW, 0x1c2, USUAL, 1000, false, second_ids, 2);
	perfmaker_comm(m, 100, 100, "qemu-web");
	perfmaker_comm(m, 100, 105, "CPU 1/KVM");
	perfmaker_comm(m, 100, 106, "CPU 0/KVM");
	perfmaker_comm(m, 100, 107, "worker");
	perfmaker_mmap(m, PERF_RECORD_MISC_KERNEL, -1, KERNEL, 0x1000000, KERNEL + 0x40,
		       "[kernel.kallsyms]_text");
	perfmaker_mmap(m, GK, 100, 0xffffffffc0000000, 0x10000, 0,
		       "/mnt/100/lib/modules/6.1.0/kernel/drivers/md/dm-mod.ko.xz");
	perfmaker_mmap(m, GK, 100, KERNEL, 0x1000000, KERNEL + 0x80,
		       "[guest.kernel.kallsyms.100]_text");
	for (int i = 0; i < SAMPLES; i++) {
		sample(m, GK, KERNEL + 16 * (unsigned)(i % 100), 100, 105 + i % 2, 100 + i % 7);
		sample(m, GU, 0x400000, 100, 106, 50);
		sample(m, GK, KERNEL + 1, 200, 201, 10);
		sample(m, PERF_RECORD_MISC_KERNEL, KERNEL, 100, 105, 1000);
		sample(m, PERF_RECORD_MISC_USER, 0x400000, 300, 300, 1000);
		sample(m, PERF_RECORD_MISC_KERNEL, KERNEL, 0, 0, 1000);
	}
	perfmaker_sample(m, &(struct perfmaker_sample){
				    .misc = GK, .ip = KERNEL, .pid = 100, .tid = 105, .id = 22});
	perfmaker_build_id(m, 100, some_id, "[guest.kernel.kallsyms.100]");
}

static struct recording *read_out(struct perfmaker *m, size_t size, size_t step, const char *event)
{
	struct perfmaker_reading reading = {m->out.data, size, step, 0};
	struct perfdata_bytes bytes = perfmaker_bytes(&reading, !m->pipe);
	struct recording_config config = {.path = "made up", .event = event};
	struct recording *r = NULL;
	struct errmsg why = {0};
	int err = recording_read_bytes(&config, &bytes, size, &r, &why);

	if (err < 0)
		printf("%s\n", why.text);
	assert_int_equal(err, 0);
	return r;
}

/* A pipe with one event. */
static void begin_pipe(struct perfmaker *m)
{
	perfmaker_init(m, true, false);
	perfmaker_event(m, PERF_TYPE_SOFTWARE, 0, USUAL, 4000, true, NULL, 0);
}

static struct recording *read_whole(struct perfmaker *m, const char *event)
{
	perfmaker_end(m, true);
	return read_out(m, m->out.len, 0, event);
}

static void forget(struct recording *r, struct perfmaker *m)
{
	recording_free(r);
	perfmaker_deinit(m);
}

static void assert_vcpus(const struct recording_guest *g)
{
	assert_int_equal(g->vcpu_count, 2);
	assert_int_equal(g->vcpus[0].index, 0);
	assert_int_equal(g->vcpus[0].tid, 106);
	assert_int_equal(g->vcpus[0].kernel, SAMPLES / 2);
	assert_int_equal(g->vcpus[0].user, SAMPLES);
	assert_int_equal(g->vcpus[0].user_weight, 50 * SAMPLES);
	assert_int_equal(g->vcpus[1].index, 1);
	assert_int_equal(g->vcpus[1].tid, 105);
	assert_int_equal(g->vcpus[1].kernel, SAMPLES / 2);
}

/* Each address was hit by one vCPU alone. */
static void assert_table(const struct recording_guest *g)
{
	uint64_t samples = 0, weight = 0;

	assert_int_equal(g->table.used, 100);
	for (size_t i = 0; i < g->table.slot_count; i++) {
		const struct counts_entry *e = &g->table.slots[i];

		if (!e->count)
			continue;
		assert_int_equal(e->count, SAMPLES / 100);
		assert_int_equal(e->vcpu, (e->ip - KERNEL) / 16 % 2 ? 0 : 1);
		samples += e->count;
		weight += g->table.weights[i];
	}
	assert_int_equal(samples, SAMPLES);
	/* 142 times 0 to 6, then 0 to 5. */
	assert_int_equal(weight, 100 * SAMPLES + 142 * 21 + 15);
}

static void assert_first_guest(const struct recording *r)
{
	const struct recording_guest *g = r->guests[0];
	const struct recording_map *m;

	assert_int_equal(g->pid, 100);
	assert_string_equal(g->name, "qemu-web");
	assert_int_equal(g->kernel, SAMPLES);
	assert_int_equal(g->user, SAMPLES);
	assert_int_equal(g->user_weight, 50 * SAMPLES);
	assert_int_equal(g->host_kernel, SAMPLES);
	assert_int_equal(g->host_user, 0);
	assert_vcpus(g);
	assert_table(g);
	assert_int_equal(g->build_id_count, 1);
	assert_true(g->build_ids[0].kernel);
	assert_memory_equal(g->build_ids[0].id.bytes, some_id, 20);
	m = recording_map_at(g, KERNEL + 0x123);
	assert_non_null(m);
	assert_string_equal(m->name, "[guest.kernel.kallsyms]");
	assert_string_equal(m->symbol, "_text");
	assert_int_equal(m->symbol_at, KERNEL + 0x80);
	m = recording_map_at(g, 0xffffffffc000ffff);
	assert_non_null(m);
	assert_string_equal(m->name, "[dm_mod]");
	assert_null(recording_map_at(g, 0xffffffffc0010000));
	assert_null(recording_map_at(g, 0));
}

static void assert_filled(const struct recording *r)
{
	assert_int_equal(r->facts.end, PERFDATA_WHOLE);
	assert_int_equal(r->shown, 1);
	assert_string_equal(r->events.list[1].name, "cycles");
	assert_string_equal(r->events.list[2].name, "r1c2");
	assert_true(r->events.list[1].by_freq);
	assert_false(r->events.list[2].by_freq);
	assert_int_equal(r->events.list[2].guest_samples, 1);
	assert_int_equal(r->samples, 6 * SAMPLES);
	assert_int_equal(r->weight, SAMPLES * (100 + 50 + 10 + 3 * 1000) + 142 * 21 + 15);
	assert_int_equal(r->host_kernel, SAMPLES);
	assert_int_equal(r->host_user, SAMPLES);
	assert_int_equal(r->host_idle, SAMPLES);
	assert_int_equal(r->guest_kernel, 2 * SAMPLES);
	assert_int_equal(r->guest_user, SAMPLES);
	assert_int_equal(r->last_ns - r->first_ns, (6 * SAMPLES - 1) * 1000000ULL);
	assert_int_equal(r->strange, 0);
	assert_int_equal(r->host_symbol_at, KERNEL + 0x40);
	assert_int_equal(r->guest_count, 2);
	assert_first_guest(r);
	assert_int_equal(r->guests[1]->pid, 200);
	assert_int_equal(r->guests[1]->kernel, SAMPLES);
}

static void try_format(bool pipe, bool swapped, int compressed, size_t step)
{
	struct perfmaker m;
	struct recording *r;

	perfmaker_init(&m, pipe, swapped);
	fill(&m);
	if (compressed)
		perfmaker_compress(&m, compressed == 2, 1000);
	perfmaker_end(&m, true);
	r = read_out(&m, m.out.len, step, NULL);
	assert_int_equal(r->facts.pipe, pipe);
	assert_int_equal(r->facts.swapped, swapped);
	assert_int_equal(r->facts.compressed, compressed != 0);
	assert_filled(r);
	forget(r, &m);
}

/* In a pipe also the attributes would be compressed, which perf does not do, but here it does not
 * matter. */
static void test_all_formats(void **state)
{
	static const size_t steps[] = {0, 4096, 1237};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (int compressed = 0; compressed < 3; compressed++) {
			try_format(false, false, compressed, steps[i]);
			try_format(false, true, compressed, steps[i]);
			try_format(true, false, compressed, steps[i]);
			try_format(true, true, compressed, steps[i]);
		}
	}
}

static void test_event_is_chosen(void **state)
{
	struct perfmaker m;
	struct recording *r;

	(void)state;
	perfmaker_init(&m, true, false);
	fill(&m);
	r = read_whole(&m, "r1c2");
	assert_int_equal(r->shown, 2);
	assert_int_equal(r->samples, 1);
	assert_int_equal(r->guests[0]->kernel, 1);
	forget(r, &m);
}

/* The first one has no samples of guests. */
static void test_event_with_guests(void **state)
{
	struct perfmaker m;
	struct recording *r;

	(void)state;
	perfmaker_init(&m, false, false);
	perfmaker_event(&m, PERF_TYPE_HARDWARE, 0, USUAL, 4000, true, second_ids, 2);
	perfmaker_event(&m, PERF_TYPE_RAW, 7, USUAL, 4000, true, first_ids, 2);
	sample(&m, GK, KERNEL, 100, 105, 1);
	r = read_whole(&m, NULL);
	assert_int_equal(r->shown, 1);
	assert_int_equal(r->samples, 1);
	assert_int_equal(r->guest_count, 1);
	recording_free(r);
	r = read_out(&m, m.out.len, 0, "cycles");
	assert_int_equal(r->shown, 0);
	assert_int_equal(r->samples, 0);
	forget(r, &m);
}

/* Two events, the first one's samples first, none of a guest. */
static void begin_hosts_pipe(struct perfmaker *m)
{
	const struct perfmaker_sample first = {.misc = PERF_RECORD_MISC_KERNEL,
					       .ip = KERNEL,
					       .pid = 100,
					       .tid = 105,
					       .id = second_ids[0]};

	perfmaker_init(m, true, false);
	perfmaker_event(m, PERF_TYPE_HARDWARE, 0, USUAL, 4000, true, second_ids, 2);
	perfmaker_event(m, PERF_TYPE_RAW, 7, USUAL, 4000, true, first_ids, 2);
	for (int i = 0; i < SAMPLES; i++) {
		perfmaker_sample(m, &first);
		sample(m, PERF_RECORD_MISC_KERNEL, KERNEL, 100, 105, 1000);
	}
}

/* What comes by a pipe comes once: nothing of what comes before that event is known is missing. */
static void test_event_with_guests_by_a_pipe(void **state)
{
	struct perfmaker m;
	struct recording *r;

	(void)state;
	begin_hosts_pipe(&m);
	r = read_whole(&m, NULL);
	assert_int_equal(r->shown, 0);
	assert_int_equal(r->samples, SAMPLES);
	forget(r, &m);
	begin_hosts_pipe(&m);
	perfmaker_sample(
		&m, &(struct perfmaker_sample){
			    .misc = GK, .ip = KERNEL, .pid = 1, .tid = 1, .id = second_ids[0]});
	sample(&m, GK, KERNEL, 100, 105, 1);
	sample(&m, GK, KERNEL, 100, 105, 1);
	r = read_whole(&m, NULL);
	assert_int_equal(r->shown, 1);
	assert_int_equal(r->samples, SAMPLES + 2);
	assert_int_equal(r->host_kernel, SAMPLES);
	assert_int_equal(r->guest_count, 2);
	assert_int_equal(recording_elsewhere(r->guests[0])->event, 0);
	assert_int_equal(recording_elsewhere(r->guests[0])->samples, 1);
	assert_int_equal(r->guests[1]->kernel, 2);
	assert_null(recording_elsewhere(r->guests[1]));
	assert_int_equal(r->events.list[0].samples, SAMPLES + 1);
	forget(r, &m);
}

/* An event that comes late takes the ids of another one, and wants longer samples than came. */
static void test_event_that_changes_by_a_pipe(void **state)
{
	struct perfmaker m;
	struct recording *r;

	(void)state;
	begin_hosts_pipe(&m);
	perfmaker_event(&m, PERF_TYPE_RAW, 8, USUAL | PERF_SAMPLE_ADDR, 4000, true, first_ids, 2);
	r = read_whole(&m, NULL);
	assert_int_equal(r->samples, SAMPLES);
	assert_int_equal(r->strange, SAMPLES);
	forget(r, &m);
}

/* Cut anywhere: what is whole before that counts, and it is said. */
static void cut_everywhere(bool pipe, bool compressed)
{
	struct perfmaker m;

	perfmaker_init(&m, pipe, false);
	perfmaker_event(&m, PERF_TYPE_SOFTWARE, 0, USUAL, 4000, true, NULL, 0);
	if (pipe && compressed) {
		perfmaker_deinit(&m);
		return;
	}
	for (unsigned i = 0; i < 10; i++)
		sample(&m, GK, KERNEL + i, 100, 105, 1);
	if (compressed)
		perfmaker_compress(&m, false, 40);
	perfmaker_end(&m, true);
	for (size_t cut = 1; cut < m.records.len; cut++) {
		struct recording *r;
		size_t records = m.records.len - (pipe ? 8 + 128 : 0);

		if (cut >= records)
			break;
		r = read_out(&m, m.out.len - cut, 7, NULL);
		assert_int_equal(r->facts.end,
				 pipe && cut % 56 == 0 ? PERFDATA_WHOLE : PERFDATA_CUT);
		if (!compressed)
			assert_int_equal(r->samples, (records - cut) / 56);
		assert_true(r->samples < 10);
		recording_free(r);
	}
	perfmaker_deinit(&m);
}

static void test_cut_off(void **state)
{
	(void)state;
	cut_everywhere(false, false);
	cut_everywhere(true, false);
	cut_everywhere(false, true);
}

/* Cut anywhere behind the records, in the table of what stands there or in that itself: all of
 * them count, and what else there is is not believed. */
static void test_cut_off_behind(void **state)
{
	struct perfmaker m;
	size_t behind;

	(void)state;
	perfmaker_init(&m, false, false);
	fill(&m);
	perfmaker_end(&m, true);
	behind = sizeof(struct perfdata_section) + m.build_ids.len;
	for (size_t cut = 1; cut <= behind; cut++) {
		struct recording *r = read_out(&m, m.out.len - cut, 0, NULL);

		assert_int_equal(r->facts.end, PERFDATA_CUT_BEHIND);
		assert_int_equal(r->samples, 6 * SAMPLES);
		assert_int_equal(r->guest_count, 2);
		recording_free(r);
	}
	perfmaker_deinit(&m);
}

static void test_unfinished(void **state)
{
	struct perfmaker m;
	struct recording *r;

	(void)state;
	perfmaker_init(&m, false, true);
	fill(&m);
	perfmaker_end(&m, false);
	r = read_out(&m, m.out.len, 0, NULL);
	assert_int_equal(r->facts.end, PERFDATA_UNFINISHED);
	assert_int_equal(r->samples, 6 * SAMPLES);
	recording_free(r);
	r = read_out(&m, m.out.len - 3, 0, NULL);
	assert_int_equal(r->facts.end, PERFDATA_CUT);
	forget(r, &m);
}

static void test_damaged(void **state)
{
	static const uint64_t nothing[4] = {0};
	struct perfmaker m;
	struct recording *r;

	(void)state;
	begin_pipe(&m);
	sample(&m, GK, KERNEL, 100, 105, 1);
	buf_append(&m.records, nothing, sizeof(nothing));
	sample(&m, GK, KERNEL, 100, 105, 1);
	r = read_whole(&m, NULL);
	assert_int_equal(r->facts.end, PERFDATA_DAMAGED);
	assert_int_equal(r->facts.read, 16 + 8 + 128 + 56);
	assert_int_equal(r->samples, 1);
	forget(r, &m);
}

/* Bytes behind records that these do not count: trace data, AUX data. */
static void test_bytes_behind_records(void **state)
{
	const uint64_t aux[5] = {24, 0, 0, 0, 0};
	const uint32_t tracing[2] = {11, 0};
	static const uint64_t filler[3] = {~0ULL, ~0ULL, ~0ULL};
	struct perfmaker m;
	struct recording *r;

	(void)state;
	begin_pipe(&m);
	perfmaker_record(&m, PERFDATA_AUXTRACE, 0, aux, sizeof(aux));
	buf_append(&m.records, filler, 24);
	perfmaker_record(&m, PERFDATA_HEADER_TRACING_DATA, 0, tracing, sizeof(tracing));
	buf_append(&m.records, filler, 16);
	sample(&m, GK, KERNEL, 100, 105, 1);
	perfmaker_end(&m, true);
	r = read_out(&m, m.out.len, 5, NULL);
	assert_int_equal(r->facts.end, PERFDATA_WHOLE);
	assert_int_equal(r->samples, 1);
	forget(r, &m);
}

/* As many bytes behind a record as make a sum of 0 with its own. */
static void test_bytes_behind_wrap(void **state)
{
	const uint64_t aux[5] = {0 - (uint64_t)(8 + sizeof(aux))};
	struct perfmaker m;
	struct recording *r;

	(void)state;
	begin_pipe(&m);
	sample(&m, GK, KERNEL, 100, 105, 1);
	perfmaker_record(&m, PERFDATA_AUXTRACE, 0, aux, sizeof(aux));
	sample(&m, GK, KERNEL, 100, 105, 1);
	perfmaker_end(&m, true);
	alarm(30);
	r = read_out(&m, m.out.len, 0, NULL);
	alarm(0);
	assert_int_equal(r->facts.end, PERFDATA_CUT);
	assert_int_equal(r->samples, 1);
	forget(r, &m);
}

/* Without a period each sample stands for as many events as the attribute says; without a thread
 * it is the default guest's. */
static void test_few_fields(void **state)
{
	struct perfmaker m;
	struct recording *r;

	(void)state;
	perfmaker_init(&m, true, false);
	perfmaker_event(&m, PERF_TYPE_HARDWARE, 1, PERF_SAMPLE_IP | PERF_SAMPLE_ADDR, 12345, false,
			NULL, 0);
	sample(&m, GK, KERNEL, 100, 105, 1);
	sample(&m, GK, KERNEL, 100, 105, 1);
	r = read_whole(&m, NULL);
	assert_int_equal(r->weight, 2 * 12345);
	assert_int_equal(r->guest_count, 1);
	assert_int_equal(r->guests[0]->pid, 0);
	assert_int_equal(r->guests[0]->kernel, 2);
	forget(r, &m);
}

static void refuse(const char *bytes, size_t n, bool seekable, const char *event, int err,
		   const char *text)
{
	struct perfmaker_reading reading = {bytes, n, 0, 0};
	struct perfdata_bytes from = perfmaker_bytes(&reading, seekable);
	struct recording_config config = {.path = "made up", .event = event};
	struct recording *r = NULL;
	struct errmsg why = {0};

	assert_int_equal(recording_read_bytes(&config, &from, 0, &r, &why), err);
	assert_null(r);
	assert_non_null(strstr(why.text, text));
}

/* No process has such a number; nor is a build-id without bytes one. */
static void test_no_such_guest(void **state)
{
	const uint32_t pids[] = {100, 0x80000005, UINT32_MAX - 1};
	struct perfmaker m;
	struct recording *r;

	(void)state;
	begin_pipe(&m);
	for (size_t i = 0; i < 3; i++) {
		uint8_t id[28 + 28] = {0};

		memcpy(id, &pids[i], 4);
		strcpy((char *)id + 28, "[guest.kernel.kallsyms]");
		perfmaker_mmap(&m, GK, (int32_t)pids[i], KERNEL, 4096, 0, "[x]");
		perfmaker_record(&m, PERFDATA_HEADER_BUILD_ID, GK | PERFDATA_MISC_BUILD_ID_SIZE, id,
				 sizeof(id));
		sample(&m, GK, KERNEL, pids[i], 105, 1);
	}
	r = read_whole(&m, NULL);
	assert_int_equal(r->guest_count, 1);
	assert_int_equal(r->guests[0]->pid, 100);
	assert_int_equal(r->guests[0]->build_id_count, 0);
	assert_int_equal(r->left_out, 2);
	forget(r, &m);
}

/* The same ids over and over would be read for long. */
static void test_too_many_ids(void **state)
{
	static uint64_t ids[EVENT_IDS_MAX];
	static const uint8_t attr[PERFDATA_ATTR_SIZE_VER0];
	struct recording_events e;

	(void)state;
	memset(ids, 1, sizeof(ids));
	events_init(&e);
	assert_int_equal(events_add(&e, attr, sizeof(attr), (uint8_t *)ids, sizeof(ids), false), 0);
	assert_int_equal(events_add(&e, attr, sizeof(attr), (uint8_t *)ids, 8, false), -EFBIG);
	events_deinit(&e);
}

static void test_refusals(void **state)
{
	struct perfmaker m;

	(void)state;
	refuse("", 0, true, NULL, -ENODATA, "is empty");
	refuse("#!/bin/sh\necho hello\n", 20, true, NULL, -EBADMSG, "is no perf.data");
	refuse("PERFILE2", 8, false, NULL, -EBADMSG, "cut off");
	refuse("\x1f\x8b\x08\x00", 4, true, NULL, -EBADMSG, "`zcat FILE >perf.data`");
	refuse("\x28\xb5\x2f\xfd\x24", 5, true, NULL, -EBADMSG, "`zstdcat FILE");
	refuse("\x28\xb5", 2, true, NULL, -EBADMSG, "is no perf.data");
	perfmaker_init(&m, false, false);
	fill(&m);
	perfmaker_end(&m, true);
	refuse(m.out.data, 100, true, NULL, -EBADMSG, "cut off");
	refuse(m.out.data, 200, true, NULL, -EBADMSG, "cut off");
	refuse(m.out.data, m.out.len, false, NULL, -ESPIPE, "pipe");
	refuse(m.out.data, m.out.len, true, "cpu-clock", -ENOENT, "it has cycles, r1c2");
	perfmaker_deinit(&m);
}

static void test_only_some_guests(void **state)
{
	const pid_t only[] = {200};
	struct perfmaker m;
	struct perfmaker_reading reading;
	struct perfdata_bytes bytes;
	struct recording_config config = {.path = "x", .only = only, .only_count = 1};
	struct recording *r = NULL;

	(void)state;
	perfmaker_init(&m, true, false);
	fill(&m);
	perfmaker_end(&m, true);
	reading = (struct perfmaker_reading){m.out.data, m.out.len, 0, 0};
	bytes = perfmaker_bytes(&reading, false);
	assert_int_equal(recording_read_bytes(&config, &bytes, 0, &r, NULL), 0);
	assert_int_equal(r->guest_count, 1);
	assert_int_equal(r->guests[0]->pid, 200);
	assert_int_equal(r->samples, 6 * SAMPLES);
	assert_int_equal(r->left_out, 2 * SAMPLES);
	forget(r, &m);
}

/* The event that is shown is that of the guests that are, and the others are listed, whatever event
 * their samples are of. */
static void try_event_of_served(bool pipe)
{
	const pid_t only[] = {1};
	struct perfmaker m;
	struct perfmaker_reading reading;
	struct perfdata_bytes bytes;
	struct recording_config config = {.path = "x", .only = only, .only_count = 1};
	struct recording *r = NULL;
	const struct perfmaker_sample first = {
		.misc = GK, .ip = KERNEL, .pid = 1, .tid = 1, .id = second_ids[0]};

	perfmaker_init(&m, pipe, false);
	perfmaker_event(&m, PERF_TYPE_RAW, 7, USUAL, 4000, true, first_ids, 2);
	perfmaker_event(&m, PERF_TYPE_HARDWARE, 0, USUAL, 4000, true, second_ids, 2);
	sample(&m, GK, KERNEL, 200, 205, 1);
	sample(&m, GK, KERNEL, 100, 105, 1);
	sample(&m, GK, KERNEL, 100, 106, 1);
	perfmaker_sample(&m, &first);
	perfmaker_end(&m, true);
	reading = (struct perfmaker_reading){m.out.data, m.out.len, 0, 0};
	bytes = perfmaker_bytes(&reading, !pipe);
	assert_int_equal(recording_read_bytes(&config, &bytes, m.out.len, &r, NULL), 0);
	assert_int_equal(r->shown, 1);
	assert_int_equal(r->guest_count, 1);
	assert_int_equal(r->guests[0]->kernel, 1);
	assert_int_equal(r->other_count, 2);
	assert_int_equal(r->others[0].pid, 100);
	assert_int_equal(r->others[1].pid, 200);
	forget(r, &m);
}

static void test_event_of_served_guests(void **state)
{
	(void)state;
	try_event_of_served(false);
	try_event_of_served(true);
}

/* So many that they are counted while more are read. */
static void test_many_samples(void **state)
{
	enum { MANY = 100000, ADDRESSES = 1000 };
	struct perfmaker m;
	struct recording *r;

	(void)state;
	perfmaker_init(&m, false, false);
	fill(&m);
	for (unsigned i = 0; i < MANY; i++)
		sample(&m, GK, KERNEL + 0x10000 + i % ADDRESSES, 300 + i % 2, 300 + i % 2, 3);
	r = read_whole(&m, NULL);
	for (int pid = 300; pid < 302; pid++) {
		const struct recording_guest *g = recording_find(r, pid);

		assert_int_equal(g->kernel, MANY / 2);
		assert_int_equal(g->table.used, ADDRESSES / 2);
		for (size_t i = 0; i < g->table.slot_count; i++) {
			if (g->table.slots[i].count)
				assert_int_equal(g->table.slots[i].count, MANY / ADDRESSES);
		}
	}
	forget(r, &m);
}

static enum perfdata_end end_of_zeros(unsigned megabytes)
{
	static const char zeros[62500];
	struct perfmaker m;
	struct recording *r;
	enum perfdata_end end;

	perfmaker_init(&m, false, false);
	fill(&m);
	for (unsigned i = 0; i < 16 * megabytes; i++)
		perfmaker_record(&m, 9999, 0, zeros, sizeof(zeros));
	perfmaker_compress(&m, false, 40);
	r = read_whole(&m, NULL);
	assert_int_equal(r->samples, 6 * SAMPLES);
	end = r->facts.end;
	recording_free(r);
	perfmaker_deinit(&m);
	return end;
}

/* A file of a few kilobytes that takes hours would be no recording. */
static void test_bomb(void **state)
{
	(void)state;
	assert_int_equal(end_of_zeros(60), PERFDATA_WHOLE);
	assert_int_equal(end_of_zeros(80), PERFDATA_DAMAGED);
}

/* Hands on all maps that the maker has, once more. */
static void map_again(struct recording *r, const struct perfmaker *m)
{
	struct perfdata_record rec = {.type = PERF_RECORD_MMAP, .misc = GK};

	for (size_t at = 0; at < m->records.len; at += rec.size) {
		struct perf_event_header h;

		rec.bytes = (const uint8_t *)m->records.data + at;
		memcpy(&h, rec.bytes, sizeof(h));
		rec.size = h.size;
		recorder_map(r, &rec);
	}
}

/* A file of a few megabytes may say of thousands of guests that they have thousands of modules. */
static void test_maps_of_all_guests(void **state)
{
	const struct recording_config config = {.path = "made up"};
	struct recording *r = calloc(1, sizeof(*r));
	struct perfmaker m;
	size_t maps = 0;

	(void)state;
	r->recorder = recorder_create(&config, 0);
	atomic_init(&r->budget.left, 64 << 10);
	perfmaker_init(&m, true, false);
	for (int pid = 1; pid <= 100; pid++)
		perfmaker_mmap(&m, GK, pid, KERNEL, 0x1000, 0, "/lib/modules/6.1.0/a.ko");
	for (int i = 0; i < 100; i++)
		map_again(r, &m);
	for (size_t i = 0; i < r->guest_count; i++)
		maps += r->guests[i]->map_room;
	assert_true(maps > 0 && maps * sizeof(struct recording_map) <= 64 << 10);
	forget(r, &m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_formats),
		cmocka_unit_test(test_event_is_chosen),
		cmocka_unit_test(test_event_with_guests),
		cmocka_unit_test(test_event_with_guests_by_a_pipe),
		cmocka_unit_test(test_event_that_changes_by_a_pipe),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_cut_off_behind),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_many_samples),
		cmocka_unit_test(test_bytes_behind_records),
		cmocka_unit_test(test_bytes_behind_wrap),
		cmocka_unit_test(test_few_fields),
		cmocka_unit_test(test_no_such_guest),
		cmocka_unit_test(test_too_many_ids),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_only_some_guests),
		cmocka_unit_test(test_event_of_served_guests),
		cmocka_unit_test(test_maps_of_all_guests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
