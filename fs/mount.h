/* The mount: the FUSE session, what it shares, and its threads. */
#ifndef KVMPROFS_MOUNT_H
#define KVMPROFS_MOUNT_H

#include <sys/types.h>

#include "fs/content.h"
#include "symsrc/base/errmsg.h"

struct mount_config {
	const char *mountpoint;	  /* absolute: mountpoint_prepare() */
	const char *fuse_options; /* "allow_other,..." or NULL */
	mode_t symbols_mode;	  /* 0: 0400 */
	gid_t gid;		  /* (gid_t)-1: our own */
	int ready_fd;		  /* gets a byte when the mount is there; -1: nobody waits */
};

/* -EINVAL when libfuse does not know one of them. Before other threads exist. */
int mount_check_options(const char *options, struct errmsg *why);

struct mount;

/* Mounts. Starts no thread. The rooms must outlive it. */
int mount_create(const struct mount_config *config, const struct rooms *rooms, struct mount **ret,
		 struct errmsg *why);
/* Starts the notify thread. */
int mount_start(struct mount *m, struct errmsg *why);
/* Serves until it is unmounted or mount_end() is called; the workers are joined then. 0 or
 * negative errno. */
int mount_serve(struct mount *m, struct errmsg *why);
/* Makes mount_serve() return, once its thread gets a signal. After mount_start(), from one other
 * thread, which ends before mount_destroy(). */
void mount_end(struct mount *m);
/* Ends the notify thread, unmounts unless that has happened. Accepts NULL. */
void mount_destroy(struct mount *m);

#endif
