/* What opening a guest's profile costs when 100,000 distinct addresses were hit: copying the
 * counts, joining them with names, and rendering. Rows of `what TAB ours TAB limit TAB ours/limit`;
 * the median of some rounds counts. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/render.h"
#include "profiler/resolve.h"
#include "profiler/tally.h"
#include "symsrc/base/clock.h"

#define SYMBOLS	  150000
#define STEP	  128 /* bytes of a symbol */
#define ADDRESSES 100000
#define ROUNDS	  9
#define KERNEL	  0xffffffff81000000ULL
#define LIMIT_MS  10.0
#define BUF_MAX	  (64u << 20)

static const struct tally_clock nothing;
static struct guest guest = {.serial = 1, .pid = 4242, .name = "bench"};
static const struct symbols *symbols;
static struct tally *tally;
static double profile_ms; /* what was measured */

static void stop(const char *what)
{
	fprintf(stderr, "bench_profile: %s\n", what);
	exit(1);
}

static uint64_t random_state = 88172645463325252ULL;

static uint64_t next_random(void) /* xorshift: the same in every run */
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Names differ early, as a kernel's do. */
static int make_line(unsigned i, char *line, size_t size)
{
	char word[32];
	size_t n = 6 + next_random() % 24;

	for (size_t k = 0; k < n; k++)
		word[k] = (char)('a' + next_random() % 26);
	return snprintf(line, size, "%016llx T %.*s_%u\n",
			(unsigned long long)KERNEL + (uint64_t)i * STEP, (int)n, word, i);
}

static void make_symbols(void)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	struct errmsg why = {0};
	int r = sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL);

	for (unsigned i = 0; r == 0 && i < SYMBOLS; i++) {
		char line[128];
		int n = make_line(i, line, sizeof(line));

		r = sink.data(sink.ctx, line, (size_t)n);
	}
	if (r < 0 || symbols_builder_finish(b, &symbols, &why) < 0)
		stop(why.text);
	symbols_builder_destroy(b);
}

/* Hot places are hit more often, as in life. */
static void make_samples(void)
{
	static struct tally_memory memory;

	atomic_init(&memory.tables.left, (size_t)1 << 30);
	tally = tally_create(1, &memory, &nothing);
	if (!tally)
		stop("out of memory");
	tally_begin_epoch(tally, 1, 0);
	mutex_lock(&tally->lock);
	for (uint64_t i = 0; i < ADDRESSES; i++) {
		struct sample s = {.mode = SAMPLE_GUEST_KERNEL,
				   .time = clock_now_ns(),
				   .ip = KERNEL + next_random() % ((uint64_t)SYMBOLS * STEP)};

		for (uint64_t hits = 1 + 2000 / (i + 1); hits; hits--)
			with_lock__tally_sample(tally, &s, 0);
	}
	mutex_unlock(&tally->lock);
}

/* What profiler_profile() does, with these symbols. */
static void make_profile(const struct symbols *s, struct profile *p)
{
	const struct symbols *list[SYMSRC_EPOCHS_KEPT] = {s};
	struct tally_copy copy;

	*p = (struct profile){.sampler = SAMPLER_KIND_PERF, .event = "cycles", .freq = 997};
	if (tally_copy(tally, -1, true, &nothing, &copy) < 0 || resolve(&copy, list, p) < 0)
		stop("out of memory");
	tally_copy_deinit(&copy);
}

enum format { PROFILE, FOLDED, JSON, PPROF, FLAMEGRAPH };
static const char *const names[] = {"profile", "profile.folded", "profile.json", "profile.pb.gz",
				    "flamegraph.svg"};

static int render(enum format format, const struct profile *p, const struct symbols *s,
		  struct buf *out)
{
	const struct render_when when = {.now_ns = clock_now_ns(), .wall_ns = clock_now_ns()};

	switch (format) {
	case PROFILE: return render_profile(&guest, p, &when, out);
	case FOLDED: return render_folded(&guest, p, out);
	case JSON: return render_json(&guest, p, &when, out);
	case PPROF: return render_pprof(&guest, p, s, &when, out);
	case FLAMEGRAPH: return render_flamegraph(&guest, p, &when, out);
	}
	return -1;
}

/* CPU time: others may want the machine, too. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static int compare_times(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void bench(enum format format, const struct symbols *s, const char *what)
{
	double times[ROUNDS];
	size_t rows = 0, size = 0;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t t0 = cpu_ns();
		struct profile p;
		struct buf b;

		make_profile(s, &p);
		buf_init(&b, BUF_MAX);
		if (render(format, &p, s, &b) < 0)
			stop("rendering failed");
		times[i] = (double)(cpu_ns() - t0) / 1e6;
		rows = p.row_count;
		size = b.len;
		buf_deinit(&b);
		profile_deinit(&p);
	}
	qsort(times, ROUNDS, sizeof(*times), compare_times);
	printf("opening %s, %d addresses, %s: %zu rows, %.1f MB\t%.2f ms\t", names[format],
	       ADDRESSES, what, rows, (double)size / 1e6, times[ROUNDS / 2]);
	if (format == PROFILE && s)
		profile_ms = times[ROUNDS / 2];
	if (format == PROFILE)
		printf("%.0f ms (limit)\t%.2f\n", LIMIT_MS, times[ROUNDS / 2] / LIMIT_MS);
	else
		printf("-\t-\n");
}

static int compare_addresses(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* How fast this machine is just now: the least that a plain program would do with as many
 * addresses, before it has named or written any. */
static void bench_sort(void)
{
	static uint64_t list[ADDRESSES];
	double times[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t t0;

		for (size_t k = 0; k < ADDRESSES; k++)
			list[k] = KERNEL + next_random() % ((uint64_t)SYMBOLS * STEP);
		t0 = cpu_ns();
		qsort(list, ADDRESSES, sizeof(*list), compare_addresses);
		times[i] = (double)(cpu_ns() - t0) / 1e6;
	}
	qsort(times, ROUNDS, sizeof(*times), compare_times);
	printf("opening profile, %d addresses, with symbols\t%.2f ms\t%.2f ms "
	       "(qsort(3) of them alone)\t%.2f\n",
	       ADDRESSES, profile_ms, times[ROUNDS / 2], profile_ms / times[ROUNDS / 2]);
}

int main(void)
{
	make_symbols();
	make_samples();
	bench(PROFILE, symbols, "with symbols");
	bench_sort();
	bench(PROFILE, NULL, "without");
	for (enum format format = FOLDED; format <= FLAMEGRAPH; format++)
		bench(format, symbols, "with symbols");
	tally_put(tally);
	symbols_put(symbols);
	return 0;
}
