#include "profiler/tally.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/secret.h"
#include "profiler/snapshots.h"

struct tally *tally_create(uint64_t serial, struct tally_memory *memory,
			   const struct tally_clock *now)
{
	struct tally *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->snapshots = malloc(sizeof(*t->snapshots));
	if (!t->snapshots) {
		free(t);
		return NULL;
	}
	snapshots_init(t->snapshots);
	atomic_init(&t->refs, 1);
	t->serial = serial;
	t->memory = memory;
	t->since_ns = clock_now_ns();
	recent_init(&t->recent, &memory->recent, t->since_ns);
	t->until_ns = UINT64_MAX;
	t->base = *now;
	mutex_init(&t->lock);
	return t;
}

struct tally *tally_get(struct tally *t)
{
	if (t)
		atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

static void epoch_deinit(struct tally_epoch *e)
{
	counts_deinit(&e->table);
	retired_put(e->names);
	free(e->vcpus);
}

void tally_put(struct tally *t)
{
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < t->epoch_count; i++)
		epoch_deinit(&t->epochs[i]);
	recent_clear(&t->recent, 0);
	snapshots_deinit(t->snapshots);
	free(t->snapshots);
	mutex_deinit(&t->lock);
	free(t);
}

static void epoch_init(struct tally_epoch *e, const struct tally *t, uint32_t epoch,
		       uint64_t start_ns)
{
	*e = (struct tally_epoch){.epoch = epoch, .start_ns = start_ns};
	counts_init(&e->table, &t->memory->tables, secret_seed());
}

static void with_lock__drop_oldest(struct tally *t)
{
	t->forgotten.kernel += t->epochs[0].kernel;
	t->forgotten.user += t->epochs[0].user;
	epoch_deinit(&t->epochs[0]);
	t->epoch_count--;
	memmove(&t->epochs[0], &t->epochs[1], t->epoch_count * sizeof(t->epochs[0]));
}

void tally_begin_epoch(struct tally *t, uint32_t epoch, uint64_t start_ns)
{
	mutex_lock(&t->lock);
	if (t->epoch_count == 0 || t->epochs[t->epoch_count - 1].epoch < epoch) {
		if (t->epoch_count == SYMSRC_EPOCHS_KEPT)
			with_lock__drop_oldest(t);
		epoch_init(&t->epochs[t->epoch_count++], t, epoch, start_ns);
	}
	mutex_unlock(&t->lock);
}

/* Without memory for it the copies are marked, and this the next time. */
static void with_lock__retire(struct tally *t, struct tally_epoch *e, const struct retired *retired,
			      uint64_t now_ns)
{
	if (e->table.weighted || e->retired >= retired_number(retired))
		return;
	if (!counts_retire(&e->table, retired, e->retired))
		return;
	recent_retire(&t->recent, e->epoch, retired, e->retired);
	e->retired_before = e->retired;
	e->retired = retired_number(retired);
	e->retired_ns = now_ns;
	retired_put(e->names);
	e->names = retired_get(retired);
}

void tally_retire(struct tally *t, uint32_t epoch, const struct retired *retired, uint64_t now_ns)
{
	mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->epoch_count; i++) {
		if (t->epochs[i].epoch == epoch)
			with_lock__retire(t, &t->epochs[i], retired, now_ns);
	}
	mutex_unlock(&t->lock);
}

/* The newest boot that had begun by then. What is older than all was of the first one, which
 * ran before it was noticed. */
static struct tally_epoch *with_lock__epoch_at(struct tally *t, uint64_t time)
{
	for (unsigned i = t->epoch_count; i > 1; i--) {
		if (t->epochs[i - 1].start_ns <= time)
			return &t->epochs[i - 1];
	}
	return t->epoch_count ? &t->epochs[0] : NULL;
}

static bool with_lock__is_counted(const struct tally *t, uint64_t time)
{
	return time >= t->from_ns && time < t->until_ns;
}

/* The numbers of that vCPU; NULL when out of memory. */
static struct tally_vcpu *vcpu_of(struct tally_epoch *e, unsigned vcpu)
{
	struct tally_vcpu *more;
	unsigned count = e->vcpu_count ? e->vcpu_count : 4;

	if (vcpu < e->vcpu_count)
		return &e->vcpus[vcpu];
	if (vcpu > VCPU_UNKNOWN)
		return NULL;
	while (count <= vcpu)
		count *= 2;
	more = realloc(e->vcpus, count * sizeof(*more));
	if (!more)
		return NULL;
	memset(more + e->vcpu_count, 0, (count - e->vcpu_count) * sizeof(*more));
	e->vcpus = more;
	e->vcpu_count = count;
	return &e->vcpus[vcpu];
}

/* A sample lies in perf's ring for a while: as if it had come at once. */
static uint64_t place_of(const struct tally_epoch *e, uint64_t ip, uint64_t time)
{
	return time < e->retired_ns ? retired_move(e->names, e->retired_before, ip) : ip;
}

static void count_kernel(struct tally_epoch *e, uint64_t ip, unsigned vcpu)
{
	struct tally_vcpu *v = vcpu_of(e, vcpu);

	e->kernel++;
	if (v)
		v->kernel++;
	if (!counts_add(&e->table, ip, vcpu))
		e->table_full++;
}

static void count_user(struct tally_epoch *e, unsigned vcpu)
{
	struct tally_vcpu *v = vcpu_of(e, vcpu);

	e->user++;
	if (v)
		v->user++;
}

static bool with_lock__guest_sample(struct tally *t, const struct sample *s, unsigned vcpu)
{
	struct tally_epoch *e = with_lock__epoch_at(t, s->time);
	uint64_t ip = s->ip;

	t->watch.window_samples++;
	t->watch.boot.samples++;
	if (s->mode == SAMPLE_GUEST_KERNEL && !address_is_upper(s->ip))
		t->watch.boot.low_kernel++;
	else if (s->mode == SAMPLE_GUEST_KERNEL)
		stalewatch_add(&t->watch.names, s->ip);
	if (!e || t->sampler == SAMPLER_KIND_QMP || !with_lock__is_counted(t, s->time))
		return false;
	if (s->mode == SAMPLE_GUEST_KERNEL)
		ip = place_of(e, s->ip, s->time);
	recent_add(&t->recent, ip, vcpu, s->mode == SAMPLE_GUEST_USER, e->epoch, s->time);
	if (s->mode == SAMPLE_GUEST_KERNEL) {
		count_kernel(e, ip, vcpu);
	} else {
		count_user(e, vcpu);
		e->user_contradictory += address_is_upper(s->ip);
	}
	return true;
}

bool with_lock__tally_sample(struct tally *t, const struct sample *s, unsigned vcpu)
{
	if (s->time > t->news_ns && with_lock__is_counted(t, s->time))
		t->news_ns = s->time;
	switch (s->mode) {
	case SAMPLE_GUEST_KERNEL:
	case SAMPLE_GUEST_USER: return with_lock__guest_sample(t, s, vcpu);
	case SAMPLE_HOST_KERNEL: t->host_kernel += with_lock__is_counted(t, s->time); break;
	case SAMPLE_HOST_USER: t->host_user += with_lock__is_counted(t, s->time); break;
	case SAMPLE_OTHER: break;
	}
	return false;
}

bool with_lock__tally_observation(struct tally *t, const struct tally_observation *o,
				  uint64_t now_ns)
{
	struct tally_epoch *e = with_lock__epoch_at(t, now_ns);
	unsigned vcpu = o->vcpu < VCPU_UNKNOWN ? o->vcpu : VCPU_UNKNOWN;
	struct tally_vcpu *v;

	if (!e || t->sampler != SAMPLER_KIND_QMP || !with_lock__is_counted(t, now_ns))
		return false;
	t->news_ns = now_ns;
	recent_expire(&t->recent, now_ns);
	if (o->halted) {
		v = vcpu_of(e, vcpu);
		if (v)
			v->halted++;
		return true;
	}
	recent_add(&t->recent, o->ip, vcpu, !o->kernel, e->epoch, now_ns);
	if (o->kernel)
		count_kernel(e, o->ip, vcpu);
	else
		count_user(e, vcpu);
	return true;
}

static void epoch_clear(struct tally_epoch *e, const struct tally *t)
{
	uint32_t epoch = e->epoch;
	uint64_t start_ns = e->start_ns;
	uint32_t retired = e->retired;

	epoch_deinit(e);
	epoch_init(e, t, epoch, start_ns);
	e->retired = retired; /* nothing that comes now is older */
}

/* Older boots have nothing to tell any more: only the current one stays. */
static void with_lock__reset(struct tally *t, uint64_t now_ns, const struct tally_clock *now)
{
	while (t->epoch_count > 1)
		with_lock__drop_oldest(t);
	if (t->epoch_count)
		epoch_clear(&t->epochs[0], t);
	t->forgotten = (struct tally_vcpu){0};
	t->host_kernel = 0;
	t->host_user = 0;
	t->since_ns = now_ns;
	t->from_ns = now_ns;
	t->base = *now;
	t->paused_at = *now;
}

void tally_reset(struct tally *t, uint64_t now_ns, const struct tally_clock *now)
{
	mutex_lock(&t->lock);
	with_lock__reset(t, now_ns, now);
	t->news_ns = now_ns;
	if (t->paused)
		t->until_ns = now_ns;
	mutex_unlock(&t->lock);
}

uint64_t tally_news_ns(struct tally *t)
{
	uint64_t ns;

	mutex_lock(&t->lock);
	ns = t->news_ns;
	mutex_unlock(&t->lock);
	return ns;
}

/* The daemon's numbers never fall, but `end` may have been read before `start` was. */
static uint64_t grown(uint64_t start, uint64_t end)
{
	return end > start ? end - start : 0;
}

static void with_lock__resume(struct tally *t, uint64_t now_ns, const struct tally_clock *now)
{
	t->paused = false;
	t->from_ns = now_ns;
	t->until_ns = UINT64_MAX;
	t->base.samples += grown(t->paused_at.samples, now->samples);
	t->base.lost += grown(t->paused_at.lost, now->lost);
}

void tally_pause(struct tally *t, bool paused, uint64_t now_ns, const struct tally_clock *now)
{
	mutex_lock(&t->lock);
	if (paused && !t->paused) {
		t->paused = true;
		t->until_ns = now_ns;
		t->paused_at = *now;
	} else if (!paused && t->paused) {
		with_lock__resume(t, now_ns, now);
	}
	mutex_unlock(&t->lock);
}

bool tally_set_sampler(struct tally *t, enum sampler_kind kind, const char *note, uint64_t now_ns,
		       const struct tally_clock *now)
{
	bool changed;

	mutex_lock(&t->lock);
	changed = t->sampler != kind;
	if (changed) {
		if (t->sampler != SAMPLER_KIND_NONE && kind != SAMPLER_KIND_NONE)
			with_lock__reset(t, now_ns, now);
		recent_clear(&t->recent, now_ns);
		t->sampler = kind;
		t->trouble_note[0] = '\0';
	}
	snprintf(t->choice_note, sizeof(t->choice_note), "%s", note);
	mutex_unlock(&t->lock);
	return changed;
}

void tally_set_rate(struct tally *t, unsigned qmp_hz)
{
	mutex_lock(&t->lock);
	t->qmp_hz = qmp_hz;
	mutex_unlock(&t->lock);
}

void tally_set_trouble(struct tally *t, const char *note)
{
	mutex_lock(&t->lock);
	snprintf(t->trouble_note, sizeof(t->trouble_note), "%s", note);
	mutex_unlock(&t->lock);
}

enum sampler_kind tally_sampler(struct tally *t)
{
	enum sampler_kind kind;

	mutex_lock(&t->lock);
	kind = t->sampler;
	mutex_unlock(&t->lock);
	return kind;
}

bool tally_wants_registers(struct tally *t)
{
	bool wants;

	mutex_lock(&t->lock);
	wants = t->sampler == SAMPLER_KIND_QMP && !t->paused;
	mutex_unlock(&t->lock);
	return wants;
}

static void copy_numbers(const struct tally_epoch *e, int vcpu, struct tally_epoch_copy *to)
{
	to->epoch = e->epoch;
	to->retired = e->retired;
	if (vcpu < 0) {
		to->kernel = e->kernel;
		to->user = e->user;
		to->user_weight = e->user_weight;
	} else if ((unsigned)vcpu < e->vcpu_count) {
		to->kernel = e->vcpus[vcpu].kernel;
		to->user = e->vcpus[vcpu].user;
		to->user_weight = e->vcpus[vcpu].user_weight;
	}
	to->user_contradictory = vcpu < 0 ? e->user_contradictory : 0;
	to->table_full = vcpu < 0 ? e->table_full : 0;
}

static void with_lock__copy_facts(struct tally *t, struct tally_copy *to)
{
	to->sampler = t->sampler;
	to->qmp_hz = t->qmp_hz;
	snprintf(to->note, sizeof(to->note), "%s",
		 t->trouble_note[0] ? t->trouble_note : t->choice_note);
	to->paused = t->paused;
}

void tally_copy_facts(struct tally *t, struct tally_copy *to)
{
	mutex_lock(&t->lock);
	with_lock__copy_facts(t, to);
	mutex_unlock(&t->lock);
}

static void with_lock__copy(struct tally *t, int vcpu, const struct tally_clock *now,
			    struct tally_copy *to)
{
	const struct tally_clock *end = t->paused ? &t->paused_at : now;

	with_lock__copy_facts(t, to);
	to->since_ns = t->since_ns;
	to->taken_ns = t->ended_ns ? t->ended_ns : clock_now_ns();
	to->weight = t->weight;
	to->maps = t->maps;
	to->forgotten = vcpu < 0 ? t->forgotten : (struct tally_vcpu){0};
	to->host_kernel = t->host_kernel;
	to->host_user = t->host_user;
	to->elapsed.samples = grown(t->base.samples, end->samples);
	to->elapsed.lost = grown(t->base.lost, end->lost);
	to->epoch_count = t->epoch_count;
	for (unsigned i = 0; i < t->epoch_count; i++)
		copy_numbers(&t->epochs[i], vcpu, &to->epochs[i]);
}

/* Room for the entries of each boot, and a little more for those to come until they are
 * copied. */
static int allocate_tables(struct tally *t, size_t capacity[SYMSRC_EPOCHS_KEPT],
			   struct tally_copy *to)
{
	bool weighted[SYMSRC_EPOCHS_KEPT];

	mutex_lock(&t->lock);
	for (unsigned i = 0; i < SYMSRC_EPOCHS_KEPT; i++)
		capacity[i] = i < t->epoch_count ? t->epochs[i].table.used : 0;
	for (unsigned i = 0; i < SYMSRC_EPOCHS_KEPT; i++)
		weighted[i] = i < t->epoch_count && t->epochs[i].table.weighted;
	mutex_unlock(&t->lock);
	for (unsigned i = 0; i < SYMSRC_EPOCHS_KEPT; i++) {
		capacity[i] += capacity[i] / 8 + 64;
		free(to->epochs[i].entries);
		to->epochs[i].entries = malloc(capacity[i] * sizeof(struct counts_entry));
		if (!to->epochs[i].entries)
			return -ENOMEM;
		free(to->epochs[i].weights);
		to->epochs[i].weights = weighted[i] ? malloc(capacity[i] * sizeof(uint64_t)) : NULL;
		if (weighted[i] && !to->epochs[i].weights)
			return -ENOMEM;
	}
	return 0;
}

/* False when something has grown past its room meanwhile. */
static bool with_lock__copy_tables(struct tally *t, const size_t capacity[SYMSRC_EPOCHS_KEPT],
				   struct tally_copy *to)
{
	for (unsigned i = 0; i < t->epoch_count; i++) {
		if (t->epochs[i].table.used > capacity[i])
			return false;
	}
	for (unsigned i = 0; i < t->epoch_count; i++)
		to->epochs[i].entry_count = counts_copy(&t->epochs[i].table, to->epochs[i].entries,
							to->epochs[i].weights);
	return true;
}

/* Leaves the entries of one vCPU. */
static void keep_vcpu(struct tally_epoch_copy *e, unsigned vcpu)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->entry_count; i++) {
		if (e->entries[i].vcpu != vcpu)
			continue;
		if (e->weights)
			e->weights[kept] = e->weights[i];
		e->entries[kept++] = e->entries[i];
	}
	e->entry_count = kept;
}

/* Memory is allocated without the lock, so that the engine never waits for it. */
static int copy_with_tables(struct tally *t, int vcpu, const struct tally_clock *now,
			    struct tally_copy *to)
{
	size_t capacity[SYMSRC_EPOCHS_KEPT];
	bool done = false;

	while (!done) {
		int r = allocate_tables(t, capacity, to);

		if (r < 0)
			return r;
		mutex_lock(&t->lock);
		done = with_lock__copy_tables(t, capacity, to);
		if (done)
			with_lock__copy(t, vcpu, now, to);
		mutex_unlock(&t->lock);
	}
	for (unsigned i = 0; vcpu >= 0 && i < to->epoch_count; i++)
		keep_vcpu(&to->epochs[i], (unsigned)vcpu);
	return 0;
}

int tally_copy(struct tally *t, int vcpu, bool with_tables, const struct tally_clock *now,
	       struct tally_copy *ret)
{
	struct tally_copy copy = {0};

	if (with_tables) {
		int r = copy_with_tables(t, vcpu, now, &copy);

		if (r < 0) {
			tally_copy_deinit(&copy);
			return r;
		}
	} else {
		mutex_lock(&t->lock);
		with_lock__copy(t, vcpu, now, &copy);
		mutex_unlock(&t->lock);
	}
	*ret = copy;
	return 0;
}

/* One element more, since there may be none. NULL when out of memory. */
static void *dup_array(const void *from, size_t count, size_t size)
{
	void *to = malloc((count + 1) * size);

	if (to && count)
		memcpy(to, from, count * size);
	return to;
}

static int dup_entries(const struct tally_epoch_copy *e, struct tally_epoch_copy *to)
{
	to->entries = dup_array(e->entries, e->entry_count, sizeof(*e->entries));
	if (e->weights)
		to->weights = dup_array(e->weights, e->entry_count, sizeof(*e->weights));
	return to->entries && (to->weights || !e->weights) ? 0 : -ENOMEM;
}

int tally_copy_dup(const struct tally_copy *copy, struct tally_copy *ret)
{
	struct tally_copy to = *copy;
	int r = 0;

	for (unsigned i = 0; i < SYMSRC_EPOCHS_KEPT; i++) {
		to.epochs[i].entries = NULL;
		to.epochs[i].weights = NULL;
	}
	for (unsigned i = 0; r == 0 && i < copy->epoch_count; i++)
		r = dup_entries(&copy->epochs[i], &to.epochs[i]);
	if (r < 0)
		tally_copy_deinit(&to);
	else
		*ret = to;
	return r;
}

void tally_copy_deinit(struct tally_copy *copy)
{
	for (unsigned i = 0; i < SYMSRC_EPOCHS_KEPT; i++) {
		free(copy->epochs[i].entries);
		free(copy->epochs[i].weights);
	}
}

void tally_expire(struct tally *t, uint64_t now_ns)
{
	mutex_lock(&t->lock);
	recent_expire(&t->recent, now_ns);
	mutex_unlock(&t->lock);
}

struct tally_vcpu tally_vcpu(struct tally *t, unsigned vcpu)
{
	struct tally_vcpu sum = {0};

	mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->epoch_count; i++) {
		const struct tally_epoch *e = &t->epochs[i];

		if (vcpu >= e->vcpu_count)
			continue;
		sum.kernel += e->vcpus[vcpu].kernel;
		sum.user += e->vcpus[vcpu].user;
		sum.halted += e->vcpus[vcpu].halted;
	}
	mutex_unlock(&t->lock);
	return sum;
}
