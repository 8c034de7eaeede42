#include "fs/names.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

/* An escaped name is cut so that ".PID.N" fits behind it. */
#define BASE_MAX (NAME_COMPONENT_MAX - 24)

/* Open addressing; slots hold index + 1, 0 is free. */
struct taken {
	size_t mask;
	uint32_t *slots;
};

static size_t hash(const char *s)
{
	uint64_t h = 14695981039346656037ULL; /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ULL;
	return (size_t)(h ^ (h >> 32));
}

/* Takes the name of entry i unless it is taken already. */
static bool take(struct taken *t, const struct names *n, size_t i)
{
	size_t at = hash(n->name[i]) & t->mask;

	for (; t->slots[at]; at = (at + 1) & t->mask) {
		if (strcmp(n->name[t->slots[at] - 1], n->name[i]) == 0)
			return false;
	}
	t->slots[at] = (uint32_t)i + 1;
	return true;
}

static void name_one(struct names *n, struct taken *t, size_t i, const struct guest *g)
{
	size_t len = text_to_component(n->name[i], BASE_MAX, g->name);
	char *end = n->name[i] + len;

	if (take(t, n, i))
		return;
	snprintf(end, NAME_COMPONENT_MAX - len, ".%d", (int)g->pid);
	/* NAME.PID is only taken when somebody has called another guest so. */
	for (unsigned again = 2; !take(t, n, i); again++)
		snprintf(end, NAME_COMPONENT_MAX - len, ".%d.%u", (int)g->pid, again);
}

int names_init(struct names *n, const struct guest_set *set)
{
	struct taken t = {.mask = 1};
	CLEANUP_FREE uint32_t *slots = NULL;

	while (t.mask < 2 * set->count)
		t.mask *= 2;
	slots = calloc(t.mask, sizeof(*slots));
	n->count = set->count;
	n->name = calloc(set->count + 1, sizeof(*n->name));
	if (!slots || !n->name) {
		names_deinit(n);
		return -ENOMEM;
	}
	t.slots = slots;
	t.mask--;
	for (size_t i = 0; i < set->count; i++)
		name_one(n, &t, i, set->entries[i].guest);
	return 0;
}

void names_deinit(struct names *n)
{
	free(n->name);
	n->name = NULL;
	n->count = 0;
}
