#include "profiler/exits/tables.h"

#include <errno.h>
#include <string.h>

#define KERNEL_THREADS 4096 /* threads that are known; others are asked about each time */

int exits_tables_init(struct exits_tables *t, const struct exits_fields *fields,
		      const struct exits_sizes *sizes, const char *proc)
{
	int r;

	*t = (struct exits_tables){.constants = {.fields = *fields, .task_flags = -1},
				   .proc = proc};
	memcpy(t->constants.limits, sizes->limits, sizeof(t->constants.limits));
	r = exits_hash_init(&t->threads, sizes->threads, sizeof(uint32_t),
			    sizeof(struct exits_thread));
	if (r == 0)
		r = exits_hash_init(&t->processes, sizes->processes, sizeof(uint32_t),
				    sizeof(struct exits_process));
	if (r == 0)
		r = exits_hash_init(&t->kernel_threads, KERNEL_THREADS, sizeof(uint32_t),
				    sizeof(uint32_t));
	for (int i = 0; r == 0 && i < EXITS_MAPS; i++)
		r = exits_hash_init(&t->rows[i], sizes->rows[i], sizeof(struct exits_key),
				    sizeof(struct exits_row));
	if (r < 0)
		exits_tables_deinit(t);
	return r;
}

void exits_tables_deinit(struct exits_tables *t)
{
	exits_hash_deinit(&t->threads);
	exits_hash_deinit(&t->processes);
	exits_hash_deinit(&t->kernel_threads);
	for (int i = 0; i < EXITS_MAPS; i++)
		exits_hash_deinit(&t->rows[i]);
}

/* ---- reading -----------------------------------------------------------------------------------
 */

static int read_threads(const struct exits_tables *t, uint32_t tgid, struct exits_raw *raw)
{
	const struct exits_thread *e;
	const void *key;
	uint32_t place = 0;
	int r = 0;

	while (r == 0 && (e = exits_hash_next(&t->threads, &place, &key))) {
		if (exits_is_of(e->tgid, tgid))
			r = exits_raw_add_thread(raw, exits_number_of(e), e);
	}
	return r;
}

static int read_rows(const struct exits_hash *h, uint32_t tgid, struct exits_raw *raw)
{
	const struct exits_row *row;
	const void *at;
	uint32_t place = 0;
	int r = 0;

	while (r == 0 && (row = exits_hash_next(h, &place, &at))) {
		const struct exits_key *key = at;

		if (exits_is_of(key->tgid, tgid))
			r = exits_raw_add_row(raw, key, row);
	}
	return r;
}

int exits_tables_read(const struct exits_tables *t, uint32_t tgid, struct exits_raw *ret)
{
	struct exits_raw raw = {0};
	struct exits_thread kernel;
	int r = read_threads(t, tgid, &raw);

	for (int i = 0; r == 0 && i < EXITS_MAPS; i++)
		r = read_rows(&t->rows[i], tgid, &raw);
	if (r < 0) {
		exits_raw_deinit(&raw);
		return r;
	}
	if (exits_tables_read_thread(t, EXITS_KERNEL, &kernel) == 0)
		raw.kernel_irqs = exits_raw_irqs(&kernel, &t->constants.fields);
	*ret = raw;
	return 0;
}

int exits_tables_read_thread(const struct exits_tables *t, uint32_t tid, struct exits_thread *ret)
{
	const struct exits_thread *e = exits_hash_find(&t->threads, &tid);

	if (!e)
		return -ENOENT;
	*ret = *e;
	return 0;
}

int exits_tables_lasts(const struct exits_tables *t, exits_last_fn *fn, void *ctx)
{
	const struct exits_thread *e;
	const void *key;
	uint32_t place = 0;
	int r = 0;

	while (r == 0 && (e = exits_hash_next(&t->threads, &place, &key))) {
		if (e->vcpu)
			r = fn(ctx, e->tgid, e->since);
	}
	return r;
}

/* ---- forgetting ---------------------------------------------------------------------------------
 */

static void forget_threads(struct exits_tables *t, exits_keep_fn *keep, void *ctx)
{
	const struct exits_thread *e;
	const void *key;
	uint32_t place = 0;

	while ((e = exits_hash_next(&t->threads, &place, &key))) {
		if (e->tgid != EXITS_KERNEL && !keep(ctx, e->tgid))
			exits_hash_remove(&t->threads, key);
	}
}

static void forget_rows(struct exits_hash *h, exits_keep_fn *keep, void *ctx)
{
	const void *at;
	uint32_t place = 0;

	while (exits_hash_next(h, &place, &at)) {
		const struct exits_key *key = at;

		if (!keep(ctx, key->tgid))
			exits_hash_remove(h, key);
	}
}

/* The pools are counted anew, by those that are left. */
static void forget_processes(struct exits_tables *t, exits_keep_fn *keep, void *ctx)
{
	const struct exits_process *p;
	const void *key;
	uint32_t place = 0;

	memset(t->pools, 0, sizeof(t->pools));
	while ((p = exits_hash_next(&t->processes, &place, &key))) {
		uint32_t tgid;

		memcpy(&tgid, key, sizeof(tgid));
		if (!keep(ctx, tgid)) {
			exits_hash_remove(&t->processes, key);
			continue;
		}
		for (int i = 0; i < EXITS_MAPS; i++) {
			if (p->rows[i] > t->constants.limits[i].sure)
				t->pools[i] += p->rows[i] - t->constants.limits[i].sure;
		}
	}
}

/* Their numbers are used again. */
static void forget_kernel_threads(struct exits_tables *t)
{
	const void *key;
	uint32_t place = 0;

	while (exits_hash_next(&t->kernel_threads, &place, &key))
		exits_hash_remove(&t->kernel_threads, key);
}

void exits_tables_forget(struct exits_tables *t, exits_keep_fn *keep, void *ctx)
{
	forget_threads(t, keep, ctx);
	for (int i = 0; i < EXITS_MAPS; i++)
		forget_rows(&t->rows[i], keep, ctx);
	forget_processes(t, keep, ctx);
	forget_kernel_threads(t);
}
