#include "profiler/exits/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint32_t power_of_2_from(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

int exits_hash_init(struct exits_hash *h, uint32_t room, size_t key_size, size_t value_size)
{
	uint32_t heads = power_of_2_from(room);

	*h = (struct exits_hash){
		.key_size = key_size, .value_size = value_size, .room = room, .mask = heads - 1};
	h->heads = calloc(heads, sizeof(*h->heads));
	h->next = calloc(room, sizeof(*h->next));
	h->taken = calloc(room, sizeof(*h->taken));
	h->keys = calloc(room, key_size);
	h->values = calloc(room, value_size);
	if (!h->heads || !h->next || !h->taken || !h->keys || !h->values) {
		exits_hash_deinit(h);
		return -ENOMEM;
	}
	if (getrandom(&h->seed, sizeof(h->seed), GRND_NONBLOCK) != (ssize_t)sizeof(h->seed))
		h->seed = (uintptr_t)h->heads;
	return 0;
}

void exits_hash_deinit(struct exits_hash *h)
{
	free(h->heads);
	free(h->next);
	free(h->taken);
	free(h->keys);
	free(h->values);
	*h = (struct exits_hash){0};
}

/* The finalizer of splitmix64. */
static uint64_t mix(uint64_t v)
{
	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9ULL;
	v = (v ^ (v >> 27)) * 0x94d049bb133111ebULL;
	return v ^ (v >> 31);
}

static uint32_t *head_of(const struct exits_hash *h, const void *key)
{
	uint64_t v = h->seed;

	for (size_t i = 0; i < h->key_size; i += 4) {
		uint32_t word;

		memcpy(&word, (const char *)key + i, 4);
		v = mix(v ^ word);
	}
	return &h->heads[v & h->mask];
}

/* What points at the entry, or the chain's end. */
static uint32_t *link_to(const struct exits_hash *h, const void *key)
{
	uint32_t *link = head_of(h, key);

	while (*link && memcmp(h->keys + (*link - 1) * h->key_size, key, h->key_size) != 0)
		link = &h->next[*link - 1];
	return link;
}

void *exits_hash_find(const struct exits_hash *h, const void *key)
{
	uint32_t place = *link_to(h, key);

	return place ? h->values + (place - 1) * h->value_size : NULL;
}

static uint32_t take_place(struct exits_hash *h)
{
	uint32_t place = h->free;

	if (place)
		h->free = h->next[place - 1];
	else if (h->used < h->room)
		place = ++h->used;
	return place;
}

void *exits_hash_add(struct exits_hash *h, const void *key, const void *value)
{
	uint32_t *link = link_to(h, key);
	uint32_t place = *link ? 0 : take_place(h);

	if (!place)
		return NULL;
	*link = place;
	h->next[place - 1] = 0;
	h->taken[place - 1] = 1;
	h->count++;
	memcpy(h->keys + (place - 1) * h->key_size, key, h->key_size);
	return memcpy(h->values + (place - 1) * h->value_size, value, h->value_size);
}

void exits_hash_remove(struct exits_hash *h, const void *key)
{
	uint32_t *link = link_to(h, key);
	uint32_t place = *link;

	if (!place)
		return;
	*link = h->next[place - 1];
	h->next[place - 1] = h->free;
	h->taken[place - 1] = 0;
	h->free = place;
	h->count--;
}

void *exits_hash_next(const struct exits_hash *h, uint32_t *place, const void **ret_key)
{
	while (*place < h->used && !h->taken[*place])
		(*place)++;
	if (*place >= h->used)
		return NULL;
	*ret_key = h->keys + *place * h->key_size;
	return h->values + (*place)++ * h->value_size;
}
