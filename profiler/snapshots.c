#include "profiler/snapshots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

/* Gives back what the entries were given for those that did not come. */
static void trim(struct tally_copy *copy)
{
	for (unsigned i = 0; i < copy->epoch_count; i++) {
		struct tally_epoch_copy *e = &copy->epochs[i];
		void *less = realloc(e->entries, (e->entry_count + 1) * sizeof(*e->entries));

		if (less)
			e->entries = less;
	}
}

static size_t bytes_of(const struct tally_copy *copy, const struct exits *exits)
{
	size_t bytes = sizeof(struct snapshot) + (exits ? exits_bytes(exits) : 0);

	for (unsigned i = 0; i < copy->epoch_count; i++)
		bytes += (copy->epochs[i].entry_count + 1) *
			 (sizeof(struct counts_entry) +
			  (copy->epochs[i].weights ? sizeof(uint64_t) : 0));
	return bytes;
}

struct snapshot *snapshot_create(const char *name, const struct profile *header,
				 struct tally_copy *copy, struct exits *exits,
				 struct tally_memory *memory)
{
	size_t bytes = bytes_of(copy, exits);
	struct snapshot *s = NULL;

	if (counts_budget_take(&memory->snapshots, bytes)) {
		s = calloc(1, sizeof(*s));
		if (!s)
			counts_budget_return(&memory->snapshots, bytes);
	}
	if (!s) {
		tally_copy_deinit(copy);
		exits_free(exits);
		return NULL;
	}
	atomic_init(&s->refs, 1);
	s->id = SLICE_SNAPSHOT + atomic_fetch_add(&memory->snapshots_made, 1);
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->header = *header;
	s->copy = *copy;
	trim(&s->copy);
	s->exits = exits;
	s->bytes = bytes;
	s->memory = memory;
	atomic_fetch_add(&memory->snapshots_held, 1);
	return s;
}

static struct snapshot *snapshot_get(struct snapshot *s)
{
	if (s)
		atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void snapshot_put(struct snapshot *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	tally_copy_deinit(&s->copy);
	exits_free(s->exits);
	counts_budget_return(&s->memory->snapshots, s->bytes);
	atomic_fetch_sub(&s->memory->snapshots_held, 1);
	free(s);
}

void snapshots_init(struct snapshots *s)
{
	*s = (struct snapshots){0};
	mutex_init(&s->lock);
}

void snapshots_deinit(struct snapshots *s)
{
	for (size_t i = 0; i < s->count; i++)
		snapshot_put(s->list[i]);
	mutex_deinit(&s->lock);
}

/* Printable ASCII, not hidden: it is shown in headers and on terminals. */
static bool is_name(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || name[0] == '.')
		return false;
	for (; *name; name++) {
		if (*name < ' ' || *name > '~' || *name == '/')
			return false;
	}
	return true;
}

static size_t with_lock__find(const struct snapshots *s, const char *name)
{
	size_t i = 0;

	while (i < s->count && strcmp(s->list[i]->name, name) != 0)
		i++;
	return i;
}

static int with_lock__check(const struct snapshots *s, const char *name)
{
	if (strlen(name) >= PROFILER_SNAPSHOT_NAME_MAX)
		return -ENAMETOOLONG;
	if (!is_name(name))
		return -EINVAL;
	if (with_lock__find(s, name) < s->count)
		return -EEXIST;
	return s->count < SNAPSHOTS_MAX ? 0 : -ENOSPC;
}

int snapshots_check(struct snapshots *s, const char *name)
{
	int r;

	mutex_lock(&s->lock);
	r = with_lock__check(s, name);
	mutex_unlock(&s->lock);
	return r;
}

int snapshots_add(struct snapshots *s, struct snapshot *snapshot)
{
	int r;

	mutex_lock(&s->lock);
	r = with_lock__check(s, snapshot->name);
	if (r == 0)
		s->list[s->count++] = snapshot_get(snapshot);
	mutex_unlock(&s->lock);
	return r;
}

int snapshots_remove(struct snapshots *s, const char *name)
{
	struct snapshot *gone = NULL;
	size_t i;

	mutex_lock(&s->lock);
	i = with_lock__find(s, name);
	if (i < s->count) {
		gone = s->list[i];
		s->count--;
		memmove(&s->list[i], &s->list[i + 1], (s->count - i) * sizeof(gone));
	}
	mutex_unlock(&s->lock);
	snapshot_put(gone);
	return gone ? 0 : -ENOENT;
}

struct snapshot *snapshots_get(struct snapshots *s, uint32_t id)
{
	struct snapshot *found = NULL;

	mutex_lock(&s->lock);
	for (size_t i = 0; i < s->count; i++) {
		if (s->list[i]->id == id)
			found = snapshot_get(s->list[i]);
	}
	mutex_unlock(&s->lock);
	return found;
}

size_t snapshots_list(struct snapshots *s, struct profiler_snapshot to[SNAPSHOTS_MAX])
{
	size_t n;

	mutex_lock(&s->lock);
	n = s->count;
	for (size_t i = 0; i < n; i++) {
		to[i].id = s->list[i]->id;
		snprintf(to[i].name, sizeof(to[i].name), "%s", s->list[i]->name);
	}
	mutex_unlock(&s->lock);
	return n;
}
