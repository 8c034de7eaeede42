#include "profiler/kvmstats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/text.h"

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789_"

static bool is_counter(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= KVMSTATS_NAME_MAX || name[strspn(name, NAME_CHARACTERS)])
		return false;
	return n < 5 || strcmp(name + n - 5, "_hist") != 0;
}

/* The place of that name, or where it belongs. */
static size_t find_place(const struct kvmstats *s, const char *name)
{
	size_t low = 0;
	size_t high = s->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (strcmp(s->list[mid].name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool is_at(const struct kvmstats *s, size_t place, const char *name)
{
	return place < s->count && strcmp(s->list[place].name, name) == 0;
}

bool kvmstats_add(struct kvmstats *s, const char *name, const char *text)
{
	char digits[32];
	uint64_t value;

	snprintf(digits, sizeof(digits), "%.*s", (int)strcspn(text, "\n"), text);
	return text_to_u64(digits, 10, UINT64_MAX, &value) && kvmstats_add_value(s, name, value);
}

bool kvmstats_add_value(struct kvmstats *s, const char *name, uint64_t value)
{
	size_t place = find_place(s, name);

	if (!is_counter(name))
		return false;
	if (!is_at(s, place, name)) {
		if (s->count == KVMSTATS_MAX)
			return false;
		memmove(&s->list[place + 1], &s->list[place],
			(s->count - place) * sizeof(*s->list));
		s->count++;
		s->list[place] = (struct kvmstat){0};
		snprintf(s->list[place].name, sizeof(s->list->name), "%s", name);
	}
	s->list[place].value += value;
	return true;
}

bool kvmstats_has(const struct kvmstats *s, const char *name)
{
	return is_at(s, find_place(s, name), name);
}

uint64_t kvmstats_value(const struct kvmstats *s, const char *name)
{
	size_t place = find_place(s, name);

	return is_at(s, place, name) ? s->list[place].value : 0;
}

/* A kernel in lockdown, as with Secure Boot, lets nobody read what can also be written, as most
 * counters can to be reset (fs/debugfs/file.c, debugfs_locked_down()). */
static void read_counter(int dir_fd, const char *name, struct kvmstats *s)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, 64);
	r = io_read_file(dir_fd, name, &b);
	if (r == 0)
		kvmstats_add(s, name, b.data);
	else if (r == -EPERM || r == -EACCES)
		s->refused++;
}

static void read_vm(int kvm_fd, const char *vm, struct kvmstats *s)
{
	int fd = openat(kvm_fd, vm, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;

	if (!dir) {
		close_keep_errno(fd);
		return;
	}
	s->vms++;
	while ((d = readdir(dir))) {
		if (is_counter(d->d_name))
			read_counter(dirfd(dir), d->d_name, s);
	}
	closedir(dir);
}

/* True when "TASK-FD" was made by a thread of the process. One that has ended since made it
 * under a number that is the process's no more: usually it is the main thread. */
static bool is_vm_of(const char *proc, pid_t pid, const char *name)
{
	size_t n = strcspn(name, "-");
	char task[16];
	char path[256];
	uint64_t tid;

	if (!name[n] || n >= sizeof(task))
		return false;
	snprintf(task, sizeof(task), "%.*s", (int)n, name);
	if (!text_to_u64(task, 10, INT32_MAX, &tid))
		return false;
	snprintf(path, sizeof(path), "%s/%d/task/%d", proc, (int)pid, (int)tid);
	return (pid_t)tid == pid || access(path, F_OK) == 0;
}

static int explain(const char *path, int err, struct errmsg *why)
{
	if (err == -ENOENT)
		return errmsg_set(why, err,
				  "there is no %s: is debugfs mounted (mount -t debugfs debugfs "
				  "/sys/kernel/debug), and KVM loaded?",
				  path);
	return errmsg_set(why, err, "cannot read %s: %s", path, strerrordesc_np(-err));
}

int kvmstats_read(const char *debugfs, const char *proc, pid_t pid, struct kvmstats *ret,
		  struct errmsg *why)
{
	const struct dirent *d;
	char path[256];
	DIR *dir;

	ret->count = ret->vms = ret->refused = 0;
	snprintf(path, sizeof(path), "%s/kvm", debugfs);
	dir = opendir(path);
	if (!dir)
		return explain(path, -errno, why);
	ret->taken_ns = clock_now_ns();
	while ((d = readdir(dir)) && ret->vms < KVMSTATS_VMS_MAX) {
		if (is_vm_of(proc, pid, d->d_name))
			read_vm(dirfd(dir), d->d_name, ret);
	}
	closedir(dir);
	if (ret->vms == 0)
		return errmsg_set(why, -ENODATA, "KVM lists no VM of this process in %s", path);
	return 0;
}
