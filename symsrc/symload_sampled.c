/* Where a source has a kernel's file and nothing that says where that kernel runs, or only the
 * user's word, the addresses that the profiler samples say it (slide.h). They are kept here until
 * they do. */
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/symload_impl.h"

void load_drop_sampled(struct load *l)
{
	free(l->sampled);
	l->sampled = NULL;
}

void with_lock__take_sampled(const struct load *l, struct job *job)
{
	const struct load_sampled *s = l->sampled;

	if (!s)
		return;
	memcpy(job->sampled, s->ips, s->count * sizeof(s->ips[0]));
	job->req.target.sampled = job->sampled;
	job->req.target.sampled_count = s->count;
}

static bool has(const struct load_sampled *s, uint64_t ip)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->ips[i] == ip)
			return true;
	}
	return false;
}

/* When there is no room for more, the newest take the place of the oldest. */
static void add(struct load_sampled *s, uint64_t ip)
{
	if (has(s, ip))
		return;
	if (s->count < SYMLOAD_SAMPLED_MAX) {
		s->ips[s->count++] = ip;
		return;
	}
	s->ips[s->next] = ip;
	s->next = (s->next + 1) % SYMLOAD_SAMPLED_MAX;
}

/* Each attempt reads the file, so that twice as many addresses must have come since the last. When
 * all places are taken the loader tries again in its own time. */
static bool with_lock__add_all(struct load *l, const uint64_t *ips, size_t n)
{
	struct load_sampled *s = l->sampled;

	if (!s)
		s = l->sampled = calloc(1, sizeof(*s));
	if (!s)
		return false;
	if (s->enough == 0)
		s->enough = SYMLOAD_SAMPLED_MIN;
	for (size_t i = 0; i < n; i++)
		add(s, ips[i]);
	if (s->count < s->enough)
		return false;
	while (s->enough <= s->count)
		s->enough *= 2;
	return true;
}

void symload_offer_addresses(struct symload *sl, uint64_t serial, uint32_t epoch,
			     const uint64_t *ips, size_t n)
{
	bool enough = false;
	struct load *l;

	mutex_lock(&sl->lock);
	l = with_lock__find(sl, serial);
	if (l && l->wants_sampled && l->epoch == epoch)
		enough = with_lock__add_all(l, ips, n);
	if (enough)
		with_lock__schedule(l, clock_now_ns(), true);
	mutex_unlock(&sl->lock);
	if (enough)
		io_wake(sl->wake_fd);
}
