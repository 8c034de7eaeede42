/* A hash table of a fixed size, as BPF's are: values stay where they are until they are removed.
 * Hashes have a seed of their own, since guests choose keys. Owned by one thread at a time. */
#ifndef KVMPROFS_EXITS_HASH_H
#define KVMPROFS_EXITS_HASH_H

#include <stddef.h>
#include <stdint.h>

struct exits_hash {
	size_t key_size, value_size; /* multiples of 4 */
	uint32_t room, count;
	uint32_t used;	 /* places that have ever been used: from 0 on */
	uint32_t free;	 /* a place that was given back, + 1; 0: none */
	uint32_t mask;	 /* of heads */
	uint32_t *heads; /* the first of a chain, + 1; 0: none */
	uint32_t *next;	 /* by place, likewise; of those that are free, too */
	uint8_t *taken;	 /* by place */
	char *keys, *values;
	uint64_t seed;
};

/* room: of entries. -ENOMEM. What is not used yet takes no memory. */
int exits_hash_init(struct exits_hash *h, uint32_t room, size_t key_size, size_t value_size);
void exits_hash_deinit(struct exits_hash *h); /* harmless when it is all zero */

/* NULL: there is none. */
void *exits_hash_find(const struct exits_hash *h, const void *key);
/* value: copied. NULL when there is one already, or no room. */
void *exits_hash_add(struct exits_hash *h, const void *key, const void *value);
void exits_hash_remove(struct exits_hash *h, const void *key);

/* The next entry at or behind that place, which moves on behind it; NULL at the end. What it has
 * given may be removed meanwhile. */
void *exits_hash_next(const struct exits_hash *h, uint32_t *place, const void **ret_key);

#endif
