/* How kallsyms is cut into blocks, in the guest and on the host alike: so that when a module comes
 * or goes all other blocks stay what they were, wherever they stand then. A block is made of whole
 * lines of one module (or of the kernel), as many as have room in PORT_DATA_MAX; a longer line is
 * cut there. */
#ifndef KVMPROFS_GUEST_HELPER_BLOCKS_H
#define KVMPROFS_GUEST_HELPER_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "symsrc/guest-helper/protocol.h"

#define FNV_BASIS 14695981039346656037ULL
#define FNV_PRIME 1099511628211ULL

/* FNV-1a. Chance does not make two of one guest's blocks the same; SUM would tell. */
static inline uint64_t block_digest(const char *p, size_t n)
{
	uint64_t h = FNV_BASIS;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)p[i]) * FNV_PRIME;
	return h;
}

/* The "[module]" at the end of a line of n bytes; *ret_len 0: the kernel's. */
static inline const char *block_module(const char *line, size_t n, size_t *ret_len)
{
	size_t at = n;

	*ret_len = 0;
	if (n == 0 || line[n - 1] != ']')
		return line;
	while (at > 0 && line[at - 1] != '\t')
		at--;
	*ret_len = n - at;
	return line + at;
}

/* The length of the block that p begins with. n: the bytes of the text from there on; where there
 * are more than PORT_DATA_MAX, that many will do. */
static inline size_t block_len(const char *p, size_t n)
{
	const char *module = NULL, *mine, *end;
	size_t max = n < PORT_DATA_MAX ? n : PORT_DATA_MAX;
	size_t at = 0, len, mine_len, module_len = 0;

	for (; at < max && (end = memchr(p + at, '\n', max - at)); at += len + 1) {
		len = (size_t)(end - p) - at;
		mine = block_module(p + at, len, &mine_len);
		if (!module) {
			module = mine;
			module_len = mine_len;
		} else if (mine_len != module_len || memcmp(mine, module, mine_len) != 0) {
			return at;
		}
	}
	/* What is left is no whole line. */
	return at > 0 && at < max && max == PORT_DATA_MAX ? at : max;
}

#endif
