/* Lists of CPUs as sysfs writes them, "0-3,8,10-11" (kernel: lib/bitmap.c,
 * bitmap_print_to_pagebuf()). */
#ifndef KVMPROFS_CPUS_H
#define KVMPROFS_CPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUS_MAX 8192 /* NR_CPUS of the largest distribution kernels */

struct cpus {
	size_t count;
	uint64_t bits[CPUS_MAX / 64];
};

/* Whole text; a newline may follow. 0, -EBADMSG when malformed, -E2BIG past CPUS_MAX. */
int cpus_parse(const char *text, struct cpus *ret);

/* Reads such a file; path is usually CPUS_ONLINE. Negative errno likewise. */
#define CPUS_ONLINE "/sys/devices/system/cpu/online"
int cpus_read(const char *path, struct cpus *ret);

static inline bool cpus_has(const struct cpus *c, unsigned cpu)
{
	return cpu < CPUS_MAX && (c->bits[cpu / 64] >> (cpu % 64) & 1);
}

#endif
