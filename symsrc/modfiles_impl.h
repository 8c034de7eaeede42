/* What the parts of it share; for symsrc/modfiles*.c alone.
 *
 *	modfiles.c	life, the scheduler, and what others ask
 *	modfiles_work.c	what a fetcher does
 */
#ifndef KVMPROFS_MODFILES_IMPL_H
#define KVMPROFS_MODFILES_IMPL_H

#include <pthread.h>
#include <stdbool.h>

#include "symsrc/base/lock.h"
#include "symsrc/fetch.h"
#include "symsrc/filecache.h"
#include "symsrc/modfiles.h"

enum wanted_state { WANTED_FREE, WANTED_QUEUED, WANTED_RUNNING, WANTED_FAILED };

struct wanted {
	enum wanted_state state;
	uint64_t key, stamp;
	uint64_t until_ns; /* WANTED_FAILED: this result holds */
	int result;
};

/* One guest. All fields: lock, but way, which is in the hands of the fetcher while one is at work.
 */
struct modfiles_guest {
	uint64_t serial;
	const struct guest *guest;
	const char *uri; /* belongs to the rules */
	uint32_t epoch;
	char release[128];   /* of the running kernel; empty: not known */
	uint64_t symbols_ns; /* when they were fetched: the listing is of that time, or later */
	const struct modtree *tree; /* or NULL */
	uint64_t list_ns;	    /* when to list; UINT64_MAX: not planned */
	uint64_t gap_ns;	    /* not before */
	struct errmsg error;	    /* of the last listing */
	struct wanted wanted[MODFILES_WANTED_MAX];
	struct fetch_files *way;
	uint64_t idle_ns; /* when to close way */
	uint64_t served_ns;
	struct modfetcher *by;
	bool slow, running_slow;
	bool moved; /* way leads where the guest was before */
	bool gone;  /* whoever fetches frees this */
	char used[SOURCE_USED_MAX];
};

struct modfetcher {
	pthread_t thread;
	struct modfiles *m;
	unsigned index;
	int cancel_fd;
	bool started;
	bool ended; /* lock */
};

struct modfiles {
	struct guests *gs;
	struct symload *sl;
	const struct source_rule *rules;
	size_t rule_count;
	bool wanted; /* some rule asks for modules */
	uint64_t gap_ns;
	int wake_fd; /* of the scheduler */
	pthread_t scheduler;
	bool scheduler_started;
	struct modfetcher fetchers[MODFILES_FETCHERS];

	struct mutex lock;
	struct cond work;
	bool stopping;			/* lock */
	struct modfiles_guest **guests; /* lock; in no order */
	size_t count;			/* lock */
	unsigned slow_running;		/* lock */
	struct filecache *cache;	/* lock */
};

struct modfiles_guest *with_lock__modfiles_find(const struct modfiles *m, uint64_t serial);
void modfiles_guest_free(struct modfiles_guest *g);

/* Who waits longest for a fetcher; NULL: nobody may have one now. *ret_when_ns: when the next thing
 * is due that only waits for the clock. */
struct modfiles_guest *with_lock__modfiles_due(const struct modfiles *m, uint64_t *ret_when_ns);

void *modfiles_fetcher_main(void *arg);

#endif
