/* A recording in the place of live guests: the guests that are in it, as all rooms know guests, and
 * their counts in their tallies. */
#ifndef KVMPROFS_RECORDED_H
#define KVMPROFS_RECORDED_H

#include "profiler/exits/snapshot.h"
#include "profiler/perfdata/recording.h"
#include "profiler/tallies.h"
#include "profiler/totals.h"
#include "symsrc/guest.h"

/* What a file says that no recording can fill; "no VM exits: ..." and so on. */
#define RECORDED_NO_EXITS    "no VM exits: a recording of samples has none"
#define RECORDED_NO_COUNTERS "no counters: a recording of samples has none of KVM's"
#define RECORDED_NO_EVENTS   "no events: a recording of samples has none of KVM's"
#define RECORDED_NO_RECORD   "no recording: this is one already"
#define RECORDED_NO_RECENT   "no last 10 s: a recording is over; profile has all of it"

/* The guests of the recording, each with one reference for the caller, in a list of its own. One
 * whose name the recording does not have is called guest-PID. Pid 0 is the default guest, of
 * samples that do not say whose they are: only where there are some. Their number, or -ENOMEM. */
int recorded_guests(const struct recording *r, const struct guest ***ret);
void recorded_guests_put(const struct guest **list, int count);

/* Moves the counts of the recording into the tallies of these guests and into the totals. Before
 * others know either. */
void recorded_fill(struct recording *r, const struct tally_set *set, struct totals *totals);

/* One that holds nothing but that note. NULL when out of memory. */
struct exits *recorded_exits(void);

#endif
