/* Numbers as the host that recorded has them: perhaps of the other byte order, and at any
 * alignment. */
#ifndef KVMPROFS_PERFDATA_ORDER_H
#define KVMPROFS_PERFDATA_ORDER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t order_u16(const void *from, bool swapped)
{
	uint16_t n;

	memcpy(&n, from, sizeof(n));
	return swapped ? __builtin_bswap16(n) : n;
}

static inline uint32_t order_u32(const void *from, bool swapped)
{
	uint32_t n;

	memcpy(&n, from, sizeof(n));
	return swapped ? __builtin_bswap32(n) : n;
}

static inline uint64_t order_u64(const void *from, bool swapped)
{
	uint64_t n;

	memcpy(&n, from, sizeof(n));
	return swapped ? __builtin_bswap64(n) : n;
}

#endif
