/* The stream of records that lies, compressed, in PERFDATA_COMPRESSED records: each continues
 * where the one before has ended, also within a record. Bounded memory, whatever comes. */
#ifndef KVMPROFS_PERFDATA_INFLATE_H
#define KVMPROFS_PERFDATA_INFLATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct inflate;

struct inflate *inflate_create(void);	 /* NULL when out of memory */
void inflate_destroy(struct inflate *i); /* accepts NULL */

/* Decompresses n bytes more, and hands out what there is in pieces. take: how many of the bytes
 * it has used (the rest, at most 64 KiB, comes again with what follows), or negative errno, which
 * ends it. 0, -EBADMSG, or that. */
int inflate_add(struct inflate *i, const void *bytes, size_t n,
		ssize_t (*take)(void *ctx, const uint8_t *plain, size_t n), void *ctx);

/* Bytes that wait for the rest of their record. */
size_t inflate_rest(const struct inflate *i);

#endif
