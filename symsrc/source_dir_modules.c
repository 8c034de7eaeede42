/* /lib/modules of dir:PATH. Unlike the files of /proc and /sys these are on the guest's disk, with
 * links of all kinds among them, also absolute ones: RESOLVE_IN_ROOT has the kernel take PATH for
 * the root while it follows them, so that they lead where they lead in the guest, and never out. */
#include "symsrc/source_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/source_impl.h"

struct walk {
	int root;
	const char *release;
	const struct source_limits *limits;
	struct modtree_builder *to;
	struct errmsg *why;
	size_t entries;
};

static int open_in_root(int root, const char *release, const char *path, int flags)
{
	char full[MODTREE_PATH_MAX + 256];
	int n = snprintf(full, sizeof(full), "lib/modules/%s/%s", release, path);

	if ((size_t)n >= sizeof(full))
		return -ENAMETOOLONG;
	return io_openat2(root, full, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

static uint64_t stamp_of(const struct stat *st)
{
	const uint64_t of[] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size,
			       (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec};

	return modtree_stamp(0, of, sizeof(of));
}

static int walk_dir(struct walk *w, const char *dir, unsigned depth);

static bool is_link(const struct walk *w, const char *path)
{
	CLEANUP_FD int fd = open_in_root(w->root, w->release, path, O_PATH | O_NOFOLLOW);
	struct stat st;

	return fd < 0 || fstat(fd, &st) < 0 || S_ISLNK(st.st_mode);
}

/* What the name stands for, links followed. A link to a directory is left out: it may lead in
 * circles. */
static int walk_entry(struct walk *w, const char *dir, const struct dirent *e, unsigned depth)
{
	char path[MODTREE_PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", e->d_name);
	CLEANUP_FD int fd = -1;
	struct stat st;
	int r;

	if ((size_t)n >= sizeof(path) || !modtree_name_is_valid(e->d_name, strlen(e->d_name)))
		return 0;
	fd = open_in_root(w->root, w->release, path, O_PATH);
	if (fd < 0 || fstat(fd, &st) < 0)
		return 0; /* a link to nowhere, or just removed */
	if (S_ISREG(st.st_mode))
		return modtree_add_file(w->to, dir, e->d_name, (uint64_t)st.st_size, stamp_of(&st));
	if (!S_ISDIR(st.st_mode) || is_link(w, path) || depth == MODTREE_DEPTH)
		return 0;
	r = modtree_add_dir(w->to, dir, e->d_name);
	return r < 0 ? r : walk_dir(w, path, depth + 1);
}

static int walk_entries(struct walk *w, const char *dir, DIR *d, unsigned depth)
{
	struct dirent *e;
	int r = 0;

	/* readdir() is safe here: no other thread knows d (readdir(3)). */
	while (r == 0 && (e = readdir(d))) { // NOLINT(concurrency-mt-unsafe)
		r = source_check_limits(w->limits, w->why);
		if (r == 0 && ++w->entries > MODTREE_MOST)
			r = -EFBIG;
		if (r == 0 && e->d_name[0] != '.')
			r = walk_entry(w, dir, e, depth);
	}
	return r;
}

static int walk_dir(struct walk *w, const char *dir, unsigned depth)
{
	CLEANUP_FD int fd = open_in_root(w->root, w->release, dir, O_RDONLY | O_DIRECTORY);
	DIR *d;
	int r;

	if (fd < 0)
		return depth ? 0 : fd;
	d = fdopendir(fd);
	if (!d)
		return -errno;
	take_fd(&fd);
	r = walk_entries(w, dir, d, depth);
	closedir(d);
	return r;
}

int source_dir_list(const char *path, const char *release, const struct source_limits *limits,
		    struct modtree_builder *to, struct errmsg *why)
{
	CLEANUP_FD int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct walk w = {root, release, limits, to, why, 0};
	int r = root < 0 ? -errno : walk_dir(&w, "", 0);

	if (r < 0 && why && why->code == 0)
		errmsg_set(why, r, "dir:%s: lib/modules/%s: %s", path, release,
			   strerrordesc_np(-r));
	return r;
}

static int read_all(int fd, const struct source_limits *limits, struct buf *to, struct errmsg *why)
{
	ssize_t n;
	int r;

	do {
		size_t room = to->max - to->len;
		size_t want = room && room < SOURCE_READ_CHUNK ? room : SOURCE_READ_CHUNK;
		char *at = buf_reserve(to, want);

		r = source_check_limits(limits, why);
		if (r < 0 || !at)
			return r < 0 ? r : to->err;
		n = read(fd, at, want);
		if (n > 0)
			buf_commit(to, (size_t)n);
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

int source_dir_read(const char *path, const char *release, const char *file,
		    const struct source_limits *limits, struct buf *to, struct errmsg *why)
{
	CLEANUP_FD int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int place = root < 0 ? -errno : open_in_root(root, release, file, O_PATH);
	CLEANUP_FD int fd = place < 0 ? place : source_dir_open_regular(place);
	int r = fd < 0 ? fd : read_all(fd, limits, to, why);

	if (r < 0 && why && why->code == 0)
		errmsg_set(why, r, "dir:%s: lib/modules/%s/%s: %s", path, release, file,
			   strerrordesc_np(-r));
	return r;
}
