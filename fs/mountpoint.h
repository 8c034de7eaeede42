/* Is this a directory to mount on? */
#ifndef KVMPROFS_MOUNTPOINT_H
#define KVMPROFS_MOUNTPOINT_H

#include <stddef.h>

#include "symsrc/base/errmsg.h"

#define MOUNT_TYPE    "fuse.kvmprofs"
#define MOUNT_SUBTYPE "kvmprofs"

/* The type of what is mounted on top at exactly this path, from the text of
 * /proc/self/mountinfo (proc_pid_mountinfo(5)). 0, -ENOENT when nothing is. Pure. */
int mountinfo_type_at(const char *mountinfo, const char *path, char *ret, size_t size);

/* Checks that path is an empty directory on which nothing is mounted; clears what a killed
 * kvmprofs has left there. On success *ret_path is the absolute path, to be freed, and
 * *ret_lock_fd a descriptor that keeps a second kvmprofs off it as long as it is open.
 * Negative errno and why otherwise. */
int mountpoint_prepare(const char *path, char **ret_path, int *ret_lock_fd, struct errmsg *why);

#endif
