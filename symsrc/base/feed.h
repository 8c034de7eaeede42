/* A bounded queue of bytes from one writer to one reader, for streams: what one thread finds out
 * as it happens, another one hands on. The writer never waits; what does not fit it has to
 * drop, and says so in the stream once there is room.
 *
 * Each side holds a reference. Any thread may call any of these; none blocks. Pieces are written
 * whole or not at all, and read in pieces of any size.
 */
#ifndef KVMPROFS_BASE_FEED_H
#define KVMPROFS_BASE_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct feed;

/* max: the most bytes that wait. wake_fd (io_wake_create(); -1: none) is woken when there is
 * something to read where nothing was, and at the end; it must be open until feed_close(). One
 * reference each for writer and reader. NULL when out of memory. */
struct feed *feed_create(size_t max, int wake_fd);
void feed_put(struct feed *f); /* accepts NULL */

/* ---- the writer's side ------------------------------------------------------------------- */

/* 0, -ENOBUFS when it does not fit now, -EPIPE when the reader or the writer has ended it. */
int feed_write(struct feed *f, const void *bytes, size_t n);
/* Bytes that feed_write() would take; 0 once the reader has closed. */
size_t feed_room(struct feed *f);
/* No more will come: the reader gets what is there, then the end. */
void feed_end(struct feed *f);
bool feed_is_closed(struct feed *f);

/* ---- the reader's side ------------------------------------------------------------------- */

/* Up to size bytes: their number, 0 at the end, -EAGAIN when there are none yet. */
ssize_t feed_read(struct feed *f, void *to, size_t size);
/* True when feed_read() would not say -EAGAIN. */
bool feed_is_ready(struct feed *f);
/* The reader wants no more; the wake_fd is not used any more. */
void feed_close(struct feed *f);

#endif
