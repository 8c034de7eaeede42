#include "profiler/choice.h"

#include <stdio.h>
#include <string.h>

#include "symsrc/base/clock.h"

/* A vCPU thread that is busy for this share of a window should show up in samples. */
#define BUSY_PERCENT 20

/* Of the samples that the vCPUs' CPU time stands for, these many percent must be the guest's.
 * A guest that does nothing but exit spends more than that in itself; a host whose kernel
 * cannot see guests still reports a stray one now and then. The gap keeps it from flapping. */
#define BLIND_BELOW_PERCENT 1
#define SEES_FROM_PERCENT   5

uint64_t choice_window_ns(unsigned freq)
{
	uint64_t enough = NSEC_PER_SEC * CHOICE_EXPECTED_MIN * 2 / (freq ? freq : 1);

	return enough > CHOICE_WINDOW_NS ? enough : CHOICE_WINDOW_NS;
}

bool choice_is_open(const struct choice_facts *f)
{
	return f->asked == SAMPLER_AUTO && f->perf_running && f->accel != GUEST_ACCEL_TCG;
}

/* The samples that this much CPU time stands for. */
static uint64_t expected(const struct choice_facts *f, uint64_t cpu_ns)
{
	return cpu_ns / NSEC_PER_USEC * f->freq / 1000000;
}

static bool at_least(uint64_t samples, uint64_t percent, uint64_t of)
{
	return samples * 100 >= percent * of;
}

bool choice_perf_sees(const struct choice_facts *f, uint64_t length_ns, size_t vcpus,
		      uint64_t guest_samples)
{
	return guest_samples > 0 &&
	       at_least(guest_samples, SEES_FROM_PERCENT, expected(f, length_ns) * vcpus);
}

bool choice_doubts_state(const char *state, bool saw, uint64_t guest_samples)
{
	if (!state[0])
		return false;
	return strcmp(state, "running") == 0 ? saw && guest_samples == 0 : guest_samples > 0;
}

bool choice_is_busy(uint64_t length_ns, uint64_t cpu_ns)
{
	return cpu_ns >= length_ns / 100 * BUSY_PERCENT;
}

void choice_observe(struct choice *c, const struct choice_facts *f, const struct choice_window *w)
{
	uint64_t of = expected(f, w->cpu_ns);

	if (!choice_is_busy(w->length_ns, w->cpu_ns) || of < CHOICE_EXPECTED_MIN)
		return;
	if (!at_least(w->guest_samples, BLIND_BELOW_PERCENT, of) || w->guest_samples == 0)
		c->perf_blind = true;
	else if (at_least(w->guest_samples, SEES_FROM_PERCENT, of))
		c->perf_blind = false;
}

static enum sampler_kind by_qmp(const struct choice_facts *f, const char *because, char note[160])
{
	if (f->has_qmp) {
		snprintf(note, 160, "%s", because);
		return SAMPLER_KIND_QMP;
	}
	snprintf(note, 160, "%.90s; there is no QMP socket to ask instead", because);
	return SAMPLER_KIND_NONE;
}

static enum sampler_kind by_perf(const struct choice_facts *f, char note[160])
{
	if (f->perf_running) {
		snprintf(note, 160, "%s",
			 f->accel == GUEST_ACCEL_TCG
				 ? "under TCG the host kernel cannot see into the guest; "
				   "--sampler auto or qmp can"
				 : "");
		return SAMPLER_KIND_PERF;
	}
	snprintf(note, 160, "perf does not run: %s", f->perf_error);
	return SAMPLER_KIND_NONE;
}

enum sampler_kind choice_decide(const struct choice *c, const struct choice_facts *f,
				char note[static 160])
{
	char because[160];

	if (f->asked == SAMPLER_QMP)
		return by_qmp(f, f->has_qmp ? "" : "--sampler qmp was asked for", note);
	if (f->asked == SAMPLER_PERF)
		return by_perf(f, note);
	if (f->accel == GUEST_ACCEL_TCG)
		return by_qmp(f, "under TCG the host kernel cannot see into the guest", note);
	if (!f->perf_running) {
		snprintf(because, sizeof(because), "perf does not run: %s", f->perf_error);
		return by_qmp(f, because, note);
	}
	if (c->perf_blind && !f->has_qmp) {
		/* Little is more than nothing. */
		snprintf(note, 160,
			 "hardly any samples of this guest: a nested host, or a kernel without "
			 "CONFIG_GUEST_PERF_EVENTS; there is no QMP socket to ask instead");
		return SAMPLER_KIND_PERF;
	}
	if (c->perf_blind)
		return by_qmp(f,
			      "perf yields no samples of this guest: a nested host, or a kernel "
			      "without CONFIG_GUEST_PERF_EVENTS",
			      note);
	return by_perf(f, note);
}
