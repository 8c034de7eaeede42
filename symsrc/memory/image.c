#include "symsrc/memory/image.h"

#include <errno.h>
#include <stdbool.h>

#include "symsrc/memory/paging.h"

#define TABLE_ENTRIES 512u

/* Takes a mapped page into the image, unless it belongs to something else. */
static void add_page(struct kernel_image *image, uint64_t va, uint64_t pa, uint64_t len)
{
	if (image->size == 0) {
		image->va = va;
		image->pa = pa;
		image->size = len;
	} else if (pa - image->pa == va - image->va && va + len - image->va <= IMAGE_SIZE_MAX) {
		image->size = va + len - image->va;
	}
}

static int read_table(struct ram *ram, uint64_t pa, uint64_t table[static TABLE_ENTRIES])
{
	return ram_read(ram, pa, table, TABLE_ENTRIES * sizeof(table[0]));
}

/* The 2 MiB at va, which are mapped by 4 KiB pages. A table that is not there maps nothing. */
static int add_small_pages(struct ram *ram, uint64_t table_pa, uint64_t va,
			   struct kernel_image *image)
{
	uint64_t table[TABLE_ENTRIES];
	int r = read_table(ram, table_pa, table);

	if (r < 0)
		return r == -ENXIO || r == -EBUSY ? 0 : r;
	for (unsigned i = 0; i < TABLE_ENTRIES; i++, va += RAM_PAGE) {
		if (table[i] & PAGING_PRESENT)
			add_page(image, va, table[i] & PAGING_ADDRESS, RAM_PAGE);
	}
	return 0;
}

/* directory: the table whose entries are for 2 MiB each from IMAGE_VA_START on. */
static int add_all_pages(struct ram *ram, uint64_t directory_pa, struct kernel_image *image)
{
	uint64_t table[TABLE_ENTRIES];
	uint64_t va = IMAGE_VA_START;
	int r = read_table(ram, directory_pa, table);

	for (unsigned i = 0; r == 0 && i < TABLE_ENTRIES; i++, va += PAGING_LARGE_PAGE) {
		if (image->size > 0 && va - image->va >= IMAGE_SIZE_MAX)
			break;
		if (!(table[i] & PAGING_PRESENT))
			continue;
		if (table[i] & PAGING_LARGE)
			add_page(image, va, table[i] & PAGING_ADDRESS & -PAGING_LARGE_PAGE,
				 PAGING_LARGE_PAGE);
		else
			r = add_small_pages(ram, table[i] & PAGING_ADDRESS, va, image);
	}
	return r;
}

static bool is_plausible(const struct kernel_image *image)
{
	return image->size >= IMAGE_SIZE_MIN && image->va % IMAGE_ALIGN == 0 &&
	       image->pa % IMAGE_ALIGN == 0;
}

int image_find(struct ram *ram, uint64_t root, unsigned levels, struct kernel_image *ret)
{
	struct kernel_image image = {.root = root, .levels = levels};
	struct paging paging;
	uint64_t directory_pa;
	int r;

	paging_init(&paging, ram, root, levels);
	r = paging_find_directory(&paging, IMAGE_VA_START, &directory_pa);
	if (r == 0)
		r = add_all_pages(ram, directory_pa, &image);
	if (r == -EFAULT || (r == 0 && !is_plausible(&image)))
		return -ENOENT;
	if (r == 0)
		*ret = image;
	return r;
}

int image_read(struct ram *ram, const struct kernel_image *image, uint64_t va, void *buf, size_t n)
{
	uint64_t offset = va - image->va;

	if (va < image->va || offset > image->size || n > image->size - offset)
		return -EFAULT;
	return ram_read(ram, image->pa + offset, buf, n);
}

uint64_t image_pa(const struct kernel_image *image, uint64_t va)
{
	if (va < image->va || va - image->va >= image->size)
		return 0;
	return image->pa + (va - image->va);
}
