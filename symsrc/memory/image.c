#include "symsrc/memory/image.h"

#include <errno.h>

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
