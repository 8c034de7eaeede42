#include "symsrc/base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 256

static char empty[1];

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.data = empty, .max = max < SIZE_MAX / 4 ? max : SIZE_MAX / 4};
}

void buf_deinit(struct buf *b)
{
	int saved = errno;

	if (b->cap)
		free(b->data);
	buf_init(b, b->max);
	errno = saved;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->err = 0;
	if (b->cap)
		b->data[0] = '\0';
}

static int fail(struct buf *b, int err)
{
	if (!b->err)
		b->err = err;
	return b->err;
}

/* Doubling, but never far past the maximum. */
static size_t next_cap(const struct buf *b, size_t want)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST;

	while (cap < want)
		cap *= 2;
	return cap > b->max + 1 ? b->max + 1 : cap;
}

static int grow(struct buf *b, size_t n)
{
	size_t want, cap;
	char *data;

	if (b->err)
		return b->err;
	if (n > b->max - b->len)
		return fail(b, -EFBIG);
	want = b->len + n + 1;
	if (want <= b->cap)
		return 0;
	cap = next_cap(b, want);
	data = realloc(b->cap ? b->data : NULL, cap);
	if (!data)
		return fail(b, -ENOMEM);
	b->data = data;
	b->cap = cap;
	data[b->len] = '\0'; /* the first allocation has none yet */
	return 0;
}

int buf_append(struct buf *b, const void *bytes, size_t n)
{
	int r = grow(b, n);

	if (r < 0)
		return r;
	if (n)
		memcpy(b->data + b->len, bytes, n);
	buf_commit(b, n);
	return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_append_char(struct buf *b, char c)
{
	return buf_append(b, &c, 1);
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n, r;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return fail(b, -EINVAL);
	r = grow(b, (size_t)n);
	if (r < 0)
		return r;
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return r;
}

void *buf_reserve(struct buf *b, size_t n)
{
	return grow(b, n) < 0 ? NULL : b->data + b->len;
}

void buf_commit(struct buf *b, size_t n)
{
	b->len += n;
	if (b->cap)
		b->data[b->len] = '\0';
}

char *buf_steal(struct buf *b, size_t *ret_len)
{
	char *data;

	if (b->err || grow(b, 0) < 0)
		return NULL;
	/* What was doubled too far is given back: a stolen buffer grows no more. */
	data = realloc(b->data, b->len + 1);
	if (!data)
		data = b->data;
	*ret_len = b->len;
	buf_init(b, b->max);
	return data;
}
