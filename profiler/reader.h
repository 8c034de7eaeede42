/* Takes the records out of a ring and files them: the way of each sample, without a thread. */
#ifndef KVMPROFS_READER_H
#define KVMPROFS_READER_H

#include <stdbool.h>

#include "profiler/livedata.h"
#include "profiler/ring.h"
#include "profiler/tallies.h"
#include "profiler/totals.h"

struct reader {
	struct tallies *tallies;
	const struct tally_set *set; /* held; the newest when the last round began */
	struct ring_scratch *scratch;
	bool exact_lost;	   /* the lost count comes from elsewhere: LOST records tell less */
	struct livedata *livedata; /* that gets each guest's samples as they are filed; or NULL */
	size_t batch_count;	   /* that wait for it */
	struct livedata_sample batch[LIVEDATA_BATCH];
	/* Called with each new set before a sample is filed by it; may be NULL. */
	void (*on_set)(void *ctx, const struct tally_set *set);
	void *ctx;
};

/* 0 or -ENOMEM. */
int reader_init(struct reader *r, struct tallies *tallies);
void reader_deinit(struct reader *r);

/* Takes over the newest set of guests, if it has changed. */
void reader_refresh(struct reader *r);

/* Files all that stands in the ring of that CPU now; adds what it was to *found. */
void reader_drain(struct reader *r, struct ring *ring, unsigned cpu, struct totals_delta *found);

#endif
