#include "symsrc/base/blob.h"

#include <errno.h>
#include <stdlib.h>

#include "symsrc/base/blobpool.h"

static struct blob *create(void)
{
	struct blob *blob = calloc(1, sizeof(*blob));

	if (blob)
		atomic_init(&blob->refs, 1);
	return blob;
}

struct blob *blob_from_buf(struct buf *b)
{
	struct blob *blob = create();

	if (!blob)
		return NULL;
	blob->data = buf_steal(b, &blob->size);
	if (!blob->data) {
		free(blob);
		return NULL;
	}
	return blob;
}

struct blob *blob_from_memory(void *memory, size_t n)
{
	struct blob *blob = create();

	if (!blob) {
		free(memory);
		return NULL;
	}
	((char *)memory)[n] = '\0';
	blob->data = memory;
	blob->size = n;
	return blob;
}

struct blob *blob_from_bytes(const void *bytes, size_t n)
{
	struct blob *blob = NULL;
	struct buf b;

	buf_init(&b, n);
	if (buf_append(&b, bytes, n) == 0)
		blob = blob_from_buf(&b);
	buf_deinit(&b);
	return blob;
}

struct blob *blob_get(struct blob *blob)
{
	if (blob)
		atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
	return blob;
}

void blob_put(struct blob *blob)
{
	if (!blob || atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (blob->pool)
		blobpool_forget(blob->pool, blob);
	free((char *)blob->data);
	free(blob);
}
