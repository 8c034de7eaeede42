#include "fs/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs/control.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/log.h"

/* A guest that ends is told to the kernel (notify.c); this is for the case that it was not. */
#define DIR_ENTRY_TIMEOUT_S 1.0
#define FOREVER_S	    1e6

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static void reply_errno(fuse_req_t req, int negative)
{
	fuse_reply_err(req, -negative);
}

void ops_view(const struct fs *fs, const struct place *dir, struct tree_view *ret)
{
	ret->guests = guests_acquire(symsrc_guests(fs->rooms.symsrc));
	ret->symbols = NULL;
	if (tree_needs_symbols(dir->node))
		ret->symbols = symsrc_symbols(fs->rooms.symsrc, dir->serial, 0);
	if (tree_needs_snapshots(dir)) {
		int n = profiler_snapshots(fs->rooms.profiler, dir->serial, &ret->snapshots);

		ret->snapshot_count = n > 0 ? (size_t)n : 0;
	}
	ret->files = NULL;
	if (tree_needs_files(dir->node))
		ret->files = symsrc_module_tree(fs->rooms.symsrc, dir->serial);
}

void ops_view_put(struct tree_view *view)
{
	guest_set_put(view->guests);
	symbols_put(view->symbols);
	free(view->snapshots);
	modtree_put(view->files);
}

/* -- attributes -------------------------------------------------------------------------- */

mode_t ops_mode(const struct fs *fs, const struct place *p)
{
	const struct node *node = tree_node(p->node);
	mode_t bits = node->secret && fs->symbols_mode ? fs->symbols_mode : node->mode;

	switch (node->class) {
	case CLASS_DIR: return S_IFDIR | bits;
	case CLASS_LINK: return S_IFLNK | bits;
	default: return S_IFREG | bits;
	}
}

/* Empty when out of memory. */
static void control_text(const struct fs *fs, uint64_t serial, struct buf *out)
{
	struct errmsg why;

	buf_init(out, CONTENT_MAX);
	content_control(&fs->rooms, serial, refusals_get(fs->refusals, serial, &why) ? &why : NULL,
			out);
}

static off_t control_size(const struct fs *fs, uint64_t serial)
{
	CLEANUP_BUF struct buf b;

	control_text(fs, serial, &b);
	return (off_t)b.len;
}

static off_t size_of(const struct fs *fs, const struct inode_view *v)
{
	if (tree_node(v->place.node)->class == CLASS_CONTROL)
		return control_size(fs, v->place.serial);
	if (tree_node(v->place.node)->class == CLASS_GUEST_FILE)
		return (off_t)v->size;
	return v->content ? (off_t)v->content->size : 0;
}

void ops_fill_attr(const struct fs *fs, const struct inode_view *v, struct stat *ret)
{
	bool dir = tree_node(v->place.node)->class == CLASS_DIR;

	*ret = (struct stat){.st_ino = place_ino(&v->place),
			     .st_mode = ops_mode(fs, &v->place),
			     /* 1 for a directory: "not counted", as find and fts know it */
			     .st_nlink = 1,
			     .st_uid = fs->uid,
			     .st_gid = fs->gid,
			     .st_size = size_of(fs, v),
			     .st_blksize = 4096,
			     .st_atim = v->mtime,
			     .st_mtim = v->mtime,
			     .st_ctim = v->mtime};
	if (dir && v->place.serial == 0)
		ret->st_atim = ret->st_mtim = ret->st_ctim = fs->started;
	ret->st_blocks = (ret->st_size + 511) / 512;
}

/* Attributes never change, except for the size of a placeholder and after a truncating open of
 * control, which the kernel takes for a size of 0. */
static double attr_timeout(const struct inode_view *v)
{
	enum node_class class = tree_node(v->place.node)->class;

	return v->bound_late || class == CLASS_CONTROL ? 0 : FOREVER_S;
}

void ops_fill_entry(const struct fs *fs, const struct inode_view *v, struct fuse_entry_param *ret)
{
	bool dir = tree_node(v->place.node)->class == CLASS_DIR;

	*ret = (struct fuse_entry_param){.ino = v->id,
					 .attr_timeout = attr_timeout(v),
					 .entry_timeout = dir ? DIR_ENTRY_TIMEOUT_S : 0};
	ops_fill_attr(fs, v, &ret->attr);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	CLEANUP_INODE struct inode_view v = {0};
	struct stat st;

	(void)fi;
	if (inodes_get(fs_of(req)->inodes, ino, &v) < 0) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	ops_fill_attr(fs_of(req), &v, &st);
	fuse_reply_attr(req, &st, attr_timeout(&v));
}

/* `echo reset >control` truncates first, and touch(1) sets times: that changes nothing here. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	CLEANUP_INODE struct inode_view v = {0};

	(void)attr;
	if (inodes_get(fs_of(req)->inodes, ino, &v) < 0)
		fuse_reply_err(req, ESTALE);
	else if (tree_node(v.place.node)->class != CLASS_CONTROL ||
		 (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
		fuse_reply_err(req, EPERM);
	else
		op_getattr(req, ino, fi);
}

/* -- lookup ------------------------------------------------------------------------------ */

static uint64_t fresh_since(struct fs *fs)
{
	uint64_t now = clock_now_ns();
	uint64_t young = now > FRESH_NS ? now - FRESH_NS : 0;
	uint64_t stale = atomic_load(&fs->stale_before_ns);

	return young > stale ? young : stale;
}

static int lookup_made(struct fs *fs, const struct place *p, struct inode_view *ret)
{
	struct blob *content = NULL;
	uint64_t made_ns = clock_now_ns();
	int r = content_make(&fs->rooms, p, &content);

	if (r < 0)
		return r;
	r = inodes_lookup_content(fs->inodes, p, content, made_ns, ret);
	blob_put(content);
	return r;
}

static int lookup_symbols(struct fs *fs, const struct place *p, struct inode_view *ret)
{
	int r = lookup_made(fs, p, ret);

	/* Not here, for whatever reason: the name is there, and open says why. */
	if (r < 0 && r != -ENOENT && r != -ENOMEM)
		r = inodes_lookup_placeholder(fs->inodes, p, ret);
	return r;
}

static int lookup_file(struct fs *fs, const struct place *p, struct inode_view *ret)
{
	uint64_t size, stamp;
	int r = content_file_facts(&fs->rooms, p, &size, &stamp);

	return r < 0 ? r : inodes_lookup_file(fs->inodes, p, size, stamp, ret);
}

int ops_lookup_cheap(struct fs *fs, const struct place *p, struct inode_view *ret)
{
	switch (tree_node(p->node)->class) {
	case CLASS_DIR:
	case CLASS_LINK:
	case CLASS_STREAM:
	case CLASS_CONTROL: return inodes_lookup_stable(fs->inodes, p, ret);
	case CLASS_SYMBOLS:
	case CLASS_SYMBOLS_OR_EMPTY: return lookup_symbols(fs, p, ret);
	case CLASS_GUEST_FILE: return lookup_file(fs, p, ret);
	case CLASS_SNAPSHOT: break;
	}
	return inodes_lookup_fresh(fs->inodes, p, fresh_since(fs), ret) < 0 ? -EAGAIN : 0;
}

int ops_lookup_place(struct fs *fs, const struct place *p, struct inode_view *ret)
{
	int r = ops_lookup_cheap(fs, p, ret);

	return r == -EAGAIN ? lookup_made(fs, p, ret) : r;
}

static int lookup_name(struct fs *fs, uint64_t parent, const char *name, struct inode_view *ret)
{
	CLEANUP_INODE struct inode_view dir = {0};
	CLEANUP_VIEW struct tree_view view = {0};
	struct place place;
	int r = inodes_get(fs->inodes, parent, &dir);

	if (r < 0)
		return -ESTALE;
	ops_view(fs, &dir.place, &view);
	r = tree_lookup(&view, &dir.place, name, &place);
	return r < 0 ? r : ops_lookup_place(fs, &place, ret);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	CLEANUP_INODE struct inode_view v = {0};
	struct fuse_entry_param e;
	int r = lookup_name(fs_of(req), parent, name, &v);

	if (r < 0) {
		reply_errno(req, r);
		return;
	}
	ops_fill_entry(fs_of(req), &v, &e);
	if (fuse_reply_entry(req, &e) < 0)
		inodes_forget(fs_of(req)->inodes, v.id, 1);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	inodes_forget(fs_of(req)->inodes, ino, n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		inodes_forget(fs_of(req)->inodes, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static int link_target(struct fs *fs, uint64_t ino, char *to, size_t size)
{
	CLEANUP_INODE struct inode_view v = {0};
	CLEANUP_VIEW struct tree_view view = {0};
	char name[NAME_COMPONENT_MAX];
	const struct guest_entry *e;

	if (inodes_get(fs->inodes, ino, &v) < 0)
		return -ESTALE;
	ops_view(fs, &v.place, &view);
	e = guest_set_find_serial(view.guests, v.place.serial);
	if (!e)
		return -ENOENT;
	tree_guest_name(e->guest, name, sizeof(name));
	snprintf(to, size, "../%s", name);
	return 0;
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char to[NAME_COMPONENT_MAX + 8];
	int r = link_target(fs_of(req), ino, to, sizeof(to));

	if (r < 0)
		reply_errno(req, r);
	else
		fuse_reply_readlink(req, to);
}

/* -- files ------------------------------------------------------------------------------- */

static int reply_open(fuse_req_t req, const struct inode_view *v, struct fuse_file_info *fi)
{
	enum node_class class = tree_node(v->place.node)->class;

	/* The kernel has a size of 0 for a placeholder, and would end there. */
	fi->direct_io = class == CLASS_CONTROL || class == CLASS_STREAM || v->bound_late;
	fi->keep_cache = !fi->direct_io;
	fi->noflush = 1;
	return fuse_reply_open(req, fi);
}

/* -EINPROGRESS: still on its way. 0: v is complete. */
static int bind_placeholder(struct fs *fs, struct inode_view *v)
{
	struct blob *content = NULL;
	uint64_t id = v->id;
	int r = content_make(&fs->rooms, &v->place, &content);

	if (r < 0)
		return r;
	r = inodes_bind(fs->inodes, id, content);
	blob_put(content);
	if (r < 0)
		return -ESTALE;
	inode_view_put(v);
	return inodes_get(fs->inodes, id, v);
}

static void open_placeholder(fuse_req_t req, struct inode_view *v, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	int r = bind_placeholder(fs, v);

	if (r == -EINPROGRESS)
		park_add(fs->park, req, v->id);
	else if (r < 0)
		reply_errno(req, r);
	else
		reply_open(req, v, fi);
}

/* What belongs to an open file, as libfuse keeps it: a stream, or the content of a file of the
 * guest's disk, which has the lowest bit set. */
#define FH_CONTENT 1u

static struct blob *content_of(const struct fuse_file_info *fi)
{
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	return fi->fh & FH_CONTENT ? (struct blob *)(uintptr_t)(fi->fh & ~(uint64_t)FH_CONTENT)
				   : NULL;
}

static struct stream *stream_of(const struct fuse_file_info *fi)
{
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	return fi->fh & FH_CONTENT ? NULL : (struct stream *)(uintptr_t)fi->fh;
}

/* Takes the reference over. */
static void reply_open_file(fuse_req_t req, struct blob *content)
{
	/* The generation's content is one, so the kernel may keep its pages. */
	struct fuse_file_info fi = {
		.keep_cache = 1, .noflush = 1, .fh = (uintptr_t)content | FH_CONTENT};

	/* As for streams: nobody is told of it. */
	if (fuse_reply_open(req, &fi) == -ENOENT)
		blob_put(content);
}

static void open_file(fuse_req_t req, const struct inode_view *v)
{
	struct blob *content = NULL;
	int r = content_file(&fs_of(req)->rooms, &v->place, v->stamp, &content);

	if (r == -EINPROGRESS)
		park_add(fs_of(req)->park, req, v->id);
	else if (r < 0)
		reply_errno(req, r);
	else
		reply_open_file(req, content);
}

static int begin_stream(struct fs *fs, const struct place *p, struct feed **ret)
{
	int wake_fd = streams_wake_fd(fs->streams);

	if (p->node == NODE_TRACE)
		return profiler_trace(fs->rooms.profiler, p->serial, wake_fd, ret);
	return profiler_record(fs->rooms.profiler, p->serial, wake_fd, ret);
}

/* One that nobody is told of, since its reader got a signal first, is not released by the kernel
 * either. */
static void open_stream(fuse_req_t req, const struct inode_view *v, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct stream *stream;
	struct feed *feed = NULL;
	int r = begin_stream(fs, &v->place, &feed);

	if (r < 0) {
		reply_errno(req, r == -ESRCH ? -ENOENT : r);
		return;
	}
	stream = streams_open(fs->streams, feed);
	if (!stream) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi->fh = (uintptr_t)stream;
	if (reply_open(req, v, fi) == -ENOENT)
		streams_release(fs->streams, stream);
}

/* Without memory it is only not told of news. */
static void open_text(fuse_req_t req, const struct inode_view *v, struct fuse_file_info *fi)
{
	struct streams *streams = fs_of(req)->streams;
	struct stream *text = streams_open_text(streams, &v->place, v->made_ns);

	fi->fh = (uintptr_t)text;
	if (reply_open(req, v, fi) == -ENOENT && text)
		streams_release(streams, text);
}

bool ops_has_news(void *ctx, const struct place *p, uint64_t made_ns)
{
	struct fs *fs = ctx;

	return content_has_news(&fs->rooms, p, made_ns, atomic_load(&fs->stale_before_ns));
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	CLEANUP_INODE struct inode_view v = {0};
	enum node_class class;

	if (inodes_get(fs_of(req)->inodes, ino, &v) < 0) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	class = tree_node(v.place.node)->class;
	if (class != CLASS_CONTROL && (fi->flags & O_ACCMODE) != O_RDONLY)
		fuse_reply_err(req, EACCES);
	else if (class == CLASS_STREAM)
		open_stream(req, &v, fi);
	else if (class == CLASS_SNAPSHOT && v.content)
		open_text(req, &v, fi);
	else if (class == CLASS_GUEST_FILE)
		open_file(req, &v);
	else if (class == CLASS_CONTROL || v.content)
		reply_open(req, &v, fi);
	else
		open_placeholder(req, &v, fi);
}

static void answer_parked_file(struct fs *fs, const struct parked *p, const struct inode_view *v)
{
	struct blob *content = NULL;
	int r = content_file(&fs->rooms, &v->place, v->stamp, &content);

	if (r == -EINPROGRESS && clock_now_ns() < p->deadline_ns)
		return;
	if (!park_take(fs->park, p->ticket))
		blob_put(content);
	else if (r == 0)
		reply_open_file(p->req, content);
	else
		reply_errno(p->req, r == -EINPROGRESS ? -ETIMEDOUT : r);
}

/* Symbols that have come are not given by this open: ESTALE makes the kernel look the name up
 * once more and open what it finds (fs/namei.c, do_filp_open()), which is a proper inode with
 * its true size, so that mmap and sendfile work like on any other. The placeholder is bound
 * nevertheless, for an open that has no name to look up (/proc/self/fd/N). */
void ops_answer_parked(struct fs *fs, const struct parked *p)
{
	CLEANUP_INODE struct inode_view v = {0};
	int r = inodes_get(fs->inodes, p->inode, &v);

	if (r == 0 && tree_node(v.place.node)->class == CLASS_GUEST_FILE) {
		answer_parked_file(fs, p, &v);
		return;
	}
	if (r == 0 && !v.content)
		r = bind_placeholder(fs, &v);
	if (r == -EINPROGRESS && clock_now_ns() < p->deadline_ns)
		return;
	if (!park_take(fs->park, p->ticket))
		return;
	if (r == 0)
		fuse_reply_err(p->req, ESTALE);
	else
		reply_errno(p->req, r == -EINPROGRESS ? -ETIMEDOUT : r);
}

static void reply_slice(fuse_req_t req, const char *bytes, size_t len, size_t size, off_t off)
{
	if (off < 0 || (uint64_t)off >= len)
		fuse_reply_buf(req, NULL, 0);
	else if (size < len - (size_t)off)
		fuse_reply_buf(req, bytes + off, size);
	else
		fuse_reply_buf(req, bytes + off, len - (size_t)off);
}

static void read_control(fuse_req_t req, uint64_t serial, size_t size, off_t off)
{
	CLEANUP_BUF struct buf b;

	control_text(fs_of(req), serial, &b);
	reply_slice(req, b.data, b.len, size, off);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	CLEANUP_INODE struct inode_view v = {0};
	const struct blob *file = content_of(fi);

	if (file)
		reply_slice(req, file->data, file->size, size, off);
	else if (inodes_get(fs_of(req)->inodes, ino, &v) < 0)
		fuse_reply_err(req, ESTALE);
	else if (v.content)
		reply_slice(req, v.content->data, v.content->size, size, off);
	else if (tree_node(v.place.node)->class == CLASS_STREAM)
		streams_read(fs_of(req)->streams, stream_of(fi), req, size, fi->flags & O_NONBLOCK);
	else if (tree_node(v.place.node)->class == CLASS_CONTROL)
		read_control(req, v.place.serial, size, off);
	else
		fuse_reply_err(req, EIO);
}

static int control_do(struct fs *fs, uint64_t serial, const struct control_list *list, size_t i,
		      struct errmsg *why)
{
	const struct control_arguments *a = &list->arguments[i];
	int r = -EINVAL;

	switch (list->command[i]) {
	case CONTROL_RESET: r = profiler_reset(fs->rooms.profiler, serial); break;
	case CONTROL_REFRESH: r = symsrc_refresh(fs->rooms.symsrc, serial); break;
	case CONTROL_PAUSE: r = profiler_pause(fs->rooms.profiler, serial, true); break;
	case CONTROL_RESUME: r = profiler_pause(fs->rooms.profiler, serial, false); break;
	case CONTROL_TRACE:
		r = profiler_trace_select(fs->rooms.profiler, serial, a->text, a->n, why);
		break;
	}
	return r;
}

/* Only its symbols may be looked for anew. */
static int control_check_recorded(const struct control_list *list, struct errmsg *why)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->command[i] != CONTROL_REFRESH)
			return errmsg_set(why, -EOPNOTSUPP,
					  "a recording stays as it is: no reset, pause, resume or "
					  "trace");
	}
	return 0;
}

/* All commands are right, or none is done: control_parse() knows but the names of events. */
static int control_check(struct fs *fs, uint64_t serial, const struct control_list *list,
			 struct errmsg *why)
{
	int r = 0;

	if (profiler_recording(fs->rooms.profiler))
		return control_check_recorded(list, why);
	for (size_t i = 0; i < list->count && r == 0; i++) {
		const struct control_arguments *a = &list->arguments[i];

		if (list->command[i] == CONTROL_TRACE)
			r = profiler_trace_check(fs->rooms.profiler, serial, a->text, a->n, why);
	}
	return r;
}

static void note_refusal(struct fs *fs, uint64_t serial, const struct errmsg *why)
{
	const struct guest_set *set = guests_acquire(symsrc_guests(fs->rooms.symsrc));
	const struct guest_entry *e = guest_set_find_serial(set, serial);

	if (why->code)
		log_warn("control of pid %d: %s", e ? (int)e->guest->pid : 0, why->text);
	refusals_set(fs->refusals, set, serial, why->code ? why : NULL);
	guest_set_put(set);
}

/* `control` is there, so that "No such file" would puzzle: what a command needs is not. */
static int control_errno(int r)
{
	return r == -ENOENT ? -EOPNOTSUPP : r;
}

static int control_write(struct fs *fs, uint64_t serial, const char *bytes, size_t n)
{
	struct control_list list;
	struct errmsg why = {0};
	int r = control_parse(bytes, n, &list, &why);

	if (r == 0)
		r = control_check(fs, serial, &list, &why);
	if (r == 0) {
		for (size_t i = 0; i < list.count && r == 0; i++)
			r = control_do(fs, serial, &list, i, &why);
		fs_make_stale(fs);
	}
	note_refusal(fs, serial, &why);
	return control_errno(r);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t n, off_t off,
		     struct fuse_file_info *fi)
{
	CLEANUP_INODE struct inode_view v = {0};
	int r;

	(void)off, (void)fi;
	if (inodes_get(fs_of(req)->inodes, ino, &v) < 0) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	r = tree_node(v.place.node)->class != CLASS_CONTROL
		    ? -EBADF
		    : control_write(fs_of(req), v.place.serial, bytes, n);
	if (r < 0)
		reply_errno(req, r);
	else
		fuse_reply_write(req, n);
}

/* Without an answer to the first poll the kernel never asks again, for no file of the mount
 * (fs/fuse/file.c, fuse_file_poll()). What is no stream can always be read. */
static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *ph)
{
	if (stream_of(fi)) {
		fuse_reply_poll(req, streams_poll(fs_of(req)->streams, stream_of(fi), ph));
		return;
	}
	(void)ino;
	if (ph)
		fuse_pollhandle_destroy(ph);
	fuse_reply_poll(req, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (stream_of(fi))
		streams_release(fs_of(req)->streams, stream_of(fi));
	blob_put(content_of(fi));
	fuse_reply_err(req, 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	/* No number of inodes, as in /proc: with none of them free, df -i and what watches it would
	 * say 100 % used. */
	struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};

	(void)ino;
	fuse_reply_statfs(req, &st);
}

/* -- snapshots --------------------------------------------------------------------------- */

/* The guest that the directory holds the snapshots of, or a negative errno. */
static int snapshots_of(struct fs *fs, uint64_t dir, uint64_t *ret_serial)
{
	CLEANUP_INODE struct inode_view v = {0};

	if (inodes_get(fs->inodes, dir, &v) < 0)
		return -ESTALE;
	if (v.place.node != NODE_SNAPSHOTS)
		return -EPERM;
	*ret_serial = v.place.serial;
	return 0;
}

/* The kernel has looked at the permissions of the directory (default_permissions). */
static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fs *fs = fs_of(req);
	uint64_t serial;
	int r = snapshots_of(fs, parent, &serial);

	(void)mode;
	if (r == 0)
		r = profiler_snapshot_make(fs->rooms.profiler, serial, name);
	fs_make_stale(fs);
	if (r < 0)
		reply_errno(req, r == -ESRCH ? -ENOENT : r);
	else
		op_lookup(req, parent, name);
}

/* Its files go with it; those that are open stay what they are. */
static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	uint64_t serial;
	int r = snapshots_of(fs, parent, &serial);

	if (r == 0)
		r = profiler_snapshot_forget(fs->rooms.profiler, serial, name);
	fs_make_stale(fs);
	fuse_reply_err(req, r == -ESRCH ? ENOENT : -r);
}

/* -- what cannot be done ----------------------------------------------------------------- */

static void deny_make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)parent, (void)name, (void)mode;
	fuse_reply_err(req, EPERM);
}

static void deny_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)rdev;
	deny_make(req, parent, name, mode);
}

static void deny_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
			struct fuse_file_info *fi)
{
	(void)fi;
	deny_make(req, parent, name, mode);
}

static void deny_remove(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	deny_make(req, parent, name, 0);
}

static void deny_symlink(fuse_req_t req, const char *to, fuse_ino_t parent, const char *name)
{
	(void)to;
	deny_make(req, parent, name, 0);
}

static void deny_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	deny_make(req, parent, name, 0);
}

static void deny_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
			const char *newname, unsigned flags)
{
	(void)newparent, (void)newname, (void)flags;
	deny_make(req, parent, name, 0);
}

/* -- the handshake ----------------------------------------------------------------------- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	/* Contents never change, so the kernel need not ask for attributes at every read. */
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	conn->want |= conn->capable & FUSE_CAP_EXPLICIT_INVAL_DATA;
	conn->want |= conn->capable & (FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
	conn->want |= conn->capable & (FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ);
	if (fs->ready_fd >= 0 && write(fs->ready_fd, "", 1) < 0)
		log_warn("cannot tell the caller that the mount is ready: %s",
			 strerrordesc_np(errno));
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = deny_mknod,
	.mkdir = op_mkdir,
	.unlink = deny_remove,
	.rmdir = op_rmdir,
	.symlink = deny_symlink,
	.rename = deny_rename,
	.link = deny_link,
	.create = deny_create,
	.open = op_open,
	.read = op_read,
	.release = op_release,
	.write = op_write,
	.opendir = ops_opendir,
	.readdir = ops_readdir,
	.readdirplus = ops_readdirplus,
	.releasedir = ops_releasedir,
	.statfs = op_statfs,
	.poll = op_poll,
};
