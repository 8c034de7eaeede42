/* The image of a running kernel in a guest's RAM: text, read-only data and data in one piece,
 * contiguous both in the kernel's own address space (ffffffff80000000 to ffffffffc0000000 on
 * x86-64) and in guest-physical memory; and the page table that the kernel runs on. */
#ifndef KVMPROFS_MEMORY_IMAGE_H
#define KVMPROFS_MEMORY_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/memory/ram.h"

#define IMAGE_VA_START 0xffffffff80000000ULL /* __START_KERNEL_map */
#define IMAGE_VA_END   0xffffffffc0000000ULL /* the modules begin here at the latest */
#define IMAGE_SIZE_MAX (512u << 20)	     /* KERNEL_IMAGE_SIZE without KASLR; 1 GiB with it */

struct kernel_image {
	uint64_t va;	 /* of its first byte: _text */
	uint64_t pa;	 /* the same, guest-physical */
	uint64_t size;	 /* bytes that are mapped in one piece from there */
	uint64_t root;	 /* guest-physical address of the kernel's top page table */
	unsigned levels; /* of it: 4 or 5 */
};

/* Reads n bytes at a virtual address inside the image; -EFAULT when they are not all in it. */
int image_read(struct ram *ram, const struct kernel_image *image, uint64_t va, void *buf, size_t n);

/* The guest-physical address, or 0 when it is not in the image. */
uint64_t image_pa(const struct kernel_image *image, uint64_t va);

#endif
