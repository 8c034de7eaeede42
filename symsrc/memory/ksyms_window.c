/* Copies of guest memory: read once, and then only the copy is looked at. */
#include "symsrc/memory/ksyms_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A read is all or nothing; what fails is tried again in pieces, the small ones last. */
#define PIECE (64u << 10)

bool ksyms_is_about_content(int r)
{
	return r == -ENXIO || r == -EFAULT || r == -EBADMSG || r == -ENOENT;
}

static bool may_be_left_out(int r)
{
	return r == -ENXIO || r == -EBUSY;
}

static size_t until_next(uint64_t gpa, size_t size, size_t left)
{
	size_t n = size - (size_t)(gpa % size);

	return n < left ? n : left;
}

static int copy_pieces(struct ram *ram, uint64_t gpa, uint8_t *dst, size_t len, size_t size,
		       int *err)
{
	size_t n;
	int r;

	for (; len > 0; gpa += n, dst += n, len -= n) {
		n = until_next(gpa, size, len);
		r = ram_read(ram, gpa, dst, n);
		if (r == 0)
			continue;
		if (!may_be_left_out(r))
			return r;
		if (size > RAM_PAGE) {
			r = copy_pieces(ram, gpa, dst, n, RAM_PAGE, err);
			if (r < 0)
				return r;
			continue;
		}
		*err = r;
		memset(dst, 0, n);
	}
	return 0;
}

int ksyms_copy(struct ram *ram, uint64_t gpa, void *buf, size_t len, int *err)
{
	int r = gpa + len < gpa ? -ENXIO : ram_read(ram, gpa, buf, len);

	if (r == 0 || !may_be_left_out(r))
		return r;
	if (gpa + len < gpa) {
		*err = r;
		memset(buf, 0, len);
		return 0;
	}
	return copy_pieces(ram, gpa, buf, len, PIECE, err);
}

int ksyms_window_read(struct ram *ram, uint64_t gpa, size_t len, struct ksyms_window *ret)
{
	struct ksyms_window w = {.gpa = gpa, .len = len, .bytes = malloc(len ? len : 1)};
	int r;

	if (!w.bytes)
		return -ENOMEM;
	r = ksyms_copy(ram, gpa, w.bytes, len, &w.err);
	if (r < 0) {
		free(w.bytes);
		return r;
	}
	*ret = w;
	return 0;
}

void ksyms_window_deinit(struct ksyms_window *w)
{
	free(w->bytes);
	*w = (struct ksyms_window){0};
}
