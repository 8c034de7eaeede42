/* PID/diff/NAME: the rows of two profiles side by side, as perf diff shows them: the share that a
 * symbol had, and by how much it has changed, in points of per cent; biggest change first. */
#include "fs/render.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

/* Shares are counted in millionths of a per cent, so that rounding sorts nothing wrongly. */
#define UNIT  100000000
#define CENTI (UNIT / 10000)

struct pair {
	const struct profile_row *row; /* of either */
	int64_t before, now;	       /* UNIT: all samples */
	bool had;		       /* there was a row before */
};

static int64_t share_of(uint64_t part, uint64_t whole)
{
	__extension__ typedef unsigned __int128 wide;

	return whole ? (int64_t)(((wide)part * UNIT + whole / 2) / whole) : 0;
}

static int64_t delta_of(const struct pair *p)
{
	return p->now - p->before;
}

static int compare_names(const struct profile_row *a, const struct profile_row *b)
{
	int r = strcmp(a->symbol, b->symbol);

	if (r == 0)
		r = strcmp(a->object, b->object);
	return r ? r : a->type - b->type;
}

static int by_name(const void *a, const void *b)
{
	return compare_names(((const struct pair *)a)->row, ((const struct pair *)b)->row);
}

static int by_change(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int64_t dx = llabs(delta_of(x)), dy = llabs(delta_of(y));

	if (dx != dy)
		return dx < dy ? 1 : -1;
	if (x->before != y->before)
		return x->before < y->before ? 1 : -1;
	return by_name(a, b);
}

/* Names that both have, and that one has more than once, become one pair. Returns their number. */
static size_t merge(struct pair *list, size_t n)
{
	size_t to = 0;

	qsort(list, n, sizeof(*list), by_name);
	for (size_t i = 0; i < n; i++) {
		if (to && by_name(&list[to - 1], &list[i]) == 0) {
			list[to - 1].before += list[i].before;
			list[to - 1].now += list[i].now;
			list[to - 1].had |= list[i].had;
		} else {
			list[to++] = list[i];
		}
	}
	return to;
}

/* Into a list where the rows of both fit. */
static size_t pair_rows(const struct profile *before, const struct profile *now, struct pair *list)
{
	size_t n = 0;

	for (size_t i = 0; i < before->row_count; i++)
		list[n++] = (struct pair){
			.row = &before->rows[i],
			.before = share_of(before->rows[i].samples, before->samples),
			.had = true,
		};
	for (size_t i = 0; i < now->row_count; i++)
		list[n++] = (struct pair){
			.row = &now->rows[i],
			.now = share_of(now->rows[i].samples, now->samples),
		};
	n = merge(list, n);
	qsort(list, n, sizeof(*list), by_change);
	return n;
}

/* "-" where there was no such row. One that is gone has lost all that it had. */
static void row(const struct pair *p, struct buf *out)
{
	uint64_t change = (uint64_t)((llabs(delta_of(p)) + CENTI / 2) / CENTI);
	char delta[32];

	snprintf(delta, sizeof(delta), "%c%" PRIu64 ".%02u%%", delta_of(p) < 0 ? '-' : '+',
		 change / 100, (unsigned)(change % 100));
	if (p->had)
		render_percent(out, 6, (uint64_t)p->before, UNIT);
	else
		buf_append_str(out, "     -");
	buf_printf(out, "%c %9s ", p->had ? '%' : ' ', delta);
	render_word(out, p->row->symbol);
	buf_append_char(out, ' ');
	render_word(out, p->row->object);
	buf_append_char(out, '\n');
}

static void header(const char *what, const struct profile *p, const struct render_when *when,
		   struct buf *out)
{
	buf_printf(out, "# %s: %" PRIu64 " samples since ", what, p->samples);
	render_date(out, when, p->since_ns);
	buf_append_str(out, " for ");
	render_seconds(out, render_length_ns(p));
	buf_append_char(out, '\n');
}

int render_diff(const struct guest *guest, const struct profile *before, const struct profile *now,
		const struct render_when *when, struct buf *out)
{
	CLEANUP_FREE struct pair *list =
		calloc(before->row_count + now->row_count + 1, sizeof(*list));
	size_t n;

	if (!list)
		return -ENOMEM;
	buf_append_str(out, "# guest: ");
	render_text(out, guest->name);
	buf_printf(out, " (pid %d)\n# baseline: snapshot ", (int)guest->pid);
	render_text(out, before->snapshot);
	buf_append_char(out, '\n');
	header("before", before, when, out);
	header("now", now, when, out);
	buf_append_str(out, "# BASELINE DELTA SYMBOL OBJECT\n");
	n = pair_rows(before, now, list);
	for (size_t i = 0; i < n && !out->err; i++)
		row(&list[i], out);
	return out->err;
}
