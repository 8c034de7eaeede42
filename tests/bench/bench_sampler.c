/* The sampler beside the limits of the machine: bytes of a ring into counts beside memcpy of
 * the same bytes, and a profile made of 100,000 addresses. Rows for tests/bench/run:
 * what, ours, peer, ratio, separated by tabs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/reader.h"
#include "profiler/resolve.h"
#include "symsrc/kallsyms.h"

#define ROUNDS	    9
#define RING	    (256u << 10) /* bytes, as the engine's are */
#define CPUS	    128
#define ADDRESSES   100000
#define SYMBOLS	    200000
#define SYMBOL_SIZE 64
#define KERNEL	    0xffffffff81000000ULL

static uint64_t random_state = 88172645463325252ULL;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* CPU time of this thread: other load on the machine does not count. */
static uint64_t cpu_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static uint64_t median(uint64_t *ns)
{
	qsort(ns, ROUNDS, sizeof(ns[0]), compare_u64);
	return ns[ROUNDS / 2];
}

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench_sampler: %s\n", what);
	exit(1);
}

/* ---- ring bytes into counts ---------------------------------------------------------------- */

static const struct tally_clock zero;

static void clock_of(void *ctx, struct tally_clock *ret)
{
	(void)ctx;
	*ret = zero;
}

static void publish_guest(struct guests *gs)
{
	struct guest *g = guest_create();
	const struct guest *list[] = {g};

	must(g != NULL, "no memory");
	g->serial = 1;
	g->pid = 100;
	g->accel = GUEST_ACCEL_KVM;
	g->vcpus = calloc(4, sizeof(g->vcpus[0]));
	must(g->vcpus != NULL, "no memory");
	g->vcpu_count = 4;
	for (unsigned i = 0; i < 4; i++)
		g->vcpus[i] = (struct guest_vcpu){i, (pid_t)(101 + i)};
	must(guests_publish(gs, list, 1) == 0, "no memory");
	guest_put(g);
}

/* Samples as a CPU gives them that runs two vCPUs in turns, and the host now and then: a
 * guest's kernel at some thousand addresses, the hot ones often. */
static void fill_ring(struct perf_event_mmap_page *page, uint8_t *data)
{
	struct {
		struct perf_event_header header;
		uint64_t ip;
		uint32_t pid, tid;
		uint64_t time;
	} r = {.header = {PERF_RECORD_SAMPLE, 0, sizeof(r)}};

	for (size_t i = 0; i < RING / sizeof(r); i++) {
		bool host = random_next() % 8 == 0;

		r.header.misc = host ? PERF_RECORD_MISC_KERNEL : PERF_RECORD_MISC_GUEST_KERNEL;
		r.ip = KERNEL + (random_next() % 4096) * (random_next() % 4096) / 4096 * 16;
		r.pid = host ? 0 : 100;
		r.tid = host ? 0 : 101 + i / 16 % 2;
		r.time = clock_now_ns();
		memcpy(data + i * sizeof(r), &r, sizeof(r));
	}
	page->data_tail = 0;
	page->data_head = RING;
}

struct cpu {
	struct perf_event_mmap_page page;
	struct ring ring;
	uint8_t *data;
};

static struct cpu *make_cpus(void)
{
	struct cpu *cpus = calloc(CPUS, sizeof(*cpus));

	must(cpus != NULL, "no memory");
	for (int i = 0; i < CPUS; i++) {
		cpus[i].data = malloc(RING);
		must(cpus[i].data != NULL, "no memory");
		fill_ring(&cpus[i].page, cpus[i].data);
		ring_init(&cpus[i].ring, &cpus[i].page, cpus[i].data, RING);
	}
	return cpus;
}

static void free_cpus(struct cpu *cpus)
{
	for (int i = 0; i < CPUS; i++)
		free(cpus[i].data);
	free(cpus);
}

static void empty(struct feed *f)
{
	static char piece[64 << 10];

	while (feed_read(f, piece, sizeof(piece)) > 0)
		continue;
}

/* feed: of a recording, or NULL; what reads it is not counted. */
static uint64_t drain_all(struct cpu *cpus, struct reader *reader, struct totals_delta *found,
			  struct feed *feed)
{
	uint64_t took = 0;

	for (int i = 0; i < CPUS; i++) {
		uint64_t start = cpu_now_ns();

		reader_drain(reader, &cpus[i].ring, (unsigned)i, found);
		took += cpu_now_ns() - start;
		cpus[i].page.data_head += RING; /* full again */
		if (feed)
			empty(feed);
	}
	return took;
}

static uint64_t copy_all(const struct cpu *cpus, uint8_t *to)
{
	uint64_t start = cpu_now_ns();

	for (int i = 0; i < CPUS; i++) {
		memcpy(to + (size_t)i * RING, cpus[i].data, RING);
		__asm__ volatile("" ::"r"(to) : "memory");
	}
	return cpu_now_ns() - start;
}

static void bench_recording(struct guests *gs, struct cpu *cpus, struct reader *reader)
{
	struct livedata_config config = {.guests = gs, .kallsyms = "/dev/null"};
	double samples = (double)RING / 32 * CPUS;
	struct totals_delta found = {0};
	uint64_t ours[ROUNDS];
	struct feed *feed;

	must(livedata_create(&config, &reader->livedata, NULL) == 0 &&
		     livedata_open(reader->livedata, 0, true, -1, &feed) == 0,
	     "no memory");
	drain_all(cpus, reader, &found, feed);
	for (int i = 0; i < ROUNDS; i++)
		ours[i] = drain_all(cpus, reader, &found, feed);
	printf("the same, with one reader of record\t%.1f ns a sample\t200.0 ns (a "
	       "promise)\t%.2f\n",
	       (double)median(ours) / samples, (double)median(ours) / samples / 200);
	feed_close(feed);
	feed_put(feed);
	livedata_stop(reader->livedata);
	livedata_destroy(reader->livedata);
}

static void bench_ring(void)
{
	struct cpu *cpus = make_cpus();
	uint8_t *copy = malloc((size_t)CPUS * RING);
	struct guests *gs = guests_create();
	struct tallies *ts = tallies_create(gs, clock_of, NULL);
	double samples = (double)RING / 32 * CPUS;
	struct totals_delta found = {0};
	uint64_t ours[ROUNDS];
	uint64_t peer[ROUNDS];
	struct reader reader;

	must(copy && ts && reader_init(&reader, ts) == 0, "no memory");
	publish_guest(gs);
	drain_all(cpus, &reader, &found, NULL);
	copy_all(cpus, copy);
	for (int i = 0; i < ROUNDS; i++) {
		ours[i] = drain_all(cpus, &reader, &found, NULL);
		peer[i] = copy_all(cpus, copy);
	}
	must(found.samples == RING / 32 * CPUS * (ROUNDS + 1u), "samples are missing");
	printf("ring bytes into counts\t%.1f ns a sample\t%.1f ns (memcpy of the bytes)\t%.2f\n",
	       (double)median(ours) / samples, (double)median(peer) / samples,
	       (double)median(ours) / (double)median(peer));
	bench_recording(gs, cpus, &reader);
	reader_deinit(&reader);
	tallies_destroy(ts);
	guests_destroy(gs);
	free_cpus(cpus);
	free(copy);
}

/* ---- a profile of many addresses ------------------------------------------------------------- */

static struct symbols *make_symbols(void)
{
	struct symbols *s = calloc(1, sizeof(*s));
	struct symtab_builder *b = symtab_builder_create();
	struct kallsyms k;
	struct buf text;
	struct buf line;

	must(s && b, "no memory");
	buf_init(&text, GUEST_KALLSYMS_MAX);
	buf_init(&line, 256);
	kallsyms_init(&k, &text, b);
	for (uint64_t i = 0; i < SYMBOLS; i++) {
		uint64_t x = random_next();

		buf_clear(&line);
		buf_printf(&line, "%llx t %c%c%c_%c%c_function_%llu\n",
			   (unsigned long long)(KERNEL + i * SYMBOL_SIZE), 'a' + (int)(x % 26),
			   'a' + (int)(x >> 8 & 15), 'a' + (int)(x >> 16 & 15),
			   'a' + (int)(x >> 24 & 15), 'a' + (int)(x >> 32 & 15),
			   (unsigned long long)i);
		must(kallsyms_feed(&k, line.data, line.len, NULL) == 0, "kallsyms");
	}
	must(kallsyms_finish(&k, NULL) == 0, "kallsyms");
	atomic_init(&s->refs, 1);
	s->kallsyms = blob_from_buf(&text);
	must(s->kallsyms &&
		     symtab_builder_finish(b, s->kallsyms->data, s->kallsyms->size, &s->table) == 0,
	     "symtab");
	symtab_builder_destroy(b);
	buf_deinit(&line);
	return s;
}

static void bench_resolve(const char *what, const struct symbols *s, uint64_t span)
{
	struct counts_entry *entries = malloc(ADDRESSES * sizeof(*entries));
	struct tally_copy copy = {.epoch_count = 1,
				  .epochs = {{.epoch = 1, .entry_count = ADDRESSES}}};
	const struct symbols *symbols[SYMSRC_EPOCHS_KEPT] = {s};
	uint64_t ours[ROUNDS];
	size_t rows = 0;

	must(entries != NULL, "no memory");
	for (uint64_t i = 0; i < ADDRESSES; i++)
		entries[i] = (struct counts_entry){KERNEL + random_next() % span,
						   (1 + random_next() % 100) & 0xff, i & 3};
	copy.epochs[0].entries = entries;
	for (int i = 0; i < ROUNDS; i++) {
		struct profile p = {0};
		uint64_t start = cpu_now_ns();

		must(resolve(&copy, symbols, &p) == 0, "no memory");
		ours[i] = cpu_now_ns() - start;
		rows = p.row_count;
		profile_deinit(&p);
	}
	printf("%s (%zu rows)\t%.1f ms\t50.0 ms (a promise)\t%.2f\n", what, rows,
	       (double)median(ours) / 1e6, (double)median(ours) / 50e6);
	free(entries);
}

int main(void)
{
	struct symbols *s = make_symbols();

	bench_ring();
	bench_resolve("profile of 100,000 addresses", s, (uint64_t)SYMBOLS * SYMBOL_SIZE);
	bench_resolve("the same without symbols", NULL, (uint64_t)SYMBOLS * SYMBOL_SIZE);
	symbols_put(s);
	return 0;
}
