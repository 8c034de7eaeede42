/* What the parts of the loader share; for symsrc/symload*.c alone.
 *
 *	symload.c	life, the scheduler, and what others ask
 *	symload_table.c	the guests, as discovery knows them, and the symbols that are kept
 *	symload_job.c	what a fetcher does
 *	symload_ram.c	the guest's RAM for it
 *	symload_room.c	what all of it may take
 *	symload_sampled.c	addresses that were sampled, for a source that wants them
 *	symload_ears.c	guests that tell by themselves that something has changed
 *	symload_policy.c	when and how long
 */
#ifndef KVMPROFS_SYMLOAD_IMPL_H
#define KVMPROFS_SYMLOAD_IMPL_H

#include <pthread.h>
#include <stdbool.h>

#include "symsrc/base/lock.h"
#include "symsrc/fetch.h"
#include "symsrc/serial_turn.h"
#include "symsrc/symload.h"

#define NEVER		UINT64_MAX
#define SUBSCRIBERS_MAX GUESTS_SUBSCRIBERS_MAX
#define NOTHING_SAID	1

struct kept {
	uint32_t epoch;
	const struct symbols *symbols;
};

/* A guest's RAM as it was opened. In the hands of the fetcher while one is at work. */
struct load_ram {
	struct vmmram *opened;
	struct errmsg why;	/* why there is none */
	const struct guest *of; /* by whose facts */
	uint64_t checked_ns;	/* when it was opened, or last looked at */
	bool doubtful;		/* open it anew */
};

/* Addresses that were sampled in its kernel, distinct ones, since the last fetch that worked. */
struct load_sampled {
	uint64_t ips[SYMLOAD_SAMPLED_MAX];
	size_t count;
	size_t next;   /* where the next one goes, once all places are taken */
	size_t enough; /* so many of them are worth another attempt */
};

/* One guest. All fields: lock of the loader. */
struct load {
	uint64_t serial;
	const struct guest *guest;
	uint32_t epoch;
	uint64_t epoch_start_ns;
	const char *uri;		      /* belongs to the rules */
	struct kept kept[SYMSRC_EPOCHS_KEPT]; /* newest first */
	const struct retired *retired; /* of the current epoch, also when its symbols had to go */
	char used[SOURCE_USED_MAX];
	struct load_ram ram;
	struct serial_ear *ear;	      /* by which the guest tells of news; NULL: it does not */
	uint64_t ended_ns;	      /* when its last job did */
	struct source_mark mark;      /* of the current boot, as a look brought it up to date */
	struct source_mark dead;      /* of the boot before, until there are symbols of this one */
	bool unmarked;		      /* there was a boot before, and dead is not its mark */
	struct errmsg error;	      /* of the last attempt */
	struct source_attempts tried; /* by the last fetch */
	unsigned attempts;	      /* to fetch, of this epoch */
	unsigned looks;		      /* likewise */
	unsigned failures;	      /* in a row */
	unsigned moves;		      /* times that it came to be reached in another way */
	uint64_t next_ns;	      /* when to try again; NEVER */
	uint64_t thorough_ns;	      /* before that only quick attempts */
	uint64_t paid_ns;	      /* when all CPU time that it took will have been rested for */
	uint64_t fetched_ns;
	bool whole;		      /* next time fetch everything, not just look */
	bool has_news;		      /* it had some while somebody was at it */
	bool slow;		      /* the last attempt ran out of time, or took long */
	bool running_slow;	      /* it counts among the patient ones that run */
	bool gone;		      /* the guest is; whoever fetches frees this */
	bool young;		      /* no attempt of a boot less than YOUNG_SEC ago has worked */
	bool misfit;		      /* symsrc_set_misfit(), of this epoch */
	bool wants_sampled;	      /* struct source, by the last fetch */
	struct load_sampled *sampled; /* NULL: none yet */
	int said;		      /* the result that was logged last; NOTHING_SAID */
	struct fetcher *by;	      /* who fetches it now, or NULL */
};

struct fetcher {
	pthread_t thread;
	struct symload *sl;
	unsigned index;
	int cancel_fd; /* woken to end the running fetch */
	bool started;
	bool ended; /* lock; the thread is about to return */
};

/* What a fetcher takes along when it leaves the lock. */
struct job {
	struct load *load;
	uint32_t epoch;
	uint64_t began_ns;
	uint64_t cpu_ns; /* that it took */
	bool whole;
	const struct guest *guest;
	struct load_ram ram;
	char boot_id[37];	       /* of the symbols that are here, or empty */
	const struct symbols *had;     /* those, or NULL */
	const struct retired *retired; /* until now */
	const struct retired *news;    /* result 0 and something has gone: to be told */
	unsigned failures;	       /* in a row, before this */
	unsigned moves;		       /* of the load, before this */
	struct fetch_request req;
	uint64_t sampled[SYMLOAD_SAMPLED_MAX];
	int result;
	struct errmsg why;
	const struct symbols *symbols; /* result 0 and whole */
	bool changed;		       /* result 0 and not whole: it is not what we have */
	bool new_epoch;		       /* the boot id said so; epoch is that one */
};

struct symload {
	struct guests *gs;
	struct source_rule *rules;
	size_t rule_count;
	char *proc_root;
	struct blobpool *pool; /* has a lock of its own */
	uint64_t check_ns, look_ns;
	bool cpu_is_free;
	bool recorded;
	symsrc_retired_fn *on_retired; /* NULL: nobody wants to know; set before the threads run */
	void *on_retired_ctx;
	size_t kept_max;
	unsigned fetcher_count;
	struct fetcher *fetchers;
	pthread_t scheduler;
	bool scheduler_started;
	int wake_fd; /* of the scheduler: guests, the clock, a finished fetch */
	int ears_fd; /* epoll(7) of all guests' ears, by serial */

	struct mutex lock;
	struct cond work;		  /* there may be something due */
	bool stopping;			  /* lock */
	struct load **loads;		  /* lock; by serial, ascending */
	size_t count, cap;		  /* lock */
	size_t total_max;		  /* lock; for tests: 0: symload.h says it */
	unsigned slow_running;		  /* lock; of load_is_patient(), under way */
	uint64_t generation;		  /* lock; of the guest set that was last seen */
	int subscribers[SUBSCRIBERS_MAX]; /* lock; -1: free */
};

/* ---- symload_policy.c ---------------------------------------------------------------------- */

/* The guest booted less than a minute ago, or its VMM started. Not pure: looks at the clock. */
bool load_is_young(const struct load *l);

/* Whether this (struct source.used) is the guest's memory: a look at it asks nobody, and takes next
 * to nothing. */
bool symload_is_memory(const char *used);

/* Whether the guest's next job may keep a thread waiting: it was slow, or is to be asked, by a
 * connection, for no more than a look. */
bool load_is_patient(const struct load *l);

/* Notes what a job took. Whatever a guest does (boots again and again, is never ready, changes all
 * the time), in the long run it gets one part in SYMLOAD_CPU_SHARE of a CPU. */
void load_charge(struct load *l, uint64_t cpu_ns);

/* when_ns, or later where that would be too much. */
uint64_t load_when_affordable(const struct load *l, uint64_t when_ns);

/* When to try again after an attempt that failed; NEVER. Brings thorough_ns up to date. */
uint64_t load_next_attempt(struct load *l, const struct job *job);

/* When to look again at one whose symbols are here, after a job that worked; NEVER. */
uint64_t load_next_look(const struct symload *sl, const struct load *l, const struct job *job);

/* ---- symload_ram.c -------------------------------------------------------------------------- */

/* Whether discovery knows the same of their RAM. */
bool symload_ram_facts_same(const struct guest *a, const struct guest *b);

/* Opens the guest's RAM where the job's source may want it, or sees that it still is as it was.
 * Not under the lock: reads /proc/PID. */
void symload_prepare_ram(struct symload *sl, struct job *job);
void load_ram_deinit(struct load_ram *ram);

/* ---- symload_table.c ------------------------------------------------------------------------ */

const struct symbols *load_symbols(const struct load *l, uint32_t epoch);
void load_keep(struct load *l, uint32_t epoch, const struct symbols *symbols); /* takes over */
void load_free(struct load *l);

struct load *with_lock__find(const struct symload *sl, uint64_t serial);
void with_lock__wake_subscribers(const struct symload *sl);
void with_lock__schedule(struct load *l, uint64_t when_ns, bool whole);

/* Takes the newest set of guests, if it is new. */
void symload_sync_guests(struct symload *sl);

/* The one that waits longest among those that may run, due or not. */
struct load *with_lock__first(const struct symload *sl);

/* ---- symload_room.c ------------------------------------------------------------------------- */

/* Lets go of the symbols of the guest's current boot. */
void with_lock__forget_current(struct load *l);

/* Lets go of symbols of earlier boots, the oldest first, until the rest is below the limit. */
void with_lock__limit_memory(const struct symload *sl);

/* Whether these symbols of the guest's current boot may be kept: makes room for them, by what of
 * earlier boots is here, then by the symbols of guests whose take more. 0, or -ENOBUFS and why;
 * then those that they were to replace are gone, too. */
int with_lock__make_room(const struct symload *sl, struct load *l, const struct symbols *symbols,
			 struct errmsg *why);

/* ---- symload_sampled.c ----------------------------------------------------------------------- */

/* Hands them to the job. */
void with_lock__take_sampled(const struct load *l, struct job *job);

/* They have done their duty, or are of a boot that is over. */
void load_drop_sampled(struct load *l);

/* ---- symload_ears.c ------------------------------------------------------------------------- */

/* Listens by this ear (which may be NULL) from now on, and no more by the one of before. */
void with_lock__listen(const struct symload *sl, struct load *l, struct serial_ear *ear);

/* Schedules a look; at a guest that is being looked at once that has ended. */
void with_lock__look_soon(struct load *l);

/* Schedules a look at each guest that has news. */
void symload_hear(struct symload *sl);

/* ---- symload_job.c -------------------------------------------------------------------------- */

void *symload_fetcher_main(void *arg);

#endif
