#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/vmmram_impl.h"

#define PAGE	   4096u
#define EXTENT_MAX ((uint64_t)16 << 20) /* struct ram_ops */
#define WINDOW	   ARRAY_SIZE(((struct vmmram_reader *)0)->pages)

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_PRESENT (1ULL << 63)
#define PM_SWAPPED (1ULL << 62)

void vmmram_reader_init(struct vmmram_reader *r, struct vmmram *v)
{
	*r = (struct vmmram_reader){.ram = v};
}

static const struct ram_layout *layout_of(const struct vmmram_reader *r)
{
	return &r->ram->plan.layouts[r->layout];
}

/* The first segment that ends above gpa. */
static const struct ram_segment *find_segment(const struct ram_layout *l, uint64_t gpa)
{
	size_t from = 0;
	size_t to = l->count;

	while (from < to) {
		size_t mid = (from + to) / 2;

		if (l->segments[mid].gpa + l->segments[mid].len > gpa)
			to = mid;
		else
			from = mid + 1;
	}
	return from < l->count ? &l->segments[from] : NULL;
}

/* -- the page table ------------------------------------------------------------------------- */

enum page { PAGE_NONE, PAGE_PRESENT, PAGE_SWAPPED };

static enum page page_of(uint64_t entry)
{
	if (entry & PM_PRESENT)
		return PAGE_PRESENT;
	return entry & PM_SWAPPED ? PAGE_SWAPPED : PAGE_NONE;
}

static int read_pagemap(const struct vmmram *v, uint64_t hva, uint64_t *entries, size_t n)
{
	ssize_t got = pread(v->pagemap_fd, entries, n * 8, (off_t)(hva / PAGE * 8));

	if (got < 0)
		return -errno;
	if (got == 0)
		return -ESRCH; /* its address space is gone */
	return (size_t)got == n * 8 ? 0 : -EIO;
}

/* How many entries from the first on are of its kind. */
static size_t run_length(const uint64_t *entries, size_t n)
{
	size_t i = 1;

	while (i < n && page_of(entries[i]) == page_of(entries[0]))
		i++;
	return i;
}

/* -- reading -------------------------------------------------------------------------------- */

/* Only of pages that are there: others would be made. */
static int read_mem(const struct vmmram *v, uint64_t hva, char *buf, size_t n)
{
	while (n > 0) {
		ssize_t got = pread(v->mem_fd, buf, n, (off_t)hva);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ESRCH;
		buf += got;
		hva += (size_t)got;
		n -= (size_t)got;
	}
	return 0;
}

/* The end of the file is the end of RAM: the guest cannot reach beyond it either. */
static int read_file(int fd, uint64_t offset, char *buf, size_t n)
{
	while (n > 0) {
		ssize_t got = pread(fd, buf, n, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ENXIO;
		buf += got;
		offset += (size_t)got;
		n -= (size_t)got;
	}
	return 0;
}

static int read_run(const struct vmmram *v, size_t block, uint64_t at, enum page page, char *buf,
		    size_t n)
{
	const struct ram_block *b = &v->plan.blocks[block];

	switch (page) {
	case PAGE_PRESENT: return read_mem(v, b->hva + at, buf, n);
	case PAGE_SWAPPED: return -EBUSY;
	default: break;
	}
	if (v->file_of[block])
		return read_file(v->file_of[block]->fd, b->offset + at, buf, n);
	memset(buf, 0, n);
	return 0;
}

static int read_window(const struct vmmram *v, size_t block, uint64_t at, char *buf, size_t n)
{
	uint64_t entries[WINDOW];
	uint64_t hva = v->plan.blocks[block].hva + at;
	size_t pages = (hva % PAGE + n + PAGE - 1) / PAGE;
	int r = read_pagemap(v, hva, entries, pages);

	for (size_t i = 0; r == 0 && n > 0;) {
		size_t run = run_length(entries + i, pages - i);
		size_t bytes = run * PAGE - (v->plan.blocks[block].hva + at) % PAGE;

		if (bytes > n)
			bytes = n;
		r = read_run(v, block, at, page_of(entries[i]), buf, bytes);
		i += run;
		at += bytes;
		buf += bytes;
		n -= bytes;
	}
	return r;
}

static int read_private(const struct vmmram *v, size_t block, uint64_t at, char *buf, size_t n)
{
	int r = 0;

	while (r == 0 && n > 0) {
		size_t most = WINDOW * PAGE - (v->plan.blocks[block].hva + at) % PAGE;
		size_t bytes = n < most ? n : most;

		r = read_window(v, block, at, buf, bytes);
		at += bytes;
		buf += bytes;
		n -= bytes;
	}
	return r;
}

/* The file outlives its VMM here: look whether that is still there. */
static int read_shared(const struct vmmram *v, size_t block, uint64_t at, char *buf, size_t n)
{
	const struct ram_block *b = &v->plan.blocks[block];
	uint64_t entry;
	int r = read_pagemap(v, b->hva, &entry, 1);

	return r < 0 ? r : read_file(v->file_of[block]->fd, b->offset + at, buf, n);
}

static int read_block(const struct vmmram *v, size_t block, uint64_t at, char *buf, size_t n)
{
	if (v->plan.blocks[block].shared)
		return read_shared(v, block, at, buf, n);
	return read_private(v, block, at, buf, n);
}

static int ram_read_op(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	const struct vmmram_reader *r = ctx;
	char *to = buf;
	int err = 0;

	if (gpa + n < gpa)
		return -ENXIO;
	while (err == 0 && n > 0) {
		const struct ram_segment *s = find_segment(layout_of(r), gpa);
		uint64_t at = s && s->gpa <= gpa ? gpa - s->gpa : 0;
		size_t bytes;

		if (!s || s->gpa > gpa)
			return -ENXIO;
		bytes = n < s->len - at ? n : s->len - at;
		err = read_block(r->ram, s->block, s->at + at, to, bytes);
		gpa += bytes;
		to += bytes;
		n -= bytes;
	}
	return err;
}

/* -- what holds something ------------------------------------------------------------------- */

/* Bytes of a block: [at, at + len). len 0: nothing. */
struct stretch {
	uint64_t at;
	uint64_t len;
};

static void clip(struct stretch *s, uint64_t max)
{
	if (s->len > max)
		s->len = max;
}

/* The first data of the file in the stretch. Where the file system cannot tell, all of it. */
static int next_in_file(const struct vmmram *v, size_t block, struct stretch in,
			struct stretch *ret)
{
	uint64_t offset = v->plan.blocks[block].offset;
	int fd = v->file_of[block]->fd;
	off_t data = lseek(fd, (off_t)(offset + in.at), SEEK_DATA);
	off_t hole;

	*ret = (struct stretch){in.at, 0};
	if (data < 0)
		return errno == ENXIO ? 0 : -errno;
	if ((uint64_t)data >= offset + in.at + in.len)
		return 0;
	hole = lseek(fd, data, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	ret->at = (uint64_t)data - offset;
	ret->len = (uint64_t)hole - (uint64_t)data;
	clip(ret, in.at + in.len - ret->at);
	return 0;
}

/* As far as the page table was read at once; ret->len 0: nothing there. */
static int next_in_window(const struct vmmram *v, size_t block, struct stretch in,
			  struct stretch *ret)
{
	uint64_t entries[WINDOW];
	size_t pages = in.len / PAGE;
	int r = read_pagemap(v, v->plan.blocks[block].hva + in.at, entries, pages);
	size_t run;

	*ret = (struct stretch){in.at, 0};
	for (size_t i = 0; r == 0 && ret->len == 0 && i < pages; i += run) {
		struct stretch found = {in.at + i * PAGE, 0};

		run = run_length(entries + i, pages - i);
		if (page_of(entries[i]) == PAGE_PRESENT)
			*ret = (struct stretch){found.at, run * PAGE};
		else if (page_of(entries[i]) == PAGE_NONE && v->file_of[block])
			r = next_in_file(v, block, (struct stretch){found.at, run * PAGE}, ret);
	}
	return r;
}

static int next_in_private(const struct vmmram *v, size_t block, struct stretch in,
			   struct stretch *ret)
{
	uint64_t from = in.at;
	uint64_t end = in.at + in.len;
	int r = 0;

	in.at -= in.at % PAGE;
	ret->len = 0;
	while (r == 0 && ret->len == 0 && in.at < end) {
		in.len = (end - in.at + PAGE - 1) / PAGE * PAGE;
		clip(&in, WINDOW * PAGE);
		r = next_in_window(v, block, in, ret);
		in.at += in.len;
	}
	if (r < 0 || ret->len == 0)
		return r;
	if (ret->at < from)
		*ret = (struct stretch){from, ret->len - (from - ret->at)};
	clip(ret, end - ret->at);
	return 0;
}

static int next_in_shared(const struct vmmram *v, size_t block, struct stretch in,
			  struct stretch *ret)
{
	uint64_t entry;
	int r = read_pagemap(v, v->plan.blocks[block].hva, &entry, 1);

	return r < 0 ? r : next_in_file(v, block, in, ret);
}

static int next_in_block(const struct vmmram *v, size_t block, struct stretch in,
			 struct stretch *ret)
{
	if (v->plan.blocks[block].shared)
		return next_in_shared(v, block, in, ret);
	return next_in_private(v, block, in, ret);
}

static int ram_next_op(void *ctx, uint64_t gpa, struct ram_extent *ret)
{
	const struct vmmram_reader *r = ctx;
	const struct ram_segment *s;
	struct stretch found;
	uint64_t from;
	int err;

	for (; (s = find_segment(layout_of(r), gpa)); gpa = s->gpa + s->len) {
		from = gpa > s->gpa ? gpa - s->gpa : 0;
		err = next_in_block(r->ram, s->block, (struct stretch){s->at + from, s->len - from},
				    &found);
		if (err < 0)
			return err;
		if (found.len == 0)
			continue;
		clip(&found, EXTENT_MAX);
		*ret = (struct ram_extent){s->gpa + found.at - s->at, found.len};
		return 0;
	}
	return -ENOENT;
}

static int ram_use_layout_op(void *ctx, unsigned index)
{
	struct vmmram_reader *r = ctx;

	if (index >= r->ram->plan.layout_count)
		return -ENOENT;
	r->layout = index;
	return 0;
}

const struct ram_ops vmmram_ops = {
	.read = ram_read_op,
	.next = ram_next_op,
	.use_layout = ram_use_layout_op,
};
