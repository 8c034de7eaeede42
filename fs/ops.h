/* The FUSE operations: each looks up in the tree, answers once, and never waits. */
#ifndef KVMPROFS_OPS_H
#define KVMPROFS_OPS_H

#include <fuse_lowlevel.h>

#include "fs/fs.h"

/* The session's userdata is a struct fs. */
extern const struct fuse_lowlevel_ops fs_ops;

/* Answers a parked open if its symbols are here, cannot come, or are late. */
void ops_answer_parked(struct fs *fs, const struct parked *p);

/* For streams_create(), with a struct fs. */
bool ops_has_news(void *ctx, const struct place *p, uint64_t made_ns);

/* -- between ops*.c ---------------------------------------------------------------------- */

/* Finds or makes the inode of a place and counts a lookup. 0 or negative errno. */
int ops_lookup_place(struct fs *fs, const struct place *p, struct inode_view *ret);
/* The same, but -EAGAIN rather than making a text. */
int ops_lookup_cheap(struct fs *fs, const struct place *p, struct inode_view *ret);
void ops_fill_entry(const struct fs *fs, const struct inode_view *v, struct fuse_entry_param *ret);
void ops_fill_attr(const struct fs *fs, const struct inode_view *v, struct stat *ret);
mode_t ops_mode(const struct fs *fs, const struct place *p);
/* What tree_lookup() and tree_list() need for this directory; with references. */
void ops_view(const struct fs *fs, const struct place *dir, struct tree_view *ret);
void ops_view_put(struct tree_view *view);
#define CLEANUP_VIEW CLEANUP(ops_view_put)

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi);
void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

#endif
