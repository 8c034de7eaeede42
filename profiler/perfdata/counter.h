/* Counts the samples of a recording on a second thread, while the first one reads on: looking for
 * their places takes about as long as all the rest.
 *
 * Memory is bounded: whoever reads waits where counting falls behind. All functions are for one
 * thread, the one that reads.
 */
#ifndef KVMPROFS_PERFDATA_COUNTER_H
#define KVMPROFS_PERFDATA_COUNTER_H

#include "profiler/perfdata/recording.h"

/* A sample in a guest's kernel. */
struct counter_sample {
	struct recording_guest *guest;
	uint64_t ip, weight;
	unsigned vcpu;
};

struct counter;

/* NULL: no memory. */
struct counter *counter_create(void);

/* Counts it sooner or later: until counter_finish() the guest's table, kernel and table_full are
 * the counter's. May wait for the other thread, which waits for nobody. */
void counter_add(struct counter *c, const struct counter_sample *s);

/* All that was added has been counted, and there is no other thread any more. */
void counter_finish(struct counter *c);

void counter_destroy(struct counter *c); /* after counter_finish(); accepts NULL */

#endif
