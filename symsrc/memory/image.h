/* The image of a running kernel in a guest's RAM: text, read-only data and data in one piece,
 * contiguous both in the kernel's own address space (ffffffff80000000 to ffffffffc0000000 on
 * x86-64) and in guest-physical memory; and a page table that leads to it.
 *
 * There are holes in the piece: gaps between sections, and the memory of __init, are given back
 * and used for other things after boot. What is read there is somebody else's. */
#ifndef KVMPROFS_MEMORY_IMAGE_H
#define KVMPROFS_MEMORY_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/memory/ram.h"

#define IMAGE_VA_START 0xffffffff80000000ULL /* __START_KERNEL_map */
#define IMAGE_VA_END   0xffffffffc0000000ULL /* the modules begin here at the latest */
#define IMAGE_SIZE_MAX (512u << 20)	     /* KERNEL_IMAGE_SIZE without KASLR; 1 GiB with it */

#define IMAGE_SIZE_MIN (1u << 20) /* the smallest 64-bit kernel is larger */
#define IMAGE_ALIGN    (2u << 20) /* of _text, virtual and physical */

struct kernel_image {
	uint64_t va;   /* of its first byte: _text */
	uint64_t pa;   /* the same, guest-physical */
	uint64_t size; /* bytes from there to the last mapped one, holes included */
	/* Guest-physical address of a top page table. Enough for the image in any case. As
	 * find_by_trampoline() gives it: the trampoline's, in which kernels before 5.17 have
	 * this top entry alone, and newer ones what they had when they started other CPUs. The
	 * direct map and vmalloc space need the kernel's own: ksyms_read() puts it in, once it
	 * knows where init_top_pgt (to 4.12 init_level4_pgt) is. */
	uint64_t root;
	unsigned levels; /* of it: 4 or 5 */
};

/* Where this top table maps the image: the first page that is mapped in the kernel's range and
 * all that has the same distance between virtual and physical. Reads at most 516 tables.
 * -ENOENT when nothing is mapped there, or what is is no kernel: too small, or not aligned as
 * arch/x86/boot/compressed wants it. Else as ram_read(). */
int image_find(struct ram *ram, uint64_t root, unsigned levels, struct kernel_image *ret);

/* Reads n bytes at a virtual address inside the image; -EFAULT when they are not all in it. */
int image_read(struct ram *ram, const struct kernel_image *image, uint64_t va, void *buf, size_t n);

/* The guest-physical address, or 0 when it is not in the image. */
uint64_t image_pa(const struct kernel_image *image, uint64_t va);

#endif
