/* bench_memory PID: what it costs to get a guest's symbols out of its memory: rows of
 * `what TAB ours TAB peer or limit TAB ours/peer` on stdout. PID is a QEMU with a Linux in it, of
 * 4 GiB for the numbers to be comparable. Without PID it does nothing: tests/bench/run starts the
 * guest. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/memory/kernel.h"
#include "symsrc/symsrc.h"
#include "symsrc/vmmram.h"

#define ROUNDS	       15
#define PATIENCE_S     30
#define LIMIT_RESOLVED 300.0 /* ms, from discovery to symbols; for 4 GiB */
#define LIMIT_LOOK     1.0   /* ms */
#define LOOK_PAUSE_MS  50    /* the guest's clock advances meanwhile, as between real looks */
#define CHUNK	       (1u << 20)
#define READ_MAX       ((uint64_t)2 << 30)

static pid_t pid;
static char *chunk, *copy;

static void die(const char *what, const struct errmsg *why)
{
	fprintf(stderr, "bench_memory: %s: %s\n", what, why ? why->text : "");
	exit(1);
}

static double ms_since(uint64_t ns)
{
	return (double)(clock_now_ns() - ns) / 1e6;
}

static int compare_times(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *times, size_t n)
{
	qsort(times, n, sizeof(*times), compare_times);
	return times[n / 2];
}

/* ---- from discovery to symbols ------------------------------------------------------------- */

static void wait_for_news(int wake_fd, uint64_t until_ns)
{
	struct pollfd p = {.fd = wake_fd, .events = POLLIN};

	if (poll(&p, 1, clock_left_ms(until_ns)) == 0)
		die("no symbols", NULL);
	io_wake_clear(wake_fd);
}

static uint64_t await_guest(struct symsrc *s, int wake_fd, uint64_t until_ns)
{
	for (;;) {
		const struct guest_set *set = guests_acquire(symsrc_guests(s));
		const struct guest_entry *e = guest_set_find_pid(set, pid);
		uint64_t serial = e ? e->guest->serial : 0;

		guest_set_put(set);
		if (e)
			return serial;
		wait_for_news(wake_fd, until_ns);
	}
}

static void await_symbols(struct symsrc *s, uint64_t serial, int wake_fd, uint64_t until_ns)
{
	struct symsrc_status st = {0};

	for (;;) {
		symsrc_status(s, serial, &st);
		if (st.state == SYMSRC_READY)
			break;
		wait_for_news(wake_fd, until_ns);
	}
	if (strcmp(st.used, "memory") != 0)
		die("symbols did not come from memory", &st.error);
}

/* A daemon's life from its start to the symbols; the time from when the guest was published. */
static double resolve_once(void)
{
	struct symsrc_config config = {.proc_root = "/proc",
				       .debugfs_root = "/sys/kernel/debug",
				       .only = &pid,
				       .only_count = 1};
	uint64_t until_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC, found_ns, serial;
	int wake_fd = io_wake_create();
	struct symsrc *s = NULL;
	struct errmsg why = {0};
	double took;

	if (symsrc_create(&config, &s, &why) < 0)
		die("symsrc", &why);
	guests_subscribe(symsrc_guests(s), wake_fd);
	symsrc_subscribe(s, wake_fd);
	if (symsrc_start(s, &why) < 0)
		die("symsrc", &why);
	serial = await_guest(s, wake_fd, until_ns);
	found_ns = clock_now_ns();
	await_symbols(s, serial, wake_fd, until_ns);
	took = ms_since(found_ns);
	symsrc_unsubscribe(s, wake_fd);
	guests_unsubscribe(symsrc_guests(s), wake_fd);
	symsrc_stop(s);
	symsrc_destroy(s);
	close(wake_fd);
	return took;
}

static void bench_resolve(void)
{
	double times[ROUNDS], t;

	for (int i = 0; i < ROUNDS; i++)
		times[i] = resolve_once();
	t = median(times, ROUNDS);
	printf("from discovery to symbols, out of memory\t%.0f ms\t%.0f ms (limit)\t%.2f\n", t,
	       LIMIT_RESOLVED, t / LIMIT_RESOLVED);
}

/* ---- the parts ------------------------------------------------------------------------------ */

/* The guest as discovery knows it. */
static const struct guest *discover(void)
{
	struct symsrc_config config = {.proc_root = "/proc",
				       .debugfs_root = "/sys/kernel/debug",
				       .only = &pid,
				       .only_count = 1};
	const struct guest_set *set;
	const struct guest *g;
	struct symsrc *s = NULL;
	struct errmsg why = {0};

	if (symsrc_create(&config, &s, &why) < 0 || symsrc_start(s, &why) < 0)
		die("symsrc", &why);
	usleep(500000); /* QMP answers */
	set = guests_acquire(symsrc_guests(s));
	if (!guest_set_find_pid(set, pid))
		die("no such guest", NULL);
	g = guest_get(guest_set_find_pid(set, pid)->guest);
	guest_set_put(set);
	symsrc_stop(s);
	symsrc_destroy(s);
	return g;
}

struct reading {
	struct vmmram_reader reader;
	struct ram ram;
	struct source_limits limits;
};

static void begin(struct reading *r, struct vmmram *v)
{
	r->limits = (struct source_limits){
		.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC, .cancel_fd = -1};
	vmmram_reader_init(&r->reader, v);
	ram_init(&r->ram, &vmmram_ops, &r->reader, &r->limits);
}

static void bench_look(struct vmmram *v)
{
	static struct reading r;
	struct kernel_mark mark;
	struct kernel *k = NULL;
	struct errmsg why = {0};
	double times[ROUNDS], t;

	begin(&r, v);
	if (kernel_read(&r.ram, NULL, false, &k, &why) < 0)
		die("kernel_read", &why);
	kernel_get_mark(k, &mark);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t t0;

		usleep(LOOK_PAUSE_MS * 1000);
		begin(&r, v);
		t0 = clock_now_ns();
		if (kernel_look(&r.ram, &mark) != KERNEL_SAME)
			die("kernel_look", NULL);
		times[i] = ms_since(t0);
	}
	t = median(times, ROUNDS);
	printf("a look whether symbols out of memory still hold\t%.3f ms\t%.0f ms (limit)\t%.2f\n",
	       t, LIMIT_LOOK, t / LIMIT_LOOK);
	kernel_destroy(k);
}

/* All that is in use, a megabyte at a time; the same bytes by memcpy from our own memory. */
static uint64_t read_all(struct ram *ram)
{
	struct ram_extent e = {0};
	uint64_t sum = 0;

	while (sum < READ_MAX && ram_next(ram, e.gpa + e.len, &e) == 0) {
		for (uint64_t at = 0; at < e.len; at += CHUNK) {
			size_t n = e.len - at < CHUNK ? (size_t)(e.len - at) : CHUNK;

			if (ram_read(ram, e.gpa + at, chunk, n) == 0)
				sum += n;
		}
	}
	return sum;
}

static void bench_read(struct vmmram *v)
{
	static struct reading r;
	double ours[ROUNDS], peer[ROUNDS], a, b;
	uint64_t bytes = 0;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t t0 = clock_now_ns();

		begin(&r, v);
		bytes = read_all(&r.ram);
		ours[i] = ms_since(t0);
		t0 = clock_now_ns();
		for (uint64_t at = 0; at < bytes; at += CHUNK) {
			memcpy(copy, chunk, CHUNK);
			__asm__ volatile("" ::"r"(copy) : "memory");
		}
		peer[i] = ms_since(t0);
	}
	a = median(ours, ROUNDS);
	b = median(peer, ROUNDS);
	printf("reading a guest's memory that is in use, %.0f MB\t%.1f ms (%.1f GB/s)\t"
	       "%.1f ms (memcpy of a warm MB)\t%.2f\n",
	       (double)bytes / 1e6, a, (double)bytes / a / 1e6, b, a / b);
}

/* What a guest without a kernel costs: all of it is looked at. */
static void bench_scan(struct vmmram *v)
{
	static struct kernel_candidate list[KERNEL_CANDIDATES_MAX];
	static struct reading r;
	struct ram_sights sights = {0};
	double ours[3], peer[3], a, b;

	for (int i = 0; i < 3; i++) {
		uint64_t t0 = clock_now_ns();

		begin(&r, v);
		if (find_by_scan(&r.ram, UINT64_MAX, list, KERNEL_CANDIDATES_MAX, &sights) < 0)
			die("find_by_scan", NULL);
		ours[i] = ms_since(t0);
		t0 = clock_now_ns();
		begin(&r, v);
		read_all(&r.ram);
		peer[i] = ms_since(t0);
	}
	a = median(ours, 3);
	b = median(peer, 3);
	printf("looking for a kernel in all of it (where there is none), %.0f MB\t%.1f ms "
	       "(%.1f GB/s)\t%.1f ms (reading it)\t%.2f\n",
	       (double)sights.bytes / 1e6, a, (double)sights.bytes / a / 1e6, b, a / b);
}

int main(int argc, char **argv)
{
	const struct guest *g;
	struct errmsg why = {0};
	struct vmmram *v = NULL;

	if (argc < 2)
		return 0;
	pid = (pid_t)strtol(argv[1], NULL, 10);
	log_set_level(LOG_LEVEL_ERROR);
	chunk = malloc(CHUNK);
	copy = malloc(CHUNK);
	if (!chunk || !copy)
		return 1;
	memset(chunk, 1, CHUNK);
	g = discover();
	if (vmmram_open("/proc", g, &v, &why) < 0)
		die("vmmram", &why);
	bench_resolve();
	bench_look(v);
	bench_read(v);
	bench_scan(v);
	vmmram_put(v);
	guest_put(g);
	free(chunk);
	free(copy);
	return 0;
}
