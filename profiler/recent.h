/* The samples of the last seconds, each with its time, of one guest: a log in blocks, of which the
 * oldest go when all in them is too old. Its size follows how often the host samples, whatever
 * the guest does, and all logs share a budget; what finds no room is refused and counted.
 * No lock of its own.
 */
#ifndef KVMPROFS_RECENT_H
#define KVMPROFS_RECENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/counts.h"
#include "symsrc/base/clock.h"

#define RECENT_NS	     (10 * NSEC_PER_SEC)
#define RECENT_BLOCK_SAMPLES 254

struct recent_sample {
	uint64_t ip;
	uint64_t ms : 39; /* clock_now_ns() in milliseconds: 17 years */
	uint64_t vcpu : 16;
	uint64_t user : 1;
	uint64_t epoch : 8; /* its last bits */
};

struct recent_block; /* 4 KB */

struct recent {
	struct counts_budget *budget;
	struct recent_block *oldest, *newest;
	size_t count;	    /* samples in all blocks, also those that are just too old */
	uint64_t since_ns;  /* nothing older was ever there */
	uint64_t refused;   /* with no pause of RECENT_NS between them */
	uint64_t refuse_ns; /* the last one */
};

/* Allocates nothing. The budget must outlive it. */
void recent_init(struct recent *r, struct counts_budget *budget, uint64_t now_ns);
/* Forgets all: what comes is another kind of samples, or nothing. */
void recent_clear(struct recent *r, uint64_t now_ns);

/* time_ns: of the sample, which need not be newer than those before. */
void recent_add(struct recent *r, uint64_t ip, unsigned vcpu, bool user, uint32_t epoch,
		uint64_t time_ns);
/* Marks the samples of that boot which retired_move(retired, since, ip) does. */
void recent_retire(struct recent *r, uint32_t epoch, const struct retired *retired, uint32_t since);
/* Frees what is too old. Cheap when nothing is. */
void recent_expire(struct recent *r, uint64_t now_ns);

/* Copies all samples, the too old too, to where r->count of them fit. */
void recent_copy(const struct recent *r, struct recent_sample *to);

/* When the window begins that ends now. */
uint64_t recent_start_ns(const struct recent *r, uint64_t now_ns);
/* How many samples found no room since about then. */
uint64_t recent_refused(const struct recent *r, uint64_t now_ns);

#endif
