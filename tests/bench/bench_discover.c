/* What discovery costs on an idle host of 100 guests and 500 other processes, beside reading
 * every process's descriptors twice a second, which finds the same: a row of
 * `what TAB ours TAB peer TAB ours/peer`. The trees are made up; the pids of guests are real. */
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"
#include "symsrc/discover.h"
#include "symsrc/vmmscan.h"

#define GUESTS	    100
#define VCPUS	    4
#define OTHERS	    500
#define FDS	    40
#define STATISTICS  80	    /* files of KVM's own beside its VMs */
#define FIRST_OTHER 1000000 /* pids that nobody has */
#define SETTLE_S    7	    /* until new guests and processes are new no more */
#define MEASURE_S   5
#define SCANS	    10

static char root[] = "/tmp/kp-bench-XXXXXX";
static pid_t children[GUESTS];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static const char *path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *path(const char *fmt, ...)
{
	static char p[512]; /* one thread, one path at a time */
	int n = snprintf(p, sizeof(p), "%s/", root);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p + n, sizeof(p) - (size_t)n, fmt, ap);
	va_end(ap);
	return p;
}

static void make_dir(const char *p)
{
	if (mkdir(p, 0755) < 0)
		die(p);
}

static void make_file(const char *p, const char *text, size_t n)
{
	FILE *f = fopen(p, "we");

	if (!f || fwrite(text, 1, n, f) != n || fclose(f) != 0)
		die(p);
}

static void make_link(const char *target, const char *p)
{
	if (symlink(target, p) < 0)
		die(p);
}

static void make_process(int pid, const char *exe)
{
	static const char cmdline[] = "qemu-system-x86_64\0-accel\0kvm\0-name\0bench";
	char text[256];

	make_dir(path("proc/%d", pid));
	make_dir(path("proc/%d/fd", pid));
	make_dir(path("proc/%d/task", pid));
	make_link(exe, path("proc/%d/exe", pid));
	make_file(path("proc/%d/cmdline", pid), cmdline, sizeof(cmdline));
	snprintf(text, sizeof(text),
		 "%d (x) S 1 1 1 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 6 0 4711 1 2 3\n", pid);
	make_file(path("proc/%d/stat", pid), text, strlen(text));
	snprintf(text, sizeof(text), "Name:\tx\nTgid:\t%d\n", pid);
	make_file(path("proc/%d/status", pid), text, strlen(text));
	for (int fd = 0; fd < FDS; fd++)
		make_link("anon_inode:[eventfd]", path("proc/%d/fd/%d", pid, fd));
}

static void make_guest(int pid)
{
	char text[32];

	make_process(pid, "/usr/bin/qemu-system-x86_64");
	make_link("anon_inode:kvm-vm", path("proc/%d/fd/%d", pid, FDS));
	make_dir(path("debug/kvm/%d-%d", pid, FDS));
	for (int i = 0; i < VCPUS; i++) {
		make_dir(path("debug/kvm/%d-%d/vcpu%d", pid, FDS, i));
		snprintf(text, sizeof(text), "%d\n", pid + i);
		make_file(path("debug/kvm/%d-%d/vcpu%d/pid", pid, FDS, i), text, strlen(text));
		make_file(path("debug/kvm/%d-%d/vcpu%d/tsc-offset", pid, FDS, i), "-99\n", 4);
	}
}

static void make_trees(void)
{
	static const char loadavg[] = "0.00 0.00 0.00 1/600 4711\n";

	if (!mkdtemp(root))
		die(root);
	make_dir(path("proc"));
	make_dir(path("debug"));
	make_dir(path("debug/kvm"));
	make_file(path("proc/loadavg"), loadavg, strlen(loadavg));
	for (int i = 0; i < STATISTICS; i++)
		make_file(path("debug/kvm/statistic_%d", i), "0\n", 2);
	for (int i = 0; i < OTHERS; i++)
		make_process(FIRST_OTHER + i, "/usr/bin/true");
	for (int i = 0; i < GUESTS; i++)
		make_guest(children[i]);
}

static int remove_one(const char *p, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(p);
}

static void clean_up(void)
{
	for (int i = 0; i < GUESTS && children[i] > 0; i++)
		kill(children[i], SIGKILL);
	while (wait(NULL) > 0)
		continue;
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_children(void)
{
	for (int i = 0; i < GUESTS; i++) {
		children[i] = fork();
		if (children[i] < 0)
			die("fork");
		if (children[i] == 0) {
			for (;;)
				pause();
		}
	}
}

/* In per cent of one CPU. */
static double ours(void)
{
	struct guests *gs = guests_create();
	struct discover *d;
	struct discover_stats before, after;
	char proc[64], debug[64];
	struct discover_config config = {.proc_root = proc, .debugfs_root = debug};
	const struct guest_set *set;

	snprintf(proc, sizeof(proc), "%s", path("proc"));
	snprintf(debug, sizeof(debug), "%s", path("debug"));
	if (!gs || discover_create(&config, gs, &d, NULL) < 0 || discover_start(d, NULL) < 0)
		die("discover");
	sleep(SETTLE_S);
	discover_stats(d, &before);
	sleep(MEASURE_S);
	discover_stats(d, &after);
	discover_stop(d);
	set = guests_acquire(gs);
	if (set->count != GUESTS)
		fprintf(stderr, "bench: found %zu guests of %d\n", set->count, GUESTS);
	guest_set_put(set);
	discover_destroy(d);
	guests_destroy(gs);
	return 100.0 * (double)(after.cpu_ns - before.cpu_ns) / ((double)MEASURE_S * NSEC_PER_SEC);
}

struct scan {
	struct vmmscan s;
	unsigned found;
};

static void look(void *ctx, pid_t pid)
{
	struct scan *scan = ctx;
	bool found = false;

	for (int fd = 0; fd <= FDS && !found; fd++)
		found = vmmscan_holds_vm(&scan->s, pid, fd);
	scan->found += found;
}

static double peer(void)
{
	struct scan scan = {.found = 0};
	uint64_t begin;

	if (vmmscan_init(&scan.s, path("proc"), "/nonesuch") < 0)
		die("scan");
	begin = clock_now_ns();
	for (int i = 0; i < SCANS; i++)
		vmmscan_processes(&scan.s, look, &scan);
	vmmscan_deinit(&scan.s);
	return 100.0 * 2 * (double)(clock_now_ns() - begin) / ((double)SCANS * NSEC_PER_SEC);
}

static void no_log(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

int main(void)
{
	double a, b;

	make_children();
	atexit(clean_up);
	make_trees();
	log_set_sink(no_log);
	b = peer();
	a = ours();
	printf("discovery on an idle host, %d guests and %d processes\t%.3f%% of a CPU\t"
	       "%.2f%% (all descriptors, twice a second)\t%.4f\n",
	       GUESTS, OTHERS, a, b, a / b);
	return 0;
}
