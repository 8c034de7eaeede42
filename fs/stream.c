#include "fs/stream.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/thread.h"

struct stream {
	struct feed *feed;	      /* NULL: a text */
	struct place place;	      /* of a text */
	uint64_t made_ns;	      /* likewise */
	uint64_t look_ns;	      /* the thread's: when to ask for news; 0: not known yet */
	struct fuse_pollhandle *ph;   /* lock: who is to be told; NULL: nobody */
	struct stream *next, *before; /* lock */
};

struct parked_read {
	fuse_req_t req;
	struct stream *stream;
	size_t size;
};

struct streams {
	streams_news_fn *has_news;
	void *ctx;
	int wake_fd;
	atomic_bool stop;
	bool running; /* caller's threads only, one at a time */
	pthread_t thread;
	char piece[STREAM_PIECE_MAX]; /* the thread's */

	struct mutex lock;    /* taken inside of libfuse's lock of a request, outside of a
			       * feed's */
	struct stream *first; /* lock */
	size_t count;	      /* lock */
	struct parked_read reads[STREAM_READS_MAX]; /* lock: in the order of their coming */
};

int streams_create(streams_news_fn *has_news, void *ctx, struct streams **ret, struct errmsg *why)
{
	struct streams *s = calloc(1, sizeof(*s));

	if (!s)
		return errmsg_set(why, -ENOMEM, "out of memory");
	s->has_news = has_news;
	s->ctx = ctx;
	mutex_init(&s->lock);
	s->wake_fd = io_wake_create();
	if (s->wake_fd < 0) {
		int r = s->wake_fd;

		streams_destroy(s);
		return errmsg_set(why, r, "cannot make an eventfd: %s", strerrordesc_np(-r));
	}
	*ret = s;
	return 0;
}

int streams_wake_fd(const struct streams *s)
{
	return s->wake_fd;
}

/* -- opens --------------------------------------------------------------------------------- */

static void list(struct streams *s, struct stream *stream)
{
	mutex_lock(&s->lock);
	stream->next = s->first;
	if (s->first)
		s->first->before = stream;
	s->first = stream;
	mutex_unlock(&s->lock);
}

struct stream *streams_open(struct streams *s, struct feed *feed)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream) {
		feed_close(feed);
		feed_put(feed);
		return NULL;
	}
	stream->feed = feed;
	list(s, stream);
	return stream;
}

struct stream *streams_open_text(struct streams *s, const struct place *p, uint64_t made_ns)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->place = *p;
	stream->made_ns = made_ns;
	list(s, stream);
	return stream;
}

static void free_stream(struct stream *stream)
{
	if (stream->ph)
		fuse_pollhandle_destroy(stream->ph);
	if (stream->feed)
		feed_close(stream->feed);
	feed_put(stream->feed);
	free(stream);
}

static void with_lock__unlink(struct streams *s, struct stream *stream)
{
	if (stream->next)
		stream->next->before = stream->before;
	if (stream->before)
		stream->before->next = stream->next;
	else
		s->first = stream->next;
}

/* The kernel releases a file when no read of it is left. */
void streams_release(struct streams *s, struct stream *stream)
{
	mutex_lock(&s->lock);
	with_lock__unlink(s, stream);
	mutex_unlock(&s->lock);
	free_stream(stream);
}

void streams_destroy(struct streams *s)
{
	if (!s)
		return;
	streams_stop(s);
	while (s->first) {
		struct stream *stream = s->first;

		s->first = stream->next;
		free_stream(stream);
	}
	close_keep_errno(s->wake_fd);
	mutex_deinit(&s->lock);
	free(s);
}

/* -- reads --------------------------------------------------------------------------------- */

static void with_lock__remove(struct streams *s, size_t i)
{
	s->count--;
	memmove(&s->reads[i], &s->reads[i + 1], (s->count - i) * sizeof(*s->reads));
}

static bool take_request(struct streams *s, fuse_req_t req)
{
	bool found = false;

	mutex_lock(&s->lock);
	for (size_t i = 0; i < s->count && !found; i++) {
		if (s->reads[i].req != req)
			continue;
		with_lock__remove(s, i);
		found = true;
	}
	mutex_unlock(&s->lock);
	return found;
}

/* Called by libfuse, with the request's lock held and the request kept alive. */
static void interrupted(fuse_req_t req, void *data)
{
	if (take_request(data, req))
		fuse_reply_err(req, EINTR);
}

/* 0, or an errno to answer with. From the unlock on another thread may have answered. */
static int insert(struct streams *s, const struct parked_read *read)
{
	int err = 0;

	mutex_lock(&s->lock);
	if (atomic_load(&s->stop))
		err = ENODEV;
	else if (s->count == STREAM_READS_MAX)
		err = EAGAIN;
	else if (fuse_req_interrupted(read->req))
		err = EINTR;
	else
		s->reads[s->count++] = *read;
	mutex_unlock(&s->lock);
	return err;
}

static void park(struct streams *s, const struct parked_read *read)
{
	fuse_req_t req = read->req;
	int err;

	/* First this, while the request is surely alive: see park_add(). */
	fuse_req_interrupt_func(req, interrupted, s);
	err = insert(s, read);
	if (err)
		fuse_reply_err(req, err);
	else
		io_wake(s->wake_fd); /* something may have come before it was parked */
}

void streams_read(struct streams *s, struct stream *stream, fuse_req_t req, size_t size,
		  bool nonblock)
{
	size_t most = size < STREAM_PIECE_MAX ? size : STREAM_PIECE_MAX;
	CLEANUP_FREE char *bytes = malloc(most + 1);
	ssize_t n = bytes ? feed_read(stream->feed, bytes, most) : -ENOMEM;

	if (n >= 0)
		fuse_reply_buf(req, bytes, (size_t)n);
	else if (n == -EAGAIN && !nonblock)
		park(s, &(struct parked_read){req, stream, most});
	else
		fuse_reply_err(req, (int)-n);
}

static unsigned text_events(const struct streams *s, const struct stream *stream)
{
	bool is_old = clock_now_ns() >= stream->made_ns + TEXT_AGE_NS;
	bool news = is_old && s->has_news(s->ctx, &stream->place, stream->made_ns);

	return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | (news ? POLLPRI : 0);
}

unsigned streams_poll(struct streams *s, struct stream *stream, struct fuse_pollhandle *ph)
{
	struct fuse_pollhandle *old = NULL;
	unsigned events;

	mutex_lock(&s->lock);
	if (ph) {
		old = stream->ph;
		stream->ph = ph;
	}
	mutex_unlock(&s->lock);
	/* Asked after it is known who is to be told: what comes later is told. */
	if (stream->feed)
		events = feed_is_ready(stream->feed) ? POLLIN | POLLRDNORM : 0;
	else
		events = text_events(s, stream);
	if (ph && !stream->feed)
		io_wake(s->wake_fd); /* its age is to be watched */
	if (old)
		fuse_pollhandle_destroy(old);
	return events;
}

/* -- the thread ---------------------------------------------------------------------------- */

/* Takes the first read that can be answered off the list. False: there is none. */
static bool take_ready(struct streams *s, fuse_req_t *ret_req, ssize_t *ret_n)
{
	bool found = false;

	mutex_lock(&s->lock);
	for (size_t i = 0; i < s->count && !found; i++) {
		const struct parked_read *r = &s->reads[i];

		*ret_n = feed_read(r->stream->feed, s->piece, r->size);
		if (*ret_n == -EAGAIN)
			continue;
		*ret_req = r->req;
		with_lock__remove(s, i);
		found = true;
	}
	mutex_unlock(&s->lock);
	return found;
}

/* A text is looked at when it is so old, and as often from then on. */
static bool with_lock__has_news(struct streams *s, struct stream *stream, uint64_t now)
{
	if (stream->look_ns == 0)
		stream->look_ns = stream->made_ns + TEXT_AGE_NS;
	if (now < stream->look_ns)
		return false;
	stream->look_ns = now + TEXT_AGE_NS;
	return s->has_news(s->ctx, &stream->place, stream->made_ns);
}

/* Takes a poll handle whose stream is ready, or whose text is old enough to be looked at. NULL:
 * there is none; *ret_next is when the next text will be so old, UINT64_MAX: none. */
static struct fuse_pollhandle *take_handle(struct streams *s, uint64_t now, uint64_t *ret_next)
{
	struct fuse_pollhandle *ph = NULL;

	*ret_next = UINT64_MAX;
	mutex_lock(&s->lock);
	for (struct stream *stream = s->first; stream && !ph; stream = stream->next) {
		if (!stream->ph)
			continue;
		if (stream->feed ? feed_is_ready(stream->feed)
				 : with_lock__has_news(s, stream, now))
			ph = take_ptr(stream->ph);
		else if (!stream->feed && stream->look_ns < *ret_next)
			*ret_next = stream->look_ns;
	}
	mutex_unlock(&s->lock);
	return ph;
}

/* Returns when there is something to do even if nobody wakes us. */
static uint64_t serve(struct streams *s)
{
	struct fuse_pollhandle *ph;
	fuse_req_t req;
	uint64_t next;
	ssize_t n;

	while (take_ready(s, &req, &n))
		fuse_reply_buf(req, s->piece, (size_t)n);
	while ((ph = take_handle(s, clock_now_ns(), &next))) {
		fuse_lowlevel_notify_poll(ph);
		fuse_pollhandle_destroy(ph);
	}
	return next;
}

static void *run(void *arg)
{
	struct streams *s = arg;

	while (!atomic_load(&s->stop)) {
		struct pollfd p = {.fd = s->wake_fd, .events = POLLIN};
		uint64_t next = serve(s);

		if (poll(&p, 1, next == UINT64_MAX ? -1 : clock_left_ms(next)) > 0)
			io_wake_clear(s->wake_fd);
	}
	return NULL;
}

int streams_start(struct streams *s, struct errmsg *why)
{
	int r = thread_start(&s->thread, "kp-stream", run, s);

	if (r < 0)
		return errmsg_set(why, r, "cannot start a thread: %s", strerrordesc_np(-r));
	s->running = true;
	return 0;
}

static bool take_any(struct streams *s, fuse_req_t *ret)
{
	bool found;

	mutex_lock(&s->lock);
	found = s->count > 0;
	if (found) {
		*ret = s->reads[0].req;
		with_lock__remove(s, 0);
	}
	mutex_unlock(&s->lock);
	return found;
}

void streams_stop(struct streams *s)
{
	fuse_req_t req;

	if (!s)
		return;
	atomic_store(&s->stop, true);
	if (s->running) {
		io_wake(s->wake_fd);
		pthread_join(s->thread, NULL);
	}
	s->running = false;
	while (take_any(s, &req))
		fuse_reply_err(req, ENODEV);
}
