/* Notices symbols that are not the guest's any more although nobody said so (a reboot, a snapshot
 * that was loaded): its kernel's samples had names, and suddenly have none. A few addresses are
 * kept of each while, and looked up at its end; so nothing is resolved while sampling. Pure.
 *
 * A false alarm (a guest that does nothing but run BPF programs) costs another fetch, and comes
 * ever more rarely.
 */
#ifndef KVMPROFS_STALEWATCH_H
#define KVMPROFS_STALEWATCH_H

#include <stdbool.h>
#include <stdint.h>

#define STALEWATCH_SAMPLES   32	  /* kernel ones, of which a judgement is made */
#define STALEWATCH_KNOWN     80	  /* per cent of them with a name, at least: all is well */
#define STALEWATCH_LOST	     20	  /* at most: nothing is */
#define STALEWATCH_PAUSE_SEC 15	  /* after an alarm; doubles while it does not help... */
#define STALEWATCH_PAUSE_MAX 3600 /* ...up to this */

struct stalewatch {
	uint64_t ips[STALEWATCH_SAMPLES];
	unsigned count;
	uint32_t epoch;		 /* that they are of, at the earliest */
	bool knew;		 /* they had names once */
	unsigned pause_sec;	 /* after the last alarm; 0: all is well since */
	uint64_t quiet_until_ns; /* clock_now_ns() */
};

/* Keeps the address of a kernel sample, if there is room. */
void stalewatch_add(struct stalewatch *w, uint64_t ip);

/* True when it is time to look up ips. Those from before this epoch are dropped. */
bool stalewatch_is_full(struct stalewatch *w, uint32_t epoch);

/* Whether so few of the ips have a name that the symbols cannot be theirs. */
bool stalewatch_has_lost(unsigned known);

/* So many of the ips have a name. Forgets them. True: fetch the guest's symbols anew. */
bool stalewatch_judge(struct stalewatch *w, unsigned known, uint64_t now_ns);

/* Forgets them without a judgement: there are no symbols. */
void stalewatch_drop(struct stalewatch *w);

#endif
