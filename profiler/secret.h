/* Hash tables whose keys a stranger chooses: what he does not know decides where these go. */
#ifndef KVMPROFS_SECRET_H
#define KVMPROFS_SECRET_H

#include <stdint.h>
#include <sys/random.h>

#include "symsrc/base/clock.h"

static inline uint64_t secret_seed(void)
{
	uint64_t seed = 0;

	/* Cannot fail on a running system; a weak seed only costs speed. */
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = clock_now_ns();
	return seed;
}

/* Both halves of a 128-bit product, so that every bit of the key and of the seed reaches every bit
 * of the result (wyhash's mixing step, by Wang Yi). A seed in both factors hides how keys lie
 * to each other. */
static inline uint64_t secret_mix(uint64_t key, uint64_t seed, uint64_t more)
{
	__extension__ typedef unsigned __int128 u128;
	u128 m = (u128)(key ^ seed) * (0x9e3779b97f4a7c15ULL ^ more);

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

#endif
