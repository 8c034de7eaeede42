#include "symsrc/modtree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"

#define FNV_BASIS 14695981039346656037ULL
#define FNV_PRIME 1099511628211ULL
#define NAME_LEN  255

struct modtree_builder {
	struct modtree *tree; /* until it is handed out */
	size_t cap;
	struct buf names;
	uint64_t top; /* key of RELEASE */
};

/* ---- keys --------------------------------------------------------------------------------- */

uint64_t modtree_stamp(uint64_t stamp, const void *bytes, size_t n)
{
	const unsigned char *at = bytes;
	uint64_t h = stamp ? stamp : FNV_BASIS;

	for (size_t i = 0; i < n; i++)
		h = (h ^ at[i]) * FNV_PRIME;
	return h ? h : 1;
}

static uint64_t key_of(uint64_t dir, const char *name, size_t n)
{
	return modtree_stamp(modtree_stamp(dir, "/", 1), name, n);
}

static bool is_name_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       strchr("._-+,=@:~", c);
}

bool modtree_name_is_valid(const char *name, size_t n)
{
	if (n == 0 || n > NAME_LEN || name[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++) {
		if (name[i] == '\0' || !is_name_char(name[i]))
			return false;
	}
	return !(name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')));
}

/* The key of a path below RELEASE. False: it may not stand in a tree. */
static bool key_of_path(uint64_t top, const char *path, uint64_t *ret)
{
	unsigned depth = 0;
	uint64_t key = top;

	while (*path) {
		size_t n = strcspn(path, "/");

		if (!modtree_name_is_valid(path, n) || ++depth > MODTREE_DEPTH)
			return false;
		key = key_of(key, path, n);
		path += n + (path[n] == '/');
	}
	*ret = key;
	return true;
}

/* ---- making ------------------------------------------------------------------------------- */

static struct modtree_entry *append(struct modtree_builder *b)
{
	struct modtree *t = b->tree;

	if (t->count == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : 256;
		struct modtree_entry *more = realloc(t->entries, cap * sizeof(*more));

		if (!more)
			return NULL;
		t->entries = more;
		b->cap = cap;
	}
	return &t->entries[t->count];
}

static int add(struct modtree_builder *b, const struct modtree_entry *like, const char *name)
{
	struct modtree_entry *e;
	size_t at = b->names.len;
	int r;

	if (b->tree->count == MODTREE_MOST)
		return -EFBIG;
	e = append(b);
	if (!e)
		return -ENOMEM;
	r = buf_append(&b->names, name, strlen(name) + 1);
	if (r < 0)
		return r;
	*e = *like;
	e->name = (uint32_t)at;
	e->key = key_of(like->parent, name, strlen(name));
	b->tree->count++;
	return 0;
}

static int add_below(struct modtree_builder *b, const char *dir, const char *name,
		     struct modtree_entry *like)
{
	if (!modtree_name_is_valid(name, strlen(name)) || !key_of_path(b->top, dir, &like->parent))
		return 0;
	return add(b, like, name);
}

int modtree_add_dir(struct modtree_builder *b, const char *dir, const char *name)
{
	return add_below(b, dir, name, &(struct modtree_entry){.dir = true});
}

int modtree_add_file(struct modtree_builder *b, const char *dir, const char *name, uint64_t size,
		     uint64_t stamp)
{
	return add_below(b, dir, name, &(struct modtree_entry){.size = size, .stamp = stamp});
}

/* lib/modules/RELEASE */
static int add_top(struct modtree_builder *b, const char *release)
{
	const char *const path[] = {"lib", "modules", release};
	uint64_t key = MODTREE_ROOT;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(path); i++) {
		const struct modtree_entry dir = {.parent = key, .dir = true};

		r = add(b, &dir, path[i]);
		key = key_of(key, path[i], strlen(path[i]));
	}
	b->top = key;
	return r;
}

int modtree_builder_create(const char *release, struct modtree_builder **ret)
{
	size_t n = strlen(release);
	struct modtree_builder *b;
	int r;

	if (n >= sizeof(b->tree->release) || !modtree_name_is_valid(release, n))
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	buf_init(&b->names, MODTREE_NAMES_MAX);
	b->tree = calloc(1, sizeof(*b->tree));
	r = b->tree ? add_top(b, release) : -ENOMEM;
	if (r < 0) {
		modtree_builder_destroy(b);
		return r;
	}
	snprintf(b->tree->release, sizeof(b->tree->release), "%s", release);
	*ret = b;
	return 0;
}

static void free_tree(struct modtree *t)
{
	if (!t)
		return;
	free(t->entries);
	free(t->by_key);
	free(t->names);
	free(t);
}

void modtree_builder_destroy(struct modtree_builder *b)
{
	if (!b)
		return;
	free_tree(b->tree);
	buf_deinit(&b->names);
	free(b);
}

static int compare_keys(const void *a, const void *b, void *ctx)
{
	const struct modtree *t = ctx;
	uint64_t x = t->entries[*(const uint32_t *)a].key, y = t->entries[*(const uint32_t *)b].key;

	return (x > y) - (x < y);
}

static int compare_entries(const void *a, const void *b, void *ctx)
{
	const struct modtree_entry *x = a, *y = b;
	const char *names = ctx;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	return strcmp(names + x->name, names + y->name);
}

static void sort_by_key(struct modtree *t)
{
	for (size_t i = 0; i < t->count; i++)
		t->by_key[i] = (uint32_t)i;
	qsort_r(t->by_key, t->count, sizeof(*t->by_key), compare_keys, t);
}

static int compare_by_key(const void *a, const void *b)
{
	const struct modtree_entry *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

/* With one entry for each key, each has one way up: nothing that is found from the root can lead
 * in circles, whatever names a guest thinks of. */
static void drop_doubles(struct modtree *t)
{
	size_t n = 0;

	qsort(t->entries, t->count, sizeof(*t->entries), compare_by_key);
	for (size_t i = 0; i < t->count; i++) {
		if (n == 0 || t->entries[n - 1].key != t->entries[i].key)
			t->entries[n++] = t->entries[i];
	}
	t->count = n;
}

int modtree_builder_finish(struct modtree_builder *b, const struct modtree **ret)
{
	struct modtree *t = b->tree;
	size_t unused;

	t->by_key = calloc(t->count, sizeof(*t->by_key));
	t->names = buf_steal(&b->names, &unused);
	if (!t->by_key || !t->names)
		return -ENOMEM;
	drop_doubles(t);
	qsort_r(t->entries, t->count, sizeof(*t->entries), compare_entries, t->names);
	sort_by_key(t);
	for (size_t i = 0; i < t->count; i++)
		t->file_count += !t->entries[i].dir;
	atomic_init(&t->refs, 1);
	*ret = take_ptr(b->tree);
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------ */

const struct modtree *modtree_get(const struct modtree *t)
{
	struct modtree *mine = (struct modtree *)t;

	if (mine)
		atomic_fetch_add_explicit(&mine->refs, 1, memory_order_relaxed);
	return t;
}

void modtree_put(const struct modtree *t)
{
	struct modtree *mine = (struct modtree *)t;

	if (mine && atomic_fetch_sub_explicit(&mine->refs, 1, memory_order_acq_rel) == 1)
		free_tree(mine);
}

const char *modtree_name(const struct modtree *t, const struct modtree_entry *e)
{
	return t->names + e->name;
}

const struct modtree_entry *modtree_find(const struct modtree *t, uint64_t key)
{
	size_t lo = 0, hi = t->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->entries[t->by_key[mid]].key < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->count || t->entries[t->by_key[lo]].key != key)
		return NULL;
	return &t->entries[t->by_key[lo]];
}

const struct modtree_entry *modtree_child(const struct modtree *t, uint64_t dir, const char *name)
{
	const struct modtree_entry *e = modtree_find(t, key_of(dir, name, strlen(name)));

	return e && e->parent == dir && strcmp(modtree_name(t, e), name) == 0 ? e : NULL;
}

const struct modtree_entry *modtree_children(const struct modtree *t, uint64_t dir,
					     size_t *ret_count)
{
	size_t lo = 0, hi = t->count, end;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->entries[mid].parent < dir)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (end = lo; end < t->count && t->entries[end].parent == dir; end++)
		;
	*ret_count = end - lo;
	return &t->entries[lo];
}

/* The path is written from its end; levels: those of RELEASE and above are left out. */
int modtree_path(const struct modtree *t, uint64_t key, char *buf, size_t size)
{
	const struct modtree_entry *e = modtree_find(t, key), *up[MODTREE_DEPTH + 4];
	size_t levels = 0, len = 0;

	if (!e || e->dir)
		return -ENOENT;
	for (; e; e = modtree_find(t, e->parent)) {
		if (levels == ARRAY_SIZE(up))
			return -ENOENT;
		up[levels++] = e;
	}
	if (levels < 4 || up[levels - 1]->parent != MODTREE_ROOT)
		return -ENOENT;
	for (size_t i = levels - 3; i-- > 0;) {
		int n = snprintf(buf + len, size - len, "%s%s", modtree_name(t, up[i]),
				 i ? "/" : "");

		if ((size_t)n >= size - len)
			return -ENAMETOOLONG;
		len += (size_t)n;
	}
	return 0;
}
