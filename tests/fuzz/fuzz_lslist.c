/* What ls says, at any chunk size: the same tree, of nothing but safe names, and every file of it
 * has a path. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/lslist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct modtree *parse(const uint8_t *data, size_t size, size_t chunk)
{
	static struct lslist l;
	struct modtree_builder *b = NULL;
	const struct modtree *t = NULL;
	int r = modtree_builder_create("6.1.0", &b);

	lslist_init(&l, b);
	for (size_t at = 0; r == 0 && at < size; at += chunk)
		r = lslist_feed(&l, data + at, size - at < chunk ? size - at : chunk);
	if (r == 0)
		r = modtree_builder_finish(b, &t);
	modtree_builder_destroy(b);
	return r == 0 ? t : NULL;
}

/* Whether it can be reached from the root; by its parents alone, which must end. */
static int has_way(const struct modtree *t, const struct modtree_entry *e)
{
	for (unsigned i = 0; e && i < MODTREE_DEPTH + 4; i++) {
		if (e->parent == MODTREE_ROOT)
			return 1;
		e = modtree_find(t, e->parent);
		if (e && !e->dir)
			return 0;
	}
	return 0;
}

/* A name that ends with two dots is one like others. */
static int climbs(const char *path)
{
	return strncmp(path, "../", 3) == 0 || strstr(path, "/../") != NULL;
}

static void check(const struct modtree *t)
{
	char path[MODTREE_PATH_MAX + MODTREE_DEPTH * 256];

	for (size_t i = 0; i < t->count; i++) {
		const struct modtree_entry *e = &t->entries[i];
		const char *name = modtree_name(t, e);

		if (!modtree_name_is_valid(name, strlen(name)) || modtree_find(t, e->key) != e ||
		    modtree_child(t, e->parent, name) != e)
			abort();
		if (e->dir || !has_way(t, e))
			continue;
		if (modtree_path(t, e->key, path, sizeof(path)) < 0 || path[0] == '/' ||
		    climbs(path))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct modtree *whole = parse(data, size, size ? size : 1),
			     *parts = parse(data, size, 3);

	if (!whole != !parts || (whole && whole->count != parts->count))
		abort();
	if (whole)
		check(whole);
	modtree_put(whole);
	modtree_put(parts);
	return 0;
}
