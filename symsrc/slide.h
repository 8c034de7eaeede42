/* Where a kernel runs (KASLR), by addresses that were sampled in its guest and by its file alone.
 *
 * The kernel's image moves as a whole, by a multiple of 2 MiB (x86-64: CONFIG_PHYSICAL_ALIGN), so
 * that a sampled address leaves as many places as its text is long: a dozen of 512. Of these one is
 * singled out by this: a sampled address is always where an instruction begins. At the right place
 * that is so for nearly all of them (the running kernel has patched itself here and there), at a
 * wrong one by chance, for less than one in four.
 *
 * Each address weighs by how much likelier it is at the right place than at a place in some
 * kernel's text, in natural logarithms. A place is taken when all of them together make it a
 * million times likelier than each other place, and than that this is not the guest's kernel at
 * all; and ten thousand times likelier than that it is the guest's but for a change that has moved
 * a part of its code, as the next release of a distribution has. Two dozen addresses of the
 * kernel's own text do, if all of them hit. Pure.
 */
#ifndef KVMPROFS_SLIDE_H
#define KVMPROFS_SLIDE_H

#include <stddef.h>
#include <stdint.h>

#define SLIDE_SECTIONS_MAX 16

/* Code, at the addresses where it was linked. */
struct slide_section {
	uint64_t va;
	const uint8_t *bytes;
	size_t n;
};

struct slide_code {
	struct slide_section sections[SLIDE_SECTIONS_MAX];
	size_t section_count;
	uint64_t from, to; /* the image: stays where kernels can be, wherever it runs */
	/* Where functions begin, ascending: instructions are followed from there. */
	const uint64_t *starts;
	size_t start_count;
};

struct slide_guess {
	uint64_t slide;	   /* of the likeliest place; a negative one is a two's complement */
	unsigned places;   /* that are possible yet: at least the likeliest; 1: it alone is */
	size_t used, hits; /* addresses where a kernel can be; of these, where an instruction is */
};

/* 0: ret->slide is it. -EAGAIN: not known, with these addresses. -ENOENT: the code is of another
 * kernel, since they fit nowhere, or not well. ips: distinct; those of modules do not count. ret is
 * set in any case. Takes some milliseconds for a few hundred addresses. */
int slide_find(const struct slide_code *code, const uint64_t *ips, size_t n,
	       struct slide_guess *ret);

#endif
