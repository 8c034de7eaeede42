#include "tests/unit/lib/fakeproc.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct path {
	char p[512];
};

static struct path path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static struct path path(const char *fmt, ...)
{
	struct path r;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vsnprintf(r.p, sizeof(r.p), fmt, ap) < (int)sizeof(r.p));
	va_end(ap);
	return r;
}

static void make_dir(const char *p)
{
	assert_true(mkdir(p, 0755) == 0 || errno == EEXIST);
}

/* Under another name first: whoever reads sees the old or the new text. The name begins with
 * a letter, so that no list of pids or descriptors takes it for one. */
static void write_file(const char *p, const char *text, size_t n)
{
	struct path tmp = path("%s", p);
	char *slash = strrchr(tmp.p, '/');
	FILE *f;

	assert_non_null(slash);
	strcpy(slash, "/new");
	f = fopen(tmp.p, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(tmp.p, p), 0);
}

static int remove_one(const char *p, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(p);
}

static void remove_tree(const char *p)
{
	nftw(p, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void fakeproc_init(struct fakeproc *f)
{
	snprintf(f->root, sizeof(f->root), "/tmp/kp-test-proc-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	snprintf(f->proc, sizeof(f->proc), "%s/proc", f->root);
	snprintf(f->debug, sizeof(f->debug), "%s/debug", f->root);
	make_dir(f->proc);
	make_dir(f->debug);
	make_dir(path("%s/kvm", f->debug).p);
}

void fakeproc_deinit(struct fakeproc *f)
{
	remove_tree(f->root);
}

static void set_cmdline(struct fakeproc *f, pid_t pid, const char *words)
{
	size_t n = strlen(words);
	char *bytes = strdup(words);

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == ' ')
			bytes[i] = '\0';
	}
	write_file(path("%s/%d/cmdline", f->proc, (int)pid).p, bytes, n + 1);
	free(bytes);
}

/* The executable comes last: without it, nobody takes it for a process. */
void fakeproc_process(struct fakeproc *f, pid_t pid, const char *exe, const char *cmdline)
{
	const char *slash = strrchr(exe, '/');

	make_dir(path("%s/%d", f->proc, (int)pid).p);
	make_dir(path("%s/%d/fd", f->proc, (int)pid).p);
	make_dir(path("%s/%d/task", f->proc, (int)pid).p);
	fakeproc_stat(f, pid, 1, 1, 1000ULL + (unsigned long long)pid);
	fakeproc_task(f, pid, pid, slash ? slash + 1 : exe);
	set_cmdline(f, pid, cmdline);
	fakeproc_link(f, pid, "cwd", "/");
	fakeproc_link(f, pid, "exe", exe);
}

void fakeproc_remove(struct fakeproc *f, pid_t pid)
{
	fakeproc_unlink(f, pid, "exe");
	remove_tree(path("%s/%d", f->proc, (int)pid).p);
}

void fakeproc_stat(struct fakeproc *f, pid_t pid, pid_t ppid, unsigned threads,
		   unsigned long long start)
{
	char text[512];

	/* A name as awkward as they get. */
	snprintf(
		text, sizeof(text),
		"%d (a) R (b\n) S %d 1 1 0 -1 4194304 11 22 33 44 55 66 77 88 20 0 %u 0 %llu 1 2 3 "
		"18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n",
		(int)pid, (int)ppid, threads, start);
	fakeproc_file(f, pid, "stat", text);
}

void fakeproc_task(struct fakeproc *f, pid_t pid, pid_t tid, const char *comm)
{
	struct path task = path("%s/%d/task/%d", f->proc, (int)pid, (int)tid);
	struct path status = path("Name:\tx\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nNSpid:\t%d\n", (int)pid,
				  (int)tid, (int)tid);

	make_dir(task.p);
	make_dir(path("%s/%d", f->proc, (int)tid).p);
	write_file(path("%s/status", task.p).p, status.p, strlen(status.p));
	write_file(path("%s/%d/status", f->proc, (int)tid).p, status.p, strlen(status.p));
	write_file(path("%s/comm", task.p).p, path("%s\n", comm).p, strlen(comm) + 1);
}

void fakeproc_link(struct fakeproc *f, pid_t pid, const char *what, const char *target)
{
	struct path tmp = path("%s/%d/newlink", f->proc, (int)pid);

	unlink(tmp.p);
	assert_int_equal(symlink(target, tmp.p), 0);
	assert_int_equal(rename(tmp.p, path("%s/%d/%s", f->proc, (int)pid, what).p), 0);
}

/* Makes one directory on the way, as for "ns/mnt". */
void fakeproc_file(struct fakeproc *f, pid_t pid, const char *what, const char *text)
{
	struct path dir = path("%s/%d/%s", f->proc, (int)pid, what);

	*strrchr(dir.p, '/') = '\0';
	make_dir(dir.p);
	write_file(path("%s/%d/%s", f->proc, (int)pid, what).p, text, strlen(text));
}

void fakeproc_unlink(struct fakeproc *f, pid_t pid, const char *what)
{
	unlink(path("%s/%d/%s", f->proc, (int)pid, what).p);
}

void fakeproc_last_pid(struct fakeproc *f, pid_t pid)
{
	struct path text = path("0.59 0.73 0.44 2/93 %d\n", (int)pid);

	write_file(path("%s/loadavg", f->proc).p, text.p, strlen(text.p));
}

void fakeproc_vm(struct fakeproc *f, pid_t pid, int fd)
{
	make_dir(path("%s/kvm/%d-%d", f->debug, (int)pid, fd).p);
}

void fakeproc_vcpu(struct fakeproc *f, pid_t pid, int fd, unsigned index, pid_t tid,
		   long long tsc_offset)
{
	struct path dir = path("%s/kvm/%d-%d/vcpu%u", f->debug, (int)pid, fd, index);
	struct path text = path("%lld\n", tsc_offset);

	make_dir(dir.p);
	write_file(path("%s/pid", dir.p).p, path("%d\n", (int)tid).p,
		   strlen(path("%d\n", (int)tid).p));
	write_file(path("%s/tsc-offset", dir.p).p, text.p, strlen(text.p));
}

void fakeproc_remove_vm(struct fakeproc *f, pid_t pid, int fd)
{
	remove_tree(path("%s/kvm/%d-%d", f->debug, (int)pid, fd).p);
}
