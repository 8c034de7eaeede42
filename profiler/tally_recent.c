/* The samples of the last seconds as counts of each boot. */
#include <errno.h>
#include <stdlib.h>

#include "profiler/tally.h"
#include "symsrc/base/cleanup.h"

/* What is taken with the lock held, and worked on without. */
struct window {
	struct recent_sample *samples;
	size_t count;
	uint64_t start_ms;		      /* older ones do not count */
	uint32_t epoch;			      /* the newest boot */
	uint32_t retired[SYMSRC_EPOCHS_KEPT]; /* of each boot, by age */
	int vcpu;			      /* or -1 */
};

/* A boot that the tally has forgotten changes no more: it has been marked by all that there was. */
static void with_lock__take_epochs(const struct tally *t, struct window *w)
{
	w->epoch = t->epoch_count ? t->epochs[t->epoch_count - 1].epoch : 0;
	for (unsigned age = 0; age < SYMSRC_EPOCHS_KEPT; age++)
		w->retired[age] = UINT32_MAX;
	for (unsigned i = 0; i < t->epoch_count; i++) {
		uint32_t age = w->epoch - t->epochs[i].epoch;

		if (age < SYMSRC_EPOCHS_KEPT)
			w->retired[age] = t->epochs[i].retired;
	}
}

/* Memory is allocated without the lock, so that the engine never waits for it. */
static int take_window(struct tally *t, uint64_t now_ns, struct window *w, struct tally_copy *to)
{
	size_t room = 0;
	bool done = false;

	while (!done) {
		free(w->samples);
		w->samples = malloc((room + 1) * sizeof(*w->samples));
		if (!w->samples)
			return -ENOMEM;
		mutex_lock(&t->lock);
		done = t->recent.count <= room;
		if (done) {
			recent_copy(&t->recent, w->samples);
			w->count = t->recent.count;
			with_lock__take_epochs(t, w);
			to->since_ns = recent_start_ns(&t->recent, now_ns);
			to->refused = recent_refused(&t->recent, now_ns);
		}
		room = t->recent.count + RECENT_BLOCK_SAMPLES;
		mutex_unlock(&t->lock);
	}
	w->start_ms = to->since_ns / NSEC_PER_MSEC;
	return 0;
}

static bool is_in(const struct window *w, const struct recent_sample *s)
{
	return s->ms >= w->start_ms && (w->vcpu < 0 || s->vcpu == (unsigned)w->vcpu);
}

/* How many boots ago it was. */
static unsigned age_of(const struct window *w, const struct recent_sample *s)
{
	return (w->epoch - s->epoch) & 0xff;
}

static void count_samples(const struct window *w, struct tally_copy *to)
{
	for (size_t i = 0; i < w->count; i++) {
		const struct recent_sample *s = &w->samples[i];
		struct tally_epoch_copy *e = &to->epochs[age_of(w, s) % SYMSRC_EPOCHS_KEPT];

		if (!is_in(w, s))
			continue;
		if (age_of(w, s) >= SYMSRC_EPOCHS_KEPT) {
			*(s->user ? &to->forgotten.user : &to->forgotten.kernel) += 1;
		} else if (s->user) {
			e->user++;
			e->user_contradictory += address_is_upper(s->ip);
		} else {
			e->kernel++;
		}
	}
}

static int allocate_entries(struct tally_copy *to)
{
	for (unsigned age = 0; age < SYMSRC_EPOCHS_KEPT; age++) {
		struct tally_epoch_copy *e = &to->epochs[age];

		e->entries = malloc((e->kernel + 1) * sizeof(*e->entries));
		if (!e->entries)
			return -ENOMEM;
	}
	return 0;
}

static void fill_entries(const struct window *w, struct tally_copy *to)
{
	for (size_t i = 0; i < w->count; i++) {
		const struct recent_sample *s = &w->samples[i];
		struct tally_epoch_copy *e;

		if (s->user || !is_in(w, s) || age_of(w, s) >= SYMSRC_EPOCHS_KEPT)
			continue;
		e = &to->epochs[age_of(w, s)];
		e->entries[e->entry_count++] =
			(struct counts_entry){.ip = s->ip, .vcpu = s->vcpu, .count = 1};
	}
}

/* From "by age" to what a copy is: the oldest first, no boot without samples. */
static void order_epochs(const struct window *w, struct tally_copy *to)
{
	struct tally_epoch_copy by_age[SYMSRC_EPOCHS_KEPT];

	for (unsigned age = 0; age < SYMSRC_EPOCHS_KEPT; age++) {
		by_age[age] = to->epochs[age];
		by_age[age].epoch = w->epoch - age;
		by_age[age].retired = w->retired[age];
		to->epochs[age] = (struct tally_epoch_copy){0};
	}
	to->epoch_count = 0;
	for (unsigned age = SYMSRC_EPOCHS_KEPT; age-- > 0;) {
		if (by_age[age].kernel + by_age[age].user)
			to->epochs[to->epoch_count++] = by_age[age];
		else
			free(by_age[age].entries);
	}
}

int tally_copy_recent(struct tally *t, int vcpu, uint64_t now_ns, struct tally_copy *ret)
{
	struct window w = {.vcpu = vcpu};
	struct tally_copy copy = {0};
	int r;

	tally_copy_facts(t, &copy);
	copy.taken_ns = now_ns;
	r = take_window(t, now_ns, &w, &copy);
	if (r == 0) {
		count_samples(&w, &copy);
		r = allocate_entries(&copy);
	}
	if (r == 0) {
		fill_entries(&w, &copy);
		order_epochs(&w, &copy);
		*ret = copy;
	} else {
		tally_copy_deinit(&copy);
	}
	free(w.samples);
	return r;
}
