#include "fs/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"

#define MOUNTINFO_MAX (64u << 20)
#define STACKED_MAX   16 /* dead mounts on one another that are cleared */

/* -- what is mounted there --------------------------------------------------------------- */

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Blank, tab, newline and backslash are written as \ooo. True when the word at s, which ends at
 * a blank, is this path. */
static bool is_path(const char *s, const char *path)
{
	while (*s && *s != ' ') {
		char c = *s++;

		if (c == '\\' && is_octal(s[0]) && is_octal(s[1]) && is_octal(s[2])) {
			c = (char)((s[0] - '0') << 6 | (s[1] - '0') << 3 | (s[2] - '0'));
			s += 3;
		}
		/* A NUL is no part of any path, and not the end of this one. */
		if (c == '\0' || c != *path++)
			return false;
	}
	return *path == '\0';
}

/* The n-th word of the line, counted from 0; NULL when there is none. */
static const char *word(const char *line, int n)
{
	while (n--) {
		line += strcspn(line, " \n");
		if (*line != ' ')
			return NULL;
		line++;
	}
	return line;
}

static void copy_word(const char *w, char *ret, size_t size)
{
	snprintf(ret, size, "%.*s", (int)strcspn(w, " \n"), w);
}

/* "36 35 98:0 /root /where options [optional...] - type source superoptions" */
int mountinfo_type_at(const char *mountinfo, const char *path, char *ret, size_t size)
{
	int r = -ENOENT;

	for (const char *line = mountinfo, *next; *line; line = next) {
		const char *where = word(line, 4), *type = where;

		next = line + strcspn(line, "\n");
		next += *next ? 1 : 0;
		if (!where || !is_path(where, path))
			continue;
		while (type && strncmp(type, "- ", 2) != 0)
			type = word(type, 1);
		if (!type)
			continue;
		/* The last line is the top one. */
		copy_word(type + 2, ret, size);
		r = 0;
	}
	return r;
}

static int mounted_type(const char *path, char *ret, size_t size, struct errmsg *why)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, MOUNTINFO_MAX);
	r = io_read_file(AT_FDCWD, "/proc/self/mountinfo", &b);
	if (r < 0)
		return errmsg_set(why, r, "cannot read /proc/self/mountinfo: %s; is /proc mounted?",
				  strerrordesc_np(-r));
	r = mountinfo_type_at(b.data, path, ret, size);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* -- what a killed daemon has left ------------------------------------------------------- */

/* As an ordinary user, by the helper that has also mounted it. */
static int detach_by_helper(const char *path)
{
	const char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", path, NULL};
	int status;
	pid_t pid;
	int r = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);

	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return status == 0 ? 0 : -EPERM;
}

static int detach(const char *path, struct errmsg *why)
{
	int r = umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;

	if (r == -EPERM)
		r = detach_by_helper(path);
	if (r < 0)
		return errmsg_set(why, r,
				  "cannot clear the stale mount of a killed kvmprofs on %s: %s; "
				  "try: umount -l %s",
				  path, strerrordesc_np(-r), path);
	log_info("cleared the stale mount that a killed kvmprofs left on %s", path);
	return 0;
}

/* 1: a dead mount was cleared, look again; 0: nothing is mounted there. */
static int clear_top(const char *path, struct errmsg *why)
{
	char type[64];
	struct statvfs st;
	bool dead, ours;
	int r = mounted_type(path, type, sizeof(type), why);

	if (r <= 0)
		return r;
	/* Not stat(2), which the kernel answers by itself out of what it remembers. */
	dead = statvfs(path, &st) < 0 && errno == ENOTCONN;
	ours = strcmp(type, MOUNT_TYPE) == 0;
	if (!dead && ours)
		return errmsg_set(why, -EBUSY,
				  "mount point %s is busy: another kvmprofs serves it; "
				  "use that one, or end it: fusermount3 -u %s",
				  path, path);
	if (!dead)
		return errmsg_set(why, -EBUSY,
				  "mount point %s is busy: a %s file system is mounted there; "
				  "choose another directory, or unmount it",
				  path, type);
	if (!ours)
		return errmsg_set(why, -ENOTCONN,
				  "mount point %s holds a dead mount of type %s that is not ours; "
				  "clear it first: umount -l %s",
				  path, type, path);
	r = detach(path, why);
	return r < 0 ? r : 1;
}

static int clear_dead(const char *path, struct errmsg *why)
{
	int r = 1;

	for (int i = 0; i < STACKED_MAX && r == 1; i++)
		r = clear_top(path, why);
	if (r == 1)
		return errmsg_set(why, -EBUSY, "mount point %s: too many mounts on one another",
				  path);
	return r;
}

/* -- the directory ----------------------------------------------------------------------- */

static int absolute(const char *path, char **ret, struct errmsg *why)
{
	char *real = realpath(path, NULL);
	int err = errno;

	if (real) {
		*ret = real;
		return 0;
	}
	if (err == ENOENT)
		return errmsg_set(why, -err, "mount point %s does not exist; make it: mkdir -p %s",
				  path, path);
	return errmsg_set(why, -err, "cannot use mount point %s: %s", path, strerrordesc_np(err));
}

static int open_dir(const char *path, int *ret, struct errmsg *why)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		*ret = fd;
		return 0;
	}
	if (errno == ENOTDIR)
		return errmsg_set(why, -ENOTDIR,
				  "mount point %s is not a directory; name an empty directory",
				  path);
	return errmsg_set(why, -errno, "cannot open mount point %s: %s", path,
			  strerrordesc_np(errno));
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int check_empty(const char *path, int dir_fd, struct errmsg *why)
{
	int copy = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	int r = 0;

	if (!d) {
		close_keep_errno(copy);
		return errmsg_set(why, -errno, "cannot list mount point %s: %s", path,
				  strerrordesc_np(errno));
	}
	/* Nobody else has this stream. */
	while (r == 0 && (e = readdir(d))) /* NOLINT(concurrency-mt-unsafe) */
		r = is_dots(e->d_name) ? 0 : -ENOTEMPTY;
	closedir(d);
	if (r < 0)
		return errmsg_set(why, r,
				  "mount point %s is not empty: its files would be hidden; "
				  "choose an empty directory",
				  path);
	return 0;
}

static int lock_dir(const char *path, int dir_fd, struct errmsg *why)
{
	if (flock(dir_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return errmsg_set(why, -EBUSY,
				  "mount point %s is busy: another kvmprofs is just starting "
				  "there; try again in a moment",
				  path);
	/* Some file systems have no locks; then a race of two is not seen. */
	log_debug("cannot lock %s: %s", path, strerrordesc_np(errno));
	return 0;
}

int mountpoint_prepare(const char *path, char **ret_path, int *ret_lock_fd, struct errmsg *why)
{
	CLEANUP_FREE char *real = NULL;
	CLEANUP_FD int fd = -1;
	int r = absolute(path, &real, why);

	if (!real)
		return r;
	r = clear_dead(real, why);
	if (r == 0)
		r = open_dir(real, &fd, why);
	if (r == 0)
		r = check_empty(real, fd, why);
	if (r == 0)
		r = lock_dir(real, fd, why);
	if (r < 0)
		return r;
	*ret_path = take_ptr(real);
	*ret_lock_fd = take_fd(&fd);
	return 0;
}
