/* --input beside perf kvm report: the same recording of several million samples of four guests with
 * names, in perf's file format.
 *
 *	bench_input --write FILE DIR [SAMPLES]	that recording, and below DIR the guests' files, as
 *						perf's --guestmount and dir: take them
 *
 * Without arguments nothing: tests/bench/run makes the row. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "profiler/perfdata/format.h"

#define KERNEL	    0xffffffff81000000ULL
#define SYMBOLS	    40000
#define SYMBOL_SIZE 256
#define GUESTS	    4
#define VCPUS	    8
#define SAMPLE_TYPE (PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_PERIOD)

struct recorded_sample {
	struct perf_event_header header;
	uint64_t ip;
	uint32_t pid, tid;
	uint64_t time, period;
};

static FILE *out;

static void put(const void *bytes, size_t n)
{
	if (fwrite(bytes, 1, n, out) != n) {
		perror("bench_input");
		exit(1);
	}
}

static FILE *create(const char *dir, unsigned pid, const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u%s", dir, pid, name);
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	f = fopen(path, "we");
	if (!f) {
		perror(path);
		exit(1);
	}
	return f;
}

static void write_guest(const char *dir, unsigned pid)
{
	static const uint32_t note[] = {4, 20, 3};
	FILE *f = create(dir, pid, "/proc/kallsyms");
	uint8_t id[20] = {(uint8_t)pid, 1};

	fprintf(f, "%" PRIx64 " T _text\n", (uint64_t)KERNEL);
	for (unsigned i = 1; i < SYMBOLS; i++)
		fprintf(f, "%" PRIx64 " t function_%u\n", (uint64_t)(KERNEL + i * SYMBOL_SIZE), i);
	fprintf(f, "%" PRIx64 " T _etext\n", (uint64_t)(KERNEL + SYMBOLS * SYMBOL_SIZE));
	fclose(f);
	f = create(dir, pid, "/sys/kernel/notes");
	fwrite(note, sizeof(note), 1, f);
	fwrite("GNU", 4, 1, f);
	fwrite(id, sizeof(id), 1, f);
	fclose(f);
	fclose(create(dir, pid, "/proc/modules"));
	f = create(dir, pid, "/proc/version");
	fputs("Linux version 6.1.0 (a@b) (gcc) #1 SMP\n", f);
	fclose(f);
}

static unsigned pid_of(unsigned guest)
{
	return 10000 + guest * 1000;
}

static void write_map(unsigned pid)
{
	struct {
		struct perf_event_header header;
		uint32_t pid, tid;
		uint64_t start, len, pgoff;
		char name[64];
	} map = {.header = {PERF_RECORD_MMAP, PERF_RECORD_MISC_GUEST_KERNEL, sizeof(map)},
		 .pid = pid,
		 .start = KERNEL,
		 .len = SYMBOLS * SYMBOL_SIZE,
		 .pgoff = KERNEL};

	snprintf(map.name, sizeof(map.name), PERFDATA_GUEST_KERNEL_PREFIX "%u]_text", pid);
	put(&map, sizeof(map));
}

/* Of xorshift64, Marsaglia 2003. */
static uint64_t next_random(void)
{
	static uint64_t x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static void write_samples(unsigned samples)
{
	for (unsigned i = 0; i < samples; i++) {
		uint64_t r = next_random();
		unsigned pid = pid_of(r % GUESTS);
		/* Few of the addresses get most of the samples, and most functions none, as in real
		 * kernels. */
		uint64_t most = (r >> 8 & 15 ? 128 : 5000) * SYMBOL_SIZE;
		struct recorded_sample s = {
			.header = {PERF_RECORD_SAMPLE, PERF_RECORD_MISC_GUEST_KERNEL, sizeof(s)},
			.ip = KERNEL + (r >> 16) % most / 16 * 16,
			.pid = pid,
			.tid = pid + 1 + (unsigned)(r >> 40) % VCPUS,
			.time = 1000000000ULL + i * 1000ULL,
			.period = 1000000 + (r >> 48),
		};

		put(&s, sizeof(s));
	}
}

static void write_build_ids(void)
{
	struct perfdata_section where = {.size = GUESTS * 100};

	where.offset = (uint64_t)ftell(out) + sizeof(where);
	put(&where, sizeof(where));
	for (unsigned i = 0; i < GUESTS; i++) {
		struct {
			struct perfdata_build_id id;
			char name[64];
		} b = {.id = {.header = {0,
					 PERF_RECORD_MISC_GUEST_KERNEL |
						 PERFDATA_MISC_BUILD_ID_SIZE,
					 sizeof(b)},
			      .pid = (int32_t)pid_of(i),
			      .id = {(uint8_t)pid_of(i), 1},
			      .id_size = 20}};

		snprintf(b.name, sizeof(b.name), PERFDATA_GUEST_KERNEL_PREFIX "%u]", pid_of(i));
		put(&b, sizeof(b));
	}
}

static void write_file(unsigned samples)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.sample_freq = 4000,
		.freq = 1,
		.sample_type = SAMPLE_TYPE,
	};
	struct perfdata_section ids = {0};
	struct perfdata_file_header h = {
		.magic = PERFDATA_MAGIC,
		.size = sizeof(h),
		.attr_size = sizeof(attr) + sizeof(ids),
		.attrs = {sizeof(h), sizeof(attr) + sizeof(ids)},
		.features = {1u << PERFDATA_FEATURE_BUILD_ID},
	};

	h.data.offset = sizeof(h) + sizeof(attr) + sizeof(ids);
	h.data.size = GUESTS * 104 + (uint64_t)samples * sizeof(struct recorded_sample);
	put(&h, sizeof(h));
	put(&attr, sizeof(attr));
	put(&ids, sizeof(ids));
	for (unsigned i = 0; i < GUESTS; i++)
		write_map(pid_of(i));
	write_samples(samples);
	write_build_ids();
}

int main(int argc, char **argv)
{
	if (argc < 4 || strcmp(argv[1], "--write") != 0)
		return 0;
	for (unsigned i = 0; i < GUESTS; i++)
		write_guest(argv[3], pid_of(i));
	out = fopen(argv[2], "we");
	if (!out) {
		perror(argv[2]);
		return 1;
	}
	write_file(argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 3000000);
	return fclose(out) ? 1 : 0;
}
