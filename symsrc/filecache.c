#include "symsrc/filecache.h"

#include <stdlib.h>
#include <string.h>

struct filecache {
	size_t max, size, count;
	struct cached {
		struct filecache_key key;
		struct blob *content;
	} files[FILECACHE_MOST]; /* oldest first */
};

struct filecache *filecache_create(size_t max)
{
	struct filecache *c = calloc(1, sizeof(*c));

	if (c)
		c->max = max;
	return c;
}

static void drop(struct filecache *c, size_t at)
{
	c->size -= c->files[at].content->size;
	blob_put(c->files[at].content);
	c->count--;
	memmove(&c->files[at], &c->files[at + 1], (c->count - at) * sizeof(c->files[0]));
}

void filecache_destroy(struct filecache *c)
{
	while (c && c->count)
		drop(c, c->count - 1);
	free(c);
}

static void append(struct filecache *c, const struct filecache_key *key, struct blob *content)
{
	c->files[c->count++] = (struct cached){*key, content};
	c->size += content->size;
}

/* Where it is, or count. */
static size_t find(const struct filecache *c, const struct filecache_key *key)
{
	size_t i;

	for (i = 0; i < c->count; i++) {
		const struct filecache_key *k = &c->files[i].key;

		if (k->file == key->file && k->serial == key->serial && k->stamp == key->stamp)
			break;
	}
	return i;
}

struct blob *filecache_get(struct filecache *c, const struct filecache_key *key)
{
	size_t at = find(c, key);
	struct blob *content;

	if (at == c->count)
		return NULL;
	content = blob_get(c->files[at].content);
	drop(c, at);
	append(c, key, blob_get(content));
	return content;
}

void filecache_put(struct filecache *c, const struct filecache_key *key, struct blob *content)
{
	size_t at = find(c, key);

	if (at < c->count)
		drop(c, at);
	if (content->size > c->max)
		return;
	while (c->count && (c->count == FILECACHE_MOST || c->size > c->max - content->size))
		drop(c, 0);
	append(c, key, blob_get(content));
}

void filecache_drop_guest(struct filecache *c, uint64_t serial)
{
	for (size_t i = c->count; i-- > 0;) {
		if (c->files[i].key.serial == serial)
			drop(c, i);
	}
}

size_t filecache_size(const struct filecache *c)
{
	return c->size;
}
