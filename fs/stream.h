/* Streams: files that are read while things happen (`trace`). A read waits until there is
 * something, a signal, or the stream's end; poll says which it is. No FUSE worker waits: reads
 * are parked here, and answered by one thread as the feeds fill, or at once when the reader gets
 * a signal. Each request is answered exactly once: whoever takes it off the list answers it.
 *
 * Any thread may call these, none waits but streams_stop().
 */
#ifndef KVMPROFS_STREAM_H
#define KVMPROFS_STREAM_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/base/feed.h"

#define STREAM_READS_MAX 1024	     /* parked at a time; more fail with EAGAIN */
#define STREAM_PIECE_MAX (64u << 10) /* bytes that one read gets at most */

struct streams;
struct stream; /* one open of one file */

int streams_create(struct streams **ret, struct errmsg *why);
int streams_start(struct streams *s, struct errmsg *why);
/* Ends and joins the thread; what is parked is answered with ENODEV. Harmless when it does not run.
 */
void streams_stop(struct streams *s);
void streams_destroy(struct streams *s); /* accepts NULL; closes what is still open */

/* For feed_create(). */
int streams_wake_fd(const struct streams *s);

/* Takes the reading side of the feed over, also when it fails. NULL when out of memory. */
struct stream *streams_open(struct streams *s, struct feed *feed);
void streams_release(struct streams *s, struct stream *stream);

/* Answers the request, now or later. nonblock: with EAGAIN rather than later. */
void streams_read(struct streams *s, struct stream *stream, fuse_req_t req, size_t size,
		  bool nonblock);

/* What poll(2) is to say. ph (may be NULL) is taken over and notified when that changes. */
unsigned streams_poll(struct streams *s, struct stream *stream, struct fuse_pollhandle *ph);

#endif
