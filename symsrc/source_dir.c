/* dir:PATH[?modules=yes] - a folder laid out as a guest's root: a mounted guest disk, an sshfs
 * mount, a copy.
 *
 * What is in it was made by the guest, symbolic links too. Every file is opened by openat2(2)
 * with RESOLVE_BENEATH, so a link that leads out of PATH is refused by the kernel; links that
 * stay inside work. Special files are refused without being opened: opening a device already
 * does something (a watchdog starts), and the guest may have made any on its disk.
 *
 * A read of a hung sshfs or NFS mount blocks in the kernel, beyond deadline and cancel.
 */
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
#include "symsrc/modules.h"
#include "symsrc/source_fit.h"
#include "symsrc/source_impl.h"

#define DIR_ENTRIES_MAX 65536 /* looked at in sys/module */

struct source_dir {
	struct source base;
	struct guest_kernel known;
	char *path;
};

/* One fetch. */
struct dir_fetch {
	int root;
	unsigned want;
	const struct source_limits *limits;
	const struct source_sink *sink;
	const struct source_fit *fit;
	struct errmsg *why;
};

static int open_beneath(int root, const char *path, int flags)
{
	return io_openat2(root, path, flags, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

int source_dir_open_regular(int path_fd)
{
	char name[32];
	struct stat st;
	int fd;

	if (fstat(path_fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path_fd);
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

static bool is_absent(int err)
{
	return err == -ENOENT || err == -ENOTDIR;
}

/* path: below the root. A file that is not there is left out. */
static int fetch_path(const struct dir_fetch *f, const char *path, enum guest_file file,
		      const char *module)
{
	CLEANUP_FD int place = open_beneath(f->root, path, O_PATH);
	CLEANUP_FD int fd = place < 0 ? place : source_dir_open_regular(place);
	int r = 0;

	if (is_absent(place))
		return 0;
	if (place >= 0 && fd == -EINVAL)
		return errmsg_set(f->why, fd, "%s: not a regular file", path);
	if (fd < 0)
		return errmsg_set(f->why, fd, "%s: cannot be opened below the folder: %s%s", path,
				  strerrordesc_np(-fd),
				  fd == -EXDEV ? " (a link that leads out of it)" : "");
	if (file == GUEST_FILE_KALLSYMS)
		r = source_fit_check_fd(f->fit, fd);
	return r < 0 ? r : source_deliver_fd(fd, path, file, module, f->limits, f->sink, f->why);
}

static int fetch_file(const struct dir_fetch *f, enum guest_file file)
{
	if (!(f->want & GUEST_FILE_BIT(file)))
		return 0;
	return fetch_path(f, guest_file_path(file) + 1, file, NULL);
}

static int fetch_module_note(const struct dir_fetch *f, const char *module)
{
	char path[256 + 64]; /* a directory entry has at most 255 bytes */

	snprintf(path, sizeof(path), "sys/module/%s/notes/.note.gnu.build-id", module);
	return fetch_path(f, path, GUEST_FILE_MODULE_NOTE, module);
}

static int fetch_notes_in(const struct dir_fetch *f, DIR *dir)
{
	size_t entries = 0;
	struct dirent *e;
	int r = 0;

	/* readdir() is safe here: no other thread knows dir (readdir(3)). */
	while (r == 0 && (e = readdir(dir))) { // NOLINT(concurrency-mt-unsafe)
		if (++entries > DIR_ENTRIES_MAX)
			return errmsg_set(f->why, -EFBIG, "sys/module: more than %d entries",
					  DIR_ENTRIES_MAX);
		if (module_name_is_valid(e->d_name, strlen(e->d_name)) && e->d_name[0] != '.')
			r = fetch_module_note(f, e->d_name);
	}
	return r;
}

static int fetch_module_notes(const struct dir_fetch *f)
{
	CLEANUP_FD int fd = -1;
	DIR *dir;
	int r;

	if (!(f->want & GUEST_FILE_BIT(GUEST_FILE_MODULE_NOTE)))
		return 0;
	fd = open_beneath(f->root, "sys/module", O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return is_absent(fd) ? 0 : errmsg_set(f->why, fd, "sys/module: cannot be opened");
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	take_fd(&fd);
	r = fetch_notes_in(f, dir);
	closedir(dir);
	return r;
}

/* In the order of the remote script: the second look at modules comes last, and at the boot, since
 * nothing else holds the files together: the folder may be the guest's by sshfs. */
static int fetch_all(const struct dir_fetch *f)
{
	static const enum guest_file order[] = {GUEST_FILE_VERSION, GUEST_FILE_BOOT_ID,
						GUEST_FILE_KERNEL_NOTES, GUEST_FILE_MODULES};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(order); i++)
		r = fetch_file(f, order[i]);
	if (r == 0)
		r = fetch_module_notes(f);
	if (r == 0)
		r = fetch_file(f, GUEST_FILE_KALLSYMS);
	if (r == 0)
		r = fetch_file(f, GUEST_FILE_MODULES);
	if (r == 0 && f->want & GUEST_FILE_BIT(GUEST_FILE_KALLSYMS))
		r = fetch_file(f, GUEST_FILE_BOOT_ID);
	return r;
}

static int dir_fetch(struct source *s, unsigned want, const struct source_limits *limits,
		     const struct source_sink *sink, struct errmsg *why)
{
	struct source_dir *d = (struct source_dir *)s;
	CLEANUP_FD int root = open(d->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char name[SOURCE_USED_MAX];
	struct source_fit fit;
	struct source_sink through = source_fit_sink(&fit);
	struct dir_fetch f = {root, want, limits, &through, &fit, why};
	int r;

	if (root < 0)
		return errmsg_set(why, -errno, "dir:%s: %m", d->path);
	snprintf(name, sizeof(name), "dir:%s", d->path);
	memcpy(s->used, name, sizeof(s->used));
	source_fit_init(&fit, &d->known, name, sink, why);
	r = fetch_all(&f);
	if (r == 0)
		r = source_fit_end(&fit, s);
	source_fit_deinit(&fit);
	return r;
}

static void dir_destroy(struct source *s)
{
	struct source_dir *d = (struct source_dir *)s;

	free(d->path);
	free(d);
}

static int dir_list(struct source *s, const char *release, const struct source_limits *limits,
		    struct modtree_builder *to, struct errmsg *why)
{
	const struct source_dir *d = (struct source_dir *)s;

	snprintf(s->used, sizeof(s->used), "dir:%s", d->path);
	return source_dir_list(d->path, release, limits, to, why);
}

static int dir_read(struct source *s, const char *release, const char *path,
		    const struct source_limits *limits, struct buf *to, struct errmsg *why)
{
	const struct source_dir *d = (struct source_dir *)s;

	return source_dir_read(d->path, release, path, limits, to, why);
}

static const struct source_ops dir_ops = {"dir", dir_fetch, dir_destroy, NULL, dir_list, dir_read};

int source_dir_create(const char *uri, const struct source_target *target, struct source **ret,
		      struct errmsg *why)
{
	const char *path = uri + strlen("dir:");
	struct source_dir *d;

	if (*path != '/')
		return errmsg_set(why, -EINVAL,
				  "symbol source \"%s\": dir: wants a path that begins with /",
				  uri);
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->base.ops = &dir_ops;
	d->known = target->kernel;
	d->path = source_path_without_query(path);
	if (!d->path) {
		free(d);
		return -ENOMEM;
	}
	*ret = &d->base;
	return 0;
}
