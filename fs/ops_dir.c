/* Directories: listed once, when they are opened, so that a reader sees one moment. */
#include "fs/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

struct open_dir {
	struct place place;
	struct tree_list list;
};

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct open_dir *dir_of(const struct fuse_file_info *fi)
{
	/* libfuse keeps it as a number: NOLINTNEXTLINE(performance-no-int-to-ptr) */
	return (struct open_dir *)(uintptr_t)fi->fh;
}

static int list_dir(struct fs *fs, uint64_t ino, struct open_dir *d)
{
	CLEANUP_INODE struct inode_view v = {0};
	CLEANUP_VIEW struct tree_view view = {0};

	if (inodes_get(fs->inodes, ino, &v) < 0)
		return -ESTALE;
	ops_view(fs, &v.place, &view);
	d->place = v.place;
	return tree_list(&view, &v.place, &d->list);
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	CLEANUP_FREE struct open_dir *d = calloc(1, sizeof(*d));
	int r = d ? list_dir(fs_of(req), ino, d) : -ENOMEM;

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fi->fh = (uintptr_t)d;
	if (fuse_reply_open(req, fi) < 0)
		tree_list_free(&d->list);
	else
		(void)take_ptr(d);
}

void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct open_dir *d = dir_of(fi);

	(void)ino;
	tree_list_free(&d->list);
	free(d);
	fuse_reply_err(req, 0);
}

/* Offsets: 0 and 1 are "." and "..", then the list. */
static const char *name_at(const struct open_dir *d, size_t at)
{
	if (at < 2)
		return at ? ".." : ".";
	return d->list.entries[at - 2].name;
}

static struct stat stat_at(const struct fs *fs, const struct open_dir *d, size_t at)
{
	const struct place *p = at < 2 ? &d->place : &d->list.entries[at - 2].place;

	return (struct stat){.st_ino = place_ino(p), .st_mode = ops_mode(fs, p)};
}

/* One entry into size bytes at to; how many it needs, which may be more. */
typedef size_t add_entry_fn(fuse_req_t req, const struct open_dir *d, size_t at, char *to,
			    size_t size);

static size_t add_plain(fuse_req_t req, const struct open_dir *d, size_t at, char *to, size_t size)
{
	struct stat st = stat_at(fs_of(req), d, at);

	return fuse_add_direntry(req, to, size, name_at(d, at), &st, (off_t)at + 1);
}

/* With attributes where they are at hand. A node id of 0 says that they are not: the kernel
 * looks the name up when somebody asks for it. So a plain `ls` makes no texts. */
static size_t add_plus(fuse_req_t req, const struct open_dir *d, size_t at, char *to, size_t size)
{
	CLEANUP_INODE struct inode_view v = {0};
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e = {.attr = stat_at(fs, d, at)};
	bool counted = at >= 2 && ops_lookup_cheap(fs, &d->list.entries[at - 2].place, &v) == 0;
	size_t need;

	if (counted)
		ops_fill_entry(fs, &v, &e);
	need = fuse_add_direntry_plus(req, to, size, name_at(d, at), &e, (off_t)at + 1);
	if (counted && need > size)
		inodes_forget(fs->inodes, v.id, 1);
	return need;
}

static void read_dir(fuse_req_t req, const struct open_dir *d, size_t size, off_t off,
		     add_entry_fn *add)
{
	CLEANUP_FREE char *reply = malloc(size);
	size_t len = 0;

	if (!reply) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	for (size_t at = off < 0 ? SIZE_MAX : (size_t)off; at < d->list.count + 2; at++) {
		size_t need = add(req, d, at, reply + len, size - len);

		if (need > size - len)
			break;
		len += need;
	}
	fuse_reply_buf(req, reply, len);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	read_dir(req, dir_of(fi), size, off, add_plain);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	(void)ino;
	read_dir(req, dir_of(fi), size, off, add_plus);
}
