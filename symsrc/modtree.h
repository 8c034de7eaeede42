/* What a guest has below /lib/modules/RELEASE: names, kinds and sizes, no contents.
 *
 * There are directories and regular files, nothing else. A symbolic link to a file stands there as
 * the file that it leads to in the guest; other links, devices and the like are left out, and so is
 * every name that holds anything but letters, digits and a few signs: none is ever quoted anywhere.
 *
 * Each has a key by which it is found: the hash of its path from the guest's root, the same in
 * every tree of this process, never 0. Of two with one key only one is there.
 *
 * Immutable once made and reference-counted; read from any thread without a lock.
 */
#ifndef KVMPROFS_MODTREE_H
#define KVMPROFS_MODTREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODTREE_MOST	  65536	     /* files and directories; a distribution's kernel: 6000 */
#define MODTREE_NAMES_MAX (4u << 20) /* bytes of their names */
#define MODTREE_DEPTH	  16	     /* of directories below RELEASE */
#define MODTREE_PATH_MAX  1024
#define MODTREE_ROOT	  0 /* key of the guest's root, which holds "lib" */

struct modtree_entry {
	uint64_t key;
	uint64_t parent; /* its directory's key, or MODTREE_ROOT */
	uint64_t size;	 /* of a file */
	uint64_t stamp;	 /* changes with the file, as far as can be told from outside of it */
	uint32_t name;	 /* where in names */
	bool dir;
};

struct modtree {
	atomic_uint refs;
	char release[128];
	size_t count, file_count;
	struct modtree_entry *entries; /* by parent, then by name */
	uint32_t *by_key;	       /* indices into entries, ascending by key */
	char *names;
};

const struct modtree *modtree_get(const struct modtree *t); /* accepts NULL */
void modtree_put(const struct modtree *t);		    /* accepts NULL */

/* The entry, which lives as long as the tree, or NULL. */
const struct modtree_entry *modtree_find(const struct modtree *t, uint64_t key);
const struct modtree_entry *modtree_child(const struct modtree *t, uint64_t dir, const char *name);
/* The first entry of a directory, others follow: *ret_count of them, ascending by name. */
const struct modtree_entry *modtree_children(const struct modtree *t, uint64_t dir,
					     size_t *ret_count);
const char *modtree_name(const struct modtree *t, const struct modtree_entry *e);

/* A file's path below /lib/modules/RELEASE ("kernel/fs/ext4/ext4.ko"). 0, -ENOENT for what is no
 * file of this tree, -ENAMETOOLONG. */
int modtree_path(const struct modtree *t, uint64_t key, char *buf, size_t size);

/* One component that may stand in a tree: at most 255 of the characters above, and neither "." nor
 * "..", nor one that begins with "-". n: its length. */
bool modtree_name_is_valid(const char *name, size_t n);

/* -- making one; a builder is used by one thread ------------------------------------------- */

struct modtree_builder;

/* release: as a name. 0, -EINVAL for one that is none, -ENOMEM. */
int modtree_builder_create(const char *release, struct modtree_builder **ret);
void modtree_builder_destroy(struct modtree_builder *b); /* accepts NULL */

/* dir: path below RELEASE, or "". What may not stand in a tree is left out; what lies in no
 * directory of the tree in the end is never found. 0, -EFBIG above the limits, -ENOMEM. */
int modtree_add_dir(struct modtree_builder *b, const char *dir, const char *name);
int modtree_add_file(struct modtree_builder *b, const char *dir, const char *name, uint64_t size,
		     uint64_t stamp);

/* One reference in *ret, or -ENOMEM. The builder is only to be destroyed afterwards. */
int modtree_builder_finish(struct modtree_builder *b, const struct modtree **ret);

/* A stamp out of whatever tells of a change; begin with stamp 0. */
uint64_t modtree_stamp(uint64_t stamp, const void *bytes, size_t n);

#endif
