#include "symsrc/memory/ramscan.h"

#include <errno.h>
#include <stdlib.h>

#include "symsrc/base/cleanup.h"

struct pass {
	struct ram *ram;
	uint64_t *chunk;
	uint64_t left; /* bytes to look at */
	ramscan_fn *look;
	void *ctx;
};

bool ramscan_may_go_on(int r)
{
	return r == -ENXIO || r == -EBUSY || r == -EIO || r == -EFAULT;
}

static int look_at_page(const struct pass *p, uint64_t gpa)
{
	int r = ram_read(p->ram, gpa, p->chunk, RAM_PAGE);

	if (r < 0)
		return ramscan_may_go_on(r) ? 0 : r;
	return p->look(p->ctx, gpa, p->chunk, RAM_PAGE);
}

static int look_at_chunk(const struct pass *p, uint64_t gpa, size_t n)
{
	int r = ram_read(p->ram, gpa, p->chunk, n);

	if (r == 0)
		return p->look(p->ctx, gpa, p->chunk, n);
	if (!ramscan_may_go_on(r))
		return r;
	/* A page of it went away in this very moment. */
	for (r = 0; r == 0 && n > 0; gpa += RAM_PAGE, n -= RAM_PAGE)
		r = look_at_page(p, gpa);
	return r;
}

static int look_at_extent(struct pass *p, const struct ram_extent *e)
{
	uint64_t start = (e->gpa + RAM_PAGE - 1) & -(uint64_t)RAM_PAGE;
	uint64_t end = (e->gpa + e->len) & -(uint64_t)RAM_PAGE;
	int r = 0;

	while (r == 0 && start < end && p->left >= RAM_PAGE) {
		uint64_t n = end - start < RAMSCAN_CHUNK ? end - start : RAMSCAN_CHUNK;

		if (n > p->left)
			n = p->left & -(uint64_t)RAM_PAGE;
		r = look_at_chunk(p, start, (size_t)n);
		start += n;
		p->left -= n;
	}
	return r;
}

int ramscan(struct ram *ram, uint64_t bytes_max, ramscan_fn *look, void *ctx)
{
	CLEANUP_FREE uint64_t *chunk = malloc(RAMSCAN_CHUNK);
	struct pass p = {ram, chunk, bytes_max, look, ctx};
	struct ram_extent e = {0};
	int r = chunk ? 0 : -ENOMEM;

	while (r == 0 && p.left >= RAM_PAGE) {
		r = ram_next(ram, e.gpa + e.len, &e);
		if (r == 0)
			r = look_at_extent(&p, &e);
	}
	return r == -ENOENT ? 0 : r;
}
