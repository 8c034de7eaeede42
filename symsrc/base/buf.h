/* A growing byte buffer that cannot be made without its maximum.
 *
 * Errors stick: append freely, look at err once at the end. After an error the content is what
 * had been appended before it, and further appends do nothing. A NUL that is not counted in
 * len always follows the content, so data may be used as a C string (of text without NULs).
 *
 * Owned by one thread at a time.
 */
#ifndef KVMPROFS_BASE_BUF_H
#define KVMPROFS_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

struct buf {
	char *data; /* never NULL after buf_init(), also when empty */
	size_t len;
	size_t cap; /* bytes allocated; 0 while data is the static empty string */
	size_t max; /* len never exceeds this */
	int err;    /* 0, -ENOMEM, or -EFBIG once something did not fit into max */
};

/* max: the most bytes that it may ever hold. Allocates nothing. */
void buf_init(struct buf *b, size_t max);

/* Frees the content; the buffer is then as after buf_init() with the same max. */
void buf_deinit(struct buf *b);
#define CLEANUP_BUF CLEANUP(buf_deinit)

/* Empties it and clears the error; keeps the memory. */
void buf_clear(struct buf *b);

/* All or nothing: return 0, or the (sticky) negative errno. */
int buf_append(struct buf *b, const void *bytes, size_t n);
int buf_append_str(struct buf *b, const char *s);
int buf_append_char(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Makes room for n more bytes and returns where they go, or NULL (sticky error). The caller
 * writes at most n bytes there and reports how many with buf_commit(). */
void *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);

/* Hands the content over, to be freed with free(); the buffer is empty afterwards. NULL on
 * out of memory or a sticky error. */
char *buf_steal(struct buf *b, size_t *ret_len);

#endif
