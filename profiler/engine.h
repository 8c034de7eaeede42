/* The sampling engine: one perf event and ring on each CPU, one thread that drains them into
 * the tallies, sees CPUs come and go, and decides for each guest how it is sampled.
 *
 * Samples are told by their misc bits alone, filed by pid, thread, address and time, and never
 * resolved here. A ring is drained when it is half full, all of them every ENGINE_TICK_NS.
 */
#ifndef KVMPROFS_ENGINE_H
#define KVMPROFS_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/perfopen.h"
#include "profiler/profiler.h"
#include "profiler/livedata.h"
#include "profiler/tallies.h"
#include "profiler/totals.h"
#include "symsrc/base/errmsg.h"

#define ENGINE_TICK_NS (250 * NSEC_PER_MSEC)

struct engine_config {
	const struct perf_world *world;
	enum sampler_choice sampler;
	const char *event; /* as in struct profiler_config */
	unsigned freq;
	struct guests *guests;
	struct tallies *tallies;
	struct totals *totals;
	struct livedata *livedata; /* may be NULL */
	int qmp_wake_fd;	   /* io_wake()n when a guest changes to QMP or from it; or -1 */
	/* Whether a guest's boot has symbols (so that its kernel is up); called by the thread. */
	bool (*has_symbols)(void *ctx, uint64_t serial, uint32_t epoch);
	/* A guest's stalewatch is full: to be judged. May be NULL; called by the thread. */
	void (*look_for_names)(void *ctx, uint64_t serial, uint32_t epoch, struct stalewatch *w);
	void *ctx;
};

struct engine;

/* Opens the events unless the sampler is SAMPLER_QMP. What the user got wrong is an error; what
 * the host refuses is one with SAMPLER_PERF only, and else stands in the totals. */
int engine_create(const struct engine_config *config, struct engine **ret, struct errmsg *why);
/* Maps the rings and starts the thread: after the last fork. */
int engine_start(struct engine *e, struct errmsg *why);
void engine_stop(struct engine *e);    /* joins the thread; harmless when it does not run */
void engine_destroy(struct engine *e); /* accepts NULL; after engine_stop() */

#endif
