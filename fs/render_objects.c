/* The rows of a profile by their objects: kernel, modules, user space. */
#include "fs/render.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

/* Which object each row is of. */
struct grouping {
	struct render_object *list; /* in the order of their first rows */
	size_t count;
	uint32_t *slots; /* of a hash table by name: index + 1; 0: free */
	size_t mask;
	uint32_t *of_row;
};

static int grouping_init(struct grouping *g, size_t rows)
{
	size_t slots = 16;

	while (slots < 2 * rows)
		slots *= 2;
	g->mask = slots - 1;
	g->list = calloc(rows + 1, sizeof(*g->list));
	g->slots = calloc(slots, sizeof(*g->slots));
	g->of_row = calloc(rows + 1, sizeof(*g->of_row));
	return g->list && g->slots && g->of_row ? 0 : -ENOMEM;
}

static uint64_t hash(const char *s)
{
	uint64_t h = 14695981039346656037ULL; /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ULL;
	return h ^ h >> 32;
}

static uint32_t find_object(struct grouping *g, const char *name)
{
	size_t i = hash(name) & g->mask;

	while (g->slots[i] && strcmp(g->list[g->slots[i] - 1].name, name) != 0)
		i = (i + 1) & g->mask;
	if (!g->slots[i]) {
		g->list[g->count++].name = name;
		g->slots[i] = (uint32_t)g->count;
	}
	return g->slots[i] - 1;
}

static void count_rows(struct grouping *g, const struct profile *p)
{
	for (size_t i = 0; i < p->row_count; i++) {
		struct render_object *o;

		g->of_row[i] = find_object(g, p->rows[i].object);
		o = &g->list[g->of_row[i]];
		o->samples += p->rows[i].samples;
		o->count++;
	}
}

static void place_rows(struct grouping *g, const struct profile *p, const struct profile_row **rows)
{
	for (size_t i = 0; i < g->count; i++) {
		g->list[i].rows = rows;
		rows += g->list[i].count;
		g->list[i].count = 0;
	}
	for (size_t i = 0; i < p->row_count; i++) {
		struct render_object *o = &g->list[g->of_row[i]];

		o->rows[o->count++] = &p->rows[i];
	}
}

static int hotter_first(const void *a, const void *b)
{
	const struct render_object *x = a, *y = b;

	if (x->samples != y->samples)
		return x->samples < y->samples ? 1 : -1;
	return strcmp(x->name, y->name);
}

int render_objects_make(const struct profile *profile, struct render_objects *ret)
{
	const struct profile_row **rows =
		calloc(profile->row_count + 1, sizeof(struct profile_row *));
	struct grouping g = {0};
	int r = rows ? grouping_init(&g, profile->row_count) : -ENOMEM;

	if (r == 0) {
		count_rows(&g, profile);
		place_rows(&g, profile, rows);
		qsort(g.list, g.count, sizeof(*g.list), hotter_first);
		*ret = (struct render_objects){.count = g.count, .list = g.list, .rows = rows};
		g.list = NULL;
		rows = NULL;
	}
	free(g.list);
	free(g.slots);
	free(g.of_row);
	free(rows);
	return r;
}

void render_objects_free(struct render_objects *o)
{
	free(o->list);
	free(o->rows);
	*o = (struct render_objects){0};
}
