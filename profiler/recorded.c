#include "profiler/recorded.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "symsrc/base/clock.h"

/* ---- guests -------------------------------------------------------------------------------- */

static bool is_shown(const struct recording_guest *g)
{
	return g->pid != 0 || g->kernel || g->user || g->elsewhere_count;
}

static int copy_vcpus(const struct recording_guest *from, struct guest *to)
{
	to->vcpus = calloc(from->vcpu_count + 1, sizeof(to->vcpus[0]));
	if (!to->vcpus)
		return -ENOMEM;
	for (size_t i = 0; i < from->vcpu_count; i++)
		to->vcpus[i] = (struct guest_vcpu){from->vcpus[i].index, from->vcpus[i].tid};
	to->vcpu_count = from->vcpu_count;
	return 0;
}

/* With perf's --guestkallsyms there are maps of a default guest alone, of one kernel: whose that is
 * is known where a single guest is shown. */
static bool is_its_kernel(const struct recording *r, const struct recording_guest *g)
{
	size_t shown = 0;

	for (size_t i = 0; i < r->guest_count; i++)
		shown += is_shown(r->guests[i]);
	return g->map_count || shown == 1;
}

/* By which its symbols are checked. */
static void note_kernel(const struct recording *r, const struct recording_guest *from,
			struct guest_kernel *to)
{
	const struct recording_map *map = recording_kernel_map(recording_maps_of(r, from));
	const struct recording_build_id *b = recording_kernel_id(from);

	if (map && is_its_kernel(r, from)) {
		memcpy(to->symbol, map->symbol, sizeof(to->symbol));
		to->symbol_at = map->symbol_at;
	}
	if (b)
		to->id = b->id;
}

/* serial: any but 0, another one for each. */
static struct guest *make_guest(const struct recording *r, const struct recording_guest *from,
				uint64_t serial)
{
	struct guest *to = guest_create();

	if (!to)
		return NULL;
	to->serial = serial;
	to->pid = from->pid;
	if (from->name[0])
		snprintf(to->name, sizeof(to->name), "%s", from->name);
	else
		snprintf(to->name, sizeof(to->name), "guest-%d", (int)from->pid);
	snprintf(to->vmm, sizeof(to->vmm), "%.31s", from->name);
	snprintf(to->state, sizeof(to->state), "recorded");
	note_kernel(r, from, &to->kernel);
	if (copy_vcpus(from, to) == 0)
		return to;
	guest_put(to);
	return NULL;
}

void recorded_guests_put(const struct guest **list, int count)
{
	for (int i = 0; i < count; i++)
		guest_put(list[i]);
	free(list);
}

int recorded_guests(const struct recording *r, const struct guest ***ret)
{
	const struct guest **list = calloc(r->guest_count + 1, sizeof(*list));
	int n = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < r->guest_count; i++) {
		if (!is_shown(r->guests[i]))
			continue;
		list[n] = make_guest(r, r->guests[i], i + 1);
		if (!list[n]) {
			recorded_guests_put(list, n);
			return -ENOMEM;
		}
		n++;
	}
	*ret = list;
	return n;
}

/* ---- counts -------------------------------------------------------------------------------- */

/* When it began and ended, on our clock: before this machine's boot it is below 0, which wraps, and
 * is right all the same where it is shown as a date. */
struct span {
	uint64_t since_ns, ended_ns;
};

static struct span span_of(const struct recording *r)
{
	struct span s;
	struct timespec wall;
	uint64_t wall_ns;

	clock_gettime(CLOCK_REALTIME, &wall);
	wall_ns = (uint64_t)wall.tv_sec * NSEC_PER_SEC + (uint64_t)wall.tv_nsec;
	s.ended_ns = clock_now_ns() - (wall_ns - r->ended_wall_ns);
	s.since_ns = s.ended_ns - (r->last_ns - r->first_ns);
	return s;
}

static void fill_vcpus(struct tally_epoch *e, const struct recording_guest *g)
{
	unsigned most = g->vcpu_count ? g->vcpus[g->vcpu_count - 1].index + 1 : 0;

	e->vcpus = calloc(most + 1, sizeof(e->vcpus[0]));
	e->vcpu_count = e->vcpus ? most : 0;
	for (size_t i = 0; e->vcpus && i < g->vcpu_count; i++)
		e->vcpus[g->vcpus[i].index] =
			(struct tally_vcpu){.kernel = g->vcpus[i].kernel,
					    .user = g->vcpus[i].user,
					    .user_weight = g->vcpus[i].user_weight};
}

/* The table moves. */
static void fill_epoch(struct tally_epoch *e, struct recording_guest *g)
{
	counts_deinit(&e->table);
	e->table = g->table;
	g->table.slots = NULL;
	g->table.weights = NULL;
	g->table.slot_count = g->table.used = 0;
	e->kernel = g->kernel;
	e->user = g->user;
	e->user_weight = g->user_weight;
	e->user_contradictory = g->user_contradictory;
	e->table_full = g->table_full;
	fill_vcpus(e, g);
}

/* The end of a long path says more than its beginning. */
static void note_path(const char *path, char *note, size_t size)
{
	size_t n = strlen(path);

	if (n < size)
		snprintf(note, size, "%s", path);
	else
		snprintf(note, size, "...%s", path + n - (size - sizeof("...")));
}

/* Its profile would look as if nothing had run. */
static void note_elsewhere(const struct recording *r, const struct recording_guest *g, char *note,
			   size_t size)
{
	const struct recording_elsewhere *e = recording_elsewhere(g);

	if (e)
		snprintf(note, size,
			 "no sample of %.44s; --event %.44s shows the %" PRIu64 " it has",
			 r->events.list[r->shown].name, r->events.list[e->event].name, e->samples);
}

static void fill_tally(struct tally *t, const struct recording *r, struct recording_guest *g)
{
	struct span span = span_of(r);

	mutex_lock(&t->lock);
	t->sampler = SAMPLER_KIND_RECORDING;
	note_path(r->path, t->choice_note, sizeof(t->choice_note));
	note_elsewhere(r, g, t->trouble_note, sizeof(t->trouble_note));
	t->since_ns = span.since_ns;
	t->ended_ns = span.ended_ns;
	t->weight = r->weight;
	t->maps = recording_maps_of(r, g);
	t->host_kernel = g->host_kernel;
	t->host_user = g->host_user;
	fill_epoch(&t->epochs[0], g);
	mutex_unlock(&t->lock);
}

static void fill_totals(const struct recording *r, struct totals *totals)
{
	const struct recording_event *e = &r->events.list[r->shown];
	const struct totals_delta all = {
		.samples = r->samples,
		.guest_kernel = r->guest_kernel,
		.guest_user = r->guest_user,
		.host_kernel = r->host_kernel,
		.host_user = r->host_user,
		.host_idle = r->host_idle,
		.stranger_guest = r->left_out,
		.lost = r->lost,
		.throttled = r->throttled,
	};

	totals_add(totals, &all);
	totals_set_perf(totals, e->name, "", e->by_freq ? (unsigned)e->rate : 0, false, 0, "");
}

void recorded_fill(struct recording *r, const struct tally_set *set, struct totals *totals)
{
	for (size_t i = 0; i < r->guest_count; i++) {
		const struct guest_entry *e = guest_set_find_pid(set->guests, r->guests[i]->pid);

		if (e)
			fill_tally(set->tallies[e - set->guests->entries], r, r->guests[i]);
	}
	fill_totals(r, totals);
}

struct exits *recorded_exits(void)
{
	struct exits *e = calloc(1, sizeof(*e));

	if (e)
		snprintf(e->note, sizeof(e->note), "%s", RECORDED_NO_EXITS);
	return e;
}
