/* One guest's conversation with the QMP sampler: a state machine that is told the time and
 * never waits. Owned by the sampler's thread.
 *
 *	(pause) -> connect, query-status -> info registers ... -> disconnect -> (pause)
 */
#ifndef KVMPROFS_QMPSESSION_H
#define KVMPROFS_QMPSESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "profiler/bootwatch.h"
#include "profiler/livedata.h"
#include "profiler/tally.h"
#include "symsrc/guest.h"
#include "symsrc/qmp.h"

/* What all sessions share. */
struct qmpsession_owner {
	struct guests *guests;
	int epoll_fd;		   /* connections are registered here, data.ptr being the session */
	struct livedata *livedata; /* may be NULL */
	/* Whether a guest's boot has symbols; may be NULL. */
	bool (*has_symbols)(void *ctx, uint64_t serial, uint32_t epoch);
	void (*recovered)(void *ctx, uint64_t serial);	 /* may be NULL */
	void (*port_opened)(void *ctx, uint64_t serial); /* likewise */
	/* A stalewatch is full: to be judged. May be NULL. */
	void (*look_for_names)(void *ctx, uint64_t serial, uint32_t epoch, struct stalewatch *w);
	void *ctx;
	unsigned freq; /* requests a second at most; 0: no limit of its own */
};

struct qmpsession {
	const struct qmpsession_owner *owner;
	uint64_t serial;
	struct tally *tally;	   /* held */
	const struct guest *guest; /* held; the newest */
	uint32_t epoch;
	uint64_t period_ns; /* between requests */
	uint64_t random;    /* xorshift's state */
	struct bootwatch boot;
	struct stalewatch names;
	uint64_t samples; /* filed, until the owner takes them */
	bool is_recorded; /* somebody reads what is filed */
	size_t batch_count;
	struct livedata_sample batch[LIVEDATA_BATCH]; /* to be handed on */

	struct qmp *qmp;    /* NULL between sessions */
	short polled;	    /* what epoll waits for */
	uint64_t opened_ns; /* this session */
	uint64_t asked_ns;  /* the request whose answer is awaited; 0: none is */
	uint64_t next_ns;   /* the next request; between sessions, the next session */
	uint64_t seen_ns;   /* the answer that is being read */
	uint64_t reset_ns;  /* the last RESET; 0: none yet */
	bool running;	    /* as query-status and events say */
	bool stale;	    /* the answer that is awaited is of before a reset */
	bool failed;	    /* what came is of no use: failure says why */
	char failure[160];
	bool troubled; /* the tally has a note of ours */
};

/* One that will connect at the first tick. Takes references. NULL when out of memory. */
struct qmpsession *qmpsession_create(const struct qmpsession_owner *owner,
				     const struct guest_entry *entry, struct tally *tally);
void qmpsession_destroy(struct qmpsession *s); /* accepts NULL */

/* The guest as it is now. */
void qmpsession_update(struct qmpsession *s, const struct guest_entry *entry);

/* epoll says that its descriptor is ready. */
void qmpsession_ready(struct qmpsession *s, uint64_t now);

/* Does what is due. Returns when something will be due again, clock_now_ns(). */
uint64_t qmpsession_tick(struct qmpsession *s, uint64_t now);

#endif
