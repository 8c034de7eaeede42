/* Streams: files that are read while things happen (`trace`). A read waits until there is
 * something, a signal, or the stream's end; poll says which it is. No FUSE worker waits: reads
 * are parked here, and answered by one thread as the feeds fill, or at once when the reader gets
 * a signal. Each request is answered exactly once: whoever takes it off the list answers it.
 *
 * A text (CLASS_SNAPSHOT) is another thing: it stays as it was when it was opened, and read(2)
 * never waits, so that POLLIN is always true. That a newer one would say something else is
 * told as sysfs and /proc/mounts tell it (fs/kernfs/file.c, kernfs_generic_poll(); proc(5)), by
 * POLLPRI, and not sooner than TEXT_AGE_NS after it was made. To say no POLLIN until then would not
 * do: less(1) asks before each of its reads, and what of a text the kernel has given out of its
 * cache is not told to us.
 *
 * Any thread may call these, none waits but streams_stop().
 */
#ifndef KVMPROFS_STREAM_H
#define KVMPROFS_STREAM_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>

#include "fs/tree.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/base/feed.h"

#define STREAM_READS_MAX 1024 /* parked at a time; more fail with EAGAIN */
#define TEXT_AGE_NS	 NSEC_PER_SEC
#define STREAM_PIECE_MAX (64u << 10) /* bytes that one read gets at most */

struct streams;
struct stream; /* one open of one file */

/* Whether the text that was made at that moment has become another one; asked by any thread. */
typedef bool streams_news_fn(void *ctx, const struct place *p, uint64_t made_ns);

int streams_create(streams_news_fn *has_news, void *ctx, struct streams **ret, struct errmsg *why);
int streams_start(struct streams *s, struct errmsg *why);
/* Ends and joins the thread; what is parked is answered with ENODEV. Harmless when it does not run.
 */
void streams_stop(struct streams *s);
void streams_destroy(struct streams *s); /* accepts NULL; closes what is still open */

/* For feed_create(). */
int streams_wake_fd(const struct streams *s);

/* Takes the reading side of the feed over, also when it fails. NULL when out of memory. */
struct stream *streams_open(struct streams *s, struct feed *feed);
/* The same for a text, which is only to be polled. */
struct stream *streams_open_text(struct streams *s, const struct place *p, uint64_t made_ns);
void streams_release(struct streams *s, struct stream *stream);

/* Answers the request, now or later. nonblock: with EAGAIN rather than later. */
void streams_read(struct streams *s, struct stream *stream, fuse_req_t req, size_t size,
		  bool nonblock);

/* What poll(2) is to say. ph (may be NULL) is taken over and notified when that changes. */
unsigned streams_poll(struct streams *s, struct stream *stream, struct fuse_pollhandle *ph);

#endif
