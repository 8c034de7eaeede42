/* How one guest is sampled: by perf, over QMP, or not at all. Pure: it is told what happened
 * and decides; see engine.c for who tells it.
 */
#ifndef KVMPROFS_CHOICE_H
#define KVMPROFS_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/profiler.h"
#include "symsrc/guest.h"

/* A guest is looked at in windows of this length; two in a row are needed to call perf blind,
 * so that a guest changes hands after 3 s. */
#define CHOICE_WINDOW_NS (1500 * 1000000ULL)

/* So many samples at least must be expected of a window before none of them mean anything: at 1
 * Hz a guest that perf sees very well has windows without any. */
#define CHOICE_EXPECTED_MIN 20

/* How long a window is at this frequency: one busy vCPU then has twice as many. */
uint64_t choice_window_ns(unsigned freq);

/* What is known of the host and of the guest without watching it. */
struct choice_facts {
	enum sampler_choice asked;
	bool perf_running;
	const char *perf_error; /* why not */
	unsigned freq;
	enum guest_accel accel;
	bool has_qmp;
};

/* What watching taught. All zero at first. */
struct choice {
	bool perf_blind; /* its vCPUs burn CPU time, and perf shows nothing of the guest */
};

/* One window of a guest. */
struct choice_window {
	uint64_t length_ns;
	uint64_t guest_samples; /* by perf */
	uint64_t cpu_ns;	/* that its vCPU threads used, in the guest or not */
};

/* True when it matters what a window shows: auto, and perf might see this guest. */
bool choice_is_open(const struct choice_facts *f);

/* True when that many samples settle it, however much CPU time the vCPUs used. */
bool choice_perf_sees(const struct choice_facts *f, uint64_t length_ns, size_t vcpus,
		      uint64_t guest_samples);

/* Whether a window's samples contradict what QMP, which is asked rarely, said of the guest
 * (struct guest.state): somebody has stopped it, or let it go on. saw: choice_perf_sees() of the
 * window before. */
bool choice_doubts_state(const char *state, bool saw, uint64_t guest_samples);

/* True when that much CPU time is worth a look. */
bool choice_is_busy(uint64_t length_ns, uint64_t cpu_ns);

void choice_observe(struct choice *c, const struct choice_facts *f, const struct choice_window *w);

/* note: one line for people, may be empty. */
enum sampler_kind choice_decide(const struct choice *c, const struct choice_facts *f,
				char note[static 160]);

#endif
