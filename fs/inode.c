#include "fs/inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/lock.h"

struct inode {
	uint64_t id;
	struct place place;
	uint64_t lookups;	/* lock: as the kernel counts them */
	uint64_t made_ns;	/* lock: when the content was last found to be right */
	struct blob *content;	/* lock: set once; may be replaced by equal bytes */
	struct timespec mtime;	/* lock: when the content was new */
	bool placeholder;	/* lock: began without content */
	uint64_t size, stamp;	/* of a file of the guest's disk */
	struct inode *next_id;	/* lock: chain by id */
	struct inode *next_key; /* lock: chain by place */
};

struct chain {
	struct inode *by_id;
	struct inode *by_place;
};

/* Two hash tables in one. An inode is in by_place while it is the newest of its place. */
struct inodes {
	struct mutex lock;
	uint64_t last_id;    /* lock: ids are never used twice */
	size_t count;	     /* lock */
	size_t chains;	     /* lock: a power of two */
	struct chain *table; /* lock */
};

#define FIRST_CHAINS 256

void inode_view_put(struct inode_view *v)
{
	blob_put(v->content);
	v->content = NULL;
}

static struct inode **with_lock__id_chain(struct inodes *t, uint64_t id)
{
	return &t->table[id & (t->chains - 1)].by_id;
}

static struct inode **with_lock__place_chain(struct inodes *t, const struct place *p)
{
	return &t->table[place_hash(p) & (t->chains - 1)].by_place;
}

static struct inode *with_lock__find(struct inodes *t, uint64_t id)
{
	struct inode *i = *with_lock__id_chain(t, id);

	while (i && i->id != id)
		i = i->next_id;
	return i;
}

/* The link that points to the newest inode of the place, or to the NULL at the chain's end. */
static struct inode **with_lock__newest(struct inodes *t, const struct place *p)
{
	struct inode **link = with_lock__place_chain(t, p);

	while (*link && !place_equal(&(*link)->place, p))
		link = &(*link)->next_key;
	return link;
}

static void with_lock__rehash(struct inodes *t, const struct chain *old, size_t chains)
{
	for (size_t c = 0; c < chains; c++) {
		for (struct inode *i = old[c].by_id, *next; i; i = next) {
			struct inode **to = with_lock__id_chain(t, i->id);

			next = i->next_id;
			i->next_id = *to;
			*to = i;
		}
		for (struct inode *i = old[c].by_place, *next; i; i = next) {
			struct inode **to = with_lock__place_chain(t, &i->place);

			next = i->next_key;
			i->next_key = *to;
			*to = i;
		}
	}
}

/* Without memory the chains only get longer. */
static void with_lock__grow(struct inodes *t)
{
	struct chain *table = calloc(t->chains * 2, sizeof(*table));
	struct chain *old = t->table;

	if (!table)
		return;
	t->table = table;
	t->chains *= 2;
	with_lock__rehash(t, old, t->chains / 2);
	free(old);
}

/* Makes the inode the newest one of its place; an older one lives on by its id alone. */
static void with_lock__put_first(struct inodes *t, struct inode *i)
{
	struct inode **link = with_lock__newest(t, &i->place);
	struct inode *old = *link;

	if (old) {
		*link = old->next_key;
		old->next_key = NULL;
	}
	link = with_lock__place_chain(t, &i->place);
	i->next_key = *link;
	*link = i;
}

static struct inode *with_lock__add(struct inodes *t, const struct place *p)
{
	struct inode *i = calloc(1, sizeof(*i));
	struct inode **link;

	if (!i)
		return NULL;
	if (t->count >= t->chains)
		with_lock__grow(t);
	i->id = ++t->last_id;
	i->place = *p;
	clock_gettime(CLOCK_REALTIME, &i->mtime);
	link = with_lock__id_chain(t, i->id);
	i->next_id = *link;
	*link = i;
	with_lock__put_first(t, i);
	t->count++;
	return i;
}

static void with_lock__remove(struct inodes *t, struct inode *i)
{
	struct inode **link = with_lock__id_chain(t, i->id);

	while (*link != i)
		link = &(*link)->next_id;
	*link = i->next_id;
	link = with_lock__newest(t, &i->place);
	if (*link == i)
		*link = i->next_key;
	t->count--;
	blob_put(i->content);
	free(i);
}

static void with_lock__view(const struct inode *i, struct inode_view *ret)
{
	*ret = (struct inode_view){.id = i->id,
				   .place = i->place,
				   .content = blob_get(i->content),
				   .mtime = i->mtime,
				   .made_ns = i->made_ns,
				   .size = i->size,
				   .stamp = i->stamp,
				   .bound_late = i->placeholder};
}

static int with_lock__count_lookup(struct inode *i, struct inode_view *ret)
{
	if (!i)
		return -ENOMEM;
	i->lookups++;
	with_lock__view(i, ret);
	return 0;
}

struct inodes *inodes_create(void)
{
	struct inodes *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	mutex_init(&t->lock);
	t->chains = FIRST_CHAINS;
	t->table = calloc(t->chains, sizeof(*t->table));
	if (!t->table || !with_lock__add(t, &(struct place){.node = NODE_ROOT})) {
		inodes_destroy(t);
		return NULL;
	}
	return t;
}

void inodes_destroy(struct inodes *t)
{
	if (!t)
		return;
	for (size_t c = 0; t->table && c < t->chains; c++) {
		for (struct inode *i = t->table[c].by_id, *next; i; i = next) {
			next = i->next_id;
			blob_put(i->content);
			free(i);
		}
	}
	free(t->table);
	mutex_deinit(&t->lock);
	free(t);
}

int inodes_lookup_stable(struct inodes *t, const struct place *p, struct inode_view *ret)
{
	struct inode *i;
	int r;

	mutex_lock(&t->lock);
	i = *with_lock__newest(t, p);
	r = with_lock__count_lookup(i ? i : with_lock__add(t, p), ret);
	mutex_unlock(&t->lock);
	return r;
}

int inodes_lookup_fresh(struct inodes *t, const struct place *p, uint64_t not_before_ns,
			struct inode_view *ret)
{
	struct inode *i;
	int r = -ENOENT;

	mutex_lock(&t->lock);
	i = *with_lock__newest(t, p);
	if (i && i->content && i->made_ns > not_before_ns)
		r = with_lock__count_lookup(i, ret);
	mutex_unlock(&t->lock);
	return r;
}

static bool same_bytes(const struct blob *a, const struct blob *b)
{
	return a == b || (a->size == b->size && memcmp(a->data, b->data, a->size) == 0);
}

/* The newest content of the place; a reference, or NULL. Compared without the lock, since it
 * may be long. */
static struct blob *newest_content(struct inodes *t, const struct place *p)
{
	struct blob *content = NULL;
	struct inode *i;

	mutex_lock(&t->lock);
	i = *with_lock__newest(t, p);
	if (i)
		content = blob_get(i->content);
	mutex_unlock(&t->lock);
	return content;
}

static struct inode *with_lock__add_content(struct inodes *t, const struct place *p,
					    struct blob *content, uint64_t made_ns)
{
	struct inode *i = with_lock__add(t, p);

	if (i) {
		i->content = blob_get(content);
		i->made_ns = made_ns;
	}
	return i;
}

/* The same bytes again: the inode goes on, with the new copy, so that the next comparison is
 * one of pointers and the old copy can go. */
static void with_lock__renew(struct inode *i, struct blob *content, uint64_t made_ns)
{
	if (i->content != content) {
		blob_put(i->content);
		i->content = blob_get(content);
	}
	if (made_ns > i->made_ns)
		i->made_ns = made_ns;
}

int inodes_lookup_content(struct inodes *t, const struct place *p, struct blob *content,
			  uint64_t made_ns, struct inode_view *ret)
{
	struct blob *was = newest_content(t, p);
	bool same = was && same_bytes(was, content);
	struct inode *i;
	int r;

	mutex_lock(&t->lock);
	i = *with_lock__newest(t, p);
	if (i && same && i->content == was && !i->placeholder)
		with_lock__renew(i, content, made_ns);
	else if (!i || !i->content || i->made_ns <= made_ns)
		i = with_lock__add_content(t, p, content, made_ns);
	r = with_lock__count_lookup(i, ret);
	mutex_unlock(&t->lock);
	blob_put(was);
	return r;
}

int inodes_lookup_placeholder(struct inodes *t, const struct place *p, struct inode_view *ret)
{
	struct inode *i;
	int r;

	mutex_lock(&t->lock);
	i = *with_lock__newest(t, p);
	if (!i || i->content)
		i = with_lock__add(t, p);
	if (i)
		i->placeholder = true;
	r = with_lock__count_lookup(i, ret);
	mutex_unlock(&t->lock);
	return r;
}

int inodes_lookup_file(struct inodes *t, const struct place *p, uint64_t size, uint64_t stamp,
		       struct inode_view *ret)
{
	struct inode *i;
	int r;

	mutex_lock(&t->lock);
	i = *with_lock__newest(t, p);
	if (!i || i->size != size || i->stamp != stamp)
		i = with_lock__add(t, p);
	if (i) {
		i->size = size;
		i->stamp = stamp;
	}
	r = with_lock__count_lookup(i, ret);
	mutex_unlock(&t->lock);
	return r;
}

int inodes_get(struct inodes *t, uint64_t id, struct inode_view *ret)
{
	struct inode *i;

	mutex_lock(&t->lock);
	i = with_lock__find(t, id);
	if (i)
		with_lock__view(i, ret);
	mutex_unlock(&t->lock);
	return i ? 0 : -ENOENT;
}

int inodes_bind(struct inodes *t, uint64_t id, struct blob *content)
{
	struct inode *i;

	mutex_lock(&t->lock);
	i = with_lock__find(t, id);
	if (i && !i->content) {
		i->content = blob_get(content);
		clock_gettime(CLOCK_REALTIME, &i->mtime);
	}
	mutex_unlock(&t->lock);
	return i ? 0 : -ENOENT;
}

void inodes_forget(struct inodes *t, uint64_t id, uint64_t n)
{
	struct inode *i;

	if (id == INODE_ROOT)
		return;
	mutex_lock(&t->lock);
	i = with_lock__find(t, id);
	if (i) {
		i->lookups -= n < i->lookups ? n : i->lookups;
		if (i->lookups == 0)
			with_lock__remove(t, i);
	}
	mutex_unlock(&t->lock);
}

size_t inodes_count(struct inodes *t)
{
	size_t n;

	mutex_lock(&t->lock);
	n = t->count;
	mutex_unlock(&t->lock);
	return n;
}
