#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/vmmram_impl.h"

#define PAGE	   ((size_t)4096)
#define EXTENT_MAX ((uint64_t)16 << 20) /* struct ram_ops */
#define WINDOW	   ((size_t)512)	/* pages whose state is looked at together */
#define LOOKS	   3			/* at a page that seems to be swapped out */
#define ASK_EVERY  256			/* reads, whether the host has swapped anything out */

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_PRESENT (1ULL << 63)
#define PM_SWAPPED (1ULL << 62)

/* PAGEMAP_SCAN of Linux 6.7 (include/uapi/linux/fs.h), which skips what is empty a hundred
 * times faster. */
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct scan_region {
	uint64_t start, end, categories;
};
#define SCAN	     _IOWR('f', 16, struct scan_arg)
#define SCAN_PRESENT (1u << 3)
#define SCAN_ZERO    (1u << 5) /* the page of zeros that all share */

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

static int check_alive(const struct vmmram *v)
{
	uint64_t entry;

	return read_pagemap(v, v->plan.blocks[0].hva, &entry, 1);
}

/* A page that is being moved looks as if it were swapped out, for a moment. */
static bool is_swapped(const struct vmmram *v, uint64_t hva)
{
	uint64_t entry = PM_SWAPPED;

	for (int i = 0; i < LOOKS && page_of(entry) == PAGE_SWAPPED; i++) {
		if (read_pagemap(v, hva, &entry, 1) < 0)
			return true;
	}
	return page_of(entry) == PAGE_SWAPPED;
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

/* Reading what is a hole there makes no page of it, at least not in tmpfs (shmem_file_read_iter())
 * and hugetlbfs. The end of the file is the end of RAM: the guest cannot reach beyond it either. */
static int read_file(const struct ram_file *f, uint64_t offset, char *buf, size_t n)
{
	while (n > 0) {
		ssize_t got = pread(f->fd, buf, n, (off_t)offset);

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

/* Pages that are alike: there, swapped out, or neither, which means untouched, or that the
 * file has them. */
static int read_run(const struct vmmram *v, size_t block, uint64_t at, enum page page, char *buf,
		    size_t n)
{
	const struct ram_block *b = &v->plan.blocks[block];

	if (page == PAGE_PRESENT)
		return read_mem(v, b->hva + at, buf, n);
	if (page == PAGE_SWAPPED)
		return is_swapped(v, b->hva + at) ? -EBUSY : read_mem(v, b->hva + at, buf, n);
	if (v->file_of[block])
		return read_file(v->file_of[block], b->offset + at, buf, n);
	if (b->inode)
		return -EBUSY; /* the file may have it, and cannot be had */
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

/* Asking costs more than a small read. */
static bool host_has_swapped(struct vmmram_reader *r)
{
	struct sysinfo i;

	if (r->reads++ % ASK_EVERY == 0)
		r->host_has_swapped = sysinfo(&i) == 0 && i.freeswap < i.totalswap;
	return r->host_has_swapped;
}

/* What tmpfs has swapped out is data that is not in memory. */
static int check_swap(const struct ram_file *f, uint64_t offset, size_t n)
{
	unsigned char resident[WINDOW];
	uint64_t from = offset - offset % PAGE;
	uint64_t end = offset + n;
	size_t pages = (end - from + PAGE - 1) / PAGE;
	off_t data;

	if (from + pages * PAGE > f->shadow_len ||
	    mincore(f->shadow + from, pages * PAGE, resident) < 0)
		return 0;
	for (size_t i = 0; i < pages; i++) {
		if (resident[i] & 1)
			continue;
		data = lseek(f->fd, (off_t)(from + i * PAGE), SEEK_DATA);
		if (data < 0 || (uint64_t)data >= end)
			return 0;
		if ((uint64_t)data < from + (i + 1) * PAGE)
			return -EBUSY;
		i = ((uint64_t)data - from) / PAGE - 1;
	}
	return 0;
}

static int check_swap_all(const struct ram_file *f, uint64_t offset, size_t n)
{
	int r = 0;

	while (r == 0 && n > 0) {
		size_t most = WINDOW * PAGE - offset % PAGE;
		size_t bytes = n < most ? n : most;

		r = check_swap(f, offset, bytes);
		offset += bytes;
		n -= bytes;
	}
	return r;
}

/* The file outlives its VMM here: look whether that is still there. */
static int read_shared(struct vmmram_reader *reader, size_t block, uint64_t at, char *buf, size_t n)
{
	const struct vmmram *v = reader->ram;
	const struct ram_file *f = v->file_of[block];
	uint64_t offset = v->plan.blocks[block].offset + at;
	int r = check_alive(v);

	if (r == 0 && f->shadow && host_has_swapped(reader))
		r = check_swap_all(f, offset, n);
	return r < 0 ? r : read_file(f, offset, buf, n);
}

static int read_block(struct vmmram_reader *r, size_t block, uint64_t at, char *buf, size_t n)
{
	const struct vmmram *v = r->ram;

	if (v->plan.blocks[block].shared && v->file_of[block])
		return read_shared(r, block, at, buf, n);
	return read_private(v, block, at, buf, n);
}

static int ram_read_op(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	struct vmmram_reader *r = ctx;
	char *to = buf;
	int err = 0;

	while (err == 0 && n > 0) {
		const struct ram_segment *s = find_segment(layout_of(r), gpa);
		uint64_t at = s && s->gpa <= gpa ? gpa - s->gpa : 0;
		size_t bytes;

		if (!s || s->gpa > gpa)
			return -ENXIO;
		bytes = n < s->len - at ? n : s->len - at;
		err = read_block(r, s->block, s->at + at, to, bytes);
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

static uint64_t end_of(const struct stretch *s)
{
	return s->at + s->len;
}

/* What lies in both. */
static struct stretch clip(const struct stretch *s, const struct stretch *in)
{
	uint64_t from = s->at > in->at ? s->at : in->at;
	uint64_t end = end_of(s) < end_of(in) ? end_of(s) : end_of(in);

	return (struct stretch){from, end > from ? end - from : 0};
}

/* Where tmpfs has data it is taken in units of huge pages: to find the next hole it would go
 * through all pages up to there, which may be many gigabytes. */
static uint64_t end_of_data(const struct ram_file *f, uint64_t data, uint64_t max)
{
	uint64_t end = data;
	off_t hole;

	if (!f->is_tmpfs) {
		hole = lseek(f->fd, (off_t)data, SEEK_HOLE);
		return hole <= (off_t)data ? max : (uint64_t)hole;
	}
	do
		end = (end + WINDOW * PAGE) / (WINDOW * PAGE) * (WINDOW * PAGE);
	while (end < max && lseek(f->fd, (off_t)end, SEEK_DATA) == (off_t)end);
	return end;
}

/* The first data of the file in the stretch. Where the file system cannot tell, all of it. */
static int next_in_file(const struct vmmram *v, size_t block, const struct stretch *in,
			struct stretch *ret)
{
	const struct ram_file *f = v->file_of[block];
	uint64_t offset = v->plan.blocks[block].offset;
	off_t found = lseek(f->fd, (off_t)(offset + in->at), SEEK_DATA);
	uint64_t data = (uint64_t)found;

	ret->len = 0;
	if (found < 0)
		return errno == ENXIO ? 0 : -errno;
	if (data >= offset + end_of(in))
		return 0;
	*ret = (struct stretch){data - offset, end_of_data(f, data, data + EXTENT_MAX) - data};
	return 0;
}

/* in: whole pages. */
static int scan_pages(const struct vmmram *v, size_t block, const struct stretch *in,
		      struct stretch *ret)
{
	uint64_t hva = v->plan.blocks[block].hva;
	struct scan_region found = {0};
	struct scan_arg arg = {.size = sizeof(arg),
			       .start = hva + in->at,
			       .end = hva + end_of(in),
			       .vec = (uintptr_t)&found,
			       .vec_len = 1,
			       .max_pages = EXTENT_MAX / PAGE,
			       .category_inverted = SCAN_ZERO,
			       .category_mask = SCAN_PRESENT | SCAN_ZERO,
			       .return_mask = SCAN_PRESENT};
	int n = ioctl(v->pagemap_fd, SCAN, &arg);

	if (n <= 0)
		return n < 0 ? -errno : 0;
	*ret = (struct stretch){found.start - hva, found.end - found.start};
	return 0;
}

bool vmmram_can_scan(const struct vmmram *v)
{
	struct stretch found;

	return scan_pages(v, 0, &(struct stretch){0, PAGE}, &found) == 0;
}

/* The same in one window. */
static int look_at_pages(const struct vmmram *v, size_t block, const struct stretch *in,
			 struct stretch *ret)
{
	uint64_t entries[WINDOW];
	size_t pages = in->len / PAGE;
	int r = read_pagemap(v, v->plan.blocks[block].hva + in->at, entries, pages);
	size_t run;

	for (size_t i = 0; r == 0 && ret->len == 0 && i < pages; i += run) {
		run = run_length(entries + i, pages - i);
		if (page_of(entries[i]) == PAGE_PRESENT)
			*ret = (struct stretch){in->at + i * PAGE, run * PAGE};
	}
	return r;
}

static int next_page(const struct vmmram *v, size_t block, const struct stretch *in,
		     struct stretch *ret)
{
	uint64_t at = in->at - in->at % PAGE;
	uint64_t end = (end_of(in) + PAGE - 1) / PAGE * PAGE;
	int r = 0;

	ret->len = 0;
	if (v->can_scan)
		return scan_pages(v, block, &(struct stretch){at, end - at}, ret);
	for (; r == 0 && ret->len == 0 && at < end; at += WINDOW * PAGE) {
		uint64_t len = end - at < WINDOW * PAGE ? end - at : WINDOW * PAGE;

		r = look_at_pages(v, block, &(struct stretch){at, len}, ret);
	}
	return r;
}

/* Private memory of a file has what was written, and else what the file has. */
static int next_in_both(const struct vmmram *v, size_t block, const struct stretch *in,
			struct stretch *ret)
{
	struct stretch data;
	int r = next_page(v, block, in, ret);

	if (r == 0)
		r = next_in_file(v, block, in, &data);
	if (r == 0 && data.len && (ret->len == 0 || data.at < ret->at))
		*ret = data;
	return r;
}

static int next_in_block(const struct vmmram *v, size_t block, const struct stretch *in,
			 struct stretch *ret)
{
	struct stretch found = {0};
	int r = check_alive(v);

	if (r < 0)
		return r;
	if (!v->file_of[block])
		r = next_page(v, block, in, &found);
	else if (v->plan.blocks[block].shared)
		r = next_in_file(v, block, in, &found);
	else
		r = next_in_both(v, block, in, &found);
	*ret = clip(&found, in);
	return r;
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
		err = next_in_block(r->ram, s->block,
				    &(struct stretch){s->at + from, s->len - from}, &found);
		if (err < 0)
			return err;
		if (found.len == 0)
			continue;
		*ret = (struct ram_extent){s->gpa + found.at - s->at,
					   found.len < EXTENT_MAX ? found.len : EXTENT_MAX};
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
