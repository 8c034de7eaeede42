/* What the FUSE side of the room shares: made once by mount.c, given to every operation. */
#ifndef KVMPROFS_FS_H
#define KVMPROFS_FS_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "fs/content.h"
#include "fs/inode.h"
#include "fs/park.h"
#include "fs/refusals.h"
#include "fs/stream.h"

/* A text younger than this is shown again instead of being made anew: a stat, an open and the
 * lookups of one `ls -l` or `tar` then see one moment. */
#define FRESH_NS (50 * NSEC_PER_MSEC)

struct fs {
	struct rooms rooms;
	struct inodes *inodes;
	struct park *park;
	struct streams *streams;
	struct refusals *refusals;
	mode_t symbols_mode; /* of files that carry guest kernel addresses; 0: 0400 */
	uid_t uid;
	gid_t gid;
	struct timespec started;
	/* Texts made before this moment (clock_now_ns()) are not shown again: something has
	 * happened that they do not say. */
	_Atomic uint64_t stale_before_ns;
	int ready_fd; /* gets a byte when the kernel has shaken hands; -1: nobody waits */
};

static inline void fs_make_stale(struct fs *fs)
{
	atomic_store(&fs->stale_before_ns, clock_now_ns());
}

#endif
