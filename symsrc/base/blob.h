/* Immutable bytes with a reference count: what one room publishes and another one reads.
 *
 * A blob never changes after it was made, so it needs no lock; get and put may be called from
 * any thread. The last put frees it.
 */
#ifndef KVMPROFS_BASE_BLOB_H
#define KVMPROFS_BASE_BLOB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/buf.h"

struct blobpool;

struct blob {
	atomic_uint refs;
	struct blobpool *pool; /* that knows it; NULL: none */
	uint64_t hash;	       /* of the content, once it is in a pool */
	atomic_uint sharers;   /* who shares it; 0: it is in no pool (blobpool.h) */
	size_t size;
	const char *data; /* a NUL that is not counted follows the last byte */
};

/* Takes over the content of b, which is empty afterwards. NULL when out of memory or when b
 * carries an error; b is then unchanged. */
struct blob *blob_from_buf(struct buf *b);

/* Takes over memory of malloc(3), with room for the NUL behind n bytes. NULL when out of memory;
 * it is then freed. */
struct blob *blob_from_memory(void *memory, size_t n);

/* Copies. NULL when out of memory. */
struct blob *blob_from_bytes(const void *bytes, size_t n);

/* Both accept NULL. */
struct blob *blob_get(struct blob *blob);
void blob_put(struct blob *blob);

#endif
