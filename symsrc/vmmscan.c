#include "symsrc/vmmscan.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/text.h"
#include "symsrc/sockpath.h"

#define PID_MAX		   (1 << 22) /* PID_MAX_LIMIT of 64 bit kernels */
#define NET_UNIX_MAX	   (8u << 20)
#define STATUS_MAX	   (16u << 10)
#define ENVIRON_MAX	   (256u << 10)
#define TASKS_MAX	   16384 /* threads of a process that are looked at */
#define FIRST_ARGUMENT_MAX 4096
#define THREADS_READY	   3 /* of a QEMU with a vCPU: main, RCU, vCPU */
#define KVM_VM		   "anon_inode:kvm-vm"

static void cleanup_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}
#define CLEANUP_DIR CLEANUP(cleanup_dir)

/* -- small reads below a process's directory ------------------------------------------------ */

/* "PID/what" into a buffer that is large enough for all that is asked for here. */
struct rel {
	char path[96];
};

static struct rel rel(pid_t pid, const char *what)
{
	struct rel r;

	snprintf(r.path, sizeof(r.path), "%d/%s", (int)pid, what);
	return r;
}

/* The link's text, ended by a NUL; its length, or negative errno. -ENAMETOOLONG when cut. */
static ssize_t read_link(const struct vmmscan *s, const char *path, char *dst, size_t size)
{
	ssize_t n = readlinkat(s->proc_fd, path, dst, size);

	if (n < 0)
		return -errno;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	dst[n] = '\0';
	return n;
}

static DIR *open_dir(int dirfd, const char *path)
{
	CLEANUP_FD int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (d)
		take_fd(&fd);
	return d;
}

/* A name that is one decimal number from 0 to max; else -1. */
static long number(const char *name, long max)
{
	uint64_t v;

	return text_to_u64(name, 10, (uint64_t)max, &v) ? (long)v : -1;
}

/* -- setting up --------------------------------------------------------------------------- */

static void own_namespace(const struct vmmscan *s, const char *which, char *dst, size_t size)
{
	if (read_link(s, which, dst, size) < 0)
		dst[0] = '\0';
}

int vmmscan_init(struct vmmscan *s, const char *proc_root, const char *debugfs_root)
{
	memset(s, 0, sizeof(*s));
	s->proc_fd = -1;
	if ((size_t)snprintf(s->proc, sizeof(s->proc), "%s", proc_root) >= sizeof(s->proc) ||
	    (size_t)snprintf(s->kvm, sizeof(s->kvm), "%s/kvm", debugfs_root) >= sizeof(s->kvm))
		return -ENAMETOOLONG;
	s->proc_fd = open(proc_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0)
		return -errno;
	own_namespace(s, "self/ns/mnt", s->mnt_ns, sizeof(s->mnt_ns));
	own_namespace(s, "self/ns/net", s->net_ns, sizeof(s->net_ns));
	own_namespace(s, "self/ns/pid", s->pid_ns, sizeof(s->pid_ns));
	return 0;
}

void vmmscan_deinit(struct vmmscan *s)
{
	close_keep_errno(s->proc_fd);
	s->proc_fd = -1;
}

/* True unless the process is known to live in another namespace. */
static bool shares(const struct vmmscan *s, pid_t pid, const char *which, const char *own)
{
	char theirs[64];

	if (!own[0] || read_link(s, rel(pid, which).path, theirs, sizeof(theirs)) < 0)
		return true;
	return strcmp(own, theirs) == 0;
}

bool vmmscan_shares_network(const struct vmmscan *s, pid_t pid)
{
	return shares(s, pid, "ns/net", s->net_ns);
}

/* -- lists -------------------------------------------------------------------------------- */

int vmmscan_processes(const struct vmmscan *s, void (*fn)(void *ctx, pid_t pid), void *ctx)
{
	CLEANUP_DIR DIR *d = open_dir(s->proc_fd, ".");
	struct dirent *e;
	long pid;

	if (!d)
		return -errno;
	while ((e = readdir(d))) { // NOLINT(concurrency-mt-unsafe): a stream of its own
		pid = number(e->d_name, PID_MAX);
		if (pid > 0)
			fn(ctx, (pid_t)pid);
	}
	return 0;
}

/* The fifth word of loadavg: "0.59 0.73 0.44 2/93 27000". */
int vmmscan_last_pid(const struct vmmscan *s, pid_t *ret)
{
	CLEANUP_BUF struct buf b;
	const char *last;
	long pid;
	int r;

	buf_init(&b, 128);
	r = io_read_file(s->proc_fd, "loadavg", &b);
	if (r < 0)
		return r;
	b.data[strcspn(b.data, "\n")] = '\0';
	last = strrchr(b.data, ' ');
	pid = last ? number(last + 1, PID_MAX) : -1;
	if (pid < 0)
		return -EINVAL;
	*ret = (pid_t)pid;
	return 0;
}

static bool parse_vm_dir(char *name, struct vmm_dir *ret)
{
	char *dash = strchr(name, '-');
	long pid;
	long fd;

	if (!dash)
		return false;
	*dash = '\0';
	pid = number(name, PID_MAX);
	fd = number(dash + 1, INT32_MAX);
	if (pid <= 0 || fd < 0)
		return false;
	*ret = (struct vmm_dir){(pid_t)pid, (int)fd};
	return true;
}

/* Opened anew each time: the module may come, go and come again. */
int vmmscan_vms(const struct vmmscan *s, void (*fn)(void *ctx, struct vmm_dir dir), void *ctx)
{
	CLEANUP_DIR DIR *d = open_dir(AT_FDCWD, s->kvm);
	struct vmm_dir dir;
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d))) { // NOLINT(concurrency-mt-unsafe): a stream of its own
		if (parse_vm_dir(e->d_name, &dir))
			fn(ctx, dir);
	}
	return 0;
}

/* -- status and stat ---------------------------------------------------------------------- */

static int read_status(const struct vmmscan *s, const char *path, struct buf *b)
{
	buf_init(b, STATUS_MAX);
	return io_read_file(s->proc_fd, path, b);
}

/* The last number on the line "\nKey:\t1\t2"; 0 when there is none. The line of the command's
 * name, which comes first, has its newlines escaped (proc_task_name()). */
static pid_t last_on_line(const char *status, const char *key)
{
	const char *before = strstr(status, key);
	const char *line = before ? before + 1 : "";
	size_t n = strcspn(line, "\n");
	size_t from = n;

	while (from > 0 && isdigit((unsigned char)line[from - 1]))
		from--;
	return from < n && n - from < 10 ? (pid_t)strtol(line + from, NULL, 10) : 0;
}

pid_t vmmscan_tgid(const struct vmmscan *s, pid_t task)
{
	CLEANUP_BUF struct buf b;

	if (read_status(s, rel(task, "status").path, &b) < 0)
		return 0;
	return last_on_line(b.data, "\nTgid:\t");
}

/* Field 3 (state) on; the name before it, in parentheses, may hold any byte. */
static int parse_stat(const char *text, struct vmm_stat *ret)
{
	const char *at = strrchr(text, ')');
	unsigned long long start;
	long threads;
	char state;
	int ppid;

	if (!at || sscanf(at,
			  ") %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			  "%ld %*d %llu",
			  &state, &ppid, &threads, &start) != 4)
		return -EINVAL;
	if (state == 'Z' || state == 'X')
		return -ESRCH;
	*ret = (struct vmm_stat){.start = start, .ppid = ppid, .threads = (unsigned)threads};
	return 0;
}

int vmmscan_stat(const struct vmmscan *s, pid_t pid, struct vmm_stat *ret)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, 4096);
	r = io_read_file(s->proc_fd, rel(pid, "stat").path, &b);
	if (r == -ENOENT)
		r = -ESRCH;
	return r < 0 ? r : parse_stat(b.data, ret);
}

/* -- judging a process -------------------------------------------------------------------- */

/* What the process calls itself: anybody may read that, and anybody may make it up. */
static ssize_t read_first_argument(const struct vmmscan *s, pid_t pid, char *dst, size_t size)
{
	CLEANUP_BUF struct buf b;
	size_t n;
	int r;

	buf_init(&b, FIRST_ARGUMENT_MAX);
	r = io_read_file(s->proc_fd, rel(pid, "cmdline").path, &b);
	if (r < 0 && r != -EFBIG)
		return r;
	n = strnlen(b.data, b.len);
	if (n == 0 || n >= size)
		return -ENOENT;
	memcpy(dst, b.data, n);
	dst[n] = '\0';
	return (ssize_t)n;
}

static bool is_hidden(ssize_t r)
{
	return r == -EACCES || r == -EPERM;
}

/* Links of other users' processes need the same permission as their memory. Without it a guest is
 * shown all the same, for the sake of what can be had, and of what `info` then says. */
static ssize_t read_exe(const struct vmmscan *s, pid_t pid, char *dst, size_t size,
			bool *ret_hidden)
{
	ssize_t r = read_link(s, rel(pid, "exe").path, dst, size);

	*ret_hidden = is_hidden(r);
	return *ret_hidden ? read_first_argument(s, pid, dst, size) : r;
}

bool vmmscan_is_qemu(const struct vmmscan *s, pid_t pid)
{
	char exe[GUEST_PATH_MAX];
	bool hidden;

	return read_exe(s, pid, exe, sizeof(exe), &hidden) > 0 && vmmargs_is_qemu(exe);
}

bool vmmscan_holds_vm(const struct vmmscan *s, pid_t pid, int fd)
{
	char what[32];
	char link[sizeof(KVM_VM) + 1]; /* a longer one is something else */

	snprintf(what, sizeof(what), "fd/%d", fd);
	return read_link(s, rel(pid, what).path, link, sizeof(link)) > 0 &&
	       strcmp(link, KVM_VM) == 0;
}

/* The lowest descriptor that is a VM, or -1. */
static int find_vm(const struct vmmscan *s, pid_t pid)
{
	CLEANUP_DIR DIR *d = open_dir(s->proc_fd, rel(pid, "fd").path);
	struct dirent *e;
	long fd;

	for (int i = 0; d && i < VMM_FDS_MAX; i++) {
		e = readdir(d); // NOLINT(concurrency-mt-unsafe): a stream of its own
		if (!e)
			break;
		fd = number(e->d_name, INT32_MAX);
		if (fd >= 0 && vmmscan_holds_vm(s, pid, (int)fd))
			return (int)fd;
	}
	return -1;
}

struct dir_search {
	const struct vmmscan *s;
	pid_t pid;
	struct vmm_dir found;
};

static void match_dir(void *ctx, struct vmm_dir dir)
{
	struct dir_search *search = ctx;

	if (search->found.pid == 0 &&
	    (dir.pid == search->pid || vmmscan_tgid(search->s, dir.pid) == search->pid) &&
	    vmmscan_holds_vm(search->s, search->pid, dir.fd))
		search->found = dir;
}

static struct vmm_dir find_dir(const struct vmmscan *s, pid_t pid)
{
	struct dir_search search = {.s = s, .pid = pid};

	vmmscan_vms(s, match_dir, &search);
	return search.found;
}

/* A child that was forked and has not called exec(2) holds its parent's VM too. One that made
 * a VM of its own is listed by KVM. */
static bool is_forked_helper(const struct vmmscan *s, const char *exe,
			     const struct vmm_facts *facts)
{
	char parent[GUEST_PATH_MAX];
	bool hidden;

	if (facts->dir.pid != 0 || facts->stat.ppid <= 1)
		return false;
	if (read_exe(s, facts->stat.ppid, parent, sizeof(parent), &hidden) < 0 ||
	    strcmp(exe, parent) != 0)
		return false;
	return find_vm(s, facts->stat.ppid) >= 0;
}

static int read_args(const struct vmmscan *s, pid_t pid, const char *exe, struct vmm_args *ret)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, VMM_CMDLINE_MAX);
	r = io_read_file(s->proc_fd, rel(pid, "cmdline").path, &b);
	if (r < 0 && r != -EFBIG)
		return r;
	return vmmargs_parse(exe, b.data, b.len, ret);
}

static void find_vm_and_dir(const struct vmmscan *s, pid_t pid, struct vmm_dir dir,
			    struct vmm_facts *f)
{
	f->vm_fd = -1;
	f->dir = (struct vmm_dir){0};
	if (dir.pid != 0 && vmmscan_holds_vm(s, pid, dir.fd))
		f->dir = dir;
	else if (find_vm(s, pid) >= 0)
		f->dir = find_dir(s, pid);
	else
		return;
	f->vm_fd = f->dir.pid ? f->dir.fd : find_vm(s, pid);
}

/* With -daemonize the parent waits for its child to be ready: it has no vCPU thread, which is
 * what makes a machine. */
static enum vmm_kind judge_without_vm(struct vmm_facts *f, bool hidden)
{
	if (!f->args.may_be_tcg && !hidden)
		return VMM_SUSPECT; /* its VM may be made in a moment */
	if (f->args.may_be_tcg)
		f->accel = hidden ? GUEST_ACCEL_UNKNOWN : GUEST_ACCEL_TCG;
	return f->stat.threads >= THREADS_READY ? VMM_GUEST : VMM_SUSPECT;
}

enum vmm_kind vmmscan_look(const struct vmmscan *s, pid_t pid, struct vmm_dir dir,
			   struct vmm_facts *ret)
{
	struct vmm_facts f = {.accel = GUEST_ACCEL_KVM};
	char exe[GUEST_PATH_MAX];
	enum vmm_kind kind = VMM_GUEST;
	bool hidden;

	if (read_exe(s, pid, exe, sizeof(exe), &hidden) < 0 || vmmscan_stat(s, pid, &f.stat) < 0)
		return VMM_NONE;
	find_vm_and_dir(s, pid, dir, &f);
	if (f.vm_fd < 0 && !vmmargs_is_qemu(exe))
		return VMM_NONE;
	if (f.vm_fd >= 0 && is_forked_helper(s, exe, &f))
		return VMM_NONE;
	if (read_args(s, pid, exe, &f.args) < 0 || f.args.runs_none)
		return VMM_NONE;
	if (f.vm_fd < 0)
		kind = judge_without_vm(&f, hidden);
	if (kind == VMM_GUEST)
		*ret = f;
	return kind;
}

/* -- vCPUs -------------------------------------------------------------------------------- */

struct vcpu_list {
	struct guest_vcpu *v;
	size_t count;
	size_t size;
};

static bool grow_vcpus(struct vcpu_list *l)
{
	size_t size = l->size ? 2 * l->size : 8;
	struct guest_vcpu *more = realloc(l->v, size * sizeof(*more));

	if (!more)
		return false;
	l->v = more;
	l->size = size;
	return true;
}

/* What cannot be listed is left out. */
static void add_vcpu(struct vcpu_list *l, long index, pid_t tid)
{
	if (l->count == GUEST_VCPUS_MAX || index < 0 || tid <= 0)
		return;
	if (l->count == l->size && !grow_vcpus(l))
		return;
	l->v[l->count++] = (struct guest_vcpu){.index = (unsigned)index, .tid = tid};
}

static int compare_vcpus(const void *a, const void *b)
{
	const struct guest_vcpu *x = a;
	const struct guest_vcpu *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

struct dir_path {
	char path[512];
};

static struct dir_path dir_path(const struct vmmscan *s, struct vmm_dir dir, const char *below)
{
	struct dir_path p;

	snprintf(p.path, sizeof(p.path), "%s/%d-%d%s", s->kvm, (int)dir.pid, dir.fd, below);
	return p;
}

unsigned vmmscan_dir_links(const struct vmmscan *s, struct vmm_dir dir)
{
	struct stat st;

	if (dir.pid == 0 || stat(dir_path(s, dir, "").path, &st) < 0)
		return 0;
	return (unsigned)st.st_nlink;
}

static long vcpu_index(const char *name)
{
	return strncmp(name, "vcpu", 4) == 0 ? number(name + 4, INT32_MAX) : -1;
}

/* A vCPU's pid is 0 until it has run for the first time. */
static void list_debugfs_vcpus(const struct vmmscan *s, struct vmm_dir dir, struct vcpu_list *l)
{
	CLEANUP_DIR DIR *d = dir.pid ? open_dir(AT_FDCWD, dir_path(s, dir, "").path) : NULL;
	char path[300];
	struct dirent *e;
	uint64_t tid;

	while (d && (e = readdir(d))) { // NOLINT(concurrency-mt-unsafe): a stream of its own
		long index = vcpu_index(e->d_name);

		if (index < 0)
			continue;
		snprintf(path, sizeof(path), "%s/pid", e->d_name);
		if (io_read_u64(dirfd(d), path, &tid) == 0 && tid <= PID_MAX)
			add_vcpu(l, index, (pid_t)tid);
	}
}

/* "CPU 3/KVM" and "CPU 3/TCG": QEMU; "ALL CPUs/TCG": one thread for all of QEMU's; "fc_vcpu 3":
 * firecracker; "vcpu3": cloud-hypervisor; "crosvm_vcpu3"; "kvm-vcpu-3": kvmtool. */
long vmmscan_vcpu_of_comm(const char *comm)
{
	static const char *const prefixes[] = {"CPU ", "fc_vcpu ", "vcpu", "crosvm_vcpu",
					       "kvm-vcpu-"};
	char digits[16];
	size_t n;

	if (strcmp(comm, "ALL CPUs/TCG") == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		const char *at = comm + strlen(prefixes[i]);

		if (strncmp(comm, prefixes[i], strlen(prefixes[i])) != 0)
			continue;
		n = strspn(at, "0123456789");
		if (n == 0 || n >= sizeof(digits) || (at[n] && at[n] != '/'))
			continue;
		memcpy(digits, at, n);
		digits[n] = '\0';
		return number(digits, GUEST_VCPUS_MAX);
	}
	return -1;
}

/* Calls fn for every thread until it returns something else than 0, which is then returned. */
static pid_t each_task(const struct vmmscan *s, pid_t pid,
		       pid_t (*fn)(const struct vmmscan *s, int tasks, pid_t tid, void *ctx),
		       void *ctx)
{
	CLEANUP_DIR DIR *d = open_dir(s->proc_fd, rel(pid, "task").path);
	struct dirent *e;
	pid_t r = 0;

	for (int i = 0; d && r == 0 && i < TASKS_MAX; i++) {
		e = readdir(d); // NOLINT(concurrency-mt-unsafe): a stream of its own
		if (!e)
			break;
		long tid = number(e->d_name, PID_MAX);

		if (tid > 0)
			r = fn(s, dirfd(d), (pid_t)tid, ctx);
	}
	return r;
}

static pid_t add_by_comm(const struct vmmscan *s, int tasks, pid_t tid, void *ctx)
{
	CLEANUP_BUF struct buf b;

	(void)s;
	buf_init(&b, 64);
	if (io_read_file(tasks, rel(tid, "comm").path, &b) == 0) {
		b.data[strcspn(b.data, "\n")] = '\0';
		add_vcpu(ctx, vmmscan_vcpu_of_comm(b.data), tid);
	}
	return 0;
}

size_t vmmscan_vcpus(const struct vmmscan *s, pid_t pid, struct vmm_dir dir,
		     struct guest_vcpu **ret)
{
	struct vcpu_list l = {0};

	list_debugfs_vcpus(s, dir, &l);
	if (l.count == 0)
		each_task(s, pid, add_by_comm, &l);
	if (l.count == 0) {
		free(l.v);
		l.v = NULL;
	} else {
		qsort(l.v, l.count, sizeof(*l.v), compare_vcpus);
	}
	*ret = l.v;
	return l.count;
}

/* vCPUs by the thread ids that are looked for, and what they turned out to be. */
struct tid_search {
	struct guest_vcpu *v;
	pid_t *host; /* 0: not found yet */
	size_t n;
	size_t left;
};

static int compare_tids(const void *a, const void *b)
{
	const struct guest_vcpu *x = a;
	const struct guest_vcpu *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

/* Several vCPUs may share one thread (TCG). */
static void found_tid(struct tid_search *t, pid_t inner, pid_t host)
{
	size_t from = 0;
	size_t to = t->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (t->v[mid].tid < inner)
			from = mid + 1;
		else
			to = mid;
	}
	for (; from < t->n && t->v[from].tid == inner; from++) {
		t->left -= t->host[from] == 0;
		t->host[from] = host;
	}
}

/* A thread by its innermost id. Not 0 once all are found. */
static pid_t match_inner_tid(const struct vmmscan *s, int tasks, pid_t tid, void *ctx)
{
	CLEANUP_BUF struct buf b;
	struct tid_search *t = ctx;

	(void)s;
	buf_init(&b, STATUS_MAX);
	if (io_read_file(tasks, rel(tid, "status").path, &b) == 0)
		found_tid(t, last_on_line(b.data, "\nNSpid:\t"), tid);
	return t->left == 0;
}

static bool has_thread(const struct vmmscan *s, pid_t pid, pid_t tid)
{
	char what[32];
	struct stat st;

	snprintf(what, sizeof(what), "task/%d", (int)tid);
	return tid > 0 && fstatat(s->proc_fd, rel(pid, what).path, &st, 0) == 0;
}

static void search_tids(const struct vmmscan *s, pid_t pid, struct tid_search *t)
{
	if (!shares(s, pid, "ns/pid", s->pid_ns)) {
		qsort(t->v, t->n, sizeof(*t->v), compare_tids);
		each_task(s, pid, match_inner_tid, t);
		return;
	}
	for (size_t i = 0; i < t->n; i++)
		t->host[i] = has_thread(s, pid, t->v[i].tid) ? t->v[i].tid : 0;
}

size_t vmmscan_host_tids(const struct vmmscan *s, pid_t pid, struct guest_vcpu *vcpus, size_t n)
{
	CLEANUP_FREE pid_t *host = calloc(n + 1, sizeof(*host));
	struct tid_search t = {.v = vcpus, .host = host, .n = n, .left = n};
	size_t kept = 0;

	if (!host || n == 0)
		return 0;
	search_tids(s, pid, &t);
	for (size_t i = 0; i < n; i++) {
		if (host[i] > 0)
			vcpus[kept++] = (struct guest_vcpu){vcpus[i].index, host[i]};
	}
	if (kept > 0)
		qsort(vcpus, kept, sizeof(*vcpus), compare_vcpus);
	return kept;
}

/* -- sockets ------------------------------------------------------------------------------ */

/* The path that the socket with this inode is bound to, out of net/unix:
 *	Num RefCount Protocol Flags Type St Inode Path
 * A path with a newline could forge a line. That only leads to another socket, where whoever
 * answers must name this VMM's threads. */
static bool find_bound_path(char *text, uint64_t inode, char *dst, size_t size)
{
	char *save = NULL;
	unsigned long long v;
	int at;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		at = 0;
		if (sscanf(line, "%*x: %*x %*x %*x %*x %*x %llu %n", &v, &at) != 1 || at == 0)
			continue;
		if (v != inode || line[at] == '\0' || line[at] == '@')
			continue;
		return (size_t)snprintf(dst, size, "%s", line + at) < size;
	}
	return false;
}

static bool find_passed_path(const struct vmmscan *s, pid_t pid, int fd, char *dst, size_t size)
{
	CLEANUP_BUF struct buf b;
	char what[32];
	char link[64];
	unsigned long long inode;
	int r;

	buf_init(&b, NET_UNIX_MAX);
	snprintf(what, sizeof(what), "fd/%d", fd);
	if (read_link(s, rel(pid, what).path, link, sizeof(link)) < 0 ||
	    sscanf(link, "socket:[%llu]", &inode) != 1)
		return false;
	r = io_read_file(s->proc_fd, rel(pid, "net/unix").path, &b);
	if (r < 0 && r != -EFBIG)
		return false;
	return find_bound_path(b.data, inode, dst, size);
}

/* A path of the VMM's as one that this process can open. */
static bool join(const struct vmmscan *s, pid_t pid, const char *dir, const char *path, char *dst,
		 size_t size)
{
	const char *slash = dir[0] && dir[strlen(dir) - 1] != '/' ? "/" : "";
	int n;

	if (shares(s, pid, "ns/mnt", s->mnt_ns))
		n = snprintf(dst, size, "%s%s%s", dir, slash, path);
	else
		n = snprintf(dst, size, "%s/%d/root%s%s%s", s->proc, (int)pid, dir, slash, path);
	return n > 0 && (size_t)n < size;
}

static bool is_socket(const char *path)
{
	CLEANUP_FD int fd = sockpath_open(path);

	return fd >= 0;
}

/* PWD of the environment: where it was started. */
static bool read_pwd(const struct vmmscan *s, pid_t pid, char *dst, size_t size)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, ENVIRON_MAX);
	r = io_read_file(s->proc_fd, rel(pid, "environ").path, &b);
	if (r < 0 && r != -EFBIG)
		return false;
	for (size_t at = 0; at < b.len; at += strlen(b.data + at) + 1) {
		if (strncmp(b.data + at, "PWD=/", 5) == 0)
			return (size_t)snprintf(dst, size, "%s", b.data + at + 4) < size;
	}
	return false;
}

/* The working directory, unless -daemonize has changed it to "/" meanwhile. */
static bool resolve_relative(const struct vmmscan *s, pid_t pid, const char *path, char *dst,
			     size_t size)
{
	char dir[GUEST_PATH_MAX];

	if (read_link(s, rel(pid, "cwd").path, dir, sizeof(dir)) > 0 &&
	    join(s, pid, dir, path, dst, size) && is_socket(dst))
		return true;
	return read_pwd(s, pid, dir, sizeof(dir)) && join(s, pid, dir, path, dst, size) &&
	       is_socket(dst);
}

bool vmmscan_socket_path(const struct vmmscan *s, pid_t pid, const struct vmm_socket *sock,
			 char *dst, size_t size)
{
	char passed[GUEST_PATH_MAX];
	const char *path = sock->path;

	if (!path[0]) {
		if (sock->fd < 0 || !find_passed_path(s, pid, sock->fd, passed, sizeof(passed)))
			return false;
		path = passed;
	}
	if (path[0] == '/')
		return join(s, pid, "", path, dst, size);
	return resolve_relative(s, pid, path, dst, size);
}

/* -- time stamp counter ------------------------------------------------------------------- */

int vmmscan_tsc_offset(const struct vmmscan *s, struct vmm_dir dir, int64_t *ret)
{
	char text[32];
	char *end;
	ssize_t n;

	if (dir.pid == 0)
		return -ENOENT;
	CLEANUP_FD int fd = open(dir_path(s, dir, "/vcpu0/tsc-offset").path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	errno = 0;
	*ret = strtoll(text, &end, 10);
	return errno || end == text ? -EINVAL : 0;
}

/* KVM knows a vCPU's thread from the first KVM_RUN on. */
bool vmmscan_has_run(const struct vmmscan *s, struct vmm_dir dir)
{
	uint64_t tid = 0;

	return dir.pid != 0 &&
	       io_read_u64(AT_FDCWD, dir_path(s, dir, "/vcpu0/pid").path, &tid) == 0 && tid != 0;
}

/* -- the kernel's messages ---------------------------------------------------------------- */

static pid_t uevent_pid(const char *value)
{
	long pid = number(value, PID_MAX);

	return pid > 0 ? (pid_t)pid : 0;
}

bool vmmscan_parse_uevent(const char *bytes, size_t n, pid_t *ret_pid)
{
	bool is_kvm = false;
	pid_t pid = 0;

	if (n == 0 || bytes[n - 1] != '\0')
		return false;
	for (size_t at = 0; at < n; at += strlen(bytes + at) + 1) {
		const char *item = bytes + at;

		is_kvm |= strcmp(item, "DEVNAME=kvm") == 0;
		if (strncmp(item, "PID=", 4) == 0)
			pid = uevent_pid(item + 4);
	}
	if (!is_kvm || pid == 0)
		return false;
	*ret_pid = pid;
	return true;
}
