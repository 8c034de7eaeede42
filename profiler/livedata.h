/* Live recordings: streams of guests' samples as perf.data in pipe format, which perf and --input
 * read.
 *
 * The samplers hand on what they have just filed, which costs them one look at a number while
 * nobody reads. They write it to the readers' queues (symsrc/base/feed.h) themselves, and never
 * wait for a reader; what a queue has no room for stands in the stream as PERF_RECORD_LOST, with
 * its exact number, as soon as half of the queue is free. One thread follows the guests: it writes
 * build-ids, maps and names of those that are there, of each that comes, boots anew or loads a
 * module (liveguest.h), ends the streams of guests that are gone, and drops readers that have
 * closed.
 *
 * perf sorts by time what stands between two PERF_RECORD_FINISHED_ROUND, of which the engine orders
 * one each tick. None is written while a guest's names are still on their way, LIVEDATA_HOLD_NS
 * at most, so that they come early enough for the first of its samples.
 */
#ifndef KVMPROFS_LIVEDATA_H
#define KVMPROFS_LIVEDATA_H

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/base/feed.h"
#include "symsrc/guest.h"
#include "symsrc/symbols.h"

#define LIVEDATA_FEED_BYTES  (8u << 20)	  /* of a reader's queue: 140,000 samples */
#define LIVEDATA_GUEST_BYTES (512u << 10) /* what is told of one guest at a time, at most */
#define LIVEDATA_READERS_MAX 32
#define LIVEDATA_BATCH	     256
#define LIVEDATA_TICK_NS     (250 * NSEC_PER_MSEC)
#define LIVEDATA_HOLD_NS     (20 * NSEC_PER_SEC)

struct livedata_config {
	struct guests *guests;
	/* A boot's symbols with a reference, or NULL; called by the thread. */
	const struct symbols *(*symbols_of)(void *ctx, uint64_t serial, uint32_t epoch);
	void *ctx;
	const char *kallsyms; /* "/proc/kallsyms" */
};

struct livedata_sample {
	uint64_t serial; /* of the guest */
	uint64_t ip;
	uint64_t time;	 /* clock_now_ns() */
	uint64_t period; /* ns between two; 0: the event's */
	uint32_t pid, tid;
	uint32_t cpu; /* or PERFDATA_CPU_NONE */
	bool kernel;
	bool registers; /* were read over QMP; else perf's */
};

struct livedata;

int livedata_create(const struct livedata_config *config, struct livedata **ret,
		    struct errmsg *why);
/* A descriptor for io_wake(): symbols of some guest have changed. */
int livedata_wake_fd(const struct livedata *l);
int livedata_start(struct livedata *l, struct errmsg *why);
void livedata_stop(struct livedata *l); /* ends all streams, joins; harmless when it does not run */
void livedata_destroy(struct livedata *l); /* accepts NULL */

/* The event that perf samples with from now on; attr NULL: it does not run, and rounds are not
 * ordered by the engine. Any thread. */
void livedata_set_perf(struct livedata *l, const struct perf_event_attr *attr, const char *name,
		       uint64_t period);

/* A new reader of that guest's samples from now on, or of all guests' (serial 0); its queue's
 * reading side is the caller's. registers: that is how the guest is sampled now. wake_fd: see
 * feed_create(). Any thread; does not wait. 0, -ESRCH when there is no such guest, -EMFILE past
 * LIVEDATA_READERS_MAX, -ENOMEM. */
int livedata_open(struct livedata *l, uint64_t serial, bool registers, int wake_fd,
		  struct feed **ret);

/* ---- what samplers call; any thread; none waits for more than a moment ------------------------
 */

/* Whether anybody reads. Accepts NULL. */
bool livedata_is_wanted(const struct livedata *l);
/* n: at most LIVEDATA_BATCH. */
void livedata_add(struct livedata *l, const struct livedata_sample *samples, size_t n);
/* The kernel could not write so many samples, of whomever. */
void livedata_add_lost(struct livedata *l, uint64_t lost);
/* All that was sampled before the last call has been added. */
void livedata_end_round(struct livedata *l);

#endif
