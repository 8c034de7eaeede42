/* Equal blobs once: of guests that run the same kernel, what is the same in all of them is kept
 * in one piece of memory.
 *
 * The pool holds no references: a blob leaves it with its last one. A blob that it knows keeps
 * the pool itself alive, so that it may outlive its owner. Any thread may call these. Blobs are
 * told apart by a hash, which is made before the pool's lock is taken; what has the same one is
 * compared under it.
 */
#ifndef KVMPROFS_BASE_BLOBPOOL_H
#define KVMPROFS_BASE_BLOBPOOL_H

#include "symsrc/base/blob.h"

struct blobpool;

struct blobpool *blobpool_create(void);	      /* NULL when out of memory */
void blobpool_destroy(struct blobpool *pool); /* accepts NULL */

/* Takes the caller's reference over and returns one on a blob of the same bytes: an older one, or
 * this one, which is in the pool from now on. Accepts NULL. Without memory for it: this one. */
struct blob *blobpool_share(struct blobpool *pool, struct blob *blob);

/* Drops a reference that blobpool_share() returned; or any other, of a blob in no pool. Accepts
 * NULL. */
void blobpool_unshare(struct blob *blob);

/* What a sharer's part of it is, in bytes; of a blob in no pool all. NULL: 0. */
size_t blobpool_part(const struct blob *blob);

size_t blobpool_count(struct blobpool *pool);

/* For blob.c: the last reference has gone. */
void blobpool_forget(struct blobpool *pool, const struct blob *blob);

#endif
