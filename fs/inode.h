/* The inodes that the kernel knows: node ids, lookup counts, and contents.
 *
 * A file whose text is made when it is looked at gets a new node id for each different text (a
 * generation), with the same st_ino: an inode's content and size never change, so the kernel
 * may keep its pages, a reader never sees halves of two moments, and every tool that believes
 * st_size is right (see "The files are made for pipes" in README).
 *
 * A file whose content is not here yet has a placeholder: an inode of size 0, which gets its
 * content once ("bound").
 *
 * A file of the guest's disk has its size, and a stamp in place of the content, which whoever opens
 * it holds: with another stamp it is another generation.
 *
 * All functions may be called from any thread; none blocks.
 */
#ifndef KVMPROFS_INODE_H
#define KVMPROFS_INODE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "fs/tree.h"
#include "symsrc/base/blob.h"

#define INODE_ROOT 1 /* FUSE_ROOT_ID */

/* What an inode is, as a copy; content is a reference that goes back with inode_view_put(). */
struct inode_view {
	uint64_t id;
	struct place place;
	struct blob *content; /* NULL: none, or none yet */
	struct timespec mtime;
	uint64_t made_ns;     /* when the content was last found to be right; 0: it has none, or for
				 ever */
	uint64_t size, stamp; /* of inodes_lookup_file() */
	bool bound_late;      /* was a placeholder: size and content came after the first lookup */
};
void inode_view_put(struct inode_view *v);
#define CLEANUP_INODE CLEANUP(inode_view_put)

struct inodes;
struct inodes *inodes_create(void); /* holds the root; NULL when out of memory */
void inodes_destroy(struct inodes *t);

/* All of these count one lookup of what they return. -ENOMEM otherwise. */

/* The one inode of a place that has no generations. */
int inodes_lookup_stable(struct inodes *t, const struct place *p, struct inode_view *ret);
/* The newest generation, when it was made after not_before_ns; else -ENOENT. */
int inodes_lookup_fresh(struct inodes *t, const struct place *p, uint64_t not_before_ns,
			struct inode_view *ret);
/* The generation with this content, which was made at made_ns: the newest one when it says the
 * same or was made later, else a new one. */
int inodes_lookup_content(struct inodes *t, const struct place *p, struct blob *content,
			  uint64_t made_ns, struct inode_view *ret);
/* The placeholder of a place. */
int inodes_lookup_placeholder(struct inodes *t, const struct place *p, struct inode_view *ret);

/* The generation of a file with this size and stamp. */
int inodes_lookup_file(struct inodes *t, const struct place *p, uint64_t size, uint64_t stamp,
		       struct inode_view *ret);

/* 0, or -ENOENT for an id that the kernel has forgotten. */
int inodes_get(struct inodes *t, uint64_t id, struct inode_view *ret);

/* Gives a placeholder its content, unless it has one. -ENOENT when it was forgotten. */
int inodes_bind(struct inodes *t, uint64_t id, struct blob *content);

/* The kernel drops n lookups. */
void inodes_forget(struct inodes *t, uint64_t id, uint64_t n);

/* How many there are, the root too. */
size_t inodes_count(struct inodes *t);

#endif
