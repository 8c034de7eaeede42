/* The thread that carries news to the kernel: it drops the entries of guests that are gone, and
 * answers the parked opens whose symbols have come or are late. */
#ifndef KVMPROFS_NOTIFY_H
#define KVMPROFS_NOTIFY_H

#include <fuse_lowlevel.h>

#include "fs/fs.h"
#include "symsrc/base/errmsg.h"

struct notify;

/* wake_fd: the one that the park wakes; not owned. Starts nothing. */
int notify_create(struct fs *fs, struct fuse_session *session, int wake_fd, struct notify **ret,
		  struct errmsg *why);
int notify_start(struct notify *n, struct errmsg *why);
/* Ends and joins the thread; accepts NULL; may be called more than once, from one thread at a time.
 * While the session still answers requests: the kernel makes a notification wait for those of the
 * same directory. */
void notify_stop(struct notify *n);
void notify_destroy(struct notify *n); /* accepts NULL; after notify_stop() */

#endif
