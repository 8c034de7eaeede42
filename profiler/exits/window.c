#include "profiler/exits/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_EACH 200 /* times of what a copy takes */

void exits_window_deinit(struct exits_window *w)
{
	for (size_t i = 0; i < w->count; i++)
		exits_raw_deinit(&w->copies[i]);
	*w = (struct exits_window){0};
}

static void drop_oldest(struct exits_window *w)
{
	exits_raw_deinit(&w->copies[0]);
	w->count--;
	memmove(&w->copies[0], &w->copies[1], w->count * sizeof(w->copies[0]));
}

static size_t bytes_of(const struct exits_raw *raw)
{
	return raw->thread_count * sizeof(raw->threads[0]) + raw->row_count * sizeof(raw->rows[0]);
}

/* How many copies of this size may be kept. */
static size_t room_for(const struct exits_raw *copy)
{
	size_t n = EXITS_WINDOW_BYTES / (bytes_of(copy) + 1);

	return n < EXITS_WINDOW_COPIES ? n : EXITS_WINDOW_COPIES;
}

/* So many copies, the oldest of them about to be dropped, span a window. */
static uint64_t pause_for(size_t copies, uint64_t took_ns)
{
	uint64_t span = EXITS_WINDOW_NS / (copies - 1), rest = took_ns * IDLE_EACH;

	return span > rest ? span : rest;
}

/* Gives back what lists have that double as they grow. */
static void *trimmed(void *list, size_t n, size_t size)
{
	void *less = n ? reallocarray(list, n, size) : NULL;

	return less ? less : list;
}

void exits_window_add(struct exits_window *w, struct exits_raw *all, uint64_t took_ns)
{
	size_t room = room_for(all);

	if (room < 2) {
		exits_window_deinit(w);
		exits_raw_deinit(all);
		w->next_ns = clock_now_ns() + 6 * EXITS_WINDOW_NS;
		return;
	}
	/* The second one is old enough by now, or there is no room. */
	while (w->count > 1 &&
	       (w->count >= room || w->copies[1].taken_ns + EXITS_WINDOW_NS <= all->taken_ns))
		drop_oldest(w);
	w->next_ns = all->taken_ns + pause_for(room, took_ns);
	all->threads = trimmed(all->threads, all->thread_count, sizeof(all->threads[0]));
	all->rows = trimmed(all->rows, all->row_count, sizeof(all->rows[0]));
	w->copies[w->count++] = *all;
	*all = (struct exits_raw){0};
}

static int take_process(const struct exits_raw *all, uint32_t tgid, struct exits_raw *to)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < all->thread_count; i++) {
		if (all->threads[i].t.tgid == tgid)
			r = exits_raw_add_thread(to, all->threads[i].tid, &all->threads[i].t);
	}
	for (size_t i = 0; r == 0 && i < all->row_count; i++) {
		if (all->rows[i].key.tgid == tgid)
			r = exits_raw_add_row(to, &all->rows[i].key, &all->rows[i].row);
	}
	return r;
}

int exits_window_begin(const struct exits_window *w, uint32_t tgid, uint64_t now_ns,
		       struct exits_raw *ret)
{
	size_t i = w->count;
	struct exits_raw raw;
	int r;

	if (i == 0)
		return -ENOENT;
	while (i > 1 && w->copies[i - 1].taken_ns + EXITS_WINDOW_NS > now_ns)
		i--;
	raw = w->copies[i - 1]; /* the numbers that are not of a process */
	raw.threads = NULL;
	raw.rows = NULL;
	raw.thread_count = raw.row_count = 0;
	r = take_process(&w->copies[i - 1], tgid, &raw);
	if (r < 0)
		exits_raw_deinit(&raw);
	else
		*ret = raw;
	return r;
}
