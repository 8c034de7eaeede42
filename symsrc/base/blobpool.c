#include "symsrc/base/blobpool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/lock.h"

struct blobpool {
	struct mutex lock;
	size_t users;	     /* lock; the owner and the blobs in it */
	struct blob **blobs; /* lock; in no order: there are a few for each kernel */
	size_t count, cap;   /* lock */
};

struct blobpool *blobpool_create(void)
{
	struct blobpool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	mutex_init(&pool->lock);
	pool->users = 1;
	return pool;
}

static void destroy(struct blobpool *pool)
{
	mutex_deinit(&pool->lock);
	free(pool->blobs);
	free(pool);
}

void blobpool_destroy(struct blobpool *pool)
{
	bool last;

	if (!pool)
		return;
	mutex_lock(&pool->lock);
	last = --pool->users == 0;
	mutex_unlock(&pool->lock);
	if (last)
		destroy(pool);
}

/* One whose last reference has gone waits for the lock to leave: it must not be revived. */
static bool get_unless_gone(struct blob *blob)
{
	unsigned refs = atomic_load_explicit(&blob->refs, memory_order_relaxed);

	while (refs > 0) {
		if (atomic_compare_exchange_weak_explicit(&blob->refs, &refs, refs + 1,
							  memory_order_acquire,
							  memory_order_relaxed))
			return true;
	}
	return false;
}

/* Eight bytes at a time. Who makes two texts of one hash only makes us compare them. */
static uint64_t hash_of(const char *bytes, size_t n)
{
	const uint64_t odd = 0x9e3779b97f4a7c15;
	uint64_t hash = n * odd, x;

	for (; n >= 8; bytes += 8, n -= 8) {
		memcpy(&x, bytes, 8);
		hash = (hash ^ x) * odd;
		hash ^= hash >> 32;
	}
	x = 0;
	memcpy(&x, bytes, n);
	hash = (hash ^ x) * odd;
	return hash ^ hash >> 32;
}

static struct blob *with_lock__find(const struct blobpool *pool, const struct blob *blob)
{
	for (size_t i = 0; i < pool->count; i++) {
		struct blob *b = pool->blobs[i];

		if (b->hash == blob->hash && b->size == blob->size &&
		    memcmp(b->data, blob->data, b->size) == 0 && get_unless_gone(b))
			return b;
	}
	return NULL;
}

static void with_lock__add(struct blobpool *pool, struct blob *blob)
{
	if (pool->count == pool->cap) {
		size_t cap = pool->cap ? 2 * pool->cap : 16;
		struct blob **more = realloc(pool->blobs, cap * sizeof(*more));

		if (!more)
			return;
		pool->blobs = more;
		pool->cap = cap;
	}
	pool->blobs[pool->count++] = blob;
	pool->users++;
	blob->pool = pool;
	atomic_store_explicit(&blob->sharers, 1, memory_order_relaxed);
}

struct blob *blobpool_share(struct blobpool *pool, struct blob *blob)
{
	struct blob *same;

	if (!blob || blob->pool)
		return blob;
	blob->hash = hash_of(blob->data, blob->size);
	mutex_lock(&pool->lock);
	same = with_lock__find(pool, blob);
	if (same)
		atomic_fetch_add_explicit(&same->sharers, 1, memory_order_relaxed);
	else
		with_lock__add(pool, blob);
	mutex_unlock(&pool->lock);
	if (!same)
		return blob;
	blob_put(blob);
	return same;
}

void blobpool_unshare(struct blob *blob)
{
	if (blob && blob->pool)
		atomic_fetch_sub_explicit(&blob->sharers, 1, memory_order_relaxed);
	blob_put(blob);
}

size_t blobpool_part(const struct blob *blob)
{
	unsigned sharers = blob ? atomic_load_explicit(&blob->sharers, memory_order_relaxed) : 0;

	if (!blob)
		return 0;
	return blob->size / (sharers ? sharers : 1);
}

size_t blobpool_count(struct blobpool *pool)
{
	size_t count;

	mutex_lock(&pool->lock);
	count = pool->count;
	mutex_unlock(&pool->lock);
	return count;
}

void blobpool_forget(struct blobpool *pool, const struct blob *blob)
{
	bool last;

	mutex_lock(&pool->lock);
	for (size_t i = 0; i < pool->count; i++) {
		if (pool->blobs[i] == blob)
			pool->blobs[i] = pool->blobs[--pool->count];
	}
	last = --pool->users == 0;
	mutex_unlock(&pool->lock);
	if (last)
		destroy(pool);
}
