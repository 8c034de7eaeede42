/* Contents of guests' files, those that were used last, within a number of bytes.
 *
 * What a holder of a reference reads stays valid after it was let go here. Not locked: its owner
 * has a lock.
 */
#ifndef KVMPROFS_FILECACHE_H
#define KVMPROFS_FILECACHE_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/blob.h"

#define FILECACHE_MOST 1024 /* files, however small */

struct filecache_key {
	uint64_t serial; /* of the guest */
	uint64_t file;	 /* struct modtree_entry */
	uint64_t stamp;
};

struct filecache;

struct filecache *filecache_create(size_t max); /* NULL when out of memory */
void filecache_destroy(struct filecache *c);	/* accepts NULL */

/* A reference, or NULL: not here. It is then the newest one. */
struct blob *filecache_get(struct filecache *c, const struct filecache_key *key);

/* Takes a reference of its own, and lets go of the oldest ones until the rest is within the limits;
 * one that is larger than all of it is not kept. */
void filecache_put(struct filecache *c, const struct filecache_key *key, struct blob *content);

/* Lets go of all of one guest. */
void filecache_drop_guest(struct filecache *c, uint64_t serial);

size_t filecache_size(const struct filecache *c); /* bytes */

#endif
