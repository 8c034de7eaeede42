/* What else there is in a guest's RAM: which boot loader, firmware or system, when there is no
 * kernel to be found. For findscan.c. */
#ifndef KVMPROFS_MEMORY_SIGHTS_H
#define KVMPROFS_MEMORY_SIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "symsrc/memory/findkernel.h"

/* Eight bytes as they lie in memory (little endian). */
#define SIGHT_WORD(a, b, c, d, e, f, g, h)                                                \
	((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | \
	 (uint64_t)(e) << 32 | (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)

/* True when a kernel's banner may begin with this word. Compilers align arrays of 16 and more
 * bytes to 16, so that is where banners begin. Must be quick: it sees all RAM. */
static inline bool sight_may_be_banner(uint64_t word)
{
	return word == SIGHT_WORD('L', 'i', 'n', 'u', 'x', ' ', 'v', 'e') ||
	       word == SIGHT_WORD('F', 'r', 'e', 'e', 'B', 'S', 'D', ' ') ||
	       word == SIGHT_WORD('O', 'p', 'e', 'n', 'B', 'S', 'D', ' ') ||
	       (word << 8) == SIGHT_WORD(0, 'N', 'e', 't', 'B', 'S', 'D', ' ');
}

/* Looks whether the text there is one. 0, or as ram_read(). */
int sights_look_at_banner(struct ram_sights *s, struct ram *ram, uint64_t gpa);

/* Looks at the beginning of a page. */
void sights_look_at_page(struct ram_sights *s, uint64_t gpa, const uint64_t *page);

/* Notes what has been found out; the first name of a kind stays. name: printable. */
void sights_add(struct ram_sights *s, enum ram_sight sight, const char *name);

/* Looks for the names of boot loaders and firmware, in the first bytes_max and there in at most
 * full_max that hold something. 0, or as ram_read(). */
int sights_search(struct ram_sights *s, struct ram *ram, uint64_t bytes_max, uint64_t full_max);

#endif
