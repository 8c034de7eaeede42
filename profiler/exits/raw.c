#include "profiler/exits/raw.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

void exits_raw_deinit(struct exits_raw *raw)
{
	free(raw->threads);
	free(raw->rows);
	*raw = (struct exits_raw){0};
}

static uint64_t count_of(const struct exits_thread *t, int32_t event)
{
	return event >= 0 && event < EXITS_EVENTS ? t->events[event] : 0;
}

uint64_t exits_raw_irqs(const struct exits_thread *t, const struct exits_fields *fields)
{
	return count_of(t, fields->msi) + count_of(t, fields->irq);
}

/* Room for one more of `size` bytes behind n; doubles. */
static void *grow(void *list, size_t n, size_t size)
{
	if (n && (n & (n - 1)))
		return list;
	return reallocarray(list, n ? 2 * n : 1, size);
}

int exits_raw_add_thread(struct exits_raw *raw, uint32_t tid, const struct exits_thread *t)
{
	void *list = grow(raw->threads, raw->thread_count, sizeof(*raw->threads));

	if (!list)
		return -ENOMEM;
	raw->threads = list;
	raw->threads[raw->thread_count++] = (struct exits_raw_thread){tid, *t};
	return 0;
}

int exits_raw_add_row(struct exits_raw *raw, const struct exits_key *key,
		      const struct exits_row *row)
{
	void *list = grow(raw->rows, raw->row_count, sizeof(*raw->rows));

	if (!list)
		return -ENOMEM;
	raw->rows = list;
	raw->rows[raw->row_count++] = (struct exits_raw_row){*key, *row};
	return 0;
}

/* ---- differences and sums -------------------------------------------------------------------- */

/* A map is read while it is written: what was read later may be less by an event. */
static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void subtract_sums(struct exits_sums *s, const struct exits_sums *before)
{
	s->count = less(s->count, before->count);
	s->userspace = less(s->userspace, before->userspace);
	s->timed = less(s->timed, before->timed);
	s->total = less(s->total, before->total);
}

static void subtract(struct exits_row *row, const struct exits_row *before)
{
	int first = -1, last = -1;

	subtract_sums(&row->sums, &before->sums);
	for (int i = 0; i < EXITS_BUCKETS; i++) {
		row->buckets[i] = less(row->buckets[i], before->buckets[i]);
		if (!row->buckets[i])
			continue;
		first = first < 0 ? i : first;
		last = i;
	}
	if (before->sums.timed == 0)
		return;
	if (first < 0) {
		row->sums.min = row->sums.max = 0;
		return;
	}
	if (row->sums.min == before->sums.min && first > 0 && row->sums.min < 1ULL << first)
		row->sums.min = 1ULL << first;
	if (row->sums.max == before->sums.max && last + 1 < EXITS_BUCKETS &&
	    row->sums.max > (2ULL << last) - 1)
		row->sums.max = (2ULL << last) - 1;
}

static void add_sums(struct exits_sums *to, const struct exits_sums *s)
{
	if (s->timed && (to->timed == 0 || s->min < to->min))
		to->min = s->min;
	if (s->max > to->max)
		to->max = s->max;
	to->count += s->count;
	to->userspace += s->userspace;
	to->timed += s->timed;
	to->total += s->total;
}

static void add(struct exits_row *to, const struct exits_row *row)
{
	add_sums(&to->sums, &row->sums);
	for (int i = 0; i < EXITS_BUCKETS; i++)
		to->buckets[i] += row->buckets[i];
}

/* ---- rows --------------------------------------------------------------------------------------
 */

static int compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* By what is counted, then by thread. */
static int compare_rows(const void *a, const void *b)
{
	const struct exits_raw_row *x = a;
	const struct exits_raw_row *y = b;
	int r = compare_u64(x->key.kind, y->key.kind);

	if (r == 0)
		r = compare_u64(x->key.what, y->key.what);
	if (r == 0)
		r = compare_u64(x->key.more, y->key.more);
	return r ? r : compare_u64(x->key.tid, y->key.tid);
}

static bool same_thing(const struct exits_key *a, const struct exits_key *b)
{
	return a->kind == b->kind && a->what == b->what && a->more == b->more;
}

static struct exits_raw_row *sorted_copy(const struct exits_raw *raw)
{
	struct exits_raw_row *list = calloc(raw->row_count + 1, sizeof(*list));

	if (list && raw->row_count) {
		memcpy(list, raw->rows, raw->row_count * sizeof(*list));
		qsort(list, raw->row_count, sizeof(*list), compare_rows);
	}
	return list;
}

static struct exits_line *append(struct exits_list *l)
{
	void *list = grow(l->lines, l->count, sizeof(*l->lines));

	if (!list)
		return NULL;
	l->lines = list;
	l->lines[l->count] = (struct exits_line){0};
	return &l->lines[l->count++];
}

/* One of the sorted rows into the lists: behind the last line, or into it. */
static int take_row(const struct exits_raw_row *r, struct exits *ret)
{
	struct exits_list *l = &ret->lists[r->key.kind];
	struct exits_line *line = l->count ? &l->lines[l->count - 1] : NULL;

	if (!line || !same_thing(&line->key, &r->key)) {
		line = append(l);
		if (!line)
			return -ENOMEM;
		line->key = r->key;
		line->key.tid = 0;
	}
	add(&line->row, &r->row);
	return 0;
}

/* rows: a sorted copy of raw's, from which what was before is taken away. */
static int take_rows(const struct exits_raw *raw, struct exits_raw_row *rows,
		     const struct exits_raw *before, uint32_t tid, struct exits *ret)
{
	static const struct exits_raw nothing;
	CLEANUP_FREE struct exits_raw_row *old = sorted_copy(before ? before : &nothing);
	size_t old_count = before ? before->row_count : 0;

	if (!old)
		return -ENOMEM;
	for (size_t i = 0; i < raw->row_count; i++) {
		const struct exits_raw_row *was =
			bsearch(&rows[i], old, old_count, sizeof(*old), compare_rows);

		if (was)
			subtract(&rows[i].row, &was->row);
		if (rows[i].key.kind >= EXITS_KINDS || (tid && rows[i].key.tid != tid) ||
		    (rows[i].row.sums.count == 0 && rows[i].row.sums.userspace == 0))
			continue;
		if (take_row(&rows[i], ret) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* ---- threads -----------------------------------------------------------------------------------
 */

const struct exits_thread *exits_raw_find(const struct exits_raw *raw, uint32_t tid, uint64_t began)
{
	for (size_t i = 0; i < raw->thread_count; i++) {
		if (raw->threads[i].tid == tid && raw->threads[i].t.began == began)
			return &raw->threads[i].t;
	}
	return NULL;
}

static const struct exits_thread *before_of(const struct exits_raw *before,
					    const struct exits_raw_thread *th)
{
	return before ? exits_raw_find(before, th->tid, th->t.began) : NULL;
}

/* Up to the moment, with what it has been doing since the last event. */
static void times_until(const struct exits_thread *t, uint64_t now, uint64_t *times)
{
	uint32_t slot = t->mode;

	for (int i = 0; i < EXITS_TIMES; i++)
		times[i] = t->times[i];
	if (t->run == EXITS_RUNNABLE)
		slot = EXITS_WAITING;
	else if (t->run == EXITS_ASLEEP &&
		 (slot != EXITS_IN_VMM || (t->vmm_reason == KVM_EXIT_HLT && !t->vmm_is_err)))
		slot = EXITS_HALTED;
	if (slot < EXITS_TIMES && t->run != EXITS_GONE)
		times[slot] += less(now, t->since);
}

static void take_times(const struct exits_raw *raw, const struct exits_raw *before,
		       const struct exits_raw_thread *th, struct exits *ret)
{
	const struct exits_thread *was = before_of(before, th);
	uint64_t now[EXITS_TIMES], then[EXITS_TIMES] = {0};

	times_until(&th->t, raw->taken_ns, now);
	if (was)
		times_until(was, before->taken_ns, then);
	for (int i = 0; i < EXITS_TIMES; i++)
		ret->times[i] += less(now[i], then[i]);
	ret->threads++;
	ret->entered = ret->entered || th->t.entered;
}

static int take_one_more(const struct exits_key *key, uint32_t userspace, struct exits *ret)
{
	const struct exits_row row = {.sums = {.count = 1, .userspace = userspace ? 1 : 0}};
	struct exits_list *l = &ret->lists[key->kind];
	struct exits_line *line;

	for (size_t i = 0; i < l->count; i++) {
		if (same_thing(&l->lines[i].key, key)) {
			add(&l->lines[i].row, &row);
			return 0;
		}
	}
	line = append(l);
	if (!line)
		return -ENOMEM;
	line->key = *key;
	line->key.tid = 0;
	line->row = row;
	return 0;
}

/* What is shown is made of these. */
struct showing {
	const struct exits_raw *raw, *before;
	const struct exits_raw_row *rows; /* raw's, sorted */
	uint32_t tid;
	const struct exits_plan *plan;
	struct exits_sums others[EXITS_KINDS];
};

/* Where what is under way is going to be counted, if it is not there already: in its row, or with
 * the others when those have taken some for want of rows. */
static int take_unfinished_one(struct showing *s, const struct exits_thread *t,
			       const struct exits_key *key, uint32_t userspace, struct exits *ret)
{
	const struct exits_raw_row wanted = {.key = *key}, *row;
	struct exits_sums *other = &s->others[key->kind];

	row = bsearch(&wanted, s->rows, s->raw->row_count, sizeof(*row), compare_rows);
	if (row && row->row.begun && row->row.begun >= t->exit_at)
		return 0;
	if (row || t->other[key->kind].count == 0)
		return take_one_more(key, userspace, ret);
	other->count++;
	other->userspace += userspace ? 1 : 0;
	return 0;
}

/* An exit that is still being handled counts, as it does for perf, and so does its access; their
 * time is not known yet. */
static int take_unfinished(struct showing *s, const struct exits_raw_thread *th, struct exits *ret)
{
	const struct exits_thread *t = &th->t;
	struct exits_key exit = {.what = t->reason,
				 .more = t->isa,
				 .kind = EXITS_REASON,
				 .tgid = t->tgid,
				 .tid = th->tid};
	struct exits_key access = {.what = t->access_what,
				   .more = t->access_more,
				   .kind = t->access_kind,
				   .tgid = t->tgid,
				   .tid = th->tid};
	int r;

	if (!t->in_exit)
		return 0;
	r = take_unfinished_one(s, t, &exit, t->userspace, ret);
	if (r == 0 && access.kind >= EXITS_MMIO && access.kind <= EXITS_FAST_MMIO)
		r = take_unfinished_one(s, t, &access, t->access_userspace, ret);
	return r;
}

static bool was_unfinished(const struct exits_raw *before, const struct exits_raw_thread *th)
{
	const struct exits_thread *was = before_of(before, th);

	return was && was->in_exit && was->exit_at == th->t.exit_at;
}

static void take_others(struct showing *show, const struct exits_raw_thread *th)
{
	const struct exits_thread *was = before_of(show->before, th);

	for (int kind = 0; kind < EXITS_KINDS; kind++) {
		struct exits_sums s = th->t.other[kind];

		if (was)
			subtract_sums(&s, &was->other[kind]);
		add_sums(&show->others[kind], &s);
	}
}

static void take_events(const struct exits_raw *before, const struct exits_raw_thread *th,
			const struct exits_plan *plan, struct exits *ret)
{
	const struct exits_thread *was = before_of(before, th);

	for (size_t i = 0; i < plan->event_count; i++)
		ret->events[i].count += less(th->t.events[i], was ? was->events[i] : 0);
	if (plan->fields.exit >= 0)
		ret->exits += less(th->t.events[plan->fields.exit],
				   was ? was->events[plan->fields.exit] : 0);
}

static int take_threads(struct showing *s, struct exits *ret)
{
	for (size_t i = 0; i < s->raw->thread_count; i++) {
		const struct exits_raw_thread *th = &s->raw->threads[i];

		if (s->tid && th->tid != s->tid)
			continue;
		take_events(s->before, th, s->plan, ret);
		take_others(s, th);
		if (!th->t.vcpu)
			continue;
		take_times(s->raw, s->before, th, ret);
		if (!was_unfinished(s->before, th) && take_unfinished(s, th, ret) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

static int compare_lines(const void *a, const void *b)
{
	const struct exits_line *x = a;
	const struct exits_line *y = b;
	int r = compare_u64(y->row.sums.count, x->row.sums.count);

	return r ? r : strcmp(x->name, y->name);
}

static int finish_list(struct exits_list *l, const struct exits_sums *other,
		       const struct exits_plan *plan)
{
	struct exits_line *line;

	for (size_t i = 0; i < l->count; i++)
		exits_plan_name(plan, &l->lines[i].key, l->lines[i].name);
	if (l->count)
		qsort(l->lines, l->count, sizeof(*l->lines), compare_lines);
	if (other->count == 0)
		return 0;
	line = append(l);
	if (!line)
		return -ENOMEM;
	snprintf(line->name, sizeof(line->name), "[other]");
	line->key.kind = EXITS_KINDS;
	line->row.sums = *other;
	return 0;
}

static int compare_events(const void *a, const void *b)
{
	const struct exits_event *x = a;
	const struct exits_event *y = b;
	int r = compare_u64(y->count, x->count);

	return r ? r : strcmp(x->name, y->name);
}

static void finish_events(struct exits *ret)
{
	qsort(ret->events, ret->event_count, sizeof(*ret->events), compare_events);
	while (ret->event_count && ret->events[ret->event_count - 1].count == 0)
		ret->event_count--;
}

static struct exits_lost lost_since(const struct exits_lost *now, const struct exits_lost *before)
{
	return (struct exits_lost){.rows = less(now->rows, before->rows),
				   .others = less(now->others, before->others),
				   .switches = less(now->switches, before->switches)};
}

int exits_raw_show(const struct exits_raw *raw, const struct exits_raw *before, uint32_t tid,
		   const struct exits_plan *plan, struct exits *ret)
{
	static const struct exits_lost nothing;
	CLEANUP_FREE struct exits_raw_row *rows = sorted_copy(raw);
	struct showing s = {.raw = raw, .before = before, .rows = rows, .tid = tid, .plan = plan};
	int r = -ENOMEM;

	ret->events = calloc(plan->event_count + 1, sizeof(*ret->events));
	if (ret->events && rows)
		r = take_rows(raw, rows, before, tid, ret);
	for (size_t i = 0; r == 0 && i < plan->event_count; i++)
		snprintf(ret->events[i].name, sizeof(ret->events[i].name), "%s", plan->events[i]);
	ret->event_count = plan->event_count;
	if (r == 0)
		r = take_threads(&s, ret);
	for (int kind = 0; r == 0 && kind < EXITS_KINDS; kind++)
		r = finish_list(&ret->lists[kind], &s.others[kind], plan);
	if (r < 0) {
		exits_deinit(ret);
		return r;
	}
	finish_events(ret);
	ret->taken_ns = raw->taken_ns;
	ret->lost = lost_since(&raw->lost, before ? &before->lost : &nothing);
	ret->kernel_irqs = less(raw->kernel_irqs, before ? before->kernel_irqs : 0);
	return 0;
}
