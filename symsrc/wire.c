#include "symsrc/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

#define NOISE_SHOWN 80

void wire_init(struct wire *w, const char *boundary, const struct source_sink *sink)
{
	*w = (struct wire){.state = WIRE_NOISE};
	memcpy(w->boundary, boundary, FRAMES_BOUNDARY_LEN);
	buf_init(&w->noise, WIRE_NOISE_MAX);
	frames_init(&w->frames, boundary, sink);
}

void wire_deinit(struct wire *w)
{
	buf_deinit(&w->noise);
	frames_deinit(&w->frames);
	if (w->state == WIRE_GZIP || w->state == WIRE_GZIP_END)
		inflateEnd(&w->z);
	free(w->out);
}

static int to_frames(struct wire *w, const void *bytes, size_t n, struct errmsg *why)
{
	w->total += n;
	if (w->total > WIRE_TOTAL_MAX)
		return errmsg_set(why, -EFBIG, "the guest's answer is above the limit of %u bytes",
				  WIRE_TOTAL_MAX);
	return frames_feed(&w->frames, bytes, n, why);
}

static int start_gzip(struct wire *w)
{
	w->out = malloc(WIRE_CHUNK);
	if (!w->out)
		return -ENOMEM;
	/* 16: a gzip header, not a zlib one (zlib.h, inflateInit2) */
	if (inflateInit2(&w->z, 16 + MAX_WBITS) != Z_OK)
		return -ENOMEM;
	w->state = WIRE_GZIP;
	return 0;
}

/* line: what follows the boundary and a blank, without the newline. */
static int greet(struct wire *w, const char *line, struct errmsg *why)
{
	if (strcmp(line, WIRE_GREETING_RAW) == 0)
		w->state = WIRE_RAW;
	else if (strcmp(line, WIRE_GREETING_GZIP) == 0)
		return start_gzip(w);
	else
		return errmsg_set(why, -EBADMSG, "the guest greets with \"%s\"", line);
	return 0;
}

/* Finds the greeting in what came so far. Returns the offset behind it, 0 while there is none,
 * or negative errno. */
static ssize_t find_greeting(struct wire *w, struct errmsg *why)
{
	struct buf *b = &w->noise;
	char *at = memmem(b->data, b->len, w->boundary, FRAMES_BOUNDARY_LEN);
	char *line = at ? at + FRAMES_BOUNDARY_LEN : NULL;
	size_t left = line ? b->len - (size_t)(line - b->data) : 0;
	char *end = line ? memchr(line, '\n', left) : NULL;
	int r;

	if (!end) {
		if (left > WIRE_GREETING_MAX)
			return errmsg_set(why, -EBADMSG, "the guest's greeting does not end");
		return 0;
	}
	*end = '\0';
	r = greet(w, line + (*line == ' '), why);
	return r < 0 ? r : end + 1 - b->data;
}

static int feed_noise(struct wire *w, const void *bytes, size_t n, struct errmsg *why)
{
	CLEANUP_BUF struct buf rest;
	ssize_t at;

	/* What does not fit is fed after the greeting was found, or there is none. */
	size_t room = w->noise.max - w->noise.len;
	size_t now = n < room ? n : room;

	buf_init(&rest, WIRE_NOISE_MAX);
	if (now == 0)
		return errmsg_set(why, -EBADMSG,
				  "the guest's shell says something else, without an end: \"%.*s\"",
				  NOISE_SHOWN, w->noise.data);
	if (buf_append(&w->noise, bytes, now) < 0)
		return -ENOMEM;
	at = find_greeting(w, why);
	if (at < 0)
		return (int)at;
	if (at > 0) {
		if (buf_append(&rest, w->noise.data + at, w->noise.len - (size_t)at) < 0)
			return -ENOMEM;
		buf_deinit(&w->noise);
	}
	if (rest.len > 0) {
		int r = wire_feed(w, rest.data, rest.len, why);

		if (r < 0)
			return r;
	}
	return wire_feed(w, (const char *)bytes + now, n - now, why);
}

static int feed_gzip(struct wire *w, const void *bytes, size_t n, struct errmsg *why)
{
	int z = Z_OK, r;

	w->z.next_in = (Bytef *)bytes;
	w->z.avail_in = (uInt)n;
	while (z == Z_OK) {
		w->z.next_out = (Bytef *)w->out;
		w->z.avail_out = WIRE_CHUNK;
		z = inflate(&w->z, Z_NO_FLUSH);
		r = to_frames(w, w->out, WIRE_CHUNK - w->z.avail_out, why);
		if (r < 0)
			return r;
	}
	if (z == Z_STREAM_END)
		w->state = WIRE_GZIP_END;
	if (z == Z_STREAM_END && w->z.avail_in == 0)
		return 0;
	if (z == Z_BUF_ERROR && w->z.avail_in == 0)
		return 0;
	return errmsg_set(why, z == Z_MEM_ERROR ? -ENOMEM : -EBADMSG,
			  "the guest's answer does not unpack: %s",
			  w->z.msg ? w->z.msg : "bytes after its end");
}

int wire_feed(struct wire *w, const void *bytes, size_t n, struct errmsg *why)
{
	if (n == 0)
		return 0;
	switch (w->state) {
	case WIRE_NOISE: return feed_noise(w, bytes, n, why);
	case WIRE_RAW: return to_frames(w, bytes, n, why);
	case WIRE_GZIP: return feed_gzip(w, bytes, n, why);
	default: return errmsg_set(why, -EBADMSG, "the guest's answer goes on after its end");
	}
}

int wire_finish(const struct wire *w, struct errmsg *why)
{
	if (w->state == WIRE_NOISE && w->noise.len == 0)
		return errmsg_set(why, -EBADMSG, "the guest answered nothing");
	if (w->state == WIRE_NOISE)
		return errmsg_set(why, -EBADMSG,
				  "the guest did not run the command, but said \"%.*s\"",
				  NOISE_SHOWN, w->noise.data);
	if (!frames_complete(&w->frames) || w->state == WIRE_GZIP)
		return errmsg_set(why, -EBADMSG, "the guest's answer broke off");
	return 0;
}
