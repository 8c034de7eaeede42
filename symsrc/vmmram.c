#include "symsrc/vmmram.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/vmmram_impl.h"
#include "symsrc/vmmscan.h"

#define STATUS_MAX     (16u << 10)
#define CAP_PTRACE_BIT 19 /* CAP_SYS_PTRACE in capability.h */

/* -- refusals ------------------------------------------------------------------------------- */

static int refuse_encrypted(const struct guest *g, struct errmsg *why)
{
	static const char *const names[] = {[GUEST_ENCRYPTED_SEV] = "AMD SEV",
					    [GUEST_ENCRYPTED_SEV_ES] = "AMD SEV-ES",
					    [GUEST_ENCRYPTED_SEV_SNP] = "AMD SEV-SNP",
					    [GUEST_ENCRYPTED_TDX] = "Intel TDX"};

	if (g->ram.encryption == GUEST_PLAIN)
		return 0;
	return errmsg_set(why, -ENOTSUP,
			  "guest memory is encrypted (%s): the host cannot read symbols out of it; "
			  "let them be fetched over ssh (-s ssh://...)",
			  names[g->ram.encryption]);
}

#ifdef __x86_64__
#define HOST_IS_X86_64 true
#else
#define HOST_IS_X86_64 false
#endif

/* The architecture is in the emulator's name; "qemu-kvm" and other VMMs run the host's. */
static int refuse_architecture(const struct guest *g, struct errmsg *why)
{
	const char *system = strstr(g->vmm, "qemu-system-");
	bool is_x86_64 = system ? strncmp(system + 12, "x86_64", 6) == 0 : HOST_IS_X86_64;

	if (!is_x86_64)
		return errmsg_set(why, -ENOTSUP,
				  "guest of %s: only x86-64 guests' memory can be read; use -s "
				  "ssh://... for this one",
				  g->vmm);
	if (sysconf(_SC_PAGESIZE) != RAM_PAGE)
		return errmsg_set(why, -ENOTSUP,
				  "guest of %s: memory cannot be read on a host with pages of %ld "
				  "bytes; use -s ssh://... for this guest",
				  g->vmm, sysconf(_SC_PAGESIZE));
	return 0;
}

static int read_yama(const char *proc_root, uint64_t *ret)
{
	char path[GUEST_PATH_MAX];

	snprintf(path, sizeof(path), "%s/sys/kernel/yama/ptrace_scope", proc_root);
	return io_read_u64(AT_FDCWD, path, ret);
}

static bool has_cap_ptrace(const char *proc_root)
{
	CLEANUP_BUF struct buf b;
	char path[GUEST_PATH_MAX];
	const char *line;

	buf_init(&b, STATUS_MAX);
	snprintf(path, sizeof(path), "%s/thread-self/status", proc_root);
	if (io_read_file(AT_FDCWD, path, &b) < 0)
		return false;
	line = strstr(b.data, "\nCapEff:\t");
	return line && (strtoull(line + 9, NULL, 16) >> CAP_PTRACE_BIT & 1);
}

/* Who may: ptrace(2), "Ptrace access mode checking", and Documentation/admin-guide/LSM/Yama.rst. */
static int explain_denied(const char *proc_root, const struct guest *g, int code,
			  struct errmsg *why)
{
	int pid = (int)g->pid;
	uint64_t yama = 0;

	if (read_yama(proc_root, &yama) == 0 && yama >= 3)
		return errmsg_set(why, code,
				  "memory of VMM %d: Yama forbids it to everybody "
				  "(kernel.yama.ptrace_scope=%d); only a reboot with a lower value "
				  "changes that",
				  pid, (int)yama);
	if (!has_cap_ptrace(proc_root))
		return errmsg_set(
			why, code,
			"memory of VMM %d: not permitted without CAP_SYS_PTRACE%s: run as "
			"root or grant it",
			pid, yama == 2 ? " (kernel.yama.ptrace_scope=2)" : "");
	return errmsg_set(
		why, code,
		"memory of VMM %d: not permitted in spite of CAP_SYS_PTRACE: a security "
		"module may forbid it (SELinux: setsebool deny_ptrace off), or the VMM is "
		"in another user namespace",
		pid);
}

static int explain_open(const char *proc_root, const struct guest *g, const char *what, int code,
			struct errmsg *why)
{
	if (code == -EACCES || code == -EPERM)
		return explain_denied(proc_root, g, code, why);
	if (code == -ENOENT || code == -ESRCH)
		return errmsg_set(why, -ESRCH, "VMM %d has ended", (int)g->pid);
	return errmsg_set(why, code, "/proc/%d/%s: %s", (int)g->pid, what, strerrordesc_np(-code));
}

/* -- the process ---------------------------------------------------------------------------- */

/* Through the descriptor of its directory, which never leads to another process. */
static int check_identity(const struct vmmram *v)
{
	CLEANUP_BUF struct buf b;
	unsigned long long start;
	const char *at;
	int r;

	buf_init(&b, 4096);
	r = io_read_file(v->proc_fd, "stat", &b);
	if (r < 0)
		return r;
	at = strrchr(b.data, ')');
	if (!at || sscanf(at,
			  ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			  "%*d %*d %llu",
			  &start) != 1)
		return -EBADMSG;
	return start == v->guest->start ? 0 : -ESRCH;
}

static int open_below(const struct vmmram *v, const char *what, int *ret)
{
	*ret = openat(v->proc_fd, what, O_RDONLY | O_CLOEXEC);
	return *ret < 0 ? -errno : 0;
}

static int open_process(struct vmmram *v, const char *proc_root, struct errmsg *why)
{
	char path[GUEST_PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/%d", proc_root, (int)v->guest->pid);
	v->proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = v->proc_fd < 0 ? -errno : check_identity(v);
	if (r < 0)
		return explain_open(proc_root, v->guest, "stat", r, why);
	r = open_below(v, "mem", &v->mem_fd);
	if (r < 0)
		return explain_open(proc_root, v->guest, "mem", r, why);
	r = open_below(v, "pagemap", &v->pagemap_fd);
	if (r < 0)
		return explain_open(proc_root, v->guest, "pagemap", r, why);
	return 0;
}

/* -- the plan ------------------------------------------------------------------------------- */

static int make_plan(const struct vmmram *v, struct ram_plan *ret)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, VMMRAM_MAPS_MAX);
	r = io_read_file(v->proc_fd, "maps", &b);
	if (r < 0)
		return r;
	if (b.len == 0)
		return -ESRCH;
	return vmmmaps_choose(b.data, b.len, v->guest, ret);
}

static int explain_plan(const char *proc_root, const struct guest *g, int code, struct errmsg *why)
{
	if (code == -ENOENT)
		return errmsg_set(
			why, code,
			"memory of VMM %d (%s): none of its mappings fits a guest of %llu "
			"MiB; use -s ssh://... for this guest",
			(int)g->pid, g->vmm, (unsigned long long)g->ram.base_bytes >> 20);
	return explain_open(proc_root, g, "maps", code, why);
}

/* -- files ---------------------------------------------------------------------------------- */

/* Opens for reading what path_fd leads to. */
static int reopen(int path_fd)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOATIME);
	if (fd < 0 && errno == EPERM) /* O_NOATIME is for the file's owner */
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* By the mapping itself, which also leads to what has no name any more. Looked at before it is
 * opened for reading: a device would do whatever its driver does then. */
static int open_mapped(const struct vmmram *v, const struct ram_block *b)
{
	CLEANUP_FD int path_fd = -1;
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "map_files/%llx-%llx", (unsigned long long)b->map_start,
		 (unsigned long long)b->map_end);
	path_fd = openat(v->proc_fd, path, O_PATH | O_CLOEXEC);
	if (path_fd < 0 || fstat(path_fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? reopen(path_fd) : -ENOTSUP;
}

/* Descriptor number of the VMM, when it is this file. */
static int open_if_same(int dir, const char *number, const struct ram_block *b)
{
	CLEANUP_FD int path_fd = -1;
	struct statx st;

	if (statx(dir, number, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &st) < 0 ||
	    st.stx_ino != b->inode || st.stx_dev_major != b->major || st.stx_dev_minor != b->minor)
		return -ENOENT;
	path_fd = openat(dir, number, O_PATH | O_CLOEXEC);
	if (path_fd < 0 || statx(path_fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO, &st) < 0)
		return -errno;
	if (st.stx_ino != b->inode)
		return -ENOENT;
	return S_ISREG(st.stx_mode) ? reopen(path_fd) : -ENOTSUP;
}

/* By the VMM's descriptors: mappings may be followed with CAP_SYS_ADMIN or
 * CAP_CHECKPOINT_RESTORE only (proc_map_files_get_link()). */
static int open_descriptor(const struct vmmram *v, const struct ram_block *b)
{
	CLEANUP_FD int fd = openat(v->proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = -ENOENT;

	if (!d)
		return -errno;
	take_fd(&fd);
	for (int i = 0; i < VMM_FDS_MAX && r == -ENOENT; i++) {
		e = readdir(d); // NOLINT(concurrency-mt-unsafe): a stream of its own
		if (!e)
			break;
		if (e->d_name[0] != '.')
			r = open_if_same(dirfd(d), e->d_name, b);
	}
	closedir(d);
	return r;
}

/* So that mincore(2) can be asked about it; takes addresses, but no memory. */
static void add_shadow(struct ram_file *f)
{
	struct stat st;
	void *p;

	if (fstat(f->fd, &st) < 0 || st.st_size <= 0)
		return;
	p = mmap(NULL, (size_t)st.st_size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, f->fd, 0);
	if (p == MAP_FAILED)
		return;
	f->shadow = p;
	f->shadow_len = (uint64_t)st.st_size;
}

static void init_file(struct ram_file *f, int fd, const struct ram_block *b)
{
	struct statfs fs;

	*f = (struct ram_file){.fd = fd, .major = b->major, .minor = b->minor, .inode = b->inode};
	f->is_tmpfs = fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
	if (f->is_tmpfs)
		add_shadow(f);
}

static const struct ram_file *find_file(const struct vmmram *v, const struct ram_block *b)
{
	for (size_t i = 0; i < v->file_count; i++) {
		const struct ram_file *f = &v->files[i];

		if (f->inode == b->inode && f->major == b->major && f->minor == b->minor)
			return f;
	}
	return NULL;
}

/* -ENOTSUP for a device. Without the file, what the VMM itself has touched can still be read. */
static int open_file(struct vmmram *v, size_t block)
{
	const struct ram_block *b = &v->plan.blocks[block];
	int fd;

	if (b->inode == 0)
		return 0;
	v->file_of[block] = find_file(v, b);
	if (v->file_of[block])
		return 0;
	fd = open_mapped(v, b);
	if (fd < 0 && fd != -ENOTSUP)
		fd = open_descriptor(v, b);
	if (fd < 0) {
		log_debug("guest %d: the file of its memory cannot be opened: %s",
			  (int)v->guest->pid, strerrordesc_np(-fd));
		return fd == -ENOTSUP ? fd : 0;
	}
	init_file(&v->files[v->file_count], fd, b);
	v->file_of[block] = &v->files[v->file_count++];
	return 0;
}

static int open_files(struct vmmram *v, struct errmsg *why)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < v->plan.block_count; i++)
		r = open_file(v, i);
	if (r < 0)
		return errmsg_set(
			why, r,
			"memory of VMM %d is a device's, not plain memory, and is not read; "
			"use -s ssh://... for this guest",
			(int)v->guest->pid);
	return 0;
}

static void close_file(const struct ram_file *f)
{
	if (f->shadow)
		munmap(f->shadow, f->shadow_len);
	close_keep_errno(f->fd);
}

/* -- all ------------------------------------------------------------------------------------ */

static void destroy(struct vmmram *v)
{
	for (size_t i = 0; i < v->file_count; i++)
		close_file(&v->files[i]);
	close_keep_errno(v->pagemap_fd);
	close_keep_errno(v->mem_fd);
	close_keep_errno(v->proc_fd);
	guest_put(v->guest);
	free(v);
}

static int open_all(struct vmmram *v, const char *proc_root, struct errmsg *why)
{
	int r = open_process(v, proc_root, why);

	if (r < 0)
		return r;
	r = make_plan(v, &v->plan);
	if (r < 0)
		return explain_plan(proc_root, v->guest, r, why);
	v->can_scan = vmmram_can_scan(v);
	return open_files(v, why);
}

int vmmram_open(const char *proc_root, const struct guest *g, struct vmmram **ret,
		struct errmsg *why)
{
	struct vmmram *v;
	int r = refuse_encrypted(g, why);

	if (r == 0)
		r = refuse_architecture(g, why);
	if (r < 0)
		return r;
	v = calloc(1, sizeof(*v));
	if (!v)
		return errmsg_set(why, -ENOMEM, "memory of VMM %d: out of memory", (int)g->pid);
	atomic_init(&v->refs, 1);
	v->guest = guest_get(g);
	v->proc_fd = v->mem_fd = v->pagemap_fd = -1;
	r = open_all(v, proc_root, why);
	if (r < 0) {
		destroy(v);
		return r;
	}
	*ret = v;
	return 0;
}

struct vmmram *vmmram_get(struct vmmram *v)
{
	atomic_fetch_add(&v->refs, 1);
	return v;
}

void vmmram_put(struct vmmram *v)
{
	if (v && atomic_fetch_sub(&v->refs, 1) == 1)
		destroy(v);
}

bool vmmram_is_current(const struct vmmram *v)
{
	CLEANUP_FREE struct ram_plan *plan = calloc(1, sizeof(*plan));

	return plan && make_plan(v, plan) == 0 && ram_plan_equals(plan, &v->plan);
}
