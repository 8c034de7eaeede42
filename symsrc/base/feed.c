#include "symsrc/base/feed.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"

struct feed {
	atomic_uint refs;
	size_t max;

	struct mutex lock; /* a leaf; guards all below */
	int wake_fd;
	bool ended, closed;
	size_t at;    /* where the first byte lies */
	size_t count; /* bytes that wait */
	size_t size;  /* of ring; grows up to max as it is needed */
	char *ring;
};

struct feed *feed_create(size_t max, int wake_fd)
{
	struct feed *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	mutex_init(&f->lock);
	atomic_init(&f->refs, 2);
	f->max = max;
	f->wake_fd = wake_fd;
	return f;
}

void feed_put(struct feed *f)
{
	if (!f || atomic_fetch_sub(&f->refs, 1) > 1)
		return;
	mutex_deinit(&f->lock);
	free(f->ring);
	free(f);
}

/* The first n bytes. */
static void with_lock__copy_out(const struct feed *f, char *to, size_t n)
{
	size_t first = f->size - f->at;

	if (first > n)
		first = n;
	memcpy(to, f->ring + f->at, first);
	memcpy(to + first, f->ring, n - first);
}

/* Room for n bytes more: twice as large until they fit, max at most. */
static int with_lock__grow(struct feed *f, size_t n)
{
	size_t size = f->size ? f->size : 4096;
	char *ring;

	if (f->count + n <= f->size)
		return 0;
	while (size < f->count + n)
		size *= 2;
	if (size > f->max)
		size = f->max;
	ring = malloc(size);
	if (!ring)
		return -ENOBUFS;
	if (f->count)
		with_lock__copy_out(f, ring, f->count);
	free(f->ring);
	f->ring = ring;
	f->size = size;
	f->at = 0;
	return 0;
}

static void with_lock__copy_in(struct feed *f, const char *bytes, size_t n)
{
	size_t end = (f->at + f->count) % f->size;
	size_t first = f->size - end;

	if (first > n)
		first = n;
	memcpy(f->ring + end, bytes, first);
	memcpy(f->ring, bytes + first, n - first);
	f->count += n;
}

static int with_lock__write(struct feed *f, const void *bytes, size_t n)
{
	bool was_empty = f->count == 0;

	if (f->ended || f->closed)
		return -EPIPE;
	if (n > f->max - f->count || with_lock__grow(f, n) < 0)
		return -ENOBUFS;
	if (n == 0)
		return 0;
	with_lock__copy_in(f, bytes, n);
	if (was_empty && f->wake_fd >= 0)
		io_wake(f->wake_fd);
	return 0;
}

int feed_write(struct feed *f, const void *bytes, size_t n)
{
	int r;

	mutex_lock(&f->lock);
	r = with_lock__write(f, bytes, n);
	mutex_unlock(&f->lock);
	return r;
}

size_t feed_room(struct feed *f)
{
	size_t n;

	mutex_lock(&f->lock);
	n = f->ended || f->closed ? 0 : f->max - f->count;
	mutex_unlock(&f->lock);
	return n;
}

void feed_end(struct feed *f)
{
	mutex_lock(&f->lock);
	f->ended = true;
	if (f->wake_fd >= 0)
		io_wake(f->wake_fd);
	mutex_unlock(&f->lock);
}

bool feed_is_closed(struct feed *f)
{
	bool closed;

	mutex_lock(&f->lock);
	closed = f->closed;
	mutex_unlock(&f->lock);
	return closed;
}

static ssize_t with_lock__read(struct feed *f, char *to, size_t size)
{
	size_t n = f->count < size ? f->count : size;

	if (f->count == 0)
		return f->ended ? 0 : -EAGAIN;
	with_lock__copy_out(f, to, n);
	f->at = (f->at + n) % f->size;
	f->count -= n;
	return (ssize_t)n;
}

ssize_t feed_read(struct feed *f, void *to, size_t size)
{
	ssize_t n;

	mutex_lock(&f->lock);
	n = with_lock__read(f, to, size);
	mutex_unlock(&f->lock);
	return n;
}

bool feed_is_ready(struct feed *f)
{
	bool ready;

	mutex_lock(&f->lock);
	ready = f->count > 0 || f->ended;
	mutex_unlock(&f->lock);
	return ready;
}

void feed_close(struct feed *f)
{
	mutex_lock(&f->lock);
	f->closed = true;
	f->wake_fd = -1;
	f->count = 0;
	free(f->ring);
	f->ring = NULL;
	f->size = f->at = 0;
	mutex_unlock(&f->lock);
}
