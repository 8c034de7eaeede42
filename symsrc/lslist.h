/* The output of `LC_ALL=C ls -lnLR -- NAME...`, as POSIX, GNU, busybox and toybox write it, into a
 * tree of modules. Pure; the bytes come from a stranger.
 *
 *	-rw-r--r-- 1 0 0 12345 May  4  2024 modules.dep
 *
 *	kernel/fs:
 *	total 8
 *	drwxr-xr-x 2 0 0 4096 May  4 10:20 ext4
 *
 * Files named on the command line come first. A line that is not of these forms, that is too long,
 * or whose name may not stand in a tree, is passed over: somebody else's file is no reason to
 * have none.
 */
#ifndef KVMPROFS_LSLIST_H
#define KVMPROFS_LSLIST_H

#include <stdbool.h>
#include <stddef.h>

#include "symsrc/modtree.h"

#define LSLIST_LINE_MAX 2048

struct lslist {
	struct modtree_builder *to; /* not owned */
	char dir[MODTREE_PATH_MAX]; /* of the lines that follow */
	bool skip_dir;		    /* it may not stand in the tree */
	char line[LSLIST_LINE_MAX];
	size_t len; /* above LSLIST_LINE_MAX: too long */
};

void lslist_init(struct lslist *l, struct modtree_builder *to);

/* 0, or what modtree_add_*() return. Any chunk size. */
int lslist_feed(struct lslist *l, const void *bytes, size_t n);

#endif
